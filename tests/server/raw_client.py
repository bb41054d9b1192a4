"""A small blocking client on the protocol core, with every lever in the open: what it proves, what it reads, how it breaks off.

It shares the wire core and the links with the program, and nothing above them, so these tests say what the server does
and not what our client makes of it.
"""

from __future__ import annotations

import base64
import os
import secrets as random
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remote_shell.identity.keys import make_blob
from remote_shell.identity.private_keys import PrivateKeyFile
from remote_shell.identity.secrets import Secret, mac
from remote_shell.identity.sshsig import NAMESPACE, signed_data
from remote_shell.identity.tls import client_context, peer_key_hash
from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.link import Link, PlainLink, TlsLink
from remote_shell.wire.channel import Role
from remote_shell.wire.events import (
    ChannelClosed,
    DataReceived,
    Disconnected,
    EndReceived,
    Event,
    Failed,
    MessageReceived,
    ServerGreeted,
    WasDenied,
    Welcomed,
    Writable,
)
from remote_shell.wire.handshake import ClientHandshake
from remote_shell.wire.messages import (
    Auth,
    Boxed,
    Close,
    Eof,
    Exit,
    Hello,
    KeyProof,
    Open,
    Opened,
    Rejected,
    Report,
    Welcome,
)
from remote_shell.wire.session import Session

DEADLINE = 15.0  # seconds that anything may take before a test fails

Prove = Callable[[ClientHandshake, Auth], Auth]

made: list[socket.socket] = []  # of the present test; the fixture `hang_up` closes those that it left open


class LoginDeniedError(Exception):
    """The server refused the login, or hung up instead of an answer."""


