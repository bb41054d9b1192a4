"""Our stdout for a program's output and for what we add to it, in order, without ever waiting for it.

A terminal that takes nothing (its window is stopped, its network hangs) would hold a blocking write for ever, and with it the event
loop: signals, pings and `~.` would go unheard. Must not set our descriptor non-blocking, since the shell that started us shares it: a
terminal or a pipe is opened anew for that, as libuv does. Neighbour: `raw` uses it.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
from collections.abc import Callable

_PIECE = 4096  # pipe(7): what is writable takes so much at once


class Outlet:
    """Where `descriptor` leads, for one event loop. `written` is told of every byte that left, when it has."""

    def __init__(self, descriptor: int, written: Callable[[bytes], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = _opened_anew(descriptor)
        self._written = written
        self._queue = bytearray()
        self._watched = False
        self._error: OSError | None = None
        self._empty: asyncio.Future[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Something waits for room."""
        return bool(self._queue)

    def put(self, data: bytes) -> None:
        """Write what goes now, queue the rest. The queue has no bound: who puts much waits with `drained`."""
        if self._descriptor >= 0 and self._error is None:
            self._queue += data
            self._move()

    async def drained(self) -> None:
        """Wait until all is written. Raises OSError. For one caller at a time."""
        if self._queue and self._error is None:
            self._empty = self._loop.create_future()
            try:
                await self._empty
            finally:
                self._empty = None
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Forget what waits."""
        self._queue.clear()
        if self._descriptor >= 0:
            self._unwatch()
            os.close(self._descriptor)
            self._descriptor = -1

    def _move(self) -> None:
        try:
            while self._queue and _is_writable(self._descriptor):
                piece = bytes(self._queue[:_PIECE])
                count = os.write(self._descriptor, piece)
                del self._queue[:count]
                self._written(piece[:count])
        except BlockingIOError:
            pass
        except OSError as error:
            self._error = error
            self._queue.clear()
        if self._queue:
            self._watch()
            return
        self._unwatch()
        if self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def _watch(self) -> None:
        if not self._watched:
            self._watched = True
            self._loop.add_writer(self._descriptor, self._move)

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._loop.remove_writer(self._descriptor)


def _opened_anew(descriptor: int) -> int:
    """Non-blocking where that can be had, otherwise (a file; a terminal of another account, after su) the same again."""
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISFIFO(kind) or os.isatty(descriptor):
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            return os.open(f"/proc/self/fd/{descriptor}", flags)
        except OSError:
            pass
    return os.dup(descriptor)


def _is_writable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))
