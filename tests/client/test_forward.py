"""Tunnels, both ways, through both fronts: real sockets, a real server, real cuts."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import resource
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_shell import testing
from remote_shell.client.async_ import AsyncHost, connect_async
from remote_shell.client.blocking import Host, connect
from remote_shell.client.forward import address_of, reset
from remote_shell.errors import CommandRefusedError, UsageError
from tests.listening import listener
from tests.proxy import Proxy

pytestmark = pytest.mark.screen  # as a file it takes long

WITHIN = 15.0


class Digester:
    """A service that reads to the end and answers with what it read: so it shows whether half-closing passes."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.open = 0
        self._serving = threading.Thread(target=self._serve)
        self._serving.start()

    def _serve(self) -> None:
        threads = []
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                break
            threads.append(threading.Thread(target=self._one, args=(sock,)))
            threads[-1].start()
        for thread in threads:
            thread.join(WITHIN)

    def _one(self, sock: socket.socket) -> None:
        self.open += 1
        digest = hashlib.sha256()
        with sock, contextlib.suppress(OSError):
            while data := sock.recv(65536):
                digest.update(data)
            sock.sendall(digest.hexdigest().encode())
        self.open -= 1

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._serving.join(WITHIN)


def ask(address: tuple[str, int], data: bytes) -> bytes:
    """What the service answers; `ConnectionResetError` if the tunnel cut it off, at whichever call the kernel tells it."""
    with socket.create_connection(address, WITHIN) as sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ENOTCONN):
                raise
            raise ConnectionResetError(error.errno, error.strerror) from None
        return b"".join(iter(lambda: sock.recv(65536), b""))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def service() -> Iterator[Digester]:
    digester = Digester()
    yield digester
    digester.close()


@pytest.fixture(scope="module")
def server() -> Iterator[testing.RunningServer]:
    with testing.server(("unix:", "tls:127.0.0.1:0"), config="allow_tcp_forwarding = true\n") as running:
        yield running


@pytest.fixture(scope="module")
def strict() -> Iterator[testing.RunningServer]:
    """One where each key's line decides."""
    with testing.server(("unix:", "tls:127.0.0.1:0")) as running:
        yield running


@pytest.fixture(params=["unix", "tls"])
def host(request: pytest.FixtureRequest, server: testing.RunningServer) -> Iterator[Host]:
    with connect(server.targets[request.param], **server.options(request.param)) as connected:
        yield connected


@contextlib.asynccontextmanager
async def async_host(server: testing.RunningServer) -> AsyncIterator[AsyncHost]:
    async with connect_async(server.targets["unix"], **server.options("unix")) as connected:
        yield connected


@pytest.mark.parametrize("reverse", [False, True])
def test_bytes_and_both_ends_pass(host: Host, service: Digester, reverse: bool) -> None:
    data = os.urandom(1_000_000)
    with host.forward(0, service.port, reverse=reverse) as tunnel:
        assert tunnel.address[0] == "127.0.0.1" and tunnel.address[1] > 0
        assert ask(tunnel.address, data) == hashlib.sha256(data).hexdigest().encode()
        assert ask(tunnel.address, b"") == hashlib.sha256(b"").hexdigest().encode()
        assert str(service.port) in repr(tunnel)
        listening = listener(tunnel.address[1])
        assert listening
    assert listener(tunnel.address[1]) != listening
    assert host.run(["echo", "still"], capture_output=True).stdout == b"still\n"


@pytest.mark.parametrize("reverse", [False, True])
def test_asyncio(server: testing.RunningServer, service: Digester, reverse: bool) -> None:
    data = os.urandom(1_000_000)

    async def both() -> tuple[int, int, list[bytes]]:
        async with async_host(server) as host, await host.forward(0, service.port, reverse=reverse) as tunnel:
            calls = [asyncio.to_thread(ask, tunnel.address, data) for _ in range(8)]
            answers = await asyncio.gather(*calls)
            assert (await host.run(["true"])).returncode == 0
            return tunnel.address[1], listener(tunnel.address[1]), answers

    port, listening, answers = asyncio.run(both())
    assert answers == [hashlib.sha256(data).hexdigest().encode()] * 8
    assert listening and listener(port) != listening


