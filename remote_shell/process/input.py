"""Writing one stdin pipe: a queue that empties as the reader takes it, with credit for each byte that left it.

The queue has no bound of its own: who writes holds credit, and gets it back only through `credit`. Must never wait or raise
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


class InputPipe:
    """The write end, non-blocking. `credit(n)` tells of bytes taken by the pipe or thrown away, also within a call."""

    __slots__ = ("_closing", "_credit", "_limits", "_poller", "_queue", "_watched", "fd")

    def __init__(self, fd: int, poll: Poller, credit: Callable[[int], None], limits: Limits) -> None:
        self.fd = fd  # -1 once closed
        self._poller = poll
        self._credit = credit
        self._limits = limits
        self._queue: deque[memoryview] = deque()
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
            # A copy, since the caller may use its buffer again; a view of it, since each write cuts a piece off.
            self._queue.append(memoryview(bytes(data[taken:])))
            self._watch()
        if taken:
            self._credit(taken)

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
                queue.appendleft(first[left:])
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
