"""The TCP packets of one port on loopback, as they crossed (packet(7)): only root, or who has CAP_NET_RAW, may look."""

from __future__ import annotations

import ctypes
import socket
import struct
from dataclasses import dataclass
from types import TracebackType

_ATTACH_FILTER = 26  # SO_ATTACH_FILTER, asm-generic/socket.h; Python's socket module has no name for it
_IPV4 = 0x0800
_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
_LONGEST = 65535


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet: ports, flags in the order of their bits, the numbers of its first byte and of the next byte expected, the bytes."""

    source: int
    destination: int
    flags: tuple[str, ...]
    number: int
    expects: int
    data: bytes


class Capture:
    """Takes each TCP packet over IPv4 on loopback to or from a port, once: loopback shows a packet as it goes and as it comes.

    Raises:
        OSError: this process may not look (mostly PermissionError), or there is no device named lo.
    """

    def __init__(self, port: int) -> None:
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        try:
            # first the filter, then the device: other packets, which may be many and large, never fill our buffer
            self._filter = _program(port)
            program = struct.pack("HP", len(self._filter) // 8, ctypes.addressof(self._filter))
            self._sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
            # bound to one protocol the socket hears only what comes in, bound to all of them also what goes out
            self._sock.bind(("lo", _IPV4))
            self._sock.setblocking(False)
        except BaseException:
            self._sock.close()
            raise

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sock.close()

    def packets(self) -> list[Packet]:
        """Those that have crossed since the last call."""
        found: list[Packet] = []
        while True:
            try:
                packet = parsed(self._sock.recv(_LONGEST))
            except BlockingIOError:
                return found
            if packet is not None:
                found.append(packet)


def parsed(data: bytes) -> Packet | None:
    """A TCP packet from an IPv4 packet (RFC 791, RFC 9293); None if it is none."""
    if len(data) < 20 or data[0] >> 4 != 4 or data[9] != socket.IPPROTO_TCP:
        return None
    total = int.from_bytes(data[2:4], "big") or len(data)
    segment = data[(data[0] & 15) * 4 : total]
    if len(segment) < 20:
        return None
    source, destination, number, expects, offset, bits = struct.unpack_from("!HHIIBB", segment)
    flags = tuple(name for place, name in enumerate(_FLAGS) if bits >> place & 1)
    return Packet(source, destination, flags, number, expects, segment[(offset >> 4) * 4 :])


def _program(port: int) -> ctypes.Array[ctypes.c_char]:
    """A filter for the kernel (bpf(4)): the packets whose source or destination port is this one, of an IPv4 header of any length."""
    instructions = (
        (0xB1, 0, 0, 0),  # x = length of the IPv4 header
        (0x48, 0, 0, 0),  # a = the 16 bits at x + 0
        (0x15, 2, 0, port),  # equal? go to "take it"
        (0x48, 0, 0, 2),  # a = the 16 bits at x + 2
        (0x15, 0, 1, port),  # not equal? go to "leave it"
        (0x06, 0, 0, _LONGEST),  # take it
        (0x06, 0, 0, 0),  # leave it
    )
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    return ctypes.create_string_buffer(code, len(code))
