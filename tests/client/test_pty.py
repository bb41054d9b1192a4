"""Commands with a terminal, through both fronts."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

import remote_shell
from remote_shell import PIPE
from remote_shell.client.blocking import Host
from remote_shell.client.opening import Pty
from remote_shell.errors import CommandError, UsageError
from remote_shell.testing import RunningServer

SIZE = Pty(30, 100, "vt100")


def test_run_with_a_terminal(host: Host) -> None:
    done = host.run(["sh", "-c", "tty && stty size && echo $TERM; echo err >&2; exit 3"], pty=SIZE, capture_output=True)
    tty, *rest = done.stdout.decode().split("\r\n")
    assert tty.startswith("/dev/pts/") and rest == ["30 100", "vt100", "err", ""]
    assert (done.returncode, done.stderr) == (3, None)


def test_an_interactive_program(host: Host) -> None:
    with host.popen(
        ["python3", "-q"], stdin=PIPE, stdout=PIPE, pty=SIZE, env_add={"PYTHON_BASIC_REPL": "1"}
    ) as process:
        seen = b""
        while b">>> " not in seen:
            seen += process.stdout.read1(4096)
        process.stdin.write(b"6*7\n")
        process.stdin.flush()
        while b"42" not in seen:
            seen += process.stdout.read1(4096)
        process.resize(40, 120)
        process.stdin.write(b"import os; os.get_terminal_size()\n")
        process.stdin.flush()
        while b"columns=120, lines=40" not in seen or not seen.endswith(b">>> "):
            seen += process.stdout.read1(4096)
        process.stdin.write(b"\x04")  # before the prompt it would be a line's end, and not readline's
        process.stdin.flush()
        assert process.wait() == 0


def test_a_login_shell(host: Host) -> None:
    with host.popen(None, stdin=PIPE, stdout=PIPE, pty=SIZE, env_add={"HOME": "/nonexistent"}) as process:
        out, _ = process.communicate(b"echo $0-$-; exit 5\n")
    assert process.returncode == 5 and b"i" in out


def test_the_end_of_input_and_signals(host: Host) -> None:
    assert host.run(["cat"], input=b"x\n", pty=SIZE, capture_output=True).stdout.endswith(b"x\r\n")
    process = host.popen(["sh", "-c", "trap '' INT; sleep 1000; exit 4"], stdout=PIPE, pty=SIZE)
    process.send_signal(15)
    assert process.wait() == -15


def test_an_unknown_kind_of_terminal_falls_back(host: Host) -> None:
    process = host.popen(["sh", "-c", "echo $TERM"], stdout=PIPE, pty=Pty(term="xterm-no-such-256color"))
    assert process.communicate()[0] == b"xterm-256color\r\n"
    assert process.opened is not None and process.opened.term == "xterm-256color"
    process = host.popen(["sh", "-c", "echo $TERM"], stdout=PIPE, pty=Pty(term="vt100"))
    assert process.communicate()[0] == b"vt100\r\n"
    assert process.opened is not None and process.opened.term is None


@pytest.mark.parametrize("size", [Pty(0, 80), Pty(24, 65536), Pty(24, 80, "a b"), Pty(24, 80, "")])
def test_a_terminal_that_there_is_not(host: Host, size: Pty) -> None:
    with pytest.raises(UsageError):
        host.run(["true"], pty=size)


def test_what_can_not_run_is_an_error_as_ever(host: Host) -> None:
    with pytest.raises(CommandError):
        host.run(["no-such-program"], pty=SIZE)
    with pytest.raises(FileNotFoundError):
        host.run(["true"], cwd="/no/where", pty=SIZE)


def test_a_closed_host_hangs_it_up(running: RunningServer) -> None:
    with remote_shell.connect(running.targets["unix"]) as host:
        process = host.popen(["sh", "-c", "echo $$; exec sleep 1000"], stdout=PIPE, pty=SIZE)
        pid = int(process.stdout.readline())
        assert os.path.exists(f"/proc/{pid}")
    deadline = time.monotonic() + 15
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < deadline, "it lives"
        time.sleep(0.005)


def test_a_size_that_there_is_not_leaves_the_connection_alone(host: Host) -> None:
    with host.popen(["cat"], stdin=PIPE, stdout=PIPE, pty=SIZE) as process:
        size: Any
        for size, error in ((0, UsageError), (65536, UsageError), (24.0, TypeError)):
            for rows, columns in ((size, 80), (24, size)):
                with pytest.raises(error):
                    process.resize(rows, columns)
        process.stdin.write(b"\x04")
    with host.shell(pty=SIZE) as shell:
        for size, error in ((0, UsageError), (24.0, TypeError)):
            with pytest.raises(error):
                shell.send_size(size, 80)
    assert host.run(["true"]).returncode == 0, "its lock is free"


@pytest.mark.parametrize(
    "name",
    ["TERM", "SIG_IGN", "SIG32", "SIG999", "SIGTERM+3", "SIGRTMIN+", "SIGRTMIN+99", "SIGRTMIN+" + "9" * 5000, 999],
)
def test_a_signal_that_there_is_not_leaves_the_connection_alone(host: Host, name: str | int) -> None:
    with host.shell(pty=SIZE) as shell:
        with pytest.raises(ValueError, match=r"signal|limit"):
            shell.signal(name)
        shell.signal("SIGRTMIN+3")
        shell.signal("SIGRTMAX")
        assert shell.run("echo x").stdout == "x\n"


def test_keys_that_are_no_bytes_leave_the_connection_alone(host: Host) -> None:
    keys: Any
    with host.shell(pty=SIZE) as shell:
        for keys in ("s", 5, None, [1]):
            with pytest.raises(TypeError):
                shell.send_keys(keys)
        assert shell.send_keys(b"")
        assert shell.run("echo x").stdout == "x\n"
    assert host.run(["true"]).returncode == 0, "the session lives"


async def test_the_asyncio_front(running: RunningServer) -> None:
    connect: Any = remote_shell.connect_async
    async with connect(running.targets["unix"]) as host:
        done = await host.run(["sh", "-c", "stty size; tty -s"], pty=SIZE, capture_output=True)
        assert (done.returncode, done.stdout) == (0, b"30 100\r\n")
        process = await host.popen(
            ["sh", "-c", "trap 'stty size; exit 0' WINCH; echo; read x"], stdin=PIPE, stdout=PIPE, pty=SIZE
        )
        assert await process.stdout.readline() == b"\r\n"
        with pytest.raises(UsageError):
            process.resize(0, 101)
        process.resize(31, 101)
        assert await process.stdout.read() == b"31 101\r\n"
        assert await process.wait() == 0
