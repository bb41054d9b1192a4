"""The question before several pasted lines run: the prompt on a pipe, and a real program on a real terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from prompt_toolkit.input import PipeInput, create_pipe_input

from remote_shell.cli.editor import Editor
from remote_shell.cli.history import History
from remote_shell.cli.nameplate import Nameplate
from remote_shell.cli.screen import Screen
from tests.cli.program import environment
from tests.cli.test_repl import GREETING, repl, run, wait_prompt
from tests.terminal import Terminal

pytestmark = pytest.mark.screen  # as a file it takes long

ESCAPE, CTRL_C, CTRL_O, LEFT, BACKSPACE = "\x1b", "\x03", "\x0f", "\x1b[D", "\x7f"

# A test presses Enter sooner after its paste than any person.
QUICK = """
import sys
import remote_shell.cli.pasting as pasting
from remote_shell.cli.main import main
pasting._AT_ONCE = 0
sys.argv = ["remote-shell", "shell", "--plain", sys.argv[1]]
sys.exit(main())
"""


def pasted(text: str) -> str:
    return f"\x1b[200~{text}\x1b[201~"


class Prompt:
    """An editor on no terminal, and the lines that it gave."""

    def __init__(self, keyboard: PipeInput, plate: Nameplate) -> None:
        self.keyboard = keyboard
        self.editor = Editor(
            Screen({}, terminal=False),
            plate=plate,
            history=History(None),
            keyboard=keyboard,
            is_grave=lambda text: text.startswith(":bg"),
            is_own=lambda text: False,
        )
        self.editor._session.app.ttimeoutlen = self.editor._session.app.timeoutlen = 0.01
        self.lines: list[str | None] = []

    async def read(self) -> None:
        while True:
            self.lines.append(await self.editor.read("/", failed=False))

    @property
    def text(self) -> str:
        return self.editor._session.default_buffer.text

    @property
    def asked(self) -> str:
        return self.editor._question._asked

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.002)

    async def type(self, text: str, *, then: Callable[[], bool]) -> None:
        self.keyboard.send_text(text)
        await self.until(then)


@contextlib.asynccontextmanager
async def prompt(plate: Nameplate | None = None) -> AsyncIterator[Prompt]:
    with create_pipe_input() as keyboard:
        at = Prompt(keyboard, plate or Nameplate("box"))
        task = asyncio.create_task(at.read())
        await at.until(lambda: at.editor.active and at.editor._session.app.is_running)
        yield at
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("yes", ["y", "Y", "\r"])
async def test_several_pasted_lines_run_after_a_yes(yes: str) -> None:
    async with prompt() as at:
        await at.type(pasted("echo 1\r\n\r\necho 2\n\n") + "\r", then=lambda: bool(at.asked))
        assert at.asked.startswith("Run 2 lines on box?") and at.lines == []
        await at.type(yes, then=lambda: bool(at.lines))
        assert at.lines == ["echo 1\n\necho 2"] and not at.asked


@pytest.mark.parametrize("no", ["n", "N", ESCAPE, CTRL_C, "\x04", "\x07", LEFT])
async def test_everything_else_goes_back_and_loses_nothing(no: str) -> None:
    async with prompt() as at:
        await at.type(pasted("echo 1\necho 2") + "\r", then=lambda: bool(at.asked))
        await at.type(no, then=lambda: not at.asked)
        assert at.text == "echo 1\necho 2" and at.lines == []
        await at.type("\r", then=lambda: bool(at.asked))  # and it asks again
        await at.type("y", then=lambda: bool(at.lines))
        assert at.lines == ["echo 1\necho 2"]


async def test_a_letter_that_is_no_answer_does_nothing_and_changes_go_on_with_the_line() -> None:
    async with prompt() as at:
        await at.type(pasted("echo 1\necho 2") + "\r", then=lambda: bool(at.asked))
        at.keyboard.send_text("qx1 ")
        await at.type(BACKSPACE, then=lambda: not at.asked)
        assert at.text == "echo 1\necho " and at.lines == []
        await at.type("\r", then=lambda: bool(at.asked))
        await at.type(pasted("more"), then=lambda: not at.asked)
        assert at.text == "echo 1\necho more" and at.lines == []


async def test_one_line_typed_lines_and_the_next_line_are_not_asked_about() -> None:
    async with prompt() as at:
        await at.type(pasted("echo 1\n") + "\r", then=lambda: len(at.lines) == 1)
        await at.type("echo 2\x1b\recho 3", then=lambda: at.text == "echo 2\necho 3")
        await at.type("\r", then=lambda: len(at.lines) == 2)
        await at.type(pasted("echo 4\necho 5") + "\ry", then=lambda: len(at.lines) == 3)
        await at.type("echo 6\x1b\recho 7", then=lambda: at.text == "echo 6\necho 7")
        await at.type("\r", then=lambda: len(at.lines) == 4)
        assert at.lines == ["echo 1", "echo 2\necho 3", "echo 4\necho 5", "echo 6\necho 7"]


async def test_a_paste_that_was_deleted_and_brought_back_is_still_one() -> None:
    async with prompt() as at:
        await at.type(pasted("a\nb"), then=lambda: at.text == "a\nb")
        await at.type(BACKSPACE * 3, then=lambda: at.text == "")
        for text in ("a", "a\n", "a\nb"):
            await at.type("\x1f", then=lambda text=text: at.text == text)  # type: ignore[misc]
        await at.type("\r", then=lambda: bool(at.asked))


async def test_what_is_cleared_is_forgotten() -> None:
    async with prompt() as at:
        await at.type(pasted("a\nb"), then=lambda: at.text == "a\nb")
        await at.type(CTRL_C, then=lambda: at.text == "" and at.editor._session.app.is_running)
        await at.type("c\x1b\rd", then=lambda: at.text == "c\nd")
        await at.type("\r", then=lambda: at.lines == ["c\nd"])


async def test_a_line_that_was_typed_ahead_is_asked_about_where_it_is_grave() -> None:
    with create_pipe_input() as keyboard:
        at = Prompt(keyboard, Nameplate("box", production=True))
        task = asyncio.create_task(at.editor.read("/", failed=False, given=":bg make"))
        await at.until(lambda: bool(at.asked))
        await at.type("y", then=task.done)
        assert task.result() == ":bg make"
        assert await at.editor.read("/", failed=False, given="make") == "make"


async def test_no_other_key_that_runs_a_line_gets_past_it() -> None:
    async with prompt() as at:
        await at.type(pasted("echo 1\necho 2") + CTRL_O, then=lambda: bool(at.asked))
        assert at.lines == []


async def test_what_woke_the_prompt_leaves_the_paste_a_paste() -> None:
    async with prompt() as at:
        await at.type(pasted("echo 1\necho 2") + "\r", then=lambda: bool(at.asked))
        at.editor.wake()
        await at.until(lambda: at.lines == [""] and at.text == "echo 1\necho 2")
        assert not at.asked
        await at.type("\r", then=lambda: bool(at.asked))


async def test_a_signal_from_elsewhere_is_a_no() -> None:
    async with prompt() as at:
        await at.type(pasted("echo 1\necho 2") + "\r", then=lambda: bool(at.asked))
        assert at.editor.interrupt() and not at.asked
        assert at.text == "echo 1\necho 2" and at.editor.interrupt()
        await at.until(lambda: at.text == "")


async def test_on_a_production_host_only_y_is_a_yes_and_bg_asks_too() -> None:
    async with prompt(Nameplate("box", label="EU", production=True)) as at:
        await at.type(pasted("echo 1\necho 2") + "\r", then=lambda: bool(at.asked))
        assert at.asked.startswith("Run 2 lines on PRODUCTION [EU] box?  y: yes")
        at.keyboard.send_text("\r\r")
        await at.type("n", then=lambda: not at.asked)
        assert at.lines == []
        await at.type("\x15" * 3 + BACKSPACE * 20, then=lambda: at.text == "")
        await at.type(":bg make\r", then=lambda: bool(at.asked))
        assert at.asked.startswith("Run this on PRODUCTION [EU] box?")
        await at.type("y", then=lambda: at.lines == [":bg make"])
        await at.type("make\r", then=lambda: at.lines == [":bg make", "make"])


async def test_elsewhere_bg_does_not_ask() -> None:
    async with prompt() as at:
        await at.type(":bg make\r", then=lambda: at.lines == [":bg make"])


# --- at a terminal


@pytest.mark.screen
@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_it_is_asked_below_the_prompt_and_leaves_no_trace(
    variables: dict[str, str | None], target: str, tmp_path: Path
) -> None:
    with repl(target, tmp_path, **variables) as terminal:
        terminal.paste("echo $((40 + 2))\necho $((40 + 3))\n")
        terminal.wait_for("40 + 3")
        terminal.press("enter")
        terminal.wait_for(
            f"\n> echo $((40 + 3))\nRun 2 lines on {os.uname().nodename}?  y or Enter: yes, n: back to the prompt"
        )
        assert "42" not in terminal.text
        terminal.press("ctrl-c")
        terminal.wait_until(lambda: terminal.text.endswith("\n> echo $((40 + 3))"), "the prompt again")
        terminal.type(" again\r")
        terminal.wait_for("Run 2 lines")
        terminal.type("y")
        terminal.wait_for("\n42\n43 again")
        wait_prompt(terminal)
        assert "Run 2" not in terminal.text
        assert "alive" in run(terminal, "echo alive")


@pytest.mark.screen
def test_plain_asks_too_and_without_brackets_as_well(target: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", QUICK, target]
    with Terminal(argv, environment=environment(tmp_path), columns=200) as terminal:
        terminal.wait_for(GREETING)
        wait_prompt(terminal)
        terminal.type("echo one\recho two\r")
        terminal.wait_for("> echo two")
        terminal.press("enter")
        terminal.wait_for("Run 2 lines")
        terminal.process.send_signal(signal.SIGINT)
        terminal.wait_until(lambda: "Run 2 lines" not in terminal.text, "the question went")
        terminal.press("enter")
        terminal.wait_for("Run 2 lines")
        assert "\none" not in terminal.text
        terminal.press("enter")
        terminal.wait_for("\none\ntwo")
