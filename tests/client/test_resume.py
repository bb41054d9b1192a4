"""Cuts on real sockets: everything in flight goes on, or its fate is told; nothing runs twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from remote_shell import DEVNULL, PIPE, testing
from remote_shell.client.async_ import connect_async
from remote_shell.client.blocking import connect
from remote_shell.client.dialing import log_in
from remote_shell.client.login import Login
from remote_shell.client.plan import Plan
from remote_shell.errors import ConnectError, ConnectionLostError, UsageError
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.testing import RunningServer
from tests.proxy import Proxy

from .test_blocking import running_commands, wait_until

pytestmark = pytest.mark.screen  # as a file it takes long

HASTY = "[limits]\ndrain_time = 0.1\nkill_grace = 0.1\n"


class Heard:
    """What `on_state` was told."""

    def __init__(self) -> None:
        self.states: list[Any] = []

    def __call__(self, state: Any) -> None:
        self.states.append(state)

    @property
    def names(self) -> list[str]:
        return [state.name for state in self.states]


def through(proxy: Proxy, running: RunningServer, **more: Any) -> Any:
    """A connection through the proxy; the login itself may be cut."""
    kind = proxy.target.partition(":")[0]
    for _ in range(200):
        try:
            return connect(proxy.target, **running.options(kind), **more)
        except ConnectError:
            continue
    raise AssertionError("no login comes through")


@pytest.mark.parametrize("kind", ["unix", "tls"])
def test_a_cut_while_a_command_runs(running: RunningServer, kind: str) -> None:
    heard = Heard()
    with Proxy(running.targets[kind]) as proxy, through(proxy, running, on_state=heard) as host:
        with host.popen(["cat"], stdin=PIPE, stdout=PIPE) as process:
            for word in (b"before\n", b"between\n", b"after\n"):
                process.stdin.write(word)
                process.stdin.flush()
                assert process.stdout.readline() == word
                proxy.cut()
        assert process.returncode == 0
        assert host.run(["echo", "next"], capture_output=True).stdout == b"next\n"
    assert heard.names[:3] == ["connected", "lost", "resumed"] and set(heard.names) == {"connected", "lost", "resumed"}
    assert heard.states[2].after < 5


@pytest.mark.parametrize("kind", ["unix", "tls"])
def test_a_cut_of_a_second_is_a_break_of_not_much_more(running: RunningServer, kind: str) -> None:
    """Nobody listens meanwhile, and each attempt is turned away at once."""
    heard = Heard()
    with Proxy(running.targets[kind]) as proxy, through(proxy, running, on_state=heard, grace=60) as host:
        with host.popen(["sleep", "1000"]) as process:
            went = time.monotonic()
            proxy.go_away()
            lasted: list[float] = []

            def come_back() -> None:
                proxy.go_away(False)
                lasted.append(time.monotonic() - went)

            back = threading.Timer(1.0, come_back)
            back.start()
            while "resumed" not in heard.names:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.1)
            back.join()
            process.kill()
    assert heard.names[-1] == "resumed" and "retrying" in heard.names
    assert 0.9 < heard.states[-1].after < 1.5 * lasted[0] + 0.3  # half as long again, and what a login takes


def streams(running: RunningServer, kind: str, size: int, cuts: int, seed: int) -> None:
    """`tee` both ways through a link that is cut at random bytes."""
    rng = random.Random(seed)
    data, heard = rng.randbytes(size), Heard()
    span = size * 3 // cuts
    with (
        Proxy(running.targets[kind], cut_after=lambda number: rng.randrange(100, 2 * span)) as proxy,
        through(proxy, running, on_state=heard) as host,
    ):
        mark = f"/tmp/ran-{os.getpid()}-{seed}"
        done = host.run(f"echo >> {mark}; exec tee /dev/stderr", shell=True, input=data, capture_output=True)
        runs = host.run(["cat", mark], capture_output=True).stdout
        host.run(["rm", mark])
        assert done.stdout == data and done.stderr == data
        assert done.returncode == 0 and runs == b"\n", "it ran once"
        assert proxy.cuts >= cuts // 2
    assert set(heard.names) <= {"connected", "lost", "resumed", "retrying"}


@pytest.mark.parametrize("kind", ["unix", "tls"])
def test_cuts_at_random_bytes(running: RunningServer, kind: str) -> None:
    streams(running, kind, size=3_000_000, cuts=20, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["unix", "tls"])
def test_many_cuts_at_random_bytes(running: RunningServer, kind: str) -> None:
    streams(running, kind, size=64 * 2**20, cuts=250, seed=2)


def test_in_the_asyncio_front(running: RunningServer) -> None:
    async def scene() -> None:
        rng = random.Random(3)
        data, heard = rng.randbytes(700_000), Heard()
        async with connect_async(proxy.target, on_state=heard) as host:
            proxy.cut_after = lambda number: rng.randrange(100, 500_000)
            proxy.cut()
            runs = [host.run(["tee", "/dev/stderr"], input=data, capture_output=True) for _ in range(3)]
            for done in await asyncio.gather(*runs):
                assert done.stdout == data and done.stderr == data and done.returncode == 0
            proxy.cut_after = None
            shell = await host.shell()
            await shell.run("x=1")
            proxy.cut()
            assert (await shell.run("echo $x")).stdout == "1\n"
        assert proxy.cuts > 5
        assert set(heard.names) <= {"connected", "lost", "resumed", "retrying"}

    with Proxy(running.targets["unix"]) as proxy:
        asyncio.run(scene())


def test_a_live_shell_survives(running: RunningServer) -> None:
    with Proxy(running.targets["unix"]) as proxy, through(proxy, running) as host, host.shell() as shell:
        shell.run("cd /usr; x=1")
        proxy.cut()
        assert shell.run("echo $x $PWD").stdout == "1 /usr\n"


@pytest.mark.slow
def test_a_wait_for_the_link_is_told_and_ends(running: RunningServer, tmp_path: Path) -> None:
    heard = Heard()
    with Proxy(running.targets["unix"]) as proxy, through(proxy, running, on_state=heard) as host:
        process = host.popen(f"until [ -e {tmp_path}/back ]; do sleep 0.01; done", shell=True)
        proxy.go_away()
        while "retrying" not in heard.names:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
        retrying = [state for state in heard.states if state.name == "retrying"]
        assert retrying and 0 < retrying[0].gives_up <= 60 and retrying[0].next_try <= 5
        assert "closed" in retrying[0].reason or "refuses" in retrying[0].reason
        proxy.go_away(False)
        (tmp_path / "back").touch()
        assert process.wait() == 0
        process.release()
    assert heard.names[-1] == "resumed"


def test_polling_alone_brings_the_link_back(running: RunningServer) -> None:
    with Proxy(running.targets["unix"]) as proxy, through(proxy, running) as host:
        process = host.popen(["sh", "-c", "sleep 0.1; exit 3"])
        proxy.cut()
        wait_until(lambda: process.poll() == 3)
        process.release()


@pytest.mark.slow
def test_a_timeout_of_ours_while_there_is_no_link(running: RunningServer) -> None:
    quick = replace(DEFAULT_LIMITS, kill_grace=0.1)
    with Proxy(running.targets["unix"]) as proxy, through(proxy, running, limits=quick) as host:
        with host.popen(["true"]) as process:
            process.wait()
        started = time.monotonic()
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            proxy.stall()
            try:
                host.run("echo out; sleep 60", shell=True, capture_output=True, timeout=0.2)
            finally:
                proxy.stall(False)
        assert time.monotonic() - started < 6
        assert caught.value.timeout == 0.2


@pytest.mark.slow
def test_the_server_forgot_the_session(tmp_path: Path) -> None:
    """After the grace: the command is known by its id, and that it was ended."""
    heard = Heard()
    with testing.server(("unix:",), config="grace = 0.2\n") as running, Proxy(running) as proxy:
        with connect(proxy.target, on_state=heard) as host:
            process = host.popen(["sleep", "60"])
            waiting = host.popen(["cat"], stdin=PIPE, stdout=PIPE)
            proxy.cut()
            wait_until(lambda: "did not come back" in running.read_log())
            wait_until(lambda: not running_commands("sleep 60.0"))
            time.sleep(0)
            with pytest.raises(ConnectionLostError) as caught:
                process.wait()
            assert caught.value.command_state in ("finished", "running") and caught.value.command_id == process.job
            with pytest.raises(ConnectionLostError, match="Nothing is run again"):
                waiting.stdout.read()
            assert host.run(["echo", "x"], capture_output=True).stdout == b"x\n"
    assert heard.names == ["connected", "lost", "new_session"], "a new session is never called resumed"


@pytest.mark.slow
def test_the_server_was_started_anew() -> None:
    """Another life of the server can't know: unknown, and nothing is asked that would burn an id."""
    with testing.server(("unix:",), config=HASTY) as first, Proxy(first) as proxy:
        host = connect(proxy.target)
        process = host.popen(["sleep", "60"])
        proxy.go_away()
        with testing.server(("unix:",), config=HASTY) as second:
            proxy._upstream = second.partition(":")[2]
            proxy.go_away(False)
            with host, pytest.raises(ConnectionLostError, match="started anew") as caught:
                process.wait()
            assert caught.value.command_state == "unknown"


