"""A link: one non-blocking byte stream, plain or TLS. It knows no loop and no protocol; both drivers own one.

`recv` and `send` never wait: None, or 0, says "not now". At most `limits.unsent_max` bytes lie unsent in the kernel, so what is
urgent never waits behind much. TLS runs over memory BIOs, so many records cost one system call.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

RECEIVE_SIZE = 256 * 1024  # read at once while bulk data flows
RECEIVE_CLIENT = 1024 * 1024  # the same by a client over TLS, where no other connection waits meanwhile
RECEIVE_SMALL = 16 * 1024  # otherwise: a buffer of the larger size costs a mapping and its unmapping for each read
_SIOCOUTQ = 0x5411  # unix(7): bytes in the send queue
_SIOCOUTQNSD = 0x894B  # tcp(7): bytes not yet sent
_TCP_NOTSENT_LOWAT = 25
_RECORD_SIZE = 16 * 1024
_HEAP_KEPT = 4 * 1024 * 1024

Buffers = Sequence[bytes | memoryview]


class Link(Protocol):
    """What a driver needs of a stream. Both kinds raise OSError (ssl.SSLError is one) when the stream is broken."""

    transport: str
    unsent_max: int

    def fileno(self) -> int:
        """The descriptor to wait on."""

    def recv(self) -> bytes | None:
        """What is there; b"" at the end of the stream; None for nothing now."""

    def send(self, buffers: Buffers) -> int:
        """Take as much as goes now; how many bytes that was. May keep ciphertext: see `flush`."""

    def flush(self) -> bool:
        """Push what is kept. True when nothing is kept any more."""

    def finish(self) -> bool:
        """Nothing more will be sent. True when `close` loses nothing of what was: at once, where the kernel goes on by itself."""

    def close(self) -> None:
        """Close the stream; safe to repeat."""


def prepare_socket(sock: socket.socket, unsent_max: int) -> None:
    """Options of every connection's socket: small writes go at once, little lies unsent, the dead are found."""
    sock.setblocking(False)
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, unsent_max)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6)


@cache
def keep_freed() -> None:
    """Bulk data flows: have glibc keep what is freed at the end of the heap, which it gives back, and takes anew, with each turn.

    To free a mapping raises its threshold for mappings to that one's size, and to twice as much what it keeps (mallopt(3)).
    """
    bytes(_HEAP_KEPT)


class PlainLink:
    """A Unix or TCP socket as it is."""

    __slots__ = ("_outq", "_size", "_size_max", "_sock", "_unsent_most", "transport", "unsent_max")

    def __init__(self, sock: socket.socket, unsent_max: int, size_max: int = RECEIVE_SIZE) -> None:
        """`size_max`: what one read takes while bulk data flows."""
        prepare_socket(sock, unsent_max)
        self._sock = sock
        self.unsent_max = unsent_max
        self.transport = "unix" if sock.family == socket.AF_UNIX else "tcp"
        self._size = RECEIVE_SMALL
        self._size_max = size_max
        self._outq = 0 if self.transport == "unix" else _SIOCOUTQNSD
        self._unsent_most = 0  # no more than so many bytes are unsent: those at the last question and all since

    def fileno(self) -> int:
        """The descriptor to wait on; -1 after `close`."""
        return self._sock.fileno()

    def recv(self) -> bytes | None:
        """What is there, b"" at the end, None for nothing now."""
        try:
            data = self._sock.recv(self._size)
        except (BlockingIOError, InterruptedError):
            return None
        if len(data) == self._size:
            self._size = self._size_max
            keep_freed()
        elif len(data) < RECEIVE_SMALL:
            self._size = RECEIVE_SMALL
        return data

    def send(self, buffers: Buffers) -> int:
        """Take what goes now."""
        if self._outq and self.is_full():
            return 0
        try:
            count = self._sock.send(buffers[0]) if len(buffers) == 1 else self._sock.sendmsg(buffers[:512])
        except (BlockingIOError, InterruptedError):
            return 0
        self._unsent_most += count
        return count

    def flush(self) -> bool:
        """Nothing is ever kept."""
        return True

    def finish(self) -> bool:
        """The kernel sends what it has after `close` too."""
        return True

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def is_full(self) -> bool:
        """As much as may lie unsent does. The kernel is asked only when that can be."""
        if self._unsent_most >= self.unsent_max:
            self._unsent_most = self.unsent()
        return self._unsent_most >= self.unsent_max

    def unsent(self) -> int:
        """Bytes that the kernel has not sent yet; TCP only."""
        count: int = struct.unpack("i", fcntl.ioctl(self._sock, self._outq, b"\0\0\0\0"))[0]
        return count


