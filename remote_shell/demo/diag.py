"""Asks the kernel for one TCP socket by its two addresses (sock_diag(7)), as `ss` does: also one that its program has closed already.

/proc/net/tcp tells the same, but takes 30 ms on a large machine: too long to see a state that lasts 40.
"""

from __future__ import annotations

import socket
import struct

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_REQUEST = 1  # NLM_F_REQUEST
_ERROR = 2  # NLMSG_ERROR
_ENOENT = 2
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ANY_COOKIE = 0xFFFFFFFF


def state(family: int, local: tuple[str, int], remote: tuple[str, int]) -> int | None:
    """The number of the state (include/net/tcp_states.h) of the TCP socket between two addresses; None if the kernel has none.

    Raises:
        OSError: the kernel answers no such question (no module tcp_diag, a sandbox).
    """
    body = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF)
    body += struct.pack("!HH", local[1], remote[1]) + _packed(family, local[0]) + _packed(family, remote[0])
    body += struct.pack("=III", 0, _ANY_COOKIE, _ANY_COOKIE)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as sock:
        sock.settimeout(1.0)
        sock.sendto(_HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST, 1, 0) + body, (0, 0))
        answer = sock.recv(4096)
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind == _ERROR:
        number = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        if number == _ENOENT:
            return None
        raise OSError(number, "the kernel tells nothing of its sockets")
    # struct inet_diag_msg: family, state, timer, retrans, then the ports. For a pair that it has not, the kernel names who listens there.
    _, found, _, _, _, port = struct.unpack_from("!BBBBHH", answer, _HEADER.size)
    return int(found) if port == remote[1] else None


def _packed(family: int, host: str) -> bytes:
    return socket.inet_pton(family, host).ljust(16, b"\0")
