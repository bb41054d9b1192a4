"""Tab in a line that is ours: what is offered, what is the shell's, and the menu at a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit.completion import CompleteEvent, Completion
from prompt_toolkit.document import Document

from remote_shell.cli import own_texts
from remote_shell.cli.own_commands import Around, OwnCommands
from remote_shell.cli.own_completing import OwnCompleter
from remote_shell.cli.ran import Commands
from remote_shell.cli.tabbing import Asker, Candidates
from tests.cli.program import ARGV, environment
from tests.cli.test_repl import GREETING, repl, run, wait_prompt
from tests.cli.test_tabbing import TAB, wait_line
from tests.terminal import Terminal


class Found:
    """One candidate that takes the whole text's place."""

    problem = "of the shell"

    def completions(self, text: str, after: str) -> list[Completion]:
        return [Completion(f"<{text}>", -len(text))]

    def common(self, text: str) -> Completion | None:
        return Completion(text.upper(), -len(text)) if text == "up" else None


class Shell(Asker):
    """Whom the rest is asked; `knows` it at once or not."""

    def __init__(self, knows: bool = True) -> None:
        self.knows = knows
        self.asked: list[str] = []
        self.lines: list[str] = []

    def known(self, text: str) -> Candidates | None:
        self.asked.append(text)
        return Found() if self.knows else None

    async def ask(self, text: str) -> Candidates:
        self.asked.append(text)
        return Found()

    def note(self, line: str) -> None:
        self.lines.append(line)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        return []


@pytest.fixture
def commands() -> Commands:
    """1 and 4 run in the background, 2 and 3 have ended, 3 and 4 wrote something."""
    commands = Commands()
    for text, background in (("make -j8", True), ("cd /usr", False), ("ls", False), ("tail -f log", True)):
        ran = commands.begin(text, "/", background=background)
        if text in ("ls", "tail -f log"):
            commands.wrote(ran, b"x")
        if not background:
            ran.end(0)
    return commands


def offered(commands: Commands, text: str, after: str = "", prefix: str = ":") -> list[str]:
    """The lines that Tab offers after `text`."""
    found = OwnCompleter(Shell(), prefix, commands).known(text)
    assert found is not None and found.problem in ("", "of the shell")
    return [text[: len(text) + one.start_position] + one.text for one in found.completions(text, after)]


def test_all_of_them_have_a_help_and_are_offered(commands: Commands) -> None:
    found = OwnCompleter(Shell(), ":", commands).known(":")
    assert found is not None
    every = found.completions(":", "")
    assert [one.text.strip() for one in every] == [f":{name}" for name in own_texts.SUMMARIES]
    assert all(one.display_meta_text for one in every)
    assert set(own_texts.SUMMARIES) - {"help"} <= set(own_texts.TOPICS), "help has a word on each"


def test_none_is_forgotten(commands: Commands) -> None:
    nothing: Any = [None] * len(Around._fields)
    own = OwnCommands(Around(*nothing)._replace(commands=commands, prefix=":"), lambda ran: None)
    assert sorted(own.names) == sorted(own_texts.SUMMARIES)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (":at", [":attach "]),
        (":in", [":info"]),
        (":ki", [":kill "]),
        (":h", [":help ", ":hist "]),
        (":zz", []),
        (":wait ", [":wait 4", ":wait 1"]),
        (":attach 1", [":attach 1"]),
        (":kill ", [":kill 4", ":kill 1"]),
        (":kill 4 U", [":kill 4 USR1", ":kill 4 USR2"]),
        (":kill 4 TERM ", []),
        (":wait 4 ", []),
        (":out ", [":out 4", ":out 3"]),
        (":help pre", [":help prefix"]),
        (":jobs ", [":jobs all"]),
        (":hist --f", [":hist --failed"]),
        (":hist --failed --", [":hist --failed --here"]),
        (":info ", []),
        (":last x", []),
        ("?", []),
        (":jobs\nal", []),
    ],
)
def test_what_makes_sense_is_offered(text: str, lines: list[str], commands: Commands) -> None:
    assert [line.rstrip() for line in offered(commands, text)] == [line.rstrip() for line in lines]
    if len(lines) == 1 and text[:2] in (":a", ":i"):
        assert offered(commands, text)[0] == lines[0] or text == ":attach 1", "a blank where something follows"


