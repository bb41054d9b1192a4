"""Telling a person that the connection is away and back, and nobody else: quiet about what mends itself in a moment.

Three endings are never mixed: the same session resumed, a new session, given up. "No contact" (there is no connection) is told
apart from "no answer" (there is one, and nothing comes over it). Decides what to say and when; `later`, `say` and `status` do it, since
`run` has a timer of signals and the REPL an event loop. Imports nothing heavy. Neighbours: client's `retry` has the states,
`contact` sees silence, `commands.run`, `raw` and `repl` show the lines.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from remote_shell.client.retry import State

STATUS = 1.5  # seconds without a connection or an answer before a status is shown
WORDS = 3.0  # and before a line is said


class Notices:
    """Takes `on_state`'s states. `later(seconds, what)` calls `what` once, or forgets it when `what` is None.

    `status` shows a short text where a person looks, "" takes it away; `details` adds to "same session resumed".
    """

    def __init__(
        self,
        name: str,
        say: Callable[[str], None],
        later: Callable[[float, Callable[[], None] | None], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        status: Callable[[str], None] = lambda text: None,
        details: Callable[[Callable[[str], None]], None] = lambda tell: tell("nothing is lost"),
        keeps: bool = False,
    ) -> None:
        self._name = name
        self._say = say
        self._later = later
        self._clock = clock
        self._status = status
        self._details = details
        self._keeps = keeps  # the server keeps the shell beyond the session
        self._lost_at: float | None = None
        self._silent_since: float | None = None  # "no answer" is shown or told
        self._next = 0.0
        self._until = 0.0
        self._told = False  # a line
        self._shown = False  # a status
        self._silence_told = False

    @property
    def away(self) -> bool:
        """There is no connection now."""
        return self._lost_at is not None

    def brief(self) -> str:
        """What is wrong, for a line that is drawn again and again: as of now, and "" for nothing or what just began."""
        now, since = self._clock(), self._since
        if since is None or now - since < STATUS:
            return ""
        if self._lost_at is None:
            return f"no answer for {_span(now - since)}"
        kept = "your shell is kept" if self._keeps else f"session kept {self._kept(now)}"
        return f"no contact for {_span(now - since)}, {self._next_try(now)}, {kept}"

    @property
    def is_brief(self) -> bool:
        """There is none, but for so short a time that nobody need know."""
        return self._lost_at is not None and self._clock() - self._lost_at < STATUS

    def on_state(self, state: State) -> None:
        """The connection's state changed."""
        now = self._clock()
        if state.name in ("lost", "retrying"):
            if self._lost_at is None:
                self._lost_at = now - state.after
                self._later(max(0.0, STATUS - state.after), self._show)
            self._next, self._until = now + state.next_try, now + state.gives_up
            return
        told, self._told = self._told or self._silence_told, False
        after = now - self._silent_since if self._silent_since is not None else state.after
        self._lost_at = None
        self._later(0.0, None)
        self._hide()
        self._silent_since, self._silence_told = None, False
        if state.name == "resumed" and told:
            self._details(lambda text: self._say(f"{self._name}: same session resumed after {_span(after)}; {text}"))
        elif state.name == "new_session":
            lost = "" if self._keeps else ", and what was in it is lost"
            self._say(f"{self._name} is back with a new session: the one before is gone{lost}")

    def silence(self, seconds: float) -> None:
        """Something was asked, and nothing came for so long over a connection that stands; below `STATUS` it has come."""
        if seconds < STATUS or self.away:
            if self._silent_since is not None and not self.away:
                self._hide()
                if self._silence_told:
                    self._say(f"{self._name} answers again")
                self._silent_since, self._silence_told = None, False
            return
        self._silent_since = self._clock() - seconds
        self._show_status(f"no answer from {self._name} for {_span(seconds)}")
        if seconds >= WORDS and not self._silence_told:
            self._silence_told = True
            self._say(
                f"no answer from {self._name} for {_span(seconds)}; the connection stands, and is given up if it stays silent"
            )

    def tell_now(self) -> None:
        """Say it now, since the person does something about it."""
        self._tell()

    @property
    def _since(self) -> float | None:
        """Since when nothing came: a silence that becomes a loss goes on."""
        return self._silent_since if self._silent_since is not None else self._lost_at

    def _show(self) -> None:
        if self._lost_at is None or self._since is None:
            return
        self._show_status(f"no contact with {self._name} for {_span(self._clock() - self._since)}")
        if not self._told:
            self._later(max(0.0, self._lost_at + WORDS - self._clock()), self._tell)

    def _tell(self) -> None:
        if self._since is None or self._lost_at is None or self._told:
            return
        self._told = True
        now = self._clock()
        self._say(
            f"no contact with {self._name} for {_span(now - self._since)}: "
            f"{self._next_try(now)}, the server keeps {'your shell' if self._keeps else f'the session for {self._kept(now)}'}"
        )

    def _next_try(self, now: float) -> str:
        left = max(0.0, self._next - now)
        return f"next try in {left:.0f} s" if left >= 1 else "trying again"

    def _kept(self, now: float) -> str:
        return f"{max(0.0, self._until - now):.0f} s more"

    def _show_status(self, text: str) -> None:
        self._shown = True
        self._status(text)

    def _hide(self) -> None:
        if self._shown:
            self._shown = False
            self._status("")


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
