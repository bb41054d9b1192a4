"""Spoilt input for every machine that reads from the wire: what an honest peer would say, changed by a few bytes or frames.

`Victim` is a machine in one of its states with a small application behind it; `attack` feeds it and says what came of it. Anything but the
named errors, or memory beyond what was said, is an AssertionError or whatever escaped.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator

from remote_shell.errors import ProtocolError
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.wire import frames
from remote_shell.wire.channel import Role
from remote_shell.wire.events import (
    ChannelClosed,
    ChannelOpened,
    DataReceived,
    Event,
    Failed,
    LoginAsked,
    MessageReceived,
    ServerGreeted,
    WasDenied,
    Welcomed,
)
from remote_shell.wire.frames import CONTROL, HEADER, HEADER_SIZE, FrameDecoder
from remote_shell.wire.handshake import ClientHandshake, HandshakeState, ServerHandshake
from remote_shell.wire.messages import (
    Ack,
    Auth,
    Close,
    Denied,
    Eof,
    Exit,
    Message,
    Opened,
    Ping,
    Pong,
    Signal,
    Welcome,
    Window,
)
from remote_shell.wire.session import Session

from . import at_random
from .pair import exec_message, hello

# docs/protocol.md, section 10: what a peer's bytes may be called
CODES = frozenset(
    (
        *("frame_too_large", "empty_frame", "unknown_frame_type", "data_on_channel_zero", "bad_json", "bad_message"),
        *(
            "unknown_message",
            "unexpected_message",
            "no_such_channel",
            "wrong_stream",
            "data_after_eof",
            "window_exceeded",
        ),
        *("bad_credit", "bad_count", "ping_flood", "too_many_channels", "not_logged_in", "bad_version"),
    )
)
ANSWER_MAX = (
    256 * 1024
)  # bytes that a machine may have to say after one input: all the small application's output, and more
HELLO = hello()
AUTH = Auth(method="peer")
WELCOME = Welcome(session="s", resumed=False, received=0, principal="p", account="a", host="h", grace_ms=1)
INTERESTING = (0, 1, 2, 3, 4, 127, 128, 255)
LENGTHS = (0, 1, 4096, 4097, 2**16, 2**20, 2**20 + 1, 2**31 - 1, 2**31, 2**32 - 1)


class Victim:
    """One machine, its decoder, and what it still has to say."""

    def __init__(self, machine: ServerHandshake | ClientHandshake | Session, decoder: FrameDecoder) -> None:
        self.machine = machine
        self.decoder = decoder
        self.channels = 0  # that it opened, where it is a client's session

    def feed(self, data: bytes) -> Iterator[Event]:
        """Its events, as a driver would drain them."""
        if isinstance(self.machine, Session):
            self.machine.receive_data(self.machine.generation, data, 1.0)
        else:
            self.machine.receive_data(data)
        return iter(self.machine.next_event, None)

    def written(self) -> int:
        """How many bytes it has to say; they are gone afterwards."""
        if not isinstance(self.machine, Session):
            return len(self.machine.data_to_send())
        size = 0
        while count := sum(map(len, self.machine.data_to_send(2**16))):
            size += count
            if not self.machine.sent(count):
                break
        return size


def server_handshake(rng: random.Random) -> Victim:
    """Before login, at the server, in one of the states in which it reads."""
    made = ServerHandshake(HELLO, "tls", b"k" * 32, DEFAULT_LIMITS)
    if rng.random() < 0.5:
        made.receive_data(frames.encode(CONTROL, 0, HELLO.encode()))
        assert made.next_event() is None
        made.data_to_send()
    return Victim(made, made.decoder)


def client_handshake(rng: random.Random) -> Victim:
    """Before login, at the client."""
    made = ClientHandshake(HELLO, "tls", b"k" * 32, DEFAULT_LIMITS)
    state = rng.randrange(3)
    if state:
        made.receive_data(frames.encode(CONTROL, 0, HELLO.encode()))
        assert isinstance(made.next_event(), ServerGreeted)
    if state == 2:
        made.log_in(AUTH)
    made.data_to_send()
    return Victim(made, made.decoder)


def server_session(rng: random.Random) -> Victim:
    """After login, at the server: nothing is open yet."""
    return _session(Role.SERVER)


def client_session(rng: random.Random) -> Victim:
    """After login, at the client, which has opened up to three channels."""
    victim = _session(Role.CLIENT)
    assert isinstance(victim.machine, Session)
    victim.channels = rng.randint(1, 3)
    for number in range(victim.channels):
        victim.machine.open_channel(exec_message(str(number)))
    victim.written()
    return victim


def _session(role: Role) -> Victim:
    session, decoder = Session(role, DEFAULT_LIMITS), FrameDecoder(DEFAULT_LIMITS.frame_max)
    session.attach(decoder, HELLO, 0, 0.0)
    return Victim(session, decoder)


# --- what an honest peer says


def to_server_handshake(rng: random.Random, victim: Victim) -> list[bytes]:
    messages: list[Message] = [HELLO, AUTH]
    if victim.machine.state is HandshakeState.WAIT_LOGIN:  # type: ignore[union-attr]
        del messages[0]
    return [_control(0, message) for message in messages] + [_any(rng)] * (rng.random() < 0.5)


def to_client_handshake(rng: random.Random, victim: Victim) -> list[bytes]:
    messages: list[Message] = [WELCOME if rng.random() < 0.7 else Denied()]
    if victim.machine.state is HandshakeState.WAIT_HELLO:  # type: ignore[union-attr]
        messages.insert(0, HELLO)
    return [_control(0, message) for message in messages] + [_any(rng)] * (rng.random() < 0.5)


def to_server_session(rng: random.Random, victim: Victim) -> list[bytes]:
    """Opens, and what a client says on what it opened."""
    out: list[bytes] = []
    counted = 0
    for channel in range(1, rng.randint(2, 4)):
        opened = exec_message(str(channel)) if rng.random() < 0.7 else None
        part = [_control(channel, opened) if opened else _named(rng, "open", channel)]
        if rng.random() < 0.7:
            part.append(frames.encode(0, channel, rng.randbytes(rng.choice((1, 9, 300)))))
        for name in rng.sample(("signal", "resize", "window", "command", "line", "detach", "input_end"), 2):
            part += [_named(rng, name, channel)] * (rng.random() < 0.3)
        part += [_control(channel, Signal(signal="SIGINT"))] * (rng.random() < 0.3)
        part += [_control(channel, Eof(stream=0))] * (rng.random() < 0.5)
        part += [_control(channel, Close())] * (rng.random() < 0.5)
        out += part
        counted += len(part)
    return out + _signs_of_life(rng, counted)


def to_client_session(rng: random.Random, victim: Victim) -> list[bytes]:
    """Answers to what it opened."""
    out: list[bytes] = []
    for channel in range(1, victim.channels + 1):
        out.append(_control(channel, Opened(pid=channel)) if rng.random() < 0.8 else _named(rng, "rejected", channel))
        for stream in (1, 2):
            data = rng.randbytes(rng.choice((1, 9, 300)))
            out += [frames.encode(stream, channel, data)] * (rng.random() < 0.6)
        for name in rng.sample(("done", "mode", "window", "unread", "job", "gap", "attached", "report"), 2):
            out += [_named(rng, name, channel)] * (rng.random() < 0.2)
        out += [_control(channel, Window(credit=0, window=2**18))] * (rng.random() < 0.3)
        out += [_control(channel, Eof(stream=1))] * (rng.random() < 0.5)
        if rng.random() < 0.7:
            out += [_control(channel, Exit(status=3)), _control(channel, Close())]
    return out + _signs_of_life(rng, len(out))


def _signs_of_life(rng: random.Random, counted: int) -> list[bytes]:
    kind = rng.choice((Ack, Ping, Pong, None))
    return [] if kind is None else [_control(0, kind(received=rng.choice((0, 1, 3)), sent=counted))]


def _control(channel: int, message: Message) -> bytes:
    return frames.encode(CONTROL, channel, message.encode())


def _named(rng: random.Random, name: str, channel: int) -> bytes:
    return frames.encode(CONTROL, channel, at_random.written(rng, at_random.message(rng, name)))


def _any(rng: random.Random) -> bytes:
    payload = at_random.spoilt(rng) if rng.random() < 0.5 else at_random.written(rng, at_random.message(rng))
    return frames.encode(rng.choice((CONTROL, CONTROL, CONTROL, 0, 1, 2)), rng.choice((0, 1, 2)), payload)


MACHINES: dict[str, tuple[Callable[[random.Random], Victim], Callable[[random.Random, Victim], list[bytes]]]] = {
    "handshake at the server": (server_handshake, to_server_handshake),
    "handshake at the client": (client_handshake, to_client_handshake),
    "session at the server": (server_session, to_server_session),
    "session at the client": (client_session, to_client_session),
}


# --- spoiling


def spoil(rng: random.Random, stream: list[bytes]) -> bytes:
    """A few changes: to frames as a whole, to their headers, to payloads, to bytes anywhere."""
    stream = list(stream)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(stream))
        match rng.randrange(8):
            case 0:
                stream[at] = _headed(rng, stream[at])
            case 1:
                stream.insert(at, rng.choice(stream))
            case 2:
                other = rng.randrange(len(stream))
                stream[at], stream[other] = stream[other], stream[at]
            case 3 if len(stream) > 1:
                del stream[at]
            case 4:
                stream.insert(at, _any(rng))
            case 5:
                stream[at] = frames.encode(CONTROL, rng.choice((0, 1, 2)), at_random.spoilt(rng))
            case _:
                stream[at] = _bitten(rng, stream[at])
    return _bitten(rng, b"".join(stream)) if rng.random() < 0.2 else b"".join(stream)


def _headed(rng: random.Random, frame: bytes) -> bytes:
    """Another header before the same payload."""
    length, kind, channel = HEADER.unpack_from(frame) if len(frame) >= HEADER_SIZE else (0, 0, 0)
    match rng.randrange(3):
        case 0:
            length = rng.choice((*LENGTHS, max(0, length - 1), (length + 1) % 2**32))
        case 1:
            kind = rng.choice((*INTERESTING, rng.randrange(256)))
        case _:
            channel = rng.choice((0, 1, 2, 9, 2**31, 2**32 - 1))
    return HEADER.pack(length, kind, channel) + frame[HEADER_SIZE:]


def _bitten(rng: random.Random, data: bytes) -> bytes:
    """Bytes changed, taken out, put in or doubled; or an end too early."""
    bad = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(bad) + 1)
        match rng.randrange(6):
            case 0 if at < len(bad):
                bad[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(bad):
                bad[at] = rng.choice(INTERESTING)
            case 2:
                del bad[at : at + rng.choice((1, 2, 9))]
            case 3:
                bad[at:at] = rng.randbytes(rng.choice((1, 2, 9)))
            case 4:
                bad[at:at] = bad[at : at + rng.choice((1, 9, 60))]
            case _:
                del bad[rng.randint(len(bad) // 2, len(bad)) :]
    return bytes(bad)


# --- the attack


def attack(rng: random.Random, name: str, data: bytes | None = None) -> str:
    """One input for one machine, spoilt unless it is given: what came of it, "" or the error's code."""
    make, honest = MACHINES[name]
    victim = make(rng)
    return feed(rng, victim, spoil(rng, honest(rng, victim)) if data is None else data)


