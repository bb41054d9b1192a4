"""Leaving the terminal as it was found: first its modes, by escape sequences, then its line discipline.

Must never raise, and never wait long for a terminal that takes nothing: whoever leaves may be ending by a signal.
Neighbours: `modes` knows what is left on, `raw` sets the line discipline.
"""

from __future__ import annotations

import os
import select
import time

from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.terminal.modes import ModeTracker
from remote_shell.terminal.raw import RawTerminal


class Leaver:
    """The one way out. `output` is the descriptor that programs' output goes to; `terminal` is None if it was never set."""

    __slots__ = ("_limits", "_output", "_terminal", "_tracker", "_unwritten")

    def __init__(
        self, output: int, tracker: ModeTracker, terminal: RawTerminal | None, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._output = output
        self._tracker = tracker
        self._terminal = terminal
        self._limits = limits
        self._unwritten = b""

    def leave(self) -> None:
        """Undo what is left on, then restore the line discipline. Once for all: again it does nothing, until more is left on.

        A call from a signal handler, in the middle of another, goes on where that one was.
        """
        try:
            self._unwritten += self._tracker.undo()
            self._write(time.monotonic() + self._limits.terminal_leave_time)
        finally:
            self._unwritten = b""
            if self._terminal is not None:
                self._terminal.restore()

    def _write(self, deadline: float) -> None:
        """Byte by byte: "ready" promises room for one only, and a write of more could hang on a terminal that ^S stopped.

        The descriptor is not set non-blocking, since it is shared with the shell that started us.
        """
        poll = select.poll()
        try:
            poll.register(self._output, select.POLLOUT)
            while self._unwritten and time.monotonic() < deadline:
                if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    return
                try:
                    os.write(self._output, self._unwritten[:1])
                except BlockingIOError:
                    continue
                self._unwritten = self._unwritten[1:]
        except (OSError, ValueError):  # the terminal is gone
            return