def until(true: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """Look until `true` gives something; fail after `deadline` seconds."""
    end = time.monotonic() + deadline
    while not (found := true()):
        assert time.monotonic() < end, f"not within {deadline} s: {what}"
        time.sleep(0.002)
    return found


def dial(target: str, source: str | None = None) -> socket.socket:
    """A connection to "unix:PATH", "tcp:HOST:PORT" or "tls:HOST:PORT" (without TLS yet)."""
    kind, _, rest = target.partition(":")
    if kind == "unix":
        sock = socket.socket(socket.AF_UNIX)
        made.append(sock)
        sock.settimeout(DEADLINE)
        sock.connect(rest)
        return sock
    host, _, port = rest.rpartition(":")
    address = (source, 0) if source else None
    made.append(socket.create_connection((host.strip("[]"), int(port)), DEADLINE, address))
    return made[-1]


def reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN: socket(7), SO_LINGER of zero. On a Unix socket it is a plain close."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def peer(handshake: ClientHandshake, auth: Auth) -> Auth:
    """The proof of a Unix socket: none, the kernel says who we are."""
    return auth.changed(method="peer")


def by_key(key: str | Ed25519PrivateKey, namespace: str = NAMESPACE) -> Prove:
    """Proves an Ed25519 key: a private key file of ours without a passphrase, or the key itself."""
    if isinstance(key, str):
        file = PrivateKeyFile.read(key)
        assert file is not None, f"{key} is a key file"
        key = Ed25519PrivateKey.from_private_bytes(file.unlock())
    blob, private = make_blob(key.public_key().public_bytes_raw()), key

    def prove(handshake: ClientHandshake, auth: Auth) -> Auth:
        auth = auth.changed(method="key")
        proof = private.sign(signed_data(namespace, handshake.transcript("client", auth, blob)))
        return auth.changed(keys=[KeyProof(key=encode(blob), proof=encode(proof))])

    return prove


def by_secret(secret: Secret, role: str = "client") -> Prove:
    """Proves a shared secret."""

    def prove(handshake: ClientHandshake, auth: Auth) -> Auth:
        auth = auth.changed(method="secret", secret=secret.name)
        proof = mac(secret, role, handshake.transcript(role, auth, secret.name.encode()))
        return auth.changed(proof=encode(proof))

    return prove


def encode(raw: bytes) -> str:
    """base64, as messages carry bytes."""
    return base64.b64encode(raw).decode()


def make_hello(
    limits: Limits = DEFAULT_LIMITS, *, prompt: bool = False, features: Sequence[str] | None = None
) -> Hello:
    """A client's hello with a fresh nonce."""
    return Hello(
        software="test",
        features=None if features is None else list(features),
        nonce=encode(os.urandom(32)),
        frame_max=limits.frame_max,
        window=limits.window,
        unacked_bytes_max=limits.unacked_bytes_max,
        unacked_frames_max=limits.unacked_frames_max,
        prompt=prompt,
    )


class Command:
    """What a client learnt of one channel."""

    def __init__(self) -> None:
        self.opened: Opened | None = None
        self.rejected: Rejected | None = None
        self.report: Report | None = None
        self.exit: Exit | None = None
        self.exited_at = 0.0  # monotonic
        self.chunks: list[tuple[int, bytes]] = []  # what came on which stream, in order; kept only below `keep`
        self.keep = 2**20
        self.size = 0
        self.ended: set[int] = set()
        self.closed = False
        self.others: list[Any] = []
        self.paused = False  # nothing is consumed: no credit goes back

    def text(self, stream: int = 1) -> bytes:
        """Everything that came on a stream."""
        return b"".join(data for one, data in self.chunks if one == stream)


class RawClient:
    """One session, over one connection after the other."""

    def __init__(
        self,
        target: str,
        prove: Prove = peer,
        *,
        grace_ms: int | None = None,
        on_lost: Literal["kill", "keep"] = "kill",
        limits: Limits = DEFAULT_LIMITS,
        prompt: bool = False,
        features: Sequence[str] | None = None,
        source: str | None = None,
        transport: str | None = None,
        key_hash: bytes | None = None,
    ) -> None:
        """Dial and log in. Raises LoginDeniedError. `transport` and `key_hash` replace what the transcript truly holds."""
        self.target, self.prove, self.limits = target, prove, limits
        self.grace_ms, self.prompt, self.source = grace_ms, prompt, source
        self.features = features
        self.on_lost = on_lost
        self._lie = transport, key_hash
        self.commands: dict[int, Command] = {}
        self.events: list[Event] = []
        self.pings = 0  # from the server
        self.welcome: Welcome
        self.session = Session(Role.CLIENT, limits)
        self.disconnect: Disconnected | None = None
        self.ended = False  # the connection is over
        self.connect()

    # --- connections

    def connect(self, ident: str | None = None, received: int | None = None) -> None:
        """A new connection; with `ident` it asks for that session, and goes on where both were if the server does too."""
        self.sock = dial(self.target, self.source)
        try:
            self._log_in(ident, received)
        except BaseException:
            self.sock.close()
            raise

    def resume(self) -> bool:
        """A new connection for the same session. Whether the server still had it."""
        self.cut()
        self.connect(self.welcome.session)
        return self.welcome.resumed

    def _log_in(self, ident: str | None, received: int | None) -> None:
        self.link = self._make_link()
        transport, key_hash = self._lie
        key = b""
        if isinstance(self.link, TlsLink):
            end = time.monotonic() + DEADLINE
            while not self.link.handshake():
                self._wait(select.POLLIN, end)
            key = peer_key_hash(self.link.peer_certificate())
        self.handshake = ClientHandshake(
            make_hello(self.limits, prompt=self.prompt, features=self.features),
            transport or self.link.transport,
            key if key_hash is None else key_hash,
            self.limits,
        )
        self._answer(ServerGreeted)
        count = self.session.received if received is None else received
        base = Auth(
            method="peer",
            session=ident,
            received=count if ident else 0,
            grace_ms=self.grace_ms,
            on_lost=self.on_lost,
        )
        self.handshake.log_in(self.prove(self.handshake, base))
        event = self._answer(Welcomed)
        assert isinstance(event, Welcomed) and self.handshake.peer is not None
        self.welcome = event.welcome
        if not self.welcome.resumed:
            self.session = Session(Role.CLIENT, self.limits)
        self.ended, self.disconnect = False, None
        self.session.attach(self.handshake.decoder, self.handshake.peer, self.welcome.received, time.monotonic())
        self._drain()  # what came along with the welcome

    def _make_link(self) -> Link:
        if not self.target.startswith("tls:"):
            return PlainLink(self.sock, self.limits.unsent_max)
        self.sock.setblocking(False)
        return TlsLink(self.sock, self.limits.unsent_max, client_context(), server_side=False)

    def _answer(self, kind: type[ServerGreeted] | type[Welcomed]) -> Event:
        data = self.handshake.data_to_send()
        with suppress(BrokenPipeError, ConnectionResetError):  # it may have been refused already: the answer lies there
            assert self.link.send([data]) == len(data) and self.link.flush()
        end = time.monotonic() + DEADLINE
        while True:
            event = self.handshake.next_event()
            if isinstance(event, kind):
                return event
            if isinstance(event, WasDenied):
                raise LoginDeniedError("denied")
            assert event is None, event
            try:
                received = self.link.recv()
            except OSError as error:
                raise LoginDeniedError(str(error)) from None
            if received == b"":
                raise LoginDeniedError("hung up")
            if received is None:
                self._wait(select.POLLIN, end)
            else:
                self.handshake.receive_data(received)

    def _wait(self, events: int, end: float) -> None:
        poll = select.poll()
        poll.register(self.link.fileno(), events)
        left = end - time.monotonic()
        assert left > 0 and poll.poll(left * 1000), "nothing came in time"

    def cut(self, *, rst: bool = False) -> None:
        """Break the connection off without a word."""
        if rst:
            reset(self.sock)
        else:
            self.sock.close()
        self.session.detach()
        self.ended = True

    def bye(self) -> None:
        """End the session, and hear no more of it."""
        if not self.ended:
            self.session.disconnect("bye")
            with suppress(OSError):
                self.flush()
        self.sock.close()
        self.ended = True

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.bye()

    # --- traffic

    def flush(self) -> bool:
        """Write what goes now. True when nothing is left."""
        while buffers := self.session.data_to_send(self.limits.unsent_max):
            count = self.link.send(buffers)
            if not count:
                return False
            self.session.sent(count)
        return self.link.flush()

    def pump(self, timeout: float = DEADLINE) -> bool:
        """Write, wait for bytes, take them. False when the connection is over or nothing came."""
        if self.ended:
            return False
        end = time.monotonic() + timeout
        while True:
            flushed = True
            with suppress(OSError):  # it may be gone, and still have said something
                flushed = self.flush()
            try:
                data = self.link.recv()
            except OSError:
                data = b""
            if data is not None:
                break
            poll = select.poll()
            poll.register(self.link.fileno(), select.POLLIN | (0 if flushed else select.POLLOUT))
            left = end - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                return False
        if not data:
            self._over()
            return False
        self.pings += data.count(b'{"type":"ping"')
        self.session.receive_data(self.session.generation, data, time.monotonic())
        self._drain()
        if not self.ended:
            with suppress(OSError):
                self.flush()
        return True

    def wait(self, true: Callable[[], Any], what: str = "", deadline: float = DEADLINE) -> None:
        """Pump until `true` holds."""
        end = time.monotonic() + deadline
        while not true():
            left = end - time.monotonic()
            assert left > 0, f"not within {deadline} s: {what}"
            assert not self.ended, f"the connection ended ({self.disconnect}): {what}"
            self.pump(min(left, 0.5))

    def wait_end(self, deadline: float = DEADLINE) -> str | None:
        """Pump until the server closes the connection. The code of its `disconnect`, if it said one."""
        end = time.monotonic() + deadline
        while not self.ended:
            assert time.monotonic() < end, "the server keeps the connection"
            self.pump(0.5)
        return None if self.disconnect is None else self.disconnect.code

    def say(self, data: bytes) -> None:
        """Raw bytes, past the core."""
        self.flush()
        view = memoryview(data)
        end = time.monotonic() + DEADLINE
        while view:
            count = self.link.send([view])
            view = view[count:]
            if view:
                self._wait(select.POLLOUT, end)
        while not self.link.flush():
            self._wait(select.POLLOUT, end)

    def _over(self) -> None:
        self.ended = True
        self.sock.close()
        self.session.detach()

    def _drain(self) -> None:
        while (event := self.session.next_event()) is not None:
            self._handle(event)

    def _handle(self, event: Event) -> None:
        if isinstance(event, Disconnected):
            self.disconnect = event
            return
        assert not isinstance(event, Failed), event
        if isinstance(event, Writable) or not isinstance(
            event, (DataReceived, MessageReceived, EndReceived, ChannelClosed)
        ):
            self.events.append(event)
            return
        command = self.commands[event.channel]
        if isinstance(event, DataReceived):
            command.size += len(event.data)
            if command.size <= command.keep:
                command.chunks.append((event.stream, event.data))
            if not command.paused:
                self.session.consumed(event.channel, len(event.data))
        elif isinstance(event, EndReceived):
            command.ended.add(event.stream)
        elif isinstance(event, ChannelClosed):
            command.closed = True
        else:
            _note(command, event.message)

    # --- commands

    def open(self, argv: Sequence[str | Boxed] | None = None, **fields: Any) -> int:
        """Open a channel: exec unless `request` says otherwise, with a random id unless `id` is given."""
        said: dict[str, Any] = {
            "request": "exec",
            "id": random.token_hex(8),
            "window": self.limits.window,
            "argv": argv,
        }
        ident = self.session.open_channel(Open(**{**said, **fields}))
        self.commands[ident] = Command()
        self.flush()
        return ident

    def start(self, argv: Sequence[str | Boxed] | None = None, **fields: Any) -> tuple[int, Command]:
        """Open, and wait until it runs or was rejected."""
        ident = self.open(argv, **fields)
        command = self.commands[ident]
        self.wait(lambda: command.opened or command.rejected or command.report, "an answer to open")
        return ident, command

    def run(self, argv: Sequence[str | Boxed] | None = None, *, input: bytes | None = None, **fields: Any) -> Command:
        """Open, feed `input`, and read to the end."""
        if input is not None:
            fields["stdin"] = "pipe"
        ident = self.open(argv, **fields)
        if input is not None:
            self.session.send_data(ident, 0, input)
            self.session.send_message(ident, Eof(stream=0))
        return self.finish(ident)

    def finish(self, ident: int, deadline: float = DEADLINE) -> Command:
        """Read to the channel's end."""
        command = self.commands[ident]
        self.wait(lambda: command.closed, f"the end of channel {ident}", deadline)
        return command

    def close_channel(self, ident: int) -> None:
        """Nobody wants it any more."""
        self.session.send_message(ident, Close())
        self.flush()

    def query(self, ident: str) -> Report:
        """What became of a command's id."""
        report = self.run(None, request="query", id=ident).report
        assert report is not None
        return report


def _note(command: Command, message: object) -> None:
    if isinstance(message, Opened):
        command.opened = message
    elif isinstance(message, Rejected):
        command.rejected = message
    elif isinstance(message, Report):
        command.report = message
    elif isinstance(message, Exit):
        command.exit = message
        command.exited_at = time.monotonic()
    else:
        command.others.append(message)


class Stranger:
    """A connection that never means to log in: bytes out, and what the server answers to the end of the stream."""

    def __init__(self, target: str, *, source: str | None = None, tls: bool = True) -> None:
        self.dialled_at = time.monotonic()
        self.sock: socket.socket = dial(target, source)
        if target.startswith("tls:") and tls:
            self.sock = client_context().wrap_socket(self.sock)
            made.append(self.sock)

    def send(self, data: bytes) -> None:
        """All of `data`, unless the server is gone."""
        with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            self.sock.sendall(data)

    def read(self) -> bytes:
        """What comes next; b"" at the end."""
        try:
            return self.sock.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            return b""
        except OSError as error:
            if type(error).__name__ in ("SSLEOFError", "SSLZeroReturnError"):
                return b""
            raise

    def rest(self) -> bytes:
        """Everything up to the end of the stream, which is closed."""
        answer = b"".join(iter(self.read, b""))
        self.sock.close()
        return answer


def living(tag: str) -> list[int]:
    """Processes whose command line holds `tag`."""
    return list(_living(tag.encode()))


def _living(tag: bytes) -> Iterator[int]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) == os.getpid():
            continue
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if tag in file.read():
                    yield int(pid)
        except OSError:
            continue
