"""`remote-shell pipe`: joins to the server of the account, starts one where there is none, and never two."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_shell.cli import starting
from remote_shell.errors import ConnectError
from remote_shell.wire.preamble import PREAMBLE
from tests.cli.program import ARGV, WITHIN, call, environment, one_line
from tests.piped import end_server, server_pid, wait_gone

pytestmark = pytest.mark.screen  # whole programs, or ssh, for nearly each test

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    end_server(tmp_path)


def piped(home: Path, *words: str, **more: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*ARGV, "pipe", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(home),
        **more,
    )


def begun(process: subprocess.Popen[bytes]) -> None:
    """It said the preamble, and nothing else."""
    assert process.stdout is not None
    assert process.stdout.read(len(PREAMBLE)) == PREAMBLE


def test_it_starts_a_server_that_outlives_it(home: Path) -> None:
    process = piped(home)
    begun(process)
    pid = server_pid(home)
    out, error = process.communicate(timeout=WITHIN)  # the end of its input
    assert (out, error, process.returncode) == (b"", b"", 0)
    assert server_pid(home) == pid != 0
    assert os.getsid(pid) == pid
    descriptors = {os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 2)}
    assert descriptors == {"/dev/null", str(home / "state" / "server.log")}
    assert not (home / "server_key").exists()  # no TLS, so no key of a server was made


def test_the_next_one_joins_the_same_server(home: Path) -> None:
    call("pipe", home=home)
    pid = server_pid(home)
    assert call("pipe", home=home).stdout == PREAMBLE
    assert server_pid(home) == pid != 0


def test_two_at_once_start_one_server(home: Path) -> None:
    several = [piped(home) for _ in range(4)]
    try:
        for process in several:
            begun(process)
    finally:
        for process in several:
            process.communicate(timeout=WITHIN)
    log = (home / "state" / "server.log").read_text()
    assert "in use" not in log and log.count("running as root") <= 1  # nor was a second one tried
    ready = [line for line in os.listdir("/proc") if line.isdigit() and _serves(line, home)]
    assert ready == [str(server_pid(home))]


def _serves(pid: str, home: Path) -> bool:
    try:
        return f"unix:{home}/run/server.sock".encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_it_ends_when_nobody_comes_any_more(home: Path) -> None:
    process = piped(home, "--idle-exit", "0.3")
    begun(process)
    descriptor = os.pidfd_open(server_pid(home))
    process.communicate(timeout=WITHIN)
    try:
        wait_gone(descriptor)
    finally:
        os.close(descriptor)
    assert not (home / "run" / "server.sock").exists()


def test_a_server_that_was_killed_is_replaced(home: Path) -> None:
    call("pipe", home=home)
    pid = server_pid(home)
    descriptor = os.pidfd_open(pid)
    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    wait_gone(descriptor)
    os.close(descriptor)
    assert (home / "run" / "server.sock").exists()
    assert call("pipe", home=home).stdout == PREAMBLE
    assert server_pid(home) not in (0, pid)


def test_a_server_that_can_not_start_is_told_with_its_words(home: Path) -> None:
    call("pipe", home=home)
    end_server(home)
    (home / "run" / "server.sock").write_text("no socket")
    done = call("pipe", home=home)
    assert done.returncode == 125 and done.stdout == b""
    assert "can't connect" in one_line(done.stderr) or "did not start" in one_line(done.stderr)


def test_its_settings_are_in_server_toml(home: Path) -> None:
    (home / "server.toml").write_text('listen = ["tls:127.0.0.1:0"]\nlog_level = "debug"\n')
    assert call("pipe", home=home).stdout == PREAMBLE  # which listens on the socket alone, even so
    end_server(home)
    (home / "server.toml").write_text("nonsense = 1\n")
    done = call("pipe", home=home)
    assert done.returncode == 125 and "unknown key 'nonsense'" in one_line(done.stderr)


def test_a_state_folder_that_is_full_of_something_else(home: Path) -> None:
    (home / "state").write_text("a file")
    done = call("pipe", home=home)
    assert done.returncode == 125 and done.stdout == b""
    assert str(home / "state") in one_line(done.stderr)


def test_not_on_a_terminal(home: Path) -> None:
    master, slave = pty.openpty()
    try:
        done = subprocess.run([*ARGV, "pipe"], stdin=slave, capture_output=True, env=environment(home), timeout=WITHIN)
    finally:
        os.close(master)
        os.close(slave)
    assert done.returncode == 125 and "ssh:HOST" in one_line(done.stderr)
    assert server_pid(home) == 0


def test_a_large_log_is_moved_aside(home: Path) -> None:
    (home / "state").mkdir(mode=0o700)
    (home / "state" / "server.log").write_bytes(b"x" * (1024 * 1024 + 1))
    assert call("pipe", home=home).stdout == PREAMBLE
    assert (home / "state" / "server.log.1").stat().st_size == 1024 * 1024 + 1
    assert (home / "state" / "server.log").stat().st_size < 10_000


def test_nothing_of_the_ssh_session_stays_with_the_server(home: Path) -> None:
    subprocess.run(
        [*ARGV, "pipe"],
        input=b"",
        capture_output=True,
        env=environment(home, {"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22", "SSH_AUTH_SOCK": "/tmp/agent"}),
        timeout=WITHIN,
    )
    assert b"SSH_" not in Path(f"/proc/{server_pid(home)}/environ").read_bytes()


def test_a_relative_home_is_the_same_for_the_server(home: Path) -> None:
    environ = environment(home) | {"REMOTE_SHELL_HOME": home.name}
    argv = [sys.executable, "-c", "from remote_shell.cli.main import main; main(['pipe'])"]
    done = subprocess.run(argv, input=b"", capture_output=True, env=environ, cwd=home.parent, timeout=WITHIN)
    assert done.stdout == PREAMBLE, done.stderr
    pid = server_pid(home)
    assert f"REMOTE_SHELL_HOME={home}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes()


class Somebody:
    """A socket whose listener is somebody else."""

    def __init__(self, uid: int) -> None:
        self._uid = uid

    def getsockopt(self, *_: int) -> bytes:
        return starting._UCRED.pack(1, self._uid, 1)

    def close(self) -> None:
        """Nothing more is wanted of it."""


def test_a_server_of_somebody_else_is_not_joined() -> None:
    starting._check_owner(Somebody(os.geteuid()), "/x")  # type: ignore[arg-type]
    starting._check_owner(Somebody(0), "/x")  # type: ignore[arg-type]
    with pytest.raises(ConnectError, match="user id 4711"):
        starting._check_owner(Somebody(4711), "/x")  # type: ignore[arg-type]


def test_a_socket_on_which_somebody_else_listens(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root can make one; for others it is enough to be somebody else."""
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(home))
    (home / "run").mkdir(mode=0o700)
    code = (
        "import os, socket, sys\n"
        "sock = socket.socket(socket.AF_UNIX)\n"
        "sock.bind(sys.argv[1])\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "sock.listen()\n"
        "print('ready', flush=True)\n"
        "sock.accept(); sys.stdin.read()"
    )
    line = [sys.executable, "-c", code, str(home / "run" / "server.sock")]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        if os.geteuid() != 0:
            monkeypatch.setattr(os, "geteuid", lambda: 4711)
        with pytest.raises(ConnectError, match=r"belongs to user id \d+, not to"):
            starting.reach_server(1.0)
        other.kill()


@pytest.mark.usefixtures("unmeasured")
def test_it_is_light(home: Path) -> None:
    call("pipe", home=home)
    line = [sys.executable, "-X", "importtime", "-m", "remote_shell", "pipe"]
    done = subprocess.run(line, input=b"", capture_output=True, env=environment(home), cwd=ROOT, timeout=WITHIN)
    found = {row.rpartition("|")[2].strip() for row in done.stderr.decode().splitlines()}
    assert "remote_shell.cli.joining" in found
    assert found.isdisjoint(
        {
            *("argparse", "asyncio", "dataclasses", "logging", "pydantic", "socket", "ssl", "subprocess", "threading"),
            *("typing", "remote_shell.limits"),
        }
    )
