"""A program on a terminal of its own, driven as a person would: type, and wait for what shows.

Answers where its cursor is, which line editors ask. Whoever measures reads as fast as it can and looks at the last bytes only. Standard
library only. Neighbour: `bench_figures` has people at prompts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import struct
import subprocess
import termios
from collections.abc import Sequence

ROWS, COLUMNS = 24, 80
READ_SIZE = 64 * 1024
TAIL = 4096  # bytes; a prompt, with what an editor does around it, is shorter
END_TIME = 5.0  # seconds
_CONTROLS = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[=>78]|\x1b\][^\x07]*\x07")


class Terminal:
    """`argv` on a pty. A context manager: at the end the program is killed."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.master, slave = os.openpty()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.output = bytearray()  # since `forget`
        self.process = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1", "REMOTE_SHELL_TOOLBAR": "0"},
            preexec_fn=lambda: os.login_tty(0),  # noqa: PLW1509  # no threads here
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *details: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    def type(self, keys: bytes) -> None:
        """Send keys."""
        os.write(self.master, keys)

    def forget(self) -> None:
        """What comes from now on is `output`."""
        self.output.clear()

    def wait_for(self, end: re.Pattern[bytes]) -> None:
        """Read until the text at the end matches. Raises EOFError when the program ends before."""
        while not end.search(text_of(self.output[-TAIL:])):
            self.read()

    def wait_bytes(self, count: int) -> None:
        """Read until there are so many bytes of output."""
        while len(self.output) < count:
            self.read()

    def read(self) -> None:
        """Wait for output, and take what there is."""
        select.select([self.master], [], [])
        try:
            data = os.read(self.master, READ_SIZE)
        except OSError:  # EIO: nobody has the other side open
            data = b""
        if not data:
            raise EOFError(f"the program on the terminal ended; last it said {text_of(self.output[-200:])!r}")
        self.output += data
        for _ in range(data.count(b"\x1b[6n")):
            self.type(b"\x1b[%d;1R" % ROWS)

    def leave(self, keys: bytes) -> None:
        """Type `keys` and wait for the program's end."""
        self.type(keys)
        with contextlib.suppress(EOFError):
            while True:
                self.read()
        self.process.wait(END_TIME)


def text_of(output: bytes | bytearray) -> bytes:
    """Without controls and white space at the end: an editor makes room below its prompt."""
    return _CONTROLS.sub(b"", bytes(output)).rstrip(b" \r\n\x08")
