"""A job's log: records of a length, a stream and a CRC, in segments of which the oldest go when there are too many.

    crc u32 | length u32 | stream u8 | payload          network byte order; the CRC is over all that follows it

Stream 0 begins a segment and says how many bytes of stdout and of stderr came before it, so what was dropped is known to the byte:
a reader that wanted them is told how many. One keeper writes; any number of processes read meanwhile, and find a record whole or not yet.
A torn record at the end, of a keeper that was killed, is never read. Imported by the keeper: nothing heavy here.

One growing file with a ring inside was rejected: readers would have to know what is being overwritten. So was keeping head and tail:
two policies, where the end is what people look for.
"""

from __future__ import annotations

import os
import struct
import zlib

STDOUT, STDERR = 1, 2
_HEAD, _MAGIC = 0, b"rsj1"
_FRAME = struct.Struct("!IIB")
_SEGMENT = struct.Struct("!4sQQ")
PAYLOAD_MAX = 64 * 1024  # of a record
_READ = 256 * 1024  # read from a segment at once: a record always fits


def segments(folder: int) -> list[int]:
    """The numbers of the segments that there are, in order."""
    return sorted(int(name[4:]) for name in os.listdir(folder) if name.startswith("log.") and name[4:].isdigit())


def _name(number: int) -> str:
    return f"log.{number:08}"


def _record(stream: int, payload: bytes) -> bytes:
    body = struct.pack("!IB", len(payload), stream)
    return struct.pack("!I", zlib.crc32(payload, zlib.crc32(body))) + body


