"""Fixtures of the command line's tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def logging_restored() -> Iterator[logging.Logger]:
    """Our logger; what `cli.logs.start` does to it and to logging is undone."""
    logger = logging.getLogger("remote_shell")
    before = (list(logger.handlers), logger.level, logger.propagate, logging.raiseExceptions)
    yield logger
    logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions = before