def test_many_at_once_beside_a_command(host: Host, service: Digester) -> None:
    data = [os.urandom(50_000 + number) for number in range(20)]
    answers: dict[int, bytes] = {}
    with host.forward(0, service.port) as tunnel:
        threads = [
            threading.Thread(target=lambda n=n: answers.__setitem__(n, ask(tunnel.address, data[n]))) for n in range(20)
        ]
        for thread in threads:
            thread.start()
        assert host.run("seq 1000 | tail -1", shell=True, capture_output=True).stdout == b"1000\n"
        for thread in threads:
            thread.join(WITHIN)
    assert answers == {n: hashlib.sha256(data[n]).hexdigest().encode() for n in range(20)}


@pytest.mark.parametrize("reverse", [False, True])
def test_nobody_listens_there(host: Host, reverse: bool) -> None:
    told: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with host.forward(0, port, reverse=reverse, on_error=told.append) as tunnel:
        with pytest.raises(ConnectionResetError), socket.create_connection(tunnel.address, WITHIN) as sock:
            assert sock.recv(1) == b""
            raise ConnectionResetError  # an end is as good a word
        wait_until(lambda: bool(told))
    assert "Connection refused" in told[0] and str(port) in told[0]
    assert tunnel.last_error == told[0]


def test_a_connection_that_breaks_there_breaks_here(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, host.forward(0, listener.getsockname()[1]) as tunnel:
        with socket.create_connection(tunnel.address, WITHIN) as near:
            far, _ = listener.accept()
            near.sendall(b"x")
            assert far.recv(1) == b"x"
            reset(far)
            with pytest.raises(ConnectionResetError):
                near.recv(1)


def test_who_does_not_read_stops_the_other_and_nobody_else(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, host.forward(0, listener.getsockname()[1]) as tunnel:
        with socket.create_connection(tunnel.address, WITHIN) as near:
            far, _ = listener.accept()
            near.settimeout(0.5)
            sent = 0
            with pytest.raises(TimeoutError):
                while True:
                    sent += near.send(b"x" * 65536)
            assert sent < 32 * 1024 * 1024  # the kernel's buffers and the windows
            assert host.run(["echo", "free"], capture_output=True, timeout=WITHIN).stdout == b"free\n"
            near.shutdown(socket.SHUT_WR)
            with far:
                assert sum(map(len, iter(lambda: far.recv(1 << 20), b""))) == sent


def test_a_tunnel_survives_cuts(server: testing.RunningServer, service: Digester) -> None:
    data = os.urandom(4_000_000)
    target = server.targets["tls"]
    with Proxy(target) as proxy, connect(proxy.target, **server.options("tls")) as host:
        with host.forward(0, service.port) as tunnel:
            with socket.create_connection(tunnel.address, WITHIN) as sock:
                for at in range(0, len(data), 500_000):
                    sock.sendall(data[at : at + 500_000])
                    proxy.cut()
                sock.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: sock.recv(100), b""))
        assert answer == hashlib.sha256(data).hexdigest().encode()
        assert proxy.cuts >= 2  # those that came before it was back do not count


def test_closing_the_tunnel_ends_its_connections(host: Host, service: Digester) -> None:
    with host.forward(0, service.port) as tunnel:
        near = socket.create_connection(tunnel.address, WITHIN)
        near.sendall(b"x")
        wait_until(lambda: service.open == 1)
    near.settimeout(WITHIN)
    with near, contextlib.suppress(ConnectionResetError):
        assert near.recv(1) == b""
    wait_until(lambda: service.open == 0)  # on the other side too


def test_closing_the_host_ends_its_tunnels(server: testing.RunningServer, service: Digester) -> None:
    with connect(server.targets["unix"]) as host:
        told: list[str] = []
        tunnel = host.forward(0, service.port, reverse=True, on_error=told.append)
        assert ask(tunnel.address, b"x")
        listening = listener(tunnel.address[1])
        assert listening
    wait_until(lambda: listener(tunnel.address[1]) != listening)
    wait_until(lambda: not any(thread.name == repr(tunnel) for thread in threading.enumerate()))
    assert told == []  # it was asked for


def test_a_port_that_is_taken(host: Host, service: Digester) -> None:
    with pytest.raises(OSError, match="in use") as failed:
        host.forward(service.port, 1)
    assert failed.value.filename == f"127.0.0.1:{service.port}"
    with pytest.raises(
        CommandRefusedError, match=f"can't listen on 127.0.0.1 port {service.port}: Address already in use"
    ):
        host.forward(service.port, 1, reverse=True)


