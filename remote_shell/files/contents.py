"""Contents: reading and hashing a file with its holes.

The hash is SHA-256 of what a reader of the file sees, as sha256sum says it: a hole counts as the zeros that it reads as, so that both
sides agree whatever their file systems keep as holes. Neighbours: `reading` opens, `landing` writes.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable

CHUNK = 512 * 1024
_ZEROS = bytes(CHUNK)


class Digest:
    """SHA-256 of a file's beginning, that far."""

    __slots__ = ("_hash", "_stopped", "position")

    def __init__(self, stopped: Callable[[], bool] | None = None) -> None:
        """`stopped` is asked within long holes: nobody wants it any more."""
        self._hash = hashlib.sha256(usedforsecurity=False)
        self._stopped = stopped
        self.position = 0

    def update(self, data: bytes | memoryview) -> None:
        """What comes next."""
        self._hash.update(data)
        self.position += len(data)

    def zeros(self, until: int) -> None:
        """A hole up to `until`. Raises InterruptedError."""
        while (left := until - self.position) > 0:
            if self._stopped is not None and self._stopped():
                raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
            self.update(_ZEROS if left >= CHUNK else memoryview(_ZEROS)[:left])

    def file(self, descriptor: int, until: int, sparse: bool) -> None:
        """A file's bytes up to `until`, or up to its end. Raises OSError."""
        until = min(until, os.fstat(descriptor).st_size)
        while self.position < until:
            if self._stopped is not None and self._stopped():
                raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
            if sparse:
                self.zeros(min(until, next_data(descriptor, self.position, until)))
            data = os.pread(descriptor, min(CHUNK, until - self.position), self.position)
            if not data:
                return
            self.update(data)

    def hex(self) -> str:
        """The hash so far."""
        return self._hash.hexdigest()


def next_data(descriptor: int, position: int, size: int) -> int:
    """Where the next byte lies that is not in a hole: `position` itself, or behind the hole; at most `size`."""
    try:
        return min(size, os.lseek(descriptor, position, os.SEEK_DATA))
    except OSError as error:
        if error.errno == errno.ENXIO:  # nothing but a hole up to the end
            return size
        return position  # a file system that knows of no holes


def data_end(descriptor: int, position: int, size: int) -> int:
    """Where the data at `position` ends: at a hole, or at `size`."""
    try:
        return min(size, os.lseek(descriptor, position, os.SEEK_HOLE))
    except OSError:
        return size


def has_hole(descriptor: int, size: int) -> bool:
    """There is one, and not only fewer blocks than bytes: so are files that the kernel makes, and compressed ones."""
    found = next_data(descriptor, 0, size) > 0 or data_end(descriptor, 0, size) < size
    os.lseek(descriptor, 0, os.SEEK_SET)  # looking has moved it
    return found


def read_whole(descriptor: int, most: int) -> bytes:
    """What is in a small file: `most` bytes, or all up to its end, in as many reads as it takes. Raises OSError."""
    parts = []
    while most > 0 and (data := os.read(descriptor, most)):
        parts.append(data)
        most -= len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def is_sparse(found: os.stat_result) -> bool:
    """It may have holes: it has fewer blocks than bytes."""
    return found.st_blocks * 512 < found.st_size
