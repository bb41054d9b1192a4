"""Fifty scripted sessions: the same keys with and without cuts leave the same screen.

Two REPLs side by side get the same keys and sizes, one of them over a link that is cut at random moments, for as long as nobody is told of
a cut. After each step both show what is expected, and the same. Seeded: the number of a session is its seed.
"""

from __future__ import annotations

import contextlib
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from remote_shell import testing
from tests.cli.program import environment
from tests.proxy import Proxy
from tests.terminal import Terminal

pytestmark = pytest.mark.slow

SESSIONS = 50
STEPS = 8
WITHIN = 20.0  # seconds for a step
QUIET = 0.15  # seconds
LONGEST = 0.25  # seconds a cut; with the wait for the next try it stays below what is told
# How long a command took is not the same in both, so the mark that tells it is not among what is compared; nor is what is said of a
# cut, which on a busy machine may last long enough to be told.
PROGRAM = (
    "import sys, remote_shell.cli.screen as s, remote_shell.cli.notices as n; s.SLOW = n.STATUS = n.WORDS = 1e9; "
    "from remote_shell.cli.main import main; sys.exit(main())"
)
# The prompt shows the last 40 characters of its directory: the same for both.
SAME_NAME = "the-same-keys-with-and-without-cuts-leave-the-same-screen"
PROMPT = re.compile(r"\S+ …/\S+ [#$]$")
CTRL_A, CTRL_C, CTRL_E, CTRL_K, CTRL_R, CTRL_U, CTRL_W = "\x01", "\x03", "\x05", "\x0b", "\x12", "\x15", "\x17"
LEFT, RIGHT, UP, DOWN, ESCAPE, DELETE, ERASE = "\x1b[D", "\x1b[C", "\x1b[A", "\x1b[B", "\x1b", "\x1b[3~", "\x7f"

Shown = Callable[[str], bool]


class Step(NamedTuple):
    """Keys, or a size; and when they have done what they do."""

    keys: str
    shown: Shown
    size: tuple[int, int] | None = None
    again: str = ""  # typed once a second until it has shown: Tab says that there is no contact or was no answer, and to ask again


def at_prompt(*before: str) -> Shown:
    """An empty prompt, and these lines somewhere above it."""
    return lambda text: PROMPT.search(text) is not None and all(f"\n{line}\n" in f"\n{text}" for line in before)


def has(*parts: str) -> Shown:
    return lambda text: all(part in text for part in parts)


def ends(part: str) -> Shown:
    return lambda text: text.endswith(part)


