"""Young commands: those started a moment ago. We hold the write ends of their output beside them.

A process closes its files before it can be waited for, so the ends of its pipes woke the loop for nothing: the process had not ended
yet, and where the loop had taken its CPU, could not. With the write ends in our hands, too, nothing but its exit wakes us, which saves most
commands a turn of the loop and a timer. One that closes its output early and goes on is found out when it is young no more, at most twice
`limits.young_time` after its start.

One timer serves all of a loop's: one for each command would cost as much as it saves. Must never keep a command alive, nor its loop.
Neighbour: `pipes`.
"""

from __future__ import annotations

import asyncio
import os
import weakref

from remote_shell.limits import Limits

_nurseries: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Nursery] = weakref.WeakKeyDictionary()


def let_go(held: list[int]) -> None:
    """Close these descriptors, and forget them."""
    while held:
        os.close(held.pop())


class Nursery:
    """What the young commands of one loop hold: lists of descriptors, which whoever comes first empties by `let_go`."""

    __slots__ = ("_armed", "_born", "_loop", "_older", "_time")

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self._loop = weakref.ref(loop)
        self._time = limits.young_time
        self._born: list[list[int]] = []  # since the timer was set
        self._older: list[list[int]] = []  # before that
        self._armed = False

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop, limits: Limits) -> Nursery:
        """The loop's, made on first use and gone with the loop."""
        nursery = _nurseries.get(loop)
        if nursery is None:
            nursery = _nurseries[loop] = cls(loop, limits)
        return nursery

    def add(self, held: list[int]) -> None:
        """A command was started just now."""
        self._born.append(held)
        if not self._armed:
            self._arm()

    def _arm(self) -> None:
        loop = self._loop()
        if loop is not None:
            self._armed = True
            loop.call_later(self._time, self._tick)

    def _tick(self) -> None:
        self._armed = False
        older, self._older, self._born = self._older, self._born, []
        for held in older:
            let_go(held)
        if any(self._older):
            self._arm()
