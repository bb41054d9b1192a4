"""Idling: when a server that was started for whoever came ends by itself.

Counts a server as busy while anybody is there or may come back: a connection, a session within its grace, a shell that was left, a tree
that is being killed. Detached jobs do not count: they have keepers of their own and outlive any server. Neighbour: `server` is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_LOOKS = 20  # within the time; at that rate it is missed by a twentieth
_LEAST, _MOST = 0.02, 30.0  # seconds between two looks


class Idling:
    """Looks now and then; calls `leave` when nobody was there for `seconds`, again and again until it says that it left."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        *,
        busy: Callable[[], bool],
        visits: Callable[[], int],
        leave: Callable[[], bool],
    ) -> None:
        """`visits` counts connections: one that came and went between two looks is somebody too."""
        self._loop = loop
        self._seconds = seconds
        self._busy = busy
        self._visits = visits
        self._leave = leave
        self._seen = visits()
        self._since = loop.time()
        self._look_again()

    def _look_again(self) -> None:
        self._loop.call_later(min(_MOST, max(_LEAST, self._seconds / _LOOKS)), self._look)

    def _look(self) -> None:
        now, visits = self._loop.time(), self._visits()
        if visits != self._seen or self._busy():
            self._seen, self._since = visits, now
        elif now - self._since >= self._seconds and self._leave():
            return
        self._look_again()
