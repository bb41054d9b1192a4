"""A client that was written from docs/protocol.md alone speaks to a real server: the page and the server agree."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from remote_shell.testing import RunningServer, server
from tests import independent_client
from tests.independent_client import HEADER, Client, Link, ProtocolError, dial

Login = Ed25519PrivateKey | tuple[str, bytes] | None
SOURCE = Path(independent_client.__file__)
LINES_MAX = 250
ALLOWED = [
    (transport, method)
    for transport in ("tls", "unix", "tcp")
    for method in ("key", "secret", "peer")
    if (transport, method) not in (("tls", "peer"), ("tcp", "peer"))
]
STREAMED = 3_000_000  # bytes each way, twelve windows


@pytest.fixture(scope="module")
def target() -> Iterator[RunningServer]:
    listen = ["unix:", "tls:127.0.0.1:0", "tcp:127.0.0.1:0"]
    with server(listen, config="[limits]\nrefusal_time = 0.1\n") as running:
        yield running


def login_of(target: RunningServer, method: str) -> Login:
    if method == "key":
        key = load_ssh_private_key(Path(target.identity).read_bytes(), None)
        assert isinstance(key, Ed25519PrivateKey)
        return key
    if method == "secret":
        name, value = Path(target.secret_file).read_text().split()
        return name, base64.urlsafe_b64decode(value + "=")
    return None


def dialler(target: RunningServer, transport: str) -> Callable[[], Link]:
    return lambda: dial(target.targets[transport], target.fingerprint or "")


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize(("transport", "method"), ALLOWED)
def test_run_over_every_transport_with_every_login(target: RunningServer, transport: str, method: str) -> None:
    client = Client(dialler(target, transport), login_of(target, method))
    command = client.wait(client.start(line="cat; echo oops >&2; exit 3", stdin=b"hello"))
    client.close()
    assert (bytes(command.output[1]), bytes(command.output[2])) == (b"hello", b"oops\n")
    assert command.said["exit"]["status"] == 3


@pytest.mark.parametrize(
    ("transport", "login"),
    [("tls", Ed25519PrivateKey.from_private_bytes(bytes(32))), ("tcp", ("test", bytes(32))), ("tcp", None)],
    ids=["key", "secret", "peer"],
)
def test_wrong_login_is_denied(target: RunningServer, transport: str, login: Login) -> None:
    with pytest.raises(ProtocolError, match="denied"):
        Client(dialler(target, transport), login)


def test_other_servers_key_ends_the_connection_before_a_byte(target: RunningServer) -> None:
    with pytest.raises(ProtocolError, match="another server"):
        dial(target.targets["tls"], "SHA256:" + "A" * 43)


class FakeServer(threading.Thread):
    """Accepts any login over one end of a socket pair, sends `then`, and keeps what the client says until it closes."""

    def __init__(self, proof: str | None, then: bytes = b"") -> None:
        super().__init__(name="fake server")
        self.proof, self.then = proof, then
        self.heard: list[dict[str, object]] = []
        self.ours, self.theirs = socket.socketpair()

    def run(self) -> None:
        limits = {"frame_max": 1 << 20, "window": 1 << 18, "unacked_bytes_max": 1 << 24, "unacked_frames_max": 4096}
        hello = {"type": "hello", "version": 1, "software": "fake", "nonce": base64.b64encode(bytes(32)).decode()}
        welcome = {"type": "welcome", "session": "s", "resumed": False, "received": 0, "principal": "p"}
        welcome |= {"account": "a", "host": "h", "grace_ms": 0, "proof": self.proof}
        with self.ours, self.ours.makefile("rwb") as stream:
            for answer in (frame(0, hello | limits | {"prompt": True}), frame(0, welcome) + self.then, b""):
                while header := stream.read(HEADER.size):
                    self.heard.append(json.loads(stream.read(HEADER.unpack(header)[0])))
                    if answer:
                        break
                stream.write(answer)
                stream.flush()


def frame(channel: int, message: dict[str, object]) -> bytes:
    payload = json.dumps(message).encode()
    return HEADER.pack(len(payload), 3, channel) + payload


def test_server_that_does_not_know_the_secret_hears_nothing_after_auth() -> None:
    fake = FakeServer(base64.b64encode(bytes(32)).decode())
    fake.start()
    with pytest.raises(ProtocolError, match="another server"):
        Client(lambda: (fake.theirs, "tcp", b""), ("test", bytes(32)))
    fake.join()
    assert [message["type"] for message in fake.heard] == ["hello", "auth"]


def test_ping_is_answered_and_wrong_count_ends_the_connection() -> None:
    ping = {"type": "ping", "received": 0, "sent": 0}
    fake = FakeServer(None, frame(0, ping) + frame(0, ping | {"sent": 7}))
    fake.start()
    client = Client(lambda: (fake.theirs, "unix", b""))
    client.step()
    with pytest.raises(ProtocolError, match="bad_count"):
        client.step()
    fake.join()
    assert fake.heard[2:] == [ping | {"type": "pong"}, {"type": "disconnect", "code": "bad_count"}]


@pytest.mark.parametrize("transport", ["tls", "unix", "tcp"])
def test_more_than_the_window_both_ways(target: RunningServer, transport: str) -> None:
    data = noise(STREAMED)
    client = Client(dialler(target, transport), login_of(target, "key"))
    command = client.wait(client.start(argv=["cat"], stdin=data))
    client.close()
    assert hashlib.sha256(command.output[1]).digest() == hashlib.sha256(data).digest()


def test_commands_side_by_side_and_both_streams(target: RunningServer) -> None:
    client = Client(dialler(target, "unix"))
    line = f"head -c {STREAMED // 4} /dev/zero | tee /dev/stderr | cat"
    commands = [client.start(line=line) for _ in range(3)] + [client.start(argv=["cat"], stdin=noise(STREAMED))]
    for command in commands:
        client.wait(command)
    client.close()
    assert [len(stream) for command in commands[:3] for stream in command.output[1:]] == [STREAMED // 4] * 6
    assert commands[3].output[1] == noise(STREAMED)


def test_exit_status_signal_and_refusal(target: RunningServer) -> None:
    client = Client(dialler(target, "unix"))
    assert client.wait(client.start(line="exit 255")).said["exit"]["status"] == 255
    own = client.wait(client.start(line="kill -KILL $$")).said["exit"]
    assert own["signal"] == "SIGKILL"
    assert own.get("status") is None
    sent = client.start(line="echo ready; exec sleep 60")
    while not sent.output[1]:
        client.step()
    client.send(sent.channel, "signal", signal="SIGTERM")
    assert client.wait(sent).said["exit"]["signal"] == "SIGTERM"
    late = client.wait(client.start(line="exec sleep 60", timeout_ms=50)).said["exit"]
    assert late["timed_out"]
    refused = client.wait(client.start(argv=["/nowhere/at-all"]))
    assert refused.said["rejected"]["code"] == "not_found"
    raw = client.wait(client.start(argv=["printf", "%s", {"base64": base64.b64encode(b"\xff").decode()}]))
    assert raw.output[1] == b"\xff"
    client.close()


def test_query_and_at_most_once(target: RunningServer, tmp_path: Path) -> None:
    client = Client(dialler(target, "unix"))
    line = f"echo ran >> {tmp_path}/ran; exit 7"
    assert client.wait(client.start(line=line, id="mine.1")).said["exit"]["status"] == 7
    again = client.wait(client.start(line=line, id="mine.1"))
    assert again.said["opened"]["again"]
    assert again.said["exit"]["status"] == 7
    report = client.wait(client.start("query", id="mine.1")).said["report"]
    assert (report["state"], report["status"]) == ("finished", 7)
    assert client.wait(client.start("query", id="mine.2")).said["report"]["state"] == "never_received"
    assert client.wait(client.start(line="true", id="mine.2")).said["rejected"]["code"] == "id_burnt"
    client.close()
    assert (tmp_path / "ran").read_text() == "ran\n"


class CutSocket:
    """A socket that is closed abruptly after so many bytes, in the middle of what is just read or written."""

    def __init__(self, link: Link, budget: int, reset: bool) -> None:
        self.sock, self.budget, self.reset = link[0], budget, reset

    def __getattr__(self, name: str) -> object:
        return getattr(self.sock, name)

    def recv(self, size: int) -> bytes:
        data = self.sock.recv(min(size, self.budget))
        self.spend(len(data))
        return data

    def sendall(self, data: bytes) -> None:
        self.sock.sendall(data[: self.budget])
        self.spend(len(data))

    def spend(self, size: int) -> None:
        self.budget -= size
        if self.budget <= 0:
            if self.reset:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.close()
            raise ConnectionResetError("cut by the test")


@pytest.mark.parametrize(("transport", "method"), [("tls", "key"), ("tls", "secret"), ("unix", "peer"), ("tcp", "key")])
def test_cut_at_any_byte_loses_and_doubles_nothing(
    target: RunningServer, tmp_path: Path, transport: str, method: str
) -> None:
    data = noise(STREAMED)
    chance = random.Random(f"{transport} {method}")
    # the first login is left alone; then cuts in the middle of a login, of a replay and of the streams
    budgets = [chance.randrange(2_000, 400_000), 5, 150, 300, 700, 1_000, 1_200]
    budgets += [chance.randrange(1_500, 900_000) for _ in range(12)]
    dialled = 0

    def dial_cut() -> Link:
        nonlocal dialled
        link, dialled = dialler(target, transport)(), dialled + 1
        if dialled > len(budgets):
            return link
        cut = CutSocket(link, budgets[dialled - 1], reset=bool(dialled % 2))
        return cast(socket.socket, cut), link[1], link[2]

    client = Client(dial_cut, login_of(target, method))
    session = client.session
    line = f"echo ran >> {tmp_path}/ran; echo began >&2; cat; echo ended >&2; exit 5"
    command = client.wait(client.start(line=line, stdin=data))
    assert client.session == session
    client.close()
    assert dialled >= 10
    assert hashlib.sha256(command.output[1]).digest() == hashlib.sha256(data).digest()
    assert command.output[2] == b"began\nended\n"
    assert command.said["exit"]["status"] == 5
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_bye_ends_the_session_and_its_commands(target: RunningServer) -> None:
    client = Client(dialler(target, "unix"))
    command = client.start(line="trap '' TERM; echo ready; while :; do sleep 60; done", id="left.behind")
    while not command.output[1]:
        client.step()
    client.close()
    with pytest.raises(ProtocolError, match="session_lost"):
        client.connect()
    client = Client(dialler(target, "unix"))
    report, deadline = {"state": "running"}, time.monotonic() + 2.0  # 250 ms by the page; this machine may be busy
    while report["state"] == "running" and time.monotonic() < deadline:
        report = client.wait(client.start("query", id="left.behind")).said["report"]
    assert (report["state"], report["signal"]) == ("finished", "SIGKILL")
    client.close()


def test_client_is_short_and_imports_nothing_of_ours() -> None:
    source = SOURCE.read_text(encoding="utf-8")
    assert len(source.splitlines()) < LINES_MAX
    imported = set[str]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add((node.module or "").partition(".")[0])
    assert imported <= sys.stdlib_module_names | {"cryptography"}
