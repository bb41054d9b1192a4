"""A retry: one lost connection, when the next attempt is due, and when to stop. Pure; both fronts wait by it."""

from __future__ import annotations

from typing import NamedTuple

from remote_shell.limits import Limits

_LEAST = 1.0  # seconds
_SHARE = 0.5  # of the time since the loss, until the next attempt


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
    """From the loss of a connection to its end: `due` is the next attempt's time, `until` the last moment for one.

    The first attempt is at once. Then each waits for half of the time that has passed since, so that a break is at most half as long again
    as the cut: 0.25 s at least, no longer than twice the wait before, 5 s at most.
    """

    __slots__ = ("_attempts", "_first", "_most", "_useless", "due", "lost_at", "reason", "until")

    def __init__(self, limits: Limits, now: float, grace: float, reason: str, attempts: int = 0) -> None:
        """`attempts` is above 0 when the last connection ended before it was of any use."""
        self._first = limits.backoff_first
        self._most = limits.backoff_max
        self._attempts = self._useless = attempts
        self.lost_at = now
        self.reason = reason
        self.until = now + grace
        self.due = now if not attempts else now + self._delay(now)

    def failed(self, now: float, reason: str) -> State | None:
        """An attempt came to nothing. None: there is no more time."""
        if now >= self.until:
            return None
        self.due = min(now + self._delay(now), self.until)
        self._attempts += 1
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

    def _delay(self, now: float) -> float:
        """Clients that one fault cut off do not come back in step: a half of the wait is chance.

        The whole (full jitter) was rejected: of waits that double one is then often none, and the next one 3 s long after a cut of 1 s.
        """
        import random  # 1 ms, and only a lost connection needs it

        most = min(self._most, self._first * 2.0**self._attempts)
        if not self._useless:  # else the connections are to be had, and end at once
            most = min(most, max(self._first, (now - self.lost_at) * _SHARE))
        return random.uniform(most / 2, most)  # noqa: S311
