"""Output of others on its way to a person's terminal, however it comes: shown, or filtered; and untouched on its way elsewhere."""

from __future__ import annotations

import contextlib
import os
import random
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_shell.cli import showing
from remote_shell.cli.screen import Screen
from remote_shell.client.remote import write_all
from remote_shell.terminal.filter import Filter
from remote_shell.terminal.visible import Visible
from tests.cli.person import Person
from tests.cli.program import ARGV, call, environment
from tests.cli.test_repl import repl, run, wait_prompt
from tests.terminal import Terminal

pytestmark = pytest.mark.screen  # as a file it takes long

TITLE = b"\x1b]2;evil\x07"
EVIL = r"printf 'a\033]2;evil\007b\033[2Jc\n'"
SEEN = "a^[]2;evil^Gb^[[2Jc"
RAW = b"a\x1b]2;evil\x07b\x1b[2Jc\n"


@contextlib.contextmanager
def on_terminal(*argv: str, home: Path, **variables: str) -> Iterator[Terminal]:
    with Terminal([*ARGV, *argv], environment={**environment(home), **variables}) as terminal:
        yield terminal


@pytest.fixture
def job(target: str, tmp_path: Path) -> Iterator[str]:
    """A detached job that writes both streams, and again and again until the file `go` is there."""
    line = f"{EVIL}; {EVIL} >&2; until test -e go; do {EVIL}; sleep 0.05; done"
    started = call("run", "--detach", "--cwd", str(tmp_path), "-c", line, target, home=tmp_path)
    name = started.stdout.decode().strip()
    yield name
    (tmp_path / "go").touch()
    call("wait", target, name, home=tmp_path)
    call("rm", target, name, home=tmp_path)


# --- which way


def test_the_way_depends_on_where_it_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = os.openpty()
    reading, writing = os.pipe()
    try:
        for allowed in (frozenset[str](), frozenset({"title"})):
            assert isinstance(showing.passage(slave, allowed), Visible)
            assert isinstance(showing.passage(slave, allowed, terminal=True), Filter)
        for one in (showing.passage(slave, frozenset({"all"})), showing.passage(writing), showing.passage(-1)):
            assert isinstance(one, showing.Untouched)
            assert (one.feed(RAW), one.end()) == (RAW, b"")
        with open(os.devnull, "w", encoding="latin-1") as file:
            monkeypatch.setattr("sys.stdout", file)
            assert showing.passage(slave).feed("Ü".encode()) == b"\xc3\\u009c"
            assert showing.passage(slave, terminal=True).feed(b"\x9d0;evil\x9cx") == b"\x1b\\x"
            monkeypatch.undo()
    finally:
        for descriptor in (master, slave, reading, writing):
            os.close(descriptor)


def test_what_a_filter_left_empty_is_no_endless_write() -> None:
    reading, writing = os.pipe()
    try:
        write_all(writing, [b"", b"a", b"", b"", b"b", b""])
        write_all(writing, [b""])
        assert os.read(reading, 10) == b"ab"
    finally:
        os.close(reading)
        os.close(writing)


def test_our_own_lines_obey_nothing_in_them(capsys: pytest.CaptureFixture[str]) -> None:
    Screen({"TERM": "xterm"}).note("the server's word: \x1b[2J\x9b", "red")
    assert capsys.readouterr().err == "\x1b[31mthe server's word: ^[[2J\\u009b\x1b[0m\n"


def test_a_colour_at_the_end_is_no_unended_line(capfd: pytest.CaptureFixture[str]) -> None:
    screen = Screen({"TERM": "xterm"})
    screen.write(1, b"red\n\x1b[m")
    screen.fresh_line()
    screen.write(1, b"red\x1b[m")
    screen.fresh_line()
    assert capfd.readouterr().err.count("⏎") == 1


# --- commands without a terminal