class Script:
    """What a person might do, by a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.number = seed * 1000
        self.words: list[str] = []
        self.made = False

    def word(self) -> str:
        self.number += 1
        return f"w{self.number}"

    def steps(self) -> Iterator[Step]:
        kinds = [
            self.output, self.editing, self.erasing, self.colours, self.history, self.search, self.completion, self.interrupt,
            self.clearing, self.resize, self.vim, self.less, self.reading, self.several,
        ]  # fmt: skip
        for kind in self.random.sample(kinds, STEPS):
            yield from kind()
            self.words.append(word := self.word())
            yield Step(f"echo {word}\r", at_prompt(word))

    def output(self) -> Iterator[Step]:
        last = self.random.randrange(3, 300)
        yield Step(f"seq 1 {last}\r", at_prompt(str(last)))

    def editing(self) -> Iterator[Step]:
        word = self.word()
        yield Step(f"ehco {word}", ends(f"ehco {word}"))
        yield Step(CTRL_A + RIGHT + DELETE + RIGHT + "h" + CTRL_E + " 漢字x" + LEFT + ERASE, ends(f"echo {word} 漢x"))
        yield Step("\r", at_prompt(f"{word} 漢x"))

    def erasing(self) -> Iterator[Step]:
        word = self.word()
        yield Step(f"all this goes{CTRL_U}echo {word} and this{CTRL_W}{CTRL_W}!", ends(f"echo {word} !"))
        yield Step(f"{LEFT}{LEFT}{CTRL_K}?\r", at_prompt(f"{word}?"))

    def colours(self) -> Iterator[Step]:
        word = self.word()
        yield Step(
            f"printf '\\033[3{self.random.randrange(1, 8)}m{word} äöü 漢字\\033[0m\\n'; (exit 3)\r",
            at_prompt(f"{word} äöü 漢字", "✗ 3"),
        )

    def history(self) -> Iterator[Step]:
        first, second = self.word(), self.word()
        yield Step(f"echo {first}\r", at_prompt(first))
        yield Step(f"echo {second}\r", at_prompt(second))
        yield Step(UP + UP, ends(f"echo {first}"))
        yield Step(DOWN, ends(f"echo {second}"))
        yield Step("x\r", at_prompt(f"{second}x"))

    def search(self) -> Iterator[Step]:
        word = self.word()
        yield Step(f"echo {word}\r", at_prompt(word))
        yield Step(CTRL_R, has("search:"))
        yield Step(word, has(f"search: {word}\n> echo {word}"))
        yield Step("\r", ends(f"echo {word}"))
        yield Step(" again\r", at_prompt(f"{word} again"))

    def completion(self) -> Iterator[Step]:
        yield Step("cat only-o", ends("cat only-o"))
        yield Step("\t", ends("cat only-one-of-this-name"), again="\t")
        yield Step("\r", at_prompt("what is in it"))

    def interrupt(self) -> Iterator[Step]:
        word = self.word()
        yield Step(f"echo {word}; sleep 1000\r", lambda text: text.endswith(f"\n{word}"))
        yield Step(CTRL_C, lambda text: PROMPT.search(text) is not None and "✗ 130" in text)

    def clearing(self) -> Iterator[Step]:
        word = self.word()
        yield Step(f"echo '{word}\r", ends(">"))
        yield Step("more", ends("> more"))
        yield Step(CTRL_C, at_prompt())

    def resize(self) -> Iterator[Step]:
        size = self.random.randrange(18, 40), self.random.randrange(80, 130)
        yield Step("", at_prompt(), size)

    def reading(self) -> Iterator[Step]:
        word = self.word()
        yield Step("cat\r", lambda text: text.endswith(" cat"))
        yield Step(f"{word}y{ERASE}\r", lambda text: text.endswith(f"\n{word}\n{word}"))
        yield Step("\x04", at_prompt(word))

    def several(self) -> Iterator[Step]:
        word = self.word()
        # one at a time: two that are read at once are a paste, which is asked about
        yield Step("for i in 1 2\r", ends("for i in 1 2\n>"))
        yield Step("do\r", ends("do\n>"))
        yield Step(f"echo {word}-$i\r", ends(f"echo {word}-$i\n>"))
        yield Step("done\r", at_prompt(f"{word}-1", f"{word}-2"))

    def vim(self) -> Iterator[Step]:
        name, word = self.word(), self.word()
        yield Step(f"vim.tiny -n -u NONE {name}\r", has("~\n~", f'"{name}"'))
        yield Step(f"i{word} äö 漢字\rsecond{ESCAPE}", has(f"{word} äö 漢字\nsecond"))
        yield Step("yypA, once more" + ESCAPE, has("second\nsecond, once more"))
        if self.random.random() < 0.5:
            size = self.random.randrange(18, 40), self.random.randrange(80, 130)
            yield Step("", has("second\nsecond, once more", "~\n~"), size)
            yield Step(":set columns?\r", has(f"columns={size[1]}"))
        yield Step("ggx:wq\r", at_prompt())
        yield Step(f"cat {name}\r", at_prompt(f"{word[1:]} äö 漢字", "second", "second, once more"))

    def less(self) -> Iterator[Step]:
        yield Step("less numbers\r", lambda text: text.startswith("line 1\nline 2\n"))
        yield Step(" ", lambda text: not text.startswith("line 1\n"))
        yield Step("G", has("line 500"))
        at = self.random.randrange(2, 300)
        yield Step(f"g/line {at}\r", lambda text: text.startswith(f"line {at}\n"))
        yield Step("q", at_prompt())


class Pair:
    """The two of them, and the link that is cut."""

    def __init__(self, plain: Terminal, other: Terminal, proxy: Proxy, seed: int) -> None:
        self.both = (plain, other)
        self.proxy = proxy
        self.random = random.Random(f"cuts {seed}")
        self.back_at: float | None = None  # monotonic
        self.seed = seed
        self.past: list[str] = []

    def perform(self, step: Step) -> None:
        """Give both the keys, cut somewhere among them or after, and wait until both show the same."""
        self.past.append(repr(step.keys) if step.size is None else f"size {step.size}")
        plain, other = self.both
        if step.size is not None:
            self.wait_quiet()
            painted = [len(terminal.output) for terminal in self.both]
            for terminal in self.both:
                terminal.resize(*step.size)
        if step.keys:
            plain.type(step.keys)
        at = self.random.randrange(len(step.keys) + 1)
        if self.random.random() < 0.3:
            self.proxy.cut_in(self.random.randrange(1, 3000))
        if step.keys[:at]:
            other.type(step.keys[:at])
        self.cut()
        if step.keys[at:]:
            other.type(step.keys[at:])
        deadline = time.monotonic() + WITHIN
        again = time.monotonic() + 1
        if step.size is not None:  # the screen is right before the program knows of it
            while any(len(terminal.output) == before for terminal, before in zip(self.both, painted, strict=True)):
                self.read()
                assert time.monotonic() < deadline, self.story()
            self.wait_quiet()
        while not self.settled(step.shown):
            if step.again and time.monotonic() >= again:
                again += 1
                for terminal in self.both:
                    if not step.shown(terminal.text):
                        terminal.type(step.again)
            self.read()
            assert time.monotonic() < deadline, self.story()

    def read(self) -> bool:
        """What both show; whether there was something. A cut ends when its time has come."""
        if self.back_at is not None and time.monotonic() >= self.back_at:
            self.back_at = None
            self.proxy.go_away(False)
        came = [terminal._read(0.01) for terminal in self.both]
        return any(came)

    def wait_quiet(self) -> None:
        """Until neither writes: an editor asks where its cursor is after it has painted, and a size must not come in between."""
        until = time.monotonic() + QUIET
        while time.monotonic() < until:
            if self.read():
                until = time.monotonic() + QUIET

    def cut(self) -> None:
        how = self.random.random()
        if self.back_at is not None or how < 0.4:
            return
        if how < 0.8:
            self.proxy.cut()
        else:
            self.proxy.go_away()
            self.back_at = time.monotonic() + self.random.uniform(0.0, LONGEST)

    def settled(self, shown: Shown) -> bool:
        plain, other = self.both
        if not (shown(plain.text) and shown(other.text)):
            return False
        where = [(terminal.screen.cursor.x, terminal.screen.cursor.y) for terminal in self.both]
        return where[0] == where[1] and plain.screen.display == other.screen.display

    def story(self) -> str:
        plain, other = self.both
        shown = f"without cuts:\n{plain.text}\n--- with {self.proxy.cuts} cuts:\n{other.text}"
        where = [(terminal.screen.cursor.x, terminal.screen.cursor.y) for terminal in self.both]
        return f"seed {self.seed}, after {' '.join(self.past)}\n{shown}\n--- cursors {where}"


@pytest.fixture(scope="module")
def server() -> Iterator[testing.RunningServer]:
    with testing.server(("unix:",)) as running:
        yield running


@contextlib.contextmanager
def repl(target: str, place: Path) -> Iterator[Terminal]:
    """A REPL in a folder of its own, which has the same name as the other's."""
    folder, home = place / SAME_NAME, place / "home"
    folder.mkdir(parents=True)
    home.mkdir(mode=0o700)
    (folder / "numbers").write_text("".join(f"line {number}\n" for number in range(1, 501)))
    (folder / "only-one-of-this-name").write_text("what is in it\n")
    with Terminal([sys.executable, "-c", PROGRAM, "shell", target], environment=environment(home)) as terminal:
        terminal.wait_for("Ctrl-D leaves.")
        terminal.wait_until(lambda: terminal.text.endswith(("~ #", "~ $")), "prompt")
        terminal.type(f" cd {folder}; clear\r")  # the blank keeps it out of the history
        terminal.wait_until(lambda: PROMPT.fullmatch(terminal.text) is not None, "prompt")
        yield terminal


@pytest.mark.parametrize("seed", range(SESSIONS))
def test_the_same_keys_leave_the_same_screen(seed: int, server: testing.RunningServer, tmp_path: Path) -> None:
    with (
        Proxy(str(server)) as proxy,
        repl(str(server), tmp_path / "without") as plain,
        repl(proxy.target, tmp_path / "with") as other,
    ):
        pair = Pair(plain, other, proxy, seed)
        for step in Script(seed).steps():
            pair.perform(step)
        assert plain.everything == other.everything, pair.story()
        assert proxy.cuts > 0
        for terminal in pair.both:
            terminal.press("ctrl-d")
        if pair.back_at is not None:
            proxy.go_away(False)
        assert [terminal.wait_end() for terminal in pair.both] == [0, 0], pair.story()
