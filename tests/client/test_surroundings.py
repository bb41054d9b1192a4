"""Where the blocking client is called from: threads, greenlets, forks, other processes, a running loop; and Ctrl-C at any moment."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from remote_shell import DEVNULL, PIPE
from remote_shell.client.blocking import Host, connect
from remote_shell.errors import UsageError
from remote_shell.testing import RunningServer

from .test_blocking import running_commands, wait_until

pytestmark = pytest.mark.screen  # the quick suite has two minutes for all

THREADS = 32


def script(text: str, *arguments: str, timeout: float = 18) -> str:
    """What a program of ours prints, run by itself; its errors are the test's."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text, *arguments], capture_output=True, text=True, timeout=timeout
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Each number in a thread of its own, all begun at once. Raises what the first of them raised."""
    faults: list[BaseException] = []
    gate = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            gate.wait()
            work(number)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


# --- threads


def test_32_threads_get_their_own_output_in_every_way(host: Host) -> None:
    def work(number: int) -> None:
        for turn in range(6):
            text = f"{number}-{turn} " * (1 if turn % 2 else 20_000)
            if number % 4 == 0:
                assert host.run(["cat"], input=text, capture_output=True, text=True).stdout == text
            elif number % 4 == 1:
                with host.popen(["cat"], stdin=PIPE, stdout=PIPE, text=True) as process:
                    assert process.communicate(text) == (text, None)
            elif number % 4 == 2:
                with host.popen(["cat"], stdin=PIPE, stdout=PIPE, text=True, bufsize=1) as process:
                    for line in ("first", str(number), text[:100]):
                        process.stdin.write(line + "\n")
                        assert process.stdout.readline() == line + "\n"
            else:
                status = (number + turn) % 256
                assert host.run(["sh", "-c", f"exit {status}"], stdin=DEVNULL).returncode == status

    in_threads(THREADS, work)
    assert not host._conversation.states and not host._driver._waiters


def test_no_thread_starves(host: Host) -> None:
    """One waits for all and hands over: whoever has the quicker commands gets no more than its share of the waiting."""
    turns = [0] * THREADS

    def work(number: int) -> None:
        while sum(turns) < THREADS * 20:  # and not for a time, in which a busy machine comes to a handful
            host.run(["true"], stdin=DEVNULL)
            turns[number] += 1

    in_threads(THREADS, work)
    assert min(turns) * 4 >= sorted(turns)[THREADS // 2], turns


def test_a_pump_that_leaves_hands_over_at_once(host: Host) -> None:
    """The thread that pumps ends first, one after the other, while the others wait for longer ones."""

    def work(number: int) -> None:
        started = time.monotonic()
        wait = 0.1 + number * 0.02
        assert host.run(["sleep", str(wait)], stdin=DEVNULL).returncode == 0
        assert time.monotonic() - started < wait + 1.0

    in_threads(THREADS, work)


def test_a_thread_with_a_deadline_among_threads_without(host: Host) -> None:
    name = f"1031.{os.getpid()}"

    def work(number: int) -> None:
        if number % 2:
            with pytest.raises(subprocess.TimeoutExpired):
                host.run(["sleep", name], stdin=DEVNULL, timeout=0.05 * number)
        else:
            assert host.run(["sleep", "0.3"], stdin=DEVNULL).returncode == 0

    in_threads(10, work)
    wait_until(lambda: not running_commands(f"sleep {name}"))


def test_closing_from_another_thread_wakes_all(running: RunningServer) -> None:
    host = connect(running.targets["unix"])
    errors: list[str] = []

    def work(number: int) -> None:
        if not number:
            wait_until(lambda: len(host._conversation.states) == 7)
            host.close()
            return
        try:
            host.run(["sleep", "60"], stdin=DEVNULL)
        except Exception as error:
            errors.append(type(error).__name__)

    in_threads(8, work)
    assert errors == ["ConnectionLostError"] * 7


def test_garbage_that_closes_itself_under_the_lock_waits_for_nothing(host: Host) -> None:
    """A collection may begin anywhere, in the middle of a step too, and finalize a process's files: the thread would wait for itself."""
    name = f"garbage-{os.getpid()}"

    def dropped() -> None:
        process: Any = host.popen(["bash", "-c", f"exec -a {name} cat"], stdin=PIPE, stdout=PIPE)
        process.stdin.write(b"unsent")
        process.itself = process  # a cycle, so that only a collection finds it

    for _ in range(2):
        dropped()
        host._driver.urgent(lambda: (gc.collect(), None)[1])
        dropped()
        with host._driver:
            gc.collect()
        assert host.run(["echo", "x"], capture_output=True).stdout == b"x\n"
    wait_until(lambda: not running_commands(name))


# --- gevent


