"""The REPL's history: a file with one JSON string a line, mode 0600, shared by all REPLs of an account.

Each line is added by one write, so that two REPLs never mix theirs. A line that begins with a space is not kept, as under
bash's HISTCONTROL=ignorespace; neither is one that would swell the file. Never raises for the file's sake: without a history
the REPL still works. Neighbour: `repl`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

from prompt_toolkit.history import History

READ_MAX = 1024 * 1024  # bytes of the file's end that are read at start
FILE_MAX = 4 * 1024 * 1024  # bytes above which the file is cut to READ_MAX at start
LINE_MAX = 32 * 1024  # characters of a line that is kept


class FileHistory(History):
    """The history in the file at `path`, made at the first line. `problem` says why it can't be used, or is empty."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.problem = ""
        self._last = ""

    def load_history_strings(self) -> Iterable[str]:
        """The lines of earlier, newest first."""
        try:
            data = self._read()
        except OSError as error:
            self.problem = f"{self.path}: {error.strerror}"
            return []
        found = [line for line in map(_line, data.split(b"\n")) if line is not None]
        found.reverse()
        return found

    def store_string(self, string: str) -> None:
        """Add a line to the file."""
        if string == self._last or string.startswith(" ") or len(string) > LINE_MAX:
            return
        self._last = string
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self.path, flags, 0o600)
            try:
                os.write(descriptor, _text(string))
            finally:
                os.close(descriptor)
        except OSError as error:
            self.problem = f"{self.path}: {error.strerror}"

    def _read(self) -> bytes:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return b""
        try:
            os.fchmod(descriptor, 0o600)
            size = os.fstat(descriptor).st_size
            data = os.pread(descriptor, READ_MAX, max(0, size - READ_MAX))
        finally:
            os.close(descriptor)
        if size > FILE_MAX:
            self._shorten(data.partition(b"\n")[2])
        return data

    def _shorten(self, data: bytes) -> None:
        # A line that another REPL adds in between is lost: once in 4 MiB of history, and no worse than that.
        beside = f"{self.path}.{os.getpid()}.new"
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
        os.rename(beside, self.path)


def _line(raw: bytes) -> str | None:
    try:
        line = json.loads(raw)
    except ValueError:  # the first may be cut, the last may be torn
        return None
    return line if isinstance(line, str) else None


def _text(line: str) -> bytes:
    # ASCII: a lone surrogate, from a terminal that is not UTF-8, survives as its escape
    return json.dumps(line).encode("ascii") + b"\n"
