"""The two lines to a live shell: what we type and source, and its reports.

Must never know what a command is for. Neighbours: `shell` owns one, `bash_text` or `zsh_text` has the words, `poller` calls
it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence

from remote_shell.process import poller
from remote_shell.process.poller import Poller
from remote_shell.process.shell_report import Report, ReportReader
from remote_shell.process.shell_words import ShellWords

LOWEST = 64  # the shell finds our descriptors at numbers that collide with none of those where it puts them
_READ = 65536


class ShellLink:
    """`on_report` is called for each report, `on_end` when the shell let go of the status pipe."""

    __slots__ = (
        "_inherited",
        "_on_end",
        "_on_report",
        "_poller",
        "_ran",
        "_reader",
        "_status",
        "_text",
        "_text_path",
        "_text_size",
        "_typed",
        "_watched",
        "_words",
        "flags",
    )

    def __init__(
        self, words: ShellWords, poll: Poller, on_report: Callable[[Report], None], on_end: Callable[[], None]
    ) -> None:
        """OSError: EMFILE, ENFILE."""
        self.flags = b""  # of the last report
        self._words = words
        self._poller = poll
        self._on_report = on_report
        self._on_end = on_end
        self._reader = ReportReader()
        self._inherited: list[int] = []
        self._typed: Callable[[bytes], None] = _nowhere
        self._watched = False
        self._ran = 0  # the serial of the last run
        self._text_size = 0
        self._text = os.memfd_create("remote_shell command", os.MFD_CLOEXEC)
        self._text_path = b"/proc/%d/fd/%d" % (os.getpid(), self._text)
        try:
            self._status, write_end = os.pipe2(os.O_CLOEXEC)
        except OSError:
            os.close(self._text)
            raise
        self._inherited.append(write_end)

    def inherit(self, stderr: int) -> Sequence[int]:
        """What the shell inherits: stderr, status and text, which it can only read. For `PipeProcess.start(hidden_stderr=)`."""
        given = [self._inherited.pop()]
        try:
            given.append(os.open(f"/proc/self/fd/{self._text}", os.O_RDONLY | os.O_CLOEXEC))
            for fd in (stderr, *given):
                self._inherited.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LOWEST))
        finally:
            for fd in given:
                os.close(fd)
        return tuple(self._inherited)

    def open(self, typed: Callable[[bytes], None]) -> None:
        """The shell runs: `typed` writes to its descriptor 0."""
        self._typed = typed
        stderr, status, text = self._inherited
        typed(self._words.start_text(stderr, status, text) + self._words.report_text(0))
        self._close_inherited()
        os.set_blocking(self._status, False)
        self._poller.add(self._status, poller.READ, self.read)
        self._watched = True

    def run(self, serial: int, line: bytes, stdin: bytes, *, statuses: bool = False) -> None:
        """Let it run `line` with `stdin` (a path) and report under `serial`. One at a time: there is one memfd."""
        self._ran = serial
        text = self._words.source_text(line, stdin, self.flags, statuses=statuses)
        at = 0
        while at < len(text):
            at += os.pwrite(self._text, memoryview(text)[at:], at)
        if at < self._text_size:
            os.ftruncate(self._text, at)
        self._text_size = at
        self._typed(self._words.run_text(serial, self._text_path, stdin))

    def ask(self, serial: int, times: int = 1) -> None:
        """Ask for a report under `serial`, in `times` typed lines: each SIGINT can drop one."""
        text = self._words.again_text(serial) if serial == self._ran else self._words.report_text(serial)
        self._typed(text * times)

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
    """The shell does not run."""
