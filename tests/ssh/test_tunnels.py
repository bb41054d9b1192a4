"""`remote-shell ssh -L` and `-R`: tunnels beside a command, and with -N alone."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_shell import testing
from remote_shell.client.blocking import connect
from remote_shell.client.forward import reset
from remote_shell.errors import UsageError
from remote_shell.ssh.options import parse
from remote_shell.ssh.settings import Tunnel, parse_tunnel
from tests.cli.program import ARGV, WITHIN, environment
from tests.listening import listener

pytestmark = pytest.mark.screen


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with testing.server(("unix:",)) as running:
        yield running


@pytest.fixture
def service() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WITHIN)
        yield listener


def start(home: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*ARGV, "ssh", *words],
        env=environment(home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def allocated(process: subprocess.Popen[bytes]) -> int:
    assert process.stderr is not None
    line = process.stderr.readline().decode()
    found = re.fullmatch(r"remote-shell: allocated port (\d+) (?:here|there) for 127\.0\.0\.1:\d+\n", line)
    assert found is not None, line
    return int(found[1])


@pytest.mark.parametrize("option", ["-L", "-R"])
@pytest.mark.parametrize("alone", [True, False])
def test_a_tunnel(option: str, alone: bool, target: str, service: socket.socket, tmp_path: Path) -> None:
    spec = f"0:127.0.0.1:{service.getsockname()[1]}"
    words = ["-N", option, spec, target] if alone else [option, spec, target, "echo up; cat; exit 3"]
    with start(tmp_path, *words) as process:
        port = allocated(process)
        listening = listener(port)
        assert listening
        if not alone:
            assert process.stdout is not None and process.stdout.readline() == b"up\n"
        with socket.create_connection(("127.0.0.1", port), WITHIN) as near:
            far, _ = service.accept()
            with far:
                near.sendall(b"hello")
                assert far.recv(100) == b"hello"
                far.sendall(b"back")
                assert near.recv(100) == b"back"
        if alone:
            process.terminate()
            assert process.wait(WITHIN) == -signal.SIGTERM
        else:
            assert process.communicate(timeout=WITHIN) == (b"", b"")
            assert process.returncode == 3
    deadline = time.monotonic() + WITHIN
    while listener(port) == listening:  # the server's own, of -R, after it heard of our end
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_port_that_is_taken(target: str, service: socket.socket, tmp_path: Path) -> None:
    spec = f"{service.getsockname()[1]}:127.0.0.1:1"
    for option in ("-L", "-R"):
        with start(tmp_path, option, spec, target, "echo ran") as process:
            out, err = process.communicate(b"", timeout=WITHIN)
            assert (out, process.returncode) == (b"ran\n", 0)
            assert b"ddress already in use" in err
        with start(tmp_path, "-o", "ExitOnForwardFailure=yes", option, spec, target, "echo ran") as process:
            out, err = process.communicate(b"", timeout=WITHIN)
            assert (out, process.returncode) == (b"", 255)
            assert b"ddress already in use" in err and err.count(b"\n") == 1


def test_stdin_and_stdout_are_the_connection(target: str, service: socket.socket, tmp_path: Path) -> None:
    port = service.getsockname()[1]
    with start(tmp_path, "-L", "1:127.0.0.1:1", "-W", f"127.0.0.1:{port}", target) as process:  # -W alone counts
        far, _ = service.accept()
        with far:
            assert process.stdin is not None and process.stdout is not None and process.stderr is not None
            process.stdin.write(b"hello")
            process.stdin.flush()
            assert far.recv(100) == b"hello"
            far.sendall(b"back")
            assert process.stdout.read(4) == b"back"
            process.stdin.close()
            assert far.recv(100) == b""
            far.sendall(b"late")
        assert process.stdout.read() == b"late"
        assert process.wait(WITHIN) == 0 and process.stderr.read() == b""


def test_a_jump_host_for_another_client(target: str, tmp_path: Path) -> None:
    with testing.server(("tls:127.0.0.1:0",)) as beyond:
        at = beyond.targets["tls"].removeprefix("tls:")
        through = [*ARGV, "ssh", "-W", at, target]
        with socket.socket() as near:  # a client that reaches the second server through the first one alone
            near.bind(("127.0.0.1", 0))
            near.listen()

            def carry() -> None:
                sock, _ = near.accept()
                with sock:
                    subprocess.run(
                        through, env=environment(tmp_path), stdin=sock.fileno(), stdout=sock.fileno(), check=True
                    )

            carrier = threading.Thread(target=carry)
            carrier.start()
            name = f"tls:127.0.0.1:{near.getsockname()[1]}"
            with connect(name, **beyond.options()) as host:
                assert host.run(["echo", "there"], capture_output=True).stdout == b"there\n"
            carrier.join(WITHIN)


def test_a_connection_that_breaks_or_is_refused(target: str, service: socket.socket, tmp_path: Path) -> None:
    with start(tmp_path, "-W", f"127.0.0.1:{service.getsockname()[1]}", target) as process:
        far, _ = service.accept()
        reset(far)
        assert process.communicate(b"", timeout=WITHIN)[0] == b"" and process.returncode == 255
    with start(tmp_path, "-W", "127.0.0.1:1", target) as process:
        out, err = process.communicate(b"", timeout=WITHIN)
        assert (out, process.returncode) == (b"", 255) and b"can't connect to 127.0.0.1:1" in err
        assert err.count(b"\n") == 1


def test_it_ends_with_its_caller(target: str, service: socket.socket, tmp_path: Path) -> None:
    with start(tmp_path, "-W", f"127.0.0.1:{service.getsockname()[1]}", target) as process:
        far, _ = service.accept()
        with far:
            far.settimeout(WITHIN)
            process.terminate()
            with contextlib.suppress(ConnectionResetError):
                assert far.recv(100) == b""
            assert process.wait(WITHIN) == -signal.SIGTERM


@pytest.mark.parametrize("text", ["22", "h:", ":22", "h:0", "h:65536", "h:x", "", "h:²"])
def test_what_is_no_place_for_stdin(text: str) -> None:
    with pytest.raises(UsageError, match="-W"):
        parse(["-W", text, "host"])


def test_a_place_for_stdin() -> None:
    assert parse(["-W", "[::1]:22", "host"]).joined == ("::1", 22)
    assert not parse(["-W", "h:22", "host", "true"]).is_shareable
    with pytest.raises(UsageError, match="twice"):
        parse(["-Wa:1", "-W", "b:2", "host"])


def test_stdin_that_goes_elsewhere_and_a_command(target: str, tmp_path: Path) -> None:
    with start(tmp_path, "-W", "127.0.0.1:1", target, "echo ran") as process:
        out, err = process.communicate(b"", timeout=WITHIN)
    assert process.returncode == 255 and out == b"" and b"-W runs nothing" in err


def test_cleared_ones_do_not_listen(target: str, service: socket.socket, tmp_path: Path) -> None:
    spec = f"{service.getsockname()[1]}:127.0.0.1:1"
    with start(tmp_path, "-oClearAllForwardings=yes", "-L", spec, target, "echo ran") as process:
        assert process.communicate(b"", timeout=WITHIN) == (b"ran\n", b"")


def test_what_leads_nowhere_is_said(target: str, tmp_path: Path) -> None:
    with start(tmp_path, "-N", "-L", "0:127.0.0.1:1", target) as process:
        port = allocated(process)
        with contextlib.suppress(ConnectionResetError), socket.create_connection(("127.0.0.1", port), WITHIN) as near:
            assert near.recv(1) == b""
        assert process.stderr is not None
        assert b"can't connect to 127.0.0.1:1: Connection refused" in process.stderr.readline()
        process.terminate()


def test_nothing_and_a_command(target: str, tmp_path: Path) -> None:
    with start(tmp_path, "-N", target, "echo ran") as process:
        out, err = process.communicate(b"", timeout=WITHIN)
    assert process.returncode == 255 and out == b"" and b"-N runs nothing" in err


@pytest.mark.parametrize(
    ("text", "tunnel"),
    [
        ("8080:db:5432", ("", 8080, "db", 5432)),
        ("127.0.0.1:8080:db:5432", ("127.0.0.1", 8080, "db", 5432)),
        ("[::1]:80:[fe80::1]:90", ("::1", 80, "fe80::1", 90)),
        (":80:h:1", ("*", 80, "h", 1)),
        ("*:80:h:1", ("*", 80, "h", 1)),
        ("0:h:3", ("", 0, "h", 3)),
    ],
)
def test_how_a_tunnel_is_written(text: str, tunnel: tuple[str, int, str, int]) -> None:
    assert parse_tunnel(text, "-L", reverse=False) == Tunnel(False, *tunnel)


@pytest.mark.parametrize(
    "text",
    [
        "8080",
        "a:b:c",
        "80:db:0",
        "80:/sock",
        "1:2:3:4:5",
        "80:db:99999",
        "70000:db:1",
        "/x:y:1",
        "80::90",
        "",
        "80:db:²",
    ],
)
def test_what_is_no_tunnel(text: str) -> None:
    with pytest.raises(UsageError, match="-L"):
        parse_tunnel(text, "-L", reverse=False)


def test_tunnels_of_the_command_line() -> None:
    line = parse(["-g", "-L1:a:2", "-R", "x:3:b:4", "-o", "LocalForward 5 c:6", "host", "true"])
    assert line.settings.tunnels == [
        Tunnel(False, "*", 1, "a", 2),
        Tunnel(True, "x", 3, "b", 4),
        Tunnel(False, "*", 5, "c", 6),
    ]
    assert not line.is_shareable  # it would listen as long as the shared connection
    assert parse(["host", "true"]).is_shareable
