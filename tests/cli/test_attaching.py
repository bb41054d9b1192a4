"""The REPL's shell outlives its window: kept, left, offered, taken over, taken up again; real programs on real ptys."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_shell import testing
from remote_shell.cli.attaching import Answer, attached_text, describe, span, understood
from remote_shell.client.blocking import connect
from remote_shell.client.opening import Pty
from remote_shell.wire.messages import Attached, Boxed, LeftShell
from tests.cli.person import PAINTER, Person
from tests.cli.program import call, one_line
from tests.proxy import Proxy

pytestmark = pytest.mark.screen  # as a file it takes long

_PROMPT = re.compile(r"\n\S+ \S+ [#$]$")
OFFER = "Which? Enter takes 1, n a new one, e and a number ends that one:"


@contextlib.contextmanager
def at(home: Path, target: str, *options: str, offer: bool = False) -> Iterator[Person]:
    """A person at a REPL's first prompt, or at the question which shell it should be."""
    with Person(home, "shell", *options, target, columns=200) as person:
        if offer:
            person.wait_for(OFFER)
        elif "--attach" not in options:
            prompt(person)
        yield person


def prompt(person: Person) -> None:
    """Until there is a prompt with nothing behind it."""
    person.wait_until(lambda: _PROMPT.search(person.text) is not None, "prompt")


def run(person: Person, line: str) -> str:
    """Type a line, and wait for the prompt after it; what it showed."""
    prompt(person)
    before = len(person.everything)
    person.type(f"{line}\r")
    person.wait_until(lambda: _PROMPT.search(person.everything[before:]) is not None, f"prompt after {line!r}")
    return person.everything[before:]


def begin(person: Person, line: str, until: str) -> None:
    """Type a line, and wait until it shows that it runs."""
    prompt(person)
    person.type(f"{line}\r")
    person.wait_until(lambda: f"\n{until}" in person.text, "it runs")


def shows(person: Person, text: str) -> None:
    """Until it is on the screen."""
    person.wait_until(lambda: text in person.text, text)


def close_window(person: Person) -> None:
    """As a terminal that is closed does it: hang-up, and nobody at the other end."""
    person.process.send_signal(signal.SIGHUP)
    person.process.wait(10)


def pid_of(person: Person) -> int:
    """Of the shell."""
    found = re.search(r"pid=(\d+)", run(person, "echo pid=$$"))
    assert found is not None
    return int(found[1])


