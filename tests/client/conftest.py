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
def after() -> Iterator[Callable[[float | Callable[[], object], Callable[[], object]], None]]:
    """Does something in the main thread, in a signal handler: a test's Ctrl-C. (SIGALRM is the timeout's.)

    After so many seconds, or when something holds that another thread may look at. What raises is planned where that is expected:
    on a busy machine any time is over before the next line is reached.
    """
    before = signal.getsignal(signal.SIGUSR1)
    over = threading.Event()
    threads: list[threading.Thread] = []

    def plan(when: float | Callable[[], object], what: Callable[[], object]) -> None:
        def wait() -> None:
            if not callable(when):
                over.wait(when)
            else:
                while not when() and not over.wait(0.005):
                    continue
            if not over.is_set():
                os.kill(os.getpid(), signal.SIGUSR1)

        signal.signal(signal.SIGUSR1, lambda number, frame: what())
        threads.append(threading.Thread(target=wait))
        threads[-1].start()

    yield plan
    over.set()
    for thread in threads:
        thread.join()
    signal.signal(signal.SIGUSR1, before)
