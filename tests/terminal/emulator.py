"""A terminal for tests: a program on a real pty, its screen kept by pyte, so that tests see what a person would see.

Answers what a terminal answers (cursor position requests), never sleeps without a deadline. Use as a context manager: at the
end the program is killed and reaped, and the descriptor closed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import pyte

DEADLINE = 15.0  # seconds; long, since the machine may be busy, and reached only by a test that fails
KEYS = {
    "enter": "\r",
    "alt-enter": "\x1b\r",
    "ctrl-c": "\x03",
    "ctrl-d": "\x04",
    "ctrl-u": "\x15",
    "up": "\x1b[A",
    "right": "\x1b[C",
    "ctrl-\\": "\x1c",
}


class _Screen(pyte.HistoryScreen):
    """A screen that answers what the program asks its terminal."""

    def __init__(self, columns: int, rows: int, answer: Callable[[str], None]) -> None:
        super().__init__(columns, rows, history=10_000)
        self._answer = answer

    def select_graphic_rendition(self, *attrs: int, private: bool = False) -> None:
        """Attributes; vim's question for the keyboard's (XTMODKEYS) ends with the same letter, and pyte stumbles over it."""
        if not private:
            super().select_graphic_rendition(*attrs)

    def write_process_input(self, data: str) -> None:
        """pyte calls this with the terminal's answer."""
        self._answer(data)


class Terminal:
    """`argv` on a pty of `rows` and `columns`. `environment` is added to ours, None takes a variable away."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str | None] | None = None,
        rows: int = 30,
        columns: int = 100,
    ) -> None:
        self.screen = _Screen(columns, rows, self._answer)
        self._stream = pyte.ByteStream(self.screen)
        self.output = b""  # every byte that the program wrote
        self.master, slave = os.openpty()
        self.resize(rows, columns)
        self.line = termios.tcgetattr(self.master)  # before the program could change it
        variables = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", **(environment or {})}
        self.process = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={name: value for name, value in variables.items() if value is not None},
            preexec_fn=lambda: os.login_tty(0),  # noqa: PLW1509  # tests only, and before any thread of theirs
        )
        os.close(slave)
        os.set_blocking(self.master, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 2
            while self.process.poll() is None and time.monotonic() < deadline:
                self._read(0.02)
            self.process.kill()
        self.process.wait()
        os.close(self.master)

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size, as a window manager would."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.resize(rows, columns)

    @property
    def text(self) -> str:
        """The screen, with no spaces at the ends of lines and no empty lines at the end."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    @property
    def everything(self) -> str:
        """What scrolled off the top, then the screen."""
        lines = ["".join(line[x].data for x in range(self.screen.columns)).rstrip() for line in self.screen.history.top]
        return "\n".join([*lines, self.text])

    def type(self, text: str) -> None:
        """Send `text` as if typed."""
        data = text.encode()
        deadline = time.monotonic() + DEADLINE
        while data:
            try:
                data = data[os.write(self.master, data[:4096]) :]
            except BlockingIOError:
                self._read(0.01)
            assert time.monotonic() < deadline, "the program does not read its terminal"

    def press(self, *keys: str) -> None:
        """Send keys by name, see KEYS."""
        for key in keys:
            self.type(KEYS[key])

    def paste(self, text: str) -> None:
        """Send `text` as a terminal sends a paste to a program that asked for brackets around it."""
        self.type(f"\x1b[200~{text}\x1b[201~")

    def wait_for(self, text: str, *, count: int = 1, deadline: float = DEADLINE) -> str:
        """Read until `text` is on the screen, `count` times, and return the screen."""
        self.wait_until(lambda: self.text.count(text) >= count, f"{text!r} x {count}", deadline=deadline)
        return self.text

    def wait_until(self, condition: Callable[[], bool], what: str, *, deadline: float = DEADLINE) -> None:
        """Read until `condition` holds."""
        until = time.monotonic() + deadline
        while not condition():
            if time.monotonic() > until or (
                not self._read(0.05) and self.process.poll() is not None and not self._read(0)
            ):
                if condition():
                    return
                state = "still runs" if self.process.poll() is None else f"ended with {self.process.returncode}"
                raise AssertionError(f"no {what} in {deadline} s; the program {state}; the screen:\n{self.text}")

    def wait_end(self, *, deadline: float = DEADLINE) -> int:
        """Read until the program has ended; its status, -N for a signal."""
        until = time.monotonic() + deadline
        while self.process.poll() is None:
            assert time.monotonic() < until, f"still runs; the screen:\n{self.text}"
            self._read(0.02)
        while self._read(0):
            pass
        return self.process.wait()

    def _answer(self, data: str) -> None:
        os.write(self.master, data.encode())

    def _read(self, seconds: float) -> bool:
        """Feed what comes within `seconds` to the screen; whether something came."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # what Linux says when the last program has closed the other end
                raise
            time.sleep(min(seconds, 0.01))
            return False
        self.output += data
        self._stream.feed(data)
        return bool(data)
