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
CHANNEL_MAX = 2**32 - 1


class Frame(NamedTuple):
    """One frame as it crossed the wire."""

    type: int
    channel: int
    payload: bytes


def encode(kind: int, channel: int, payload: bytes | memoryview) -> bytes:
    """One frame as bytes: the only place that writes a header."""
    return b"".join((HEADER.pack(len(payload), kind, channel), payload))


class FrameDecoder:
    """Bytes in, in any chunks; frames out, the same whatever the chunks were.

    `payload_max` may be raised while the stream goes on (after login). Holds at most one incomplete frame and what the
    last `feed` brought.
    """

    __slots__ = ("_buffer", "_offset", "_partial", "fault_channel", "payload_max")

    def __init__(self, payload_max: int) -> None:
        self.payload_max = payload_max
        self.fault_channel = 0  # whose header was refused: replay would bring that frame again
        self._buffer: bytes | bytearray = b""
        self._offset = 0
        self._partial = bytearray()  # the beginning of a frame, grown in place: one-byte chunks stay linear

    def feed(self, data: bytes) -> None:
        """Take what was read. `next_frame` must have been drained since the last call."""
        if self._offset < len(self._buffer):
            self._partial = bytearray(memoryview(self._buffer)[self._offset :])
        if self._partial:
            self._partial += data
            self._buffer = self._partial
            if self._needed(0) > len(self._partial):
                self._buffer = b""
                self._offset = 0
                return
            self._partial = bytearray()
        else:
            self._buffer = data
        self._offset = 0

    def next_frame(self) -> Frame | None:
        """The next whole frame, or None when more bytes are needed.

        Raises RemoteProtocolError: `frame_too_large`, `unknown_frame_type`, `empty_frame`, `data_on_channel_zero`.
        """
        buffer, start = self._buffer, self._offset
        if len(buffer) - start < HEADER_SIZE:
            self._keep_rest()
            return None
        length, kind, channel = HEADER.unpack_from(buffer, start)
        if length > self.payload_max or kind > CONTROL or not length or (kind != CONTROL and not channel):
            self.fault_channel = channel
            raise self._header_error(length, kind)
        begin = start + HEADER_SIZE
        end = begin + length
        if end > len(buffer):
            self._keep_rest()
            return None
        self._offset = end
        if type(buffer) is bytes:
            return Frame(kind, channel, buffer[begin:end])
        with memoryview(buffer) as view:
            return Frame(kind, channel, bytes(view[begin:end]))

    @property
    def buffered(self) -> int:
        """Bytes held for a frame that is not whole yet."""
        return len(self._partial) + len(self._buffer) - self._offset

    def _needed(self, start: int) -> int:
        """How many bytes the frame at `start` of the partial buffer takes, as far as is known."""
        if len(self._partial) - start < HEADER_SIZE:
            return HEADER_SIZE
        length, kind, channel = HEADER.unpack_from(self._partial, start)
        if length > self.payload_max or kind > CONTROL or not length or (kind != CONTROL and not channel):
            return 0  # let next_frame say what is wrong
        return HEADER_SIZE + int(length)

    def _keep_rest(self) -> None:
        if self._offset < len(self._buffer):
            self._partial = bytearray(memoryview(self._buffer)[self._offset :])
        self._buffer = b""
        self._offset = 0

    def _header_error(self, length: int, kind: int) -> RemoteProtocolError:
        if kind > CONTROL:
            return RemoteProtocolError("unknown_frame_type", f"type {kind}")
        if length > self.payload_max:
            return RemoteProtocolError("frame_too_large", f"{length} bytes, at most {self.payload_max} are allowed")
        if not length:
            return RemoteProtocolError("empty_frame", "a frame has at least one byte of payload")
        return RemoteProtocolError("data_on_channel_zero", "channel 0 carries control messages only")