def test_a_name_that_nobody_has(host: Host) -> None:
    with host.forward(0, "no-such-host.invalid:80") as tunnel:
        with socket.create_connection(tunnel.address, WITHIN) as sock, contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
        wait_until(lambda: bool(tunnel.last_error))
    assert "can't connect to no-such-host.invalid:80: the name is unknown there" in tunnel.last_error


@pytest.mark.parametrize(
    ("value", "address"),
    [
        (80, ("127.0.0.1", 80)),
        ("80", ("127.0.0.1", 80)),
        ("db:5432", ("db", 5432)),
        ("[::1]:80", ("::1", 80)),
        (("a", 1), ("a", 1)),
    ],
)
def test_addresses(value: Any, address: tuple[str, int]) -> None:
    assert address_of(value, least=0) == address


@pytest.mark.parametrize(
    "value",
    [
        "",
        "db",
        "db:",
        "db:http",
        65536,
        -1,
        "db:99999",
        ("", 80),
        ("a\0b", 80),
        ("x" * 300, 80),
        ("\udcff", 80),
        "db:²",
    ],
)
def test_what_is_no_address(value: Any) -> None:
    with pytest.raises(UsageError):
        address_of(value, least=0)
    with pytest.raises(UsageError):
        address_of(0, least=1)


def test_a_port_is_a_whole_number() -> None:
    address = address_of(("h", True), least=1)
    assert address == ("h", 1) and type(address[1]) is int, "no message has true for a port"
    port: Any
    for port in (80.0, "80", None):
        with pytest.raises(TypeError):
            address_of(("h", port), least=1)


def test_a_listener_there_is_on_loopback(host: Host, service: Digester) -> None:
    with pytest.raises(CommandRefusedError, match="gateway_ports = true"):
        host.forward(("0.0.0.0", 0), service.port, reverse=True)
    with pytest.raises(CommandRefusedError, match="gateway_ports = true"):
        host.forward(("*", 0), service.port, reverse=True)
    with pytest.raises(CommandRefusedError, match="no address of the server's machine"):
        host.forward(("example.org", 0), service.port, reverse=True)
    with host.forward(("localhost", 0), service.port, reverse=True) as tunnel:
        listening = subprocess.run(
            ["ss", "-Hltn", f"sport = :{tunnel.address[1]}"], capture_output=True, text=True
        ).stdout
        assert f"127.0.0.1:{tunnel.address[1]}" in listening


def keyed(server: testing.RunningServer, options: str) -> None:
    path = Path(server.home) / "authorized_keys"
    line = path.read_text()
    path.write_text(f"{options}{' ' if options else ''}{line[line.index('ssh-ed25519') :]}")


@pytest.mark.parametrize(
    ("options", "connects", "listens"),
    [
        ("", False, False),
        ("port-forwarding", True, True),
        ('permitopen="127.0.0.1:PORT"', True, False),
        ('permitopen="127.0.0.1:*"', True, False),
        ('permitopen="127.0.0.1:1",permitopen="LOCALHOST:PORT"', False, False),
        ('port-forwarding,permitopen="other:1"', False, True),
        ('permitlisten="*"', False, True),
        ('permitlisten="127.0.0.1:*"', False, True),
        ('port-forwarding,permitlisten="1"', True, False),
        ("no-port-forwarding", False, False),
    ],
)
def test_a_key_may_what_its_line_says(
    strict: testing.RunningServer, service: Digester, options: str, connects: bool, listens: bool
) -> None:
    keyed(strict, options.replace("PORT", str(service.port)))
    with connect(strict.targets["tls"], **strict.options("tls")) as host:
        assert host.run(["true"]).returncode == 0
        with host.forward(0, service.port) as tunnel:
            with contextlib.suppress(ConnectionResetError):
                assert bool(ask(tunnel.address, b"x")) is connects
            assert ("may not forward" in tunnel.last_error) is not connects
        with contextlib.ExitStack() as stack:
            if not listens:
                stack.enter_context(pytest.raises(CommandRefusedError, match="may not"))
            host.forward(0, service.port, reverse=True).close()


def test_the_settings_are_over_the_keys(service: Digester) -> None:
    with testing.server(("unix:", "tls:127.0.0.1:0"), config="allow_tcp_forwarding = false\n") as running:
        keyed(running, "port-forwarding")
        for kind in ("unix", "tls"):
            with connect(running.targets[kind], **running.options(kind)) as host:
                with pytest.raises(CommandRefusedError, match="allow_tcp_forwarding = false"):
                    host.forward(0, service.port, reverse=True)
                with host.forward(0, service.port) as tunnel, contextlib.suppress(ConnectionResetError):
                    assert ask(tunnel.address, b"") == b""
                assert "allow_tcp_forwarding = false" in tunnel.last_error


