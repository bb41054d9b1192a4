"""The REPL, and real programs on raw terminals, in a terminal that people use: tmux, with its own paste, resizing and colours."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.program import ARGV, WITHIN, environment


class Tmux:
    """A tmux server of its own with one window."""

    def __init__(self, home: Path) -> None:
        self._name = f"remote-shell-test-{os.getpid()}"
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
    tmux("new-session", "-d", "-x", "100", "-y", "30", *argv)
    try:
        yield tmux
    finally:
        tmux("kill-server")


@pytest.mark.slow
def test_a_session_in_tmux(tmp_path: Path) -> None:
    with window(tmp_path, "try", "--noprofile") as tmux:
        tmux.wait_for("Ctrl-D leaves.")
        tmux.wait_for(" ~ ")
        tmux("send-keys", "cd /usr && false", "Enter")
        assert "\x1b[31m✗ 1" in tmux.wait_for("✗ 1", "-e")
        tmux.wait_for(" /usr ")
        tmux("load-buffer", "-", input="for i in 1 2\ndo echo line $i\ndone\n")
        tmux("paste-buffer", "-p", "-r")
        shown = tmux.wait_for("done")
        assert "line 1" not in shown, "a paste waits for Enter"
        tmux("send-keys", "Enter")
        tmux.wait_for("line 1\nline 2\n")
        tmux("resize-window", "-x", "60", "-y", "20")
        tmux("send-keys", "echo after resizing", "Enter")
        tmux.wait_for("\nafter resizing\n")
        tmux("send-keys", "sleep 1000", "Enter")
        tmux.wait_for("sleep 1000")
        tmux("send-keys", "C-c")
        tmux.wait_for("✗ 130")
        tmux("send-keys", "yes", "Enter")
        tmux.wait_for("y\ny\ny\n")
        begin = time.monotonic()
        tmux("send-keys", "C-c")
        tmux("send-keys", "echo back", "Enter")
        tmux.wait_for("\nback\n")
        assert time.monotonic() - begin < 3, "Ctrl-C in a flood"


# --- run --pty


@contextlib.contextmanager
def program(home: Path, target: str, *words: str) -> Iterator[Tmux]:
    """tmux with a shell here, which runs the words over there; at the end the status is 0 and the terminal the shell's again."""
    with running(home, "env", "PS1=here>", "bash", "--norc", "-i") as tmux:
        tmux.wait_for("here>")
        tmux.keys("-l", "stty -g > before; clear; " + shlex.join([*ARGV, "run", "-t", target, "--", *words]))
        tmux.keys("Enter")
        yield tmux
        tmux.wait_until(lambda shown: shown.rstrip().endswith("here>"), "prompt")
        assert tmux.is_plain()
        tmux.keys("clear; echo status $?; stty -g > after; echo compared; diff before after", "Enter")
        shown = tmux.wait_until(
            lambda shown: shown.startswith("status") and shown.rstrip().endswith("here>"), "comparison"
        )
        assert shown.split() == ["status", "0", "compared", "here>"]


@pytest.mark.slow
def test_vim_edits_and_saves(target: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("".join(f"line {number}\n" for number in range(1, 101)))
    with program(tmp_path, target, "vim.tiny", "-u", "NONE", str(file)) as tmux:
        tmux.wait_for("line 29\n")
        tmux("resize-window", "-x", "70", "-y", "20")
        tmux.wait_until(lambda shown: "line 19\n" in shown and "line 20" not in shown, "smaller window")
        tmux.keys(":set columns?", "Enter")
        tmux.wait_for("columns=70")
        tmux.keys("G", "o", "ä new line", "Escape")
        tmux.wait_for("ä new line")
        tmux.keys("Up", "x", ":wq", "Enter")
    lines = file.read_text().splitlines()
    assert lines[98:] == ["line 99", "line 10", "ä new line"]


@pytest.mark.slow
def test_less_pages(target: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("".join(f"line {number}\n" for number in range(1, 1001)))
    with program(tmp_path, target, "less", str(file)) as tmux:
        tmux.wait_for("line 29\n")
        tmux.keys("Space")
        tmux.wait_for("line 58\n")
        tmux.keys("G")
        tmux.wait_for("line 1000\n")
        tmux.keys("g")
        tmux.wait_until(lambda shown: shown.startswith("line 1\n"), "beginning")
        tmux("resize-window", "-x", "70", "-y", "12")
        tmux.wait_until(lambda shown: "line 11\n" in shown and "line 12" not in shown, "smaller window")
        tmux.keys("/line 77", "Enter")
        tmux.wait_until(lambda shown: shown.startswith("line 77\n"), "what was looked for")
        tmux.keys("q")


@pytest.mark.slow
def test_top_refreshes_and_quits(target: str, tmp_path: Path) -> None:
    with program(tmp_path, target, "top", "-d", "0.2") as tmux:
        first = tmux.wait_until(lambda shown: "load average" in shown and "PID" in shown, "top")
        tmux.wait_until(lambda shown: shown.splitlines()[0] != first.splitlines()[0], "another time")
        tmux.keys("q")


@pytest.mark.slow
def test_python_at_its_prompt(target: str, tmp_path: Path) -> None:
    with program(tmp_path, target, sys.executable, "-q") as tmux:
        tmux.wait_for(">>>")
        tmux.keys("6*7", "Enter")
        tmux.wait_for("\n42\n")
        tmux.keys("Up", "BSpace", "8", "Enter")  # its line editor has history
        tmux.wait_for("\n48\n")
        tmux.keys("half", "C-c")
        tmux.wait_for("KeyboardInterrupt")
        tmux.keys("while True: pass", "Enter", "Enter")
        tmux.wait_for("...")
        tmux.keys("C-c")
        tmux.wait_until(lambda shown: shown.count("KeyboardInterrupt") == 2, "interrupt")
        tmux.keys("C-d")


@pytest.mark.parametrize(
    "words",
    [
        ["bash", "-c", 'read -rs -p "Password: " word; echo; echo "got ${#word}"'],
        # as sudo does: it opens the terminal itself, and throws away what was typed before
        [sys.executable, "-c", "import getpass; print('got', len(getpass.getpass('Password: ')))"],
    ],
)
@pytest.mark.slow
def test_a_password_is_not_shown(words: list[str], target: str, tmp_path: Path) -> None:
    with program(tmp_path, target, *words) as tmux:
        tmux.wait_until(lambda shown: shown.startswith("Password:"), "prompt")
        tmux.keys("secret", "Enter")
        assert "secret" not in tmux.wait_for("got 6")
