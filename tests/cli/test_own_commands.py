"""The REPL's own commands as a person meets them: a real program on a real pty."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from remote_shell import testing
from tests.cli.program import ARGV, environment
from tests.cli.test_repl import GREETING, repl, run, wait_prompt
from tests.proxy import Proxy
from tests.terminal import Terminal

pytestmark = pytest.mark.screen


def lines(terminal: Terminal, line: str) -> list[str]:
    """What a line showed below itself."""
    return [text for text in run(terminal, line).splitlines()[1:] if text]


def in_background(terminal: Terminal, gate: Path, *, number: int, before: str = "") -> None:
    """Start one that ends when `gate` appears."""
    shown = lines(terminal, f":bg {before}until test -e {gate}; do sleep 0.01; done; echo through; exit 3")
    assert shown[0].startswith(f"[{number}] ")


# --- files


def test_put_and_get(target: str, tmp_path: Path) -> None:
    """From our directory to the shell's and back; a wrong one is told."""
    (tmp_path / "a b").write_bytes(b"content")
    (tmp_path / "there").mkdir()
    with repl(target, tmp_path) as terminal:
        run(terminal, f"cd {tmp_path}/there")
        assert lines(terminal, f":put '{tmp_path}/a b' .") == ["1 file, 7 B"]
        assert (tmp_path / "there" / "a b").read_bytes() == b"content"
        assert lines(terminal, f":get 'a b' {tmp_path}/back") == ["1 file, 7 B"]
        assert (tmp_path / "back").read_bytes() == b"content"
        assert lines(terminal, ":put x") == [":put [-r] SOURCE… TO", "✗ 2"]
        shown = lines(terminal, f":get -r none {tmp_path}")
        assert "none: No such file or directory" in " ".join(shown) and shown[-1] == "✗ 1"


# --- what is wrong, and help


def test_what_can_not_start_beside_the_shell_says_why(target: str, tmp_path: Path) -> None:
    """In our words, which say what to do, and not as "[Errno 2]"."""
    (tmp_path / "gone").mkdir()
    with repl(target, tmp_path) as terminal:
        run(terminal, f"cd {tmp_path}/gone && rmdir {tmp_path}/gone")
        shown = lines(terminal, ":bg true")
        assert "cannot enter the directory" in shown[0] and "Errno" not in " ".join(shown)


