"""The REPL as a person meets it: a real program on a real pty, its screen read by pyte."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from remote_shell import testing
from remote_shell.cli.history import History
from tests.cli.program import ARGV, environment
from tests.proxy import Proxy
from tests.terminal import Terminal

pytestmark = pytest.mark.screen  # the quick suite has two minutes for all

# On a busy machine a cut of a moment may last longer than what nobody notices: here all cuts are short.
UNNOTICED = (
    sys.executable,
    "-c",
    "import sys, remote_shell.cli.notices as n; n.STATUS = n.WORDS = 1e9; from remote_shell.cli.main import main; sys.exit(main())",
)
# A note about what ran in the background waits, once it is being written, for a word through a named pipe.
HELD = (
    sys.executable,
    "-c",
    """import os, sys
from remote_shell.cli.main import main
from remote_shell.cli.screen import Screen

note = Screen.note
def held(screen, text, colour="dim"):
    note(screen, text, colour)
    if "cat begun" in text and "✓" in text:
        os.write(2, b"held")
        open(os.environ["NOTED"]).close()
Screen.note = held
sys.exit(main())""",
)
GREETING = "Ctrl-D leaves."
_PROMPT = re.compile(r"\n\S+ \S+ [#$]$")


@contextlib.contextmanager
def repl_of(argv: Sequence[str], target: str, home: Path, **variables: str | None) -> Iterator[Terminal]:
    """A REPL of that program at its first prompt."""
    words = {**environment(home), "SSH_AUTH_SOCK": None, **variables}
    # a new shell, whatever a test before left behind with a link that was cut
    with Terminal([*argv, "shell", "--new", target], environment=words, columns=200) as terminal:
        terminal.wait_for(GREETING)
        wait_prompt(terminal)
        yield terminal


def repl(target: str, home: Path, **variables: str | None) -> contextlib.AbstractContextManager[Terminal]:
    """A REPL at its first prompt."""
    return repl_of(ARGV, target, home, **variables)


def wait_prompt(terminal: Terminal) -> None:
    """Until there is a prompt with nothing behind it: what is typed earlier is echoed by the terminal itself."""
    terminal.wait_until(lambda: _PROMPT.search(terminal.text) is not None, "prompt")


def run(terminal: Terminal, line: str, *, continued: bool = False) -> str:
    """Type a line, and wait for the prompt after it; returns what it showed. `continued`: other lines were before it."""
    if not continued:
        wait_prompt(terminal)
    before = len(terminal.everything)
    terminal.type(line)
    terminal.press("enter")
    terminal.wait_until(lambda: _PROMPT.search(terminal.everything[before:]) is not None, f"prompt after {line!r}")
    return _PROMPT.sub("", terminal.everything[before:])


def test_the_shell_keeps_directory_variables_and_functions(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        run(terminal, "x='kept here'; greet() { echo \"hello $1\"; }")
        assert "kept here" in run(terminal, 'echo "$x"')
        assert "hello you" in run(terminal, "greet you")
        run(terminal, "cd /usr/share")
        assert re.search(r"\S+ /usr/share [#$]$", terminal.text)
        run(terminal, "cd")
        assert re.search(r"\S+ ~ [#$]$", terminal.text)


@pytest.mark.slow
def test_a_mark_after_what_failed_or_took_long_and_none_otherwise(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        assert run(terminal, "true").strip() == "true"
        assert run(terminal, "(exit 42)").strip().splitlines()[1:] == ["✗ 42"]
        assert run(terminal, "echo $?").strip().splitlines()[1:] == ["42"]
        assert run(terminal, "printf abc").strip().splitlines()[1:] == ["abc⏎"]
        slow = run(terminal, "sleep 1.05").strip().splitlines()[1:]
        assert re.fullmatch(r"✓ 1\.\ds", slow[0]) and len(slow) == 1


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_none_is_wanted(variables: dict[str, str], target: str, tmp_path: Path) -> None:
    words = {**environment(tmp_path), **variables}
    with Terminal([*ARGV, "shell", "--new", target], environment=words) as terminal:
        terminal.wait_for(GREETING)
        terminal.type("false\r")
        terminal.wait_for("✗ 1")
        wait_prompt(terminal)
        terminal.press("ctrl-d")
        assert terminal.wait_end() == 1
        assert not re.search(rb"\x1b\[[0-9;]*[39][0-7][;m]", terminal.output), "a colour"


def test_output_and_errors_pass_unchanged_while_the_command_runs(target: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with repl(target, tmp_path) as terminal:
        terminal.type(f"echo early; until test -e {gate}; do sleep 0.02; done; printf '\\033[7mlate\\033[0m\\n' >&2\r")
        terminal.wait_until(lambda: "\nearly" in terminal.text, "output before the end")
        gate.touch()
        terminal.wait_until(lambda: b"\x1b[7mlate\x1b[0m" in terminal.output, "the bytes themselves")


# --- keys


def test_ctrl_c_interrupts_the_command_and_neither_shell_nor_client(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        run(terminal, "x=survives")
        terminal.type("echo begun; sleep 1000\r")
        terminal.wait_until(lambda: "\nbegun" in terminal.text, "the command runs")
        terminal.press("ctrl-c")
        terminal.wait_for("✗ 130")
        assert "survives" in run(terminal, "echo $x")


def test_what_ignores_ctrl_c_is_killed_by_the_third_and_the_shell_stays(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        run(terminal, "x=survives")
        terminal.type("bash -c 'trap \"\" INT; echo begun; while :; do sleep 0.05; done'\r")
        terminal.wait_until(lambda: "\nbegun" in terminal.text, "the command runs")
        terminal.press("ctrl-c")
        terminal.wait_for("^C")
        terminal.press("ctrl-c")
        terminal.wait_for("once more kills it")
        terminal.press("ctrl-c")
        terminal.wait_for("✗ ")
        assert "survives" in run(terminal, "echo $x")


def test_a_shell_that_ignores_everything_can_be_left(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        terminal.type("trap '' INT; echo begun; while :; do :; done\r")
        terminal.wait_until(lambda: "\nbegun" in terminal.text, "the command runs")
        for count, said in enumerate(("^C", "once more kills it", "once more leaves it"), start=1):
            terminal.press("ctrl-c")
            terminal.wait_for("^C", count=count)
            terminal.wait_for(said)
        terminal.press("ctrl-c")
        assert terminal.wait_end() == 125


def test_ctrl_c_at_the_prompt_clears_the_line(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        terminal.type("touch /never'")
        terminal.press("enter")
        terminal.wait_until(lambda: terminal.text.endswith(">"), "a continued line")
        terminal.press("ctrl-c")
        assert run(terminal, "echo clean").strip().splitlines()[1:] == ["clean"]


@pytest.mark.parametrize("number", [signal.SIGINT])
def test_a_signal_from_elsewhere_does_what_the_key_does(number: int, target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        terminal.type("echo no")
        terminal.wait_for("echo no")
        terminal.process.send_signal(number)
        terminal.wait_until(lambda: terminal.text.endswith(("#", "$")), "an empty prompt")
        assert run(terminal, "echo yes").strip().splitlines()[1:] == ["yes"]


def test_ctrl_backslash_quits_the_command_and_dumps_nothing(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        terminal.type("trap '' INT; echo begun; sleep 1000\r")
        terminal.wait_until(lambda: "\nbegun" in terminal.text, "the command runs")
        terminal.press("ctrl-\\")
        terminal.wait_for("✗")
        assert "alive" in run(terminal, "echo alive")


def test_ctrl_d_leaves_with_the_last_status(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        run(terminal, "(exit 7)")
        terminal.press("ctrl-d")
        assert terminal.wait_end() == 7


def test_what_is_typed_ahead_is_not_lost(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        terminal.type("echo begun; sleep 0.3\r")
        terminal.wait_until(lambda: "\nbegun" in terminal.text, "the command runs")
        terminal.type("echo ahead\r")
        terminal.wait_until(lambda: "\nahead" in terminal.text, "the line typed ahead ran")


def test_what_is_typed_right_behind_enter_is_the_commands(target: str, tmp_path: Path) -> None:
    """The prompt's editor may have read it already, or the terminal got it while nobody translated a CR."""
    with repl(target, tmp_path) as terminal:
        for number in range(20):
            terminal.type("cat\r")
            time.sleep(number / 1000)
            terminal.type(f"line {number}.\r\x04")
            terminal.wait_until(lambda: _PROMPT.search(terminal.everything) is not None, "prompt")
            shown = f"cat\nline {number}.\nline {number}.\n"
            terminal.wait_until(lambda: shown in terminal.everything, shown)  # noqa: B023
        terminal.type("cat\rno end")
        terminal.wait_until(lambda: terminal.text.endswith("\nno end"), "echo")
        terminal.type(" yet\r\x04")
        terminal.wait_until(lambda: "no end yet\nno end yet\n" in terminal.text, "line")
        wait_prompt(terminal)
        terminal.type("cat\rerasex\x7fd \x1b[A\r\x04")
        terminal.wait_until(lambda: "erased ^[[A\n" in terminal.text, "echo that moves nothing")
        wait_prompt(terminal)
        terminal.type("sleep 1000\r\x03")
        terminal.wait_for("130")
        wait_prompt(terminal)
        terminal.type("true\recho not read")
        terminal.wait_until(lambda: terminal.text.endswith("# echo not read"), "what was not read")
        terminal.press("ctrl-c")
        terminal.type("clear\r")
        terminal.wait_until(
            lambda: re.fullmatch(r"\S+ \S+ [#$]", terminal.text) is not None, "prompt in the first line"
        )


