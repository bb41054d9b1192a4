"""tmux, driven by tests: a terminal that people use, with its own paste, resizing and colours."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.cli.program import ARGV, WITHIN, environment

_NUMBERS = itertools.count(1)
_PROMPT = re.compile(r"(?:^|\n)\S+ \S+ [#$]$")


class Tmux:
    """A tmux server of its own with one window."""

    def __init__(self, home: Path) -> None:
        # one of its own each: the one before may still be on its way out
        self._name = f"remote-shell-test-{os.getpid()}-{next(_NUMBERS)}"
        self._environment = environment(home)

    def __call__(self, *words: str, input: str | None = None) -> str:
        """One tmux command; its output."""
        argv = ["tmux", "-f", "/dev/null", "-L", self._name, *words]
        return subprocess.run(
            argv, input=input, env=self._environment, capture_output=True, text=True, timeout=WITHIN
        ).stdout

    def wait_for(self, text: str, *flags: str) -> str:
        """Until the window shows it; returns the window."""
        return self.wait_until(lambda shown: text in shown, text, *flags)

    def wait_until(self, condition: Callable[[str], bool], what: str, *flags: str) -> str:
        """Until the window fulfils it; returns the window."""
        deadline = time.monotonic() + WITHIN
        while not condition(shown := self("capture-pane", "-p", *flags)):
            assert time.monotonic() < deadline, f"no {what!r} in:\n{shown}"
            time.sleep(0.02)
        return shown

    def keys(self, *keys: str) -> None:
        """Send keys by their names, and texts."""
        self("send-keys", *keys)

    def line(self, text: str) -> None:
        """Type a line as it is, and Enter."""
        self("send-keys", "-l", text)
        self("send-keys", "Enter")

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size."""
        self("resize-window", "-x", str(columns), "-y", str(rows))

    def wait_prompt(self) -> str:
        """Until the last line is a prompt of the REPL with nothing behind it; returns the window."""
        return self.wait_until(lambda shown: _PROMPT.search(shown.rstrip()) is not None, "prompt")

    def is_plain(self) -> bool:
        """No program's modes are left."""
        flags = ("alternate_on", "mouse_any_flag", "keypad_flag", "keypad_cursor_flag", "origin_flag", "insert_flag")
        named = "".join(f"#{{{flag}}}" for flag in flags)
        size = "#{cursor_flag}#{wrap_flag} #{scroll_region_upper} #{e|-:#{pane_height},#{scroll_region_lower}}"
        return self("display-message", "-p", f"{named} {size}").strip() == "000000 11 0 1"


@contextlib.contextmanager
def window(home: Path, *words: str) -> Iterator[Tmux]:
    """tmux with `remote-shell WORDS`."""
    with running(home, *ARGV, *words) as tmux:
        yield tmux


@contextlib.contextmanager
def running(home: Path, *argv: str) -> Iterator[Tmux]:
    """tmux with `argv`."""
    tmux = Tmux(home)
    tmux("new-session", "-d", "-c", str(home), "-x", "100", "-y", "30", *argv)
    try:
        yield tmux
    finally:
        tmux("kill-server")


@contextlib.contextmanager
def at_prompt(home: Path, target: str, *options: str) -> Iterator[Tmux]:
    """tmux with the REPL at its first prompt; at the end there is a prompt, the terminal is plain, and ^D leaves."""
    then_tell = ("sh", "-c", 'trap : INT TSTP QUIT; "$@"; echo "left with $?"; exec cat', "sh")
    with running(home, *then_tell, *ARGV, "shell", "--new", *options, target) as tmux:
        tmux.wait_for("Ctrl-D leaves.")
        tmux.wait_prompt()
        yield tmux
        tmux.wait_prompt()
        assert tmux.is_plain()
        tmux.keys("C-d")
        tmux.wait_for("left with 0")
