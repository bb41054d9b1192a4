"""The session's rules: each thing that a peer may not do has its code, each thing that we may not do is a local error.

How much goes when, and what survives cuts: test_traffic.py and test_resume.py.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest

from remote_shell.errors import LocalProtocolError, RemoteProtocolError
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.wire.channel import REPLY_TABLE, REQUEST_TABLE, Role, State
from remote_shell.wire.events import (
    Answered,
    ChannelClosed,
    ChannelOpened,
    DataReceived,
    Disconnected,
    EndReceived,
    Event,
    Failed,
    MessageReceived,
    Silent,
)
from remote_shell.wire.frames import CHANNEL_MAX, CONTROL, FrameDecoder
from remote_shell.wire.messages import (
    MODELS,
    SESSION_MESSAGES,
    Ack,
    Close,
    Command,
    Disconnect,
    Eof,
    Exit,
    Open,
    Opened,
    Ping,
    Pong,
    Rejected,
    Resize,
    Signal,
    Window,
)
from remote_shell.wire.session import Session

from .pair import Pair, exec_message, hello
from .raw import REPLIES, Raw, control, failure
from .test_messages import EXAMPLES

LIMITS = DEFAULT_LIMITS
REQUESTS: dict[str, list[dict[str, Any]]] = {
    "open": [],
    "input_ended": [{"type": "eof", "stream": 0}],
    "closed": [{"type": "close"}],
}


def example(name: str, stream: int) -> dict[str, Any]:
    """A message that is right in itself."""
    fields = EXAMPLES[name] | ({"stream": stream} if name == "eof" else {})
    return {"type": name, **fields, **({"credit": 0, "window": LIMITS.window} if name == "window" else {})}


def server_in(state: str) -> Raw:
    """A server whose client brought channel 1 to a state; it answered `opened`."""
    raw = Raw(Role.SERVER)
    raw.open()
    raw.session.send_message(1, Opened())
    for message in REQUESTS[state]:
        raw.say(message)
    raw.frames()
    return raw


def client_in(state: str) -> Raw:
    """A client whose server brought channel 1 to a state."""
    raw = Raw(Role.CLIENT)
    raw.open()
    for message in REPLIES[state]:
        raw.say(message)
    return raw


# --- channel 0


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("name", MODELS)
def test_every_message_on_channel_0(name: str, role: Role) -> None:
    raw = Raw(role)
    events = raw.say({"type": name, **EXAMPLES[name], **({"received": 0, "sent": 0} if name in "ack ping" else {})}, 0)
    if name in ("ack", "ping"):
        assert events == []
    elif name == "disconnect":
        assert events == [Disconnected("bye", "d")]
    else:
        assert failure(events) == ("bad_count" if name == "pong" else "unexpected_message", False)
        sent = raw.messages()
        assert len(sent) == 1 and isinstance(sent[0], Disconnect) and events == [Failed(events[0].error, False)]  # type: ignore[union-attr]
        assert sent[0].code == failure(events)[0]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("channel", [0, 1])
def test_every_frame_type(role: Role, channel: int) -> None:
    """256 types on the connection and on a channel: the session ends where replay would bring the frame again."""
    for kind in range(256):
        raw = server_in("open") if role is Role.SERVER else client_in("running")
        raw.sent += 1
        events = raw.feed(struct.pack("!IBI", 2, kind, channel) + b"{}")
        mine = (0,) if role is Role.SERVER else (1, 2)
        if kind > 3:
            expected = "unknown_frame_type"
        elif channel == 0:
            expected = "bad_message" if kind == CONTROL else "data_on_channel_zero"
        elif kind in mine:
            assert events == [DataReceived(1, kind, b"{}")]
            continue
        else:
            expected = "bad_message" if kind == CONTROL else "wrong_stream"
        assert failure(events) == (expected, channel > 0)


@pytest.mark.parametrize("channel", [0, 1])
@pytest.mark.parametrize("length", [0, LIMITS.frame_max + 1, 2**31, 2**32 - 1])
def test_lengths(length: int, channel: int) -> None:
    events = server_in("open").feed(struct.pack("!IBI", length, CONTROL, channel) + bytes(20))
    assert failure(events) == ("frame_too_large" if length else "empty_frame", channel > 0)


def test_the_largest_frame() -> None:
    raw = client_in("running")
    big = replace(LIMITS, window=LIMITS.frame_max)
    raw = Raw(Role.SERVER, big)
    raw.open()
    assert raw.data(0, bytes(LIMITS.frame_max)) == [DataReceived(1, 0, bytes(LIMITS.frame_max))]


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"[" * 100_000, "bad_json"),
        (b'{"type":"\xff"}', "bad_json"),
        (b'{"type":NaN}', "bad_json"),
        (b"[]", "bad_message"),
        (b'{"x":1}', "bad_message"),
        (b'{"type":"mood"}', "unknown_message"),
    ],
)
@pytest.mark.parametrize("channel", [0, 1])
def test_bad_payloads(payload: bytes, code: str, channel: int) -> None:
    raw = server_in("open")
    assert failure(raw.say(payload, channel)) == (code, channel > 0)
    (last,) = raw.messages()
    assert isinstance(last, Disconnect) and last.code == code and last.detail
    assert raw.say(Close()) == [], "nothing is read after a failure"
    assert raw.frames() == []


# --- channels from 1 up


@pytest.mark.parametrize("state", REQUESTS)
@pytest.mark.parametrize("name", ["data", *MODELS])
def test_every_message_from_the_client_in_every_state(name: str, state: str) -> None:
    check_against_table(server_in(state), name, State(state), Role.SERVER)


@pytest.mark.parametrize("state", REPLIES)
@pytest.mark.parametrize("name", ["data", *MODELS])
def test_every_message_from_the_server_in_every_state(name: str, state: str) -> None:
    check_against_table(client_in(state), name, State(state), Role.CLIENT)


def check_against_table(raw: Raw, name: str, state: State, role: Role) -> None:
    """One input in one state: what the table says, as an event or as the named code."""
    stream = 0 if role is Role.SERVER else 1
    table = REQUEST_TABLE if role is Role.SERVER else REPLY_TABLE
    events = raw.data(stream, b"x") if name == "data" else raw.say(example(name, stream))
    if (state, name) not in table:
        assert failure(events) == ("unexpected_message", True)
        return
    expected: dict[str, list[Event]] = {
        "data": [DataReceived(1, stream, b"x")],
        "eof": [EndReceived(1, stream)],
        "close": [ChannelClosed(1)],
        "window": [],
    }
    if name in expected:
        assert events == expected[name]
    else:
        (event,) = events
        assert isinstance(event, MessageReceived) and event.channel == 1 and event.message.name == name
    half = raw.session.channels[1].incoming if 1 in raw.session.channels else None
    assert half is None or half.state is table[state, name]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("name", ["data", *(model.name for model in SESSION_MESSAGES)])
@pytest.mark.parametrize("channel", [1, 2, CHANNEL_MAX])
def test_every_message_on_a_channel_that_is_not_there(name: str, role: Role, channel: int) -> None:
    """Never opened, or (channel 1) closed by both sides and forgotten."""
    raw = Raw(role)
    raw.open()
    if role is Role.SERVER:
        for message in (Opened(), Exit(status=0), Close()):
            raw.session.send_message(1, message)
        raw.frames()
        raw.say(Close())
    else:
        for message in (Opened(), Exit(status=0), Close()):
            raw.say(message)
        raw.ack(kind=Ping)
        assert [frame.channel for frame in raw.frames()] == [0, 1], "the answer to `close` goes with the pong"
    assert not raw.session.channels
    events = raw.data(1, b"x", channel) if name == "data" else raw.say(example(name, 1), channel)
    if name == "open" and role is Role.SERVER and channel > 1:
        assert [type(event) for event in events] == [ChannelOpened]
    else:
        assert failure(events) == ("unexpected_message" if name == "open" else "no_such_channel", True)


def test_ids_only_rise() -> None:
    raw = Raw(Role.SERVER)
    assert isinstance(raw.say(exec_message(), 7)[0], ChannelOpened), "gaps are allowed"
    for old in (7, 6, 1):
        other = Raw(Role.SERVER)
        other.say(exec_message(), 7)
        assert failure(other.say(exec_message(), old)) == ("unexpected_message", True)
    assert isinstance(raw.say(exec_message(), CHANNEL_MAX)[0], ChannelOpened)
    assert failure(raw.say(exec_message(), CHANNEL_MAX)) == ("unexpected_message", True)


def test_the_client_runs_out_of_numbers_cleanly() -> None:
    raw = Raw(Role.CLIENT)
    raw.session._last_id = CHANNEL_MAX - 1
    assert raw.open() == CHANNEL_MAX
    with pytest.raises(LocalProtocolError, match="connect again"):
        raw.session.open_channel(exec_message())


# --- credit


def test_data_beyond_the_window() -> None:
    raw = server_in("open")
    assert raw.data(0, bytes(LIMITS.window - 1)) != []
    assert failure(raw.data(0, b"xx")) == ("window_exceeded", True)


def test_both_outputs_share_one_window() -> None:
    raw = client_in("running")
    raw.data(1, bytes(LIMITS.window // 2))
    raw.data(2, bytes(LIMITS.window // 2))
    assert failure(raw.data(1, b"x")) == ("window_exceeded", True)


@pytest.mark.parametrize("credit", [1, 2**53 - 1])
def test_credit_that_was_not_spent(credit: int) -> None:
    for raw in (server_in("open"), client_in("running")):
        assert failure(raw.say(Window(credit=credit, window=LIMITS.window))) == ("bad_credit", True)


@pytest.mark.parametrize("window", [0, LIMITS.window - 1, LIMITS.window_max + 1, 2**53 - 1])
def test_a_window_that_shrinks_or_is_too_large(window: int) -> None:
    assert failure(client_in("running").say(Window(credit=0, window=window))) == ("bad_credit", True)


def test_windows_of_open() -> None:
    """Up to the most that a window can be; nothing may be sent into an empty one."""
    assert failure(Raw(Role.SERVER).say(exec_message(window=LIMITS.window_max + 1))) == ("bad_credit", True)
    raw = Raw(Role.SERVER)
    raw.say(exec_message(window=LIMITS.window_max))
    assert raw.session.channels[1].send.credit == LIMITS.window_max
    raw = Raw(Role.SERVER)
    raw.say(exec_message(window=0))
    raw.session.send_message(1, Opened())
    raw.session.send_data(1, 1, b"xy")
    raw.session.send_message(1, Exit(status=0))
    assert raw.messages() == [Opened()]
    raw.say(Window(credit=1, window=1))
    assert raw.messages() == [b"x"]


def test_data_after_eof() -> None:
    raw = client_in("running")
    raw.say(Eof(stream=1))
    assert raw.data(2, b"x") == [DataReceived(1, 2, b"x")]
    assert failure(raw.data(1, b"x")) == ("data_after_eof", True)
    raw = client_in("running")
    raw.say(Eof(stream=1))
    assert failure(raw.say(Eof(stream=1))) == ("data_after_eof", True)
    assert failure(client_in("running").say(Eof(stream=0))) == ("wrong_stream", True)
    assert failure(server_in("open").say(Eof(stream=1))) == ("wrong_stream", True)
    assert failure(server_in("input_ended").data(0, b"x")) == ("unexpected_message", True)


# --- counts and signs of life


@pytest.mark.parametrize("kind", [Ack, Ping])
@pytest.mark.parametrize(("received", "sent"), [(2, 0), (2**53 - 1, 0), (0, 1), (1, 2), (1, 2**53 - 1)])
def test_counts_that_cannot_be(kind: type[Ack | Ping], received: int, sent: int) -> None:
    """One frame was sent each way."""
    raw = client_in("idle")
    assert raw.session.sent_frames == 1
    raw.say(Opened())
    if (received, sent) == (0, 1):
        assert raw.say(kind(received=0, sent=1), 0) == []
        raw.say(kind(received=1, sent=1), 0) if kind is Ack else None
        other = client_in("idle")
        assert failure(other.say(kind(received=0, sent=1), 0)) == ("bad_count", False)
        return
    assert failure(raw.say(kind(received=received, sent=sent), 0)) == ("bad_count", False)


def test_an_acknowledgement_is_never_taken_back() -> None:
    raw = client_in("idle")
    assert raw.ack() == []
    assert raw.session.unacknowledged == (0, 0)
    assert failure(raw.ack(0)) == ("bad_count", False)


def test_an_acknowledgement_of_what_is_not_sent_yet() -> None:
    """After a cut the old frames are numbered, but this stream has not brought them."""
    raw = client_in("idle")
    raw.session.attach(FrameDecoder(LIMITS.frame_max), raw.peer, 0, 0.0)
    assert failure(raw.ack(1)) == ("bad_count", False)


def test_a_second_ping_before_the_answer() -> None:
    raw = client_in("idle")
    assert raw.ack(kind=Ping) == []
    assert raw.messages() == [Pong(received=0, sent=1)]
    assert raw.ack(kind=Ping) == []
    assert failure(raw.ack(kind=Ping)) == ("ping_flood", False)


def test_pong_without_a_ping() -> None:
    raw = client_in("idle")
    assert failure(raw.ack(kind=Pong)) == ("unexpected_message", False)
    raw = client_in("idle")
    raw.now = LIMITS.ping_interval
    raw.session.handle_timeout(raw.now)  # it is due, and not out
    assert failure(raw.ack(kind=Pong)) == ("unexpected_message", False)


def test_the_round_trip_counts_from_when_it_was_asked_for_and_not_from_when_something_came_last() -> None:
    raw = client_in("idle")
    raw.session.measure(100.0)
    assert raw.session.measuring
    assert raw.messages() == [Ping(received=0, sent=1)]
    raw.session.measure(100.1)
    assert raw.messages() == [], "one at a time"
    raw.now = 100.25
    assert raw.ack(kind=Pong) == [Answered(0.25)]
    assert raw.session.round_trip == 0.25 and not raw.session.measuring
    raw.session.detach()
    raw.session.measure(101.0)
    assert not raw.session.measuring


def test_ping_and_pong() -> None:
    """Silence is asked about after 15 s; the answer tells the round trip."""
    raw = client_in("idle")
    assert raw.session.next_timeout() == LIMITS.ping_interval
    raw.session.handle_timeout(LIMITS.ping_interval - 1)
    assert raw.frames() == []
    raw.session.handle_timeout(LIMITS.ping_interval)
    assert raw.messages() == [Ping(received=0, sent=1)]
    assert raw.session.next_timeout() == LIMITS.silence_max
    raw.now = LIMITS.ping_interval + 0.25
    assert raw.ack(kind=Pong) == [Answered(0.25)]
    assert raw.session.round_trip == 0.25
    assert raw.session.next_timeout() == raw.now + LIMITS.ping_interval


def test_silence_is_told_once_and_ends_the_connection() -> None:
    raw = client_in("idle")
    raw.session.handle_timeout(LIMITS.silence_max)
    assert raw.events() == [Silent()]
    assert raw.frames() == [] and raw.say(Opened()) == []
    assert raw.session.next_timeout() is None
    raw.session.handle_timeout(2 * LIMITS.silence_max)
    assert raw.events() == []


def test_a_peer_that_is_not_prompt_is_never_given_up() -> None:
    raw = Raw(Role.SERVER, peer=hello(prompt=False))
    raw.session.handle_timeout(1e6)
    assert raw.messages() == [Ping(received=0, sent=0)]
    assert raw.session.next_timeout() is None
    raw.session.handle_timeout(1e9)
    assert raw.frames() == [] and raw.events() == []


def test_no_connection_has_no_timeout() -> None:
    session = Session(Role.CLIENT, LIMITS)
    assert session.next_timeout() is None
    session.handle_timeout(1e9)
    assert session.next_event() is None and session.data_to_send(100) == []


# --- the end of a connection


def test_disconnect_is_the_last_word() -> None:
    """What is encoded goes before it, what is queued stays for the next connection."""
    raw = client_in("running")
    raw.session.send_data(1, 0, b"before")
    raw.session.data_to_send(1)
    raw.session.send_data(1, 0, b"after")
    raw.session.disconnect("bye", "x" * 5000)
    raw.session.disconnect("again")
    sent = raw.messages()
    assert sent[0] == b"before" and sent[1:] == [Disconnect(code="bye", detail="x" * 500)]
    assert raw.frames() == []
    raw.session.disconnect("again")
    assert raw.frames() == [] and raw.say(Exit(status=0)) == []


def test_the_peers_disconnect() -> None:
    raw = client_in("running")
    raw.session.send_data(1, 0, b"data")
    assert raw.feed(control(Exit(status=0), 1) + control(Disconnect(code="replaced")) + control(Close(), 1)) == [
        MessageReceived(1, Exit(status=0)),
        Disconnected("replaced", ""),
    ]
    assert raw.frames() == [] and raw.events() == []
    assert raw.session.attached, "the driver lets go"


def test_disconnect_without_a_connection() -> None:
    session = Session(Role.CLIENT, LIMITS)
    session.disconnect("bye")
    assert session.data_to_send(100) == []


@pytest.mark.parametrize("count", [0, 4, 2**53 - 1])
def test_a_resume_count_out_of_range(count: int) -> None:
    """[acknowledged, sent] is [1, 3]."""
    raw = Raw(Role.CLIENT)
    for _ in range(3):
        raw.open()
    raw.ack(1)
    with pytest.raises(RemoteProtocolError) as caught:
        raw.session.attach(FrameDecoder(LIMITS.frame_max), raw.peer, count, 0.0)
    assert caught.value.code == "bad_count" and not raw.session.attached


def test_a_connection_begins_with_the_sessions_bounds() -> None:
    """Whatever its decoder was bound to before login, and with its own time."""
    raw = client_in("running")
    raw.session.attach(FrameDecoder(10), raw.peer, raw.session.sent_frames, 100.0)
    assert raw.data(1, bytes(100_000)) == [DataReceived(1, 1, bytes(100_000))]
    assert Raw(Role.CLIENT).session.next_timeout() == LIMITS.ping_interval


def test_bytes_of_a_displaced_connection() -> None:
    """The server takes no byte from a connection once the next one is attached."""
    raw = server_in("open")
    old = raw.session.generation
    half = control(Close(), 1)
    raw.feed(half[:10])
    new = raw.session.attach(FrameDecoder(LIMITS.frame_max), raw.peer, raw.session.sent_frames, 0.0)
    assert new == old + 1
    raw.session.receive_data(old, half[10:], 0.0)
    assert raw.events() == [] and raw.session.received == 1
    raw.session.receive_data(new, half, 0.0)
    assert raw.events() == [ChannelClosed(1)] and raw.session.received == 2


def test_bytes_without_a_connection() -> None:
    raw = server_in("open")
    raw.session.detach()
    assert not raw.session.attached
    assert raw.say(Close()) == [] and raw.session.received == 1


def test_events_that_were_decoded_survive_a_cut() -> None:
    """They count as received, so nobody sends them again."""
    raw = client_in("running")
    raw.session.receive_data(raw.session.generation, control(Exit(status=0), 1) + control(Close(), 1), 0.0)
    assert raw.session.next_event() == MessageReceived(1, Exit(status=0))
    raw.session.detach()
    assert raw.session.next_event() is None and raw.session.received == 2


# --- what we may not do


def test_only_the_client_opens() -> None:
    with pytest.raises(LocalProtocolError, match="only the client"):
        Raw(Role.SERVER).session.open_channel(exec_message())


def test_opening_needs_a_connection() -> None:
    """The peer's window is not known before."""
    with pytest.raises(LocalProtocolError) as caught:
        Session(Role.CLIENT, LIMITS).open_channel(exec_message())
    assert caught.value.code == "not_connected"


