"""`run` and `shell` through ssh, at a terminal: what ssh asks, whom Ctrl-C means, what is said of the way, what a killed ssh costs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.person import wait_dead
from tests.cli.program import ARGV, WITHIN, call, environment, one_line
from tests.cli.test_repl import repl, run
from tests.fake_ssh import FakeSsh, on_path
from tests.terminal import Terminal

pytestmark = pytest.mark.screen  # whole programs, or ssh, for nearly each test

# What ssh does for a password: on the terminal, unseen, and again when it is wrong; TERM gives the echo back.
ASKS = r"""
exec 3<>/dev/tty
trap 'stty echo <&3; kill -9 $$' TERM
stty -echo <&3
printf "$host password: " >&3
while read answer <&3; do
    echo >&3
    [ "$answer" = secret ] && break
    echo 'Permission denied, please try again.' >&2
    printf "$host password: " >&3
done
stty echo <&3
trap - TERM
exec 3>&-
"""


@pytest.fixture
def ssh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeSsh]:
    (tmp_path / "ssh").mkdir()
    (tmp_path / "here").mkdir()
    fake = on_path(monkeypatch, tmp_path / "ssh")
    fake.server_home.mkdir(mode=0o700)
    (fake.server_home / "server.toml").write_text("startup_files = false\n")
    yield fake
    fake.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "here"


def kill_ssh(ssh: FakeSsh) -> None:
    os.kill(int(ssh.calls[-1][0]), signal.SIGKILL)


def test_run(ssh: FakeSsh, home: Path) -> None:
    done = call("run", "ssh:box", "--", "sh", "-c", "cat; exit 3", home=home, input=b"\0bytes\xff")
    assert (done.stdout, done.stderr, done.returncode) == (b"\0bytes\xff", b"", 3)
    assert "BatchMode=yes" in ssh.calls[0]  # no terminal, so nobody is asked


def test_a_fault_is_one_line_and_125(ssh: FakeSsh, home: Path) -> None:
    ssh.uninstall()
    done = call("run", "ssh:box", "true", home=home)
    assert done.returncode == 125 and "not installed there" in one_line(done.stderr)


@pytest.mark.parametrize(
    "options", [["--fingerprint", "SHA256:" + "A" * 43], ["--known-hosts", "x"], ["--secret-file", "x"]]
)
def test_options_that_ssh_makes_needless(ssh: FakeSsh, home: Path, options: list[str]) -> None:
    done = call("run", *options, "ssh:box", "true", home=home)
    assert done.returncode == 125 and f"leave {options[0]} " in one_line(done.stderr)


def test_an_identity_is_for_ssh(ssh: FakeSsh, home: Path) -> None:
    assert call("run", "--identity", "/some/key", "ssh:box", "true", home=home).returncode == 0
    assert "-i /some/key -o IdentitiesOnly=yes" in " ".join(ssh.calls[0])


def test_jobs_outlive_the_ssh_that_started_them(ssh: FakeSsh, home: Path) -> None:
    job = call("run", "--detach", "ssh:box", "--", "echo", "done there", home=home).stdout.decode().strip()
    assert call("wait", "ssh:box", job, home=home).returncode == 0
    assert call("logs", "ssh:box", job, home=home).stdout == b"done there\n"
    assert call("rm", "ssh:box", job, home=home).returncode == 0


def asked(home: Path, *words: str) -> Terminal:
    """A program at a terminal, while its stdin and stdout are elsewhere, as in a pipeline."""
    line = 'echo input | "$@" | sed "s/^/piped: /"'
    return Terminal(["sh", "-c", line, "sh", *ARGV, *words], environment=environment(home), columns=150)


@pytest.mark.screen
def test_ssh_asks_on_the_terminal_and_says_when_it_was_wrong(ssh: FakeSsh, home: Path) -> None:
    ssh.manner(ASKS)
    with asked(home, "run", "--connect-timeout", "0.5", "ssh:box", "cat") as terminal:
        terminal.wait_for("box password:")
        terminal.type("wrong\r")
        terminal.wait_for("Permission denied, please try again.")
        terminal.type("secret\r")
        terminal.wait_for("piped: input")
        terminal.wait_end()
        assert "wrong" not in terminal.text and "secret" not in terminal.text


@pytest.mark.screen
def test_what_ssh_says_is_shown_and_not_obeyed(ssh: FakeSsh, home: Path) -> None:
    """The other side's start-up files may have a word in it."""
    ssh.manner(rf"printf 'a banner\033]2;evil\007\n' >&2; {ASKS}")
    with asked(home, "run", "--connect-timeout", "0.5", "ssh:box", "cat") as terminal:
        terminal.wait_for("a banner^[]2;evil^G")
        terminal.wait_for("box password:")
        terminal.type("secret\r")
        terminal.wait_for("piped: input")
        terminal.wait_end()
        assert terminal.screen.title == ""


