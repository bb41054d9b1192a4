"""A server with `--idle-exit` ends when nobody was there for so long, and never while somebody is, may come back, or is at the door."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remote_shell import testing
from remote_shell.client.blocking import connect
from remote_shell.config.socket_lock import hold
from remote_shell.server.idling import Idling

IDLE = 0.7  # seconds; more than a busy machine takes from the ready line to a connection


@pytest.fixture
def running() -> Iterator[testing.RunningServer]:
    with testing.server(("unix:",), config=f"idle_exit = {IDLE}\ngrace = {IDLE * 5}\n") as server:
        yield server


def ended(server: testing.RunningServer, within: float) -> bool:
    try:
        server.process.wait(within)
    except subprocess.TimeoutExpired:
        return False
    return True


@pytest.mark.screen
def test_it_ends_by_itself_and_leaves_no_socket(running: testing.RunningServer) -> None:
    assert ended(running, 10)
    assert running.process.returncode == 0
    assert not os.path.exists(running.targets["unix"].removeprefix("unix:"))
    assert "nobody was here" in running.read_log()


@pytest.mark.screen
def test_not_while_a_client_is_there(running: testing.RunningServer) -> None:
    with connect(running):
        assert not ended(running, IDLE * 4)
    assert ended(running, 10)


@pytest.mark.screen
def test_not_while_a_lost_session_may_be_resumed(running: testing.RunningServer) -> None:
    with connect(running) as host:
        link = host._driver.detach()
        assert link is not None
        link.close()
        assert not ended(running, IDLE * 3)
        host._driver.close()
    assert ended(running, 10)


@pytest.mark.screen
def test_visits_between_two_looks_count() -> None:
    idle = 3 * IDLE  # a busy machine may keep us away for one
    with testing.server(("unix:",), config=f"idle_exit = {idle}\n") as running:
        until = time.monotonic() + idle * 2
        while time.monotonic() < until:
            with connect(running) as host:
                host.run(["true"], check=True)
            time.sleep(IDLE / 4)
        assert running.process.poll() is None


class Clock:
    """A loop with one timer, whose time is what we say."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers = 0
        self._look: Callable[[], object] = bool

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, look: Callable[[], object]) -> None:
        self._look = look
        self.timers += 1

    def at(self, now: float) -> None:
        self.now = now
        self._look()


def test_who_came_and_went_between_two_looks_was_there() -> None:
    clock, visits, left = Clock(), [0], [0.0]

    def leave() -> bool:
        left.append(clock.now)
        return len(left) > 2

    Idling(clock, 10.0, busy=bool, visits=lambda: visits[0], leave=leave)  # type: ignore[arg-type]
    clock.at(9.0)
    visits[0] = 1
    for now in (11.0, 20.0, 20.9):
        clock.at(now)
    assert left == [0.0]
    clock.at(21.0)
    clock.at(22.0)  # it could not leave, and is asked again
    assert left == [0.0, 21.0, 22.0]
    assert clock.timers == 6  # and none after the last


@pytest.mark.screen
def test_not_while_somebody_holds_the_lock(running: testing.RunningServer) -> None:
    lock = hold(running.targets["unix"].removeprefix("unix:"), 5)
    assert lock is not None
    try:
        assert not ended(running, IDLE * 4)
    finally:
        os.close(lock)
    assert ended(running, 10)


AT_THE_DOOR = """
import asyncio, os, socket, sys
from remote_shell.config.server import ServerConfig
from remote_shell.config.targets import Target
from remote_shell.server.server import Server

async def scenario(path):
    server = Server(ServerConfig(listen=(Target("unix", path=path),)))
    await server.start()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)  # and the loop has no turn before the question
        print(server.leave_unasked(), os.path.exists(path))
    while server.busy or not server.visits:
        await asyncio.sleep(0.01)
    print(server.leave_unasked(), os.path.exists(path))
    await server.close(0.0)

asyncio.run(scenario(sys.argv[1]))
"""


def test_a_connection_that_is_not_accepted_yet_keeps_it(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o700)
    # in a process of its own: a server is a subreaper
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_DOOR, str(tmp_path / "s")],
        capture_output=True,
        env={**os.environ, "REMOTE_SHELL_HOME": str(tmp_path)},
        cwd=Path(__file__).parents[2],
        timeout=15,
    )
    assert done.stdout == b"False True\nTrue False\n", done.stderr


def test_an_idle_time_of_nothing_is_refused() -> None:
    from remote_shell.config.server import load
    from remote_shell.errors import ConfigError

    with pytest.raises(ConfigError, match="idle_exit: must be above zero"):
        load(None, idle_exit=0.0)