def test_messages_that_our_state_forbids() -> None:
    raw = client_in("running")
    for message in (Opened(), Exit(status=0), exec_message(), Ack(received=0, sent=0)):
        with pytest.raises(LocalProtocolError):
            raw.session.send_message(1, message)
    with pytest.raises(LocalProtocolError):
        raw.session.send_data(1, 1, b"x")
    with pytest.raises(LocalProtocolError, match="wrong_stream"):
        raw.session.send_message(1, Eof(stream=1))
    raw.session.send_message(1, Eof(stream=0))
    with pytest.raises(LocalProtocolError):
        raw.session.send_message(1, Eof(stream=0))
    assert raw.messages() == [Eof(stream=0)], "nothing of a refused message goes out"


def test_a_message_larger_than_a_frame() -> None:
    raw = Raw(Role.CLIENT, peer=hello(replace(LIMITS, frame_max=100_000)))
    with pytest.raises(LocalProtocolError) as caught:
        raw.session.open_channel(Open(request="exec", id="x", window=1, argv=["x" * 100_000]))
    assert caught.value.code == "frame_too_large"
    assert raw.open() == 1, "the number was not used up"
    with pytest.raises(LocalProtocolError):
        raw.session.send_message(1, Command(number=1, line="x" * 100_000))
    fits = Command(number=1, line="x" * (100_000 - len(Command(number=1, line="").encode())))
    raw.session.send_message(1, fits)
    assert raw.messages() == [fits]
    raw.session.detach()
    raw.session.send_message(1, Command(number=2, line="x" * 100_000))  # our own bound is larger