def feed(rng: random.Random, victim: Victim, data: bytes) -> str:
    """These bytes in chunks, with an application that answers; the code of the error that they end with, or ""."""
    code, at, said = "", 0, 0
    while at < len(data):
        chunk = data[at : at + rng.choice((1, 9, 40, 5000, 2**20))]
        at += len(chunk)
        for event in victim.feed(chunk):
            assert not code, f"{event} after the error {code}"
            if isinstance(event, Failed):
                assert isinstance(event.error, ProtocolError) and event.error.code in CODES, event
                code = event.error.code
            elif isinstance(victim.machine, Session):
                _respond(rng, victim.machine, event)
            else:
                assert isinstance(event, (LoginAsked, ServerGreeted, Welcomed, WasDenied)), event
        said += victim.written()
    assert said <= ANSWER_MAX, f"{said} bytes in answer to {len(data)}"
    # not drained after an error or a verdict: then it holds what was fed, and no more
    assert victim.decoder.buffered <= len(data), f"{victim.decoder.buffered} bytes are held of {len(data)}"
    if isinstance(victim.machine, Session):
        frames_kept, bytes_kept = victim.machine.unacknowledged
        assert len(victim.machine.channels) <= len(data) // HEADER_SIZE + victim.channels
        assert frames_kept <= 4096 and bytes_kept <= ANSWER_MAX, f"{bytes_kept} bytes in answer to {len(data)} are kept"
    return code


