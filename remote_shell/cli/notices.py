"""Telling a person that the connection is away and back, and nobody else: quiet about what mends itself in a moment.

Decides what to say and when; `later` and `say` do it, since `run` has a timer of signals and the REPL an event loop. Imports
nothing heavy. Neighbours: client's `retry` has the states, `commands.run` and `repl` show the lines.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from remote_shell.client.retry import State

QUIET = 1.5  # seconds without a connection before a word is said


class Notices:
    """Takes `on_state`'s states. `later(seconds, what)` calls `what` once, or forgets it when `what` is None."""

    def __init__(
        self,
        name: str,
        say: Callable[[str], None],
        later: Callable[[float, Callable[[], None] | None], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._say = say
        self._later = later
        self._clock = clock
        self._lost_at: float | None = None
        self._until = 0.0
        self._told = False

    @property
    def away(self) -> bool:
        """There is no connection now."""
        return self._lost_at is not None

    @property
    def told(self) -> bool:
        """There is none, and the person was told."""
        return self.away and self._told

    def on_state(self, state: State) -> None:
        """The connection's state changed."""
        now = self._clock()
        if state.name in ("lost", "retrying"):
            if self._lost_at is None:
                self._lost_at = now - state.after
                self._later(max(0.0, QUIET - state.after), self._tell)
            self._until = now + state.gives_up
            return
        told, self._told, self._lost_at = self._told, False, None
        self._later(0.0, None)
        if state.name == "resumed" and told:
            self._say(f"{self._name}: resumed after {state.after:.1f} s, nothing is lost")
        elif state.name == "new_session":
            self._say(f"{self._name} is back, but the session is gone, and what was in it is lost")

    def tell_now(self) -> None:
        """Say it now, since the person does something about it."""
        self._tell()

    def _tell(self) -> None:
        if self._lost_at is None or self._told:
            return
        self._told = True
        now = self._clock()
        left = max(0.0, self._until - now)
        self._say(
            f"no contact with {self._name} for {now - self._lost_at:.0f} s, trying again, gives up in {left:.0f} s"
        )
