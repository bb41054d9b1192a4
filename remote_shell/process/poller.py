"""One epoll inside the loop's own, for all descriptors of all commands.

`loop.add_reader` and `remove_reader` cost about ten microseconds of Python for each of a command's three descriptors;
here they are one C call each. Measured: 600 microseconds a command against 630 (and 645 for a local subprocess.run).

Must never outlive its loop, and knows nothing of what its descriptors are. Neighbours: `output`, `input`, `pipes` and `shell`
register; nobody else.
"""

from __future__ import annotations

import asyncio
import select
import weakref
from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT

# Callbacks run in one turn of the loop: bounds how long commands keep the loop from its sockets (2 MiB of reads).
_EVENTS_A_TURN = 32

_pollers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Poller] = weakref.WeakKeyDictionary()


class Poller:
    """Level-triggered. A callback runs on any event, errors and hang-ups included: it reads or writes and sees."""

    __slots__ = ("_callbacks", "_epoll")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> Poller:
        """The loop's poller, made on first use and gone with the loop. It must not refer to the loop, or neither dies."""
        poller = _pollers.get(loop)
        if poller is None:
            poller = _pollers[loop] = cls()
            loop.add_reader(poller._epoll.fileno(), poller._turn)
        return poller

    def add(self, fd: int, events: int, callback: Callable[[], None]) -> None:
        """Call `callback` while `fd` has one of the events. OSError if the kernel has no room (ENOSPC, ENOMEM)."""
        self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def drop(self, fd: int) -> None:
        """No further call, not even for events that were read already. Call it before closing `fd`."""
        del self._callbacks[fd]
        self._epoll.unregister(fd)

    def _turn(self) -> None:
        for fd, _ in self._epoll.poll(0, _EVENTS_A_TURN):
            callback = self._callbacks.get(fd)
            if callback is not None:  # dropped by a callback before it
                callback()
