"""One server for all tests of the client, and connections to it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from remote_shell import testing
from remote_shell.client.blocking import Host, connect


@pytest.fixture(scope="package")
def running() -> Iterator[testing.RunningServer]:
    listen = ("unix:", "tls:127.0.0.1:0", "tcp:127.0.0.1:0")
    with testing.server(listen, config="[limits]\nrefusal_time = 0.1\n") as server:
        yield server


@pytest.fixture
def host(running: testing.RunningServer) -> Iterator[Host]:
    with connect(running.targets["unix"]) as connected:
        yield connected


@pytest.fixture
def after() -> Iterator[Callable[[float, Callable[[], object]], None]]:
    """Does something in the main thread after so many seconds, in a signal handler: a test's Ctrl-C. (SIGALRM is the timeout's.)"""
    before = signal.getsignal(signal.SIGUSR1)
    timers: list[threading.Timer] = []

    def plan(seconds: float, what: Callable[[], object]) -> None:
        signal.signal(signal.SIGUSR1, lambda number, frame: what())
        timers.append(threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGUSR1)))
        timers[-1].start()

    yield plan
    for timer in timers:
        timer.cancel()
        timer.join()
    signal.signal(signal.SIGUSR1, before)