GEVENT = """
from gevent import monkey
monkey.patch_all()
import sys, time
import gevent
import remote_shell

def work(host, number):
    out = []
    for turn in range(3):
        text = f"{number}-{turn}" * 3000
        assert host.run(["cat"], input=text, capture_output=True, text=True).stdout == text
        with host.popen(["cat"], stdin=remote_shell.PIPE, stdout=remote_shell.PIPE) as process:
            process.stdin.write(b"x" * 100_000)
            process.stdin.close()
            assert process.stdout.read() == b"x" * 100_000
        out.append(host.run(["sh", "-c", "exit %d" % number], stdin=remote_shell.DEVNULL).returncode)
    return out

with remote_shell.connect(sys.argv[1], **eval(sys.argv[2])) as host:
    ticks = []
    def tick():
        while True:
            ticks.append(time.monotonic())
            gevent.sleep(0.01)
    ticking = gevent.spawn(tick)
    jobs = [gevent.spawn(work, host, number) for number in range(32)]
    gevent.joinall(jobs, raise_error=True)
    assert [job.value for job in jobs] == [[number] * 3 for number in range(32)]

    before = len(ticks)
    started = time.monotonic()
    sleeps = [gevent.spawn(host.run, ["sleep", "0.5"], stdin=remote_shell.DEVNULL) for _ in range(20)]
    gevent.joinall(sleeps, raise_error=True)
    assert time.monotonic() - started < 5, "side by side"
    assert len(ticks) - before > 15, "others go on while all wait"

    slow = gevent.spawn(host.run, ["sleep", sys.argv[3]], stdin=remote_shell.DEVNULL)
    gevent.sleep(0.1)
    slow.kill()
    assert host.run(["echo", "alive"], capture_output=True, text=True).stdout == "alive\\n"
    try:
        host.run(["sleep", sys.argv[3]], timeout=0.1, stdin=remote_shell.DEVNULL)
    except remote_shell.TimeoutExpired:
        pass
    ticking.kill()
print("done")
"""


@pytest.mark.parametrize("kind", [pytest.param("unix", marks=pytest.mark.slow), "tls"])
def test_under_gevent(running: RunningServer, kind: str) -> None:
    """32 greenlets on one host; one of them is killed while it waits, and what it waited for ends."""
    name = f"1032.{os.getpid()}"
    assert script(GEVENT, running.targets[kind], repr(running.options(kind)), name) == "done\n"
    wait_until(lambda: not running_commands(f"sleep {name}"))


# --- forks and other processes


def test_a_fork_in_the_middle_of_a_command_harms_nobody(host: Host) -> None:
    """Each verb of the copy says what it is; the parent's commands go on, byte for byte."""
    process = host.popen(["cat"], stdin=PIPE, stdout=PIPE)
    process.stdin.write(b"before ")
    process.stdin.flush()
    waiting = threading.Thread(target=lambda: host.run(["sleep", "0.4"], stdin=DEVNULL))
    waiting.start()  # somebody pumps, and has the lock now and then
    wait_until(lambda: host._driver._pumping)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        told = b""
        try:
            for verb in (
                *(lambda: host.run(["true"]), lambda: host.popen(["true"]), host.shells, process.wait, process.poll),
                *(lambda: process.stdin.raw.write(b"x"), lambda: process.stdout.read(1), process.communicate),
            ):
                try:
                    verb()
                    told += b"?"
                except UsageError as error:
                    told += b"r" if "forked copy" in str(error) else b"?"
            process.kill()
            process.abandon()
            host.close()
            os.write(writer, told)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert file.read() == b"r" * 8
    os.waitpid(child, 0)
    assert process.communicate(b"after") == (b"before after", None)
    waiting.join()
    assert host.run(["true"]).returncode == 0


SPAWN = """
import multiprocessing, sys
import remote_shell

def work(target, number):
    with remote_shell.connect(target) as host:
        return host.run(["cat"], input=str(number), capture_output=True, text=True).stdout

if __name__ == "__main__":
    with remote_shell.connect(sys.argv[1]) as host:
        host.run(["true"])
        for method in ("spawn", "forkserver"):
            pool = multiprocessing.get_context(method).Pool(3)
            found = pool.starmap(work, [(sys.argv[1], number) for number in range(6)])
            pool.close()
            pool.join()
            assert found == list(map(str, range(6))), found
        assert host.run(["echo", "parent"], capture_output=True).stdout == b"parent\\n"
    print("done")
"""


def test_from_several_processes(running: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "many.py").write_text(SPAWN)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "many.py"), running.targets["unix"]], capture_output=True, text=True, timeout=18
    )
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_results_and_errors_come_back_from_a_pool(running: RunningServer, tmp_path: Path) -> None:
    """They are pickled on their way: concurrent.futures hangs or breaks on one that can't be."""
    (tmp_path / "pool.py").write_text("""
import concurrent.futures, multiprocessing, sys
import remote_shell

def work(target, args, options):
    with remote_shell.connect(target) as host:
        return host.run(args, **options)

if __name__ == "__main__":
    calls = [(["true"], {}), (["false"], {"check": True}), (["no-such"], {}), (["true"], {"cwd": "/no/such"})]
    calls += [(["sleep", "9"], {"timeout": 0.05})]
    calls += [(["/etc/passwd"], {}), (["true", "x" * 200_000], {}), (["true"], {"command_id": "a b"})]
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        for future in [pool.submit(work, sys.argv[1], *call) for call in calls]:
            print(type(future.exception() or future.result()).__name__)
""")
    argv = [sys.executable, str(tmp_path / "pool.py"), running.targets["unix"]]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=18)
    assert done.stderr == ""
    assert done.stdout.split() == [
        *("CompletedProcess", "CalledProcessError", "CommandNotFoundError", "WorkingDirectoryError", "TimeoutExpired"),
        *("CommandNotExecutableError", "CommandTooLongError", "UsageError"),
    ]


