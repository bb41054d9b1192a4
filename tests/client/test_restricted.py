"""What both clients tell of a key that may not do all: an error that says why, and the truth about time."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import remote_shell
from remote_shell import testing
from remote_shell.errors import CommandRefusedError, ConnectionLostError, ShellEndedError
from tests.server.test_rights import new_line, rewrite

pytestmark = pytest.mark.screen  # as a file it takes long

Connect = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[testing.RunningServer]:
    with testing.server(("unix:", "tls:127.0.0.1:0"), config="[limits]\nrevocation_look_time = 0.05\n") as running:
        yield running


@pytest.fixture
def key(server: testing.RunningServer, tmp_path: Path) -> Connect:
    """Authorizes a new key with options; what `connect` needs besides the target."""

    def make(options: str) -> dict[str, Any]:
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        private, line = new_line(options)
        path = Path(server.home) / "authorized_keys"
        rewrite(str(path), path.read_text() + line)
        identity = tmp_path / "identity"
        identity.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        identity.chmod(0o600)
        return {**server.options("tls"), "identity": str(identity)}

    return make


def test_refusals(server: testing.RunningServer, key: Connect, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with remote_shell.connect(server.targets["tls"], **key('restrict,allow="echo *"')) as host:
        assert host.run(["echo", "a;b"], stdout=remote_shell.PIPE, env={"LD_PRELOAD": "/x"}).stdout == b"a;b\n"
        assert host.run("echo 'a b'", shell=True, stdout=remote_shell.PIPE).stdout == b"a b\n"
        asked: list[Callable[[], object]] = [
            lambda: host.run(["id"]),
            lambda: host.run("echo a; id", shell=True),
            lambda: host.popen(["id"]),
            lambda: host.run(["echo"], pty=True),
            lambda: host.detach(["echo"]),
            host.jobs,
            host.shell,
            lambda: host.put(str(tmp_path / "file"), "x"),
            lambda: host.get("/etc/hostname", str(tmp_path)),
        ]
        for ask in asked:
            with pytest.raises(CommandRefusedError, match=": refused: this key may ") as caught:
                ask()
            assert caught.value.code == "not_permitted" and caught.value.reason.startswith("this key may ")


async def test_refusals_awaited(server: testing.RunningServer, key: Connect) -> None:
    async with remote_shell.connect_async(server.targets["tls"], **key('restrict,allow="echo *"')) as host:
        for ask in (
            lambda: host.run(["id"]),
            lambda: host.detach(["echo"]),
            lambda: host.get("/etc/hostname", "/tmp/x"),
        ):
            with pytest.raises(CommandRefusedError, match=": refused: this key may run only: echo *") as caught:
                await ask()
            assert caught.value.code == "not_permitted"


@pytest.mark.parametrize("timeout", [None, 60])
def test_the_time_that_is_told_is_the_time_that_there_was(
    server: testing.RunningServer, key: Connect, timeout: float | None
) -> None:
    with remote_shell.connect(server.targets["tls"], **key('timeout="0.1"')) as host:
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            host.run(["sleep", "60"], timeout=timeout)
        assert 0.1 <= caught.value.timeout < 15
        with host.popen(["sleep", "60"]) as process:
            assert process.wait() < 0 and process.result is not None and process.result.timed_out


def test_a_shell_whose_time_is_over_says_so(server: testing.RunningServer, key: Connect) -> None:
    with remote_shell.connect(server.targets["tls"], **key('timeout="0.5"')) as host, host.shell() as shell:
        with pytest.raises(ShellEndedError, match="since its time was over"):
            while True:
                shell.run("sleep 60")


async def test_the_same_awaited(server: testing.RunningServer, key: Connect) -> None:
    async with remote_shell.connect_async(server.targets["tls"], **key('timeout="0.1"')) as host:
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            await host.run(["sleep", "60"])
        assert 0.1 <= caught.value.timeout < 15


def test_a_key_that_is_taken_away_says_why_the_connection_is_lost(server: testing.RunningServer, key: Connect) -> None:
    path = Path(server.home) / "authorized_keys"
    before = path.read_text()
    with remote_shell.connect(server.targets["tls"], **key("")) as host:
        process = host.popen(["sh", "-c", "echo up; sleep 60"], stdout=remote_shell.PIPE)
        assert process.stdout.readline() == b"up\n"
        rewrite(str(path), before)
        with pytest.raises(ConnectionLostError, match="its key was taken off the server's list"):
            process.wait()