def test_ctrl_z_is_the_commands_while_one_runs_and_ours_at_the_prompt(target: str, tmp_path: Path) -> None:
    def caught(terminal: Terminal) -> bool:
        status = Path(f"/proc/{terminal.process.pid}/status").read_text()
        return bool(int(re.findall(r"SigCgt:\s*(\w+)", status)[0], 16) >> (signal.SIGTSTP - 1) & 1)

    with repl(target, tmp_path) as terminal:
        assert not caught(terminal)
        terminal.type("echo begun; sleep 1000\r")
        terminal.wait_until(lambda: "\nbegun" in terminal.text, "the command runs")
        assert caught(terminal)
        terminal.type("\x1a")
        terminal.wait_for("148")
        run(terminal, "kill %1")
        assert not caught(terminal)


def test_ctrl_d_while_something_is_said_above_the_prompt_leaves(target: str, tmp_path: Path) -> None:
    begun, noted = tmp_path / "begun", tmp_path / "noted"
    os.mkfifo(begun)
    os.mkfifo(noted)
    with repl_of(HELD, target, tmp_path, NOTED=str(noted)) as terminal:
        run(terminal, f"cd {tmp_path}")
        run(terminal, ":bg cat begun")
        begun.write_bytes(b"")  # opened by both, it ends
        terminal.wait_for("held")
        terminal.press("ctrl-d")
        noted.write_bytes(b"")
        assert terminal.wait_end() == 0


