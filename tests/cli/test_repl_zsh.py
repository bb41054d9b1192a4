"""The REPL with an account whose shell is zsh: a real program on a real pty, before a real zsh."""

from __future__ import annotations

import re
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_shell import testing
from tests.cli.test_repl import repl, run, wait_prompt

pytestmark = pytest.mark.slow  # Debian's zsh


@pytest.fixture(scope="module")
def zsh() -> Iterator[str]:
    """The target of a server whose account has zsh."""
    with testing.server(("unix:",), config='shell = "/usr/bin/zsh"\n') as server:
        yield server.targets["unix"]


def shown(text: str) -> list[str]:
    """What a command showed, without the line that was typed."""
    return text.strip().splitlines()[1:]


def test_a_session_with_zsh(zsh: str, tmp_path: Path) -> None:
    with repl(zsh, tmp_path) as terminal:
        assert shown(run(terminal, "print ${ZSH_VERSION:+zsh}")) == ["zsh"]
        run(terminal, "cd /usr/share; x=kept; greet() { print hello $1 }")  # no `;` before the brace: whole in zsh
        assert re.search(r"\S+ /usr/share [#$]$", terminal.text)
        assert shown(run(terminal, "greet $x")) == ["hello kept"]
        assert shown(run(terminal, "for i (a b) print $i")) == ["a", "b"]
        assert shown(run(terminal, "(exit 42)")) == ["✗ 42"]
        assert shown(run(terminal, "nosuch")) == ["zsh: command not found: nosuch", "✗ 127"]
        assert "zsh: parse error near `)'" in run(terminal, ")")
        assert shown(run(terminal, "print -n unended")) == ["unended⏎"]


def test_a_loop_over_lines_and_a_here_document(zsh: str, tmp_path: Path) -> None:
    with repl(zsh, tmp_path) as terminal:
        wait_prompt(terminal)
        for line in ("for i in /us*(/); do", "print $i"):
            terminal.type(line)
            terminal.press("enter")
            terminal.wait_until(lambda line=line: terminal.text.endswith(f"{line}\n>"), "another line")  # type: ignore[misc]
        assert "/usr" in run(terminal, "done", continued=True).splitlines()[-1]
        for line in ("cat <<E", "$((6 * 7))"):  # one after the other: two within one read are a paste
            terminal.type(line)
            terminal.press("enter")
            terminal.wait_until(lambda line=line: terminal.text.endswith(f"{line}\n>"), "another line")  # type: ignore[misc]
        assert "42" in run(terminal, "E", continued=True).splitlines()


def test_interrupt_stop_and_go_on(zsh: str, tmp_path: Path) -> None:
    with repl(zsh, tmp_path) as terminal:
        run(terminal, "x=kept")
        terminal.type("print sle''eps; sleep 1000\r")
        terminal.wait_for("sleeps")
        terminal.press("ctrl-c")
        terminal.wait_for("✗ 130")
        assert shown(run(terminal, "print $? $x")) == ["130 kept"]
        terminal.type("sh -c 'echo be''gun; read y; echo go''t $y'\r")
        terminal.wait_for("begun")
        terminal.type("\x1a")
        terminal.wait_for("suspended")
        wait_prompt(terminal)
        terminal.type("fg\r")
        terminal.wait_for("continued")
        terminal.type("it\r")
        terminal.wait_for("got it")
        wait_prompt(terminal)


def test_a_password_is_hidden_and_keys_reach_a_program(zsh: str, tmp_path: Path) -> None:
    with repl(zsh, tmp_path) as terminal:
        terminal.type("print -n 'pass''word: '; read -s x; print; print ${#x}.\r")
        terminal.wait_for("password:")
        terminal.wait_until(lambda: not termios.tcgetattr(terminal.master)[3] & termios.ECHO, "no echo")
        terminal.type("secret\r")
        terminal.wait_for("6.")
        wait_prompt(terminal)
        assert b"secret" not in terminal.output
        terminal.type("print -n 'k''ey? '; read -k 1 x; print; print got $x.\r")
        terminal.wait_for("key?")
        terminal.type("q")
        terminal.wait_for("got q.")
        wait_prompt(terminal)


def test_vim_edits_and_saves(zsh: str, tmp_path: Path) -> None:
    file = tmp_path / "text"
    with repl(zsh, tmp_path) as terminal:
        before = set(terminal.screen.mode)
        terminal.type(f"TERM=vt100 vim.tiny -u NONE {file}\r")
        terminal.wait_for("[New File]")
        terminal.type("ihello\x1b:wq\r")
        terminal.wait_until(lambda: file.exists() and file.read_text() == "hello\n", "saved file")
        wait_prompt(terminal)
        assert terminal.screen.mode == before
        assert shown(run(terminal, "print $?")) == ["0"]


def test_what_replaces_it_is_told(zsh: str, tmp_path: Path) -> None:
    with repl(zsh, tmp_path) as terminal:
        terminal.type("exec bash --norc\r")
        terminal.wait_for("bash-")
        terminal.type("exit 6\r")
        terminal.wait_for("was replaced by another program (exec)")
