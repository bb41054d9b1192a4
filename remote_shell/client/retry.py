"""A retry: one lost connection, when the next attempt is due, and when to stop. Pure; both fronts wait by it."""

from __future__ import annotations

from typing import NamedTuple

from remote_shell.limits import Limits

_LEAST = 1.0  # seconds


class State(NamedTuple):
    """What `on_state` is told. Times are seconds.

    `name`: "connected" (the first time), "lost", "retrying" (an attempt failed; `next_try` says when the next one is),
    "resumed" (the same session goes on, `after` so long), "new_session" (a new one: what was under way is lost), "gave_up".
    """

    name: str
    after: float = 0.0  # since the connection was lost
    next_try: float = 0.0  # from now
    gives_up: float = 0.0  # from now
    reason: str = ""


class Retry:
    """From the loss of a connection to its end: `due` is the next attempt's time, `until` the last moment for one."""

    __slots__ = ("_attempts", "_first", "_most", "due", "lost_at", "reason", "until")

    def __init__(self, limits: Limits, now: float, grace: float, reason: str, attempts: int = 0) -> None:
        """`attempts` is above 0 when the last connection ended before it was of any use."""
        self._first = limits.backoff_first
        self._most = limits.backoff_max
        self._attempts = attempts
        self.lost_at = now
        self.reason = reason
        self.until = now + grace
        self.due = now if not attempts else now + self._delay()

    def failed(self, now: float, reason: str) -> State | None:
        """An attempt came to nothing. None: there is no more time."""
        if now >= self.until:
            return None
        self._attempts += 1
        self.due = min(now + self._delay(), self.until)
        return State("retrying", now - self.lost_at, self.due - now, self.until - now, reason)

    def limit(self, now: float, connect_time: float) -> float:
        """The time at which the attempt that begins now is given up: a second at least; the only one has all its time."""
        if self.until <= self.lost_at:
            return now + connect_time
        return max(now + _LEAST, min(now + connect_time, self.until))

    def summary(self, now: float, last: str) -> str:
        """Why it is given up; `last` is what the last attempt met."""
        if not self.reason:
            return last
        return f"{self.reason}; tried for {now - self.lost_at:.0f} s, the last time: {last}"

    def _delay(self) -> float:
        """Full jitter: clients that one fault cut off do not come back in step."""
        import random  # 1 ms, and only a lost connection needs it

        return random.uniform(0, min(self._most, self._first * 2.0**self._attempts))  # noqa: S311
