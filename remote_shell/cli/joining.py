"""Joining our stdin and stdout to a socket: raw bytes, each way by itself, each end passed on as an end.

Two threads that block, not one that polls: descriptors 0 and 1 are shared with whoever started us, and O_NONBLOCK would be theirs too.
What goes up must never wait for what comes down, or Ctrl-C would wait behind a flood of output. Neighbour:
`piping`.
"""

from __future__ import annotations

import _socket  # `socket` adds 5 ms of enums and selectors to each connection
import _thread
import os
import select

_SIZE = 256 * 1024
_SHUT_WR = 1


def join(sock: _socket.socket, source: int = 0, sink: int = 1) -> None:
    """Move bytes from `source` to `sock` and from `sock` to `sink` until `sock` is closed, or both ways have ended.

    An end of `source` is a half-close of `sock`; the other way round `sink` is closed. A `sink` that nobody reads ends everything.
    """
    up = _thread.allocate_lock()
    up.acquire()

    def climb() -> None:
        try:
            _up(source, sock)
        finally:
            up.release()

    _thread.start_new_thread(climb, ())
    try:
        _down(sock, sink)
    except OSError:
        return  # nobody is there to hear of it: ssh is gone, or the server
    if _is_closed(sock):
        return  # nobody reads what would still come up
    _end(sink)
    up.acquire()


def _up(source: int, sock: _socket.socket) -> None:
    try:
        while data := os.read(source, _SIZE):
            sock.sendall(data)
        sock.shutdown(_SHUT_WR)
    except OSError:
        return  # the server is gone, which the other way tells


def _down(sock: _socket.socket, sink: int) -> None:
    buffer = bytearray(_SIZE)
    view = memoryview(buffer)
    while count := sock.recv_into(buffer):
        sent = 0
        while sent < count:
            sent += os.write(sink, view[sent:count])


def _is_closed(sock: _socket.socket) -> bool:
    """Both ways, by the peer."""
    poll = select.poll()
    poll.register(sock.fileno(), 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


def _end(sink: int) -> None:
    """sshd gives one socket as stdin and stdout: to close one descriptor of it would tell nobody."""
    try:
        sock = _socket.socket(fileno=sink)
    except OSError:  # a pipe
        os.close(sink)
        return
    try:
        sock.shutdown(_SHUT_WR)
    except OSError:
        pass  # nobody is there any more
    sock.close()
