"""The handshake: who is there. Two small machines, because it is asymmetric.

Client: hello -> hello -> auth -> welcome | denied, or for who was invited: auth -> enrolled | denied. Until `welcome` nothing else
is legal on either side, and the table of each state holds exactly one entry; whatever else comes is one uniform refusal. The core does
no cryptography: it says what has to be signed (`transcript`), the driver signs and judges. Afterwards the decoder, with what it holds,
goes on to `session`.
"""

from __future__ import annotations

from enum import Enum
from struct import Struct

from remote_shell.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from remote_shell.limits import Limits
from remote_shell.wire import frames
from remote_shell.wire.events import Event, Failed, LoginAsked, ServerGreeted, WasDenied, WasEnrolled, Welcomed
from remote_shell.wire.frames import CONTROL, FrameDecoder
from remote_shell.wire.messages import (
    PROTOCOL_VERSION,
    Auth,
    Denied,
    Enrolled,
    Hello,
    Message,
    Welcome,
    decode,
    unbase64,
)

CONTEXT = b"remote-shell auth 1"
NONCE_SIZE = 32
FRAME_MAX_LEAST = 64 * 1024  # below this a peer would acknowledge too rarely for us to go on
_LENGTH = Struct("!I")


class HandshakeState(Enum):
    """Both machines share these."""

    WAIT_HELLO = "wait_hello"  # for the peer's hello
    WAIT_LOGIN = "wait_login"  # client: our driver must log in; server: the client must
    WAIT_VERDICT = "wait_verdict"  # client: the server judges; server: our driver judges
    WAIT_ENROLMENT = "wait_enrolment"  # client that was invited: the server judges
    WELCOME = "welcome"
    ENROLLED = "enrolled"
    DENIED = "denied"


HandshakeTable = dict[tuple[HandshakeState, str], HandshakeState]

CLIENT_TABLE: HandshakeTable = {
    (HandshakeState.WAIT_HELLO, "hello"): HandshakeState.WAIT_LOGIN,
    (HandshakeState.WAIT_HELLO, "denied"): HandshakeState.DENIED,
    (HandshakeState.WAIT_LOGIN, "denied"): HandshakeState.DENIED,
    (HandshakeState.WAIT_VERDICT, "welcome"): HandshakeState.WELCOME,
    (HandshakeState.WAIT_VERDICT, "denied"): HandshakeState.DENIED,
    (HandshakeState.WAIT_ENROLMENT, "enrolled"): HandshakeState.ENROLLED,
    (HandshakeState.WAIT_ENROLMENT, "denied"): HandshakeState.DENIED,
}

SERVER_TABLE: HandshakeTable = {
    (HandshakeState.WAIT_HELLO, "hello"): HandshakeState.WAIT_LOGIN,
    (HandshakeState.WAIT_LOGIN, "auth"): HandshakeState.WAIT_VERDICT,
}


def transcript(
    role: str, transport: str, hellos: tuple[bytes, bytes], auth: Auth, credential: bytes, key: bytes
) -> bytes:
    """What a login proves, every field behind its length (u32).

    `role` is whose proof it is ("client", "server"); `hellos` are the client's and the server's payloads as they crossed
    the wire, nonces inside; `credential` is the key's blob, the secret's name or an `invitation`; `key` is the SHA-256 of the
    server's public key (DER SubjectPublicKeyInfo) as the client saw it, empty without TLS.
    """
    fields = (
        CONTEXT,
        role.encode(),
        transport.encode(),
        *hellos,
        auth.method.encode(),
        credential,
        (auth.user or "").encode(),
        (auth.session or "").encode(),
        str(auth.received).encode(),
        auth.on_lost.encode(),
        b"" if auth.grace_ms is None else str(auth.grace_ms).encode(),
        key,
    )
    return b"".join(part for field in fields for part in (_LENGTH.pack(len(field)), field))


def invitation(auth: Auth, blob: bytes) -> bytes:
    """The credential of method `invite`: which invitation, for which key (its blob), under which label."""
    fields = ((auth.invite or "").encode(), blob, (auth.label or "").encode())
    return b"".join(part for field in fields for part in (_LENGTH.pack(len(field)), field))