def awaits_hello(data: bytes) -> bool:
    """`data` is the beginning of a ClientHello's record (RFC 8446, 5.1), and not all of it: TLS could do nothing with it yet."""
    return b"\x16\x03".startswith(data[:2]) and len(data) < 5 + int.from_bytes(data[3:5], "big")


class TlsLink:
    """TLS 1.3 over a TCP socket."""

    __slots__ = (
        "_ended",
        "_kept",
        "_plain",
        "_ssl",
        "_tls",
        "_incoming",
        "_outgoing",
        "established",
        "transport",
        "unsent_max",
    )

    def __init__(
        self,
        sock: socket.socket,
        unsent_max: int,
        context: Any,
        *,
        server_side: bool,
        server_name: str | None = None,
        heard: bytes = b"",
    ) -> None:
        """`heard` was read from `sock` before."""
        import ssl

        self._ssl = ssl
        self._plain = PlainLink(sock, unsent_max, RECEIVE_SIZE if server_side else RECEIVE_CLIENT)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._incoming.write(heard)
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_name
        )
        self._kept = memoryview(b"")  # ciphertext that the socket did not take
        self._ended = False
        self.established = False
        self.unsent_max = unsent_max
        self.transport = "tls"

    def fileno(self) -> int:
        """The descriptor to wait on; -1 after `close`."""
        return self._plain.fileno()

    def handshake(self) -> bool:
        """Do what can be done of the TLS handshake now. True when it is complete. Raises OSError."""
        while not self.established:
            try:
                self._tls.do_handshake()
                self.established = True
            except self._ssl.SSLWantReadError:
                self.flush()
                if not self._fill():
                    return False
            except self._ssl.SSLError:
                with contextlib.suppress(OSError):
                    self.flush()  # the alert says why
                raise
        self.flush()
        return True

    def peer_certificate(self) -> bytes:
        """The peer's certificate, DER."""
        certificate: bytes | None = self._tls.getpeercert(binary_form=True)
        return certificate or b""

    def recv(self) -> bytes | None:
        """Plaintext that is there, b"" at the end, None for nothing now. Reads until TLS wants more."""
        if self._ended:
            return b""
        if not self._fill() and not self._incoming.pending:
            return None  # what TLS itself had held was read to its end by the last call
        parts: list[bytes] = []
        try:
            while True:
                part = self._tls.read(_RECORD_SIZE)
                if not part:
                    self._ended = True
                    break
                parts.append(part)
                if not self._incoming.pending and not self._tls.pending():
                    break  # asking once more would cost an SSLWantReadError, the dearest thing in here
        except self._ssl.SSLWantReadError:
            pass
        except (self._ssl.SSLZeroReturnError, self._ssl.SSLEOFError):
            self._ended = True
        if parts:
            return b"".join(parts)
        return b"" if self._ended else None

    def send(self, buffers: Buffers) -> int:
        """Encrypt all, unless earlier ciphertext still waits."""
        if not self.flush():
            return 0
        if self._plain.is_full():
            return 0
        if len(buffers) > 1 and sum(map(len, buffers)) <= _RECORD_SIZE:
            buffers = (b"".join(buffers),)  # one record for a handful of small frames
        count = 0
        for buffer in buffers:
            count += self._tls.write(buffer)
        self.flush()
        return count

    def flush(self) -> bool:
        """Push ciphertext. True when none is left."""
        while True:
            if not self._kept:
                if not self._outgoing.pending:
                    return True
                self._kept = memoryview(self._outgoing.read())
            try:
                count = self._plain._sock.send(self._kept)
            except (BlockingIOError, InterruptedError):
                return False
            self._plain._unsent_most += count
            self._kept = self._kept[count:]

    def finish(self) -> bool:
        """As a plain one."""
        return True

    def close(self) -> None:
        """Close, with TLS's own goodbye if it goes without waiting."""
        if self.established and self._plain.fileno() >= 0:
            with contextlib.suppress(OSError):
                try:
                    self._tls.unwrap()
                except self._ssl.SSLError:
                    pass
                self.flush()
        self._plain.close()

    def _fill(self) -> bool:
        """Move ciphertext from the socket to TLS. False for nothing now."""
        data = self._plain.recv()
        if data is None:
            return False
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return True
