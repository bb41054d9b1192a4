"""What a lost connection says of its command, over real sockets: never received, running, finished with what, or unknown."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from remote_shell import DEVNULL, PIPE
from remote_shell.client.async_ import AsyncHost, connect_async
from remote_shell.client.blocking import connect
from remote_shell.client.dialing import log_in
from remote_shell.client.login import Login
from remote_shell.client.plan import Plan
from remote_shell.client.process import ProcessState
from remote_shell.errors import CommandRefusedError, ConnectionLostError
from remote_shell.testing import RunningServer
from remote_shell.wire.frames import CONTROL, encode
from remote_shell.wire.messages import Disconnect
from tests.proxy import Proxy
from tests.server.lives import end, kill, life

from .test_blocking import running_commands, wait_until

pytestmark = pytest.mark.screen  # servers that die, one after the other

QUICK = "[limits]\ndrain_time = 0.1\nkill_grace = 0.1\n"
KEPT = pytest.mark.parametrize("ident", [None, "mine"], ids=["no id", "id"])


def line(home: Path, status: int = 5) -> list[str]:
    return ["sh", "-c", f"echo ran >> {home}/ran; exit {status}"]


def ran(home: Path) -> str:
    file = home / "ran"
    return file.read_text() if file.exists() else ""


def move(proxy: Proxy, running: RunningServer) -> None:
    """What connects from now on gets to this server."""
    proxy._upstream = running.partition(":")[2]
    proxy.go_away(False)


def only(host: AsyncHost) -> ProcessState:
    """The command that is under way."""
    return next(iter(host.conversation.states.values()))


def end_session(running: RunningServer, host: AsyncHost) -> None:
    """End its session on the server, as if its grace were over, while it has no connection."""
    assert host.conversation.resumable is not None
    received = host.conversation.session.received
    link, login = log_in(Login(Plan(running)), time.monotonic() + 5, host.conversation.resumable, received)
    assert login.welcome.resumed
    link.send([encode(CONTROL, 0, Disconnect(code="bye").encode())])
    assert link.flush()
    while link.recv() != b"":
        continue
    link.close()


async def lost(call: Any) -> ConnectionLostError:
    with pytest.raises(ConnectionLostError) as caught:
        await call
    assert caught.value.command_id and caught.value.command_id in str(caught.value)
    assert not isinstance(caught.value, subprocess.SubprocessError), "no status, no timeout"
    assert not hasattr(caught.value, "returncode")
    return caught.value


async def seen(ready: Callable[[], object]) -> None:
    await asyncio.to_thread(wait_until, ready)


# --- the link is cut, the session expires


@KEPT
async def test_cut_before_the_command_arrived(tmp_path: Path, ident: str | None) -> None:
    with life(tmp_path, config=QUICK) as running, Proxy(running) as proxy:
        async with connect_async(proxy.target) as host:
            proxy.stall()  # what is sent goes nowhere
            call = asyncio.create_task(host.run(line(tmp_path), command_id=ident))
            await seen(lambda: host.conversation.states)
            proxy.go_away()
            await asyncio.to_thread(end_session, running, host)
            proxy.stall(False)
            proxy.go_away(False)
            error = await lost(call)
            assert error.command_state == "never_received" and "never received" in str(error)
            assert ("under another one" in str(error)) == (ident is not None)
            if ident is not None:
                with pytest.raises(CommandRefusedError) as refused:
                    await host.run(line(tmp_path), command_id=ident)
                assert refused.value.code == "id_burnt"
    assert ran(tmp_path) == ""


@KEPT
async def test_cut_while_it_ran_to_its_end(tmp_path: Path, ident: str | None) -> None:
    with life(tmp_path, config=QUICK) as running, Proxy(running) as proxy:
        async with connect_async(proxy.target) as host:
            call = asyncio.create_task(
                host.run(["sh", "-c", "trap 'exit 9' TERM; echo; sleep 1000 & wait"], command_id=ident)
            )
            await seen(lambda: host.conversation.states and only(host).opened)
            proxy.go_away()
            await asyncio.to_thread(end_session, running, host)
            async with connect_async(running) as other:
                known = only(host).command_id
                while (await other.query(known)).state == "running":
                    continue
            proxy.go_away(False)
            error = await lost(call)
            assert error.command_state == "finished" and (error.exit_status, error.signal) in (
                (9, None),
                (None, "SIGTERM"),
            )
            told = "exit status 9" if error.exit_status == 9 else "SIGTERM ended it"
            assert told in str(error) and "its output is lost" in str(error)


@KEPT
async def test_cut_for_longer_than_the_client_waits(tmp_path: Path, ident: str | None) -> None:
    with life(tmp_path, config="grace = 0.2\n" + QUICK) as running, Proxy(running) as proxy:
        async with connect_async(proxy.target) as host:
            call = asyncio.create_task(host.run(["sleep", "1000"], command_id=ident))
            await seen(lambda: host.conversation.states and only(host).opened)
            proxy.go_away()
            error = await lost(call)
            assert error.command_state == "unknown" and error.exit_status is None and error.signal is None


@KEPT
@pytest.mark.parametrize("front", ["blocking", "asyncio"])
async def test_cut_when_its_time_is_over(tmp_path: Path, front: str, ident: str | None) -> None:
    """It ended in time and well, which nobody here can know: neither a timeout nor a status is told."""
    command = [
        "sh",
        "-c",
        f"echo > {tmp_path}/up; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo > {tmp_path}/ran",
    ]
    options: dict[str, Any] = {"stdin": DEVNULL, "stdout": PIPE, "timeout": 2, "command_id": ident}
    with life(tmp_path, config=QUICK) as running, Proxy(running) as proxy:
        if front == "blocking":

            def run() -> Any:
                with connect(proxy.target) as host:
                    return host.run(command, **options)

            call = asyncio.create_task(asyncio.to_thread(run))
        else:
            asynchronous = await connect_async(proxy.target)
            call = asyncio.create_task(asynchronous.run(command, **options))
        await seen((tmp_path / "up").exists)
        proxy.go_away()
        (tmp_path / "go").touch()
        await seen((tmp_path / "ran").exists)
        error = await lost(call)
        assert error.command_state == "unknown" and "not back when the command's 2 s were over" in str(error)
        proxy.go_away(False)
        if front == "asyncio":
            await asynchronous.close()


@pytest.mark.parametrize("ends", ["in time", "by the clock"])
@pytest.mark.parametrize("front", ["blocking", "asyncio"])
async def test_away_only_while_its_time_ends(tmp_path: Path, front: str, ends: str) -> None:
    """The connection is back a moment later, and with it the server's word."""
    options: dict[str, Any] = {"shell": True, "stdin": DEVNULL, "stdout": PIPE, "timeout": 0.6}
    seconds = "0.1" if ends == "in time" else "1042"
    command = f"echo > {tmp_path}/up; sleep {seconds}; echo > {tmp_path}/ran; echo told; exit 3"
    with life(tmp_path) as running, Proxy(running) as proxy:

        def run() -> Any:
            if front == "blocking":
                with connect(proxy.target) as host:
                    return host.run(command, **options)

            async def awaited() -> Any:
                async with connect_async(proxy.target) as asynchronous:
                    return await asynchronous.run(command, **options)

            return asyncio.run(awaited())

        call = asyncio.create_task(asyncio.to_thread(run))
        await seen((tmp_path / "up").exists)
        proxy.go_away()
        await asyncio.sleep(0.9)  # its time, and a moment more
        proxy.go_away(False)
        if ends == "in time":
            done = await call
            assert (done.returncode, done.stdout) == (3, b"told\n")
        else:
            with pytest.raises(subprocess.TimeoutExpired) as caught:
                await call
            assert caught.value.signal == "SIGTERM" and not (tmp_path / "ran").exists()  # type: ignore[attr-defined]


