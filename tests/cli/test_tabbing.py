"""Tab as a person meets it: a real program on a real pty, completing what is on the other side."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.vi_state import InputMode
from prompt_toolkit.output import DummyOutput

from remote_shell.cli.completing import Answer
from remote_shell.cli.tabbing import Asker, Tabs
from tests.cli.program import environment
from tests.cli.test_repl import GREETING, run, wait_prompt
from tests.proxy import Proxy
from tests.terminal import Terminal

pytestmark = pytest.mark.screen

TAB, SHIFT_TAB, ESCAPE, DOWN, UP = "\t", "\x1b[Z", "\x1b", "\x1b[B", "\x1b[A"
# A machine that is busy with other things answers late: here the deadline is not what is tested.
PATIENT = """
import sys
import remote_shell.cli.completing as completing
from remote_shell.cli.main import main
completing.DEADLINE = {deadline}
sys.argv = ["remote-shell", "shell", sys.argv[1]]
sys.exit(main())
"""


@contextlib.contextmanager
def repl(
    target: str, home: Path, variables: dict[str, str] | None = None, deadline: float = 10.0
) -> Iterator[Terminal]:
    """A REPL at its first prompt, in the folder `work` with some files."""
    work = home / "work"
    work.mkdir()
    (work / "only one").mkdir()
    for name in ("alpha-one", "alpha-two", "beta\x1b[31m\nx", "only one/it's", "zebra"):
        (work / name).touch()
    argv = [sys.executable, "-c", PATIENT.format(deadline=deadline), target]
    with Terminal(argv, environment=environment(home, variables), columns=160, rows=20) as terminal:
        terminal.wait_for(GREETING)
        wait_prompt(terminal)
        run(terminal, f"cd {work}")
        yield terminal


def line(terminal: Terminal) -> str:
    """What stands behind the last prompt."""
    return re.split(r" [#$] ", "\n" + terminal.screen.display[terminal.screen.cursor.y])[-1].rstrip()


def wait_line(terminal: Terminal, text: str) -> None:
    terminal.wait_until(lambda: line(terminal) == text, f"line {text!r}")


def test_one_is_inserted_and_many_up_to_where_they_differ(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        terminal.type("ls on" + TAB)
        wait_line(terminal, "ls only\\ one/")
        terminal.type(TAB)
        wait_line(terminal, "ls only\\ one/it\\'s")
        terminal.type("\x15: al" + TAB)
        wait_line(terminal, ": alpha-")
        terminal.type("o" + TAB + "x")  # known by now, and so there before the next key
        wait_line(terminal, ": alpha-one x")


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_menu_is_moved_in_and_enter_takes_without_running(
    variables: dict[str, str], target: str, tmp_path: Path
) -> None:
    with repl(target, tmp_path, variables) as terminal:
        terminal.type("echo alpha-" + TAB)
        terminal.wait_for("alpha-two")
        wait_line(terminal, "echo alpha-")
        for key, chosen in ((TAB, "one"), (TAB, "two"), (SHIFT_TAB, "one"), (DOWN, "two"), (UP, "one")):
            terminal.type(key)
            wait_line(terminal, f"echo alpha-{chosen}")
        terminal.press("enter")
        terminal.wait_until(lambda: "alpha-two" not in terminal.text, "the menu closed")
        terminal.type("more\r")
        terminal.wait_until(lambda: "\nalpha-one more" in terminal.text, "it ran with what was typed afterwards")
        assert not re.search(rb"\x1b\[[0-9;]*[39][0-7][;m]", terminal.output) or not variables, "a colour"
        assert b"\x1b[0;7malpha-two" in terminal.output.replace(b"\x1b[0;7m ", b"\x1b[0;7m"), "what is chosen"
        assert not re.search(rb"\x1b\[[0-9;]*4[0-8][;m]", terminal.output), "a background"


def test_escape_closes_it_and_alt_enter_is_no_escape(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        terminal.type("echo alpha-" + TAB)
        terminal.wait_for("alpha-two")
        terminal.type(TAB)
        wait_line(terminal, "echo alpha-one")
        terminal.type(ESCAPE)
        wait_line(terminal, "echo alpha-")
        terminal.wait_until(lambda: "alpha-two" not in terminal.text, "the menu closed")
        terminal.type(TAB)
        terminal.wait_for("alpha-two")
        terminal.press("alt-enter")
        terminal.wait_until(lambda: terminal.text.endswith("\n>"), "a new line, and not a run")


def test_names_can_not_move_the_cursor_nor_colour_anything(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        terminal.type("ls " + TAB)
        terminal.wait_for("beta?[31m?x")
        assert b"\x1b[31m" not in terminal.output
        terminal.type(ESCAPE)
        terminal.wait_until(lambda: "beta" not in terminal.text, "the menu closed")
        terminal.type("b" + TAB)
        wait_line(terminal, "ls $'beta\\e[31m\\nx'")
        terminal.type("| od -c\r")
        terminal.wait_for("033   [   3   1   m")


def test_variables_and_functions_of_the_session(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        run(terminal, "zq_name=1; zq_greet() { echo hello $1; }")
        terminal.type("echo $zq_" + TAB)
        wait_line(terminal, "echo $zq_name")
        terminal.type("\x15zq_g" + TAB)
        wait_line(terminal, "zq_greet")
        terminal.type("you\r")
        terminal.wait_for("hello you")
        run(terminal, "zq_more=2")
        terminal.type("echo ${zq_m" + TAB)
        wait_line(terminal, "echo ${zq_more}")


def test_at_the_beginning_nothing_happens_and_a_tab_is_not_inserted(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        terminal.type(TAB + TAB + "echo x" + TAB + TAB + "y\r")
        terminal.wait_until(lambda: "\nxy" in terminal.text, "nothing was inserted")


def test_with_a_suggestion_and_with_ctrl_r(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        run(terminal, "echo alpha-three four")
        terminal.type("echo alpha-t")
        wait_line(terminal, "echo alpha-three four")  # its end is the suggestion
        terminal.type(TAB)
        wait_line(terminal, "echo alpha-two")
        terminal.type("\x15echo alpha-" + TAB)
        terminal.wait_for("alpha-two", count=1)
        terminal.type("\x12")
        terminal.wait_for("search: ")
        terminal.type(ESCAPE)
        wait_line(terminal, "echo alpha-three four")
        assert "alpha-two" not in terminal.screen.display[terminal.screen.cursor.y + 1], "no menu any more"
        terminal.type("\x12")
        terminal.wait_for("search: ")
        terminal.type("\t")  # takes what was found
        wait_line(terminal, "echo alpha-three four")
        terminal.press("enter")
        terminal.wait_until(lambda: terminal.text.count("\nalpha-three four") == 2, "it ran")


def test_in_vi_mode(target: str, tmp_path: Path) -> None:
    (tmp_path / ".inputrc").write_text("set editing-mode vi\n")
    with repl(target, tmp_path) as terminal:
        terminal.type("ls ze" + TAB)
        wait_line(terminal, "ls zebra")


def test_a_late_answer_is_said_quietly_and_never_inserted(target: str, tmp_path: Path) -> None:
    with Proxy(target) as proxy, repl(proxy.target, tmp_path, deadline=-0.4) as terminal:
        proxy.stall()
        terminal.type("ls ze" + TAB)
        terminal.wait_for("no answer in time")
        assert line(terminal).split("  ")[0] == "ls ze"
        terminal.type("x")
        terminal.wait_until(lambda: "no answer" not in terminal.text, "the next key takes it away")
        terminal.type("\x15: ze" + TAB)
        terminal.wait_for("no answer in time")
        terminal.press("enter")
        proxy.stall(False)
        wait_prompt(terminal)
        assert "no answer" not in terminal.text
        terminal.type("ls zex")
        terminal.type(" y")
        wait_line(terminal, "ls zex y")
        terminal.type("\x15echo going on\r")
        terminal.wait_until(lambda: "\ngoing on" in terminal.text, "it goes on")
        assert "Traceback" not in terminal.everything


def test_an_answer_to_an_older_line_is_dropped(target: str, tmp_path: Path) -> None:
    with Proxy(target) as proxy, repl(proxy.target, tmp_path) as terminal:
        proxy.stall()
        terminal.type("ls ze" + TAB)
        terminal.type("b")
        wait_line(terminal, "ls zeb")
        proxy.stall(False)
        terminal.type(TAB)  # whose answer comes after the one that is to be dropped
        wait_line(terminal, "ls zebra")
        terminal.type("x")
        wait_line(terminal, "ls zebra x")


def test_keys_do_not_wait_for_the_answer(target: str, tmp_path: Path) -> None:
    with Proxy(target) as proxy, repl(proxy.target, tmp_path) as terminal:
        proxy.stall()
        terminal.type("ls ze" + TAB + TAB)
        began = time.monotonic()
        terminal.type("x")
        wait_line(terminal, "ls zex")
        assert time.monotonic() - began < 5
        terminal.type("\x7f" + TAB)
        wait_line(terminal, "ls ze")
        proxy.stall(False)
        wait_line(terminal, "ls zebra")
        assert terminal.text.count("zebra") == 1


def test_leaving_while_it_is_asked(target: str, tmp_path: Path) -> None:
    with Proxy(target) as proxy, repl(proxy.target, tmp_path) as terminal:
        proxy.stall()
        terminal.type("ls ze" + TAB)
        wait_line(terminal, "ls ze")
        terminal.press("ctrl-c")
        wait_prompt(terminal)
        proxy.stall(False)
        terminal.press("ctrl-d")
        assert terminal.wait_end() == 0
        assert "Traceback" not in terminal.everything


def test_nothing_new_is_imported_before_the_first_tab() -> None:
    code = (
        "import sys, remote_shell.cli.editor, remote_shell.cli.repl, remote_shell.cli.commands.shell\n"
        "sys.exit(any(f'remote_shell.cli.{name}' in sys.modules for name in ('completing', 'words', 'quoting', 'noted', 'usage')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- the keys alone


class Silent(Asker):
    """Nobody answers."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ended = 0
        self.lines: list[str] = []

    def known(self, text: str) -> Answer | None:
        return None

    async def ask(self, text: str) -> Answer:
        self.asked.append(text)
        try:
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
        finally:
            self.ended += 1

    def note(self, line: str) -> None:
        self.lines.append(line)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> list[Completion]:
        return []