def test_things_for_a_channel_that_is_gone_do_nothing() -> None:
    raw = client_in("closed")
    raw.frames()
    assert not raw.session.channels
    raw.session.send_message(1, Signal(signal="SIGINT"))
    assert raw.session.send_data(1, 0, b"x") and raw.session.send_data(99, 0, b"x")
    raw.session.consumed(1, 5)
    assert raw.frames() == []


def test_things_for_a_channel_that_we_closed_do_nothing() -> None:
    raw = client_in("running")
    raw.session.send_message(1, Close())
    raw.session.send_message(1, Signal(signal="SIGINT"))
    raw.session.send_message(1, Close())
    assert raw.session.send_data(1, 0, b"x")
    assert raw.messages() == [Close()]


# --- the number of channels


FEW = replace(LIMITS, channels_max=3)


def test_the_client_keeps_to_the_limit() -> None:
    raw = Raw(Role.CLIENT, FEW)
    for _ in range(3):
        raw.open()
    with pytest.raises(LocalProtocolError) as caught:
        raw.open()
    assert caught.value.code == "too_many_channels"
    for message in (Opened(), Exit(status=0), Close()):
        raw.say(message, 2)
    raw.session.open_channel(exec_message())
    assert [frame.channel for frame in raw.frames()] == [4, 2]


