"""A file that several processes append lines to: one write(2) a line, so that no two lines mix (O_APPEND, open(2)).

Where the file was moved away, as logrotate(8) does, the next line begins a new one. No fsync: a line outlives the process that wrote it,
and not a machine without power. Imports nothing but the system: each job's keeper has it. Neighbours: `server.audit`, `jobs.keeper`.
"""

from __future__ import annotations

import errno
import os
import stat
import time

_second = (-1, "")  # the last, and its text
_LOOKS, _BETWEEN = 20, 0.01  # s


def stamp(now: float) -> str:
    """Unix time as RFC 3339 in UTC, with milliseconds."""
    global _second
    whole = int(now)
    second = _second  # of two threads each has its own
    if second[0] != whole:
        second = _second = (whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)))
    return f"{second[1]}.{int((now - whole) * 1000):03d}Z"


class Appending:
    """The file at `path`, which is made with mode 0600. Opened with the first line, or by `open`."""

    __slots__ = ("_fd", "_place", "_torn", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1
        self._place = (0, 0)  # device and inode
        self._torn = False  # a line before has no end: the disk was full

    def open(self) -> None:
        """Open it anew. Raises OSError: PermissionError also for a file that is not ours alone."""
        self.close()
        # NONBLOCK: a FIFO would wait for its reader for ever
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        fd = os.open(self.path, flags, 0o600)
        try:
            status = os.fstat(fd)
            fault = _fault(status)
            if fault:
                raise PermissionError(errno.EPERM, fault, self.path)
        except BaseException:
            os.close(fd)
            raise
        self._torn = False
        self._fd, self._place = fd, (status.st_dev, status.st_ino)

    def look_at_end(self) -> None:
        """Another life's last line may have no end: ours begins a new one then. Not to be asked from a loop: it may take 0.2 s.

        A file grows page by page while another process writes a line, hence more than one look.
        """
        for _ in range(_LOOKS):
            size = os.fstat(self._fd).st_size
            self._torn = size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"
            if not self._torn:
                return
            time.sleep(_BETWEEN)

    def write(self, line: bytes) -> None:
        """Append `line`, which ends with its only line end. Raises OSError: then it does not count, though a part may be there."""
        if self._fd < 0 or self._is_moved():
            self.open()
        data = b"\n" + line if self._torn else line  # what is torn stays a line of its own
        count = os.write(self._fd, data)
        self._torn = (self._torn and count == 0) or count != len(data)
        if count != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)

    def close(self) -> None:
        """Close it. The next line opens it again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _is_moved(self) -> bool:
        try:
            status = os.stat(self.path)
        except OSError:
            return True
        return (status.st_dev, status.st_ino) != self._place


def _fault(status: os.stat_result) -> str:
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if status.st_uid != os.geteuid():
        return f"it belongs to user id {status.st_uid}, not to this server's account"
    if status.st_mode & 0o077:
        return f"it is open to others (mode {stat.S_IMODE(status.st_mode):04o}); chmod 600"
    return ""
