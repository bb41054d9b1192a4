"""Reading and making files whose owner and mode matter: keys, secrets, authorized_keys, settings.

A file is judged by its open descriptor, so what was checked is what is read. Never follows a FIFO or a device, never reads
past a bound. Neighbours: `paths` says where files are, `watched` reads one again when it changes.
"""

from __future__ import annotations

import errno
import os
import stat

from remote_shell.config.paths import quoted, shown
from remote_shell.errors import ConfigError, RemoteShellError


def read_checked(
    path: str, *, what: str, limit: int, private: bool, error: type[RemoteShellError] = ConfigError
) -> bytes | None:
    """The bytes of `path`, or None if there is no such file.

    `what` names the file's kind in errors, `limit` is its largest size in bytes. A `private` file must not be readable by
    group or others; any other must not be writable by them. The owner must be us or root, as for ssh and sshd. Symlinks are
    followed: what counts is the file at the end. Raises `error`, with what to type.
    """
    try:
        # NONBLOCK: opening a FIFO would wait for its writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else fault
        raise error(f"can't read the {what} {shown(path)}: {reason}") from None
    try:
        _check(os.fstat(descriptor), path, what=what, limit=limit, private=private, error=error)
        data = _read(descriptor, limit + 1)
    except OSError as fault:
        raise error(f"can't read the {what} {shown(path)}: {fault.strerror}") from None
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise error(f"the {what} {shown(path)} is larger than {limit} bytes; is it the right file?")
    return data


def read_text(path: str, *, what: str, limit: int, private: bool) -> str | None:
    """As `read_checked`, decoded from UTF-8. Raises ConfigError."""
    data = read_checked(path, what=what, limit=limit, private=private)
    if data is None:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        raise ConfigError(f"the {what} {shown(path)}, line {line}: not UTF-8 text") from None


def create_private(path: str, data: bytes, *, what: str, error: type[RemoteShellError] = ConfigError) -> bool:
    """Make `path` with `data`, mode 0600, whole or not at all. Returns False, and changes nothing, if it exists.

    The bytes are on disk before the name appears, and of two processes that do this at once one wins: a hard link, unlike
    a rename, never replaces. Raises `error`.
    """
    beside = f"{path}.{os.getpid()}.{os.urandom(6).hex()}.new"
    try:
        try:
            _write(beside, data, 0o600)
            made = _publish(beside, path)
        finally:
            if os.path.lexists(beside):
                os.unlink(beside)
        _sync_folder(path)
    except OSError as fault:
        raise error(f"can't make the {what} {shown(path)}: {fault.strerror}") from None
    return made


def replace(
    path: str,
    data: bytes,
    *,
    what: str,
    like: os.stat_result | None = None,
    error: type[RemoteShellError] = ConfigError,
) -> bool:
    """Put `data` in the place of the file at `path`, whole or not at all, and durable when this returns.

    `like` is what the file was when it was read: its mode is kept, and if it is another by now, False is returned and nothing
    changed. Without, mode 0600. Extended attributes (a SELinux label, an ACL) are kept as far as the system lets us. Raises `error`.
    """
    beside = f"{path}.{os.getpid()}.{os.urandom(6).hex()}.new"
    try:
        try:
            _write(beside, data, 0o600 if like is None else stat.S_IMODE(like.st_mode))
            if like is not None:
                _copy_attributes(path, beside)
                if _state(os.stat(path)) != _state(like):
                    return False
            os.rename(beside, path)
        finally:
            if os.path.lexists(beside):
                os.unlink(beside)
        _sync_folder(path)
    except OSError as fault:
        raise error(f"can't write the {what} {shown(path)}: {fault.strerror}; it is as it was") from None
    return True


def folder_fault(path: str) -> str | None:
    """Why somebody else could swap the file at `path`, as sshd's StrictModes asks, or None.

    Each folder from the file's real place up to the home folder, or to the root, must belong to us or root and not be
    writable by group or others. Unlike sshd we let a sticky folder (as /tmp) pass: there only an entry's owner may replace
    it, and the entry's owner is checked too.
    """
    trusted = (0, os.getuid())
    home = os.path.realpath(os.path.expanduser("~"))
    real = os.path.realpath(path)
    folder = os.path.dirname(real)
    while True:
        try:
            status = os.stat(folder)
        except OSError as fault:
            return f"can't look at the folder {shown(folder)}: {fault.strerror}"
        if status.st_uid not in trusted:
            return f"the folder {shown(folder)} belongs to user id {status.st_uid}, who could replace {shown(real)}"
        if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
            return (
                f"others may write to the folder {shown(folder)} (mode {stat.S_IMODE(status.st_mode):04o}) "
                f"and so replace {shown(real)}; type: chmod go-w {quoted(folder)}"
            )
        parent = os.path.dirname(folder)
        if folder in (home, parent):
            return None
        folder = parent


def _check(
    status: os.stat_result, path: str, *, what: str, limit: int, private: bool, error: type[RemoteShellError]
) -> None:
    name = f"the {what} {shown(path)}"
    if not stat.S_ISREG(status.st_mode):
        raise error(f"{name} is not a regular file")
    if status.st_uid not in (0, os.getuid()):
        raise error(f"{name} belongs to user id {status.st_uid}; it must be yours or root's")
    mode = stat.S_IMODE(status.st_mode)
    if private and mode & 0o077:
        raise error(f"{name} is open to others (mode {mode:04o}) and so not used; type: chmod 600 {quoted(path)}")
    if mode & 0o022:
        raise error(f"{name} is writable by others (mode {mode:04o}) and so not used; type: chmod go-w {quoted(path)}")
    if status.st_size > limit:
        raise error(f"{name} has {status.st_size} bytes, more than {limit}; is it the right file?")


def _read(descriptor: int, limit: int) -> bytes:
    parts = []
    while limit > 0 and (part := os.read(descriptor, min(limit, 65536))):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def _write(path: str, data: bytes, mode: int) -> None:
    """A new file that is on disk with `data` and exactly `mode`. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _state(status: os.stat_result) -> tuple[int, ...]:
    """What tells whether a file was written to, or replaced."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _copy_attributes(source: str, target: str) -> None:
    """xattr(7), as far as we may: "security.selinux" may need a right that we lack, and the folder's rule gave the file one."""
    try:
        for name in os.listxattr(source):
            os.setxattr(target, name, os.getxattr(source, name))
    except OSError:
        return


def _publish(beside: str, path: str) -> bool:
    try:
        os.link(beside, path)
    except FileExistsError:
        return False
    except OSError as fault:
        if fault.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        # A file system without hard links (some FUSE and 9p): there two first starts at once may replace one another.
        if os.path.lexists(path):
            return False
        os.rename(beside, path)
    return True


def _sync_folder(path: str) -> None:
    descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
