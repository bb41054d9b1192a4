"""Signals end a wait of the blocking client's: none is slept on.

Python runs a handler between two instructions, so one whose signal came right before poll(2) waited until something else ended the
poll: the second Ctrl-C to a server that is silent, for as long as that was silent. The wakeup descriptor is the whole process's, so
a library must not take it; a program of ours may. Neighbours: `passing` has the handlers, `loop` does the same where asyncio waits.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from remote_shell.client.blocking import Host


@contextmanager
def woken_by_signals(host: Host) -> Iterator[None]:
    """Meanwhile every signal that has a handler ends a wait of the host's. In the main thread alone."""
    driver = host._driver
    ends = reader, writer = _pipe()

    def drain() -> None:
        with suppress(BlockingIOError):
            os.read(reader, 4096)

    with driver:
        driver.add_source(reader, drain)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        with driver:
            driver.remove_source(reader)
        for end in ends:
            os.close(end)


def _pipe() -> tuple[int, int]:
    """One above descriptor 2: one of those may be closed, and means the command's stream even so."""
    low = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        reader, writer = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3) for end in low)
    finally:
        for end in low:
            os.close(end)
    return reader, writer