@contextlib.asynccontextmanager
async def prompt(asker: Asker, mode: EditingMode = EditingMode.EMACS) -> AsyncIterator[tuple[PipeInput, Tabs]]:
    """A prompt on no terminal."""
    with create_pipe_input() as keyboard:
        keys = KeyBindings()
        session: PromptSession[str] = PromptSession(
            multiline=True, key_bindings=keys, input=keyboard, output=DummyOutput(), editing_mode=mode
        )
        session.app.ttimeoutlen = session.app.timeoutlen = 0.01
        tabs = Tabs(session, lambda: asker)
        tabs.bind(keys)
        task = asyncio.create_task(session.prompt_async())
        yield keyboard, tabs
        session.app.exit(result="")
        await task


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


async def test_a_second_tab_does_not_ask_again_and_the_next_key_ends_the_question() -> None:
    asker = Silent()
    async with prompt(asker) as (keyboard, _):
        keyboard.send_text("x\t\t\t")
        await until(lambda: bool(asker.asked))
        keyboard.send_text("\t\t")
        keyboard.send_text("y")
        await until(lambda: asker.ended == 1)
        assert asker.asked == ["x"]
        keyboard.send_text("\t")
        await until(lambda: len(asker.asked) == 2)
        keyboard.send_text("\x01")  # the cursor only
        await until(lambda: asker.ended == 2)
        keyboard.send_text("\x05\t")
        await until(lambda: len(asker.asked) == 3)
        keyboard.send_text("\x1b")
        await until(lambda: asker.ended == 3)
        keyboard.send_text("\t")
        await until(lambda: len(asker.asked) == 4)
    assert asker.ended == 4, "with the prompt at the latest"


