"""What holds for every test: `async def` tests run, slow ones get time, and none leaves anything behind.

Needs no plugin but pytest-timeout. Warnings are errors by the settings in pyproject.toml.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import settings

# The same examples every time, on a busy machine too: what goes red here goes red everywhere.
settings.register_profile("project", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("project")

# As in a terminal, however we were started: nohup ignores SIGHUP and `&` SIGINT, and what is ignored is inherited.
for _number, _action in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGQUIT, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _action)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SLOW_TIMEOUT = 300.0  # seconds for a test marked slow that does not name its own
CI_TIMEOUT = 60.0  # seconds for any other one where CI is set: coverage and other programs have their part of the processors there
SETTLE_TIME = 2.0  # seconds in which what a test let go of may still be ending


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("timeout"):
            continue
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT))
        elif "CI" in os.environ:
            item.add_marker(pytest.mark.timeout(CI_TIMEOUT))


def pytest_collection_finish() -> None:
    """What pytest made of four thousand tests is nobody's garbage: `leaves_nothing` collects, which takes 50 ms with it."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs an `async def` test in an event loop of its own. Fixtures stay plain functions."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = [name for name in inspect.signature(pyfuncitem.obj).parameters if name in pyfuncitem.funcargs]
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of the test run without coverage, which imports much and writes where an unprivileged account may not."""
    for name in [name for name in os.environ if name.startswith("COVERAGE_PROCESS_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    """Fails a test after which there are children, threads or descriptors that were not there before."""
    before = holdings()
    yield
    deadline = time.monotonic() + SETTLE_TIME
    while holdings() - before:
        gc.collect()
        left = holdings() - before  # mostly nothing any more: a loop's own descriptors, which only a cycle held
        if left and time.monotonic() > deadline:
            pytest.fail("left behind: " + "; ".join(sorted(map(name_of, left))))
        if left:
            time.sleep(0.002)


def holdings() -> set[str]:
    """The threads, descriptors and children of this process, each as a text that tells it from a later one."""
    found = {f"thread {thread.name} ({thread.ident})" for thread in threading.enumerate()}
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(f"descriptor {number} to {os.readlink(f'/proc/self/fd/{number}')}")
        except FileNotFoundError:  # the one that listed the folder
            continue
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # far cheaper than a walk through /proc
    except ChildProcessError:
        return found
    return found | set(children())


def children() -> Iterator[str]:
    """Our children, zombies too, by pid and start time, which never change (proc_pid_stat(5)).

    proc_pid_task_children(5) has them by the thread that started them; a walk through all of /proc costs 5 ms, twice a test.
    """
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children", encoding="ascii") as file:
                pids = file.read().split()
        except (FileNotFoundError, ProcessLookupError):  # that thread is gone, and its children are another's
            continue
        for pid in pids:
            try:
                with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                    fields = file.read().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            yield f"child {pid} (started at tick {fields[19]})"


def name_of(holding: str) -> str:
    """The holding, with a child's command line if it still has one."""
    if not holding.startswith("child "):
        return holding
    try:
        with open(f"/proc/{holding.split()[1]}/cmdline", "rb") as file:
            return f"{holding} {file.read()[:200]!r}"
    except (FileNotFoundError, ProcessLookupError):
        return holding
