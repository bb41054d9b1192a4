"""Ctrl-R as a person meets it: a real program on a real terminal."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_shell.cli.history import Entry, History
from tests.cli.test_repl import repl, run, wait_prompt
from tests.terminal import Terminal

pytestmark = pytest.mark.screen

LINES = ("echo number one", "echo number two", "(exit 3)")
CTRL_R = "\x12"


def fill(terminal: Terminal) -> None:
    for line in LINES:
        run(terminal, line)


@pytest.fixture
def terminal(target: str, tmp_path: Path) -> Iterator[Terminal]:
    with repl(target, tmp_path) as terminal:
        fill(terminal)
        yield terminal


def closed(terminal: Terminal) -> None:
    terminal.wait_until(lambda: "search:" not in terminal.text, "the end of the search")


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}])
def test_a_line_is_found_by_some_letters_and_enter_does_not_run_it(
    variables: dict[str, str | None], target: str, tmp_path: Path
) -> None:
    with repl(target, tmp_path, **variables) as terminal:
        fill(terminal)
        terminal.type(CTRL_R + "nbrone")
        terminal.wait_for("search: nbrone\n> echo number one")
        assert re.search(r"[#$]\nsearch:", terminal.text), "right below the prompt"
        terminal.press("enter")
        closed(terminal)
        assert terminal.text.splitlines()[-1].endswith("echo number one")
        assert terminal.text.count("\nnumber one") == 1
        terminal.type(" more\r")
        terminal.wait_until(lambda: "\nnumber one more" in terminal.text, "it ran when asked to")


def test_the_keys_move_and_what_is_typed_already_is_looked_for(terminal: Terminal) -> None:
    terminal.type("echo")
    terminal.wait_for("echo number two", count=2)
    terminal.type(CTRL_R)
    terminal.wait_for("search: echo\n> echo number two\n  echo number one")
    for keys, chosen in ((CTRL_R, "one"), ("\x1b[A", "two"), ("\x1b[B", "one"), ("\x1b[B", "one"), ("\x1b[5~", "two")):
        terminal.type(keys)
        terminal.wait_for(f"> echo number {chosen}")
    terminal.type("\t")
    closed(terminal)
    assert terminal.text.endswith("echo number two")


@pytest.mark.parametrize("key", ["\x1b", "\x07", "\x03", "\x04", "\r"])
def test_what_was_typed_is_there_again(key: str, terminal: Terminal) -> None:
    terminal.type("echo typed")
    terminal.wait_for("echo typed")
    terminal.type(CTRL_R + "x")
    terminal.wait_for("nothing found")
    terminal.type(key)  # Enter has nothing to take
    closed(terminal)
    terminal.press("enter")
    terminal.wait_until(lambda: "\ntyped" in terminal.text, "what was typed ran")


def test_escape_does_not_wait_for_what_could_follow(terminal: Terminal) -> None:
    terminal.type("echo typed")
    terminal.wait_for("echo typed")
    terminal.type(CTRL_R + "x")
    terminal.wait_for("nothing found")
    terminal.type("\x1bf")
    terminal.wait_until(lambda: terminal.text.endswith("echo typedf"), "the prompt, and the next key in it")


def test_lines_of_lines_are_shown_in_one_and_taken_whole(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        terminal.paste("echo first\necho second")
        terminal.wait_for("echo second")
        terminal.press("enter", "enter")
        terminal.wait_for("\nfirst\nsecond\n")
        wait_prompt(terminal)
        terminal.type(CTRL_R + "first")
        terminal.wait_for("> echo first \\n echo second")
        terminal.type("\r\r")
        terminal.wait_until(lambda: terminal.text.count("\nfirst\nsecond") == 2, "it ran again")


def test_more_than_the_rows_can_be_gone_through(target: str, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    with contextlib.closing(History(str(tmp_path / "state" / "history.sqlite3"))) as kept:
        for number in range(14):
            kept.add(Entry(f": line {number}", "elsewhere", "/", 0, None, 0.0, 0.0))
    with repl(target, tmp_path) as terminal:
        terminal.type(CTRL_R + "line")
        terminal.wait_for("> : line 13")
        assert "line 0" not in terminal.text.partition("search:")[2]
        terminal.type("\x1b[6~\x1b[6~")
        terminal.wait_for("> : line 0")


def test_a_signal_during_a_search_leaves_a_prompt_that_works(terminal: Terminal) -> None:
    terminal.type(CTRL_R + "one")
    terminal.wait_for("> echo number one")
    terminal.process.send_signal(signal.SIGINT)
    empty = re.compile(r"\n\S+ ~ [#$](?=\n|$)")
    terminal.wait_until(lambda: len(empty.findall(terminal.text)) == 2, "the prompt that was left, and another")
    assert "search:" not in terminal.text
    assert "\nfine" in run(terminal, "echo fine")


def test_with_vi_keys_it_begins_ready_to_type(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path, EDITING_MODE="vi") as terminal:
        fill(terminal)
        terminal.type("\x1b")
        terminal.type("k")
        terminal.wait_for("(exit 3)", count=2)
        terminal.type(CTRL_R + "\x15one")
        terminal.wait_for("> echo number one")
        terminal.press("enter", "enter")
        terminal.wait_until(lambda: terminal.text.count("\nnumber one") == 2, "it ran")
