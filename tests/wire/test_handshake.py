"""The handshake: one legal message a state, one silent refusal for all else, and what a login proves."""

from __future__ import annotations

import itertools
import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remote_shell.errors import LocalProtocolError
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.wire import frames
from remote_shell.wire.events import Event, Failed, LoginAsked, ServerGreeted, WasDenied, WasEnrolled, Welcomed
from remote_shell.wire.handshake import (
    CLIENT_TABLE,
    FRAME_MAX_LEAST,
    SERVER_TABLE,
    ClientHandshake,
    HandshakeState,
    ServerHandshake,
    _Handshake,
    invitation,
    transcript,
)
from remote_shell.wire.messages import MODELS, Auth, Denied, Enrolled, Hello, Welcome

from .pair import NONCE, hello
from .raw import control
from .test_messages import EXAMPLES

AUTH = Auth(method="peer")
INVITED = Auth(method="invite", invite="name", label="ann")
ENROLLED = Enrolled(proof="AAAA", account="a", host="h")
WELCOME = Welcome(session="s", resumed=False, received=0, principal="p", account="a", host="h", grace_ms=1)
SENDABLE: dict[str, bytes] = {
    name: control({"type": name, **fields})
    for name, fields in EXAMPLES.items()
    if name not in ("hello", "auth", "welcome", "enrolled")
} | {"hello": control(hello()), "auth": control(AUTH), "welcome": control(WELCOME), "enrolled": control(ENROLLED)}


INVITED_STATES = (HandshakeState.WAIT_ENROLMENT, HandshakeState.ENROLLED)


def client(state: HandshakeState = HandshakeState.WAIT_HELLO) -> ClientHandshake:
    """A client's side, brought to a state by legal means."""
    made = ClientHandshake(hello(), "tls", b"k" * 32, DEFAULT_LIMITS)
    made.data_to_send()
    if state is HandshakeState.WAIT_HELLO:
        return made
    if state is HandshakeState.DENIED:
        feed(made, control(Denied()))
        return made
    feed(made, SENDABLE["hello"])
    if state is not HandshakeState.WAIT_LOGIN:
        made.log_in(INVITED if state in INVITED_STATES else AUTH)
        made.data_to_send()
    if state in (HandshakeState.WELCOME, HandshakeState.ENROLLED):
        feed(made, SENDABLE[state.value])
    assert made.state is state
    return made


def server(state: HandshakeState = HandshakeState.WAIT_HELLO) -> ServerHandshake:
    """A server's side, brought to a state by legal means."""
    made = ServerHandshake(hello(), "tls", b"k" * 32, DEFAULT_LIMITS)
    if state is not HandshakeState.WAIT_HELLO:
        feed(made, SENDABLE["hello"])
    if state not in (HandshakeState.WAIT_HELLO, HandshakeState.WAIT_LOGIN):
        feed(made, control(INVITED) if state in INVITED_STATES else SENDABLE["auth"])
    if state is HandshakeState.WELCOME:
        made.welcome(WELCOME)
    if state is HandshakeState.ENROLLED:
        made.enrol(ENROLLED)
    if state is HandshakeState.DENIED:
        made.deny()
    made.data_to_send()
    assert made.state is state
    return made


def feed(made: _Handshake, data: bytes) -> list[Event]:
    """All events that bytes give."""
    made.receive_data(data)
    return list(iter(made.next_event, None))


def refused(made: _Handshake, data: bytes) -> str:
    """The code for the log; the peer is told nothing, and nothing more is read."""
    events = feed(made, data)
    assert len(events) == 1 and isinstance(events[0], Failed), events
    assert not events[0].ends_session
    assert made.state is HandshakeState.DENIED
    assert made.data_to_send() == b""
    assert feed(made, SENDABLE["hello"] + SENDABLE["auth"]) == []
    assert made.data_to_send() == b""
    return events[0].error.code


