"""The host's name at the prompt: label, colour, and a production host, with colours and without."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_shell.cli.nameplate import Nameplate
from tests.cli.program import ARGV, environment
from tests.terminal import Terminal

WHITE_ON_RED = rb"\x1b\[[0-9;]*\b97;41;1m"


def test_what_it_says() -> None:
    plain = Nameplate("b\x1box")
    assert plain.in_prompt(word=True) == [("class:host", "b?ox")] and plain.in_toolbar() == [("", "b?ox")]
    assert Nameplate("box", label="EU").in_prompt(word=False) == [("class:host", "[EU] box")]
    assert Nameplate("box", colour="red").style == {"host": "bold ansired"}
    assert Nameplate("box", colour="white").style == Nameplate("box").style == {}
    production = Nameplate("box", label="EU", production=True)
    assert production.in_prompt(word=False) == [("class:production", "[EU] box")]
    assert production.in_prompt(word=True) == [("class:production", "PRODUCTION [EU] box")]
    assert production.in_toolbar()[0] == ("class:production", "PRODUCTION")


@contextlib.contextmanager
def at_box(home: Path, target: str, *options: str, **variables: str) -> Iterator[Terminal]:
    """A REPL on a production host with a label and a prefix of its own."""
    home.joinpath("hosts.toml").write_text(
        f'[shell]\nprefix = ","\n[hosts.box]\ntarget = "{target}"\nlabel = "staging"\nproduction = true\n'
    )
    words = environment(home, {"REMOTE_SHELL_TOOLBAR": "1", **variables})
    with Terminal([*ARGV, "shell", *options, "box"], environment=words, columns=120) as terminal:
        terminal.wait_for("This is a PRODUCTION host: several pasted lines, and ")
        terminal.wait_for("[staging] box ~ ")
        yield terminal


@pytest.mark.screen
def test_a_production_host_is_seen_and_asks(target: str, tmp_path: Path) -> None:
    with at_box(tmp_path, target) as terminal:
        terminal.wait_until(
            lambda: terminal.screen.display[-1].startswith("PRODUCTION [staging] box  ~  connected"), "toolbar"
        )
        assert re.search(WHITE_ON_RED + rb"\[staging\] box", terminal.output)
        assert re.search(WHITE_ON_RED + rb"PRODUCTION", terminal.output)
        assert "and ,bg, ask first." in terminal.text
        assert "\nPRODUCTION [staging] box ~" not in terminal.text, "the colour says it there"
        terminal.type(",bg echo x\r")
        terminal.wait_for("Run this on PRODUCTION [staging] box?  y: yes, n: back to the prompt")
        terminal.type("\r\x1b")
        terminal.wait_until(lambda: "Run this" not in terminal.text, "the question went")
        terminal.type("\r")
        terminal.wait_for("Run this")
        terminal.type("y")
        terminal.wait_for("[1] ✓")
        terminal.type(",info\r")
        terminal.wait_for("named      PRODUCTION [staging] box")


@pytest.mark.screen
@pytest.mark.parametrize(
    ("options", "variables"),
    [
        ((), {"NO_COLOR": "1"}),
        (("--plain",), {}),
        ((), {"TERM": "dumb"}),
        ((), {"REMOTE_SHELL_TOOLBAR": "0"}),
    ],
)
def test_where_colour_or_toolbar_do_not_say_it_the_prompt_does(
    options: tuple[str, ...], variables: dict[str, str], target: str, tmp_path: Path
) -> None:
    with at_box(tmp_path, target, *options, **variables) as terminal:
        terminal.wait_for("\nPRODUCTION [staging] box ~ ")
        if "REMOTE_SHELL_TOOLBAR" not in variables:
            assert not re.search(
                rb"\x1b\[[0-9;]*[349][0-7][;m]", terminal.output.replace(b"[39m", b"").replace(b"[49m", b"")
            )


@pytest.mark.screen
def test_the_command_lines_prefix_wins_and_a_wrong_file_is_one_line(target: str, tmp_path: Path) -> None:
    with at_box(tmp_path, target, "--prefix", "%") as terminal:
        terminal.type("%jobs\r")
        terminal.wait_for("nothing ran yet")
    tmp_path.joinpath("hosts.toml").write_text('[shell]\nprefix = "ab"\n')
    with Terminal([*ARGV, "shell", target], environment=environment(tmp_path), columns=200) as terminal:
        assert terminal.wait_end() == 125
        assert "hosts.toml: [shell] prefix: must be one sign" in terminal.text