def test_a_wrong_one_is_told_and_never_sent(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        assert lines(terminal, ":jbos") == ["no command :jbos; did you mean :jobs?", "✗ 2"]
        assert lines(terminal, ":zzz") == ["no command :zzz; :help lists them", "✗ 2"]
        assert lines(terminal, ":jobs") == ["nothing ran yet"]
        terminal.press("ctrl-d")
        assert terminal.wait_end() == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (":kill", ":kill N [SIGNAL]"),
        (":kill 7", "no command 7; :jobs lists them"),
        (":out x", "no command x; :jobs lists them"),
        (":out", "no command to speak of; :jobs lists them"),
        (":last", "nothing ran yet"),
        (":bg", ":bg needs a line to run"),
        (":hist --fail", ":hist knows --failed and --here, not --fail"),
        (":help nothing", "no help on nothing; :help lists the topics"),
        (":jobs x", ":jobs takes nothing, or: all"),
    ],
)
@pytest.mark.slow
def test_what_can_not_be_done_is_told(line: str, said: str, target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        assert lines(terminal, line) == [said, "✗ 2"]


def test_help_is_a_screenful_and_whole_at_once(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        shown = lines(terminal, "?")
        assert shown == lines(terminal, ":help") and len(shown) < 20 and max(map(len, shown)) <= 82
        assert any(":bg LINE" in line for line in shown) and any("Ctrl-D" in line for line in shown)
        assert "Ctrl-C detaches" in "\n".join(lines(terminal, ":help bg"))
        assert lines(terminal, ":help don't")[0].startswith("no help on"), "an open quote is none of ours"


def test_what_bash_means_by_a_colon_it_still_means(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        assert lines(terminal, ": ${x:=kept}; echo $x") == ["kept"]
        assert lines(terminal, "::none") == ["bash: :none: command not found", "✗ 127"]


def test_another_prefix(target: str, tmp_path: Path) -> None:
    with Terminal(
        [*ARGV, "shell", "--prefix", ",", target], environment=environment(tmp_path), columns=200
    ) as terminal:
        terminal.wait_for(GREETING)
        wait_prompt(terminal)
        assert lines(terminal, ",jobs") == ["nothing ran yet"]
        assert "command not found" in lines(terminal, ":jobs")[0]


def test_going_up_finds_ours_and_the_history_does_not(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        run(terminal, ":jobs all")
        terminal.press("up")
        terminal.wait_for(":jobs all", count=2)
        terminal.press("ctrl-c")
        wait_prompt(terminal)
        assert lines(terminal, ":hist") == ["nothing found"]


# --- commands are objects


def test_each_command_has_a_number_an_end_and_its_output(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        run(terminal, "cd /usr")
        run(terminal, "printf 'a\\nb'; false | true | (exit 3)")
        shown = "\n".join(lines(terminal, ":last"))
        for part in (
            "[2] printf",
            "in        /usr",
            "ended     ✗ 3",
            "pipeline  1 | 0 | 3",
            "wrote     4 bytes  (:out 2)",
        ):
            assert part in shown
        assert lines(terminal, ":out 2") == ["a", "b⏎"]
        run(terminal, "kill -TERM $BASHPID | cat; (kill -9 $BASHPID)")
        listed = lines(terminal, ":jobs")
        assert [line.split()[0] for line in listed] == ["[3]", "[2]", "[1]"]
        assert re.fullmatch(r" *\[1\] ✓ +0\.\ds  cd /usr  \(~\)", listed[2])


def test_what_is_no_longer_kept_is_said(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        run(terminal, r"head -c 300000 /dev/zero | tr '\0' '\r'; echo; echo the end")  # what takes a screen no time
        shown = lines(terminal, ":out")
        assert shown[0] == "the first 37 KiB are not kept any more" and shown[-1] == "the end"


def test_the_history_by_place_and_failure_and_words(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        for line in ("echo make one", "cd /usr", "(exit 4) # make", "true"):
            run(terminal, line)

        def found(line: str) -> list[str]:
            return [re.split(r"  +", text)[-2] for text in lines(terminal, line)]

        assert found(":hist") == ["echo make one", "cd /usr", "(exit 4) # make", "true"]
        assert found(":hist --failed") == ["(exit 4) # make"]
        assert found(":hist --here") == ["(exit 4) # make", "true"]
        assert found(":hist make") == ["echo make one", "(exit 4) # make"]
        assert found(":hist --failed mk") == ["(exit 4) # make"]


# --- in the background


def test_one_beside_the_shell_tells_its_end_and_leaves_the_line_alone(target: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with repl(target, tmp_path) as terminal:
        run(terminal, "cd /usr; x=of the shell")
        in_background(terminal, gate, number=2, before="pwd; ")
        assert re.search(r"\[2\] runs .* & pwd; until.*\(/usr\)$", lines(terminal, ":jobs")[0])
        terminal.type("echo half")
        terminal.wait_for("echo half")
        gate.touch()
        terminal.wait_until(lambda: re.search(r"\[2\] ✗ 3 \d+\.\ds pwd; until", terminal.text) is not None, "its end")
        terminal.wait_until(lambda: terminal.text.endswith("echo half"), "the line again")
        assert "half typed" in run(terminal, " typed", continued=True)
        assert lines(terminal, ":out 2") == ["/usr", "through"]
        assert "\a" in terminal.output.decode()
        assert re.search(r"✗ 3 .*pwd; until", "\n".join(lines(terminal, ":hist")))


def test_its_end_waits_until_the_command_in_the_foreground_is_over(target: str, tmp_path: Path) -> None:
    gate, ended = tmp_path / "gate", tmp_path / "ended"
    with repl(target, tmp_path) as terminal:
        run(terminal, f":bg until test -e {gate}; do sleep 0.01; done; touch {ended}")
        shown = run(terminal, f"touch {gate}; until test -e {ended}; do sleep 0.01; done; sleep 0.2; echo mine")
        mine = [line for line in shown.splitlines() if line]
        assert mine[-2] == "mine" and mine[-1].startswith("[1] ✓ ")


def test_attach_shows_all_and_ctrl_c_leaves_it_running(target: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with repl(target, tmp_path) as terminal:
        in_background(terminal, gate, number=1, before="echo earlier; ")
        terminal.type(":attach 1\r")
        terminal.wait_for("\nearlier")
        terminal.press("ctrl-c")
        terminal.wait_for("detached: [1] goes on")
        wait_prompt(terminal)
        assert " runs " in lines(terminal, ":jobs")[0]
        terminal.type(":attach\r")
        terminal.wait_for("\nearlier", count=2)
        gate.touch()
        terminal.wait_for("\nthrough")
        terminal.wait_for("[1] ✗ 3")
        wait_prompt(terminal)
        assert lines(terminal, ":attach 1")[:2] == ["earlier", "through"]


def test_wait_has_its_status_and_ctrl_c_leaves_it_running(target: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with repl(target, tmp_path) as terminal:
        assert lines(terminal, ":wait") == ["nothing runs in the background"]
        in_background(terminal, gate, number=1)
        terminal.type(":wait\r")
        terminal.wait_for("waiting for [1]")
        terminal.press("ctrl-c")
        terminal.wait_for("no longer waiting: [1] goes on")
        wait_prompt(terminal)
        terminal.type(":wait 1\r")
        terminal.wait_for("waiting for [1]", count=2)  # its end, told above the prompt, would pass for the line's own
        gate.touch()
        terminal.wait_for("[1] ✗ 3")
        wait_prompt(terminal)
        terminal.press("ctrl-d")
        assert terminal.wait_end() == 3


def test_kill_sends_the_signal_that_is_named(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        run(terminal, ":bg trap 'echo got it; exit 5' USR1; while :; do sleep 0.01; done")
        run(terminal, ":bg sleep 1000")
        terminal.wait_for(":bg sleep")
        assert lines(terminal, ":kill 1 wrong") == ["wrong is no signal", "✗ 2"]
        terminal.type(":kill 2\r")
        terminal.wait_for("[2] ✗ SIGTERM")
        wait_prompt(terminal)
        terminal.type(":kill 1 usr1\r")
        terminal.wait_for("[1] ✗ 5")
        wait_prompt(terminal)
        assert lines(terminal, ":out 1")[-1] == "got it"
        assert lines(terminal, ":kill 1") == ["[1] has ended", "✗ 2"]


def test_what_survives_with_its_pipe_does_not_hold_up_the_end(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        run(terminal, ":bg sleep 5 & echo left it")
        terminal.wait_for("[1] ✓ ", deadline=3)
        wait_prompt(terminal)
        assert lines(terminal, ":out 1") == ["left it"]


def test_more_lines_than_one_are_no_own_command(target: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with repl(target, tmp_path) as terminal:
        terminal.paste(f":jobs\ntouch {mark}")
        terminal.wait_for("touch")
        terminal.press("enter", "enter")
        terminal.wait_for(":jobs takes one line")
        terminal.wait_for("✗ 2")
        wait_prompt(terminal)
        terminal.paste(":bg echo one\necho two")
        terminal.wait_for("echo two")
        terminal.press("enter", "enter")
        terminal.wait_for("[1] ✓")
        wait_prompt(terminal)
        assert lines(terminal, ":out 1") == ["one", "two"] and not mark.exists()


# --- leaving


def test_term_while_attached_ends_it_and_does_not_say_that_it_goes_on(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        run(terminal, ":bg echo begun; sleep 1000")
        terminal.type(":attach\r")
        terminal.wait_for("\nbegun")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.wait_end() == -signal.SIGTERM
        assert "goes on" not in terminal.text


@pytest.mark.parametrize("leave", ["\x04", "exit\r", ":quit\r"])
def test_leaving_asks_once_if_something_runs(leave: str, target: str, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with repl(target, tmp_path) as terminal:
        run(terminal, f":bg echo $$ > {pid}; exec sleep 1000")
        terminal.type(leave)
        terminal.wait_for("still in the background: [1] echo $$")
        wait_prompt(terminal)
        run(terminal, "true")
        terminal.type(leave)
        terminal.wait_for("Ctrl-D again leaves and ends it", count=2)
        wait_prompt(terminal)
        terminal.press("ctrl-d")
        assert terminal.wait_end() == 0
        number = int(pid.read_text())
        terminal.wait_until(lambda: not Path(f"/proc/{number}").exists(), "the end of it")


def test_quit_leaves_with_the_last_status(target: str, tmp_path: Path) -> None:
    with repl(target, tmp_path) as terminal:
        run(terminal, "(exit 7)")
        terminal.type(":quit\r")
        assert terminal.wait_end() == 7


# --- the connection


def test_info_tells_who_where_and_how_far(running: testing.RunningServer, tmp_path: Path) -> None:
    target = running.targets["unix"]
    with repl(target, tmp_path) as terminal:
        told = dict(line.split(None, 1) for line in lines(terminal, ":info"))
        assert told["way"].startswith("Unix socket: not encrypted") and told["history"].endswith("history.sqlite3")
        pid = lines(terminal, "echo $$")[0]
        assert told["shell"].startswith(f"pid {pid}, in /")
        assert told["if"] == "lost    the session is kept for 600 s, then what runs is ended"
        assert told["session"].startswith("for ") and "resumed" not in told["session"]
        assert re.fullmatch(r"\d+\.\d ms", told["trip"]) and told["target"] == target
        assert "remote" in told["server"] and told["connected"].startswith("for ")


def test_reconnect_keeps_the_shell_and_what_runs(target: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with Proxy(target) as proxy, repl(proxy.target, tmp_path) as terminal:
        run(terminal, "x=kept; cd /usr")
        in_background(terminal, gate, number=2)
        assert lines(terminal, ":reconnect") == ["reconnected: the same session"]
        assert lines(terminal, "echo $x $PWD") == ["kept /usr"]
        assert re.search(r"session    for .*s, resumed once", "\n".join(lines(terminal, ":info")))
        gate.touch()
        terminal.wait_for("[2] ✗ 3")


@pytest.mark.slow
def test_reconnecting_can_be_given_up(target: str, tmp_path: Path) -> None:
    with Proxy(target) as proxy, repl(proxy.target, tmp_path) as terminal:
        run(terminal, "x=kept")
        proxy.go_away()
        terminal.type(":reconnect\r")
        terminal.wait_for("the server keeps the session")
        terminal.press("ctrl-c")
        terminal.wait_for("no longer waiting; it goes on trying")
        proxy.go_away(False)
        wait_prompt(terminal)
        assert lines(terminal, "echo $x")[-1] == "kept"


# --- plain


def test_plain_has_words_and_nothing_else(target: str, tmp_path: Path) -> None:
    words = environment(tmp_path, {"REMOTE_SHELL_TOOLBAR": "1"})
    with Terminal([*ARGV, "shell", "--plain", target], environment=words, columns=200) as terminal:
        terminal.wait_for(GREETING)
        wait_prompt(terminal)
        assert lines(terminal, "printf abc; (exit 3)") == ["abc", "failed with 3"]
        assert lines(terminal, "(kill -9 $BASHPID)")[-1] == "failed with 137"
        terminal.type("pri")
        terminal.wait_until(lambda: re.search("[#$] pri", terminal.text.splitlines()[-1]) is not None, "what was typed")
        assert not re.search(rb"\x1b\[[0-9;]*[1-9][0-9;]*m", terminal.output.replace(b"\x1b[0m", b"")), "an attribute"
        assert terminal.text.endswith("pri"), "no suggestion, and no toolbar below"
        assert not set("✗✓⏎…") & set(terminal.everything)


def test_nothing_of_it_is_imported_before_it_is_needed() -> None:
    late = {f"remote_shell.cli.{name}" for name in ("own_commands", "own_info", "own_completing", "background")}
    code = f"import sys, remote_shell.cli.repl, remote_shell.cli.editor; print(sorted({late} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_what_runs_when_the_server_is_started_anew_is_told_as_lost(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/own"
    tmp_path.chmod(0o700)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(testing.server((address,)))
        terminal = stack.enter_context(repl(address, tmp_path))
        run(terminal, ":bg sleep 20")  # nobody ends it: its server is killed
        first.process.kill()
        first.process.wait()
        stack.enter_context(testing.server((address,)))
        terminal.wait_for("with a new session")
        terminal.wait_for("[1] lost")
        wait_prompt(terminal)
        assert "the server was started anew" in "\n".join(lines(terminal, ":last"))
        assert lines(terminal, ":bg echo again")[0].startswith("[2] ")
        terminal.wait_for("[2] ✓")