def test_what_a_line_says_now_counts(strict: testing.RunningServer, service: Digester) -> None:
    keyed(strict, "port-forwarding")
    with connect(strict.targets["tls"], **strict.options("tls")) as host, host.forward(0, service.port) as tunnel:
        assert ask(tunnel.address, b"x")
        keyed(strict, "no-port-forwarding")
        with contextlib.suppress(ConnectionResetError):
            assert ask(tunnel.address, b"x") == b""
        assert "may not forward" in tunnel.last_error


# --- connections without a port here


def test_a_connection_is_shaped_like_a_process(host: Host, service: Digester) -> None:
    data = os.urandom(3_000_000)
    for to in (service.port, f"127.0.0.1:{service.port}", ("127.0.0.1", service.port)):
        with host.open_connection(to) as connection:
            assert connection.communicate(data) == (hashlib.sha256(data).hexdigest().encode(), None)
            assert connection.returncode == 0


def test_a_connection_of_descriptors_of_ours(host: Host, service: Digester, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"from a file")
    with (tmp_path / "in").open("rb") as given, (tmp_path / "out").open("wb") as taken:
        connection = host.open_connection(service.port, stdin=given, stdout=taken)
        assert connection.wait() == 0
        connection.communicate()
    assert (tmp_path / "out").read_text() == hashlib.sha256(b"from a file").hexdigest()


def test_a_connection_that_breaks_there_has_another_status(host: Host) -> None:
    """Whether the end of what goes there meets a connection that is broken already, or does not."""
    for _ in range(20):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            connection = host.open_connection(listening.getsockname()[1])
            far, _ = listening.accept()
            reset(far)
            assert connection.communicate(b"")[0] == b"" and connection.returncode
    assert host.run(["true"]).returncode == 0


def test_a_connection_to_nowhere_is_refused(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(CommandRefusedError, match="Connection refused"):
        host.open_connection(port)
    for wrong in (0, 65536, "db", "db:x", "\0:1"):
        with pytest.raises(UsageError):
            host.open_connection(wrong)
    assert host.run(["true"]).returncode == 0


def test_a_key_that_may_not_forward_may_not_connect(strict: testing.RunningServer, service: Digester) -> None:
    keyed(strict, "no-port-forwarding")
    with connect(strict.targets["tls"], **strict.options("tls")) as host:
        with pytest.raises(CommandRefusedError, match="may not forward"):
            host.open_connection(service.port)
        assert not service.open


async def test_a_connection_of_the_asyncio_front(server: testing.RunningServer, service: Digester) -> None:
    async with connect_async(server.targets["unix"]) as host:
        connection = await host.open_connection(service.port)
        assert await connection.communicate(b"x" * 1_000_000) == (
            hashlib.sha256(b"x" * 1_000_000).hexdigest().encode(),
            None,
        )
        assert connection.returncode == 0


def test_a_name_with_a_nul_is_answered(host: Host) -> None:
    with pytest.raises(CommandRefusedError, match="can't connect"):  # our own front would not ask
        host._connect("127.0.0.1\0x", 80)
    assert host.run("echo well", shell=True, stdout=-1).stdout == b"well\n"


def test_a_name_here_that_is_none_is_told(host: Host) -> None:
    told: list[str] = []
    with (
        host.forward(("127.0.0.1", 0), ("a..b", 80), reverse=True, on_error=told.append) as tunnel,
        socket.create_connection(tunnel.address, WITHIN) as sock,
        contextlib.suppress(ConnectionResetError),
    ):
        sock.settimeout(WITHIN)
        assert sock.recv(1) == b""
    assert "a..b" in told[0]


def test_a_server_without_descriptors_waits_for_some(service: Digester) -> None:
    with testing.server(("unix:",)) as running, connect(running.targets["unix"]) as host:
        pid = running.process.pid

        def ticks() -> int:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])

        with host.forward(("127.0.0.1", 0), ("127.0.0.1", service.port), reverse=True) as tunnel:
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
            with socket.create_connection(tunnel.address, WITHIN) as sock:
                began = ticks()
                threading.Event().wait(0.5)  # its processor time in this while is what is measured
                assert ticks() - began < 20
                resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
                sock.shutdown(socket.SHUT_WR)
                assert len(sock.recv(100)) == 64
