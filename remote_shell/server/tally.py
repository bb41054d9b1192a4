"""A tally: how often each source did something lately. Two halves of a window, the older half forgotten as time goes on; bounded."""

from __future__ import annotations


class Tally:
    """Counts over `window` seconds, for at most `sources_max` sources in each half: what is beyond is not counted."""

    def __init__(self, window: float, sources_max: int) -> None:
        self._half = window / 2
        self._sources_max = sources_max
        self._recent: dict[str, int] = {}
        self._older: dict[str, int] = {}
        self._turned_at = 0.0

    def add(self, source: str, now: float) -> None:
        """Once more, at `now` (monotonic seconds)."""
        self._turn(now)
        if source in self._recent or len(self._recent) < self._sources_max:
            self._recent[source] = self._recent.get(source, 0) + 1

    def take_back(self, source: str) -> None:
        """Once less, if it is among the recent."""
        if self._recent.get(source):
            self._recent[source] -= 1

    def count(self, source: str) -> int:
        """How often, as of the last time that any was added."""
        return self._recent.get(source, 0) + self._older.get(source, 0)

    def _turn(self, now: float) -> None:
        if now - self._turned_at >= self._half:
            self._older = self._recent if now - self._turned_at < 2 * self._half else {}
            self._recent = {}
            self._turned_at = now