@pytest.mark.parametrize("front", ["blocking", "asyncio"])
async def test_what_a_command_left_holds_its_output_no_longer_than_its_time(tmp_path: Path, front: str) -> None:
    """As with subprocess. The server's clock stopped at the command's end, so its word is not waited for."""
    options: dict[str, Any] = {"shell": True, "stdin": DEVNULL, "stdout": PIPE, "timeout": 0.5}
    name = f"1041.{os.getpid()}"
    with life(tmp_path) as running:
        started = time.monotonic()
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            if front == "blocking":
                with connect(running) as host:
                    host.run(f"sleep {name} & echo hi", **options)
            else:
                async with connect_async(running) as asynchronous:
                    await asynchronous.run(f"sleep {name} & echo hi", **options)
        assert time.monotonic() - started < 2 and caught.value.output == b"hi\n"
        await seen(lambda: not running_commands(f"sleep {name}"))


# --- the server dies

DEATHS = {  # step at which it dies: what is told with an id of a person's
    "received": "never_received",
    "claimed": "unknown",
    "started": "unknown",
    "ended": "unknown",
    "written": "finished",
}


@pytest.mark.parametrize("step", DEATHS)
async def test_the_server_dies_and_comes_back(tmp_path: Path, step: str) -> None:
    with life(tmp_path, dies=step) as first, Proxy(first) as proxy:
        async with connect_async(proxy.target) as host:
            call = asyncio.create_task(host.run(line(tmp_path), command_id="mine", capture_output=True))
            await seen(lambda: first.process.poll() is not None)
            proxy.go_away()
            with life(tmp_path) as second:
                move(proxy, second)
                error = await lost(call)
                assert error.command_state == DEATHS[step] and "the server was started anew" in str(error)
                assert error.exit_status == (5 if step == "written" else None)
                if step == "written":
                    again = await host.run(line(tmp_path), command_id="mine", capture_output=True)
                    assert again.returncode == 5 and again.stdout == b"" and again.again
                else:
                    with pytest.raises(CommandRefusedError) as refused:
                        await host.run(line(tmp_path), command_id="mine")
                    assert refused.value.code == ("id_burnt" if step == "received" else "id_unknown")
                    assert "another" in str(refused.value)
    if step in ("received", "claimed"):
        assert ran(tmp_path) == ""
    else:
        wait_until(lambda: ran(tmp_path) == "ran\n")


