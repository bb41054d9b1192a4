"""Edits of files that people and other programs write too: authorized_keys, hosts.toml. Whole or not at all, and none is lost.

An edit holds a lock on the file itself, so two of ours wait for one another; what an editor or `cat >>` wrote meanwhile, which hold none,
is seen before the new file takes the old one's place, and the edit begins anew. A lock file beside it was rejected: ~/.ssh is not ours to
litter. Neighbour: `checked` reads and replaces.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from remote_shell.config.checked import create_private, folder_fault, read_checked, replace
from remote_shell.config.paths import shown
from remote_shell.config.socket_lock import take
from remote_shell.errors import ConfigError
from remote_shell.limits import DEFAULT_LIMITS

_TRIES = 100  # edits that others disturbed, before we give up


def edit(path: str, change: Callable[[bytes], bytes], *, what: str, guarded: bool) -> bool:
    """Put `change(contents)` in the place of the contents; False if they are the same. The file is made if there is none, mode 0600.

    `guarded`: nobody else may be able to replace it, as sshd's StrictModes asks. Symlinks are followed, modes kept. Raises ConfigError,
    and what `change` raises.
    """
    limits, real = DEFAULT_LIMITS, os.path.realpath(path)
    for _ in range(_TRIES):
        _make(real, what)
        try:
            descriptor = os.open(real, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            raise ConfigError(f"can't write the {what} {shown(path)}: {error.strerror}") from None
        try:
            if not take(descriptor, limits.file_lock_time):
                raise ConfigError(f"{shown(path)} is locked by another process; try again")
            before = os.fstat(descriptor)
            fault = folder_fault(real) if guarded else None
            if fault is not None:
                raise ConfigError(f"the {what} {shown(path)} is not changed: {fault}")
            data = read_checked(real, what=what, limit=limits.list_file_max, private=False)
            if data is None:
                continue
            if before.st_uid != os.geteuid():
                raise ConfigError(f"the {what} {shown(path)} is root's; change it as root")
            changed = change(data)
            if changed == data:
                return False
            if len(changed) > limits.list_file_max:
                raise ConfigError(f"the {what} {shown(path)} would have more than {limits.list_file_max} bytes")
            if replace(real, changed, what=what, like=before):  # also where the lock is on a file that is there no more
                return True
        except FileNotFoundError:
            continue
        finally:
            os.close(descriptor)  # which ends the lock
    raise ConfigError(f"{shown(path)} is written to all the time by another process; try again")


def _make(real: str, what: str) -> None:
    """The file, empty, if there is none, and the folder that it is in."""
    if os.path.lexists(real):
        return
    try:
        os.mkdir(os.path.dirname(real), 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError(f"can't make the folder {shown(os.path.dirname(real))}: {error.strerror}") from None
    create_private(real, b"", what=what)
