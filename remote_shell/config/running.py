"""The servers of this account that run now: each keeps a small file in the state folder, locked for as long as it lives.

So `keys` knows where friends are to be sent and which list the server reads, without asking it. The lock and not the process id
says who lives: a file without one was left by a server that was killed. Neighbour: the server's `serve` writes, the command line reads.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from remote_shell.config.checked import read_checked
from remote_shell.config.paths import state_dir
from remote_shell.config.socket_lock import take
from remote_shell.errors import ConfigError

FOLDER = "servers"
_SIZE_MAX = 64 * 1024


class Running(NamedTuple):
    """What a server says of itself."""

    pid: int
    listen: tuple[str, ...]  # "tls:0.0.0.0:8822"
    fingerprint: str  # empty where nothing listens on TLS
    authorized_keys: str  # an absolute path


class Sign:
    """A server's own file."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def take_down(self) -> None:
        """It runs no more."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        os.close(self._descriptor)


def put_up(running: Running) -> Sign:
    """Say that this server runs; what killed servers left is removed. Raises ConfigError, OSError."""
    folder = os.path.join(state_dir(), FOLDER)
    os.makedirs(folder, 0o700, exist_ok=True)
    for path, alive in _signs(folder):
        if not alive:
            with contextlib.suppress(OSError):
                os.unlink(path)
    path = os.path.join(folder, f"{running.pid}-{os.urandom(6).hex()}")
    draft = os.path.join(folder, f".{running.pid}-{os.urandom(6).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        take(descriptor, 0)
        os.write(descriptor, json.dumps(running._asdict()).encode("ascii"))
        os.rename(draft, path)  # locked from the first moment that somebody can see it
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        os.close(descriptor)
        raise
    return Sign(path, descriptor)


def running() -> list[Running]:
    """Those that run. Raises ConfigError."""
    folder = os.path.join(state_dir(), FOLDER)
    found = []
    for path, alive in _signs(folder):
        if alive:
            with contextlib.suppress(ConfigError, ValueError, KeyError, TypeError):  # it ended meanwhile
                data = read_checked(path, what="server's sign", limit=_SIZE_MAX, private=True)
                found.append(_decode(json.loads(data or b"")))
    return found


def _decode(values: Any) -> Running:
    listen = tuple(str(address) for address in values["listen"])
    return Running(int(values["pid"]), listen, str(values["fingerprint"]), str(values["authorized_keys"]))


def _signs(folder: str) -> Iterator[tuple[str, bool]]:
    """Each file, and whether its server lives."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        path = os.path.join(folder, name)
        if name.startswith("."):
            continue
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            alive = not take(descriptor, 0, shared=True)  # who looks at the same time does not pass for the server
        except OSError:
            alive = True
        finally:
            os.close(descriptor)
        yield path, alive
