"""remote-shell mux: the same command line through a shared connection ends as it would alone, and runs once or not at all."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remote_shell import testing
from remote_shell.cli.commands import mux as holder
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.ssh import mux
from remote_shell.ssh.options import OPTIONS
from tests.cli.program import ARGV, WITHIN, environment

pytestmark = pytest.mark.screen  # whole programs, or ssh, for nearly each test

FALLBACK = {"REMOTE_SHELL_MUX": ""}


def wait_until(condition: Callable[[], object], what: str = "") -> None:
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError):
        sock.connect(str(path))
        return sock.recv(1) in (mux.READY, mux.READY_WITHOUT_STDIN)
    return False


class Place:
    """A server, and a mux for `ssh TARGET` with no options."""

    def __init__(self, server: testing.RunningServer, home: Path) -> None:
        self.server = server
        self.target = server.targets["unix"]
        self.environment = environment(home, FALLBACK)
        self.sockets = home / "run"
        self.holder: subprocess.Popen[bytes] | None = None

    def hold(self, *words: str) -> None:
        if self.holder is not None:
            self.holder.kill()
            self.holder.communicate()
        argv = [*ARGV, "mux", *(words or (self.target,))]
        self.holder = subprocess.Popen(argv, env=self.environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_until(lambda: any(map(listens, self.found)), "the mux listens")

    @property
    def found(self) -> list[Path]:
        return [path for path in self.sockets.glob("mux-*") if path.suffix != ".lock"]

    def start(self, *words: str, **options: object) -> subprocess.Popen[bytes]:
        """`ssh` that can only pass through the mux: its own way is barred."""
        argv = [sys.executable, "-c", BARRED, *words]
        return subprocess.Popen(argv, env=self._bare, **options)  # type: ignore[call-overload,no-any-return]

    def ssh(self, *words: str, input: bytes | None = b"") -> subprocess.CompletedProcess[bytes]:
        argv = [sys.executable, "-c", BARRED, *words]
        return subprocess.run(argv, input=input, capture_output=True, env=self._bare, timeout=WITHIN)

    @property
    def _bare(self) -> dict[str, str]:
        """Without coverage, which imports what is barred."""
        return {name: value for name, value in self.environment.items() if not name.startswith("COVERAGE_")}

    def processes(self) -> int:
        pid = self.server.process.pid
        return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


BARRED = """
import sys
from remote_shell.ssh.mux import hand_over
status = hand_over(sys.argv[1:])
assert not {"argparse", "asyncio", "pydantic_core", "signal", "socket", "re"} & set(sys.modules), sys.modules
sys.exit("nobody took it" if status is None else status)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[testing.RunningServer]:
    with testing.server(("unix:", "tls:127.0.0.1:0")) as running:
        yield running


@pytest.fixture
def place(server: testing.RunningServer, tmp_path: Path) -> Iterator[Place]:
    tmp_path.chmod(0o700)
    made = Place(server, tmp_path)
    yield made
    if made.holder is not None:
        made.holder.kill()
        made.holder.communicate()


@pytest.fixture
def held(place: Place) -> Place:
    place.hold()
    return place


@pytest.mark.parametrize(
    ("line", "status", "out", "err"),
    [
        ("echo out; echo err >&2; exit 7", 7, b"out\n", b"err\n"),
        ("cat; printf '\\377\\0'", 0, b"in\xff\xff\0", b""),
        ("kill -9 $$", 255, b"", b""),
        ("exit 255", 255, b"", b""),
        ("echo $FROM_HERE-$0", 0, None, b""),
        ("nosuchcommand", 127, b"", None),
    ],
)
def test_a_command_ends_as_alone(held: Place, line: str, status: int, out: bytes | None, err: bytes | None) -> None:
    done = held.ssh(held.target, line, input=b"in\xff")
    alone = subprocess.run(
        [*ARGV, "ssh", "-S", "none", held.target, line],
        input=b"in\xff",
        capture_output=True,
        env=held.environment,
        timeout=WITHIN,
    )
    assert (done.returncode, done.stdout, done.stderr) == (alone.returncode, alone.stdout, alone.stderr)
    assert done.returncode == status
    assert out is None or done.stdout == out
    assert err is None or done.stderr == err


def test_words_are_joined_and_options_behind_the_host_count(place: Place) -> None:
    place.hold("-T", place.target)
    assert place.ssh("-T", place.target, "echo", "a  b", "$((1+1))").stdout == b"a b 2\n"
    assert place.ssh(place.target, "-T", "--", "echo", "-T").stdout == b"-T\n"
    assert b"nobody took it" in place.ssh(place.target, "echo").stderr  # other options, another process


def test_sendenv_is_the_callers(place: Place) -> None:
    place.hold("-o", "SendEnv=FROM_*", place.target)
    place.environment["FROM_HERE"] = "this call"
    assert place.ssh("-o", "SendEnv=FROM_*", place.target, "echo $FROM_HERE").stdout == b"this call\n"