@pytest.mark.screen
@pytest.mark.parametrize("command", [["run", "ssh:box", "true"], ["shell", "ssh:box"]], ids=["run", "shell"])
def test_ctrl_c_while_ssh_asks_leaves_the_terminal_as_it_was(ssh: FakeSsh, home: Path, command: list[str]) -> None:
    ssh.manner(ASKS)
    with Terminal([*ARGV, *command], environment=environment(home), columns=150) as terminal:
        before = termios.tcgetattr(terminal.master)
        terminal.wait_for("box password:")
        terminal.wait_until(lambda: not termios.tcgetattr(terminal.master)[3] & termios.ECHO, "hidden input")
        terminal.press("ctrl-c")
        assert terminal.wait_end() == 130
        assert "Traceback" not in terminal.text
        assert termios.tcgetattr(terminal.master) == before


@pytest.mark.screen
def test_ctrl_c_is_the_commands_and_not_sshs(ssh: FakeSsh, home: Path) -> None:
    line = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.05; done"
    with Terminal([*ARGV, "run", "ssh:box", "sh", "-c", line], environment=environment(home), columns=150) as terminal:
        terminal.wait_for("ready")
        terminal.press("ctrl-c")
        terminal.wait_for("caught")
        assert terminal.wait_end() == 7
    assert len(ssh.calls) == 1, "the connection was lost over it"


@pytest.mark.screen
def test_ctrl_backslash_and_ctrl_z_do_not_stop_ssh(ssh: FakeSsh, home: Path) -> None:
    line = "echo ready; exec sleep 1000"
    with Terminal([*ARGV, "run", "ssh:box", "sh", "-c", line], environment=environment(home), columns=150) as terminal:
        terminal.wait_for("ready")  # else a server that is still on its way would be left behind
        pid = int(ssh.calls[0][0])
        ignored = int(re.search(r"SigIgn:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())[1], 16)  # type: ignore[index]
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP):
            assert ignored >> (number - 1) & 1, number
        assert not ignored >> (signal.SIGTERM - 1) & 1
        terminal.press("ctrl-\\")
        terminal.press("ctrl-c")
        terminal.wait_end()
    assert len(ssh.calls) == 1


@pytest.mark.screen
def test_the_shell_says_what_encrypts_and_goes_on_over_another_ssh(ssh: FakeSsh, home: Path) -> None:
    with repl("ssh:box", home, PATH=os.environ["PATH"]) as terminal:
        assert "Through ssh, which encrypts it" in terminal.text
        assert "ssh: it encrypts all" in run(terminal, ":info")
        run(terminal, "x=kept; cd /usr")
        terminal.type("for i in 1 2 3 4 5 6; do echo line $i; sleep 0.2; done\r")
        terminal.wait_for("line 2", count=1)
        kill_ssh(ssh)
        terminal.wait_for("line 6")
        assert "kept" in run(terminal, "echo $x")
        for number in range(1, 7):
            assert terminal.everything.count(f"\nline {number}\n") == 1
        assert "BatchMode=yes" not in ssh.calls[0] and "BatchMode=yes" in ssh.calls[1]
        kill_ssh(ssh)  # at the prompt
        assert re.search(r"uid:\d+", run(terminal, ":info"))
    assert len(ssh.calls) == 3


@pytest.mark.screen
def test_a_window_that_is_closed_says_goodbye_through_ssh(ssh: FakeSsh, home: Path) -> None:
    with repl("ssh:box", home, PATH=os.environ["PATH"]) as terminal:
        run(terminal, "trap '' HUP")
        pid = int(run(terminal, "echo pid $$").split()[-1])
        terminal.process.send_signal(signal.SIGHUP)
        terminal.wait_end()
    wait_dead(pid)  # long before the grace of ten minutes is over


def test_python_without_a_terminal_asks_nobody(ssh: FakeSsh, home: Path) -> None:
    code = "import remote_shell; remote_shell.connect('ssh:box').close()"
    done = subprocess.run([ARGV[0], "-c", code], env=environment(home), cwd=Path(__file__).parents[2], timeout=WITHIN)
    assert done.returncode == 0 and "BatchMode=yes" in ssh.calls[0]
