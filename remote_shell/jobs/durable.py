"""A small file that is there whole or not at all, and still there after a power cut. Imported by the keeper: nothing heavy here."""

from __future__ import annotations

import os


def write(folder: int, name: str, data: bytes) -> None:
    """Put `data` into the file `name` of the folder that the descriptor is open on. Raises OSError, and then it is as it was."""
    draft = f".{name}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        if os.write(fd, data) < len(data):
            raise OSError(28, os.strerror(28))  # ENOSPC: the rest found no room
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def read(folder: int, name: str) -> bytes | None:
    """The whole file; None if there is none. Raises OSError."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    with open(fd, "rb", buffering=0) as file:
        return file.readall()
