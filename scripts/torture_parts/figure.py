"""A figure: what was measured, what it should be, and whether it is. And what an experiment is told."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


class TortureError(Exception):
    """An experiment can't be made here; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `met` is None for what is told and has no aim."""

    what: str
    aim: str
    measured: str
    met: bool | None

    @property
    def verdict(self) -> str:
        """As the table has it."""
        return {True: "met", False: "MISSED", None: ""}[self.met]


@dataclass(frozen=True, slots=True)
class Settings:
    """The command line, for an experiment. `seconds` and `count` replace its own figures."""

    quick: bool = False
    seed: int = 1
    seconds: float | None = None
    count: int | None = None
    fuzzer: str = sys.executable
    only: str = ""  # what the name of a part has in it

    def many(self, whole: int, quick: int) -> int:
        """How often: as told, or in whole, or in small."""
        return self.count if self.count is not None else quick if self.quick else whole

    def long(self, whole: float, quick: float) -> float:
        """How long, in seconds."""
        return self.seconds if self.seconds is not None else quick if self.quick else whole


def none(what: str, count: int, of: str = "") -> Figure:
    """A figure whose aim is 0."""
    return Figure(what, "0", f"{count:,}{of}", count == 0)


def at_most(what: str, bound: float, value: float, unit: str = "", digits: int = 2) -> Figure:
    """A figure with an upper bound."""
    return Figure(what, f"≤ {bound:g}{unit}", f"{value:,.{digits}f}{unit}", value <= bound)


def told(what: str, measured: str) -> Figure:
    """Something to know, with no aim."""
    return Figure(what, "", measured, None)


def table(rows: Sequence[tuple[str, Figure]]) -> str:
    """The experiment once, its figures below each other."""
    cells = [("experiment", "what", "aim", "", "measured")]
    last = ""
    for name, figure in rows:
        cells.append(("" if name == last else name, figure.what, figure.aim, figure.verdict, figure.measured))
        last = name
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "─" * min(120, max(map(len, lines))), *lines[1:]])


def show(text: str) -> None:
    """What is going on, for who watches; the last word wipes it away."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


@contextmanager
def variables(**values: str) -> Iterator[None]:
    """Environment variables, for as long as this lasts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
