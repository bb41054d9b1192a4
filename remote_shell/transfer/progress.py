"""What a transfer tells while it is under way, and of what went wrong. Imports nothing heavy: the fronts name these types."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from remote_shell.files import names


class Progress(NamedTuple):
    """How far it is. `done` and `size` are those of the file under way, `name` is it; `files` and `bytes` are those of all so far."""

    name: str
    done: int
    size: int
    files: int
    bytes: int


class FileFault(NamedTuple):
    """One file that was not copied."""

    path: bytes  # as the side that has it would find it
    number: int  # errno(3)
    detail: str  # for people
    kept: int = 0  # bytes of it that lie beside its place, for the next attempt

    def error(self) -> OSError:
        """As the system would raise it: FileNotFoundError, PermissionError and so on, with `filename`; `detail` is a note."""
        error = OSError(self.number, names.text(self.number), os.fsdecode(self.path))
        error.add_note(str(self))
        return error

    def __str__(self) -> str:
        kept = f"; {self.kept:,} bytes of it are kept, and the same command goes on from there" if self.kept else ""
        return f"{os.fsdecode(self.path)}: {self.detail}{kept}"


class Transferred(NamedTuple):
    """What was copied. `resumed`: bytes that were there before and did not cross again."""

    files: int
    bytes: int
    resumed: int
    faults: tuple[FileFault, ...] = ()


LocalPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]
LocalPaths = LocalPath | Sequence[LocalPath]
OnFile = Callable[[bytes, int, str], None]  # its path, bytes, SHA-256; called in the thread of the transfer
OnProgress = Callable[[Progress], None]
OnFault = Callable[[FileFault], None]


def fault(path: bytes, error: OSError) -> FileFault:
    """From what the system said here."""
    return FileFault(path, error.errno or names.errno_number(None), names.reason(error))


def told_fault(path: bytes, errno: str | None, detail: str, kept: int = 0) -> FileFault:
    """From what the peer said."""
    number = names.errno_number(errno)
    return FileFault(path, number, detail or names.text(number), kept)