class LogWriter:
    """The one writer. A failed write has no effect and may be repeated."""

    def __init__(self, folder: int, segment_max: int, total_max: int) -> None:
        """Nothing is made before the first `write`. Sizes are bytes; at least two segments are kept."""
        self._folder = folder
        self._segment_max = segment_max
        self._kept = max(2, total_max // segment_max)
        self._fd = -1
        self._synced = True
        self.number = 0  # of the segment
        self.position = 0  # in it
        self.sizes = [0, 0, 0]  # bytes that ever came, by stream

    def write(self, stream: int, data: bytes) -> None:
        """Add at most `PAYLOAD_MAX` bytes. Raises OSError: the disk is full, or worse."""
        if self._fd < 0 or self.position + len(data) > self._segment_max:
            self._begin()
        self._put(stream, data)
        self.sizes[stream] += len(data)

    def sync(self) -> None:
        """All that was written is on the disk. Raises OSError."""
        if not self._synced:
            os.fsync(self._fd)
            self._synced = True

    def close(self) -> None:
        """No more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _put(self, stream: int, data: bytes) -> None:
        head = _record(stream, data)
        # At its place and not at the end: what a full disk left of an attempt is written over by the next one.
        count = os.pwritev(self._fd, (head, data), self.position)
        if count < len(head) + len(data):
            os.ftruncate(self._fd, self.position)
            raise OSError(28, os.strerror(28))  # ENOSPC
        self.position += count
        self._synced = False

    def _begin(self) -> None:
        self.sync()
        fd = os.open(
            _name(self.number + 1), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=self._folder
        )
        before = self._fd, self.position
        self._fd, self.position = fd, 0
        try:
            self._put(_HEAD, _SEGMENT.pack(_MAGIC, self.sizes[STDOUT], self.sizes[STDERR]))
        except OSError:
            os.close(fd)
            self._fd, self.position = before
            os.unlink(_name(self.number + 1), dir_fd=self._folder)
            raise
        if before[0] >= 0:
            os.close(before[0])
        self.number += 1
        old = self.number - self._kept
        if old > 0:
            os.unlink(_name(old), dir_fd=self._folder)


class Piece(tuple[int, int, bytes, int]):
    """What a reader gets: (stream, offset, data, dropped). `dropped` bytes before `offset` are gone; then there is no data."""

    __slots__ = ()


class LogReader:
    """One reader, from an offset in each stream on. It holds a segment open, so nothing is dropped under its hands."""

    def __init__(self, folder: int, stdout: int = 0, stderr: int = 0) -> None:
        """The folder's descriptor stays the caller's, and open as long as this is used."""
        self._folder = folder
        self._fd = -1
        self._number = 0
        self._position = 0
        self._at = [0, 0, 0]  # offsets at our place
        self.wanted = [0, stdout, stderr]  # offsets of what comes next

    def start_at(self, number: int, position: int, stdout: int, stderr: int) -> None:
        """Skip to a place that the writer named."""
        self.close()
        self.wanted = [0, stdout, stderr]
        if number:
            try:
                self._fd = os.open(_name(number), os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
            except FileNotFoundError:  # dropped meanwhile: what is there now, from these offsets on
                return
            self._number, self._position, self._at = number, position, [0, stdout, stderr]

    def read(self) -> list[Piece]:
        """What comes next, up to about 256 KiB; nothing: nothing more is there now. Raises OSError."""
        pieces: list[Piece] = []
        while not pieces:
            if self._fd < 0 and not self._open_first(pieces):
                return pieces
            if self._take(pieces):
                continue
            if pieces:
                return pieces
            later = [number for number in segments(self._folder) if number > self._number]
            if not later:
                return pieces
            if self._take(pieces):  # the writer may have added to it between our look and its next segment
                continue
            if not self._go(later[0], pieces) and later[0] in segments(self._folder):
                return pieces  # begun, and not yet to be read
        return pieces

    def close(self) -> None:
        """Let go of the segment."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open_first(self, pieces: list[Piece]) -> bool:
        """Go to the last segment that begins at or before what is wanted, else the first that is left."""
        while found := segments(self._folder):
            best = found[0]
            for number in reversed(found):
                head = self._head(number)
                if head is not None and head[0] <= self.wanted[STDOUT] and head[1] <= self.wanted[STDERR]:
                    best = number
                    break
            if self._go(best, pieces):
                return True
            if best in segments(self._folder):  # begun, and not yet to be read
                break
        return False

    def _head(self, number: int) -> tuple[int, int] | None:
        try:
            fd = os.open(_name(number), os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
        except FileNotFoundError:
            return None
        try:
            return _read_head(fd)
        finally:
            os.close(fd)

    def _go(self, number: int, pieces: list[Piece]) -> bool:
        """Move to a segment; what was wanted and lies before it is gone. False: it is gone itself, or has no head yet."""
        try:
            fd = os.open(_name(number), os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
        except FileNotFoundError:
            return False
        head = _read_head(fd)
        if head is None:
            os.close(fd)
            return False
        self.close()
        self._fd, self._number, self._position = fd, number, _FRAME.size + _SEGMENT.size
        self._at = [0, *head]
        for stream in (STDOUT, STDERR):
            gone = self._at[stream] - self.wanted[stream]
            if gone > 0:
                self.wanted[stream] = self._at[stream]
                pieces.append(Piece((stream, self._at[stream], b"", gone)))
        return True

    def _take(self, pieces: list[Piece]) -> bool:
        """Read on in the segment. False: no whole record is there."""
        data = os.pread(self._fd, _READ, self._position)
        at = 0
        while True:
            end = at + _FRAME.size
            if end > len(data):
                break
            crc, length, stream = _FRAME.unpack_from(data, at)
            if length > PAYLOAD_MAX or end + length > len(data):
                break
            payload = data[end : end + length]
            if zlib.crc32(payload, zlib.crc32(data[at + 4 : end])) != crc or stream not in (STDOUT, STDERR):
                break
            at = end + length
            self._pass_on(stream, payload, pieces)
        self._position += at
        return at > 0

    def _pass_on(self, stream: int, payload: bytes, pieces: list[Piece]) -> None:
        skipped = self.wanted[stream] - self._at[stream]
        self._at[stream] += len(payload)
        if skipped >= len(payload):
            return
        if skipped > 0:
            payload = payload[skipped:]
        pieces.append(Piece((stream, self.wanted[stream], payload, 0)))
        self.wanted[stream] = self._at[stream]


def _read_head(fd: int) -> tuple[int, int] | None:
    data = os.pread(fd, _FRAME.size + _SEGMENT.size, 0)
    if len(data) < _FRAME.size + _SEGMENT.size:
        return None
    crc, length, stream = _FRAME.unpack_from(data)
    magic, stdout, stderr = _SEGMENT.unpack_from(data, _FRAME.size)
    if zlib.crc32(data[4:]) != crc or length != _SEGMENT.size or stream != _HEAD or magic != _MAGIC:
        return None
    return stdout, stderr