def test_the_server_shuts_down() -> None:
    heard = Heard()
    with testing.server(("unix:",), config=HASTY) as running:
        with connect(running, on_state=heard) as host:
            process = host.popen(["sleep", "60"])
            running.process.send_signal(signal.SIGTERM)
            started = time.monotonic()
            try:
                code = process.wait()
            except ConnectionLostError as error:
                assert "shuts down" in str(error)
            else:
                assert code < 0
            assert time.monotonic() - started < 10
            running.process.wait(10)
            with pytest.raises((ConnectError, ConnectionLostError)):
                host.run(["true"])


def test_a_server_that_went_away_between_calls_costs_nothing() -> None:
    """Nothing was in flight, so the next call begins anew without an error."""
    heard = Heard()
    with (
        testing.server(("unix:",), config=HASTY) as first,
        Proxy(first) as proxy,
        connect(proxy.target, on_state=heard) as host,
    ):
        assert host.run(["true"]).returncode == 0
        proxy.go_away()
        with testing.server(("unix:",), config=HASTY) as second:
            proxy._upstream = second.partition(":")[2]
            proxy.go_away(False)
            assert host.run(["true"]).returncode == 0
    assert heard.names == ["connected", "lost", "new_session"]


@pytest.mark.slow
def test_it_gives_up_when_nobody_answers() -> None:
    heard = Heard()
    with testing.server(("unix:",), config="grace = 0.5\n") as running, Proxy(running) as proxy:
        with connect(proxy.target, on_state=heard) as host:
            process = host.popen(["sleep", "60"])
            proxy.go_away()
            started = time.monotonic()
            with pytest.raises(ConnectionLostError, match="tried for") as caught:
                process.wait()
            assert 0.4 < time.monotonic() - started < 5
            assert caught.value.command_state == "unknown" and process.job in str(caught.value)
            with pytest.raises(ConnectError):
                host.run(["true"])
            proxy.go_away(False)
            assert host.run(["true"]).returncode == 0
    assert heard.names[-1] in ("connected", "new_session") and "gave_up" in heard.names