def test_the_server_rejects_above_the_limit() -> None:
    raw = Raw(Role.SERVER, FEW)
    for ident in (1, 2, 3):
        assert raw.say(exec_message(), ident) != []
    assert raw.say(exec_message(), 4) == []
    rejected, close = raw.messages()
    assert isinstance(rejected, Rejected) and rejected.code == "too_many_channels" and close == Close()
    assert raw.data(0, b"stdin that was on its way", 4) == [], "and is dropped"
    assert raw.session.late_frames == 1
    assert raw.say(Close(), 4) == [ChannelClosed(4)]
    assert len(raw.session.channels) == 3


def test_who_does_not_even_close_what_was_rejected() -> None:
    """Or rejected channels would take memory without a bound."""
    raw = Raw(Role.SERVER, FEW)
    for ident in range(1, 8):
        raw.say(exec_message(), ident)
        raw.frames()
    assert failure(raw.say(exec_message(), 8)) == ("too_many_channels", True)


def test_what_the_server_has_closed_is_not_open_for_it() -> None:
    """The client's answer comes when it has something else to say, and behind that: an `open` perhaps."""
    raw = Raw(Role.SERVER, FEW)
    for ident in range(1, 8):
        assert [type(event) for event in raw.say(exec_message(), ident)] == [ChannelOpened]
        for message in (Opened(), Exit(status=0), Close()):
            raw.session.send_message(ident, message)
        raw.frames()
        if ident > 2:
            raw.say(Close(), ident - 2)


