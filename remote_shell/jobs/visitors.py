"""Those who talk to a keeper: connections to its socket, a line a request, and news for those who follow.

    follow      `trouble TEXT` if there is some, at SEGMENT POSITION STDOUT STDERR, then `+` when the log grew, `trouble TEXT`, `ended`
    signal N    signalled, or late
    kill MS     killing: TERM to all processes of the job, KILL after so many milliseconds

Must never wait for one of them. Imported by the keeper: nothing heavy here.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable

_LINE_MAX = 256  # of a request


class _Visitor:
    __slots__ = ("follows", "line", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.line = b""
        self.follows = False


class Visitors:
    """All of them, and the socket on which they come. `answer` gets a request's words and returns lines; none: hang up."""

    def __init__(self, poll: select.poll, folder: int, most: int, answer: Callable[[list[bytes]], bytes]) -> None:
        """Listens on `socket` in the folder of that descriptor. Raises OSError."""
        self._poll = poll
        self._folder = folder
        self._most = most
        self._answer = answer
        self._visitors: dict[int, _Visitor] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"/proc/self/fd/{folder}/socket")  # a path of any length
        os.chmod("socket", 0o600, dir_fd=folder)
        self._listener.listen(16)
        self._listener.setblocking(False)
        poll.register(self._listener.fileno(), select.POLLIN)

    def close(self) -> None:
        """Nobody can come any more."""
        os.unlink("socket", dir_fd=self._folder)

    def ready(self, fd: int) -> None:
        """The descriptor has something to read. Nothing happens if it is none of ours."""
        if fd == self._listener.fileno():
            self._accept()
        elif fd in self._visitors:
            self._hear(self._visitors[fd])

    def tell(self, line: bytes) -> None:
        """News for those who follow."""
        for visitor in list(self._visitors.values()):
            if visitor.follows:
                self._say(visitor, line)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if len(self._visitors) >= self._most:
            sock.close()
            return
        sock.setblocking(False)
        self._visitors[sock.fileno()] = _Visitor(sock)
        self._poll.register(sock.fileno(), select.POLLIN)

    def _hear(self, visitor: _Visitor) -> None:
        try:
            data = visitor.sock.recv(_LINE_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, visitor.line = (visitor.line + data).split(b"\n")
        for line in lines:
            words = line.split()
            answer = self._answer(words)
            visitor.follows = visitor.follows or words == [b"follow"]
            if not answer:
                self._part(visitor)
                return
            self._say(visitor, answer)
        if not data or len(visitor.line) > _LINE_MAX:
            self._part(visitor)

    def _say(self, visitor: _Visitor, line: bytes) -> None:
        """A peer whose buffer is full has news to read already, and then looks at the folder itself."""
        try:
            visitor.sock.send(line)
        except BlockingIOError:
            return
        except OSError:
            self._part(visitor)

    def _part(self, visitor: _Visitor) -> None:
        if self._visitors.pop(visitor.sock.fileno(), None) is not None:
            self._poll.unregister(visitor.sock.fileno())
            visitor.sock.close()
