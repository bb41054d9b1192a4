"""The two lines to a live bash: what we type and source, and its reports.

Must never know what a command is for. Neighbours: `shell` owns one, `bash_text` has the words, `poller` calls it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence

from remote_shell.process import poller
from remote_shell.process.bash_text import Report, ReportReader, report_text, run_text, source_text, start_text
from remote_shell.process.poller import Poller

LOWEST = 64  # bash finds our descriptors at numbers that collide with none of those where it puts them
_READ = 65536


class BashLink:
    """`on_report` is called for each report, `on_end` when bash let go of the status pipe."""

    __slots__ = (
        "_inherited",
        "_on_end",
        "_on_report",
        "_poller",
        "_reader",
        "_status",
        "_text",
        "_typed",
        "_watched",
        "flags",
    )

    def __init__(self, poll: Poller, on_report: Callable[[Report], None], on_end: Callable[[], None]) -> None:
        """OSError: EMFILE, ENFILE."""
        self.flags = b""  # of the last report
        self._poller = poll
        self._on_report = on_report
        self._on_end = on_end
        self._reader = ReportReader()
        self._inherited: list[int] = []
        self._typed: Callable[[bytes], None] = _nowhere
        self._watched = False
        self._text = os.memfd_create("remote_shell command", os.MFD_CLOEXEC)
        try:
            self._status, write_end = os.pipe2(os.O_CLOEXEC)
        except OSError:
            os.close(self._text)
            raise
        self._inherited.append(write_end)

    def inherit(self, stderr: int) -> Sequence[int]:
        """What bash inherits: stderr, status and text. For `PipeProcess.start(hidden_stderr=)`."""
        status = self._inherited.pop()
        try:
            for fd in (stderr, status, self._text):
                self._inherited.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LOWEST))
        finally:
            os.close(status)
        return tuple(self._inherited)

    def open(self, typed: Callable[[bytes], None]) -> None:
        """Bash runs: `typed` writes to its descriptor 0."""
        self._typed = typed
        typed(start_text(*self._inherited) + report_text(0))
        self._close_inherited()
        os.set_blocking(self._status, False)
        self._poller.add(self._status, poller.READ, self.read)
        self._watched = True

    def run(self, serial: int, line: bytes, stdin: bytes, *, statuses: bool = False) -> None:
        """Let bash run `line` with `stdin` (a path) and report under `serial`. One at a time: there is one memfd."""
        text = source_text(line, stdin, self.flags, statuses=statuses)
        os.ftruncate(self._text, 0)
        at = 0
        while at < len(text):
            at += os.pwrite(self._text, memoryview(text)[at:], at)
        self._typed(run_text(serial))

    def ask(self, serial: int, times: int = 1) -> None:
        """Ask for a report under `serial`, in `times` typed lines: each SIGINT can drop one."""
        self._typed(report_text(serial) * times)

    def read(self) -> None:
        """Take in what reports there are."""
        while self._status >= 0:
            try:
                data = os.read(self._status, _READ)
            except BlockingIOError:
                return
            if not data:
                self._close_status()
                self._on_end()
                return
            for report in self._reader.feed(data):
                self.flags = report.flags
                self._on_report(report)
            if len(data) < _READ:
                return

    def close(self) -> None:
        """Let go of everything. Safe at any time."""
        self._typed = _nowhere
        self._close_inherited()
        self._close_status()
        if self._text >= 0:
            os.close(self._text)
            self._text = -1

    def _close_inherited(self) -> None:
        for fd in self._inherited:
            os.close(fd)
        self._inherited.clear()

    def _close_status(self) -> None:
        if self._status >= 0:
            if self._watched:
                self._poller.drop(self._status)
            os.close(self._status)
            self._status = -1


def _nowhere(data: bytes) -> None:
    """Bash does not run."""
