"""A real terminal, tmux, whose title and clipboard a program over there may not set, unless it is allowed to."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.cli.program import ARGV
from tests.cli.tmux import Tmux, at_prompt, running

pytestmark = pytest.mark.slow

# six ways to a title in tmux, and the clipboard
LINE = (
    r"printf '\033\377]2;evil\007\033_Ga=T;evil\033\\'; "
    r"printf '\033]2;evil\007'; printf '\033_evil\033\\'; printf '\033kevil\033\\'; printf '\302\235''0;evil\302\234';"
    r"printf '\033]52;c;ZXZpbA==\007'; printf '\033]52;c;ZXZpbA==\033\\'; echo so it''goes"
)


def begin(tmux: Tmux) -> str:
    """Its title before; the clipboard is empty."""
    tmux("set-option", "-s", "set-clipboard", "on")
    tmux("set-option", "-w", "automatic-rename", "off")
    tmux("set-option", "-w", "allow-rename", "on")
    assert tmux("show-buffer") == ""
    return names(tmux)


def names(tmux: Tmux) -> str:
    return tmux("display-message", "-p", "#{pane_title} #{window_name}")


@pytest.mark.parametrize("allowed", ["", "title", "clipboard", "title,clipboard", "all"])
def test_a_program_at_a_terminal(allowed: str, target: str, tmp_path: Path) -> None:
    with running(tmp_path, "env", "PS1=here>", "bash", "--norc", "-i") as tmux:
        tmux.wait_for("here>")
        before = begin(tmux)
        option = ["--allow", allowed] if allowed else []
        tmux.line(f"clear; {shlex.join([*ARGV, 'run', '-t', *option, target, 'sh', '-c', LINE])}")
        tmux.wait_for("\nhere>")
        assert "so itgoes" in tmux("capture-pane", "-p")
        assert names(tmux) == ("evil evil\n" if "title" in allowed or allowed == "all" else before)
        assert tmux("show-buffer") == ("evil" if "clipboard" in allowed or allowed == "all" else "")


@pytest.mark.parametrize("allowed", ["", "title", "clipboard"])
def test_at_the_prompt(allowed: str, target: str, tmp_path: Path) -> None:
    with at_prompt(tmp_path, target, *(["--allow", allowed] if allowed else [])) as tmux:
        before = begin(tmux)
        tmux.line(f"clear; {LINE}")
        tmux.wait_for("so itgoes")
        tmux.wait_prompt()
        assert names(tmux) == ("evil evil\n" if allowed == "title" else before)
        assert tmux("show-buffer") == ("evil" if allowed == "clipboard" else "")


def test_a_command_without_a_terminal(target: str, tmp_path: Path) -> None:
    with running(tmp_path, "env", "PS1=here>", "bash", "--norc", "-i") as tmux:
        tmux.wait_for("here>")
        before = begin(tmux)
        tmux.line(f"clear; {shlex.join([*ARGV, 'run', target, 'sh', '-c', LINE])}")
        assert "^[]2;evil^G^[_evil^[\\" in tmux.wait_for("so itgoes")
        assert (names(tmux), tmux("show-buffer")) == (before, "")


def test_what_tmux_keeps_when_the_alternate_screen_is_left(target: str, tmp_path: Path) -> None:
    with at_prompt(tmp_path, target) as tmux:
        tmux.line(r"printf '\033[?1049h\033[2;9r\033[?6h'; (exit 42)")
        tmux.wait_for("✗ 42")
        tmux.wait_prompt()
        assert tmux.is_plain()
        tmux.line("echo it go''es")
        tmux.wait_for("\nit goes")
