"""The history at the prompt, as prompt_toolkit asks for it and as a person meets it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document

from remote_shell.cli.history import Entry, History
from remote_shell.cli.suggesting import Lines, Suggester
from tests.cli.test_repl import repl, run, wait_prompt

pytestmark = pytest.mark.screen


def entry(text: str) -> Entry:
    return Entry(text, "h", "/", 0, None, 0.0, 0.0)


async def test_going_up_sees_what_ran_and_nothing_else() -> None:
    with contextlib.closing(History(None)) as kept:
        lines = Lines(kept)
        kept.add(entry("one"))
        lines.append_string("accepted, and not run yet")
        assert [text async for text in lines.load()] == ["one"]
        kept.add(entry("two"))
        assert [text async for text in lines.load()] == ["two", "one"]
        assert lines.get_strings() == ["one", "two"]


@pytest.mark.parametrize(
    ("line", "typed", "rest"),
    [
        ("git push", "git ", "push"),
        ("for i in 1\ndo ls; done", "for", " i in 1"),
        ("for i in 1\ndo ls; done", "for i in 1\n", "do ls; done"),
        ("for i in 1\ndo ls; done", "for i in 1", None),
        ("echo \x1b[2J", "echo", None),
        ("git push", "make", None),
    ],
)
def test_the_rest_of_a_line(line: str, typed: str, rest: str | None) -> None:
    with contextlib.closing(History(None)) as kept:
        kept.add(entry(line))
        found = Suggester(kept, lambda: ("h", "/")).get_suggestion(Buffer(), Document(typed))
        assert (found.text if found is not None else None) == rest


@pytest.mark.usefixtures("unmeasured")  # measuring uses sqlite itself
def test_the_prompt_needs_no_sqlite() -> None:
    code = "import sys, remote_shell.cli.editor, remote_shell.cli.repl; sys.exit('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- on a terminal


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_suggestion_is_dim_and_the_right_arrow_takes_it(
    variables: dict[str, str | None], target: str, tmp_path: Path
) -> None:
    with repl(target, tmp_path, **variables) as terminal:
        run(terminal, "echo one two")
        terminal.type("ec")
        terminal.wait_for("echo one two", count=2)
        assert b"\x1b[0;2mho one two" in terminal.output
        terminal.press("right")
        terminal.press("enter")
        terminal.wait_until(lambda: terminal.text.count("\none two") == 2, "it ran whole")


@pytest.mark.parametrize("key", ["\x05", "\x06"])
def test_ctrl_e_and_ctrl_f_take_it_and_enter_alone_does_not(key: str, target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        run(terminal, "echo one two")
        terminal.type("echo one")
        terminal.wait_for("echo one two", count=2)
        terminal.press("enter")
        terminal.wait_until(lambda: "\none\n" in terminal.text, "only what was typed ran")
        wait_prompt(terminal)
        terminal.type("echo one t")
        terminal.wait_for("echo one two", count=2)
        terminal.type(f"{key}, three\r")
        terminal.wait_until(lambda: "\none two, three\n" in terminal.text, "it ran with more")


def test_alt_f_takes_a_word(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        run(terminal, "echo one two")
        terminal.type("echo o")
        terminal.wait_for("echo one two", count=2)
        terminal.type("\x1bf3\r")
        terminal.wait_until(lambda: "\none 3\n" in terminal.text, "one word of it")


def test_a_private_line_is_not_found_by_going_up(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        run(terminal, "echo one")
        run(terminal, " echo secret")
        terminal.press("up")
        terminal.wait_for("echo one", count=2)


def test_vi_keys_for_those_who_have_them_elsewhere(target: str, tmp_path: Path) -> None:
    (tmp_path / ".inputrc").write_text("set editing-mode vi\n")
    with repl(target, tmp_path) as terminal:
        terminal.type("echo one X\x1b")
        terminal.wait_for("echo one X")
        terminal.type("xa")
        terminal.wait_until(lambda: "X" not in terminal.text.splitlines()[-1], "x deletes")
        terminal.type("two\r")
        terminal.wait_until(lambda: "\none two" in terminal.text, "it ran")
