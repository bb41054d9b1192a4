"""The replay buffer: frames that were sent and not acknowledged, to be sent again after a cut.

The count is implicit: the n-th frame of the session on a channel from 1 up has number n, on both sides, and no frame
carries it. Counts never wrap (Python's integers do not).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from itertools import islice

from remote_shell.errors import RemoteProtocolError
from remote_shell.wire.frames import CONTROL, HEADER, HEADER_SIZE


class ReplayPool:
    """What the buffers of several sessions hold together, and from where on each is kept small."""

    __slots__ = ("most", "size")

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = 0


class ReplayBuffer:
    """Frames between `acknowledged` and `sent`."""

    __slots__ = ("_frames", "_pool", "acknowledged", "sent", "size")

    def __init__(self, pool: ReplayPool | None = None) -> None:
        self._pool = ReplayPool(sys.maxsize) if pool is None else pool
        self._frames: deque[bytes] = deque()
        self.sent = 0  # how many frames of the session were numbered so far
        self.acknowledged = 0
        self.size = 0

    def __len__(self) -> int:
        return self.sent - self.acknowledged

    @property
    def is_crowded(self) -> bool:
        """All buffers together are as large as they may be."""
        return self._pool.size >= self._pool.most

    def is_full(self, bytes_max: int, frames_max: int, spared: int) -> bool:
        """No further frame is to be numbered before one is acknowledged. In a crowd a buffer still has `spared` bytes."""
        return (
            self.size >= bytes_max
            or self.sent - self.acknowledged >= frames_max
            or (self.size >= spared and self._pool.size >= self._pool.most)
        )

    def append(self, frame: bytes) -> None:
        """Number a frame."""
        size = len(frame)
        self._frames.append(frame)
        self.sent += 1
        self.size += size
        self._pool.size += size

    def acknowledge(self, count: int) -> None:
        """The peer has `count` frames. Raises RemoteProtocolError (`bad_count`) outside [acknowledged, sent]."""
        if not self.acknowledged <= count <= self.sent:
            raise RemoteProtocolError("bad_count", f"{count} is not in [{self.acknowledged}, {self.sent}]")
        size, take = 0, self._frames.popleft
        for _ in range(count - self.acknowledged):
            size += len(take())
        self.acknowledged = count
        self.size -= size
        self._pool.size -= size

    def drop(self) -> None:
        """Forget them all: nobody will ask."""
        self._frames.clear()
        self._pool.size -= self.size
        self.size, self.acknowledged = 0, self.sent

    def data_on(self, channel: int) -> int:
        """Bytes of data on a channel among them."""
        headers = ((len(frame), *HEADER.unpack_from(frame)) for frame in self._frames)
        return sum(size - HEADER_SIZE for size, _, kind, ident in headers if ident == channel and kind != CONTROL)

    def after(self, count: int) -> Iterator[bytes]:
        """The frames that follow frame number `count`."""
        return islice(iter(tuple(self._frames)), count - self.acknowledged, None)
