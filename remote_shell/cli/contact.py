"""Whether the server answers, while a person waits for it or stands at the prompt: a connection that stands says nothing of that.

Asks for a sign of life when nothing has come for a while, tells `notices` how long the answer is due, and gives the connection up in the
end, which costs nothing: the session goes on over the next one. At the prompt it asks seldom. Neighbours: `notices` has the words,
`repl` and `raw` own one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from remote_shell.cli.notices import STATUS, Notices
from remote_shell.client.async_ import AsyncHost

_FIRST = 0.7  # seconds without a word after something was sent, before we ask
_AGAIN = 2.0  # while a command runs and writes nothing
_AT_PROMPT = 5.0  # without a word at the prompt: 14 bytes a second each way over TLS, and a thousandth of a core
_DRAW = 1.0  # between two drawings of what goes wrong
_TICK = 0.25  # between two looks while an answer is due
_GIVE_UP = 8.0  # without an answer; TCP itself would try for a quarter of an hour


class Contact:
    """`begin` when a person waits, `rest` when the prompt stands, `end` when neither.

    `draw` is called once a second while something is wrong at the prompt: how long it is tells only what is drawn anew.
    """

    def __init__(self, host: AsyncHost, notices: Notices, draw: Callable[[], None] = lambda: None) -> None:
        self._host = host
        self._notices = notices
        self._draw = draw
        self._resting = False
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._asked_at: float | None = None  # the question that is not answered

    def begin(self) -> None:
        """Something was sent, or is about to be."""
        if self._timer is None or self._resting:
            self._resting = False
            self._look_in(_FIRST)

    def rest(self) -> None:
        """The prompt stands: nobody waits for anything, but whoever types next wants to know."""
        if self._timer is None:
            self._resting = True
            self._look_in(_AT_PROMPT)

    def news(self) -> None:
        """The connection's state changed: what the prompt tells of it is out of date."""
        if self._resting:
            self._asked_at = None  # no answer comes over another connection
            self._look_in(STATUS if self._notices.away else _AT_PROMPT)
            self._draw()

    def end(self) -> None:
        """Nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._resting = False
        if self._asked_at is not None:
            self._asked_at = None
            self._notices.silence(0.0)

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        patience = _AT_PROMPT if self._resting else _FIRST
        if self._notices.away:  # `notices` knows by itself
            self._asked_at = None
        elif self._asked_at is None:
            if self._host.silence >= patience:
                self._asked_at = now
                self._host.ping(self._answered)
        else:
            waited = now - self._asked_at
            self._notices.silence(waited)
            if waited >= _GIVE_UP:
                self._asked_at = None
                self._host.drop_connection(f"no answer for {waited:.0f} s")
        if self._resting and self._notices.brief():
            self._draw()
        if self._asked_at is not None:
            self._look_in(_TICK)
        elif not self._resting:
            self._look_in(_AGAIN)
        else:
            self._look_in(_DRAW if self._notices.away else max(_TICK, _AT_PROMPT - self._host.silence))

    def _answered(self) -> None:
        if self._asked_at is not None:
            self._asked_at = None
            self._notices.silence(0.0)