WAYS = {
    "stdout": ["run", "TARGET", "--", "sh", "-c", EVIL],
    "stderr": ["run", "TARGET", "--", "sh", "-c", f"{EVIL} >&2"],
    "map": ["map", "TARGET", "--", "sh", "-c", EVIL],
    "map -l": ["map", "-l", "TARGET", "--", "sh", "-c", EVIL],
    "ssh": ["ssh", "-T", "TARGET", EVIL],
}


@pytest.mark.screen
@pytest.mark.parametrize("way", WAYS)
def test_controls_are_shown(way: str, target: str, tmp_path: Path) -> None:
    argv = [target if word == "TARGET" else word for word in WAYS[way]]
    with on_terminal(*argv, home=tmp_path, REMOTE_SHELL_MUX="0") as terminal:
        assert terminal.wait_end() == 0
        assert terminal.text.count(SEEN) == 1
        assert b"evil\x07" not in terminal.output and terminal.screen.title == ""
    done = call(*argv, home=tmp_path, env={"REMOTE_SHELL_MUX": "0"})
    assert (done.stdout + done.stderr).count(RAW if way != "map -l" else RAW[:-1]) == 1, "in a pipe it is as it was"


@pytest.mark.screen
def test_a_shared_connection_shows_them_too(target: str, tmp_path: Path) -> None:
    with Terminal([*ARGV, "mux", target], environment=environment(tmp_path)) as mux:
        mux.wait_until(lambda: any(tmp_path.rglob("mux-*")), "socket")
        with on_terminal("ssh", target, f"echo $PPID; {EVIL}; {EVIL} >&2", home=tmp_path) as terminal:
            assert terminal.wait_end() == 0
            assert terminal.text.count(SEEN) == 2