def test_the_displaced_side_does_not_come_back(running: RunningServer) -> None:
    heard = Heard()
    with connect(running.targets["unix"], on_state=heard) as host:
        process = host.popen(["sleep", "0.5"])
        conversation = host._conversation
        thief = Login(Plan(running.targets["unix"]))
        link, login = log_in(thief, time.monotonic() + 5, host.welcome.session, conversation.session.received)
        try:
            assert login.welcome.resumed
            with pytest.raises(ConnectionLostError, match="taken over") as caught:
                process.wait()
            assert caught.value.command_state == "running"
        finally:
            link.close()
    assert Counter(heard.names) == {"connected": 1, "gave_up": 1}


def test_a_slow_link(running: RunningServer) -> None:
    """50 ms there, 50 ms back: a command costs one round trip, and stdin goes along with its start."""
    with Proxy(running.targets["unix"], latency=0.05) as proxy, through(proxy, running) as host:
        host.run(["true"], stdin=DEVNULL)
        took = []
        for _ in range(5):
            flights, started = proxy.flights, time.monotonic()
            assert host.run(["cat"], input=b"along", capture_output=True).stdout == b"along"
            took.append(time.monotonic() - started)
            assert proxy.flights - flights == 1, "something waited for an answer before it was sent"
        assert 0.1 <= min(took) < 0.19


def test_pieces_of_any_size(running: RunningServer) -> None:
    with Proxy(running.targets["tls"], piece=1) as proxy, through(proxy, running) as host:
        assert host.run(["cat"], input=b"x" * 2000, capture_output=True).stdout == b"x" * 2000


async def test_reconnecting_at_will_keeps_the_session_and_what_runs(running: RunningServer) -> None:
    heard = Heard()
    async with connect_async(running.targets["unix"], on_state=heard) as host:
        process = await host.popen(["sh", "-c", "read x; echo $x"], stdin=PIPE, stdout=PIPE)
        session = host.welcome.session
        await host.reconnect()
        assert host.welcome.session == session and host.conversation.reconnects == 1
        assert heard.names == ["connected", "lost", "resumed"]
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"still here\n")
        assert await process.stdout.read() == b"still here\n"
        assert await process.wait() == 0


async def test_reconnecting_is_refused_where_it_would_lose_the_session() -> None:
    with testing.server(("unix:",), config="grace = 0\n") as server:
        async with connect_async(str(server)) as host:
            with pytest.raises(UsageError, match="keeps no session"):
                await host.reconnect()
            assert (await host.run(["true"])).returncode == 0 and host.conversation.reconnects == 0
