"""Endings, end to end: what a command ended with is what its caller is told, and nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

import remote_shell
from remote_shell import errors, testing
from remote_shell.client.blocking import Host
from remote_shell.testing import RunningServer

pytestmark = pytest.mark.screen  # as a file it takes long


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with testing.server() as server:
        yield server


@pytest.fixture
def host(running: RunningServer) -> Iterator[Host]:
    with remote_shell.connect(running) as connected:
        yield connected


def alive(token: str) -> list[str]:
    """Command lines of processes that carry `token`."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                line = file.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if token in line and int(pid) != os.getpid():
            found.append(line)
    return found


def wait_until_gone(token: str, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while alive(token) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert alive(token) == []


def test_every_status_is_exact(host: Host) -> None:
    statuses = [
        host.run(["sh", "-c", f"exit {number}"], stdin=remote_shell.DEVNULL).returncode for number in range(256)
    ]
    assert statuses == list(range(256))


def deadly() -> list[int]:
    """Signals that end a process which does nothing about them. 32 and 33 are the C library's own."""
    harmless = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}
    stopping = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
    return [number for number in range(1, 65) if number not in harmless | stopping | {32, 33}]


def test_every_signal_is_exact(host: Host) -> None:
    script = "import os, sys; os.kill(os.getpid(), int(sys.argv[1])); import time; time.sleep(10)"
    prepare = "import signal; [signal.signal(n, signal.SIG_DFL) for n in (2, 13, 25)]; "
    for number in deadly():
        done = host.run([sys.executable, "-S", "-c", prepare + script, str(number)], stdin=remote_shell.DEVNULL)
        assert done.returncode == -number


def test_what_can_not_start_is_told_apart(host: Host, tmp_path: os.PathLike[str]) -> None:
    with pytest.raises(errors.CommandNotFoundError):
        host.run(["no-such-program-here"])
    with pytest.raises(errors.CommandNotExecutableError):
        host.run(["/etc/passwd"])
    with pytest.raises(errors.WorkingDirectoryError) as caught:
        host.run(["true"], cwd="/no/such/folder")
    assert caught.value.filename == "/no/such/folder" and isinstance(caught.value, FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        host.run(["true"], cwd="")


def test_a_timeout_ends_the_whole_tree(host: Host) -> None:
    token = f"1000.{os.getpid()}"
    with pytest.raises(subprocess.TimeoutExpired):
        host.run(["sh", "-c", f"sleep {token} & sleep {token}"], timeout=0.3)
    wait_until_gone(f"sleep {token}")


def test_the_status_is_told_though_a_grandchild_holds_the_pipe(host: Host) -> None:
    with host.popen(["sh", "-c", "sleep 1001 & exit 7"], stdout=remote_shell.PIPE) as process:
        started = time.monotonic()
        assert process.wait(5) == 7
        assert time.monotonic() - started < 1, "100 ms are promised; the rest is for a busy machine"
        host.run(["pkill", "-f", "sleep 1001"])


def test_late_output_is_still_read(host: Host) -> None:
    done = host.run(["sh", "-c", "(sleep 0.3; echo late)& echo early"], capture_output=True, text=True)
    assert done.stdout == "early\nlate\n"


def command_line(running: RunningServer, *words: str) -> list[str]:
    return [sys.executable, "-m", "remote_shell", *words[:1], str(running), *words[1:]]


def test_a_reader_that_leaves_ends_the_command(running: RunningServer) -> None:
    """`remote-shell run HOST -- yes | head -1` ends at once and leaves nothing."""
    token = f"yes-{os.getpid()}"
    with (
        subprocess.Popen(
            command_line(running, "run", "--", "yes", token), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        ) as writer,
        subprocess.Popen(["head", "-1"], stdin=writer.stdout, stdout=subprocess.PIPE) as reader,
    ):
        assert writer.stdout is not None
        writer.stdout.close()
        assert reader.communicate(timeout=15)[0].decode() == token + "\n"
        left = time.monotonic()
        writer.wait(15)
    assert time.monotonic() - left < 3, "a second is promised; the rest is for a busy machine"
    wait_until_gone(f"yes {token}")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("--", "sh", "-c", "exit 42"), 42),
        (("--", "sh", "-c", "kill -9 $$"), 137),
        (("--", "no-such-program-here"), 127),
        (("--", "/etc/passwd"), 126),
        (("--cwd", "/no/such", "--", "true"), 125),
        (("--timeout", "0.2", "--", "sleep", "1002"), 124),
        (("-c", "cd /; test $PWD = /; exit 3"), 3),
    ],
)
def test_the_command_lines_exit_status(running: RunningServer, words: tuple[str, ...], status: int) -> None:
    target = words.index("--") if "--" in words else 0
    options, command = words[:target], words[target:]
    argv = [sys.executable, "-m", "remote_shell", "run", *options, str(running), *command]
    if words[0] == "-c":
        argv = [sys.executable, "-m", "remote_shell", "run", *words, str(running)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=15)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("\n") <= 1
