"""Reading recordings: asciicast v2 (docs.asciinema.org/manual/asciicast/v2), one JSON value a line, the first of them the header.

A recording is whatever somebody put there: lines and figures are bounded, what can't be read is named and passed over, and nothing in it is
believed but its text and its times. Must never write. Neighbours: `server.recording` makes them, `cli.replaying` plays them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from remote_shell.errors import UsageError
from remote_shell.limits import DEFAULT_LIMITS

_SIZE_MAX = 10_000  # rows or columns that anybody has
_TIME_MAX = 10 * 365 * 24 * 3600.0  # s


class Head(NamedTuple):
    """What a recording's first line says."""

    columns: int
    rows: int


class Moment(NamedTuple):
    """One event. `kind` is "o" for output, "r" for a size, "m" for a marker; others are not passed on."""

    at: float  # seconds since the beginning, never less than the one before
    kind: str
    text: str


class DamagedError(Exception):
    """A part that can't be read; the text says which."""


def read_head(file: IO[bytes], name: str, most: int = DEFAULT_LIMITS.recording_line_max) -> Head:
    """The first line. Raises UsageError for what is no recording; `most` bounds each line, in bytes."""
    line = file.readline(most + 1)
    value = _value(line) if len(line) <= most else None
    if not isinstance(value, dict):
        raise UsageError(f"{name} is no recording: its first line is no header of asciicast")
    if value.get("version") != 2:
        raise UsageError(f"{name} is asciicast, but not of version 2, which is the one that is played here")
    return Head(_size(value.get("width"), 80), _size(value.get("height"), 24))


def read_moments(file: IO[bytes], most: int = DEFAULT_LIMITS.recording_line_max) -> Iterator[Moment | DamagedError]:
    """What follows the header, in order. A last line without its end belongs to a recorder that was killed, and is none."""
    last, number = 0.0, 1
    while line := file.readline(most + 1):
        number += 1
        if len(line) > most:
            while line and not line.endswith(b"\n"):
                line = file.readline(most)
            yield DamagedError(f"line {number} is longer than {most} bytes")
            continue
        if not line.endswith(b"\n"):
            yield DamagedError(f"line {number} has no end: whoever wrote it was stopped there")
            return
        moment = _moment(_value(line), last)
        if moment is None:
            yield DamagedError(f"line {number} is no event")
        elif moment.kind in ("o", "r", "m"):
            last = moment.at
            yield moment


def _moment(value: Any, last: float) -> Moment | None:
    if not isinstance(value, list) or len(value) != 3:
        return None
    at, kind, text = value
    if (
        isinstance(at, bool)
        or not isinstance(at, int | float)
        or not isinstance(kind, str)
        or not isinstance(text, str)
    ):
        return None
    if not 0 <= at <= _TIME_MAX:  # NaN, too
        return None
    return Moment(max(last, float(at)), kind, text)


def _value(line: bytes) -> Any:
    """None for what is no JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _size(value: Any, usual: int) -> int:
    good = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _SIZE_MAX
    return value if good else usual