# --- a running loop


async def test_inside_a_running_loop_and_beside_its_threads(running: RunningServer) -> None:
    """As in a notebook: the loop runs, and a cell calls the blocking verbs in its thread, or in others by to_thread."""
    with connect(running.targets["unix"]) as host:
        with host.popen(["cat"], stdin=PIPE, stdout=PIPE, text=True) as process:
            assert process.communicate("cell") == ("cell", None)
        runs = [
            asyncio.to_thread(host.run, ["echo", str(number)], stdin=DEVNULL, capture_output=True)
            for number in range(8)
        ]
        assert [done.stdout for done in await asyncio.gather(*runs)] == [b"%d\n" % number for number in range(8)]


# --- Ctrl-C


def test_ctrl_c_in_an_urgent_step_leaves_no_lock_taken(host: Host) -> None:
    """`send_signal` and the end of stdin take the lock without a call that waits."""

    def press() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(100):
            pass

    with pytest.raises(KeyboardInterrupt):
        host._driver.urgent(press)
    assert not host._driver._lock.locked() and not host._driver._urgent
    assert host.run(["echo", "x"], capture_output=True).stdout == b"x\n"


INTERRUPTED = """
import os, random, signal, sys, traceback
import remote_shell

name, turns = sys.argv[2], int(sys.argv[3])
random.seed(7)
sys.unraisablehook = lambda told: None if told.exc_type is KeyboardInterrupt else sys.__unraisablehook__(told)  # from a finalizer
signal.signal(signal.SIGALRM, lambda number, frame: os.kill(os.getpid(), signal.SIGINT))
signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests in the background has it ignored

def commands(host, kind):
    line = f"sleep {name} & exec sleep {name}"
    if kind == 0:
        host.run(["true"], stdin=remote_shell.DEVNULL)
    elif kind == 1:
        host.run(line, shell=True, stdin=remote_shell.DEVNULL)
    elif kind == 2:
        host.run(["cat"], input=b"x" * 3_000_000, stdout=remote_shell.PIPE)
    elif kind == 3:
        with host.popen(["cat"], stdin=remote_shell.PIPE, stdout=remote_shell.PIPE) as process:
            process.communicate(b"y" * 100_000)
    elif kind == 4:
        with host.popen(line, shell=True, stdout=remote_shell.PIPE) as process:
            process.stdout.read()
    else:
        with host.shell() as shell:
            shell.run(f"sleep {name}")

hit = 0
host = remote_shell.connect(sys.argv[1])
other = host.popen(["cat"], stdin=remote_shell.PIPE, stdout=remote_shell.PIPE)
kept = {other._state}
for turn in range(turns):
    kind = turn % 6
    try:
        # again after a while, as a person does: Python swallows it in a finalizer, and sleeps on if it comes right before poll(2)
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0002, 0.02), 0.4)
        while True:
            commands(host, kind)
    except KeyboardInterrupt as error:
        hit += 1
        where = traceback.extract_tb(error.__traceback__)[-2]  # below the handler
        # between a call's return and `with`: nobody has it in hand, as with Popen; closing the host ends it
        unheld = where.name == "commands" or (where.name == "__enter__" and where.filename.endswith(("remote.py", "shell.py")))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert host.run(["echo", "usable"], stdin=remote_shell.DEVNULL, stdout=remote_shell.PIPE).stdout == b"usable\\n"
    left = set(host._conversation.states.values()) - kept
    assert unheld or not left, (kind, where)
    kept |= left
assert other.communicate(b"whole") == (b"whole", None)
assert hit == turns, hit
assert host._conversation.reconnects == 0
host.close()
print("done")
"""


def interrupted(running: RunningServer, turns: int, timeout: float) -> None:
    name = f"1033.{os.getpid()}"
    assert script(INTERRUPTED, running.targets["unix"], name, str(turns), timeout=timeout) == "done\n"
    wait_until(lambda: not running_commands(f"sleep {name}"))


@pytest.mark.usefixtures("unmeasured")  # Ctrl-C in the middle of measuring leaves its lock taken
def test_ctrl_c_at_random_moments(running: RunningServer) -> None:
    """Whatever was under way is over here and there, the host goes on, and another command of it lost nothing."""
    interrupted(running, 60, 18)


@pytest.mark.slow
def test_ctrl_c_at_a_thousand_moments(running: RunningServer) -> None:
    interrupted(running, 1000, 200)
