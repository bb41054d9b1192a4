"""A landing: one file while it arrives. A partial file beside its place, then hash, mode, times, fsync, and one rename.

The partial file is our own (mode 0600, locked, one link), or it is made anew: a file or symlink that somebody put there is neither written
nor followed. What it holds is continued only after the sender has found the same hash. Neighbours: `place` has the folders, `contents`
the hash.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable

from remote_shell.files import names
from remote_shell.files.contents import Digest, is_sparse
from remote_shell.files.place import FOLDER_THERE, Folder, check_replaceable

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Landing:
    """A file that arrives as `name` in `folder`."""

    def __init__(
        self, folder: Folder, name: bytes, size: int, mode: int, mtime: int, stopped: Callable[[], bool] | None = None
    ) -> None:
        """`mtime` in nanoseconds. Nothing is touched yet."""
        self.size = size
        self._folder = folder
        self._name = name
        self._part = names.part_name(name)
        self._mode = mode
        self._mtime = mtime
        self._stopped = stopped
        self._fd = -1
        self._whole = False  # `_fd` is the file itself, which seems to be there already
        self.offered = 0  # bytes of which the sender was told
        self.digest = Digest(stopped)

    @property
    def position(self) -> int:
        """Bytes that are here."""
        return self.digest.position

    def offer(self) -> tuple[int, str | None]:
        """What of it is here already, and its hash: a partial file, or a file of the same size and time. Raises OSError."""
        check_replaceable(self._folder, self._name)  # now, or all of it would be sent for nothing
        fd = self._open_kept() if self._has_part() else self._open_whole()
        if fd < 0:
            return 0, None
        self._fd = fd
        found = os.fstat(fd)
        try:
            self.digest.file(fd, min(found.st_size, self.size), is_sparse(found))
        except BaseException:
            self._close()  # stopped: nobody else would, and its lock would stay
            raise
        self.offered = self.digest.position
        return self.offered, self.digest.hex() if self.offered else None

    def begin(self, offset: int) -> None:
        """Content comes from here: 0, or what was offered. Raises OSError."""
        if offset and offset == self.offered:
            if not self._whole:
                os.ftruncate(self._fd, offset)
                os.lseek(self._fd, offset, os.SEEK_SET)
            return
        if self._whole:
            os.close(self._fd)
            self._fd, self._whole = -1, False
        self.digest = Digest(self._stopped)
        if self._fd < 0:
            check_replaceable(self._folder, self._name)
            self._fd = self._open_part()
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)

    def write(self, data: bytes | memoryview) -> None:
        """What comes next. Raises OSError: ENOSPC, EDQUOT, EFBIG."""
        view = memoryview(data)
        while view:
            count = os.write(self._fd, view)
            self.digest.update(view[:count])
            view = view[count:]

    def skip(self, offset: int) -> None:
        """A hole up to here. Raises OSError."""
        self.digest.zeros(offset)
        os.lseek(self._fd, offset, os.SEEK_SET)

    def check(self, sha256: str) -> None:
        """All is here and it is what was sent. Raises OSError, and then the partial file is gone: it can't be trusted."""
        if self.position == self.size and self.digest.hex() == sha256:
            return
        self.discard()
        what = "its checksum is not the sender's" if self.position == self.size else "it is shorter than was said"
        raise names.refusal(errno.EIO, f"what arrived is not what was sent: {what}; it was not put in place")

    def settle(self) -> None:
        """Size, mode and times, before `sync`. Raises OSError."""
        if not self._whole:
            os.ftruncate(self._fd, self.size)  # a hole at its end
        os.fchmod(self._fd, self._mode)
        os.utime(self._fd, ns=(self._mtime, self._mtime))

    def sync(self) -> None:
        """On the disk. Raises OSError."""
        os.fsync(self._fd)

    def place(self) -> None:
        """In its place, in one step. Raises OSError."""
        if not self._whole:
            try:
                os.rename(self._part, self._name, src_dir_fd=self._folder.fd, dst_dir_fd=self._folder.fd)
            except IsADirectoryError:
                self.discard()  # the next attempt would meet the folder again
                raise names.refusal(errno.EISDIR, FOLDER_THERE) from None
        self._close()

    def leave(self, least: int) -> int:
        """Nothing more comes: keep the partial file if it has `least` bytes, else remove it. Bytes that are kept."""
        if self._fd < 0:
            return 0
        if self._whole or self.position < least:
            self.discard()
            return 0
        kept = self.position
        self._close()
        return kept

    def discard(self) -> None:
        """Remove the partial file."""
        if self._fd >= 0 and not self._whole:
            try:
                os.unlink(self._part, dir_fd=self._folder.fd)
            except OSError:
                pass  # gone already, or the folder may no longer be written
        self._close()

    # --- opening

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)  # and with it its lock goes
            self._fd = -1

    def _has_part(self) -> bool:
        try:
            os.stat(self._part, dir_fd=self._folder.fd, follow_symlinks=False)
            return True
        except FileNotFoundError:
            return False

    def _open_whole(self) -> int:
        """The file itself, if size and time are those of what comes; else -1."""
        try:
            found = os.stat(self._name, dir_fd=self._folder.fd, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode) or (found.st_size, found.st_mtime_ns) != (self.size, self._mtime):
                return -1
            fd = os.open(self._name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._folder.fd)
        except OSError:
            return -1
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            return -1
        self._whole = True
        return fd

    def _open_part(self) -> int:
        """A partial file of our own and nobody else's. Raises OSError."""
        for _ in range(3):
            try:
                fd = os.open(self._part, _NEW, 0o600, dir_fd=self._folder.fd)
            except FileExistsError:
                fd = self._open_kept()
                if fd >= 0:
                    return fd
                continue
            self._lock(fd)
            return fd
        raise names.refusal(errno.EBUSY, "somebody else makes files of its partial file's name")

    def _open_kept(self) -> int:
        """The partial file that is there; -1 if it was none of ours, and was removed. Raises OSError."""
        try:
            fd = os.open(self._part, _OLD, dir_fd=self._folder.fd)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EACCES, errno.ENXIO):
                raise
            os.unlink(self._part, dir_fd=self._folder.fd)  # a symlink, a FIFO, a file that we may not write
            return -1
        self._lock(fd)
        try:
            found, named = os.fstat(fd), os.stat(self._part, dir_fd=self._folder.fd, follow_symlinks=False)
        except FileNotFoundError:  # another transfer put it in its place
            os.close(fd)
            return -1
        if (found.st_dev, found.st_ino) != (named.st_dev, named.st_ino):
            os.close(fd)
            return -1
        ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        if not ours or found.st_nlink != 1 or found.st_mode & 0o022:  # somebody could write it, or reads it elsewhere
            os.close(fd)
            os.unlink(self._part, dir_fd=self._folder.fd)
            return -1
        return fd

    def _lock(self, fd: int) -> None:
        """Raises OSError (EBUSY): another transfer writes it."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise names.refusal(errno.EBUSY, "another transfer writes this file just now") from None