def _respond(rng: random.Random, session: Session, event: Event) -> None:
    """What an application might do."""
    if isinstance(event, DataReceived) and rng.random() < 0.8:
        session.consumed(event.channel, len(event.data))
    elif isinstance(event, ChannelOpened) and rng.random() < 0.8:
        session.send_message(event.channel, Opened(pid=1))
        session.send_data(event.channel, 1, b"x" * rng.choice((0, 5, 3000)))
        if rng.random() < 0.4:
            session.send_message(event.channel, Exit(status=0))
            session.send_message(event.channel, Close())
    elif isinstance(event, MessageReceived) and isinstance(event.message, Opened) and rng.random() < 0.5:
        session.send_data(event.channel, 0, b"y" * rng.choice((0, 5, 3000)))
    elif isinstance(event, ChannelClosed):
        session.drop_unsent(event.channel)


def attack_many(seed: int, numbers: range) -> Counter[str]:
    """The inputs of these numbers, the machines in turn: how often which code. The same seed gives the same inputs."""
    found: Counter[str] = Counter()
    names = list(MACHINES)
    for number in numbers:
        rng = random.Random(f"{seed}:{number}")
        name = names[number % len(names)]
        try:
            found[attack(rng, name)] += 1
        except Exception as error:
            raise EscapedError(f"input {number} of seed {seed}, {name}: {type(error).__name__}: {error}") from error
    return found


class EscapedError(AssertionError):
    """What should not have; its text says how to see it again."""
