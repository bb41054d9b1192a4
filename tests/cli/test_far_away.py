"""The REPL over a long line: what is typed shows at once, a command costs one round trip, a cut loses nothing."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from remote_shell import testing
from tests.cli.test_repl import repl, run, wait_prompt
from tests.proxy import Proxy
from tests.terminal import Terminal
from tests.terminal.emulator import DEADLINE

LATENCY = 0.05  # seconds each way
ROUND_TRIP = 2 * LATENCY
KEPT = "grace = 300\n"  # the longest cut here has to be shorter


@pytest.fixture(scope="module")
def patient() -> Iterator[testing.RunningServer]:
    """A server that keeps a session longer than any cut here."""
    with testing.server(("unix:", "tls:127.0.0.1:0"), config=KEPT) as server:
        yield server


def wait_still(proxy: Proxy) -> None:
    """Until nothing has been under way for three round trips: acknowledgements come late."""
    seen, since = None, time.monotonic()
    while time.monotonic() - since < 3 * 2 * proxy.latency:
        if seen != proxy.passed:
            seen, since = list(proxy.passed), time.monotonic()
        time.sleep(0.01)


# --- typing


@pytest.mark.screen
def test_what_is_typed_at_the_prompt_shows_at_once_and_crosses_no_wire(target: str, tmp_path: Path) -> None:
    with Proxy(target, latency=LATENCY) as proxy, repl(proxy.target, tmp_path) as terminal:
        run(terminal, "true")
        wait_still(proxy)
        passed, took = list(proxy.passed), []
        typed = ""
        for key in "echo typed without any lag":
            typed += key
            begin = time.monotonic()
            terminal.type(key)
            terminal.wait_until(lambda: terminal.text.endswith(typed.rstrip()), key)  # noqa: B023
            took.append(time.monotonic() - begin)
        for keys in ("\x1b[D" * 3 + "x", "\x7f", "\x01", "\x05", "\x1b[A", "\x1b[B"):  # moving, erasing, history
            terminal.type(keys)
        terminal.wait_until(lambda: terminal.text.endswith(typed), "the line again")
        assert proxy.passed == passed, "a key crossed the wire"
        assert min(took) < ROUND_TRIP / 2  # what another program has the processor for is no lag of ours
        proxy.stall()  # whatever shows now has come from nowhere but here
        terminal.type(" and without any wire")
        terminal.wait_for(typed + " and without any wire")
        proxy.stall(False)
        assert "typed without any lag and without any wire" in run(terminal, "", continued=True)


@pytest.mark.screen
def test_what_is_typed_for_a_program_that_reads_lines_crosses_the_wire_as_a_line(target: str, tmp_path: Path) -> None:
    with Proxy(target, latency=LATENCY) as proxy, repl(proxy.target, tmp_path) as terminal:
        terminal.type("echo begun; read x; echo got: $x\r")
        terminal.wait_until(lambda: "\nbegun" in terminal.text, "the command runs")
        proxy.stall()  # a program that runs is asked for a sign of life; no key is among what waits here
        terminal.type("a lone\x7f\x7f\x7fine")
        terminal.wait_until(lambda: terminal.text.endswith("\na line"), "echo")
        proxy.stall(False)
        before = proxy.passed[0]
        terminal.type("\r")
        terminal.wait_for("got: a line")
        assert 0 < proxy.passed[0] - before < 600, "one line"
        wait_prompt(terminal)


@pytest.mark.screen
def test_a_command_costs_one_round_trip(target: str, tmp_path: Path) -> None:
    latency = 3 * LATENCY  # so that a second round trip is longer than what a busy machine takes
    with Proxy(target, latency=latency) as proxy, repl(proxy.target, tmp_path) as terminal:
        run(terminal, "true")
        took = []
        for number in range(3):
            wait_still(proxy)
            terminal.type(f"echo answer $(({number}+100))")
            wait_still(proxy)
            flights, begin = proxy.flights, time.monotonic()
            terminal.press("enter")
            shown = re.compile(rf"\nanswer {number + 100}\n\S+ \S+ [#$]$")
            terminal.wait_until(lambda: shown.search(terminal.text) is not None, "prompt")  # noqa: B023
            took.append(time.monotonic() - begin)
            assert proxy.flights - flights == 1, "something waited for an answer before it was sent"
        assert 1 <= min(took) / (2 * latency) < 2  # the flights are counted; a second one would take this long


# --- cuts


@dataclass
class Scene:
    """A REPL behind a proxy of its own, and what its words are about."""

    terminal: Terminal
    proxy: Proxy
    said: list[str] = field(default_factory=list)

    def words(self) -> list[str]:
        """What the notices said, in order: lines above the prompt or among the output."""
        name = re.escape(self.proxy.target)
        told = re.compile(rf"^(?:no contact with {name} for|{name}: |{name} is back|no answer from {name})")
        return [line for line in self.terminal.everything.split("\n") if told.match(line)]


@contextlib.contextmanager
def scenes(server: testing.RunningServer, home: Path, count: int) -> Iterator[list[Scene]]:
    """So many, side by side."""
    with contextlib.ExitStack() as stack:
        made = []
        for number in range(count):
            (home / str(number)).mkdir(mode=0o700)
            proxy = stack.enter_context(Proxy(str(server), latency=LATENCY))
            made.append(Scene(stack.enter_context(repl(proxy.target, home / str(number))), proxy))
        yield made


CUTS = [
    pytest.param(1.0, marks=pytest.mark.slow),
    pytest.param(10.0, marks=pytest.mark.slow),
    pytest.param(60.0, marks=[pytest.mark.slow, pytest.mark.timeout(200)]),
]


@pytest.mark.parametrize("seconds", CUTS)
def test_a_cut_loses_nothing_in_vim_in_a_command_and_at_the_prompt(
    seconds: float, patient: testing.RunningServer, tmp_path: Path
) -> None:
    """Each resumes the same session, with the words for it where a person looks, and no line comes twice."""
    file, over = tmp_path / "file", tmp_path / "over"
    file.write_text("".join(f"line {number}\n" for number in range(1, 201)))
    with scenes(patient, tmp_path, 3) as made:
        vim, make, prompt = made
        for scene in made:
            run(scene.terminal, "cd /usr/share; kept='the same shell'")
        vim.terminal.type(f"vim.tiny -u NONE {file}\r")
        vim.terminal.wait_for("line 29")
        vim.terminal.type("Gobefore the cut\x1b")
        vim.terminal.wait_for("before the cut")
        count = (
            'i=0; until test -e "$1"; do i=$((i+1)); echo "[$i] compiling"; sleep 0.05; done; echo "[$i] is the last"'
        )
        make.terminal.type(f"sh -c '{count}' make {over}\r")
        make.terminal.wait_for("[5] compiling")
        prompt.terminal.type("echo $kept, be")
        prompt.terminal.wait_for("echo $kept, be")

        for scene in made:
            scene.proxy.go_away()
        until = time.monotonic() + seconds
        prompt.terminal.type("gun before")  # at the prompt no wire is needed
        prompt.terminal.wait_for("$kept, begun before")
        waiting = seconds > 3
        if waiting:
            for scene in (make, prompt):
                scene.terminal.wait_for("the server keeps the session for")
            vim.terminal.wait_for(f"no contact with {vim.proxy.target} for")
        while (left := until - time.monotonic()) > 0:
            for scene in made:
                scene.terminal._read(min(0.1, left))
        for scene in made:
            scene.proxy.go_away(False)

        if waiting:
            for scene in (make, prompt):
                scene.terminal.wait_for(f"{scene.proxy.target}: same session resumed after")
            make.terminal.wait_for("still runs")
            vim.terminal.wait_until(lambda: "no contact" not in vim.terminal.text, "vim's own last line")
        over.touch()
        make.terminal.wait_for("is the last")
        wait_prompt(make.terminal)
        painted = len(vim.terminal.output)
        vim.terminal.resize(25, 90)
        vim.terminal.wait_until(lambda: b"line 199" in vim.terminal.output[painted:], "vim's new painting")
        until = time.monotonic() + DEADLINE
        while (
            "lines=25" not in vim.terminal.text
        ):  # what was painted may be from before, and the new size wipes an answer away
            assert time.monotonic() < until, vim.terminal.text
            vim.terminal.type(":set lines?\r")
            with contextlib.suppress(AssertionError):
                vim.terminal.wait_for("lines=25", deadline=2)
        vim.terminal.type("oafter the cut\x1b:wq\r")
        vim.terminal.wait_until(lambda: file.read_text().endswith("after the cut\n"), "saved")
        wait_prompt(vim.terminal)
        assert "the same shell, begun before and ended after" in run(
            prompt.terminal, " and ended after", continued=True
        )
        for scene in (vim, make):
            assert "the same shell" in run(scene.terminal, "echo $kept; pwd")

        assert file.read_text().splitlines()[200:] == ["before the cut", "after the cut"]
        numbers = [int(found) for found in re.findall(r"^\[(\d+)\] compiling$", make.terminal.everything, re.MULTILINE)]
        last = re.findall(r"^\[(\d+)\] is the last$", make.terminal.everything, re.MULTILINE)
        assert numbers == list(range(1, len(numbers) + 1)) and last == [str(len(numbers))]
        assert len(numbers) > seconds * 10, "it went on meanwhile"
        for scene, details in ((make, ", `sh -c .*` still runs, .* arrived meanwhile"), (prompt, "")):
            name = re.escape(scene.proxy.target)
            lost = rf"no contact with {name} for 3\.\d s: .*, the server keeps the session for 29\d s more"
            after = {1.0: r"[3-9]\.\d", 10.0: "1[0-9]", 60.0: "6[0-9]"}[seconds]
            back = rf"{name}: same session resumed after {after} s; same directory /usr/share{details}; nothing is lost"
            said = scene.words()
            if waiting or said:  # the wait for the next try may make a long cut of a short one
                assert len(said) == 2, said
                assert re.fullmatch(lost, said[0]) and re.fullmatch(back, said[1]), said
        assert vim.words() == [], "above its prompt there is nothing of it"
        for scene in made:
            assert scene.proxy.cuts >= 1 and "Traceback" not in scene.terminal.everything