def test_the_whole_way() -> None:
    """Both sides joined, byte by byte."""
    one, other = ClientHandshake(hello(), "unix", b"", DEFAULT_LIMITS), server()
    events: dict[str, list[Event]] = {"client": [], "server": []}
    for _ in range(6):
        for side, source, target in (("server", one, other), ("client", other, one)):
            data = source.data_to_send()
            for at in range(len(data)):
                events[side] += feed(target, data[at : at + 1])
        if one.state is HandshakeState.WAIT_LOGIN:
            one.log_in(AUTH)
        if other.state is HandshakeState.WAIT_VERDICT:
            assert other.auth == AUTH and other.peer == hello()
            other.welcome(WELCOME)
    assert events == {"client": [ServerGreeted(hello()), Welcomed(WELCOME)], "server": [LoginAsked()]}
    for decoder in (one.decoder, other.decoder):
        assert decoder.payload_max == DEFAULT_LIMITS.frame_max
        assert decoder.buffered == 0


def test_the_server_says_nothing_first() -> None:
    assert server().data_to_send() == b""


def test_denied_tells_nothing_else() -> None:
    made = server(HandshakeState.WAIT_VERDICT)
    made.deny()
    assert made.data_to_send() == b"\0\0\0\x11\3\0\0\0\0" + b'{"type":"denied"}'
    for state in CLIENT_WAITS:
        assert feed(client(state), control(Denied())) == [WasDenied()]


SERVER_WAITS = [HandshakeState.WAIT_HELLO, HandshakeState.WAIT_LOGIN]
CLIENT_WAITS = [*SERVER_WAITS, HandshakeState.WAIT_VERDICT, HandshakeState.WAIT_ENROLMENT]
SERVER_STATES = [state for state in HandshakeState if state is not HandshakeState.WAIT_ENROLMENT]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("channel", [0, 1])
@pytest.mark.parametrize("state", SERVER_STATES)
def test_full_product_at_the_server(state: HandshakeState, name: str, channel: int) -> None:
    """Every message in every state: the one that the table holds, or one silent refusal, or not even looked at."""
    made = server(state)
    data = SENDABLE[name][:5] + struct.pack("!I", channel) + SENDABLE[name][9:]
    if state not in SERVER_WAITS:
        assert feed(made, data) == [] and made.state is state
    elif channel:
        assert refused(made, data) == "not_logged_in"
    elif (state, name) in SERVER_TABLE:
        events = feed(made, data)
        assert events == ([LoginAsked()] if name == "auth" else [])
        assert made.state is SERVER_TABLE[state, name]
    else:
        assert refused(made, data) == "unexpected_message"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("channel", [0, 1])
@pytest.mark.parametrize("state", HandshakeState)
def test_full_product_at_the_client(state: HandshakeState, name: str, channel: int) -> None:
    made = client(state)
    data = SENDABLE[name][:5] + struct.pack("!I", channel) + SENDABLE[name][9:]
    if state not in CLIENT_WAITS:
        assert feed(made, data) == [] and made.state is state
    elif channel:
        assert refused(made, data) == "not_logged_in"
    elif (state, name) in CLIENT_TABLE:
        expected = {
            "hello": ServerGreeted(hello()),
            "welcome": Welcomed(WELCOME),
            "enrolled": WasEnrolled(ENROLLED),
            "denied": WasDenied(),
        }
        assert feed(made, data) == [expected[name]]
        assert made.state is CLIENT_TABLE[state, name]
    else:
        assert refused(made, data) == "unexpected_message"


def test_the_tables() -> None:
    """Written out a second time. The server never sends what its client's table lacks, and the other way round."""
    state = HandshakeState
    assert set(SERVER_TABLE) == {(state.WAIT_HELLO, "hello"), (state.WAIT_LOGIN, "auth")}
    assert {word for _, word in CLIENT_TABLE} == {"hello", "welcome", "enrolled", "denied"}
    assert (state.WAIT_VERDICT, "enrolled") not in CLIENT_TABLE and (
        state.WAIT_ENROLMENT,
        "welcome",
    ) not in CLIENT_TABLE
    assert all(sum(found is waits for found, _ in SERVER_TABLE) == 1 for waits in SERVER_WAITS), "one entry a state"