def test_a_client_at_the_limit_is_never_rejected() -> None:
    """Both count the same, though acknowledgements are far behind."""
    pair, running = Pair(FEW), 0
    for _ in range(300):
        while len(pair.client.channels) < FEW.channels_max:
            pair.client.open_channel(exec_message())
            running += 1
        pair.write(Role.CLIENT)
        for event in pair.read(Role.SERVER):
            if isinstance(event, ChannelOpened):
                for message in (Opened(), Exit(status=0), Close()):
                    pair.server.send_message(event.channel, message)
        pair.write(Role.SERVER)
        for event in pair.read(Role.CLIENT):
            assert not (isinstance(event, MessageReceived) and isinstance(event.message, Rejected))
        pair.write(Role.CLIENT)
    assert running == 900


# --- after the end of one side


def test_late_frames_are_counted_and_dropped() -> None:
    """We closed; what was on its way still counts as received."""
    raw = client_in("running")
    raw.session.send_message(1, Close())
    raw.frames()
    assert raw.data(1, b"x") == [] and raw.say(Eof(stream=1)) == [] and raw.say(Exit(status=0)) == []
    assert (raw.session.late_frames, raw.session.received) == (3, 4)
    assert raw.say(Close()) == [ChannelClosed(1)]
    assert not raw.session.channels
    raw.session.consumed(1, 1)


