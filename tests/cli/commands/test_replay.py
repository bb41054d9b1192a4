"""`remote-shell replay` as people use it: on a terminal, into a pipe, with files that others made."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from remote_shell import testing
from tests.cli.program import ARGV, call
from tests.cli.tmux import Tmux, at_prompt, running
from tests.server.conftest import children_of

pytestmark = pytest.mark.screen

HEAD = {"version": 2, "width": 80, "height": 24}


def recording(folder: Path, *moments: tuple[float, str, str], head: object = HEAD, more: bytes = b"") -> str:
    """A file."""
    path = folder / "r.cast"
    lines = [json.dumps(one).encode() + b"\n" for one in (head, *moments)]
    path.write_bytes(b"".join(lines) + more)
    return str(path)


@contextmanager
def replaying(home: Path, *words: str) -> Iterator[Tmux]:
    """tmux with a player; afterwards its status, and whether the terminal edits lines again."""
    script = '"$@"; echo "left with $?"; stty -a | grep -o -e "-*icanon" -e "-*echo "; exec cat'
    with running(home, "sh", "-c", script, "sh", *ARGV, "replay", *words) as tmux:
        yield tmux
        tmux.wait_for("left with")
        shown = tmux.wait_for("echo")
        assert "-icanon" not in shown and "-echo" not in shown
        assert tmux.is_plain()


def test_it_is_played_to_its_end(tmp_path: Path) -> None:
    moments = [(0.0, "o", "first\r\n"), (0.01, "r", "100x30"), (0.02, "o", "h\u00e9llo\r\n")]
    with replaying(tmp_path, recording(tmp_path, *moments)) as tmux:
        shown = tmux.wait_for("left with 0")
    assert shown.startswith("first\nhéllo\nleft with 0")


def test_a_pause_a_step_and_leaving_in_the_middle_of_a_full_screen_program(tmp_path: Path) -> None:
    """The alternate screen, the mouse and a hidden cursor are left on by what is played."""
    screen = "\x1b[?1049h\x1b[?1000h\x1b[?25l\x1b[2J\x1b[Hfull screen"
    moments = [(0.0, "o", screen), (3600.0, "o", " second"), (7200.0, "o", " third")]
    with replaying(tmp_path, recording(tmp_path, *moments)) as tmux:
        tmux.wait_for("full screen")
        tmux.keys("Space")
        tmux.keys(".")
        assert "third" not in tmux.wait_for("second")
        tmux.keys(".")
        tmux.wait_for("left with 0")


@pytest.mark.parametrize(("key", "status"), [("q", 0), ("C-c", 130)])
def test_leaving_by_key(tmp_path: Path, key: str, status: int) -> None:
    with replaying(tmp_path, recording(tmp_path, (0.0, "o", "here"), (3600.0, "o", "never"))) as tmux:
        tmux.wait_for("here")
        tmux.keys(key)
        assert "never" not in tmux.wait_for(f"left with {status}")


def test_a_pause_of_centuries_can_be_left(tmp_path: Path) -> None:
    path = recording(tmp_path, (0.0, "o", "here"), (3e8, "o", "never"))
    with replaying(tmp_path, "--speed", "0.01", path) as tmux:
        tmux.wait_for("here")
        tmux.keys("q")
        tmux.wait_for("left with 0")


def test_a_signal_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    with replaying(tmp_path, recording(tmp_path, (0.0, "o", "\x1b[?25lhere"), (3600.0, "o", "never"))) as tmux:
        tmux.wait_for("here")
        (player,) = children_of(int(tmux("display-message", "-p", "#{pane_pid}")))
        os.kill(player, signal.SIGTERM)
        tmux.wait_for("left with 143")


def test_speed_and_idle_limit(tmp_path: Path) -> None:
    moments = [(0.0, "o", "a"), (3600.0, "o", "b"), (3700.0, "o", "c")]
    with replaying(tmp_path, "--idle-limit", "100", "--speed", "1000", recording(tmp_path, *moments)) as tmux:
        tmux.wait_for("left with 0")


def test_cat_on_a_terminal_waits_for_nothing(tmp_path: Path) -> None:
    moments = [(0.0, "o", "a"), (3600.0, "o", "b\x1b[?25l\r\n")]
    with replaying(tmp_path, "--cat", recording(tmp_path, *moments)) as tmux:
        assert tmux.wait_for("left with 0").startswith("ab\n")


def test_titles_and_the_clipboard_stay_as_they_are(tmp_path: Path) -> None:
    """Also where the sequence comes in two events, or is the last and has no end."""
    moments = [
        (0.0, "o", "\x1b]0;taken\x07\x1b]52;c;aHVudGVyMg==\x07one "),
        (0.0, "o", "\x1b]2;ta"),
        (0.0, "o", "ken\x07two"),
        (0.0, "o", "\x1b]0;taken"),
    ]
    path = recording(tmp_path, *moments)
    with replaying(tmp_path, path) as tmux:
        assert tmux.wait_for("left with 0").startswith("one two")
        assert "taken" not in tmux("display-message", "-p", "#{pane_title}")
        assert not tmux("list-buffers")
    (tmp_path / "raw").write_text(moments[0][2])
    with running(tmp_path, "sh", "-c", f"cat {tmp_path}/raw; exec cat") as tmux:  # the control: what it would have done
        tmux.wait_until(lambda shown: "taken" in tmux("display-message", "-p", "#{pane_title}"), "title")


def test_into_a_pipe_it_is_written_at_once_and_as_it_is(tmp_path: Path) -> None:
    moments = [(0.0, "o", "a\x1b]0;t\x07"), (1.0, "m", "note"), (3600.0, "o", "\u00e9\r\n"), (3600.0, "r", "1x1")]
    done = call("replay", recording(tmp_path, *moments), home=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"a\x1b]0;t\x07\xc3\xa9\r\n", b"")
    with open(tmp_path / "r.cast", "rb") as file:
        piped = subprocess.run([*ARGV, "replay", "-"], stdin=file, capture_output=True, timeout=20)
    assert piped.stdout == done.stdout


def test_what_can_be_read_is_shown_and_the_rest_is_named(tmp_path: Path) -> None:
    path = recording(tmp_path, (0.0, "o", "a"), more=b'\x1b]0;bad\x07\n[1,"o","b"]\n[2,"o","c')
    done = call("replay", path, home=tmp_path)
    assert (done.returncode, done.stdout) == (1, b"ab")
    assert done.stderr.decode().splitlines() == [
        f"remote-shell: {path}: line 3 is no event",
        f"remote-shell: {path}: line 5 has no end: whoever wrote it was stopped there",
    ]


@pytest.mark.parametrize("words", [["--speed", "0"], ["--speed", "nan"], ["--speed", "x"], ["--idle-limit", "-1"], []])
def test_what_makes_no_sense(words: list[str], tmp_path: Path) -> None:
    path = [recording(tmp_path)] if words else []
    done = call("replay", *words, *path, home=tmp_path)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1


def test_what_is_no_recording(tmp_path: Path) -> None:
    done = call("replay", "/etc/passwd", home=tmp_path)
    assert done.returncode == 125 and b"/etc/passwd is no recording" in done.stderr
    gone = call("replay", "/no/such", home=tmp_path)
    assert gone.returncode == 125 and b"No such file" in gone.stderr


def test_a_shell_is_recorded_and_played(tmp_path: Path) -> None:
    """All of it: the person is told, works, types a password; what is played is what was seen."""
    kept = tmp_path / "kept"
    with testing.server(("unix:",), config=f'[recording]\nfolder = "{kept}"\n') as server:
        with at_prompt(tmp_path, server) as tmux:
            assert "remote-shell: what this terminal shows is recorded" in tmux("capture-pane", "-p")
            tmux.line("cd /tmp; echo $((6*7))")
            tmux.wait_for("42")
            tmux.wait_prompt()
            tmux.line("read -sp $'Pass\\x77ord: ' p; echo; echo ${#p}")
            tmux.wait_for("Password:")
            tmux.line("hunter2-correct")
            tmux.wait_for("15")
            tmux.wait_prompt()
        (path,) = kept.glob("*.cast")
        assert "hunter2" not in path.read_text()
        with replaying(tmp_path, "--speed", "50", str(path)) as tmux:
            shown = tmux.wait_for("left with 0")
    text = shown.partition("recorded\n")[2]
    assert text.startswith(
        "$ cd /tmp; echo $((6*7))\n42\n$ read -sp $'Pass\\x77ord: ' p; echo; echo ${#p}\nPassword:\n15\nleft with 0"
    )
