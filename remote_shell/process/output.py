"""Reading one output pipe of a process: chunks, pausing, and "what was written up to now".

Must never wait, cut into lines, or read on while paused: then the pipe fills and the child blocks, which is the
backpressure. Neighbours: `pipes` owns two of them; `poller` calls `_readable`.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from collections.abc import Callable

from remote_shell.limits import Limits
from remote_shell.process import poller
from remote_shell.process.base import Sink
from remote_shell.process.poller import Poller

_grown = 0  # pipes of this process that were grown, against limits.pipes_grown_max


class OutputPipe:
    """The read end, non-blocking. `changed` is called when the stream ended, and when what was due was passed on.

    `due` counts the bytes that were in the pipe at the last `settle` and still are: a command's end is told when both
    its pipes have none left, so it never overtakes what the command wrote, and never waits for what survivors write.
    """

    __slots__ = (
        "_changed",
        "_ended",
        "_limits",
        "_poller",
        "_size",
        "_watched",
        "due",
        "fd",
        "paused",
        "sink",
        "stream",
    )

    def __init__(
        self, stream: int, fd: int, poll: Poller, sink: Sink, changed: Callable[[], None], limits: Limits
    ) -> None:
        self.stream = stream
        self.fd = fd  # -1 once it ended or was closed
        self.sink = sink
        self.paused = False
        self.due = 0
        self._poller = poll
        self._changed = changed
        self._limits = limits
        self._size = limits.pipe_read
        self._watched = -1  # the descriptor that the poller has
        self._ended = -1  # the descriptor that was at its end, until it is closed
        os.set_blocking(fd, False)
        self._watch()

    def pause(self) -> None:
        """Read no more. A chunk that is being passed on is the last."""
        self.paused = True
        self._unwatch()

    def resume(self) -> None:
        """Read again, from the loop's next turn on."""
        self.paused = False
        self._watch()

    def settle(self) -> None:
        """Pass on what is in the pipe now, as far as no pause forbids; `due` is what remains of it.

        A read that gives less than it asked for has emptied the pipe (pipe(7)), so FIONREAD is asked only after a full
        one: most commands need one read a stream.
        """
        if self.fd < 0:
            self.due = 0
            return
        if self.paused:
            self.due = self._waiting()
            return
        size = self._size
        self.due = 0
        data = self._read(size)
        if not data:
            return
        self.due = self._waiting() if len(data) == size else 0
        self.sink.on_output(self.stream, data)
        while self.due and not self.paused and self.fd >= 0:
            data = self._read(min(self.due, size))
            if not data:
                return
            self.due -= len(data)
            self.sink.on_output(self.stream, data)

    def look(self) -> None:
        """Read once, if no pause forbids it: most pipes are at their end when the process is, and then the end is told."""
        if self.fd >= 0 and not self.paused and (data := self._read(self._size)):
            self.sink.on_output(self.stream, data)

    def close(self) -> None:
        """Give the pipe up: a child that writes on gets SIGPIPE.

        Who owns it is let go: what knows nobody is gone at once, and its memory is the next command's, still in the caches.
        """
        self._changed = _nobody
        if self.fd >= 0:
            self._ended, self.fd, self.due = self.fd, -1, 0
        self.tidy()

    def tidy(self) -> None:
        """Close what `settle` and `look` saw the end of: they leave it, as somebody waits for what is told behind it."""
        fd, self._ended = self._ended, -1
        if fd < 0:
            return
        self._unwatch()
        os.close(fd)
        if self._size != self._limits.pipe_read:
            global _grown
            _grown -= 1

    def _readable(self) -> None:
        try:
            data = self._read(self._size)
        finally:
            self.tidy()  # whatever the sink raised, or the poller would call for ever
        if not data:
            if data is not None:
                self._changed()
            return
        if len(data) == self._size:
            self._grow()
        if self.due:
            self.due = max(0, self.due - len(data))
            self.sink.on_output(self.stream, data)
            if not self.due:
                self._changed()
        else:
            self.sink.on_output(self.stream, data)

    def _read(self, size: int) -> bytes | None:
        """A chunk; None if there is none now; b"" at the end, which was told: then `tidy` is due."""
        try:
            data = os.read(self.fd, size)
        except BlockingIOError:  # nothing else reads here, so nothing can be due
            return None
        if not data:
            self._ended, self.fd, self.due = self.fd, -1, 0
            self.sink.on_output_end(self.stream)
        return data

    def _waiting(self) -> int:
        """Bytes in the pipe: ioctl_tty(2), FIONREAD."""
        answer: int = struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, b"\0\0\0\0"))[0]
        return answer

    def _grow(self) -> None:
        """A full pipe means a fast writer: fewer, larger reads. 1.1 GB/s becomes 4 with `dd bs=128k`; 1 MiB gave no more."""
        global _grown
        if self._size != self._limits.pipe_read or _grown >= self._limits.pipes_grown_max:
            return
        try:
            fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, self._limits.pipe_grown)
        except OSError:  # EPERM: the account has no pipe memory left (pipe(7)); as it was, then
            return
        self._size = self._limits.pipe_grown // 2
        _grown += 1

    def _watch(self) -> None:
        if self._watched < 0 <= self.fd:
            self._poller.add(self.fd, poller.READ, self._readable)
            self._watched = self.fd

    def _unwatch(self) -> None:
        if self._watched >= 0:
            self._poller.drop(self._watched)
            self._watched = -1


def _nobody() -> None:
    """Stands for `changed` after `close`."""
