"""Fixtures of the command line's tests."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import pytest

from remote_shell import testing
from remote_shell.client.blocking import Host, connect
from remote_shell.client.opening import Pty
from remote_shell.errors import CommandRefusedError


@pytest.fixture
def logging_restored() -> Iterator[logging.Logger]:
    """Our logger; what `cli.logs.start` does to it and to logging is undone."""
    logger = logging.getLogger("remote_shell")
    before = (list(logger.handlers), logger.level, logger.propagate, logging.raiseExceptions)
    yield logger
    logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions = before


watches: list[Host] = []  # connections that see which shells are left on `running`


@pytest.fixture(scope="package")
def running() -> Iterator[testing.RunningServer]:
    """One server for all tests that do not end it."""
    listen = ("unix:", "tls:127.0.0.1:0", "tcp:127.0.0.1:0")
    with testing.server(listen, config="[limits]\nrefusal_time = 0.1\n") as server:
        with connect(server.targets["unix"]) as watch:
            watches.append(watch)
            yield server
            watches.clear()


@pytest.fixture(autouse=True)
def no_shell_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test left behind a link that was cut would be offered to the next."""
    yield
    for watch in watches if "running" in request.fixturenames else ():
        for left in watch.shells():
            with contextlib.suppress(CommandRefusedError):  # it may have ended since it was listed
                watch.attach(left.id, pty=Pty()).close()


@pytest.fixture
def target(running: testing.RunningServer) -> str:
    """A target that needs no key."""
    return running.targets["unix"]