@KEPT
def test_the_server_is_killed_while_it_runs(tmp_path: Path, ident: str | None) -> None:
    """With an id the next life says that it still runs; without one, nobody knows, and nothing is claimed."""
    left: list[int] = []
    try:
        with life(tmp_path) as first, Proxy(first) as proxy, connect(proxy.target) as host:
            with connect(first) as other:
                other.run(["true"], command_id="warm")
            process = host.popen(["sleep", "1000"], command_id=ident)
            with connect(first) as other:  # a later answer of the same disk: the start is written
                other.run(["true"], command_id="later")
            proxy.go_away()
            left = kill(first)
            with life(tmp_path) as second:
                move(proxy, second)
                with pytest.raises(ConnectionLostError) as caught:
                    process.wait()
                assert caught.value.command_state == ("unknown" if ident is None else "running")
                assert process.returncode is None, "a lost connection is no status"
                if ident is not None:
                    assert f"--id {ident}" in str(caught.value)
                    with pytest.raises(CommandRefusedError, match="still runs") as refused:
                        host.run(["sleep", "1000"], command_id=ident)
                    assert refused.value.code == "id_running"
                assert host.query(process.job).state == ("unknown" if ident is None else "running")
    finally:
        end(left)


def test_refused_lost_timed_out_and_signalled_are_apart(tmp_path: Path) -> None:
    with life(tmp_path, config=QUICK) as running, connect(running) as host:
        done = host.run(["sh", "-c", "kill -9 $$"], command_id="killed")
        assert (done.returncode, done.signal, done.again) == (-9, "SIGKILL", False)
        assert host.run(["sh", "-c", "exit 137"], command_id="status").signal is None
        for _ in range(2):  # told again as it was told first
            with pytest.raises(subprocess.TimeoutExpired):
                host.run(["sleep", "1000"], command_id="slow", timeout=0.05)
            assert host.run(["sh", "-c", "kill -9 $$"], command_id="killed").signal == "SIGKILL"
            assert host.run(["sh", "-c", "exit 137"], command_id="status").returncode == 137
        with pytest.raises(CommandRefusedError) as refused:
            host.run(["true"], command_id="killed")
        assert refused.value.code == "id_conflict" and "choose another" in str(refused.value)
        report = host.query("slow")
        assert (report.state, report.signal, report.timed_out) == ("finished", "SIGTERM", True)