@pytest.mark.parametrize("state", SERVER_WAITS)
def test_every_frame_type_before_login(state: HandshakeState) -> None:
    """256 types: data is refused like any unknown type."""
    for kind, channel in itertools.product(range(256), (0, 1)):
        frame = struct.pack("!IBI", 2, kind, channel) + b"{}"
        code = refused(server(state), frame)
        if kind > 3:
            assert code == "unknown_frame_type"
        elif channel:
            assert code == "not_logged_in"
        else:
            assert code == ("bad_message" if kind == 3 else "data_on_channel_zero")


@pytest.mark.parametrize("state", SERVER_WAITS)
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (struct.pack("!IBI", 4097, 3, 0), "frame_too_large"),
        (struct.pack("!IBI", 2**31, 3, 0), "frame_too_large"),
        (struct.pack("!IBI", 2**32 - 1, 3, 0), "frame_too_large"),
        (struct.pack("!IBI", 0, 3, 0), "empty_frame"),
        (control(b"[" * 4096), "bad_json"),
        (control(b"\xff"), "bad_json"),
        (control(b"{}"), "bad_message"),
        (control({"type": "mood"}), "unknown_message"),
        (control({"type": "auth", "method": "none"}), "unexpected_message"),
    ],
)
def test_bad_input_before_login(state: HandshakeState, data: bytes, code: str) -> None:
    if state is HandshakeState.WAIT_LOGIN and b"none" in data:
        code = "bad_message"
    assert refused(server(state), data) == code


def test_4096_bytes_are_allowed_before_login() -> None:
    made = server()
    assert feed(made, control(hello().encode().ljust(4096))) == []
    assert made.state is HandshakeState.WAIT_LOGIN


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": ""},
        {"nonce": "AAAA"},
        {"nonce": NONCE[:-4] + "AAAA"},
        {"nonce": NONCE[:-1]},
        {"frame_max": FRAME_MAX_LEAST - 1},
        {"unacked_bytes_max": FRAME_MAX_LEAST - 1},
        {"unacked_frames_max": 127},
    ],
)
def test_a_hello_that_will_not_do(change: dict[str, Any]) -> None:
    """Its form is right: our own hello is out when the fault shows, and no word on the fault."""
    data = control(hello().changed(**change))
    for made in (server(), client()):
        events = feed(made, data)
        assert len(events) == 1 and isinstance(events[0], Failed) and events[0].error.code == "bad_message"
        said = made.data_to_send()
        assert said == (SENDABLE["hello"] if isinstance(made, ServerHandshake) else b"")
        assert made.state is HandshakeState.DENIED and made.peer is None


def test_least_limits_are_enough() -> None:
    least = {"frame_max": FRAME_MAX_LEAST, "unacked_bytes_max": FRAME_MAX_LEAST, "unacked_frames_max": 128, "window": 0}
    assert feed(server(), control(hello().changed(**least))) == []


@pytest.mark.parametrize("version", [0, 2, 2**53 - 1])
def test_another_version_learns_ours(version: int) -> None:
    """The server answers with its own hello, so that the other client can say which version speaks here."""
    data = control(hello().changed(version=version))
    for made in (server(), client()):
        events = feed(made, data)
        assert len(events) == 1 and isinstance(events[0], Failed)
        assert events[0].error.code == "bad_version" and str(version) in events[0].error.detail
    made = server()
    feed(made, data)
    assert made.data_to_send() == SENDABLE["hello"]
    made.deny()
    assert made.data_to_send() == control(Denied())


@pytest.mark.parametrize("state", SERVER_WAITS)
def test_a_refusal_forgets_what_follows(state: HandshakeState) -> None:
    """What came behind the fault in the same chunk is not looked at."""
    assert refused(server(state), SENDABLE["close"] + SENDABLE["hello"] + SENDABLE["auth"]) == "unexpected_message"


