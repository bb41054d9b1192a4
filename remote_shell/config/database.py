"""The file below an SQLite database of ours, made for us alone before SQLite makes it for everybody. Imports `os` and `stat` only."""

from __future__ import annotations

import os
import stat


def make_private(path: str) -> None:
    """Make the file, mode 0600, before SQLite makes it with another; it gives its helpers the same. Raises OSError."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    except FileExistsError:
        # Not by a descriptor: to close one would take away the locks that another connection of this process holds (fcntl(2)).
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "not a regular file") from None
        if stat.S_IMODE(status.st_mode) & 0o077:
            os.chmod(path, 0o600)
