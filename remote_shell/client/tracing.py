"""Traces: every frame as it crosses, told to who asked `connect` for it, with secrets and unseen input hidden.

A `TracedLink` stands between a driver and its link, so what it sees is what was given to the kernel (or to TLS) and what came from
there: the handshake, and frames that are sent again, too. Without a trace there is none, and this module is not even imported. Must
never change what passes. Neighbours: `wire.masking` hides, `login` makes these, the command line prints and keeps what they tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from remote_shell.errors import RemoteProtocolError
from remote_shell.link import Buffers, Link
from remote_shell.wire.frames import FrameDecoder, encode
from remote_shell.wire.masking import Mask, Masked

Kind = Literal["connected", "failed", "frame", "part", "stray", "closed"]
_BY_US = "by us"
WITHOUT_BYTES = ("connected", "failed", "closed")


class TraceEvent(NamedTuple):
    """Something crossed, or a connection began or ended."""

    at: float  # monotonic seconds
    host: str  # as it was named
    connection: int  # of this host, from 1
    kind: Kind  # failed: no connection came about; part: of a frame that the end of the connection cut; stray: bytes that are no frames
    sent: bool = False  # from here to there
    raw: bytes = b""  # header and payload as they crossed, but "*" for each byte that is hidden
    hidden: tuple[tuple[int, int], ...] = ()  # those: where in `raw`, and how many
    why: str = ""  # they are hidden
    again: bool = False  # it was sent before, on the connection before this one
    text: str = ""  # connected: where to; failed, closed: why


Trace = Callable[[TraceEvent], None]


class Tracer:
    """One host's connections, one after the other."""

    def __init__(self, name: str, target: str, frame_max: int, trace: Trace) -> None:
        self._name = name
        self._target = target
        self._frame_max = frame_max
        self._trace = trace
        self._mask = Mask()
        self._count = 0

    def over(self, link: Link) -> Link:
        """`link`, which was just made, with somebody who looks on."""
        self._count += 1
        self._mask.connected()
        self._trace(TraceEvent(time.monotonic(), self._name, self._count, "connected", text=self._target))
        return TracedLink(link, self._way(sent=False), self._way(sent=True), self._closed)

    def failed(self, why: str) -> None:
        """There is no connection, not this time."""
        self._trace(TraceEvent(time.monotonic(), self._name, self._count + 1, "failed", text=why))

    def _way(self, *, sent: bool) -> _Way:
        return _Way(self._mask, self._frame_max, sent, self._tell)

    def _tell(self, kind: Kind, sent: bool, masked: Masked) -> None:
        self._trace(
            TraceEvent(
                time.monotonic(),
                self._name,
                self._count,
                kind,
                sent,
                masked.payload,
                masked.hidden,
                masked.why,
                masked.again,
            )
        )

    def _closed(self, why: str) -> None:
        self._trace(TraceEvent(time.monotonic(), self._name, self._count, "closed", text=why))


class _Way:
    """One direction of a connection: from bytes to frames again."""

    __slots__ = ("_broken", "_decoder", "_mask", "_sent", "_tell")

    def __init__(self, mask: Mask, frame_max: int, sent: bool, tell: Callable[[Kind, bool, Masked], None]) -> None:
        self._mask = mask
        self._decoder = FrameDecoder(frame_max)
        self._sent = sent
        self._tell = tell
        self._broken = False

    def feed(self, data: bytes | memoryview) -> None:
        """Bytes crossed."""
        if self._broken:
            self._tell("stray", self._sent, self._mask.stray(bytes(data)))
            return
        decoder, mask = self._decoder, self._mask
        decoder.feed(bytes(data))
        try:
            while (frame := decoder.next_frame()) is not None:
                masked = mask.sent(frame) if self._sent else mask.received(frame)
                raw = encode(frame.type, frame.channel, masked.payload)
                size = len(raw) - len(masked.payload)
                hidden = tuple((at + size, count) for at, count in masked.hidden)
                self._tell("frame", self._sent, masked._replace(payload=raw, hidden=hidden))
        except RemoteProtocolError:
            self._broken = True
            self._tell("stray", self._sent, mask.stray(decoder.rest()))

    def end(self) -> None:
        """Nothing more will cross."""
        rest = b"" if self._broken else self._decoder.rest()
        if rest:
            self._tell("part", self._sent, self._mask.part(rest, sent=self._sent))


class TracedLink:
    """A link as any other, which tells what passes."""

    __slots__ = ("_closed", "_end", "_incoming", "_link", "_outgoing", "transport", "unsent_max")

    def __init__(self, link: Link, incoming: _Way, outgoing: _Way, closed: Callable[[str], None]) -> None:
        self._link = link
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed: Callable[[str], None] | None = closed
        self._end = ""
        self.transport = link.transport
        self.unsent_max = link.unsent_max

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._link.fileno()

    def recv(self) -> bytes | None:
        """What is there, b"" at the end, None for nothing now."""
        try:
            data = self._link.recv()
        except OSError as error:
            self._note(error)
            raise
        if data:
            self._incoming.feed(data)
        elif data is not None:
            self._end = self._end or "the server closed the connection"
        return data

    def send(self, buffers: Buffers) -> int:
        """Take what goes now; that much of it is told."""
        try:
            count = left = self._link.send(buffers)
        except OSError as error:
            self._note(error)
            raise
        for buffer in buffers:
            if left <= 0:
                break
            self._outgoing.feed(buffer[:left])
            left -= len(buffer)
        return count

    def flush(self) -> bool:
        """Push what is kept."""
        try:
            return self._link.flush()
        except OSError as error:
            self._note(error)
            raise

    def finish(self) -> bool:
        """Nothing more will be sent."""
        self._end = self._end or _BY_US
        return self._link.finish()

    def close(self) -> None:
        """Close the stream; safe to repeat."""
        self._link.close()
        closed, self._closed = self._closed, None
        if closed is not None:
            self._incoming.end()
            self._outgoing.end()
            closed(self._end or _BY_US)

    def _note(self, error: OSError) -> None:
        self._end = self._end or error.strerror or str(error)
