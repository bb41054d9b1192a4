"""What Linux's kernel says of a socket: its state, its entry in the tables below /proc/net, the bytes that wait in it.

Nothing here changes a socket. A place that this machine does not have is an empty answer, not an error.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
import time
from collections.abc import Callable
from pathlib import Path

from remote_shell.demo import diag

# include/net/tcp_states.h, by number
STATES = (
    "?",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "SYN_RECV",
)
_LISTENS = 0x10000  # __SO_ACCEPTCON in the flags of /proc/net/unix
_UNIX_STATES = {1: "unconnected", 2: "connecting", 3: "connected", 4: "disconnecting"}
NET = Path("/proc/net")


def state(sock: socket.socket) -> str:
    """The state of an open stream socket: by TCP_INFO for TCP (tcp(7)), by /proc/net/unix for a Unix socket; "" if it can't be told."""
    if sock.fileno() < 0:
        return ""
    if sock.family == socket.AF_UNIX:
        return unix_state(os.fstat(sock.fileno()).st_ino)
    return _state(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0])


def tcp_state(family: int, local: tuple[str, int], remote: tuple[str, int]) -> str:
    """The state of the TCP socket between two addresses (host, port), also after its program closed it; "" if the kernel has none."""
    try:
        found = diag.state(family, local, remote)
    except OSError:
        found = _listed(family, local[1], remote[1])
    return "" if found is None else _state(found)


def _listed(family: int, local: int, remote: int) -> int | None:
    """The same from /proc/net, by the ports: both were picked by the kernel, so a pair of them is one socket."""
    for fields in _table("tcp6" if family == socket.AF_INET6 else "tcp"):
        if (_port(fields[1]), _port(fields[2])) == (local, remote):
            return int(fields[3], 16)
    return None


def unix_state(inode: int) -> str:
    """The state of the Unix socket with this inode; "" if the kernel has none such."""
    for fields in _table("unix"):
        if int(fields[6]) == inode:
            return "LISTEN" if int(fields[3], 16) & _LISTENS else _UNIX_STATES.get(int(fields[5], 16), "?")
    return ""


def unsent(sock: socket.socket) -> int:
    """How many bytes wait in this end's send buffer, as the other end has not yet confirmed them (SIOCOUTQ, tcp(7))."""
    return _count(sock, termios.TIOCOUTQ)


def unread(sock: socket.socket) -> int:
    """How many bytes wait in this end's receive buffer (SIOCINQ, tcp(7))."""
    return _count(sock, termios.FIONREAD)


def wait_until(condition: Callable[[], object], seconds: float = 5.0) -> bool:
    """Waits until the condition holds, for so many seconds at most; whether it then does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def _count(sock: socket.socket, request: int) -> int:
    answer: bytes = fcntl.ioctl(sock.fileno(), request, bytes(4))
    return int(struct.unpack("i", answer)[0])


def _table(name: str) -> list[list[str]]:
    try:
        lines = (NET / name).read_text().splitlines()[1:]
    except OSError:
        return []
    return [line.split() for line in lines]


def _port(field: str) -> int:
    return int(field.rpartition(":")[2], 16)


def _state(number: int) -> str:
    return STATES[number] if number < len(STATES) else "?"
