"""Fixtures of the command line's tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from remote_shell import testing


@pytest.fixture
def logging_restored() -> Iterator[logging.Logger]:
    """Our logger; what `cli.logs.start` does to it and to logging is undone."""
    logger = logging.getLogger("remote_shell")
    before = (list(logger.handlers), logger.level, logger.propagate, logging.raiseExceptions)
    yield logger
    logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions = before


@pytest.fixture(scope="package")
def running() -> Iterator[testing.RunningServer]:
    """One server for all tests that do not end it."""
    listen = ("unix:", "tls:127.0.0.1:0", "tcp:127.0.0.1:0")
    with testing.server(listen, config="[limits]\nrefusal_time = 0.1\n") as server:
        yield server


@pytest.fixture
def target(running: testing.RunningServer) -> str:
    """A target that needs no key."""
    return running.targets["unix"]
