"""Findings as lines of a terminal: a mark, whose it is, what was found, and below it the line to type. Never colour alone."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from remote_shell.cli.doctor.finding import Level, Told
from remote_shell.cli.screen import Screen, printable

_MARKS: dict[Level, tuple[str, str, str]] = {
    "ok": ("✓", "ok", "green"),
    "warning": ("!", "!", "yellow"),
    "fault": ("✗", "X", "red"),
}
_NAME = 16  # cells for the name of a check
_NARROW = 60  # columns below which the name has a line of its own


class Showing:
    """Lines for a terminal of `width` columns, group by group."""

    def __init__(self, screen: Screen, width: int) -> None:
        self._screen = screen
        self._width = max(20, width)
        self._group = ""

    def lines(self, told: Told) -> Iterator[str]:
        """What one finding looks like. The line to type is never broken: it is there to be copied."""
        if told.group != self._group:
            if self._group:
                yield ""
            self._group = told.group
            yield self._screen.paint(printable(told.group), "bold")
        sign, word, colour = _MARKS[told.finding.level]
        mark = sign if self._screen.unicode else word
        narrow = self._width < _NARROW
        begin = len(mark) + 1
        name = printable(told.check)
        indent = " " * (begin if narrow else begin + _NAME)
        room = max(12, self._width - len(indent) - 1)
        # a path that is broken can't be copied
        text = textwrap.wrap(printable(told.finding.text), room, break_long_words=False, break_on_hyphens=False) or [""]
        first = name if narrow else f"{name:<{_NAME}}{text.pop(0)}"
        yield f"{self._screen.paint(mark, colour)} {first}"
        yield from (indent + line for line in text)
        if told.finding.fix:
            yield f"{indent}type: {self._screen.paint(printable(told.finding.fix), 'bold')}"


def summary(told: list[Told]) -> str:
    """The last line."""
    faults = sum(one.finding.level == "fault" for one in told)
    warnings = sum(one.finding.level == "warning" for one in told)
    if not faults and not warnings:
        return "nothing is wrong"
    return ", ".join(
        f"{count} {word if count == 1 else words}"
        for count, word, words in ((faults, "fault", "faults"), (warnings, "warning", "warnings"))
        if count
    )
