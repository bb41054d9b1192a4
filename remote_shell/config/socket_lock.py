"""The lock of a Unix socket's path: who starts a server there, who connects for `pipe`, and an idle server that leaves, one at a time.

So two that come at once start one server, and a server never leaves between somebody's look and the connection. The file stays: to
unlink a lock is to have two of them. Imports nothing heavy. Neighbour: `paths` names the socket.
"""

from __future__ import annotations

import fcntl
import os
import time

from remote_shell.config.paths import shown
from remote_shell.errors import ConfigError

_LOOK = 0.02  # seconds between two looks: flock(2) itself has no deadline


def hold(path: str, seconds: float) -> int | None:
    """A descriptor that holds the lock of the socket at `path` until it is closed; None if it was not to be had within `seconds`.

    Raises ConfigError where the file can't be opened.
    """
    name = f"{path}.lock"
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigError(f"can't open the lock {shown(name)}: {error.strerror}; move away what is there") from None
    try:
        if take(descriptor, seconds):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def take(descriptor: int, seconds: float, *, shared: bool = False) -> bool:
    """Lock the open file, until it is closed; False if that was not to be had within `seconds`. Raises OSError.

    `shared`: others may have it so too, but nobody alone.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK)
        else:
            return True
