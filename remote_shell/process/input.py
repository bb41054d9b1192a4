"""Writing one stdin pipe: a queue that empties as the reader takes it, with credit for each byte that left it.

The queue has no bound of its own: who writes holds credit, and gets it back only through `credit`. Small pieces are joined, so
that a window of single bytes does not cost a window of objects. Must never wait or raise
SIGPIPE (Python ignores it). Neighbours: `pipes` and `shell` own them; `poller` calls `_writable`.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from collections import deque
from collections.abc import Callable
from itertools import islice

from remote_shell.limits import Limits
from remote_shell.process import poller
from remote_shell.process.poller import Poller

_JOINED = 64 * 1024  # bytes of small pieces that are queued as one


class InputPipe:
    """The write end, non-blocking. `credit(n)` tells of bytes taken by the pipe or thrown away, also within a call."""

    __slots__ = ("_closing", "_credit", "_limits", "_poller", "_queue", "_watched", "fd")

    def __init__(self, fd: int, poll: Poller, credit: Callable[[int], None], limits: Limits) -> None:
        self.fd = fd  # -1 once closed
        self._poller = poll
        self._credit = credit
        self._limits = limits
        self._queue: deque[bytearray | memoryview] = deque()  # the last grows with what follows, if it is an array
        self._watched = False
        self._closing = False
        os.set_blocking(fd, False)

    def write(self, data: bytes | memoryview) -> None:
        """Write now what the pipe takes and keep the rest. After a close it is thrown away and credited."""
        size = len(data)
        if not size:
            return
        if self.fd < 0 or self._closing:
            self._credit(size)
            return
        taken = 0
        if not self._queue:
            try:
                taken = os.write(self.fd, data)
            except BlockingIOError:
                pass
            except OSError:  # EPIPE; EIO of a terminal that was hung up
                self.close()
                taken = size
        if taken < size:
            self._enqueue(data[taken:] if taken else data)
            self._watch()
        if taken:
            self._credit(taken)

    def _enqueue(self, data: bytes | memoryview) -> None:
        """A copy, since the caller may use its buffer again."""
        queue, last = self._queue, self._queue[-1] if self._queue else None
        if isinstance(last, bytearray) and len(last) + len(data) <= _JOINED:
            last += data
        else:
            queue.append(bytearray(data))

    @property
    def queued(self) -> bool:
        """Something waits that the pipe did not take."""
        return bool(self._queue)

    def unread(self) -> int:
        """Bytes that the reader has not taken yet: queued ones and those in the pipe (FIONREAD works on either end)."""
        if self.fd < 0:
            return 0
        waiting: int = struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, b"\0\0\0\0"))[0]
        return waiting + sum(map(len, self._queue))

    def close_when_written(self) -> None:
        """End of the stream, after what is queued."""
        self._closing = True
        if not self._queue:
            self.close()

    def close(self) -> None:
        """Close at once; what is queued is thrown away and credited."""
        if self.fd < 0:
            return
        self._unwatch()
        os.close(self.fd)
        self.fd = -1
        lost = sum(map(len, self._queue))
        self._queue.clear()
        if lost:
            self._credit(lost)

    def _writable(self) -> None:
        queue = self._queue
        try:
            taken = os.writev(self.fd, list(islice(queue, self._limits.stdin_parts_max)))
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        left = taken
        while left:
            first = queue.popleft()
            if len(first) > left:
                queue.appendleft(memoryview(first)[left:])  # each write cuts a piece off
                break
            left -= len(first)
        if not queue:
            if self._closing:
                self.close()
            else:
                self._unwatch()
        self._credit(taken)

    def _watch(self) -> None:
        if not self._watched:
            self._poller.add(self.fd, poller.WRITE, self._writable)
            self._watched = True

    def _unwatch(self) -> None:
        if self._watched:
            self._poller.drop(self.fd)
            self._watched = False
