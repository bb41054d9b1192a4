"""A person at a raw terminal: `run --pty` and `shell --raw` on the emulator, and what a terminal has to be like afterwards."""

from __future__ import annotations

import contextlib
import re
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.cli.program import ARGV, WITHIN, environment
from tests.terminal import Terminal

# A full-screen program that says when it is ready, tells its pid, and never takes its modes back.
FULL_SCREEN = r"printf '\033[?1049h\033[?1002;1006h\033[?25l\033[?2004h\033[2;9r\033[7mpid %d.' $$; exec sleep 1000"


# Paints its screen when the window's size changes, and shows each key that it got.
PAINTER = """
import os, signal, tty
keys = b""
def paint(*_):
    size = os.get_terminal_size()
    os.write(1, b"\\x1b[H\\x1b[2Jpainted %d x %d keys %s." % (size.lines, size.columns, keys.hex().encode()))
tty.setraw(0)
os.write(1, b"\\x1b[?1049h\\x1b[?1002h\\x1b[?25l\\x1b[?2004h\\x1b[7m")
signal.signal(signal.SIGWINCH, paint)
paint()
while not keys.endswith(b"q"):
    keys += os.read(0, 1)
    paint()
os.write(1, b"\\x1b[m\\x1b[?2004l\\x1b[?25h\\x1b[?1002l\\x1b[?1049lended")
"""


class Person(Terminal):
    """Before a terminal whose state at the beginning is known."""

    def __init__(
        self,
        home: Path,
        *words: str,
        added: Mapping[str, str] | None = None,
        under: Sequence[str] = (),  # what starts it
        **size: int,
    ) -> None:
        super().__init__(
            [*under, *ARGV, *words],
            environment={**environment(home), "TERM": "xterm-256color", **(added or {})},
            **size,
        )
        self._modes = set(self.screen.mode)

    @property
    def is_raw(self) -> bool:
        """The terminal hands over each key, and echoes none."""
        flags: int = termios.tcgetattr(self.master)[3]
        return not flags & (termios.ECHO | termios.ICANON | termios.ISIG)

    def wait_raw(self) -> None:
        """Until keys go to the program; what is typed before is echoed here and then there."""
        self.wait_until(lambda: self.is_raw, "raw terminal")

    def check_clean(self) -> None:
        """The terminal is as it was: line discipline, modes, margins, attributes, cursor."""
        assert termios.tcgetattr(self.master) == self.line
        assert self.screen.mode == self._modes
        assert self.screen.margins is None
        assert not self.screen.cursor.hidden
        assert not self.screen.cursor.attrs.reverse

    def left_with(self, **deadline: float) -> int:
        """The exit status, after which the terminal is as it was."""
        status = self.wait_end(**deadline)
        self.check_clean()
        return status


@contextlib.contextmanager
def at_program(home: Path, target: str, *words: str, **more: Any) -> Iterator[Person]:
    """A person before `run --pty TARGET WORDS`; `options` are for `run`."""
    options = more.pop("options", ())
    with Person(home, "run", "--pty", *options, target, *words, **more) as person:
        yield person


def is_alive(pid: int) -> bool:
    """It runs: neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pid_of(person: Terminal) -> int:
    """What FULL_SCREEN told."""
    person.wait_until(lambda: re.search(r"pid (\d+)\.", person.text) is not None, "pid")
    found = re.search(r"pid (\d+)\.", person.text)
    assert found is not None
    return int(found[1])


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)


def stands_still(pid: int) -> Callable[[], bool]:
    """A condition: the process has slept and written nothing for ten looks; one that waits for a processor does not sleep."""
    seen: list[tuple[str, str]] = []

    def look() -> bool:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        seen.append((state, Path(f"/proc/{pid}/io").read_text()))
        return len(seen) > 10 and seen[-1][0] == "S" and len(set(seen[-10:])) == 1

    return look


def wait_dead(pid: int) -> None:
    wait_until(lambda: not is_alive(pid), f"end of {pid}")
