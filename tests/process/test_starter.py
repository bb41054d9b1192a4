"""Commands of a process that holds many descriptors: started from the thread, and like all others."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_shell.errors import CommandNotExecutableError, CommandNotFoundError, WorkingDirectoryError
from remote_shell.process import libc, starter
from tests.process.recorder import ENV, python_in_fresh_process, run, start


def threads() -> list[threading.Thread]:
    """The starters among our threads."""
    return [thread for thread in threading.enumerate() if thread.name == "starter"]


def table(thread: threading.Thread) -> list[str]:
    """What its descriptors are."""
    folder = f"/proc/self/task/{thread.native_id}/fd"
    return [os.readlink(f"{folder}/{name}") for name in sorted(os.listdir(folder), key=int)]


@pytest.fixture
def crowd() -> Iterator[None]:
    """So many descriptors that the next commands are started by the thread, which is gone afterwards."""
    held = [os.open("/dev/null", os.O_RDONLY)]
    while held[-1] < starter.MANY:
        held.append(os.dup(held[0]))
    yield
    for number in held:
        os.close(number)


@pytest.fixture(autouse=True)
def retired() -> Iterator[None]:
    """No thread is left for other tests."""
    yield
    if starter._starter is not None:
        starter._starter.retire()
        starter._starter = None
    while threads():
        time.sleep(0)


async def test_few_descriptors_need_no_thread() -> None:
    assert (await run(["echo", "x"])).out == b"x\n"
    assert threads() == []


@pytest.mark.usefixtures("crowd")
async def test_a_command_is_what_it_is_anywhere() -> None:
    process, seen = start(["sh", "-c", "cat; echo err >&2; exit 42"], stdin="pipe")
    process.write_stdin(b"in")
    process.close_stdin()
    await seen.finished()
    assert (seen.out, seen.err, seen.exit and seen.exit.status) == (b"in", b"err\n", 42)
    killed = await run(["sh", "-c", "kill -KILL $$"])
    assert killed.exit is not None and killed.exit.signal == "SIGKILL"
    assert len(threads()) == 1


@pytest.mark.usefixtures("crowd")
async def test_it_inherits_three_descriptors_and_a_clean_mask() -> None:
    listed = await run(["ls", "/proc/self/fd"])
    assert listed.out.split() == [b"0", b"1", b"2", b"3"], "the last is the folder"
    masks = await run(["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"])
    assert masks.out.split() == [b"SigBlk:", b"0" * 16, b"SigIgn:", b"0" * 16]


@pytest.mark.usefixtures("crowd")
async def test_the_thread_keeps_nothing_open() -> None:
    await run(["true"])
    (thread,) = threads()
    before = table(thread)
    for _ in range(20):
        await run(["echo", "x"])
    after = table(thread)
    assert before == after and len(after) <= 5, "standard ones, its socket, what handlers write to"


@pytest.mark.usefixtures("crowd")
async def test_the_errors_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("no first line")
    (tmp_path / "script").chmod(0o755)
    with pytest.raises(CommandNotFoundError):
        start([b"/no/such/program"], cwd=b"/", env=ENV)
    with pytest.raises(WorkingDirectoryError):
        start([b"true"], cwd=b"/no/such/folder", env=ENV)
    with pytest.raises(CommandNotExecutableError):
        start([os.fsencode(tmp_path / "script")], cwd=b"/", env=ENV)
    assert (await run(["echo", "x"])).out == b"x\n"


@pytest.mark.usefixtures("crowd")
async def test_a_signal_that_the_kernel_gives_to_the_thread_wakes_the_loop() -> None:
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, came.set)
    try:
        await run(["true"])
        (thread,) = threads()
        assert thread.ident is not None
        signal.pthread_kill(thread.ident, signal.SIGUSR1)
        await asyncio.wait_for(came.wait(), 10)
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)


@pytest.mark.usefixtures("crowd")
async def test_another_loops_signals_get_another_thread() -> None:
    await run(["true"])
    (first,) = threads()
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    before = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    try:
        await run(["true"])
        assert starter._starter is not None and starter._starter.wakeup == theirs
    finally:
        signal.set_wakeup_fd(before, warn_on_full_buffer=False)
        os.close(ours)
        os.close(theirs)
    while first in threads():
        await asyncio.sleep(0)


def echo(stdin: int, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
    """A command that says x."""
    return subprocess.Popen(["echo", "x"], stdin=stdin, stdout=stdout, stderr=stderr)


class Interrupted(BaseException):
    """By a signal, once."""


def test_what_was_interrupted_answers_nobody_else() -> None:
    told, main = threading.Event(), threading.main_thread().ident
    assert main is not None
    late: list[subprocess.Popen[bytes]] = []

    def interrupt(*_: object) -> None:
        if not told.is_set():
            told.set()
            raise Interrupted

    def interrupting(*descriptors: int) -> subprocess.Popen[bytes]:
        while not told.wait(0.001):  # one that comes before it waits is seen only afterwards
            signal.pthread_kill(main, signal.SIGUSR1)
        return echo(*descriptors)

    def echo(stdin: int, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
        late.append(subprocess.Popen(["echo", "late"], stdin=stdin, stdout=stdout, stderr=stderr))
        return late[0]

    out, into = os.pipe()
    before = signal.signal(signal.SIGUSR1, interrupt)
    with pytest.raises(Interrupted):
        starter.start(interrupting, (0, into, 2))
    with starter.start(lambda *_: subprocess.Popen(["sh", "-c", "exit 42"]), (0, into, 2)) as process:
        assert process.wait() == 42
    os.close(into)
    assert os.read(out, 5) == b"late\n"
    os.close(out)
    while not late:  # the thread has not got it back yet
        time.sleep(0)
    assert late[0].wait() == 0
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("crowd")
async def test_without_the_kernels_help_it_is_started_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter, "_UNSHARE", 1 << 10)  # EINVAL
    monkeypatch.setattr(starter, "_possible", True)
    assert (await run(["echo", "x"])).out == b"x\n"
    assert not starter._possible and starter._starter is None


@pytest.mark.usefixtures("crowd")
async def test_without_the_c_librarys_help_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libc, "libc", object)  # glibc before 2.34, musl: AttributeError
    monkeypatch.setattr(starter, "_possible", True)
    assert (await run(["echo", "x"])).out == b"x\n"
    assert not starter._possible and threads() == []


@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize("number", [errno.EMFILE, None])
async def test_what_runs_out_may_come_again(monkeypatch: pytest.MonkeyPatch, number: int | None) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread") if number is None else OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        what: object = threading.Thread if number is None else socket
        patch.setattr(what, "start" if number is None else "socketpair", fail)
        into, out = os.pipe()
        with starter.start(echo, (0, out, 2)) as process:
            assert process.wait() == 0 and os.read(into, 9) == b"x\n"
        os.close(into)
        os.close(out)
    assert threads() == []
    assert (await run(["echo", "x"])).out == b"x\n"
    assert len(threads()) == 1


def test_the_thread_collects_no_garbage() -> None:
    class Circle:
        me: Circle
        sock: socket.socket

    def littering(stdin: int, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
        circle = Circle()
        circle.me, circle.sock = circle, left.pop()
        del circle
        assert len([[] for _ in range(10_000)]) == 10_000  # the collector's turn, many times
        return echo(stdin, stdout, stderr)

    ours, theirs = socket.socketpair()
    left = [theirs]
    del theirs
    with ours, open(os.devnull, "wb") as null, starter.start(littering, (0, null.fileno(), 2)) as process:
        assert process.wait() == 0
        with pytest.warns(ResourceWarning, match="unclosed"):
            gc.collect()
        ours.setblocking(False)
        assert ours.recv(1) == b"", "it was closed here, not where it has no such number"
    assert gc.isenabled()


def test_another_loop_with_the_same_number_gets_another_thread() -> None:
    async def woken() -> int:
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, came.set)
        with open(os.devnull, "wb") as null, starter.start(echo, (0, null.fileno(), 2)) as process:
            assert process.wait() == 0
        assert starter._starter is not None
        while len(threads()) > 1:  # the first loop's goes
            await asyncio.sleep(0)
        ident = threads()[0].ident
        assert ident is not None
        signal.pthread_kill(ident, signal.SIGUSR1)
        await asyncio.wait_for(came.wait(), 10)
        return starter._starter.wakeup

    assert asyncio.run(woken()) == asyncio.run(woken())


@pytest.mark.usefixtures("crowd")
async def test_another_thread_than_the_main_one_starts_directly() -> None:
    out = await asyncio.to_thread(lambda: asyncio.run(run(["echo", "x"])))
    assert out.out == b"x\n" and threads() == []


def test_a_fork_has_no_such_thread() -> None:
    python_in_fresh_process(
        """
import os, subprocess
from remote_shell.process import libc, starter
popen = lambda stdin, stdout, stderr: subprocess.Popen(["true"], stdin=stdin, stdout=stdout, stderr=stderr)
assert starter.start(popen, (0, 1, 2)).wait() == 0
pid = os.fork()
if not pid:
    os._exit(starter.start(popen, (0, 1, 2)).wait())
assert os.waitpid(pid, 0)[1] == 0
        """
    )
