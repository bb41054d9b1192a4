"""Questions to the person at the terminal, and what `run` tells one: on a real pty, with stdin and stdout elsewhere."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest

from remote_shell import testing
from tests.cli.program import ARGV, environment
from tests.proxy import Proxy
from tests.terminal import Terminal

pytestmark = pytest.mark.screen

QUESTION = "Trust it from now on?"


def words(running: testing.RunningServer) -> list[str]:
    """`run` by the test's key, and nothing known of the server; stdin and stdout are no terminals."""
    line = 'echo input | "$@" | sed "s/^/piped: /"'
    return ["sh", "-c", line, "sh", *ARGV, "run", "--identity", running.identity, running.targets["tls"], "cat"]


def test_an_unknown_server_is_asked_about_and_then_known(running: testing.RunningServer, tmp_path: Path) -> None:
    with Terminal(words(running), environment=environment(tmp_path), columns=150) as terminal:
        screen = terminal.wait_for(QUESTION)
        assert str(running.fingerprint) in screen
        terminal.type("y\r")
        terminal.wait_for("Please type yes or no:")
        terminal.type("yes\r")
        terminal.wait_for("piped: input")
        terminal.wait_end()
    address = running.targets["tls"].partition(":")[2]
    assert (tmp_path / "known_hosts").read_text() == f"{address} {running.fingerprint}\n"
    with Terminal(words(running), environment=environment(tmp_path), columns=150) as terminal:
        terminal.wait_for("piped: input")
        assert QUESTION not in terminal.text


@pytest.mark.parametrize("answer", ["no\r", "\x04"])
def test_no_is_no(answer: str, running: testing.RunningServer, tmp_path: Path) -> None:
    with Terminal(words(running), environment=environment(tmp_path), columns=250) as terminal:
        terminal.wait_for(QUESTION)
        terminal.type(answer)
        terminal.wait_for("was not confirmed")
        terminal.wait_end()
        assert "piped" not in terminal.text
    assert not (tmp_path / "known_hosts").exists()


@pytest.mark.parametrize("command", ["run", "shell"])
def test_ctrl_c_at_the_question_leaves_in_silence(command: str, running: testing.RunningServer, tmp_path: Path) -> None:
    words = ["true"] if command == "run" else []
    argv = [*ARGV, command, "--identity", running.identity, running.targets["tls"], *words]
    with Terminal(argv, environment=environment(tmp_path), columns=150) as terminal:
        terminal.wait_for(QUESTION)
        terminal.press("ctrl-c")
        assert terminal.wait_end() == 130
        assert "Traceback" not in terminal.text
    assert not (tmp_path / "known_hosts").exists()


@pytest.mark.parametrize(("typed", "status"), [("right", 0), ("wrong", 125)])
@pytest.mark.slow
def test_a_passphrase_is_asked_for_unseen(
    typed: str, status: int, running: testing.RunningServer, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    shutil.copy(running.identity, key)
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "", "-N", "right", "-f", key], check=True, stdout=subprocess.DEVNULL
    )
    argv = [
        *ARGV,
        "run",
        "--identity",
        str(key),
        "--fingerprint",
        str(running.fingerprint),
        running.targets["tls"],
        "true",
    ]
    with Terminal(argv, environment=environment(tmp_path), columns=250) as terminal:
        for number in range(1 if typed == "right" else 3):
            terminal.wait_for(f"Passphrase for {key}:", count=number + 1)
            terminal.type(f"{typed}\r")
        assert terminal.wait_end() == status
        assert typed not in terminal.text.replace("no right passphrase", "")


@pytest.mark.slow
def test_a_lost_link_is_told_on_a_terminal_and_so_is_its_return(target: str, tmp_path: Path) -> None:
    with Proxy(target) as proxy:
        argv = [*ARGV, "run", proxy.target, "sh", "-c", "echo up; read x; echo got $x"]
        with Terminal(argv, environment=environment(tmp_path), columns=150) as terminal:
            terminal.wait_for("up")
            proxy.go_away()
            terminal.wait_for(f"no contact with {proxy.target} for 3.0 s: ")
            proxy.go_away(False)
            terminal.wait_for("nothing is lost")
            terminal.type("it\r")
            terminal.wait_for("got it")
            assert terminal.wait_end() == 0


@pytest.mark.slow
def test_ctrl_c_twice_leaves_a_command_that_can_not_be_reached(target: str, tmp_path: Path) -> None:
    with Proxy(target) as proxy:
        with Terminal(
            [*ARGV, "run", proxy.target, "sh", "-c", "echo up; sleep 1000"],
            environment=environment(tmp_path),
            columns=150,
        ) as terminal:
            terminal.wait_for("up")
            proxy.go_away()
            terminal.wait_for("the server keeps the session")
            terminal.press("ctrl-c")
            terminal.wait_for("^C")
            for _ in range(10):  # two at once are one, since signals do not queue: then it takes another
                terminal.press("ctrl-c")
                with contextlib.suppress(AssertionError):
                    terminal.wait_end(deadline=2)
                    break
            assert terminal.wait_end() == 130
            assert "grace is over" in terminal.text
