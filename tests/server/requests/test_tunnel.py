"""connect, listen and accept over real sockets: what a client could ask too much of, or take from another."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.server.requests.tunnel import Tunnel
from remote_shell.testing import RunningServer
from remote_shell.wire.frames import STDIN
from remote_shell.wire.messages import CLOSE, Accepted, Eof, Open

from ...listening import listener
from ..conftest import Place, Starter, children_of, descriptors
from ..raw_client import Command, RawClient, until

pytestmark = pytest.mark.screen  # as a file it takes long

WITHIN = 15.0


def ask(client: RawClient, request: str, **fields: object) -> tuple[int, Command]:
    channel = client.open(None, request=request, stdin="pipe", **fields)
    command = client.commands[channel]
    client.wait(lambda: command.opened or command.rejected, request)
    return channel, command


def listen(client: RawClient, **fields: object) -> tuple[int, Command, int]:
    channel, command = ask(client, "listen", **fields)
    assert command.opened is not None and command.opened.port
    return channel, command, command.opened.port


def accepted(client: RawClient, command: Command, count: int = 1) -> list[Accepted]:
    client.wait(lambda: len(command.others) >= count, "accepted")
    assert all(isinstance(one, Accepted) for one in command.others)
    return command.others


@pytest.fixture
def client(local: Place) -> Iterator[RawClient]:
    with local.connect() as connected:
        yield connected


@pytest.fixture
def service() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WITHIN)
        yield listener


def test_what_comes_before_the_connection_is_there_is_not_lost(client: RawClient, service: socket.socket) -> None:
    channel = client.open(None, request="connect", host="127.0.0.1", port=service.getsockname()[1], stdin="pipe")
    client.session.send_data(channel, STDIN, b"at once")
    client.session.send_message(channel, Eof(stream=STDIN))
    client.flush()
    far, _ = service.accept()
    with far:
        assert b"".join(iter(lambda: far.recv(100), b"")) == b"at once"
        far.sendall(b"the answer")
    command = client.commands[channel]
    client.wait(lambda: command.closed, "its end")
    assert command.text() == b"the answer" and command.exit is not None and command.exit.status == 0


@pytest.mark.parametrize(
    "fields", [{}, {"host": "127.0.0.1"}, {"port": 80}, {"host": "", "port": 80}, {"host": "a", "port": 0}]
)
def test_a_connection_to_nowhere(client: RawClient, fields: dict[str, object]) -> None:
    _, command = ask(client, "connect", **fields)
    assert command.rejected is not None and command.rejected.code == "bad_request"


@pytest.mark.parametrize("host", ["x" * 300, "ä" * 70, "a..b", "\N{SNOWMAN}.example"])
def test_names_that_can_not_be(client: RawClient, host: str) -> None:
    _, command = ask(client, "connect", host=host, port=80)
    assert command.rejected is not None and command.rejected.code == "connect_failed"


def test_no_answer(start: Starter) -> None:
    running = start(("unix:",), tunnel_connect_time=0.2)
    with socket.socket() as full:  # a backlog that is full drops the SYN, as a firewall does
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                one = stack.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex(full.getsockname())
            with Place(running, "unix").connect() as client:
                before = time.monotonic()
                _, command = ask(client, "connect", host="127.0.0.1", port=full.getsockname()[1])
                assert command.rejected is not None and command.rejected.code == "connect_failed"
                assert "no answer within 0.2 s" in command.rejected.detail
                assert time.monotonic() - before < 2


def test_one_given_up_before_it_is_there(start: Starter) -> None:
    running = start(("unix:",))
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        with Place(running, "unix").connect() as client:
            before = descriptors(running.process.pid)
            channel = client.open(None, request="connect", host="127.0.0.1", port=full.getsockname()[1], stdin="pipe")
            client.session.send_message(channel, CLOSE)
            client.flush()
            client.wait(lambda: client.commands[channel].closed, "closed on both sides")
            until(lambda: descriptors(running.process.pid) <= before, "its socket is gone")


def test_another_principal_can_not_take_a_connection(served: RunningServer, client: RawClient) -> None:
    _, command, port = listen(client)
    with socket.create_connection(("127.0.0.1", port), WITHIN) as near:
        (one,) = accepted(client, command)
        for kind in ("tls", "tcp"):
            with Place(served, kind).connect() as other:
                _, answer = ask(other, "accept", id=one.id)
                assert answer.rejected is not None and answer.rejected.code == "no_such_connection"
        channel, _ = ask(client, "accept", id=one.id)
        near.sendall(b"mine")
        client.wait(lambda: client.commands[channel].text() == b"mine", "its bytes")
        _, again = ask(client, "accept", id=one.id)
        assert again.rejected is not None and again.rejected.code == "no_such_connection"


def test_who_may_not_forward_may_not(served: RunningServer, service: socket.socket) -> None:
    for kind in ("tls", "tcp"):
        with Place(served, kind).connect() as other:
            for request, fields in (
                ("connect", {"host": "127.0.0.1", "port": service.getsockname()[1]}),
                ("listen", {}),
            ):
                _, command = ask(other, request, **fields)
                assert command.rejected is not None and command.rejected.code == "forwarding_denied"
    with Place(served, "tls").connect_by_secret() as other:
        _, command = ask(other, "listen")
        assert command.rejected is not None and command.rejected.code == "forwarding_denied"
    service.settimeout(0)
    with pytest.raises(BlockingIOError):
        service.accept()


def test_connections_that_nobody_takes_are_bounded(start: Starter) -> None:
    running = start(("unix:",), tunnel_waiting_max=3, tunnel_waiting_time=1.5)
    with Place(running, "unix").connect() as client, contextlib.ExitStack() as stack:
        _, command, port = listen(client)
        near = [stack.enter_context(socket.create_connection(("127.0.0.1", port), WITHIN)) for _ in range(5)]
        accepted(client, command, 3)
        client.pump(0.1)
        assert len(command.others) == 3  # the kernel holds the others
        for sock in near[:3]:
            assert sock.recv(1) == b""  # nobody took them in time
        accepted(client, command, 5)  # and then the others have their turn
        channel, _ = ask(client, "accept", id=command.others[4].id)
        near[4].sendall(b"in time")
        client.wait(lambda: client.commands[channel].text() == b"in time", "its bytes")


def test_listeners_are_bounded(start: Starter) -> None:
    running = start(("unix:",), tunnel_listeners_max=2)
    with Place(running, "unix").connect() as client:
        first, command, _ = listen(client)
        listen(client)
        _, third = ask(client, "listen")
        assert third.rejected is not None and "2 listeners" in third.rejected.detail
        client.session.send_message(first, Eof(stream=STDIN))
        client.flush()
        client.wait(lambda: command.closed, "the first one's end")
        assert command.exit is not None and command.exit.status == 0
        listen(client)


def test_nothing_is_left_of_a_session(local: Place) -> None:
    pid = local.running.process.pid
    with local.connect() as client:
        client.run(["true"])
    until(lambda: not children_of(pid), "quiet")
    before = descriptors(pid)
    with local.connect() as client, contextlib.ExitStack() as stack:
        _, command, port = listen(client)
        listening = listener(port)
        assert listening
        near = [stack.enter_context(socket.create_connection(("127.0.0.1", port), WITHIN)) for _ in range(3)]
        for one in accepted(client, command, 3)[:2]:
            ask(client, "accept", id=one.id)
        client.bye()
        for sock in near:
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(1) == b""
    until(lambda: descriptors(pid) <= before, "all its sockets are gone")
    assert listener(port) != listening


class FullTransport(asyncio.Transport):
    """One that is full after each write, until it is told otherwise."""

    def __init__(self, protocol: Tunnel) -> None:
        super().__init__()
        self.protocol = protocol
        self.written: list[bytes] = []
        self.ended = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))
        self.protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True


class Credit:
    """As much of a channel as a tunnel needs that only sends."""

    def __init__(self) -> None:
        self.given = 0

    def perform(self, action: Callable[[], None]) -> None:
        action()

    def send_now(self, message: object) -> None:
        """Nobody listens."""

    def consumed(self, count: int) -> None:
        self.given += count


async def test_single_bytes_for_a_slow_one_are_one_piece() -> None:
    """asyncio's own buffer, from Python 3.12 on, counts all pieces anew with each: a window of these took 20 minutes of the loop."""
    loop, go, gone = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    limits = dataclasses.replace(DEFAULT_LIMITS, tunnel_queue_max=500)
    context: Any = SimpleNamespace(loop=loop, limits=limits)
    channel, transports = Credit(), list[FullTransport]()

    async def make(protocol: asyncio.Protocol) -> Any:
        await go.wait()
        assert isinstance(protocol, Tunnel)
        transports.append(FullTransport(protocol))
        protocol.connection_made(transports[0])
        gone.set()

    message = Open(request="connect", id="a", window=1, host="h", port=1)
    tunnel = Tunnel(context, channel, message, make, "it")  # type: ignore[arg-type]
    for number in range(1000):
        tunnel.data(b"%d" % (number % 10))
    assert channel.given == 0
    go.set()
    await gone.wait()
    (transport,) = transports
    assert transport.written == [b"0123456789" * 100] and channel.given == 1000
    for number in range(1000):
        tunnel.data(b"%d" % (number % 10))
    tunnel.input_end()
    assert len(transport.written) == 1 and channel.given == 1500 and not transport.ended
    tunnel.resume_writing()
    assert transport.written == [b"0123456789" * 100] * 2 and channel.given == 2000 and transport.ended