def test_hello_and_auth_in_one_chunk() -> None:
    """Legal where the proof needs no nonce."""
    made = server()
    assert feed(made, SENDABLE["hello"] + SENDABLE["auth"]) == [LoginAsked()]
    assert made.data_to_send() == SENDABLE["hello"]


def test_frames_behind_auth_wait_for_the_verdict() -> None:
    """Nothing of the session is looked at before `welcome`; `denied` drops it."""
    data = SENDABLE["auth"] + SENDABLE["close"][:5] + struct.pack("!I", 1) + SENDABLE["close"][9:]
    made = server(HandshakeState.WAIT_LOGIN)
    assert feed(made, data) == [LoginAsked()]
    assert feed(made, b"") == [] and made.data_to_send() == b""
    made.welcome(WELCOME)
    assert made.next_event() is None, "the session's business"
    assert made.decoder.next_frame() == frames.Frame(3, 1, b'{"type": "close"}')
    made = server(HandshakeState.WAIT_LOGIN)
    assert feed(made, data + b"\xff" * 100) == [LoginAsked()]
    made.deny()
    assert feed(made, b"") == []


def test_frames_behind_welcome_are_the_sessions() -> None:
    """A larger frame too, in the same chunk."""
    big = frames.encode(1, 1, bytes(5000))
    made = client(HandshakeState.WAIT_VERDICT)
    assert feed(made, SENDABLE["welcome"] + big) == [Welcomed(WELCOME)]
    assert made.decoder.next_frame() == frames.Frame(1, 1, bytes(5000))


@pytest.mark.parametrize("state", [state for state in HandshakeState if state is not HandshakeState.WAIT_LOGIN])
def test_logging_in_out_of_turn(state: HandshakeState) -> None:
    made = client(state)
    with pytest.raises(LocalProtocolError):
        made.log_in(AUTH)
    assert made.data_to_send() == b"" and made.state is state


@pytest.mark.parametrize("state", [state for state in SERVER_STATES if state is not HandshakeState.WAIT_VERDICT])
def test_welcoming_out_of_turn(state: HandshakeState) -> None:
    made = server(state)
    with pytest.raises(LocalProtocolError):
        made.enrol(ENROLLED)
    with pytest.raises(LocalProtocolError):
        made.welcome(WELCOME)
    assert made.data_to_send() == b"" and made.state is state
    assert made.decoder.payload_max == (4096 if state is not HandshakeState.WELCOME else DEFAULT_LIMITS.frame_max)


def test_a_login_is_not_enrolled_and_an_invitation_not_welcomed() -> None:
    made = server(HandshakeState.WAIT_LOGIN)
    assert feed(made, control(INVITED)) == [LoginAsked()]
    with pytest.raises(LocalProtocolError):
        made.welcome(WELCOME)
    made.enrol(ENROLLED)
    assert made.data_to_send() == SENDABLE["enrolled"] and made.decoder.payload_max == 4096
    made = server(HandshakeState.WAIT_VERDICT)
    with pytest.raises(LocalProtocolError):
        made.enrol(ENROLLED)
    assert made.data_to_send() == b""


def test_the_base_class_says_nothing() -> None:
    with pytest.raises(NotImplementedError):
        _Handshake(hello(), "tls", b"", DEFAULT_LIMITS)._received(Denied(), b"")


@given(st.lists(st.binary(max_size=60), max_size=8), st.sampled_from(SERVER_WAITS))
@settings(max_examples=100, deadline=None)
def test_any_bytes(chunks: list[bytes], state: HandshakeState) -> None:
    """No exception, no answer, at most one refusal."""
    made = server(state)
    events = [event for chunk in chunks for event in feed(made, chunk)]
    assert len(events) <= 1 and all(isinstance(event, Failed) for event in events)
    assert made.data_to_send() == b""


# --- the transcript