def test_a_subsystem(tmp_path: Path) -> None:
    with testing.server(("unix:",), config='[subsystems]\nsay = ["/bin/cat"]\n') as running:
        tmp_path.chmod(0o700)
        place = Place(running, tmp_path)
        place.hold("-s", place.target)
        assert place.ssh("-s", place.target, "say", input=b"bytes").stdout == b"bytes"
        none = place.ssh("-s", place.target, "nothing")
        assert none.returncode == 255 and b"no subsystem 'nothing'" in none.stderr
        assert place.holder is not None
        place.holder.kill()
        place.holder.communicate()


def test_many_at_once(held: Place) -> None:
    running = [
        held.start(held.target, f"read x; echo $x; exit {number}", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for number in range(20)
    ]
    wait_until(lambda: held.processes() >= 20)
    for number, process in enumerate(running):
        out, _ = process.communicate(b"%d\n" % number, timeout=WITHIN)
        assert (out, process.returncode) == (b"%d\n" % number, number)


def test_bulk_both_ways(held: Place) -> None:
    data = os.urandom(8_000_000)
    assert held.ssh(held.target, "cat", input=data).stdout == data


def test_nobody_reads(held: Place) -> None:
    with held.start(held.target, "yes", stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.read(100)
        process.stdout.close()
        assert process.wait(WITHIN) == 255
    wait_until(lambda: held.processes() == 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_ends_both(held: Place, number: signal.Signals, tmp_path: Path) -> None:
    file = tmp_path / "cleaned"
    line = f"trap 'echo over > {file}; exit' TERM; echo up; while :; do sleep 0.05; done"
    with held.start(held.target, line, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        process.send_signal(number)
        assert process.wait(WITHIN) == -number
    assert file.read_text() == "over\n"  # it had time to clean up
    wait_until(lambda: held.processes() == 0)


def test_a_killed_caller_takes_its_command_along(held: Place) -> None:
    with held.start(
        held.target, "echo up; sleep 1000 & sleep 1000", stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        process.kill()
    wait_until(lambda: held.processes() == 0)
    assert held.ssh(held.target, "echo still").stdout == b"still\n"


def test_the_holder_dies(held: Place) -> None:
    with held.start(
        held.target, "echo up; sleep 1000", stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        assert held.holder is not None
        held.holder.kill()
        held.holder.wait()
        _, err = process.communicate(timeout=WITHIN)
        assert process.returncode == 255
        assert b"whether the command ran is not known" in err
    held.hold()  # the socket of the dead is no hindrance
    assert held.ssh(held.target, "echo again").stdout == b"again\n"


def test_a_stopped_holder_gets_nothing(held: Place, tmp_path: Path) -> None:
    assert held.holder is not None
    held.holder.send_signal(signal.SIGSTOP)
    done = held.ssh(held.target, f"echo ran >> {tmp_path}/ran")
    assert b"nobody took it" in done.stderr
    held.holder.send_signal(signal.SIGCONT)
    assert held.ssh(held.target, "echo well").stdout == b"well\n"
    assert not (tmp_path / "ran").exists()


def test_a_server_that_is_gone_is_the_callers_own_matter(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with testing.server(("unix:",)) as running:
        place = Place(running, tmp_path)
        place.hold()
    done = place.ssh(place.target, "true")
    assert b"nobody took it" in done.stderr
    assert place.holder is not None and place.holder.wait(WITHIN) == 0  # and nobody else comes to it
    place.holder.communicate()
    assert place.found == []


def test_ssh_starts_one_itself(place: Place) -> None:
    argv = [*ARGV, "ssh", place.target, "echo one"]
    assert subprocess.run(argv, capture_output=True, env=place.environment, timeout=WITHIN).stdout == b"one\n"
    wait_until(lambda: place.found)
    try:
        assert place.ssh(place.target, "echo two").stdout == b"two\n"
        status = place.found[0].stat()
        assert status.st_mode & 0o777 == 0o600 and place.sockets.stat().st_mode & 0o777 == 0o700
    finally:
        subprocess.run(["pkill", "-f", f"mux -- {place.target}"])


@pytest.mark.parametrize("words", [["-S", "none"], ["-o", "ControlMaster=no"], ["-v"], ["-tt"]])
def test_ssh_starts_none_where_that_was_said(place: Place, words: list[str]) -> None:
    argv = [*ARGV, "ssh", *words, place.target, "echo one"]
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=place.environment
    ) as process:
        out, _ = process.communicate(timeout=WITHIN)
    assert out.strip() == b"one"
    assert not list(place.sockets.glob("mux-*")) if place.sockets.exists() else True


def test_it_idles_away(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    begun = time.monotonic()
    assert holder.hold([place.target], replace(DEFAULT_LIMITS, mux_idle_time=0.3)) == 0
    assert 0.3 <= time.monotonic() - begun < WITHIN
    assert place.found == []


def test_only_one_holds(held: Place) -> None:
    second = subprocess.run([*ARGV, "mux", held.target], env=held.environment, capture_output=True, timeout=WITHIN)
    assert second.returncode == 0 and second.stderr == b""
    assert held.ssh(held.target, "echo first").stdout == b"first\n"


def test_what_is_no_request_runs_nothing(held: Place) -> None:
    (path,) = held.found
    null = os.open(os.devnull, os.O_RDWR)
    good = mux.encode(["echo", "x"], {})
    huge = (DEFAULT_LIMITS.mux_request_max + 1).to_bytes(4, "big")
    for request, descriptors in (
        (b"", []),
        (good, []),
        (good, [null]),
        (huge, [null] * 3),
        (b"\0\0\0\3a\0b", [null] * 3),
        (good[:-3], [null] * 3),
    ):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(WITHIN)
            sock.connect(str(path))
            assert sock.recv(1) == mux.READY
            sock.settimeout(0.5)
            if request:
                socket.send_fds(sock, [request], descriptors)
            with contextlib.suppress(TimeoutError, ConnectionResetError):
                answer = sock.recv(10)
                assert answer in (b"", mux.REFUSED, mux.STATUS + bytes([255]))
                assert answer == mux.REFUSED or len(descriptors) == 3  # nothing was run, so it may be done otherwise
    os.close(null)
    assert held.ssh(held.target, "echo well").stdout == b"well\n"
    assert held.holder is not None
    wait_until(lambda: len(os.listdir(f"/proc/{held.holder.pid}/fd")) < 16, "no descriptor is kept")  # type: ignore[union-attr]


def test_another_account_is_not_answered(held: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if os.geteuid() == 0:
            assert mux.is_ours(ours)  # root's
        script = "import socket,os,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(1))"
        (path,) = held.found
        assert os.geteuid() == 0
        done = subprocess.run(
            [
                "setpriv",
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "/usr/bin/python3",
                "-c",
                script,
                str(path),
            ],
            capture_output=True,
            text=True,
        )
        assert "PermissionError" in done.stderr


def test_the_letters_that_take_an_argument() -> None:
    assert set(mux.TAKE_ARGUMENTS) == {letter for letter, option in OPTIONS.items() if option.takes}


@pytest.mark.parametrize(
    ("words", "host", "command", "options"),
    [
        (["host", "a", "b"], "host", ["a", "b"], []),
        (["-p", "22", "-Tn", "host", "ls", "-l"], "host", ["ls", "-l"], ["-p", "22", "-Tn"]),
        (["-Tp22", "host", "-4", "ls"], "host", ["ls"], ["-Tp22", "-4"]),
        (["-oA=b", "-o", "C=d", "--", "host", "-x", "y"], "host", ["-x", "y"], ["-oA=b", "-o", "C=d"]),
        (["host", "--", "-x"], "host", ["-x"], []),
    ],
)
def test_a_call_is_split_as_ssh_splits_it(words: list[str], host: str, command: list[str], options: list[str]) -> None:
    call = mux.split(words)
    assert call is not None
    assert (call.host, call.command, call.options) == (host, command, options)


@pytest.mark.parametrize("words", [[], ["host"], ["-p"], ["-p", "22"], ["-p", "22", "host"], ["--"]])
def test_a_call_without_a_command_is_nobodys(words: list[str]) -> None:
    assert mux.split(words) is None


def test_requests_carry_any_words() -> None:
    words, variables = ["a b", "", "\udcff\n"], {b"A": b"1=2", b"B": b"\xff"}
    raw = mux.encode(words, variables)
    assert int.from_bytes(raw[:4], "big") == len(raw) - 4
    assert mux.decode(raw[4:]) == (words, {"A": "1=2", "B": "\udcff"})


def test_the_socket_is_another_for_other_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(tmp_path))
    call = mux.split(["host", "true"])
    assert call is not None
    paths = [mux.socket_path(call)]
    assert mux.socket_path(call) == paths[0]
    for name, value in (("LC_ALL", "x"), ("TERM", "x"), ("SSH_AUTH_SOCK", "x"), ("LANG", "x")):
        monkeypatch.setenv(name, value)
        paths.append(mux.socket_path(call))
    (tmp_path / "hosts.toml").write_text("")
    paths.append(mux.socket_path(call))
    relative = mux.split(["-i", "key", "host", "true"])
    assert relative is not None and relative.here
    paths.append(mux.socket_path(relative))
    monkeypatch.chdir(tmp_path)
    paths.append(mux.socket_path(relative))
    assert len(set(paths)) == len(paths)
    assert all(len(path) < 100 + len(str(tmp_path)) for path in paths)
