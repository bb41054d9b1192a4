"""What a process that holds a shared connection has on disk: its lock, what the killed left behind, and the files that it went by.

The file of a lock goes away with its owner, since each new option would leave one for ever; so who gets a lock looks whether it is
still that of the path. Neighbour: cli's `commands.mux`.
"""

from __future__ import annotations

import fcntl
import os


def locked(path: str) -> int | None:
    """The descriptor that holds the lock of the socket `path`; None where another process holds it."""
    while True:
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.lstat(f"{path}.lock")):
                return lock
        except BlockingIOError:
            os.close(lock)
            return None
        except FileNotFoundError:
            pass
        os.close(lock)  # its owner ended meanwhile, and took the file away: it is nobody's lock any more


def clear(folder: str) -> None:
    """Take away what those left behind that were killed."""
    for name in os.listdir(folder):
        if name.startswith("mux-") and name.endswith(".lock"):
            path = os.path.join(folder, name.removesuffix(".lock"))
            try:
                lock = locked(path)
            except OSError:
                continue
            if lock is not None:
                remove(path)
                remove(f"{path}.lock")
                os.close(lock)


def facts(paths: list[str]) -> list[tuple[int, int, int] | None]:
    """What changes when a file does."""
    found: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            found.append(None)
        else:
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return found


def remove(path: str) -> None:
    """Unless it is gone."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