def field(data: bytes) -> bytes:
    """A field behind its length."""
    return len(data).to_bytes(4, "big") + data


def test_the_transcript_byte_for_byte() -> None:
    auth = Auth(method="key", user="ann", session="abc", received=17, grace_ms=60000)
    fields = (b"remote-shell auth 1", b"client", b"tls", b"{hello 1}", b"{hello 2}", b"key", b"blob", b"ann", b"abc")
    expected = b"".join(map(field, (*fields, b"17", b"kill", b"60000", b"h" * 32)))
    assert transcript("client", "tls", (b"{hello 1}", b"{hello 2}"), auth, b"blob", b"h" * 32) == expected


def test_the_credential_of_an_invitation() -> None:
    """Its three parts can't be pushed together."""
    assert invitation(INVITED, b"blob") == field(b"name") + field(b"blob") + field(b"ann")
    assert invitation(Auth(method="invite", invite="n"), b"b") == field(b"n") + field(b"b") + field(b"")


def test_unset_fields_are_empty() -> None:
    fields = (
        b"remote-shell auth 1",
        b"server",
        b"unix",
        b"1",
        b"2",
        b"secret",
        b"name",
        b"",
        b"",
        b"0",
        b"kill",
        b"",
        b"",
    )
    auth = Auth(method="secret", secret="name", proof="AAAA")
    assert transcript("server", "unix", (b"1", b"2"), auth, b"name", b"") == b"".join(map(field, fields))


def test_both_sides_make_the_same_transcript() -> None:
    """Of the hellos as they crossed the wire, not as a model would write them again."""
    theirs = hello().encode().replace(b'"type":"hello",', b' "type" : "hello" ,\n')
    one, other = client(), server()
    feed(one, control(theirs))
    one.log_in(AUTH)
    feed(other, SENDABLE["hello"])
    other._own = theirs
    feed(other, SENDABLE["auth"])
    for role in ("client", "server"):
        assert one.transcript(role, AUTH, b"x") == other.transcript(role, b"x")
        assert field(theirs) in one.transcript(role, AUTH, b"x")


def test_the_transcript_needs_a_login() -> None:
    with pytest.raises(AssertionError):
        server().transcript("client", b"")


def test_everything_is_bound() -> None:
    """Each part changes the transcript, and no two parts can be shifted into each other."""
    plain = {
        "role": "client",
        "transport": "tls",
        "hellos": (b"1", b"2"),
        "credential": b"c",
        "key": b"k",
        "auth": Auth(method="key"),
    }
    changes: list[dict[str, Any]] = [
        {},
        {"role": "server"},
        {"transport": "tcp"},
        {"transport": "unix"},
        {"hellos": (b"2", b"1")},
        {"hellos": (b"12", b"")},
        {"credential": b"d"},
        {"key": b""},
        {"key": b"x"},
        {"credential": b"ck", "key": b""},
        {"auth": Auth(method="secret")},
        {"auth": Auth(method="key", user="u")},
        {"auth": Auth(method="key", session="u")},
        {"auth": Auth(method="key", received=1)},
        {"auth": Auth(method="key", grace_ms=0)},
        {"auth": Auth(method="key", grace_ms=1)},
    ]
    seen = [transcript(**{**plain, **change}) for change in changes]
    assert len(set(seen)) == len(seen)


def test_what_auth_holds_is_bound() -> None:
    """A new field of `auth` must be added to the transcript, or named here with the reason."""
    bound = {"method", "user", "session", "received", "on_lost", "grace_ms"}
    by_credential = {"secret", "keys", "invite", "label"}
    assert set(Auth.fields()) - bound - by_credential == {"type", "proof"}


def test_the_drivers_limits_hold() -> None:
    """`payload_max` before login is the driver's own figure."""
    made = ServerHandshake(hello(), "tls", b"", replace(DEFAULT_LIMITS, frame_max_before_login=64))
    assert refused(made, SENDABLE["hello"]) == "frame_too_large"
    assert isinstance(hello(), Hello)