def gone(pid: int) -> bool:
    """The process has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def wait_gone(pid: int) -> None:
    until = time.monotonic() + 10
    while not gone(pid):
        assert time.monotonic() < until, f"{pid} is still there"
        time.sleep(0.01)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[testing.RunningServer]:
    """A server of one's own: nobody else's shells are on it."""
    with testing.server(("unix:",), config="[limits]\ngrace = 0.5\n") as running:
        yield running


# --- words


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("\n", Answer("attach", 1)),
        ("", Answer("new")),
        ("n\n", Answer("new")),
        ("2\n", Answer("attach", 2)),
        ("e 2\n", Answer("end", 2)),
        ("end 1\n", Answer("end", 1)),
        ("3\n", Answer("unclear")),
        ("0\n", Answer("unclear")),
        ("e\n", Answer("unclear")),
        ("e 1 2\n", Answer("unclear")),
        ("yes\n", Answer("unclear")),
        ("²\n", Answer("unclear")),
        ("99999999999999999\n", Answer("unclear")),
    ],
)
def test_what_was_typed(line: str, meant: Answer) -> None:
    assert understood(line, 2) == meant


def shell(**values: Any) -> LeftShell:
    """One of a list."""
    return LeftShell.of(**{"id": "a.1", "started_at_ms": 0, "cwd": "/src", "holder": "10.0.0.5", **values})


def test_what_is_listed() -> None:
    assert describe(shell()) == "/src: at its prompt, in use (10.0.0.5)"
    assert describe(shell(away_ms=61_000, line="make\nx")) == "/src: `make x` runs, left 61 s ago (10.0.0.5)"
    assert describe(shell(away_ms=1000, ended=True)).startswith("/src: ended, left 1 s ago")
    evil = shell(cwd=Boxed(base64="L/8="), line="\x1b[2Jx", holder="\x1b]0;x\x07")
    assert "\x1b" not in describe(evil) and "\x07" not in describe(evil)


def test_what_is_told_of_the_one_that_was_taken_up() -> None:
    told = attached_text(
        Attached(cwd="/src", line="make", missed=1000, dropped=500_000, away_ms=7_200_000), "box", False
    )
    assert (
        told
        == "attached to the shell on box, in /src; left for 2 h; `make` still runs; output meanwhile: the last 1000 bytes of 489 KiB"
    )
    there = attached_text(Attached(cwd="/src", term="other-terminal"), "box", False)
    assert there == "attached to the shell on box, in /src; TERM is other-terminal there"
    assert attached_text(Attached(cwd="/src"), "box", True) == "attached again to the same shell on box, in /src"
    assert [span(seconds) for seconds in (0, 89, 600, 86_400, 259_200)] == ["0 s", "89 s", "10 min", "24 h", "3 days"]


# --- at a terminal


@pytest.mark.slow
def test_a_closed_window_keeps_it_where_that_was_said(own: testing.RunningServer, tmp_path: Path) -> None:
    """The command goes on; the next who comes is asked, sees what was missed, and has the variables and the directory."""
    with at(tmp_path, own, "--on-lost", "keep") as person:
        run(person, "cd /usr; X=mine")
        begin(person, "for i in 1 2 3; do echo line $i; read x; done; echo end", "line 1")
        close_window(person)
    with at(tmp_path, own, offer=True) as person:
        assert "1  /usr: `for i in 1 2 3; do echo line $i; read x…` runs, left " in person.text
        person.press("enter")
        person.wait_for("still runs")
        person.wait_until(lambda: "\nline 1" in person.text, "what was there")
        for number in (2, 3):
            person.press("enter")
            shows(person, f"\nline {number}")
        person.press("enter")
        prompt(person)
        assert "mine /usr" in run(person, "echo $X $PWD")
        person.press("ctrl-d")
        assert person.left_with() == 0
    with at(tmp_path, own) as person:
        assert OFFER not in person.text
        person.press("ctrl-d")
        assert person.wait_end() == 0


@pytest.mark.screen
def test_a_closed_window_ends_it_otherwise(own: testing.RunningServer, tmp_path: Path) -> None:
    with at(tmp_path, own) as person:
        pid = pid_of(person)
        begin(person, "echo runs; sleep 1000", "runs")
        close_window(person)
        wait_gone(pid)


@pytest.mark.slow
@pytest.mark.parametrize("on_lost", ["kill", "keep"])
def test_a_killed_client(own: testing.RunningServer, tmp_path: Path, on_lost: str) -> None:
    """Nothing is left after the grace, unless it was to be kept."""
    with at(tmp_path, own, "--on-lost", on_lost) as person:
        pid = pid_of(person)
        begin(person, "echo runs; sleep 1000", "runs")
        person.process.kill()
        person.process.wait()
    if on_lost == "kill":
        wait_gone(pid)
        return
    with at(tmp_path, own, offer=True) as person:
        person.press("enter")
        person.wait_for("still runs")
        person.press("ctrl-c")
        assert f"pid={pid}" in run(person, "echo pid=$$")


@pytest.mark.slow
def test_taking_over_tells_the_other_and_leaves_its_terminal_clean(own: testing.RunningServer, tmp_path: Path) -> None:
    """A program with the whole screen paints it for the new one, of another size."""
    program = tmp_path / "painter.py"
    program.write_text(PAINTER)
    with at(tmp_path, own) as first:
        run(first, "Y=same")
        first.type(f"python3 {program}\r")
        first.wait_for("painted 30 x 200")
        with Person(tmp_path, "shell", "--attach", own, rows=24, columns=100) as second:
            second.wait_for("painted 24 x 100")
            assert first.left_with() == 0
            assert f"detached: the shell on {own} was attached by process {second.process.pid} on " in first.text
            assert "⏎" not in first.text
            assert (1002 << 5) in second.screen.mode, "the mouse was switched on before it came"
            second.type("q")
            prompt(second)
            assert "ended" in second.text and "keys 71" in second.text
            second.type("stty sane; echo $Y\r")  # the program left it raw
            shows(second, "same")
            prompt(second)
            second.press("ctrl-d")
            assert second.left_with() == 0


@pytest.mark.slow
def test_taking_over_at_the_prompt(own: testing.RunningServer, tmp_path: Path) -> None:
    """What is typed there is no longer for that shell, and that is seen at once."""
    with at(tmp_path, own) as first:
        run(first, "Z=there")
        first.type("half a li")
        with at(tmp_path, own, "--attach") as second:
            second.wait_for("attached to the shell")
            assert first.left_with() == 0 and "was attached by process" in first.text
            assert "there" in run(second, "echo $Z")


@pytest.mark.slow
def test_detach_and_the_question(own: testing.RunningServer, tmp_path: Path) -> None:
    """:detach always; with --on-lost ask Ctrl-D asks, and takes no, yes and neither."""
    with at(tmp_path, own) as person:
        pid = pid_of(person)
        person.type(":detach\r")
        assert person.left_with() == 0
        assert f"detached: the shell goes on; remote-shell shell {own} attaches to it" in person.text
    with at(tmp_path, own, "--on-lost", "ask", offer=True) as person:
        person.press("enter")
        prompt(person)
        assert f"pid={pid}" in run(person, "echo pid=$$")
        question = "to come back to? y/n, else stay:"
        person.press("ctrl-d")
        person.wait_for(question)
        person.type("what\r")
        prompt(person)
        person.press("ctrl-d")
        person.wait_for(question, count=2)
        person.press("ctrl-c")
        prompt(person)
        person.type(":quit\r")
        person.wait_for(question, count=3)
        person.type("y\r")
        assert person.left_with() == 0
    assert not gone(pid)
    with at(tmp_path, own, "--on-lost", "ask", "--attach") as person:
        prompt(person)
        person.press("ctrl-d")
        person.wait_for(question)
        person.type("n\r")
        assert person.left_with() == 0
    wait_gone(pid)


@pytest.mark.slow
def test_one_of_the_list_is_ended_and_a_new_one_started(own: testing.RunningServer, tmp_path: Path) -> None:
    pids = []
    for directory in ("/usr", "/etc"):
        with at(tmp_path, own, "--new") as person:
            run(person, f"cd {directory}")
            pids.append(pid_of(person))
            person.type(":detach\r")
            assert person.wait_end() == 0
    with at(tmp_path, own, offer=True) as person:
        assert re.search(r" 1  /etc: at its prompt.*\n +2  /usr: at its prompt", person.text), "the one left last first"
        person.type("7\r")
        person.wait_for("not understood: 7")
        with connect(own) as other:
            gone_by_itself = next(one.id for one in other.shells() if one.cwd == "/usr")
            other.attach(gone_by_itself, pty=Pty(30, 100, "xterm")).close()
        wait_gone(pids[0])
        person.type("e 2\r")
        person.wait_for("ended: /usr")
        wait_gone(pids[0])
        person.wait_for(OFFER, count=3)
        person.type("n\r")
        prompt(person)
        assert pid_of(person) not in pids
    with at(tmp_path, own, offer=True) as person:
        person.press("ctrl-c")
        assert person.left_with() == 130
    assert not gone(pids[1])


def end(target: str, cwd: str) -> None:
    """The shell that is there ends, by other hands."""
    with connect(target) as other:
        one = next(one for one in other.shells() if one.cwd == cwd)
        taken = other.attach(one.id, pty=Pty(30, 100, "xterm"))
        taken.close()
        wait_gone(taken.pid or 0)


def leave(target: str, *directories: str) -> None:
    """Shells of ours, left."""
    for directory in directories:
        with connect(target) as host:
            shell = host.shell(pty=Pty(30, 100, "xterm"))
            shell.run(f"cd {directory}")
            shell.detach()


@pytest.mark.slow
def test_the_one_that_was_chosen_has_ended_meanwhile(own: testing.RunningServer, tmp_path: Path) -> None:
    """That is said, and the others are offered; when there are none it is a new one."""
    leave(own, "/usr", "/etc")
    with at(tmp_path, own, offer=True) as person:
        end(own, "/etc")
        person.type("1\r")
        person.wait_for("that one has ended meanwhile: /etc")
        person.wait_for(OFFER, count=2)
        assert "1  /usr: at its prompt" in person.text
        end(own, "/usr")
        person.press("enter")
        person.wait_for("that one has ended meanwhile: /usr")
        person.wait_for("no other is left: this is a new one")
        assert "ready" in run(person, "echo rea''dy")
        person.press("ctrl-d")
        assert person.left_with() == 0


STOPPABLE = ("bash", "--norc", "-c", 'set -m; "$@"; echo suspended; read x; fg', "bash")  # with job control


def suspend(person: Person, question: str) -> None:
    """Ctrl-Z at a question, and back to it."""
    person.wait_for(question)
    person.type("half an answ\x1a")
    person.wait_for("suspended")
    assert person.text.count(question) == 1
    person.type("\r")
    person.wait_for(question, count=2)


@pytest.mark.slow
def test_after_ctrl_z_the_question_which_is_asked_again(own: testing.RunningServer, tmp_path: Path) -> None:
    leave(own, "/usr", "/etc")
    with Person(tmp_path, "shell", own, columns=200, under=STOPPABLE) as person:
        suspend(person, OFFER)
        assert person.text.count("2  /usr: at its prompt") == 2, "with what can be chosen"
        person.type("2\r")
        prompt(person)
        assert "/usr" in run(person, "pwd")
        person.press("ctrl-d")
        assert person.left_with() == 0


@pytest.mark.slow
def test_after_bg_the_question_is_not_asked_in_anothers_line(own: testing.RunningServer, tmp_path: Path) -> None:
    leave(own, "/usr")
    script = STOPPABLE[3].replace("fg", "bg; echo behind; read x; fg")
    with Person(tmp_path, "shell", own, columns=200, under=(*STOPPABLE[:3], script, "bash")) as person:
        person.wait_for(OFFER)
        person.type("\x1a")
        person.wait_for("suspended")
        person.type("\r")
        person.wait_for("behind")
        person.type("\r")
        person.wait_for('"$@"', count=3)  # fg names it
        person.type("n\r")
        prompt(person)
        assert person.text.count(OFFER) == 1
        person.press("ctrl-d")
        assert person.left_with() == 0


@pytest.mark.slow
def test_after_ctrl_z_the_question_whether_to_keep_is_asked_again(own: testing.RunningServer, tmp_path: Path) -> None:
    with Person(tmp_path, "shell", "--on-lost", "ask", own, columns=200, under=STOPPABLE) as person:
        prompt(person)
        person.press("ctrl-d")
        suspend(person, "y/n, else stay:")
        person.type("y\r")
        assert person.left_with() == 0
        assert "detached: the shell goes on" in person.text


@pytest.mark.slow
def test_after_the_grace_the_same_repl_attaches_to_its_shell_again(own: testing.RunningServer, tmp_path: Path) -> None:
    """With a command that runs, and at the prompt; never called the same session."""
    with Proxy(own) as proxy, at(tmp_path, proxy.target, "--on-lost", "keep") as person:
        run(person, "X=kept")
        begin(person, "echo begun; sleep 2; echo late; read x; echo got $x", "begun")
        proxy.go_away()
        person.wait_for("the server keeps your shell")
        proxy.go_away(False)
        person.wait_for("is back with a new session: the one before is gone")
        person.wait_for("attached again to the same shell")
        assert "what was in it is lost" not in person.text and "same session" not in person.text
        person.wait_until(lambda: "\nlate" in person.text, "what was missed")
        person.type("me\r")
        person.wait_until(lambda: "\ngot me" in person.text, "it goes on")
        proxy.go_away()
        person.wait_for("the server keeps your shell", count=2)
        person.type("echo $")
        proxy.go_away(False)
        person.wait_for("attached again to the same shell", count=2)
        person.wait_until(lambda: person.text.rstrip().endswith("echo $"), "what was typed is there")
        person.type("X\r")
        person.wait_until(lambda: "\nkept" in person.text, "the same shell")


@pytest.mark.slow
@pytest.mark.parametrize("heard", [False, True])
def test_the_same_repl_is_told_of_an_end_in_the_grace(own: testing.RunningServer, tmp_path: Path, heard: bool) -> None:
    """Its session was over before it heard of that; and of one that another has heard of before."""
    with Proxy(own) as proxy, at(tmp_path, proxy.target, "--on-lost", "keep") as person:
        line = f"echo begun; until [ -e {tmp_path}/go ]; do sleep 0.01; done; echo last words; exit 9"
        begin(person, line, "begun")
        proxy.go_away()
        person.wait_for("the server keeps your shell")
        (tmp_path / "go").touch()
        with connect(own) as other:
            until = time.monotonic() + 10
            while [one.ended for one in other.shells()] != [True]:
                assert time.monotonic() < until
            if heard:
                (one,) = other.shells()
                assert other.attach(one.id, pty=Pty(30, 100, "xterm")).join() is None
        proxy.go_away(False)
        if not heard:
            assert person.left_with() == 9
            assert "\nlast words" in person.text
            return
        told = re.compile(r"is gone as well: it ended with status 9 at 2.*; this is a new one")
        person.wait_until(lambda: told.search(person.text) is not None, "how it ended")
        assert "new" in run(person, "echo n''ew")


@pytest.mark.slow
def test_one_that_ended_meanwhile(own: testing.RunningServer, tmp_path: Path) -> None:
    """Its last output and its status are told once, and that was all."""
    go = tmp_path / "go"
    with at(tmp_path, own, "--on-lost", "keep") as person:
        begin(person, f"echo one; until [ -e {go} ]; do sleep 0.05; done; echo two; exit 7", "one")
        close_window(person)
        go.touch()
    with at(tmp_path, own, "--attach") as person:
        assert person.wait_end() == 7
        assert "two" in person.text and "has ended with status 7" in person.text


@pytest.mark.slow
def test_nothing_to_attach(own: testing.RunningServer, tmp_path: Path) -> None:
    with Person(tmp_path, "shell", "--attach", own, columns=200) as person:
        assert person.wait_end() == 125
        assert "leave --attach away for a new one" in person.text


DEAF = ("bash", "-c", "trap '' HUP; \"$@\"; true", "bash")  # has the terminal, and passes no hang-up on


@pytest.mark.slow
@pytest.mark.parametrize("line", ["", "cat", "less /etc/passwd", "while :; do echo x; done", ":quit"])
def test_a_window_that_is_gone_is_closed_without_any_signal(
    line: str, own: testing.RunningServer, tmp_path: Path
) -> None:
    """The end of input that reading finds is none that was typed: the shell is kept, and nothing in it hears of it."""
    with Person(tmp_path, "shell", "--on-lost", "ask", own, under=DEAF) as person:
        pid = pid_of(person)
        if line:
            person.type(f"{line}\r")
            with connect(own) as watch:
                if line == ":quit":
                    person.wait_for("y/n, else stay:")
                else:
                    person.wait_until(lambda: watch.shells()[0].line == line, "it runs")
        if line.startswith("less"):
            person.wait_raw()
        os.close(person.master)
        person.master = os.open("/dev/null", os.O_RDONLY)
        person.process.wait(10)
    with connect(own) as watch:
        (left,) = watch.shells()
        assert left.away_ms is not None and left.line == (None if line in ("", ":quit") else line)
        assert not gone(pid)
        watch.attach(left.id, pty=Pty(30, 100, "xterm")).close()


@pytest.mark.slow
def test_one_that_ended_while_it_was_left(own: testing.RunningServer, tmp_path: Path) -> None:
    """Its last words, its status, and a terminal that is as it was."""
    with at(tmp_path, own, "--on-lost", "keep") as person:
        go = f"until [ -e {tmp_path}/go ]; do sleep 0.01; done"
        begin(person, rf"echo in; {go}; printf '\033[?1000h\033[?25lbye\n'; exit 5", "in")
        close_window(person)
    (tmp_path / "go").touch()
    with connect(own) as watch:
        until = time.monotonic() + 10
        while not watch.shells()[0].ended:
            assert time.monotonic() < until
    with at(tmp_path, own, offer=True) as person:
        assert "1  /" in person.text and ": ended, left " in person.text
        person.press("enter")
        assert person.left_with() == 5
        assert "\nbye" in person.text and "has ended with status 5" in person.text


@pytest.mark.slow
def test_what_a_program_left_on_is_not_on_at_the_prompt_of_who_attaches(
    own: testing.RunningServer, tmp_path: Path
) -> None:
    """Neither what it switched on unseen, nor what was undone in the other terminal."""
    with at(tmp_path, own, "--on-lost", "keep") as person:
        run(person, r"printf '\033[?1002h'")
        go = f"until [ -e {tmp_path}/go ]; do sleep 0.01; done"
        begin(person, rf"echo in; {go}; printf '\033[?1000h\033[?1049hon'", "in")
        close_window(person)
    (tmp_path / "go").touch()
    with connect(own) as watch:
        until = time.monotonic() + 10
        while watch.shells()[0].line is not None:
            assert time.monotonic() < until
    with at(tmp_path, own, offer=True) as person:
        person.press("enter")
        prompt(person)
        assert not {1000 << 5, 1002 << 5, 1049 << 5} & set(person.screen.mode)
        person.press("ctrl-d")
        assert person.left_with() == 0


@pytest.mark.slow
def test_the_question_whether_to_keep_is_taken_back(own: testing.RunningServer, tmp_path: Path) -> None:
    """By TERM, and when somebody else takes the shell meanwhile: neither waits for an answer."""
    with at(tmp_path, own, "--on-lost", "ask") as person:
        person.press("ctrl-d")
        person.wait_for("y/n, else stay:")
        with at(tmp_path, own, "--attach"):
            assert person.left_with() == 0
            assert "\ndetached: the shell on " in person.text
    with at(tmp_path, own, "--on-lost", "ask", "--new") as person:
        person.press("ctrl-d")
        person.wait_for("y/n, else stay:")
        person.process.send_signal(signal.SIGTERM)
        assert person.left_with() == -signal.SIGTERM


@pytest.mark.slow
def test_detach_tells_first_what_would_end(own: testing.RunningServer, tmp_path: Path) -> None:
    """What :bg runs is beside the shell, and not kept with it."""
    with at(tmp_path, own) as person:
        person.type(":bg sleep 1000\r")
        person.wait_for("[1] sleep 1000")
        person.type(":detach\r")
        person.wait_for("still in the background: [1] sleep 1000; :detach again leaves and ends it")
        assert "detached" not in person.text
        person.type(":detach\r")
        assert person.left_with() == 0
        assert "detached: the shell goes on" in person.text


@pytest.mark.slow
def test_what_ends_in_the_background_is_named(own: testing.RunningServer, tmp_path: Path) -> None:
    """By number and text, to whom another terminal takes the shell or a signal the REPL; and it stands in the history."""
    with at(tmp_path, own) as person:
        person.type(":bg sleep 1000\r")
        person.wait_for("[1] sleep 1000")
        person.type(":bg sleep 2000\r")
        person.wait_for("[2] sleep 2000")
        with at(tmp_path, own, "--attach") as second:
            assert person.left_with() == 0
            assert re.search(
                r"was attached by process .*; what ran in the background ends with it: \[1\] sleep 1000, \[2\] sleep 2000$",
                person.text,
            )
            shown = run(second, ":hist")
            assert len(re.findall(r"\? .* sleep [12]000", shown)) == 2
            second.type(":bg sleep 3000\r")
            second.wait_for("] sleep 3000")
            second.process.send_signal(signal.SIGTERM)
            assert second.left_with() == -signal.SIGTERM
            assert re.search(r"\nwhat ran in the background ends with it: \[\d\] sleep 3000$", second.text)


@pytest.mark.slow
def test_who_took_it_in_the_meantime_keeps_it(own: testing.RunningServer, tmp_path: Path) -> None:
    """A client that comes back after the grace takes nothing out of anybody's hands by itself."""
    with Proxy(own) as proxy, at(tmp_path, proxy.target, "--on-lost", "keep") as first:
        run(first, "X=kept")
        proxy.go_away()
        first.wait_for("the server keeps your shell")
        with at(tmp_path, own, offer=True) as second:
            second.press("enter")
            assert "kept" in run(second, "echo $X")
            proxy.go_away(False)
            assert first.left_with() == 0
            assert "was attached by process" in first.text
            assert "still" in run(second, "echo st''ill")