@pytest.mark.screen
def test_a_script_given_to_the_shell(target: str, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(EVIL)
    line = f"{shlex.join([*ARGV, 'shell', target])} < {tmp_path}/script"
    with Terminal(["sh", "-c", line], environment=environment(tmp_path)) as terminal:
        assert terminal.wait_end() == 0
        assert terminal.text == SEEN


@pytest.mark.screen
@pytest.mark.parametrize("words", [["logs", "-f"], ["attach"]])
def test_a_job(words: list[str], job: str, target: str, tmp_path: Path) -> None:
    with on_terminal(*words, target, job, home=tmp_path) as terminal:
        terminal.wait_for(SEEN, count=3)
        (tmp_path / "go").touch()
        assert terminal.wait_end() == 0
        assert b"evil\x07" not in terminal.output
    logs = call("logs", target, job, home=tmp_path)
    assert logs.stdout.startswith(RAW) and logs.stderr == RAW


@pytest.mark.screen
def test_colours_stay_and_are_ended(target: str, tmp_path: Path) -> None:
    line = r"printf '\033[31mred\n\033[1m'"
    with Terminal(
        ["sh", "-c", f"{shlex.join([*ARGV, 'run', '-c', line, target])}; echo plain"], environment=environment(tmp_path)
    ) as terminal:
        assert terminal.wait_end() == 0
        assert terminal.text == "red\nplain"
        assert terminal.screen.buffer[0][0].fg == "red" and terminal.screen.buffer[1][0].fg == "default"


@pytest.mark.screen
def test_one_stream_in_a_file_is_as_it_was(target: str, tmp_path: Path) -> None:
    line = f"{shlex.join([*ARGV, 'run', '-c', f'{EVIL}; {EVIL} >&2', target])} > {tmp_path}/file"
    with Terminal(["sh", "-c", line], environment=environment(tmp_path)) as terminal:
        assert terminal.wait_end() == 0
        assert terminal.text == SEEN
    assert (tmp_path / "file").read_bytes() == RAW


@pytest.mark.screen
def test_all_256_bytes_reach_a_file_and_none_of_the_controls_a_terminal(target: str, tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(bytes(range(256)) * 3)
    assert call("run", target, "cat", f"{tmp_path}/bytes", home=tmp_path).stdout == bytes(range(256)) * 3
    with on_terminal("run", target, "cat", f"{tmp_path}/bytes", home=tmp_path) as terminal:
        assert terminal.wait_end() == 0
        assert not set(terminal.output) & {*range(9), *range(11, 13), *range(14, 32), *range(127, 256)}


@pytest.mark.screen
@pytest.mark.parametrize("how", ["option", "file"])
def test_all_is_everything(how: str, target: str, tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_text(f'[hosts.box]\ntarget = "{target}"\nallow = ["all"]\n')
    words = ["run", "--allow", "all", target] if how == "option" else ["run", "box"]
    with on_terminal(*words, "sh", "-c", EVIL, home=tmp_path) as terminal:
        assert terminal.wait_end() == 0
        assert RAW.rstrip() in terminal.output
    with on_terminal("run", "--allow", "title", "box", "sh", "-c", EVIL, home=tmp_path) as terminal:
        assert terminal.wait_end() == 0
        assert terminal.text == SEEN, "the command line wins, and titles are for terminals"


@pytest.mark.screen
def test_a_trial_has_the_option_too(tmp_path: Path) -> None:
    for words, seen in (([], False), (["--allow", "all"], True)):
        with on_terminal("try", *words, "--", "sh", "-c", EVIL, home=tmp_path) as terminal:
            assert terminal.wait_end() == 0
            assert (RAW.rstrip() in terminal.output) is seen


# --- programs with a terminal


@pytest.mark.screen
@pytest.mark.parametrize("verb", ["run", "ssh"])
@pytest.mark.parametrize("how", ["", "option", "file"])
def test_a_title(verb: str, how: str, target: str, tmp_path: Path) -> None:
    allow = 'allow = ["title"]' if how == "file" else ""
    (tmp_path / "hosts.toml").write_text(f'[hosts.box]\ntarget = "{target}"\n{allow}\n')
    words = [verb, "-t", *(["--allow", "title"] if how == "option" else []), "box"]
    line = r"printf 'a\033]2;good\007b\033]52;c;aGk=\007c\033]10;?\007'"
    with Person(tmp_path, *words, *(["sh", "-c", line] if verb == "run" else [line])) as person:
        assert person.left_with() == 0
        assert person.screen.title == ("good" if how else "")
        assert b"]52;" not in person.output and b"c\x1b]10;?\x07" in person.output
        assert person.text == "abc"


@pytest.mark.screen
def test_the_clipboard_alone(target: str, tmp_path: Path) -> None:
    line = r"printf 'a\033]2;evil\007b\033]52;c;aGk=\007c'"
    with Person(tmp_path, "run", "-t", "--allow", "clipboard", target, "sh", "-c", line) as person:
        assert person.left_with() == 0
        assert b"b\x1b]52;c;aGk=\x07c" in person.output and person.screen.title == ""


@pytest.mark.screen
def test_a_raw_shell(target: str, tmp_path: Path) -> None:
    with Person(tmp_path, "shell", "--raw", target) as person:
        person.wait_raw()
        person.type(r"printf 'a\033]2;evil\007b\n'; exit 3" + "\r")
        assert person.left_with() == 3
        assert person.screen.title == "" and "\nab\n" in f"\n{person.text}\n"


@pytest.mark.screen
def test_a_terminal_over_there_and_none_on_stdin(target: str, tmp_path: Path) -> None:
    line = shlex.join([*ARGV, "run", "-t", target, "sh", "-c", r"printf 'a\033]2;evil\007\033[2Gb'"]) + " < /dev/null"
    with Terminal(["sh", "-c", line], environment=environment(tmp_path)) as terminal:
        assert terminal.wait_end() == 0
        assert terminal.text == "ab" and b"\x1b[2G" in terminal.output and terminal.screen.title == ""


@pytest.mark.parametrize(
    "words", [["run", "--allow", "colour", "x", "y"], ["ssh", "--allow=colour", "x", "y"], ["ssh", "--allow"]]
)
def test_a_word_that_is_none(words: list[str], tmp_path: Path) -> None:
    done = call(*words, home=tmp_path)
    assert done.returncode == (255 if words[0] == "ssh" else 2)
    assert b"title, clipboard" in done.stderr


# --- the REPL


@pytest.mark.screen
def test_the_repl_survives_any_bytes(target: str, tmp_path: Path) -> None:
    rng = random.Random(7)
    parts = [
        b"\x1b",
        b"[",
        b"]",
        b"P",
        b"_",
        b"^",
        b"X",
        b"k",
        b"(0",
        b"?1049h",
        b"?25l",
        b"?7l",
        b"2;9r",
        b"31m",
        b"8m",
        b"\x0e",
        b"0;t",
    ]
    streams = [
        bytes(range(256)),
        b"\x1bPq#0",
        b"\x1b]8;;http://x",
        b"\x1b]2;",
        b"\x1b",
        b"\x1b[",
        b"\xf0\x9f",
        b"\x1b(0\x0e",
        b"\x1b_Ga=1",
    ]
    streams += [b"".join(rng.choices([*parts, b"\x9b", b"\xc2", b"%@", b"?5h"], k=30)) for _ in range(5)]
    streams += [rng.randbytes(2000) for _ in range(2)]
    with repl(target, tmp_path) as terminal:
        for number, stream in enumerate(streams, 1000):
            (tmp_path / "bytes").write_bytes(stream)
            terminal.type(f"cat {tmp_path}/bytes; echo; echo so =$(({number}))=\r")
            wait_prompt_after(terminal, b"=%d=" % number)
            terminal.type(f"clear; echo =$(({number + 1000}))=\r")
            terminal.wait_for(f"={number + 1000}=")
            wait_prompt(terminal)
            assert terminal.text.startswith(f"={number + 1000}="), "the screen is as it should be"
            assert terminal.screen.title == ""


def wait_prompt_after(terminal: Terminal, output: bytes) -> None:
    """By the bytes, since the screen may show them in any way: the prompt's editor asks for brackets around what is pasted."""
    terminal.wait_until(lambda: b"\x1b[?2004h" in terminal.output.partition(output)[2], f"prompt after {output!r}")


@pytest.mark.screen
def test_a_title_at_the_prompt_and_what_is_kept_of_output(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        assert "abc" in run(terminal, r"printf 'a\033]2;evil\007b\033[31mc\n'")
        assert terminal.screen.title == ""
        run(terminal, r"printf '\033]2;'")
        assert "42x" in run(terminal, "echo $((41 + 1))x"), "what one command began does not go on in the next"
        assert "a^[]2;evil^Gbc" in run(terminal, ":out 1"), "it is shown, and nothing is asked or set once more"
        assert "[4]" in run(terminal, rf":bg {EVIL}")
        terminal.wait_for("[4] ✓")
        assert SEEN in run(terminal, ":attach 4")


@pytest.mark.screen
def test_a_title_at_the_prompt_that_is_allowed(target: str, tmp_path: Path) -> None:
    with Terminal(
        [*ARGV, "shell", "--new", "--allow", "title", target], environment=environment(tmp_path), columns=200
    ) as terminal:
        wait_prompt(terminal)
        run(terminal, r"printf 'a\033]2;good\007b\n'")
        assert terminal.screen.title == "good"


@pytest.mark.screen
def test_stderr_of_a_shell_whose_stdout_is_a_file(target: str, tmp_path: Path) -> None:
    line = f"{shlex.join([*ARGV, 'shell', '--new', target])} > {tmp_path}/file"
    with Terminal(["sh", "-c", line], environment=environment(tmp_path)) as terminal:
        terminal.wait_for("Ctrl-D leaves.")
        terminal.type(f"{EVIL}; {EVIL} >&2\r")
        terminal.wait_for(SEEN)
        terminal.type("exit\r")
        terminal.wait_end()
    assert RAW in (tmp_path / "file").read_bytes()