def test_a_blank_that_is_there_is_not_written_twice(commands: Commands) -> None:
    assert offered(commands, ":at", " 4") == [":attach"]


def test_numbers_say_what_runs(commands: Commands) -> None:
    found = OwnCompleter(Shell(), ":", commands).known(":wait ")
    assert found is not None
    assert [one.display_meta_text for one in found.completions(":wait ", "")] == ["tail -f log", "make -j8"]


def test_what_all_begin_with_is_inserted(commands: Commands) -> None:
    completer = OwnCompleter(Shell(), ":", commands)
    found = completer.known(":kill 4 U")
    assert found is not None
    common = found.common(":kill 4 U")
    assert common is not None and (common.text, common.start_position) == ("USR", -1)
    found = completer.known(":h")
    assert found is not None and found.common(":h") is None


@pytest.mark.parametrize("text", ["ls", ": x", ":>f", "ls; :at", "::at", " :at"])
def test_what_is_not_ours_is_the_shells(text: str, commands: Commands) -> None:
    assert offered(commands, text) == [f"<{text}>"]


def test_another_prefix(commands: Commands) -> None:
    assert offered(commands, ",at", prefix=",") == [",attach "]
    assert offered(commands, ":at", prefix=",") == ["<:at>"]


def test_the_line_for_bg_is_the_shells(commands: Commands) -> None:
    shell = Shell()
    completer = OwnCompleter(shell, ":", commands)
    found = completer.known(":bg  up")
    assert found is not None and shell.asked == ["up"]
    assert [one.text for one in found.completions(":bg  up", "")] == ["<up>"]
    common = found.common(":bg  up")
    assert common is not None and (common.text, common.start_position) == ("UP", -2)
    shell.knows = False
    assert completer.known(":bg up") is None
    found = asyncio.run(completer.ask(":bg up"))
    assert [one.text for one in found.completions(":bg up", "")] == ["<up>"] and found.problem == "of the shell"
    assert offered(commands, ":bg") == [":bg "]


async def test_prompt_toolkits_own_way_and_what_ran(commands: Commands) -> None:
    shell = Shell()
    completer = OwnCompleter(shell, ":", commands)
    completer.note("x=1")
    assert shell.lines == ["x=1"]
    for text, found in ((":at", ":attach "), ("ls", "<ls>"), (":bg ls", "<ls>")):
        document = Document(text, len(text))
        assert [one.text async for one in completer.get_completions_async(document, CompleteEvent())] == [found]
        assert list(completer.get_completions(document, CompleteEvent())) == []


# --- at a terminal


@pytest.mark.screen
def test_a_menu_tells_what_they_do_and_one_is_inserted(target: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with repl(target, tmp_path) as terminal:
        run(terminal, f":bg until test -e {gate}; do sleep 0.01; done")
        terminal.type(":" + TAB)
        terminal.wait_for(":jobs")
        terminal.wait_for("this session's commands")
        terminal.type("wa" + TAB)
        wait_line(terminal, ":wait")
        terminal.type(TAB)
        wait_line(terminal, ":wait 1")
        gate.touch()
        terminal.wait_for("[1] ✓")
        terminal.type("\x15ls /us" + TAB)
        wait_line(terminal, "ls /usr/")


@pytest.mark.screen
def test_it_knows_the_prefix(target: str, tmp_path: Path) -> None:
    argv = [*ARGV, "shell", "--prefix", ",", target]
    with Terminal(argv, environment=environment(tmp_path), columns=160) as terminal:
        terminal.wait_for(GREETING)
        wait_prompt(terminal)
        terminal.type(",rec" + TAB)
        wait_line(terminal, ",reconnect")