class _Handshake:
    """What both sides share: decoder, state, the bytes of both hellos."""

    table: HandshakeTable

    def __init__(self, hello: Hello, transport: str, key_hash: bytes, limits: Limits) -> None:
        self.hello = hello
        self.peer: Hello | None = None
        self.state = HandshakeState.WAIT_HELLO
        self.limits = limits
        self.decoder = FrameDecoder(limits.frame_max_before_login)
        self._transport = transport
        self._key_hash = key_hash
        self._own = hello.encode()
        self._theirs = b""
        self._out: list[bytes] = []

    def receive_data(self, data: bytes) -> None:
        """Bytes from the peer. Then drain `next_event`."""
        self.decoder.feed(data)

    def next_event(self) -> Event | None:
        """The next event, or None when more bytes are needed; afterwards flush `data_to_send`."""
        while self._waits():
            try:
                frame = self.decoder.next_frame()
                if frame is None:
                    return None
                if frame.type != CONTROL or frame.channel:
                    raise RemoteProtocolError("not_logged_in", f"frame type {frame.type} on channel {frame.channel}")
                allowed = [word for state, word in self.table if state is self.state]
                message = decode(frame.payload, allowed, self.limits.json_depth_max)
                self.state = self.table[self.state, message.name]
                event = self._received(message, frame.payload)
            except ProtocolError as error:
                self.state = HandshakeState.DENIED
                return Failed(error, ends_session=False)
            if event is not None:
                return event
        return None

    def data_to_send(self) -> bytes:
        """Everything that is due; it counts as sent. Bounded: a handshake says at most two messages."""
        out, self._out = b"".join(self._out), []
        return out

    def _waits(self) -> bool:
        """A message from the peer can move this state."""
        return any(state is self.state for state, _ in self.table)

    def _say(self, payload: bytes) -> None:
        self._out.append(frames.encode(CONTROL, 0, payload))

    def _take_hello(self, message: Hello, payload: bytes) -> None:
        if len(unbase64(message.nonce)) != NONCE_SIZE:
            raise RemoteProtocolError("bad_message", "a nonce has 32 bytes")
        if message.version != PROTOCOL_VERSION:
            raise RemoteProtocolError("bad_version", f"protocol version {message.version}, ours is {PROTOCOL_VERSION}")
        if (
            message.frame_max < FRAME_MAX_LEAST
            or message.unacked_bytes_max < FRAME_MAX_LEAST
            or message.unacked_frames_max < 128
        ):
            raise RemoteProtocolError("bad_message", "limits below the least that version 1 allows")
        self.peer = message
        self._theirs = payload

    def _received(self, message: Message, payload: bytes) -> Event | None:
        raise NotImplementedError

    def _transcript(self, role: str, auth: Auth, credential: bytes, hellos: tuple[bytes, bytes]) -> bytes:
        return transcript(role, self._transport, hellos, auth, credential, self._key_hash)


class ClientHandshake(_Handshake):
    """The client's side. Its hello is due at once."""

    table = CLIENT_TABLE

    def __init__(self, hello: Hello, transport: str, key_hash: bytes, limits: Limits) -> None:
        super().__init__(hello, transport, key_hash, limits)
        self._say(self._own)

    def transcript(self, role: str, auth: Auth, credential: bytes) -> bytes:
        """What `role` proves in this handshake; proofs inside `auth` are not part of it."""
        return self._transcript(role, auth, credential, (self._own, self._theirs))

    def log_in(self, auth: Auth) -> None:
        """Send the login. Legal once, after `ServerGreeted`."""
        if self.state is not HandshakeState.WAIT_LOGIN:
            raise LocalProtocolError("unexpected_message", f"auth while {self.state.value}")
        invited = auth.method == "invite"
        self.state = HandshakeState.WAIT_ENROLMENT if invited else HandshakeState.WAIT_VERDICT
        self._say(auth.encode())

    def _received(self, message: Message, payload: bytes) -> Event | None:
        if isinstance(message, Hello):
            self._take_hello(message, payload)
            return ServerGreeted(message)
        if isinstance(message, Welcome):
            self.decoder.payload_max = self.limits.frame_max
            return Welcomed(message)
        if isinstance(message, Enrolled):
            return WasEnrolled(message)
        return WasDenied()


class ServerHandshake(_Handshake):
    """The server's side. Says nothing before the client's hello."""

    table = SERVER_TABLE
    auth: Auth | None = None

    def transcript(self, role: str, credential: bytes) -> bytes:
        """What `role` proves in this handshake."""
        assert self.auth is not None, "no login yet"
        return self._transcript(role, self.auth, credential, (self._theirs, self._own))

    def welcome(self, message: Welcome) -> None:
        """The login holds. Legal once, after `LoginAsked`, and never for an invitation."""
        if self.state is not HandshakeState.WAIT_VERDICT or self.auth is None or self.auth.method == "invite":
            raise LocalProtocolError("unexpected_message", f"welcome while {self.state.value}")
        self.state = HandshakeState.WELCOME
        self.decoder.payload_max = self.limits.frame_max
        self._say(message.encode())

    def enrol(self, message: Enrolled) -> None:
        """The invited key is listed. Legal once, after `LoginAsked` with method `invite`; then the connection ends."""
        if self.state is not HandshakeState.WAIT_VERDICT or self.auth is None or self.auth.method != "invite":
            raise LocalProtocolError("unexpected_message", f"enrolled while {self.state.value}")
        self.state = HandshakeState.ENROLLED
        self._say(message.encode())

    def deny(self) -> None:
        """The one refusal, byte for byte the same whatever the reason."""
        self.state = HandshakeState.DENIED
        self._say(Denied().encode())

    def _received(self, message: Message, payload: bytes) -> Event | None:
        if isinstance(message, Hello):
            if len(payload) < len(self._own):
                raise RemoteProtocolError("bad_message", f"a hello of {len(payload)} bytes is shorter than its answer")
            self._say(self._own)  # also to another version: its client can then say which one speaks here
            self._take_hello(message, payload)
            return None
        assert isinstance(message, Auth), "the table allows nothing else"
        self.auth = message
        return LoginAsked()
