"""The asyncio front: what differs from the blocking one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from remote_shell import DEVNULL, PIPE
from remote_shell.client.async_ import connect_async
from remote_shell.errors import CommandNotFoundError, ConnectionLostError, UsageError
from remote_shell.testing import RunningServer

from .test_blocking import running_commands


async def until_gone(name: str) -> None:
    deadline = time.monotonic() + 15
    while running_commands(name):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_connecting_in_both_ways(running: RunningServer) -> None:
    host = await connect_async(running.targets["unix"])
    assert (await host.run(["echo", "x"], capture_output=True, text=True)).stdout == "x\n"
    assert host.welcome.principal and host.server.software and host.name == running.targets["unix"]
    await host.close()
    await host.close()
    with pytest.raises(UsageError, match="closed"):
        await host.run(["true"])
    async with connect_async(running.targets["tls"], **running.options("tls")) as host:
        assert (await host.run(["true"])).returncode == 0


async def test_many_at_once(running: RunningServer) -> None:
    async with connect_async(running.targets["unix"]) as host:
        runs = [host.run(["echo", str(number)], capture_output=True, text=True) for number in range(60)]
        assert [done.stdout for done in await asyncio.gather(*runs)] == [f"{number}\n" for number in range(60)]
        assert not host.conversation.states


async def test_everything_at_once_does_not_hang(running: RunningServer) -> None:
    size = 10_000_000
    line = f"head -c {size} /dev/zero & head -c {size} /dev/zero >&2; wait; cat"
    async with connect_async(running.targets["unix"]) as host:
        done = await host.run(line, shell=True, input=b"x" * size, capture_output=True)
    assert (len(done.stdout), len(done.stderr)) == (2 * size, size)


async def test_a_dialogue(running: RunningServer) -> None:
    async with connect_async(running.targets["unix"]) as host:
        async with await host.popen(["cat"], stdin=PIPE, stdout=PIPE) as process:
            assert process.stdin and process.stdout and process.pid and process.returncode is None
            process.stdin.write(b"one\ntwo\nthree")
            await process.stdin.drain()
            assert await process.stdout.readline() == b"one\n"
            assert await process.stdout.read(2) == b"tw"
            assert await process.stdout.readexactly(3) == b"o\nt"
            process.stdin.close()
            assert await process.stdout.read() == b"hree" and process.stdout.at_eof()
            assert await process.wait() == 0
        async with await host.popen("printf 'a\\nb'", shell=True, stdout=PIPE, text=True) as process:
            assert process.stdout
            assert [line async for line in process.stdout] == ["a\n", "b"]
            with pytest.raises(asyncio.IncompleteReadError):
                await process.stdout.readexactly(1)


async def test_communicate(running: RunningServer, tmp_path: Path) -> None:
    async with connect_async(running.targets["unix"]) as host:
        line = f"cat; until [ -e {tmp_path}/go ]; do sleep 0.01; done; echo end"
        process = await host.popen(line, shell=True, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        given: bytes | None = b"early "
        told = None
        while told != b"early ":  # all of it, however often it is asked; the test's own time is the deadline
            with pytest.raises(subprocess.TimeoutExpired) as caught:
                await process.communicate(given, timeout=0.05)
            given, told = None, caught.value.output
        (tmp_path / "go").touch()
        assert await process.communicate() == (b"early end\n", b"")
        with pytest.raises(subprocess.TimeoutExpired):
            process = await host.popen(["sleep", "60"])
            await process.wait(timeout=0.05)
        process.terminate()
        assert await process.wait() == -15
        process.release()


async def test_a_cancelled_task_ends_the_tree(running: RunningServer) -> None:
    name = f"1020.{os.getpid()}"
    async with connect_async(running.targets["unix"]) as host:
        task = asyncio.create_task(host.run(["sh", "-c", f"sleep {name} & sleep {name}"]))
        while len(running_commands(f"sleep {name}")) < 2:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_gone(f"sleep {name}")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                async with await host.popen(["sleep", name]) as process:
                    await process.wait()
        await until_gone(f"sleep {name}")
        assert (await host.run(["true"])).returncode == 0


async def test_a_timeout_ends_the_tree(running: RunningServer) -> None:
    name = f"1021.{os.getpid()}"
    async with connect_async(running.targets["unix"]) as host:
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            await host.run(f"echo out; sleep {name} & sleep {name}", shell=True, capture_output=True, timeout=0.5)
        assert caught.value.output == b"out\n"
        await until_gone(f"sleep {name}")


async def test_descriptors(running: RunningServer, tmp_path: Path) -> None:
    data = os.urandom(700_000)
    (tmp_path / "in").write_bytes(data)
    async with connect_async(running.targets["unix"]) as host:
        with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as sink:
            await host.run(["cat"], stdin=source, stdout=sink)
        assert (tmp_path / "out").read_bytes() == data
        reader, writer = os.pipe()
        try:
            collected = asyncio.create_task(asyncio.to_thread(os.read, reader, 10))
            await host.run(["echo", "pipe"], stdin=DEVNULL, stdout=writer)
            assert await collected == b"pipe\n"
            os.write(writer, b"input")
            os.close(writer)
            writer = -1
            done = await host.run(["cat"], stdin=reader, capture_output=True)
            assert done.stdout == b"input"
        finally:
            os.close(reader)
            if writer >= 0:
                os.close(writer)


async def test_a_full_pipe_does_not_stop_the_loop(running: RunningServer) -> None:
    """Nobody reads what `yes` writes: it stops, and everything else goes on."""
    reader, writer = os.pipe()
    async with connect_async(running.targets["unix"]) as host:
        task = asyncio.create_task(host.run(["yes"], stdin=DEVNULL, stdout=writer))
        for _ in range(20):
            assert (await host.run(["echo", "x"], stdin=DEVNULL, capture_output=True)).stdout == b"x\n"
        assert not task.done()
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            await task
    os.close(writer)


async def test_what_can_not_start(running: RunningServer) -> None:
    async with connect_async(running.targets["unix"]) as host:
        with pytest.raises(CommandNotFoundError):
            await host.popen(["no-such-program"])
        with pytest.raises(FileNotFoundError):
            await host.run(["true"], cwd="/no/such")
        with pytest.raises(UsageError, match="too long"):
            await host.run(["echo", "x" * 2_000_000])
        assert not host.conversation.states


async def test_closing_ends_what_runs(running: RunningServer) -> None:
    name = f"1022.{os.getpid()}"
    host = await connect_async(running.targets["unix"])
    process = await host.popen(["sleep", name], stdin=PIPE)
    task = asyncio.create_task(process.wait())
    await asyncio.sleep(0)
    await host.close()
    with pytest.raises(ConnectionLostError):
        await task
    assert process.stdin
    with pytest.raises(ConnectionLostError):
        process.stdin.write(b"x")
    await until_gone(f"sleep {name}")


async def test_signal_0_is_none_and_no_error_either(running: RunningServer) -> None:
    async with connect_async(running.targets["unix"]) as host, await host.popen(["cat"], stdin=PIPE) as process:
        process.send_signal(0)
        assert process.stdin is not None and process.returncode is None
        process.stdin.close()
        assert await process.wait() == 0
        process.send_signal(0)


async def test_query(running: RunningServer) -> None:
    async with connect_async(running.targets["unix"]) as host:
        done = await host.run(["true"])
        assert (await host.query(done.job)).state == "finished"
        process = await host.popen(["sleep", "60"])
        assert (await host.query(process.job)).state == "running"
        process.abandon()
        with pytest.raises(UsageError, match="no id"):
            await host.query("x" * 65)


async def test_the_round_trip_is_measured_when_asked(running: RunningServer) -> None:
    async with connect_async(running.targets["unix"]) as host:
        session = host.conversation.session
        assert session.round_trip is None and not session.measuring
        host.measure()
        host.measure()
        assert session.measuring
        await host.run(["true"])
        assert not session.measuring and session.round_trip is not None and 0 < session.round_trip < 5


async def test_the_servers_key_is_told_where_there_is_one(running: RunningServer) -> None:
    async with connect_async(running.targets["tls"], **running.options("tls")) as host:
        assert host.fingerprint == running.fingerprint
    async with connect_async(running.targets["unix"]) as host:
        assert host.fingerprint is None


async def test_a_limit_that_is_no_number_is_refused_at_once(running: RunningServer) -> None:
    most: Any
    async with connect_async(running.targets["unix"]) as host:
        for most in ("3", [1]):
            with pytest.raises(TypeError):
                await host.run(["echo", "x"], stdout=PIPE, most=most)
