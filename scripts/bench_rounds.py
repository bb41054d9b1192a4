"""Interleaved rounds of rival operations, what they amount to, and the table that shows it.

Knows nothing of what it measures: an operation is a callable, timed whole unless it says itself what counts. Must not touch the
garbage collector, the scheduler or anything else that a user's program would not. Neighbours: `bench_figures` says what to measure,
`bench_main` prints.
"""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

BASELINE = "baseline"  # the key of the operation that the others are compared with
FEWEST_ROUNDS = 3  # below it a median says nothing, whatever time it takes
OPERATION_TIME = 120.0  # seconds that a single operation may take before its figure counts as failed
AGAIN_TIME = 2.0  # seconds until a deadline is told again
PATIENCE = 3  # times that it is told

Operation = Callable[[], object]  # one that returns a float has timed itself, in seconds


@dataclass(frozen=True, slots=True)
class Bound:
    """What a ratio must keep: `sign` is "≤" or "≥"."""

    sign: str
    value: float

    def holds(self, ratio: float) -> bool:
        return ratio <= self.value if self.sign == "≤" else ratio >= self.value

    def __str__(self) -> str:
        return f"{self.sign} {self.value:.1f}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `ours` and `baseline` are seconds an operation, one of each a round.

    `unit`: "ms" compares times, so that less is better; "MB/s" and "/s" compare rates, so that more is. `work` is what one
    operation does: calls for "ms" and "/s", bytes for "MB/s".
    """

    figure: str
    title: str
    transport: str
    rival: str
    unit: str
    work: float
    bound: Bound | None
    ours: tuple[float, ...]
    baseline: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Ours to the baseline, round by round: of times for "ms", else of rates."""
        pairs = zip(self.ours, self.baseline, strict=True)
        return [ours / other if self.unit == "ms" else other / ours for ours, other in pairs]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def verdict(self) -> str:
        """ "ok", "MISSED", or "" where nothing is promised."""
        if self.bound is None:
            return ""
        return "ok" if self.bound.holds(self.ratio) else "MISSED"

    def value(self, seconds: Sequence[float]) -> float:
        """The median of samples in the row's unit."""
        middle = statistics.median(seconds)
        if self.unit == "ms":
            return middle / self.work * 1e3
        return self.work / middle / (1e6 if self.unit == "MB/s" else 1)

    def as_json(self) -> dict[str, Any]:
        """All that is known, for programs."""
        return {
            "figure": self.figure,
            "title": self.title,
            "transport": self.transport,
            "baseline_is": self.rival,
            "unit": self.unit,
            "ours": self.value(self.ours),
            "baseline": self.value(self.baseline),
            "ratio": self.ratio,
            "ratio_min": min(self.ratios),
            "ratio_max": max(self.ratios),
            "bound": None if self.bound is None else {"sign": self.bound.sign, "value": self.bound.value},
            "ok": None if self.bound is None else self.bound.holds(self.ratio),
            "work_per_sample": self.work,
            "samples_s": {"ours": list(self.ours), "baseline": list(self.baseline)},
        }


def interleave(
    operations: Mapping[str, Operation],
    rounds: int,
    budget: float,
    warm_up: int = 0,
    last_resort: Callable[[], None] | None = None,
) -> dict[str, tuple[float, ...]]:
    """Seconds of each operation, by its name, one a round.

    Each round runs every operation once, and the next round begins with another, so that a busy second hurts all alike
    and nobody always comes after the heaviest. No new round starts after `budget` seconds, but `FEWEST_ROUNDS` always run
    (or `rounds`, if that is less). `warm_up` rounds before them don't count. Raises what an operation raises, and
    TimeoutError for one that does not end; `last_resort` is `deadline`'s.
    """
    names = list(operations)
    for _ in range(warm_up):
        for name in names:
            _timed(operations[name], last_resort)
    samples: dict[str, list[float]] = {name: [] for name in names}
    end = time.perf_counter() + budget
    for number in range(rounds):
        if number >= FEWEST_ROUNDS and time.perf_counter() >= end:
            break
        first = number % len(names)
        for name in names[first:] + names[:first]:
            samples[name].append(_timed(operations[name], last_resort))
    return {name: tuple(seconds) for name, seconds in samples.items()}


def repeated(operation: Operation, times: int) -> Operation:
    """`times` calls as one operation: a single call of a millisecond would be judged by the scheduler's mood."""

    def calls() -> None:
        for _ in range(times):
            operation()

    return calls


def _timed(operation: Operation, last_resort: Callable[[], None] | None) -> float:
    with deadline(OPERATION_TIME, last_resort):
        start = time.perf_counter()
        own = operation()
        return own if isinstance(own, float) else time.perf_counter() - start


@contextmanager
def deadline(seconds: float, last_resort: Callable[[], None] | None = None) -> Iterator[None]:
    """Raises TimeoutError in the middle of whatever takes longer. By SIGALRM: main thread only, and no cost to what is timed.

    It is raised again and again, since a destructor swallows it; the `PATIENCE`th time `last_resort` is called instead.
    """
    rung = 0

    def ring(number: int, frame: FrameType | None) -> None:
        nonlocal rung
        rung += 1
        if rung >= PATIENCE and last_resort is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            last_resort()
        raise TimeoutError(f"no end after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    start = time.monotonic()
    others, every = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_TIME)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if others:  # a deadline around this one, or a test runner's
            signal.setitimer(signal.ITIMER_REAL, max(others - (time.monotonic() - start), 0.001), every)


HEADINGS = ("figure", "what", "over", "ours", "baseline", "", "ratio", "min … max", "rounds", "bound", "")
RIGHT = {3, 4, 6, 7, 8}  # columns of figures


def table(rows: Sequence[Row]) -> str:
    """The rows, aligned; a figure that covers several transports is named once."""
    cells: list[tuple[str, ...]] = [HEADINGS]
    named = ""
    for row in rows:
        cells.append(_cells(row, repeat=row.figure == named))
        named = row.figure
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = []
    for line in cells:
        padded = (
            text.rjust(width) if column in RIGHT else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        lines.append("  ".join(padded).rstrip())
    lines.insert(1, "─" * max(map(len, lines)))
    return "\n".join(lines)


def _cells(row: Row, *, repeat: bool) -> tuple[str, ...]:
    ratios = row.ratios
    return (
        "" if repeat else row.figure,
        "" if repeat else row.title,
        row.transport,
        f"{_number(row.value(row.ours))} {row.unit}",
        f"{_number(row.value(row.baseline))} {row.unit}",
        row.rival,
        f"{row.ratio:.2f}",
        f"{min(ratios):.2f} … {max(ratios):.2f}",
        str(len(ratios)),
        "" if row.bound is None else str(row.bound),
        row.verdict,
    )


def _number(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"