def test_ctrl_z_at_the_prompt_and_back(target: str, tmp_path: Path) -> None:
    words = {**environment(tmp_path), "PS1": "outer> ", "SSH_AUTH_SOCK": None}
    with Terminal(["bash", "--norc", "--noprofile", "--noediting"], environment=words, columns=200) as terminal:
        terminal.wait_for("outer>")
        terminal.type(f"{shlex.join([*ARGV, 'shell', '--new', target])}\r")
        terminal.wait_for(GREETING)
        wait_prompt(terminal)
        terminal.type("echo kept\x1a")
        terminal.wait_until(lambda: terminal.text.endswith("\nouter>"), "the shell outside")
        terminal.type("stty -a | grep -o ' icanon'; fg\r")
        terminal.wait_until(lambda: terminal.text.endswith("# echo kept"), "what was typed")
        assert "\n icanon\n" in terminal.text
        terminal.press("enter")
        terminal.wait_for("\nkept\n")
        wait_prompt(terminal)


def test_a_nul_typed_into_a_program_that_reads_lines_is_no_fault(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        terminal.type("echo begun; read x; echo got:$x\r")
        terminal.wait_until(lambda: "\nbegun" in terminal.text, "the command runs")
        terminal.type("a\x00b\r")
        terminal.wait_for("got:ab")
        assert "Traceback" not in terminal.everything


# --- lines


def test_a_construct_goes_on_until_it_is_whole(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        for count, line in enumerate(("for i in 1 2", "do", "cat <<E", "item $i", "E"), start=1):
            terminal.type(line)
            terminal.press("enter")
            terminal.wait_for("\n>", count=count)  # several lines at once would be a paste
        assert "item 1\nitem 2" in run(terminal, "done", continued=True)


def test_alt_enter_begins_a_new_line(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        terminal.type("echo one")
        terminal.press("alt-enter")
        assert "one\ntwo" in run(terminal, "echo two", continued=True)


def test_a_paste_waits_for_enter_and_can_be_edited(target: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with repl(target, tmp_path) as terminal:
        terminal.paste(f"touch {mark}\necho first\r\necho second\n")
        terminal.wait_for("echo second")
        terminal.type(", edited\r")
        terminal.wait_for(f"Run 3 lines on {os.uname().nodename}?")
        assert not mark.exists()
        terminal.press("enter")
        terminal.wait_until(lambda: "\nfirst\nsecond, edited" in terminal.text, "they ran")
        assert mark.exists() and "Run 3 lines" not in terminal.text


@pytest.mark.slow
def test_a_line_of_300_kb_arrives_whole(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        terminal.paste("printf %s " + "x" * 300_000 + " | wc -c")
        terminal.wait_for("| wc -c")
        terminal.press("enter")
        terminal.wait_until(lambda: "\n300000" in terminal.text, "300000")


def test_bytes_that_are_not_ascii_arrive(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        assert "c3 bc e2 82 ac f0 9f 90 a7" in run(terminal, "printf 'ü€🐧' | od -An -tx1").replace("  ", " ")


# --- history


@pytest.mark.slow
def test_the_history_is_private_kept_and_found(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        run(terminal, "cd /tmp")
        run(terminal, "echo number one")
        run(terminal, "(exit 3)")
        run(terminal, " echo secret")
        terminal.type("exit 5\r")
        terminal.wait_end()
    path = tmp_path / "state" / "history.sqlite3"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with contextlib.closing(History(str(path))) as kept:
        entries = kept.entries()
    found = [(entry.text, entry.status, entry.directory) for entry in reversed(entries)]
    assert found[1:] == [("echo number one", 0, "/tmp"), ("(exit 3)", 3, "/tmp"), ("exit 5", 5, "/tmp")]
    assert found[0][:2] == ("cd /tmp", 0) and found[0][2] != "/tmp", "the directory before it ran"
    assert {entry.host for entry in entries} == {os.uname().nodename}
    assert all(time.time() - 60 < entry.started <= time.time() and 0 <= entry.duration < 60 for entry in entries)
    with repl(target, tmp_path) as terminal:
        terminal.press("up", "up", "up")
        terminal.wait_for("echo number one")
        terminal.press("enter")
        terminal.wait_until(lambda: "\nnumber one" in terminal.text, "it ran")


def test_a_history_that_can_not_be_used_is_told_once_and_going_up_works(target: str, tmp_path: Path) -> None:
    (tmp_path / "state" / "history.sqlite3").mkdir(parents=True, mode=0o700)
    (tmp_path / "state").chmod(0o700)
    with repl(target, tmp_path) as terminal:
        run(terminal, "echo one")
        terminal.wait_for("history.sqlite3: not a regular file; until you leave, lines are kept in memory")
        run(terminal, "echo two")
        terminal.press("up", "up")
        terminal.wait_for("echo one", count=2)
        assert terminal.everything.count("not a regular file") == 1


# --- how the shell ends


@pytest.mark.parametrize(
    ("lines", "status", "said"),
    [
        (["exit 3"], 3, None),
        (["false", "exit"], 1, None),
        (["logout 4 2>/dev/null || exit 4"], 4, None),
        (["kill -9 $$"], 137, "has ended with status 137"),
        (["set -e", "false"], 1, "has ended with status 1"),
        (["exec sh -c 'sleep 0.3; exit 6'"], 6, "was replaced by another program"),
    ],
)
@pytest.mark.slow
def test_when_the_shell_goes_the_repl_says_so_and_goes_with_its_status(
    lines: list[str], status: int, said: str | None, target: str, tmp_path: Path
) -> None:
    with repl(target, tmp_path) as terminal:
        for line in lines[:-1]:
            run(terminal, line)
        terminal.type(lines[-1] + "\r")
        assert terminal.wait_end() == status
        if said is not None:
            assert said in terminal.text
        else:
            assert terminal.text.endswith(lines[-1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_term_and_hup_leave_and_end_what_runs(number: int, target: str, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with repl(target, tmp_path) as terminal:
        terminal.type(f"sh -c 'echo $$ > {pid}; echo begun; exec sleep 1000'\r")
        terminal.wait_until(lambda: "\nbegun" in terminal.text, "the command runs")
        terminal.process.send_signal(number)
        assert terminal.wait_end() == -number
        terminal.wait_until(lambda: not _is_alive(int(pid.read_text())), "the command ended")


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


# --- the connection


def test_a_cut_is_mended_without_a_word(target: str, tmp_path: Path) -> None:
    with Proxy(target) as proxy, repl(proxy.target, tmp_path) as terminal:
        run(terminal, "x=1")
        proxy.cut()
        assert run(terminal, "echo $x more").strip().splitlines()[1:] == ["1 more"]
        assert "contact" not in terminal.everything


@pytest.mark.slow
def test_keys_and_ctrl_c_in_a_cut_that_nobody_notices_wait_for_its_end(target: str, tmp_path: Path) -> None:
    def cut(key: str) -> None:
        proxy.go_away()
        accepted = proxy.accepted
        terminal.wait_until(lambda: proxy.accepted > accepted, "an attempt")
        terminal.type(key)
        proxy.go_away(False)

    with Proxy(target) as proxy, repl_of(UNNOTICED, proxy.target, tmp_path) as terminal:
        terminal.type("stty -icanon -echo; echo ready; head -c 3 | od -An -tx1; stty sane\r")
        terminal.wait_until(lambda: "\nready" in terminal.text, "the command runs")
        for key in "abc":
            cut(key)
        terminal.wait_for("61 62 63")
        wait_prompt(terminal)
        assert b"\a" not in terminal.output
        terminal.type("echo begun; sleep 1000\r")
        terminal.wait_until(lambda: "\nbegun" in terminal.text, "the command runs")
        cut("\x03")
        terminal.wait_for("130")
        assert "contact" not in terminal.everything


@pytest.mark.slow
def test_keys_typed_in_a_cut_that_is_noticed_are_never_sent(target: str, tmp_path: Path) -> None:
    with Proxy(target) as proxy, repl(proxy.target, tmp_path) as terminal:
        terminal.type("stty raw -echo; echo ready; head -c 1 | od -An -tx1; stty sane\r")
        terminal.wait_until(lambda: "\nready" in terminal.text, "the command runs")
        proxy.go_away()
        accepted = proxy.accepted
        terminal.wait_until(lambda: proxy.accepted > accepted, "an attempt")
        terminal.type("a")
        terminal.wait_until(lambda: b"\a" in terminal.output, "bell")
        terminal.wait_for("no contact")
        terminal.type("b")
        terminal.wait_until(lambda: terminal.output.count(b"\a") == 2, "bell")
        proxy.go_away(False)
        while "63" not in terminal.text:
            rung = terminal.output.count(b"\a")
            terminal.type("c")
            terminal.wait_until(lambda: "63" in terminal.text or terminal.output.count(b"\a") > rung, "key")  # noqa: B023
        assert "61" not in terminal.text and "62" not in terminal.text


@pytest.mark.slow
def test_a_long_one_is_told_and_so_is_its_end(target: str, tmp_path: Path) -> None:
    with Proxy(target) as proxy, repl(proxy.target, tmp_path) as terminal:
        run(terminal, "x=1")
        proxy.go_away()
        terminal.wait_for("the server keeps the session for")
        proxy.go_away(False)
        terminal.wait_for("same session resumed after")
        terminal.wait_for("same directory")
        assert run(terminal, "echo $x more").strip().splitlines()[1:] == ["1 more"]


@pytest.mark.slow
def test_a_line_after_a_session_was_lost_during_a_command_is_run(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/own"
    tmp_path.chmod(0o700)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(testing.server((address,)))
        terminal = stack.enter_context(repl(address, tmp_path))
        terminal.type("echo begun; sleep 1000\r")
        terminal.wait_until(lambda: "\nbegun" in terminal.text, "the command runs")
        first.process.kill()
        first.process.wait()
        stack.enter_context(testing.server((address,)))
        terminal.wait_for("is back with a new session")
        assert "once" in run(terminal, "echo once")


def test_a_line_that_can_not_be_sent_costs_neither_the_shell_nor_the_repl(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        run(terminal, "x=5")
        terminal.type("echo a\x11\x00b\r")  # Ctrl-Q takes the next key as it is
        terminal.wait_for("the line did not run")
        assert "x is 5" in run(terminal, "echo x is $x")


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_told_apart_and_given_up_for_the_same_session(
    target: str, tmp_path: Path
) -> None:
    """The link stands and carries nothing, as when a cable is pulled: TCP would say nothing for a quarter of an hour."""
    with Proxy(target) as proxy, repl(proxy.target, tmp_path) as terminal:
        run(terminal, "x=1; cd /usr")
        proxy.stall()
        terminal.type("echo $x more\r")
        terminal.wait_for("no answer from")
        proxy.cut()  # the old connection never speaks again
        proxy.stall(False)
        terminal.wait_for("same session resumed after")
        terminal.wait_for("\n1 more")
        proxy.stall()
        terminal.type("echo $x again\r")
        terminal.wait_for("no answer from", count=2)
        proxy.stall(False)
        terminal.wait_for("answers again")
        terminal.wait_for("\n1 again")


@pytest.mark.slow
def test_ctrl_c_twice_leaves_a_command_that_can_not_be_reached(tmp_path: Path) -> None:
    # A server of its own: what is left there would be offered to whoever comes next.
    with testing.server(("unix:",)) as own, Proxy(str(own)) as proxy, repl(proxy.target, tmp_path) as terminal:
        terminal.type("echo begun; sleep 1000\r")
        terminal.wait_until(lambda: "\nbegun" in terminal.text, "the command runs")
        proxy.go_away()
        terminal.wait_for("the server keeps the session")
        terminal.press("ctrl-c")
        terminal.wait_for("goes on there; Ctrl-C once more stops waiting and leaves it")
        terminal.press("ctrl-c")
        assert terminal.wait_end() == 125
        assert "left without ending `echo begun; sleep 1000`" in " ".join(terminal.text.split())


@pytest.mark.slow
def test_after_a_restart_of_the_server_there_is_a_new_shell_and_the_line_is_kept(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/own"
    tmp_path.chmod(0o700)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(testing.server((address,)))
        terminal = stack.enter_context(repl(address, tmp_path))
        run(terminal, "x=1; cd /usr")
        terminal.type("echo x is ${x-")
        terminal.wait_for("echo x is")
        first.process.kill()
        first.process.wait()
        stack.enter_context(testing.server((address,)))
        terminal.wait_for("is back with a new session")
        terminal.wait_until(
            lambda: re.search(r"~ [#$] echo x is", terminal.text) is not None, "the line in a new shell"
        )
        assert "x is unset" in run(terminal, "unset}", continued=True)
        terminal.press("ctrl-d")
        assert terminal.wait_end() == 0


@pytest.mark.slow
def test_a_server_that_ends_mid_command_is_told_and_125(tmp_path: Path) -> None:
    with testing.server(("unix:",), config="grace = 0.5\n") as server, repl(str(server), tmp_path) as terminal:
        terminal.type("echo begun; exec 9>&-; sleep 3\r")
        terminal.wait_until(lambda: "\nbegun" in terminal.text, "the command runs")
        server.process.kill()
        assert terminal.wait_end() == 125
        assert "lost" in terminal.text and "Traceback" not in terminal.text


@pytest.mark.slow
def test_a_server_that_shuts_down_ends_the_repl_with_a_line(tmp_path: Path) -> None:
    with testing.server(("unix:",)) as server, repl(str(server), tmp_path) as terminal:
        server.process.terminate()
        assert terminal.wait_end() == 125
        assert "shuts down" in terminal.text


def test_stdout_may_be_a_file_the_prompt_stays_on_the_terminal(target: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    line = f'exec "$@" > {kept}'
    with Terminal(["sh", "-c", line, "sh", *ARGV, "shell", target], environment=environment(tmp_path)) as terminal:
        terminal.wait_for(GREETING)
        terminal.type("echo for the file; echo for me >&2\r")
        terminal.wait_until(lambda: "\nfor me" in terminal.text, "stderr")
        wait_prompt(terminal)
        terminal.press("ctrl-d")
        assert terminal.wait_end() == 0
    assert kept.read_bytes() == b"for the file\n"


def test_everything_is_given_back_to_the_terminal(target: str, tmp_path: Path) -> None:
    with Terminal(["sh"], environment={**environment(tmp_path), "PS1": "outer$ "}) as terminal:
        terminal.type(f"stty -a > {tmp_path}/before\r")
        terminal.type(f"{shlex.join(ARGV)} shell {target}\r")
        terminal.wait_for(GREETING)
        terminal.type("echo in there\r")
        terminal.wait_until(lambda: "\nin there" in terminal.text, "the command ran")
        wait_prompt(terminal)
        terminal.press("ctrl-d")
        terminal.wait_until(lambda: terminal.text.endswith("\nouter$"), "the outer prompt")
        terminal.type(f"stty -a > {tmp_path}/after; echo back again\r")
        terminal.wait_until(lambda: "\nback again" in terminal.text, "the outer shell")
    assert (tmp_path / "before").read_text() == (tmp_path / "after").read_text()
    assert os.path.exists(tmp_path / "state" / "history.sqlite3")
