"""`run --pty` and `shell --raw` as a person sees them: a program over there on this terminal, and the terminal afterwards."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from pathlib import Path

import pytest

from remote_shell import testing
from tests.cli.person import FULL_SCREEN, PAINTER, Person, at_program, pid_of, stands_still, wait_dead, wait_until
from tests.cli.program import ARGV, WITHIN, call, environment, one_line
from tests.proxy import Proxy
from tests.terminal import Terminal

pytestmark = pytest.mark.screen

BRACKETS = 2004 << 5  # bash's own line editor asks for brackets around what is pasted; pyte shifts private modes
READ_RAW = "stty raw opost -echo; printf ready; head -c %d | od -An -tx1 -v"


# --- how it ends, and where it runs


@pytest.mark.parametrize(("line", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -USR1 $$", 128 + signal.SIGUSR1)])
def test_the_exit_status_passes(line: str, status: int, target: str, tmp_path: Path) -> None:
    with at_program(tmp_path, target, "sh", "-c", f"echo here; {line}") as person:
        assert person.left_with() == status
        assert person.text == "here"


def test_what_can_not_be_run_is_one_line(target: str, tmp_path: Path) -> None:
    with at_program(tmp_path, target, "no-such-program") as person:
        assert person.left_with() == 127
        assert person.text.startswith("remote-shell: ") and "no-such-program: command not found" in person.text


def test_a_timeout_is_124(target: str, tmp_path: Path) -> None:
    with at_program(tmp_path, target, "sleep", "1000", options=["--timeout", "0.1"]) as person:
        assert person.left_with() == 124


def test_it_is_this_kind_and_size_of_terminal(target: str, tmp_path: Path) -> None:
    line = "trap 'stty size; exit 0' WINCH; tty; echo $TERM; stty size; while :; do sleep 0.02; done"
    with at_program(tmp_path, target, "sh", "-c", line, rows=33, columns=111) as person:
        person.wait_for("33 111")
        assert person.text.startswith("/dev/pts/") and "xterm-256color" in person.text
        person.resize(20, 60)
        person.wait_for("20 60")
        assert person.left_with() == 0


def test_a_resize_before_the_terminal_is_raw_counts_too(target: str, tmp_path: Path) -> None:
    started = tmp_path / "started"
    with Proxy(target, latency=0.1) as proxy:
        line = f"touch {started}; read x; stty size"
        with at_program(tmp_path, proxy.target, "sh", "-c", line, rows=33, columns=111) as person:
            wait_until(started.exists, "start")
            person.resize(20, 60)
            assert not person.is_raw, "the client heard of the start; raise the latency"
            person.wait_raw()
            person.type("\r")
            person.wait_for("20 60")
            assert person.left_with() == 0


def test_a_terminal_unknown_there_falls_back_and_is_told(target: str, tmp_path: Path) -> None:
    words = ["sh", "-c", "echo is $TERM"]
    with at_program(tmp_path, target, *words, added={"TERM": "xterm-no-such"}, columns=200) as person:
        person.wait_for("is xterm")
        assert f"{target} does not know the terminal 'xterm-no-such': TERM is xterm there" in person.text
        assert person.left_with() == 0


# --- keys


def test_the_terminal_over_there_echoes_and_interrupts(target: str, tmp_path: Path) -> None:
    with at_program(tmp_path, target, "cat") as person:
        person.wait_raw()
        person.type("typed\x7fD\r")
        person.wait_for("typeD", count=2)
        assert person.text.count("typeD") == 2
        person.press("ctrl-c")
        assert person.left_with() == 128 + signal.SIGINT
        assert "^C" in person.text


def test_ctrl_d_ends_input(target: str, tmp_path: Path) -> None:
    with at_program(tmp_path, target, "sh", "-c", "wc -c; exit 3") as person:
        person.wait_raw()
        person.type("four\r")
        person.press("ctrl-d")
        person.wait_for("5")
        assert person.left_with() == 3


def test_job_control_is_the_shells_over_there(target: str, tmp_path: Path) -> None:
    with at_program(tmp_path, target, "bash", "--norc", "-i", options=["--env", "PS1=there>"]) as person:
        person.wait_for("there>")
        person.type("echo $((6*7)); cat\r")
        person.wait_for("\n42")  # from here on cat has the terminal; bash's own line editor is gone from it
        person.type("one\r")
        person.wait_for("one", count=2)
        person.type("\x1a")
        person.wait_for("Stopped")
        person.type("fg\r")
        person.wait_for("cat", count=3)
        person.type("two\r")
        person.wait_for("two", count=2)
        person.press("ctrl-d")
        person.type("exit 9\r")
        assert person.left_with() == 9


def test_letters_of_all_widths(target: str, tmp_path: Path) -> None:
    with at_program(tmp_path, target, "cat") as person:
        person.wait_raw()
        person.type("äöü 漢字 \N{CHICKEN} x\r")
        person.wait_for("äöü", count=2)
        person.wait_until(lambda: person.output.count("äöü 漢字 \N{CHICKEN} x\r\n".encode()) == 2, "echo and output")
        person.press("ctrl-d")
        assert person.left_with() == 0


def test_all_bytes_pass_both_ways(target: str, tmp_path: Path) -> None:
    every = bytes(range(256))
    with at_program(tmp_path, target, "sh", "-c", READ_RAW % 256) as person:
        person.wait_for("ready")
        os.write(person.master, every)
        person.wait_for("f8 f9 fa fb fc fd fe ff")
        assert bytes.fromhex(person.text.removeprefix("ready")) == every
        assert person.left_with() == 0
    octal = "".join(f"\\{number:03o}" for number in every)
    with at_program(tmp_path, target, "sh", "-c", f"stty raw; printf '{octal}'") as person:
        assert person.wait_end() == 0
        assert every in person.output


@pytest.mark.parametrize("program", ["cat", "wc -c"])
def test_a_long_paste_arrives_whole(program: str, target: str, tmp_path: Path) -> None:
    """Without an echo: the kernel itself drops echoes when the output is behind."""
    lines = [f"line {number:5} {'x' * 50}" for number in range(1600)]
    size = sum(len(line) + 1 for line in lines)
    assert size > 99_000
    with at_program(tmp_path, target, "sh", "-c", f"stty -echo; echo ready; {program}") as person:
        person.wait_for("ready")
        person.type("".join(f"{line}\r" for line in lines))
        person.press("ctrl-d")
        assert person.left_with() == 0
        if program == "cat":
            assert person.output == b"ready\r\n" + b"".join(f"{line}\r\n".encode() for line in lines)
        else:
            assert person.text.split() == ["ready", str(size)]


# --- escapes


def test_tilde_and_dot_leave_and_end_what_runs(target: str, tmp_path: Path) -> None:
    with at_program(tmp_path, target, "sh", "-c", FULL_SCREEN) as person:
        pid = pid_of(person)
        assert person.is_raw and person.screen.cursor.hidden and person.screen.margins is not None
        person.type("x~.")  # not first on its line
        person.type("\r~.")
        assert person.left_with() == 255
        wait_dead(pid)


def test_tilde_and_question_mark_help_in_the_last_line(target: str, tmp_path: Path) -> None:
    with at_program(tmp_path, target, "cat", rows=10) as person:
        person.wait_raw()
        person.type("above\r")
        person.wait_for("above", count=2)
        person.type("~?")
        person.wait_for("~. leaves and ends what runs")
        assert person.screen.display[9].startswith("~. leaves")
        person.type("here\r")  # the cursor is where it was, in plain letters
        person.wait_for("here", count=2)
        assert person.screen.display[2].startswith("here")
        assert not person.screen.buffer[2][0].reverse and person.screen.buffer[9][0].reverse
        person.press("ctrl-d")
        assert person.left_with() == 0


def test_two_tildes_are_one_and_others_are_two_keys(target: str, tmp_path: Path) -> None:
    with at_program(tmp_path, target, "cat") as person:
        person.wait_raw()
        person.type("~~.\r~x\ra~.\r")
        person.wait_for("a~.", count=2)
        person.wait_for("~x", count=2)
        person.press("ctrl-d")
        assert person.left_with() == 0
        lines = [line for line in person.text.split("\n") if line]
        assert sorted(lines) == sorted(2 * ["~.", "~x", "a~."])


def test_tilde_and_ctrl_z_suspend_the_client(target: str, tmp_path: Path) -> None:
    """The shell here gets its terminal in its own state, and afterwards the program its own again."""
    own = {**environment(tmp_path), "PS1": "here>"}
    with Terminal(["bash", "--norc", "-i"], environment=own, rows=12) as terminal:
        terminal.wait_for("here>")
        plain = set(terminal.screen.mode)
        (tmp_path / "painter").write_text(PAINTER)
        terminal.type(shlex.join([*ARGV, "run", "-t", target, sys.executable, f"{tmp_path}/painter"]) + "\r")
        terminal.wait_for("painted 12 x 100 keys .")
        programs = set(terminal.screen.mode)
        terminal.type("\r~\x1a")
        terminal.wait_for("Stopped")
        terminal.wait_for("here>")
        assert terminal.screen.mode - {BRACKETS} == plain - {BRACKETS} != programs
        assert not terminal.screen.cursor.hidden
        terminal.type("clear; echo $((6*7))\r")
        terminal.wait_for("42")
        before = len(terminal.output)
        terminal.type("fg\r")
        terminal.wait_until(lambda: b"painted 12 x 100 keys 0d." in terminal.output[before:], "painting")
        assert terminal.output.index(b"\x1b[?1049h", before) < terminal.output.index(b"painted", before)
        assert terminal.screen.mode == programs
        assert terminal.screen.cursor.hidden
        terminal.type("aq")
        terminal.wait_for("ended")
        terminal.wait_for("here>")
        assert b"painted 12 x 100 keys 0d6171." in terminal.output
        assert terminal.screen.mode - {BRACKETS} == plain - {BRACKETS} and not terminal.screen.cursor.hidden
        terminal.type("clear; echo status $?\r")
        terminal.wait_for("status 0")
        terminal.type("exit\r")
        assert terminal.wait_end() == 0


# --- signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_clean_and_ends_what_runs(
    number: signal.Signals, target: str, tmp_path: Path
) -> None:
    with at_program(tmp_path, target, "sh", "-c", FULL_SCREEN) as person:
        pid = pid_of(person)
        person.process.send_signal(number)
        assert person.left_with() == -number
        wait_dead(pid)


def test_an_interrupt_from_elsewhere_is_130(target: str, tmp_path: Path) -> None:
    with at_program(tmp_path, target, "sh", "-c", FULL_SCREEN) as person:
        pid = pid_of(person)
        person.process.send_signal(signal.SIGINT)
        assert person.left_with() == 130
        wait_dead(pid)


def test_ctrl_c_at_a_question_leaves_before_anything_runs(running: testing.RunningServer, tmp_path: Path) -> None:
    options = ["--identity", running.identity]
    with at_program(tmp_path, running.targets["tls"], "true", options=options, columns=150) as person:
        person.wait_for("Trust it from now on?")
        person.press("ctrl-c")
        assert person.left_with() == 130
        assert "Traceback" not in person.text


def test_a_signal_is_heard_while_the_terminal_takes_nothing(target: str, tmp_path: Path) -> None:
    with at_program(tmp_path, target, "sh", "-c", "echo pid $$.; read x; exec yes") as person:
        pid = pid_of(person)
        person.type("\r")
        wait_until(stands_still(person.process.pid), "full terminal")
        person.process.terminate()
        assert person.process.wait(WITHIN) == -signal.SIGTERM
        wait_dead(pid)


def test_a_terminal_that_goes_away_ends_what_runs(target: str, tmp_path: Path) -> None:
    with at_program(tmp_path, target, "sh", "-c", FULL_SCREEN) as person:
        pid = pid_of(person)
        os.close(person.master)
        person.process.wait(WITHIN)
        wait_dead(pid)
        person.master = os.open(os.devnull, os.O_RDWR)  # closed at the end


# --- other streams


def test_input_that_is_no_terminal_ends_the_programs(target: str, tmp_path: Path) -> None:
    done = call("run", "--pty", target, "cat", home=tmp_path, input=b"a\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.replace(b"^D\b\b", b"") == b"a\r\na\r\n"


def test_no_input_is_an_end_of_input_at_once(target: str, tmp_path: Path) -> None:
    with at_program(tmp_path, target, "sh", "-c", "tty; wc -c; exit 4", options=["-n"]) as person:
        assert person.left_with() == 4
        assert person.text.startswith("/dev/pts/") and "\n0" in person.text


def test_a_login_shell(target: str, tmp_path: Path) -> None:
    with Person(tmp_path, "shell", "--raw", target) as person:
        person.wait_raw()
        person.type("echo $((6*7)); shopt login_shell; tty\r")
        person.wait_for("\n42")
        person.wait_until(lambda: re.search("login_shell +on", person.text) is not None, "login shell")
        person.wait_for("/dev/pts/")
        person.type("exit 5\r")
        assert person.left_with() == 5


def test_a_login_shell_without_a_terminal_is_refused_in_one_line(target: str, tmp_path: Path) -> None:
    done = call("shell", "--raw", target, home=tmp_path, input=b"echo no\n")
    assert (done.returncode, done.stdout) == (125, b"")
    assert one_line(done.stderr).startswith("remote-shell: --raw needs a terminal")


def test_output_elsewhere_is_the_programs_alone(target: str, tmp_path: Path) -> None:
    """Nothing of ours gets into it: no help, no undoing of modes."""
    file = tmp_path / "file"
    line = r"printf '\033[?25l'; cat"
    words = ["sh", "-c", f'exec "$@" > {file}', "sh", *ARGV, "run", "-t", target, "sh", "-c", line]
    with Terminal(words, environment=environment(tmp_path)) as terminal:
        wait_until(lambda: file.exists() and file.read_bytes() == b"\x1b[?25l", "output")
        terminal.type("x\r~?")
        terminal.wait_for("remote-shell: ~. leaves and ends")
        terminal.press("ctrl-d")
        assert terminal.wait_end() == 0
    assert file.read_bytes() == b"\x1b[?25lx\r\nx\r\n"


def test_a_reader_of_the_output_that_is_gone_ends_it(target: str, tmp_path: Path) -> None:
    words = ["sh", "-c", '"$@" | head -1; echo over', "sh", *ARGV, "run", "-t", target, "yes"]
    with Terminal(words, environment=environment(tmp_path)) as terminal:
        terminal.wait_for("over")
        assert terminal.wait_end() == 0
        assert terminal.text.split() == ["y", "over"]


def test_what_ran_before_under_an_id_is_told(target: str, tmp_path: Path) -> None:
    words = ["sh", "-c", "echo ran; exit 3"]
    for again in (False, True):
        with at_program(tmp_path, target, *words, options=["--id", "a-terminals-once"], columns=200) as person:
            assert person.left_with() == 3
            assert ("ran before under this id" in person.text) is again
            assert (person.text == "ran") is not again