@pytest.mark.parametrize("words", [["--raw", "--on-lost", "keep"], ["--raw", "--attach"]])
def test_what_can_not_be_kept_is_not_promised(words: list[str], own: testing.RunningServer, tmp_path: Path) -> None:
    with Person(tmp_path, "shell", *words, own, columns=200) as person:
        assert person.left_with() == 125
        assert "a --raw shell ends with its window" in person.text and "leave --raw away" in person.text


@pytest.mark.parametrize(("words", "told"), [([], True), (["--on-lost", "kill"], False)])
def test_what_hosts_toml_promises_does_not_hold_for_raw(
    words: list[str], told: bool, own: testing.RunningServer, tmp_path: Path
) -> None:
    (tmp_path / "hosts.toml").write_text(f'[hosts.box]\ntarget = "{own}"\non_lost = "keep"\n')
    with Person(tmp_path, "shell", "--raw", *words, "box", columns=200) as person:
        person.wait_raw()
        person.type("exit 3\r")
        assert person.left_with() == 3
        assert (
            'on_lost = "keep" in hosts.toml does not hold for --raw: this shell ends with its window' in person.text
        ) is told


def test_a_script_attaches_to_nothing(own: testing.RunningServer, tmp_path: Path) -> None:
    """It would run in another shell than the one that was meant."""
    done = call("shell", "--attach", own, home=tmp_path, input=b"echo ran\n")
    assert done.returncode == 125 and not done.stdout
    assert "--attach takes up a shell on a terminal" in one_line(done.stderr)


