"""Links on real sockets: never waiting, little unsent, TLS in whatever pieces it comes."""

from __future__ import annotations

import os
import select
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from remote_shell.identity.server_identity import ServerIdentity
from remote_shell.identity.tls import client_context, peer_key_hash
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.link import RECEIVE_CLIENT, RECEIVE_SIZE, RECEIVE_SMALL, Link, PlainLink, TlsLink, awaits_hello

MOST = DEFAULT_LIMITS.unsent_max
IDENTITY = ServerIdentity(bytes(range(32)))
SERVER = IDENTITY.server_context()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]


def tls_pair() -> tuple[TlsLink, TlsLink]:
    """Two ends of TLS, client first, after the handshake."""
    one, other = tcp_pair()
    client = TlsLink(one, MOST, client_context(), server_side=False)
    server = TlsLink(other, MOST, SERVER, server_side=True)
    until(lambda: client.handshake() & server.handshake(), "the handshake")
    return client, server


def until(true: Callable[[], object], what: str = "") -> None:
    """Look until it holds."""
    end = time.monotonic() + 15
    while not true():
        assert time.monotonic() < end, what


@pytest.fixture(params=["unix", "tcp", "tls"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Link, Link]]:
    """Two ends of each kind."""
    ends: tuple[Link, Link]
    if request.param == "tls":
        ends = tls_pair()
    else:
        one, other = socket.socketpair() if request.param == "unix" else tcp_pair()
        ends = PlainLink(one, MOST), PlainLink(other, MOST)
    assert ends[0].transport == request.param
    yield ends
    for end in ends:
        end.close()


def receive(link: Link, count: int) -> bytes:
    """So many bytes."""
    data = bytearray()
    until(lambda: len(data) >= count or data.extend(link.recv() or b""), f"{count} bytes")  # type: ignore[func-returns-value]
    return bytes(data)


def test_nothing_now_and_the_end(pair: tuple[Link, Link]) -> None:
    one, other = pair
    assert one.recv() is None
    assert other.send([b"abc", memoryview(b"xdefx")[1:-1]]) == 6 and other.flush()
    assert receive(one, 6) == b"abcdef"
    other.close()
    other.close()
    assert other.fileno() == -1
    until(lambda: one.recv() == b"", "the end")
    assert one.recv() == b"", "and it stays the end"