def test_late_data_keeps_to_the_window() -> None:
    raw = client_in("running")
    raw.session.send_message(1, Close())
    raw.data(1, bytes(LIMITS.window))
    assert failure(raw.data(1, b"x")) == ("window_exceeded", True)


def test_the_client_answers_close_by_itself() -> None:
    raw = client_in("ended")
    raw.session.send_data(1, 0, b"nobody reads this")
    assert raw.say(Close()) == [ChannelClosed(1)]
    raw.ack(kind=Ping)
    assert [type(message) for message in raw.messages()] == [Pong, Close]
    assert not raw.session.channels


def test_the_server_ends_a_channel_that_the_client_closed() -> None:
    """Its output is dropped, the end is told, and the channel is gone when the close is numbered."""
    raw = server_in("open")
    raw.session.send_data(1, 1, bytes(2 * LIMITS.queue_max))
    assert raw.say(Close()) == [ChannelClosed(1)]
    assert raw.frames() == []
    assert raw.session.send_data(1, 1, b"more"), "taken, and dropped"
    raw.session.send_message(1, Exit(signal="SIGKILL"))
    assert 1 in raw.session.channels
    raw.session.send_message(1, Close())
    assert raw.messages() == [Exit(signal="SIGKILL"), Close()]
    assert not raw.session.channels


