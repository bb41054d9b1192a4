"""Whether the server answers, while a person waits for it: a connection that stands says nothing of that.

Asks for a sign of life when nothing has come for a while, tells `notices` how long the answer is due, and gives the connection up in the
end, which costs nothing: the session goes on over the next one. Must never ask while nobody waits. Neighbours: `notices` has the words,
`repl` and `raw` own one.
"""

from __future__ import annotations

import asyncio

from remote_shell.cli.notices import Notices
from remote_shell.client.async_ import AsyncHost

_FIRST = 0.7  # seconds without a word after something was sent, before we ask
_AGAIN = 2.0  # while a command runs and writes nothing
_TICK = 0.25  # between two looks while an answer is due
_GIVE_UP = 8.0  # without an answer; TCP itself would try for a quarter of an hour


class Contact:
    """`begin` when a person waits, `end` when not."""

    def __init__(self, host: AsyncHost, notices: Notices) -> None:
        self._host = host
        self._notices = notices
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._asked_at: float | None = None  # the question that is not answered

    def begin(self) -> None:
        """Something was sent, or is about to be."""
        if self._timer is None:
            self._timer = self._loop.call_later(_FIRST, self._look)

    def end(self) -> None:
        """Nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._asked_at is not None:
            self._asked_at = None
            self._notices.silence(0.0)

    def _look(self) -> None:
        now = self._loop.time()
        if self._notices.away:  # `notices` knows by itself
            self._asked_at = None
        elif self._asked_at is None:
            if self._host.silence >= _FIRST:
                self._asked_at = now
                self._host.ping(self._answered)
        else:
            waited = now - self._asked_at
            self._notices.silence(waited)
            if waited >= _GIVE_UP:
                self._asked_at = None
                self._host.drop_connection(f"no answer for {waited:.0f} s")
        self._timer = self._loop.call_later(_AGAIN if self._asked_at is None else _TICK, self._look)

    def _answered(self) -> None:
        if self._asked_at is not None:
            self._asked_at = None
            self._notices.silence(0.0)
