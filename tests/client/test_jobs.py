"""Detached jobs from Python, in both fronts: the same verbs, and what outlives a server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from remote_shell import STDOUT
from remote_shell.client.async_ import connect_async
from remote_shell.client.blocking import Host, connect
from remote_shell.client.jobs import LogPiece, Patience
from remote_shell.errors import CommandRefusedError, ConnectError, ConnectionLostError, JobUnknownError, UsageError
from remote_shell.testing import RunningServer, server

pytestmark = pytest.mark.screen  # the quick suite has two minutes for all


def sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def text(pieces: Iterator[LogPiece], stream: int = 1) -> bytes:
    return b"".join(piece.data for piece in pieces if piece.stream == stream)


def until(true: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + 10
    while not (found := true()):
        assert time.monotonic() < end, what
        time.sleep(0.005)
    return found


def test_start_list_log_wait_remove(host: Host) -> None:
    job = host.detach(sh("echo out; echo err >&2; exit 3"), cwd="/usr", env_add={"A": "b"})
    assert len(job.id) == 12 and repr(job).startswith(f"<Job {job.id} on ")
    assert job.wait() == 3 == job.wait(timeout=5)
    pieces = list(job.logs())
    assert sorted(pieces) == [LogPiece(1, 0, b"out\n"), LogPiece(2, 0, b"err\n")]
    info = job.info()
    assert (info.state, info.returncode, info.cwd, info.signal) == ("finished", 3, "/usr", None)
    assert info.started_at is not None and info.ended_at is not None and info.duration is not None
    assert abs(info.ended_at - time.time()) < 60 and info.started_at <= info.ended_at
    assert info in host.jobs() and host.job(job.id).info() == info
    assert info.command == "/bin/sh -c 'echo out; echo err >&2; exit 3'"
    job.remove()
    with pytest.raises(CommandRefusedError, match="no job of yours") as caught:
        job.info()
    assert caught.value.code == "no_such_job" and job.id in str(caught.value)


def test_another_connection_has_it_too(host: Host, running: RunningServer) -> None:
    with connect(running.targets["unix"]) as other:
        ident = other.detach(sh("while :; do echo tick; sleep 0.01; done")).id
    job = host.job(ident)
    seen = b""
    for piece in job.logs(follow=True):
        assert piece.offset == len(seen)
        seen += piece.data
        if len(seen) > 50:
            break  # closes the watching and not the job
    assert job.info().state == "running" and job.info().returncode is None
    late = next(iter(job.logs(follow=True, from_now=True)))
    assert late.offset >= len(seen)
    job.terminate()
    assert job.wait() == -signal.SIGTERM and job.info().signal == "SIGTERM"
    job.kill()
    assert text(job.logs(stdout_from=5))[:5] == b"tick\n"


def test_a_timeout_of_waiting_and_one_of_the_job(host: Host) -> None:
    job = host.detach(["sleep", "100"])
    with pytest.raises(subprocess.TimeoutExpired):
        job.wait(timeout=0.05)
    assert job.info().state == "running"
    with pytest.raises(CommandRefusedError, match="it runs"):
        job.remove()
    job.remove(force=True)
    job = host.detach(["sleep", "100"], timeout=0.05)
    assert job.wait() == -signal.SIGTERM and job.info().timed_out


def test_arguments(host: Host) -> None:
    job = host.detach("echo $0 >&2; pwd", shell=True, stderr=STDOUT, env={"PATH": "/bin:/usr/bin"})
    assert job.wait() == 0 and text(job.logs()).endswith(os.path.expanduser("~").encode() + b"\n")
    with pytest.raises(FileNotFoundError):
        host.detach(["/nope"])
    with pytest.raises(FileNotFoundError):
        host.detach(["true"], cwd="/nope")
    with pytest.raises(PermissionError):
        host.detach(["/etc/passwd"])
    with pytest.raises(ValueError, match="STDOUT"):
        host.detach(["true"], stderr=-1)
    with pytest.raises(UsageError):
        host.job("no id")
    with pytest.raises(IndexError, match="empty"):
        host.detach([])


def test_what_the_server_would_end_the_session_for(host: Host) -> None:
    job, before = host.detach(["echo", "0123456789"]), host.welcome.session
    job.wait()
    for place in (-1, 2**53):
        with pytest.raises(UsageError, match="no place in a log"):
            list(job.logs(stdout_from=place))
    with pytest.raises(TypeError, match="integer"):
        list(job.logs(stderr_from=1.0))  # type: ignore[arg-type]
    truth: Any = 1
    assert text(job.logs(follow=truth, stdout_from=5)) == b"56789\n" and text(job.logs(from_now=truth)) == b""
    job.remove(force=truth)
    assert host.welcome.session == before


def test_signals_as_popen_takes_them(host: Host) -> None:
    job = host.detach(["sleep", "1000"])
    job.send_signal(0)
    for number in (999, -1):
        with pytest.raises(OSError, match="Invalid argument"):
            job.send_signal(number)
    assert job.info().state == "running"
    job.kill()
    assert job.wait() == -9
    job.send_signal(0)
    job.remove()


def test_an_id_of_the_callers_own(host: Host) -> None:
    name = f"mine-{os.getpid()}"
    assert host.detach(["true"], job_id=name).id == name
    host.detach(["true"], job_id=name)
    with pytest.raises(CommandRefusedError) as caught:
        host.detach(["false"], job_id=name)
    assert caught.value.code == "id_conflict"
    assert host.job(name).wait() == 0 and sum(one.id == name for one in host.jobs()) == 1


def test_several_threads_watch(host: Host) -> None:
    job = host.detach(sh("for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.02; done"))
    seen: list[bytes] = []
    threads = [threading.Thread(target=lambda: seen.append(text(job.logs(follow=True)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert job.wait() == 0
    for thread in threads:
        thread.join()
    assert seen == [b"1\n2\n3\n4\n5\n6\n7\n8\n"] * 4


def test_much_output_in_its_order(host: Host) -> None:
    job = host.detach(sh("seq 300000"))
    size = 0
    for piece in job.logs(follow=True):
        assert piece.stream == 1 and piece.offset == size and not piece.dropped
        size += len(piece.data)
    assert size == 1988895


def test_an_unknown_end_is_an_error(host: Host) -> None:
    job = host.detach(["sleep", "100"])
    pid = job.info().pid
    assert pid is not None
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        os.kill(int(file.read().rpartition(")")[2].split()[1]), signal.SIGKILL)
    with pytest.raises(JobUnknownError, match=r"unknown.*keeper was killed") as caught:
        job.wait()
    assert caught.value.job == job.id and job.info().state == "unknown"
    with pytest.raises(JobUnknownError):
        job.terminate()
    os.kill(pid, signal.SIGKILL)
    job.remove()


async def test_the_verbs_awaited(running: RunningServer) -> None:
    async with connect_async(running.targets["unix"]) as host:
        job = await host.detach(sh("echo one; sleep 0.1; echo two >&2; exec sleep 100"))
        assert repr(job).startswith("<AsyncJob ")
        seen = []
        async for piece in job.logs(follow=True):
            seen.append(piece)
            if len(seen) == 2:
                break
        assert seen == [LogPiece(1, 0, b"one\n"), LogPiece(2, 0, b"two\n")]
        with pytest.raises(subprocess.TimeoutExpired):
            await job.wait(timeout=0.05)
        assert (await job.info()).state == "running" and job.id in [one.id for one in await host.jobs()]
        await host.job(job.id).terminate()
        assert await job.wait() == -signal.SIGTERM
        await job.kill()
        await job.remove(force=True)
        with pytest.raises(CommandRefusedError):
            await job.info()
        with pytest.raises(FileNotFoundError):
            await host.detach(["/nope"])
        both = await asyncio.gather(*(host.detach(sh(f"exit {n}")) for n in range(5)))
        assert await asyncio.gather(*(one.wait() for one in both)) == [0, 1, 2, 3, 4]


async def test_an_unknown_end_awaited(running: RunningServer) -> None:
    async with connect_async(running.targets["unix"]) as host:
        job = await host.detach(["sleep", "100"])
        pid = (await job.info()).pid
        assert pid is not None
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            os.kill(int(file.read().rpartition(")")[2].split()[1]), signal.SIGKILL)
        with pytest.raises(JobUnknownError):
            await job.wait()
        with pytest.raises(JobUnknownError):
            await job.terminate()
        os.kill(pid, signal.SIGKILL)
        await job.remove()


@contextlib.contextmanager
def restarted(running: RunningServer, how: signal.Signals) -> Iterator[None]:
    """Another life of the server for what is inside."""
    running.process.send_signal(how)
    running.process.wait()
    environment = {**os.environ, "REMOTE_SHELL_HOME": running.home}
    with open(running.log, "ab") as log:
        process = subprocess.Popen(
            running.process.args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment
        )
    assert process.stdout is not None and json.loads(process.stdout.readline())["event"] == "ready"
    try:
        yield
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_watching_goes_on_with_the_next_server(how: signal.Signals) -> None:
    """The blocking front, from a thread, through the death of the server: every line once, and the right end."""
    with server(("unix:",)) as running, connect(running.targets["unix"]) as host:
        stop = os.path.join(running.home, "stop")
        script = f"i=0; while [ ! -e {stop} ]; do echo $i; i=$((i+1)); sleep 0.005; done; exit 6"
        job = host.detach(sh(script))
        pieces: list[LogPiece] = []
        ends: list[int] = []
        reader = threading.Thread(target=lambda: pieces.extend(job.logs(follow=True)))
        waiter = threading.Thread(target=lambda: ends.append(job.wait()))
        reader.start()
        waiter.start()
        until(lambda: len(pieces) > 5, "lines")
        with restarted(running, how):
            seen = len(pieces)
            until(lambda: len(pieces) > seen + 5, "more lines, of the next server")
            with open(stop, "w", encoding="utf-8"):
                pass
            reader.join(10)
            waiter.join(10)
            data = b"".join(piece.data for piece in pieces)
            count = data.count(b"\n")
            assert data == b"".join(b"%d\n" % number for number in range(count)) and ends == [6]


async def test_watching_goes_on_with_the_next_server_awaited() -> None:
    with server(("unix:",)) as running:
        async with connect_async(running.targets["unix"]) as host:
            job = await host.detach(sh("i=0; while [ $i -lt 100 ]; do echo $i; i=$((i+1)); sleep 0.01; done; exit 6"))
            pieces: list[LogPiece] = []
            seen: list[LogPiece] = []

            async def read() -> None:
                pieces.extend([piece async for piece in watched()])

            async def watched() -> AsyncIterator[LogPiece]:
                async for piece in job.logs(follow=True):
                    seen.append(piece)
                    yield piece

            reader, waiter = asyncio.create_task(read()), asyncio.create_task(job.wait())
            while len(seen) < 5:
                await asyncio.sleep(0.005)
            with restarted(running, signal.SIGKILL):
                await reader
                assert await waiter == 6
                assert b"".join(piece.data for piece in pieces) == b"".join(b"%d\n" % n for n in range(100))


def test_without_a_server_the_error_comes_in_the_end() -> None:
    with server(("unix:",), config="grace = 0.5\n") as running:
        # the grace bounds the attempts if the detaching is still being acknowledged, and else the connect timeout
        with connect(running.targets["unix"], connect_timeout=5.0) as host:
            job = host.detach(["sleep", "100"])
            running.process.kill()
            running.process.wait()
            before = time.monotonic()
            with pytest.raises((ConnectError, ConnectionLostError)):
                job.wait()
            assert time.monotonic() - before < 8
            with pytest.raises((ConnectError, ConnectionLostError)):
                job.terminate()


def test_patience() -> None:
    patience = Patience(1.0)
    delays = []
    while (delay := patience.next_delay()) is not None:
        delays.append(delay)
    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.3]) and sum(delays) == pytest.approx(1.0)
    assert Patience(0.0).next_delay() is None


def test_the_package_names_them() -> None:
    import remote_shell

    assert remote_shell.LogPiece is LogPiece and remote_shell.JobUnknownError is JobUnknownError
    assert sys.modules["remote_shell.client.jobs"].JobInfo is remote_shell.JobInfo