def test_a_client_closes_though_there_is_no_credit() -> None:
    """Otherwise a command that does not read its stdin could never be let go of."""
    raw = client_in("running")
    raw.session.send_data(1, 0, bytes(LIMITS.window + 5))
    raw.session.send_message(1, Eof(stream=0))
    raw.session.send_message(1, Signal(signal="SIGTERM"))
    sent = raw.messages()
    assert sent[0] == Signal(signal="SIGTERM") and Eof(stream=0) not in sent
    raw.session.send_message(1, Close())
    assert raw.messages() == [Close()]


def test_credit_is_not_given_where_it_would_be_an_error() -> None:
    """stdin was taken off the wire, then the command was rejected."""
    raw = Raw(Role.SERVER)
    raw.open()
    raw.data(0, bytes(LIMITS.window))
    raw.session.consumed(1, LIMITS.window // 2)
    raw.session.send_message(1, Rejected(code="not_found"))
    raw.session.consumed(1, LIMITS.window // 2)
    raw.session.send_message(1, Close())
    assert [message for message in raw.messages() if not isinstance(message, Ack | Ping)] == [
        Rejected(code="not_found"),
        Close(),
    ]


def test_resize_reaches_the_application() -> None:
    raw = server_in("open")
    assert raw.say(Resize(rows=24, columns=80)) == [MessageReceived(1, Resize(rows=24, columns=80))]
