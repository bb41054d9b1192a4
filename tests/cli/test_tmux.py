"""The REPL in a terminal that people use: tmux, with its own paste, its resizing, and its colours."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
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
        deadline = time.monotonic() + WITHIN
        while text not in (shown := self("capture-pane", "-p", *flags)):
            assert time.monotonic() < deadline, f"no {text!r} in:\n{shown}"
            time.sleep(0.02)
        return shown


@contextlib.contextmanager
def window(home: Path, *words: str) -> Iterator[Tmux]:
    tmux = Tmux(home)
    tmux("new-session", "-d", "-x", "100", "-y", "30", *ARGV, *words)
    try:
        yield tmux
    finally:
        tmux("kill-server")


@pytest.mark.slow
def test_a_session_in_tmux(tmp_path: Path) -> None:
    with window(tmp_path, "try") as tmux:
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