@pytest.mark.slow
def test_what_was_typed_ahead_in_a_closed_window_does_not_run_by_itself(
    own: testing.RunningServer, tmp_path: Path
) -> None:
    """It stands at the prompt of who attaches."""
    with at(tmp_path, own, "--on-lost", "keep") as person:
        begin(person, f"echo in; until [ -e {tmp_path}/go ]; do sleep 0.01; done", "in")
        person.type("echo ra''n\r")
        person.wait_for("echo ra''n")
        close_window(person)
    (tmp_path / "go").touch()
    with connect(own) as watch:
        until = time.monotonic() + 10
        while watch.shells()[0].line is not None:
            assert time.monotonic() < until
    with at(tmp_path, own, offer=True) as person:
        person.press("enter")
        person.wait_until(lambda: person.text.rstrip().endswith("# echo ra''n"), "at the prompt")
        person.type(" now\r")
        shows(person, "\nran now")


@pytest.mark.slow
def test_a_command_whose_session_was_lost_is_once_in_the_history(own: testing.RunningServer, tmp_path: Path) -> None:
    """With its own end, also where it came while nobody was there."""
    with Proxy(own) as proxy, at(tmp_path, proxy.target, "--on-lost", "keep") as person:
        begin(person, "echo one; read x; (exit 41)", "one")
        proxy.go_away()
        person.wait_for("the server keeps your shell")
        proxy.go_away(False)
        person.wait_for("attached again to the same shell")
        person.press("enter")
        prompt(person)
        run(person, f"stay() {{ until [ -e {tmp_path}/go ]; do sleep 0.01; done; }}")
        begin(person, "echo two; stay; (exit 42)", "two")
        proxy.go_away()
        person.wait_for("the server keeps your shell", count=2)
        (tmp_path / "go").touch()
        with connect(own) as watch:
            until = time.monotonic() + 10
            while watch.shells()[0].line is not None:
                assert time.monotonic() < until
        proxy.go_away(False)
        person.wait_for("attached again to the same shell", count=2)
        shown = run(person, ":hist")
        entries = [line for line in shown.splitlines() if "(exit 4" in line]
        assert len(entries) == 2 and "✗ 41" in entries[0] and "✗ 42" in entries[1], entries


@pytest.mark.slow
def test_leaving_without_contact_says_that_the_shell_goes_on(own: testing.RunningServer, tmp_path: Path) -> None:
    with Proxy(own) as proxy, at(tmp_path, proxy.target, "--on-lost", "keep") as person:
        proxy.go_away()
        person.wait_for("the server keeps your shell")
        person.press("ctrl-d")
        assert person.left_with() == 0
        assert "the shell is not ended, and goes on there" in person.text


@pytest.mark.slow
def test_a_shell_that_was_not_left_is_not_said_to_go_on(own: testing.RunningServer, tmp_path: Path) -> None:
    """The server never heard of :detach, and ended it with its session."""
    with Proxy(own) as proxy, at(tmp_path, proxy.target) as person:
        pid = pid_of(person)
        prompt(person)
        proxy.stall()
        person.type(":detach\r")
        person.wait_until(lambda: person.text.endswith(":detach") and person.screen.cursor.x == 0, "it is tried")
        proxy.go_away()
        wait_gone(pid)
        proxy.stall(False)
        proxy.go_away(False)
        assert person.left_with() == 125
        assert "detached" not in person.text and "goes on" not in person.text
