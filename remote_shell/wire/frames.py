"""Frames: how a stream of bytes, which has no borders of its own, carries messages, which have.

A frame is nine bytes of header, in network byte order, and a payload:

    length  u32   of the payload alone
    type    u8    0 stdin, 1 stdout, 2 stderr (as their descriptors), 3 control (JSON)
    channel u32   0 is the connection itself, from 1 up are the session's channels

Nothing is allocated for a length before the length was checked. Neighbours: `messages` knows what control payloads say,
`session` knows which frame may come when.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from remote_shell.errors import RemoteProtocolError

STDIN, STDOUT, STDERR, CONTROL = 0, 1, 2, 3
HEADER = Struct("!IBI")
HEADER_SIZE = HEADER.size  # 9
_pack, _unpack = HEADER.pack, HEADER.unpack_from
_new = tuple.__new__  # of a named tuple: half of what its own costs
CHANNEL_MAX = 2**32 - 1


class Frame(NamedTuple):
    """One frame as it crossed the wire."""

    type: int
    channel: int
    payload: bytes


def encode(kind: int, channel: int, payload: bytes | memoryview) -> bytes:
    """One frame as bytes: the only place that writes a header."""
    return b"".join((_pack(len(payload), kind, channel), payload))


class FrameDecoder:
    """Bytes in, in any chunks; frames out, the same whatever the chunks were.

    `payload_max` may be raised while the stream goes on (after login). Holds at most one incomplete frame and what the
    last `feed` brought.
    """

    __slots__ = ("_buffer", "_offset", "_partial", "fault_channel", "payload_max")

    def __init__(self, payload_max: int) -> None:
        self.payload_max = payload_max
        self.fault_channel = 0  # whose header was refused: replay would bring that frame again
        self._buffer = b""
        self._offset = 0
        self._partial = bytearray()  # the beginning of a frame, grown in place: one-byte chunks stay linear

    def feed(self, data: bytes) -> None:
        """Take what was read. `next_frame` should have been drained since the last call."""
        if self._offset < len(self._buffer):
            data = self._buffer[self._offset :] + data
        self._buffer = data
        self._offset = 0
        if self._partial:
            self._complete()

    def next_frame(self) -> Frame | None:
        """The next whole frame, or None when more bytes are needed.

        Raises RemoteProtocolError: `frame_too_large`, `unknown_frame_type`, `empty_frame`, `data_on_channel_zero`.
        """
        partial = self._partial
        buffer, start = (partial, 0) if partial else (self._buffer, self._offset)
        begin = start + HEADER_SIZE
        have = len(buffer)
        if begin > have:
            if start < have:
                self._keep_rest()
            return None
        length, kind, channel = _unpack(buffer, start)
        if length > self.payload_max or kind > CONTROL or not length or (kind != CONTROL and not channel):
            self.fault_channel = channel
            raise self._header_error(length, kind)
        end = begin + length
        if end > have:
            self._keep_rest()
            return None
        if not partial:
            self._offset = end
            return _new(Frame, (kind, channel, buffer[begin:end]))
        self._partial = bytearray()
        with memoryview(partial) as view:
            return Frame(kind, channel, bytes(view[begin:end]))

    def ends_with(self, frame: bytes) -> bool:
        """What was read and not drained is that frame, and no more."""
        rest = len(self._buffer) - self._offset
        return rest == len(frame) and not self._partial and self._buffer.endswith(frame)

    @property
    def buffered(self) -> int:
        """Bytes held for a frame that is not whole yet."""
        return len(self._partial) + len(self._buffer) - self._offset

    def rest(self) -> bytes:
        """A copy of what is held."""
        return bytes(self._partial) + self._buffer[self._offset :]

    def _complete(self) -> None:
        """Add to the frame that is not whole what it lacks, and no more: the rest of what was read is not copied."""
        partial = self._partial
        lacking = HEADER_SIZE - len(partial)
        if lacking <= 0 or self._move(lacking):
            length, kind, _ = HEADER.unpack_from(partial, 0)
            if length <= self.payload_max and kind <= CONTROL:  # otherwise next_frame says what is wrong
                self._move(HEADER_SIZE + length - len(partial))

    def _move(self, count: int) -> bool:
        """So many bytes to the partial frame. False when there are not so many."""
        end = min(self._offset + count, len(self._buffer))
        with memoryview(self._buffer) as view:
            self._partial += view[self._offset : end]
        moved, self._offset = end - self._offset, end
        return moved == count

    def _keep_rest(self) -> None:
        if not self._partial and self._offset < len(self._buffer):
            self._partial = bytearray(memoryview(self._buffer)[self._offset :])
            self._offset = len(self._buffer)

    def _header_error(self, length: int, kind: int) -> RemoteProtocolError:
        if kind > CONTROL:
            return RemoteProtocolError("unknown_frame_type", f"type {kind}")
        if length > self.payload_max:
            return RemoteProtocolError("frame_too_large", f"{length} bytes, at most {self.payload_max} are allowed")
        if not length:
            return RemoteProtocolError("empty_frame", "a frame has at least one byte of payload")
        return RemoteProtocolError("data_on_channel_zero", "channel 0 carries control messages only")