async def test_only_where_text_is_inserted_at_the_prompt_itself() -> None:
    asker = Silent()
    async with prompt(asker, EditingMode.VI) as (keyboard, tabs):
        keyboard.send_text("x\x1b")
        vi = tabs._session.app.vi_state
        await until(lambda: vi.input_mode == InputMode.NAVIGATION)
        pressed: list[object] = []
        tabs._session.app.key_processor.after_key_press += pressed.append
        keyboard.send_text("\t")
        await until(lambda: bool(pressed))
        assert tabs._asking is None
        keyboard.send_text("ay\t")
        await until(lambda: bool(asker.asked))
        assert asker.asked == ["xy"]
    asker = Silent()
    async with prompt(asker) as (keyboard, _):
        keyboard.send_text("x\x13\t\x07\t")  # Ctrl-S searches in what is typed
        await until(lambda: bool(asker.asked))
        assert asker.asked == ["x"]


async def test_what_ran_before_the_first_tab_is_told_then() -> None:
    asker = Silent()
    async with prompt(asker) as (keyboard, tabs):
        for number in range(300):
            tabs.note(f"line {number}")
        assert asker.lines == []
        keyboard.send_text("x\t")
        await until(lambda: bool(asker.asked))
        assert asker.lines == [f"line {number}" for number in range(100, 300)]
        tabs.note("one more")
        assert asker.lines[-1] == "one more"
