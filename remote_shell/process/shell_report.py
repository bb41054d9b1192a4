"""What a live shell tells after each command, and how it is read from its pipe.

Five fields, each ended by NUL, whichever shell it is: serial, status, option letters, directory, statuses of a pipeline. Must never
trust them: whoever finds the descriptor can write there. Neighbours: `bash_text` and `zsh_text` make the shell write them, `shell_link`
reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Report(NamedTuple):
    """What the shell tells after a command: `flags` are the letters of `$-`, `cwd` is `$PWD` (empty if it was unset)."""

    serial: int
    status: int
    flags: bytes
    cwd: bytes
    statuses: tuple[int, ...] = ()


class ReportReader:
    """Reports out of a byte stream, however it is cut. Names with newlines are safe: only NUL ends a field."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Report]:
        """The reports that are complete with `data`."""
        *fields, self._rest = (self._rest + data).split(b"\0")
        left = len(fields) % 5
        if left:
            self._rest = b"\0".join([*fields[-left:], self._rest])
            del fields[-left:]
        for at in range(0, len(fields), 5):
            serial, status, flags, cwd, statuses = fields[at : at + 5]
            if serial.isdigit() and status.isdigit():  # else somebody wrote nonsense to our descriptor
                words = statuses.split()[:256]
                several = tuple(int(one) & 255 for one in words if one.isdigit()) if words else ()
                yield Report(int(serial), int(status), flags, cwd, several)