def test_many_buffers_in_order(pair: tuple[Link, Link]) -> None:
    """More than one system call takes: what is left is said."""
    one, other = pair
    buffers = [b"%06d" % number for number in range(2000)]
    data, sent, got = b"".join(buffers), 0, bytearray()
    end = time.monotonic() + 15
    while len(got) < len(data):
        assert time.monotonic() < end
        if sent < len(data):
            assert sent % 6 == 0
            sent += one.send(buffers[sent // 6 :])
        one.flush()
        got += other.recv() or b""
    assert bytes(got) == data


def test_a_peer_that_does_not_read(pair: tuple[Link, Link]) -> None:
    """`send` says 0 instead of waiting; later everything goes on where it was."""
    one, other = pair
    chunk, sent = os.urandom(MOST), 0
    while count := one.send([chunk]):
        sent += count
        assert sent < 64 * 2**20
    got = bytearray()
    end = time.monotonic() + 15
    while len(got) < sent:
        assert time.monotonic() < end
        one.flush()
        got += other.recv() or b""
    whole = chunk * (sent // MOST + 1)
    assert bytes(got) == whole[:sent] or one.transport != "tls"
    assert one.flush()
    assert one.send([b"on"]) == 2


@pytest.mark.parametrize("kernel", [True, False])
def test_little_lies_unsent_over_tcp(kernel: bool) -> None:
    """What is urgent waits behind at most twice the bound: what lay there, and the write that passed it.

    Linux keeps to TCP_NOTSENT_LOWAT in send(2) as well, which tcp(7) does not promise: so also where it would not.
    """
    one, other = tcp_pair()
    link = PlainLink(one, MOST)
    if not kernel:
        one.setsockopt(socket.IPPROTO_TCP, 25, 2**31 - 1)
    while link.send([bytes(MOST)]):
        assert link.unsent() <= 2 * MOST
    assert MOST <= link.unsent() <= 2 * MOST
    poll = select.poll()
    poll.register(one, select.POLLOUT)
    assert not kernel or not poll.poll(20), "no driver turns in circles meanwhile"
    end = time.monotonic() + 15
    while link.unsent() >= MOST:
        assert time.monotonic() < end
        other.recv(2**20)
    assert poll.poll(1000), "and it is told when there is room"
    link.close()
    other.close()


def test_little_lies_unsent_over_tls() -> None:
    one, other = tls_pair()
    while one.send([bytes(MOST)]):
        assert one._plain.unsent() + len(one._kept) + one._outgoing.pending <= 2.2 * MOST
    one.close()
    other.close()


def test_options_of_a_tcp_socket() -> None:
    one, other = tcp_pair()
    PlainLink(one, MOST)
    assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert one.getsockopt(socket.IPPROTO_TCP, 25) == MOST, "TCP_NOTSENT_LOWAT"
    assert not one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT), "it would cut who does not read"
    assert not one.getblocking()
    one.close()
    other.close()


def test_a_reset_is_an_error(pair: tuple[Link, Link]) -> None:
    one, other = pair
    if one.transport == "unix":
        other.close()
        with pytest.raises(BrokenPipeError):
            one.send([b"x"])
        return
    sock = socket.socket(fileno=os.dup(other.fileno()))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    other_plain = other._plain if isinstance(other, TlsLink) else other
    other_plain.close()
    sock.close()
    with pytest.raises(ConnectionResetError):
        until(lambda: one.recv() == b"never", "a reset")


# --- TLS


def test_tls_shows_the_servers_key() -> None:
    client, server = tls_pair()
    assert peer_key_hash(client.peer_certificate()) == IDENTITY.key_hash
    assert server.peer_certificate() == b""
    client.close()
    server.close()


@pytest.mark.parametrize("size", [1, 3, 100])
def test_tls_in_small_pieces(size: int) -> None:
    """Handshake and data through a middle that passes on `size` bytes at a time."""
    (one, left), (right, other) = tcp_pair(), tcp_pair()
    client = TlsLink(one, MOST, client_context(), server_side=False)
    server = TlsLink(other, MOST, SERVER, server_side=True)
    for sock in (left, right):
        sock.setblocking(False)

    def pass_on() -> None:
        for source, target in ((left, right), (right, left)):
            try:
                target.sendall(source.recv(size))
            except BlockingIOError:
                continue

    end = time.monotonic() + 15
    while not (client.handshake() & server.handshake()):
        assert time.monotonic() < end
        pass_on()
    client.send([b"hello"])
    got = None
    while got is None:
        assert time.monotonic() < end
        pass_on()
        got = server.recv()
    assert got == b"hello"
    for sock in (left, right):
        sock.close()
    client.close()
    server.close()


def test_tls_that_ends_without_a_goodbye_is_an_end() -> None:
    """A cut: frames are counted, so a truncated stream can't pass for a whole one."""
    client, server = tls_pair()
    client.send([b"last words"])
    client._plain.close()
    data = bytearray()
    until(lambda: (got := server.recv()) == b"" or bool(data.extend(got or b"")), "the end")  # type: ignore[func-returns-value]
    assert data == b"last words" and server.recv() == b""
    server.close()


def test_tls_says_goodbye() -> None:
    """close_notify goes out with the close, and does not wait for the other's."""
    client, server = tls_pair()
    plain = socket.socket(fileno=os.dup(server.fileno()))
    plain.setblocking(True)
    client.close()
    assert plain.recv(1000)[0] == 23, "an encrypted record and not just the end of TCP"
    assert plain.recv(1000) == b""
    plain.close()
    server.close()


def test_tls_closes_though_the_peer_does_not_read() -> None:
    client, server = tls_pair()
    while client.send([bytes(MOST)]):
        continue
    began = time.monotonic()
    client.close()
    assert time.monotonic() - began < 0.5 and client.fileno() == -1
    server.close()


def test_tls_that_is_refused_says_why() -> None:
    """The alert leaves before the error is told."""
    context, outgoing = client_context(), ssl.MemoryBIO()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    one, other = tcp_pair()
    server = TlsLink(other, MOST, SERVER, server_side=True)
    assert server.handshake() is False
    one.sendall(outgoing.read())
    with pytest.raises(ssl.SSLError):
        until(server.handshake)
    one.settimeout(5)
    assert one.recv(100)[:1] == b"\x15", "an alert"
    server.close()
    one.close()


def test_a_forged_record_is_an_error() -> None:
    client, server = tls_pair()
    os.write(client.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(ssl.SSLError):
        until(lambda: server.recv() == b"never")
    client._plain.close()
    server.close()


def test_many_records_in_one_read() -> None:
    """Nothing stays inside TLS, where `select` would not see it."""
    client, server = tls_pair()
    data = os.urandom(15_000)
    for at in range(0, len(data), 150):
        client.send([data[at : at + 150]])
    poll = select.poll()
    poll.register(server.fileno(), select.POLLIN)
    got = bytearray()
    while len(got) < len(data):
        assert poll.poll(2000), f"{len(data) - len(got)} bytes stay inside"
        got += server.recv() or b""
    assert bytes(got) == data
    client.close()
    server.close()


def test_reads_grow_with_bulk_data_and_no_further() -> None:
    most = RECEIVE_SMALL + 1000
    one, other = socket.socketpair()
    reader, writer = PlainLink(one, MOST, most), PlainLink(other, MOST)
    writer.send([bytes(RECEIVE_SMALL + most + 5)])
    assert [len(reader.recv() or b"") for _ in range(3)] == [RECEIVE_SMALL, most, 5]
    writer.send([bytes(most)])
    assert len(reader.recv() or b"") == RECEIVE_SMALL, "little came, so the next read is a small one"
    reader.close()
    writer.close()


def test_over_tls_a_client_reads_more_at_once_than_a_server() -> None:
    """Which has others to serve."""
    client, server = tls_pair()
    assert (client._plain._size_max, server._plain._size_max) == (RECEIVE_CLIENT, RECEIVE_SIZE)
    client.close()
    server.close()


_CHURN = """
import resource, sys
from remote_shell.link import keep_freed
if sys.argv[1] == "kept":
    keep_freed()
def turn():
    parts = [bytes([1]) * 2**20 for _ in range(3)]
for _ in range(5):
    turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    turn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_what_bulk_data_frees_stays_with_the_process() -> None:
    """The kernel clears, and maps by a fault, each page that was given back to it and is taken anew."""
    faults = {
        how: int(
            subprocess.run([sys.executable, "-c", _CHURN, how], capture_output=True, check=True, timeout=60).stdout
        )
        for how in ("kept", "not")
    }
    assert faults["kept"] * 10 < faults["not"], faults


@pytest.mark.parametrize(
    ("data", "awaited"),
    [
        (b"", True),
        (b"\x16", True),
        (b"\x16\x03\x01\x00", True),
        (b"\x16\x03\x01\x00\x02\x01", True),
        (b"\x16\x03\x01\x00\x02\x01\x00", False),
        (b"\x16\x03\x01\x00\x02\x01\x00 and more", False),
        (b"\x16\x02", False),
        (b"\x15\x03\x01\x00\x02", False),
        (b"GET / HTTP/1.1", False),
        (b"\0", False),
    ],
)
def test_what_may_become_a_hello(data: bytes, awaited: bool) -> None:
    assert awaits_hello(data) is awaited
