"""The line below the prompt: its text, and that it stays there and tells what changed."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_shell.cli.nameplate import Nameplate
from remote_shell.cli.toolbar import fragments, is_wanted, milliseconds
from tests.cli.program import ARGV, environment
from tests.cli.test_repl import GREETING
from tests.proxy import Proxy
from tests.terminal import Terminal


def text(*facts: object) -> str:
    return "".join(part for _, part, *_ in fragments(*facts))  # type: ignore[arg-type]


def test_what_it_tells() -> None:
    vm = Nameplate("vm")
    assert text(vm, "/root/src", "/root", None, "", 0) == "vm  ~/src  connected"
    assert text(vm, "/usr", "/root", 0.0412, "", 2) == "vm  /usr  connected, 41 ms  2 in the background"
    assert text(Nameplate("v\x1bm"), "/usr", "/root", 0.0412, "no contact", 0) == "v?m  /usr  no contact"
    marked = Nameplate("vm", label="EU", production=True)
    assert text(marked, "/usr", "/root", None, "", 0) == "PRODUCTION [EU] vm  /usr  connected"
    assert milliseconds(0.00034) == "0.3 ms"


def test_who_does_not_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REMOTE_SHELL_TOOLBAR", raising=False)
    assert is_wanted(False) and not is_wanted(True)
    monkeypatch.setenv("REMOTE_SHELL_TOOLBAR", "0")
    assert not is_wanted(False)


@contextlib.contextmanager
def with_toolbar(target: str, home: Path, **variables: str) -> Iterator[Terminal]:
    words = environment(home, {"REMOTE_SHELL_TOOLBAR": "1", **variables})
    with Terminal([*ARGV, "shell", "--new", target], environment=words, columns=100) as terminal:
        terminal.wait_for(GREETING)
        wait_last(terminal, r"\S+  ~  connected")
        yield terminal


def wait_last(terminal: Terminal, pattern: str) -> None:
    """Until the bottom line reads so."""
    terminal.wait_until(
        lambda: re.fullmatch(pattern, terminal.screen.display[-1].rstrip()) is not None, f"{pattern!r} at the bottom"
    )


@pytest.mark.screen
def test_it_is_at_the_bottom_and_follows_directory_and_background(target: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with with_toolbar(target, tmp_path) as terminal:
        terminal.type("cd /usr\r")
        wait_last(terminal, r"\S+  /usr  connected, [\d.]+ ms")
        terminal.type(f":bg until test -e {gate}; do sleep 0.01; done\r")
        wait_last(terminal, r".*  1 in the background")
        terminal.type("half")
        terminal.wait_for("half")
        gate.touch()
        terminal.wait_for("[2] ✓")
        wait_last(terminal, r"\S+  /usr  connected, [\d.]+ ms")
        assert re.search(r"[#$] half$", "\n".join(terminal.screen.display[:-1]).rstrip())
        assert terminal.text.count("connected") == 1, "none is left behind"


@pytest.mark.screen
def test_while_a_command_runs_there_is_none(target: str, tmp_path: Path) -> None:
    with with_toolbar(target, tmp_path) as terminal:
        terminal.type("echo begun; read x\r")
        terminal.wait_for("\nbegun")
        assert "connected" not in terminal.text


@pytest.mark.slow
def test_a_lost_connection_shows_when_it_is_told_and_goes_when_it_is_back(target: str, tmp_path: Path) -> None:
    with Proxy(target) as proxy, with_toolbar(proxy.target, tmp_path) as terminal:
        proxy.go_away()
        wait_last(terminal, r"\S+  ~  no contact for \d.*, session kept \d+ s more")
        proxy.go_away(False)
        wait_last(terminal, r"\S+  ~  connected.*")


# The same sooner, so that nobody waits for what is not tested here.
QUICK = """
import sys
import remote_shell.cli.contact as contact
from remote_shell.cli.main import main
contact._AT_PROMPT, contact._GIVE_UP = 0.5, 3.5
sys.argv = ["remote-shell", "shell", sys.argv[1]]
sys.exit(main())
"""


@pytest.mark.slow
def test_a_silent_cut_is_told_without_a_key_and_typing_goes_on(target: str, tmp_path: Path) -> None:
    words = environment(tmp_path, {"REMOTE_SHELL_TOOLBAR": "1"})
    argv = [sys.executable, "-c", QUICK]
    with Proxy(target) as proxy, Terminal([*argv, proxy.target], environment=words, columns=120) as terminal:
        terminal.wait_for(GREETING)
        wait_last(terminal, r"\S+  ~  connected.*")
        terminal.type("cd /usr; x=kept\r")
        wait_last(terminal, r"\S+  /usr  connected.*")
        proxy.stall()
        wait_last(terminal, r"\S+  /usr  no answer for \d\.\d s")
        terminal.type("echo $x")
        terminal.wait_for("# echo $x" if os.geteuid() == 0 else "$ echo $x")
        terminal.wait_for("no answer from")
        first = terminal.screen.display[-1]
        terminal.wait_until(lambda: terminal.screen.display[-1] != first, "another time")
        terminal.wait_for(": trying again, the server keeps the session for 5")
        wait_last(terminal, r"\S+  /usr  no contact for \d.*, (trying again|next try in \d s), session kept \d+ s more")
        proxy.cut()
        proxy.stall(False)
        terminal.wait_for("same session resumed after")
        terminal.wait_for("same directory /usr; nothing is lost")
        wait_last(terminal, r"\S+  /usr  connected.*")
        terminal.press("enter")
        terminal.wait_for("\nkept")


@pytest.mark.screen
def test_no_colour_where_none_is_wanted(target: str, tmp_path: Path) -> None:
    with with_toolbar(target, tmp_path, NO_COLOR="1") as terminal:
        assert not re.search(rb"\x1b\[[0-9;]*[34][0-7][;m]", terminal.output)


@pytest.mark.screen
def test_a_dumb_terminal_has_none(target: str, tmp_path: Path) -> None:
    words = environment(tmp_path, {"REMOTE_SHELL_TOOLBAR": "1", "TERM": "dumb"})
    with Terminal([*ARGV, "shell", "--new", target], environment=words) as terminal:
        terminal.wait_for(GREETING)
        terminal.type("echo $((6 * 7))\r")
        terminal.wait_for("\n42")
        assert "connected" not in terminal.text
