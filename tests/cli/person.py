"""A person at a raw terminal: `run --pty` and `shell --raw` on the emulator, and what a terminal has to be like afterwards."""

from __future__ import annotations

import contextlib
import termios
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.cli.program import ARGV, environment
from tests.terminal import Terminal


class Person(Terminal):
    """Before a terminal whose state at the beginning is known."""

    def __init__(self, home: Path, *words: str, added: Mapping[str, str] | None = None, **size: int) -> None:
        super().__init__(
            [*ARGV, *words], environment={**environment(home), "TERM": "xterm-256color", **(added or {})}, **size
        )
        # No race: the client needs longer to import anything than we for two calls.
        self._line = termios.tcgetattr(self.master)
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
        assert termios.tcgetattr(self.master) == self._line
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
