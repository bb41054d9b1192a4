"""What many hosts write, kept until it is shown: a little in memory, more in a temporary file, and never without a bound.

What is beyond the bound is counted, so that whoever shows the rest can say so. Equal outputs are kept once. Neighbours: `mapping` fills it,
`gathered` shows it.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

from remote_shell.limits import DEFAULT_LIMITS, Limits

_PIECE = 256 * 1024  # bytes read back at once


class Piece(NamedTuple):
    """One stream of one host, in the store."""

    offset: int
    size: int
    dropped: int  # bytes that it wrote beyond the bound


class Spool:
    """One stream of one host, while it runs."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._file = tempfile.SpooledTemporaryFile(limits.many_memory_max)  # noqa: SIM115  # `close` does
        self._hash = hashlib.sha256()
        self._most = limits.many_output_max
        self.size = 0
        self.dropped = 0

    def put(self, data: bytes) -> None:
        """More of it came."""
        kept = data[: max(0, self._most - self.size)]
        self.dropped += len(data) - len(kept)
        if kept and not self._write(kept):
            self._most = self.size
            self.dropped += len(kept)

    def _write(self, data: bytes) -> bool:
        try:
            self._file.write(data)
        except OSError:  # no room on the disk: told as any other cut
            return False
        self.size += len(data)
        self._hash.update(data)
        return True

    @property
    def key(self) -> tuple[bytes, int, int]:
        """Equal for equal outputs."""
        return self._hash.digest(), self.size, self.dropped

    def chunks(self) -> Iterator[bytes]:
        """All that was kept."""
        self._file.seek(0)
        left = self.size  # a write that failed may have left more
        while left and (data := self._file.read(min(_PIECE, left))):
            left -= len(data)
            yield data

    def close(self) -> None:
        """Forget it."""
        self._file.close()


class Store:
    """What all hosts wrote, each text once, in one file: 10,000 hosts would need as many descriptors."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._file = tempfile.SpooledTemporaryFile(limits.many_output_max)  # noqa: SIM115  # `close` does
        self._most = limits.many_kept_max
        self._size = 0
        self._known: dict[tuple[bytes, int, int], Piece] = {}

    def keep(self, spool: Spool) -> Piece:
        """Keep it. What has no room is counted as dropped."""
        piece = self._known.get(spool.key)
        if piece is None:
            piece = self._known[spool.key] = self._copied(spool)
        return piece

    def _copied(self, spool: Spool) -> Piece:
        start = self._size
        if start + spool.size <= self._most:
            try:
                self._file.seek(start)
                for data in spool.chunks():
                    self._file.write(data)
                self._file.flush()
            except OSError:  # no room on the disk
                pass
            else:
                self._size += spool.size
                return Piece(start, spool.size, spool.dropped)
        return Piece(start, 0, spool.size + spool.dropped)

    def chunks(self, piece: Piece) -> Iterator[bytes]:
        """What was kept of it."""
        left = piece.size
        self._file.seek(piece.offset)
        while left and (data := self._file.read(min(_PIECE, left))):
            left -= len(data)
            yield data

    def close(self) -> None:
        """Forget all."""
        self._file.close()
