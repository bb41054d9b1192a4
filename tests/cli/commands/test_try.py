"""`try`: server and client together, and both gone afterwards, however it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.program import ARGV, WITHIN, call, environment, one_line
from tests.server.raw_client import living
from tests.terminal import Terminal

pytestmark = pytest.mark.screen


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def folder_of(pid: int) -> list[str]:
    """The folder of the trial whose client is process `pid`, while there is one."""
    return [name for name in os.listdir("/tmp") if name.startswith(f"remote-shell-try-{pid}-")]


def test_one_command_with_its_streams_and_status(tmp_path: Path) -> None:
    done = call("try", "--", "sh", "-c", "cat; echo err >&2; exit 7", home=tmp_path, input=b"in")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"in", b"err\n")
    assert call("try", "uname", home=tmp_path).stdout == b"Linux\n"


@pytest.mark.parametrize(("word", "status"), [("no-such-program", 127), ("/etc/passwd", 126)])
def test_the_exit_statuses_are_those_of_run(word: str, status: int, tmp_path: Path) -> None:
    done = call("try", "--", word, home=tmp_path)
    assert done.returncode == status and word in one_line(done.stderr)


def test_a_script_on_stdin(tmp_path: Path) -> None:
    done = call("try", home=tmp_path, input=b"x=2\necho $x\nexit 3\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"2\n", b"")


def test_an_option_that_it_does_not_have(tmp_path: Path) -> None:
    done = call("try", "--frob", home=tmp_path)
    assert done.returncode == 2 and "--frob" in one_line(done.stderr)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.slow
def test_nothing_is_left_however_it_ends(number: int, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with subprocess.Popen(
        [*ARGV, "try", "--", "sh", "-c", f"echo $$ > {pid}; echo up; exec sleep 1000"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environment(tmp_path),
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        assert len(folder_of(process.pid)) == 1
        process.send_signal(number)
        assert process.wait(WITHIN) == (-number if number == signal.SIGKILL else 128 + number)
        wait_until(lambda: not folder_of(process.pid), "the folder is gone")
        wait_until(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists(), "the command is gone")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_when_it_ends_before_it_began(number: int, tmp_path: Path) -> None:
    with subprocess.Popen([*ARGV, "try", "true"], stdin=subprocess.DEVNULL, env=environment(tmp_path)) as process:
        wait_until(lambda: bool(folder_of(process.pid)) or process.poll() is not None, "the folder is there")
        process.send_signal(number)
        process.wait(WITHIN)
        wait_until(lambda: not folder_of(process.pid), "the folder is gone")


def test_nobody_else_can_enter(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*ARGV, "try", "--", "sh", "-c", "echo up; read x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(tmp_path),
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        (name,) = folder_of(process.pid)
        assert os.stat(f"/tmp/{name}").st_mode & 0o777 == 0o700
        process.stdin.close()
        process.wait(WITHIN)


@pytest.mark.parametrize(
    "line",
    [
        "trap '' HUP TERM; sleep {nap} >/dev/null 2>&1 &",
        "setsid sh -c '(sleep {nap} &) & sleep {nap}' >/dev/null 2>&1 &",
    ],
)
def test_what_a_command_left_behind_goes_with_the_server(line: str, tmp_path: Path) -> None:
    """Elsewhere daemons stay; here nobody could ever come back to them."""
    nap = f"1000.{time.monotonic_ns()}"
    done = call("try", "--", "sh", "-c", line.format(nap=nap), home=tmp_path)
    assert not done.stderr and not living(nap)


@pytest.mark.slow
def test_what_the_repl_left_running_goes_with_the_server(tmp_path: Path) -> None:
    nap = f"1000.{time.monotonic_ns()}"
    for leave in ("\x04", "exit\r"):
        with Terminal([*ARGV, "try", "--noprofile"], environment=environment(tmp_path)) as terminal:
            terminal.wait_until(lambda: terminal.text.rstrip().endswith(("#", "$")), "the prompt")
            terminal.type(f'trap "" HUP; nohup sleep {nap} >/dev/null 2>&1 & echo $((6 * 7))\r')
            terminal.wait_until(lambda: "\n42" in terminal.text, "the answer")
            terminal.wait_until(lambda: terminal.text.rstrip().endswith(("#", "$")), "the next prompt")
            assert living(nap)
            terminal.type(leave)
            assert terminal.wait_end() == 0
            assert not living(nap)


def test_a_server_that_can_not_start_says_why(tmp_path: Path) -> None:
    # a module of ours that fails to load stands for whatever may be broken
    broken = tmp_path / "sitecustomize.py"
    broken.write_text("import sys; sys.modules['remote_shell.server.server'] = None\n")
    done = call("try", "true", home=tmp_path, env={"PYTHONPATH": f"{tmp_path}:{os.getcwd()}"})
    assert done.returncode == 125
    assert "did not start" in one_line(done.stderr) and "remote_shell.server.server" in one_line(done.stderr)


@pytest.mark.slow
def test_the_repl_opens_on_a_terminal_and_everything_goes_with_it(tmp_path: Path) -> None:
    with Terminal([*ARGV, "try", "--noprofile"], environment=environment(tmp_path)) as terminal:
        terminal.wait_for("runs for you alone")
        terminal.wait_for("Ctrl-D leaves.")
        assert len(folder_of(terminal.process.pid)) == 1
        terminal.type("x=5; echo $((x + 1))\r")
        terminal.wait_until(lambda: "\n6" in terminal.text, "the answer")
        terminal.type("exit 3\r")
        assert terminal.wait_end() == 3
        assert not folder_of(terminal.process.pid), "the folder is gone before the prompt of the outer shell is back"


@pytest.mark.slow
def test_its_shell_can_not_be_left(tmp_path: Path) -> None:
    """The server goes with its client: `:detach` must not promise a shell that nobody could come back to."""
    with Terminal([*ARGV, "try", "--noprofile"], environment=environment(tmp_path)) as terminal:
        terminal.wait_until(lambda: terminal.text.rstrip().endswith(("#", "$")), "the prompt")
        terminal.type(":detach\r")
        terminal.wait_for("gone when you leave, and so is its shell")
        terminal.wait_until(lambda: terminal.text.rstrip().endswith(("#", "$")), "the next prompt")
        terminal.type("exit 3\r")
        assert terminal.wait_end() == 3
        assert "detached" not in terminal.text
