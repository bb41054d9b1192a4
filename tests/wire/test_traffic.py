"""How much goes when: bounds, turns, lanes and windows of the session."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.wire.channel import Role
from remote_shell.wire.events import ChannelClosed, ChannelOpened, DataReceived, EndReceived, Event, Writable
from remote_shell.wire.frames import CONTROL, FrameDecoder
from remote_shell.wire.messages import (
    Ack,
    Close,
    Command,
    Eof,
    Exit,
    Open,
    Opened,
    Ping,
    Pong,
    Resize,
    Signal,
    Terminal,
    Window,
    decode,
)

from .pair import Pair, exec_message, hello
from .raw import Raw

LIMITS = DEFAULT_LIMITS
MIB = 1 << 20


def running(limits: Limits = LIMITS, *, window: int = LIMITS.window, channels: int = 1) -> Raw:
    """A client with commands that run and may take `window` bytes each."""
    raw = Raw(Role.CLIENT, limits, hello(replace(limits, window=window)))
    for _ in range(channels):
        raw.say(Opened(), raw.open())
    raw.ack()
    raw.frames()
    return raw


# --- the replay bound


def test_16_mib_unacknowledged_stop_the_numbering() -> None:
    """Whatever the peer grants; channel 0 goes on."""
    raw = running(window=2**40)
    raw.session.send_data(1, 0, bytes(20 * MIB))
    sent = sum(len(frame.payload) for frame in raw.frames())
    frames, size = raw.session.unacknowledged
    assert LIMITS.unacked_bytes_max <= size < LIMITS.unacked_bytes_max + LIMITS.data_frame_max + 9
    raw.session.send_message(1, Signal(signal="SIGINT"))
    assert raw.frames() == [], "express frames have numbers too"
    raw.say(Ping(received=raw.session.sent_frames - frames, sent=raw.sent), 0)
    assert raw.messages() == [Pong(received=raw.session.received, sent=raw.session.sent_frames)]
    raw.ack()
    first, *rest = raw.messages()
    assert first == Signal(signal="SIGINT") and sent + sum(map(len, rest)) == 20 * MIB  # type: ignore[arg-type]


def test_4096_frames_unacknowledged_stop_the_numbering() -> None:
    raw = running()
    for number in range(5000):
        raw.session.send_message(1, Command(number=number, line="x"))
    assert len(raw.frames()) == 4096 == raw.session.unacknowledged[0]
    raw.ack(raw.session.sent_frames - 4095)
    assert len(raw.frames()) == 1


@pytest.mark.parametrize("least", [{"unacked_frames_max": 128}, {"unacked_bytes_max": 64 * 1024}])
def test_a_peer_that_takes_less(least: dict[str, int]) -> None:
    """Its `hello` says so."""
    raw = Raw(Role.CLIENT, LIMITS, hello(replace(LIMITS, **least)))
    raw.say(Opened(), raw.open())
    for number in range(500):
        raw.session.send_message(1, Command(number=number, line="x" * 300))
    raw.frames()
    frames, size = raw.session.unacknowledged
    assert frames == 128 if "unacked_frames_max" in least else 64 * 1024 <= size < 64 * 1024 + 500


@pytest.mark.parametrize(
    "limits", [replace(LIMITS, unacked_frames_max=128), replace(LIMITS, unacked_bytes_max=64 * 1024)]
)
def test_the_least_bounds_still_move(limits: Limits) -> None:
    """Acknowledgement comes in time for the smallest bounds that a hello may state."""
    pair = Pair(limits)
    channel = pair.client.open_channel(exec_message())
    pair.settle()
    pair.server.send_message(channel, Opened())
    got = sent = 0
    for _ in range(4000):
        if sent < 3000 and pair.client.send_data(channel, 0, b"x" * 500):
            sent += 1
        for event in pair.settle()[Role.SERVER]:
            if isinstance(event, DataReceived):
                got += len(event.data)
                pair.server.consumed(channel, len(event.data))
    assert got == 3000 * 500


@pytest.mark.parametrize("count", [5000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_silent_commands(count: int) -> None:
    """One session; what is kept stays under its bound and nothing is remembered of what ended."""
    pair = Pair()
    started = ended = most = 0
    while ended < count:
        while started < count and started - ended < 64:
            pair.client.open_channel(exec_message(str(started)))
            started += 1
        pair.write(Role.CLIENT)
        for event in pair.read(Role.SERVER):
            if isinstance(event, ChannelOpened):
                for message in (Opened(), Exit(status=0), Close()):
                    pair.server.send_message(event.channel, message)
        pair.write(Role.SERVER)
        ended += sum(isinstance(event, ChannelClosed) for event in pair.read(Role.CLIENT))
        most = max(most, pair.client.unacknowledged[0], pair.server.unacknowledged[0])
    assert most <= 64 * 3 + LIMITS.ack_frames
    pair.settle()
    pair.client.measure(pair.now)  # answers to `close` go behind something else
    pair.settle()
    for session in (pair.client, pair.server):
        assert not session.channels
        assert session.unacknowledged[0] < LIMITS.ack_frames and session.unacknowledged[1] < LIMITS.ack_bytes
        held = (session._ready, session._waiting, session._express, session._resend, session._out, session._events)
        assert all(len(each) <= 64 for each in held)
        assert session._grown == 0


# --- turns


def test_channels_take_turns() -> None:
    """A heavy stream costs the others one frame of waiting each."""
    raw = running(channels=3)
    big = LIMITS.data_frame_max
    raw.session.send_data(1, 0, bytes(3 * big))
    raw.session.send_data(2, 0, b"small")
    raw.session.send_data(3, 0, bytes(2 * big))
    order = [(frame.channel, len(frame.payload)) for frame in raw.frames()]
    assert order[:5] == [(1, big), (2, 5), (3, big), (1, big), (3, big)]


def test_many_writes_are_no_more_turns() -> None:
    """Who writes often waits as long as who writes seldom; and who signals often stands in the line once."""
    raw = running(channels=2)
    big = bytes(LIMITS.data_frame_max)
    for channel in (1, 1, 1, 2, 2):
        raw.session.send_data(channel, 0, big[: LIMITS.window // 4])
        raw.session.send_message(channel, Signal(signal="SIGUSR1"))
    assert len(raw.session._ready) == len(raw.session._express) == 2
    data = [frame.channel for frame in raw.frames() if frame.type != CONTROL]
    assert data[:4] == [1, 2, 1, 2]


def test_no_data_makes_no_frame() -> None:
    """An empty frame is an error for the peer."""
    raw = running()
    assert raw.session.send_data(1, 0, b"")
    assert raw.frames() == []


def test_consuming_while_there_is_no_connection() -> None:
    """The credit goes out with the next one."""
    raw = running()
    raw.data(1, bytes(LIMITS.window))
    raw.session.detach()
    raw.session.consumed(1, LIMITS.window)
    raw.session.attach(FrameDecoder(MIB), raw.peer, raw.session.sent_frames, raw.now)
    assert Window(credit=LIMITS.window, window=LIMITS.window) in raw.messages()


def test_a_stalled_channel_stalls_no_other() -> None:
    raw = running(channels=2)
    raw.session.send_data(1, 0, bytes(2 * LIMITS.window))
    raw.session.send_data(2, 0, b"goes")
    raw.frames()
    raw.session.send_data(2, 0, b"goes on")
    assert raw.messages() == [b"goes on"]
    raw.say(Window(credit=10, window=LIMITS.window), 1)
    assert raw.messages() == [bytes(10)]


def test_frames_are_as_small_as_the_peer_wants() -> None:
    raw = Raw(Role.CLIENT, replace(LIMITS, data_frame_max=MIB), hello(replace(LIMITS, frame_max=64 * 1024)))
    raw.say(Opened(), raw.open())
    raw.session.send_data(1, 0, bytes(100_000))
    assert [len(frame.payload) for frame in raw.frames()] == [64 * 1024, 100_000 - 64 * 1024]


# --- lanes


def test_a_signal_overtakes_data() -> None:
    """All express frames of all channels go before any data; each channel's keep their order."""
    raw = running(channels=2)
    raw.session.send_data(1, 0, bytes(3 * LIMITS.data_frame_max))
    raw.session.send_message(1, Eof(stream=0))
    raw.session.send_message(1, Signal(signal="SIGINT"))
    raw.session.send_message(2, Resize(rows=1, columns=1))
    raw.session.send_message(1, Signal(signal="SIGTERM"))
    kinds = [frame.type for frame in raw.frames()]
    assert kinds == [CONTROL] * 3 + [0] * 3 + [CONTROL]


def test_a_signal_waits_for_what_is_encoded_only() -> None:
    """At most about `unsent_max` bytes are encoded ahead of the socket."""
    raw = running()
    raw.session.send_data(1, 0, bytes(LIMITS.window))
    ahead = sum(map(len, raw.session.data_to_send(LIMITS.unsent_max)))
    assert ahead <= LIMITS.unsent_max + LIMITS.data_frame_max + 9
    raw.session.send_message(1, Signal(signal="SIGINT"))
    sent = raw.messages()
    assert sum(map(len, sent[: sent.index(Signal(signal="SIGINT"))])) <= ahead  # type: ignore[arg-type]


def test_a_signal_never_precedes_its_open() -> None:
    raw = running()
    raw.session.send_data(1, 0, bytes(100_000))
    channel = raw.session.open_channel(exec_message())
    raw.session.send_data(channel, 0, b"data")
    raw.session.send_message(channel, Signal(signal="SIGINT"))
    mine = [decode(f.payload).name if f.type == CONTROL else "data" for f in raw.frames() if f.channel == channel]
    assert mine == ["open", "signal", "data"]


def test_credit_waits_for_opened() -> None:
    """The server consumed stdin before it answered."""
    raw = Raw(Role.SERVER)
    raw.open()
    raw.data(0, bytes(LIMITS.window))
    raw.session.consumed(1, LIMITS.window)
    assert [type(message) for message in raw.messages()] == [Ping]
    raw.session.send_message(1, Opened())
    assert raw.messages() == [Opened(), Window(credit=LIMITS.window, window=LIMITS.window)]


def test_nothing_express_after_close() -> None:
    raw = running()
    raw.data(1, bytes(LIMITS.window))
    raw.session.consumed(1, LIMITS.window)
    raw.session.send_message(1, Signal(signal="SIGINT"))
    raw.session.send_message(1, Close())
    raw.session.consumed(1, 0)
    names = [type(message).__name__ for message in raw.messages()]
    assert names[-1] == "Close" and sorted(names[:-1]) == ["Ping", "Signal", "Window"]
    raw.session.consumed(1, 0)
    raw.session.send_message(1, Signal(signal="SIGINT"))
    assert raw.frames() == []


def test_express_of_a_channel_that_closed_meanwhile() -> None:
    raw = running(channels=2)
    raw.session.send_message(1, Signal(signal="SIGINT"))
    for message in (Exit(status=0), Close()):
        raw.say(message, 1)
    raw.session.send_message(2, Signal(signal="SIGHUP"))
    assert raw.messages() == [Signal(signal="SIGHUP"), Close()]


# --- what the driver does


def test_partial_writes() -> None:
    """The socket takes a byte, or two frames and a half: what is shown next goes on exactly there."""
    raw = running(channels=2)
    raw.session.send_data(1, 0, bytes(range(256)) * 300)
    raw.session.send_data(2, 0, bytes(range(255, -1, -1)) * 300)
    whole = bytearray()
    for count in (1, 8, 1, 70_000, 0, 5, *[9_999] * 100):
        assert all(len(buffer) for buffer in raw.session.data_to_send(1)), "no buffer is empty"
        shown = b"".join(raw.session.data_to_send(LIMITS.unsent_max))
        assert b"".join(raw.session.data_to_send(1))[: len(shown)] == shown, "showing removes nothing"
        count = min(count, len(shown))
        raw.session.sent(count)
        whole += shown[:count]
    assert raw.session.data_to_send(1) == []
    decoder = FrameDecoder(MIB)
    decoder.feed(bytes(whole))
    got = {1: b"", 2: b""}
    for frame in iter(decoder.next_frame, None):
        got[frame.channel] += frame.payload
    assert got == {1: bytes(range(256)) * 300, 2: bytes(range(255, -1, -1)) * 300}


@pytest.mark.parametrize("taken", [0, 1, 9, 30, 40_000])
def test_an_exception_between_showing_and_sent(taken: int) -> None:
    """The socket took an unknown part. Whatever the peer got of it, after the resume nothing is lost or doubled."""
    pair = Pair()
    channel = pair.client.open_channel(exec_message())
    pair.client.send_data(channel, 0, bytes(range(250)) * 400)
    pair.client.send_message(channel, Eof(stream=0))
    shown = b"".join(pair.client.data_to_send(LIMITS.unsent_max))
    pair.server.receive_data(pair.server.generation, shown[:taken], pair.now)
    events = pair.events(Role.SERVER)
    pair.resume()
    events += pair.settle()[Role.SERVER]
    assert [event for event in events if isinstance(event, ChannelOpened | EndReceived)] == [
        ChannelOpened(channel, exec_message()),
        EndReceived(channel, 0),
    ]
    assert b"".join(event.data for event in events if isinstance(event, DataReceived)) == bytes(range(250)) * 400


def test_a_replay_goes_before_all_else_of_the_session() -> None:
    """In its old order; acknowledgements go between."""
    raw = running()
    raw.session.send_data(1, 0, b"first")
    raw.session.send_message(1, Eof(stream=0))
    old = raw.frames()
    raw.session.send_message(1, Signal(signal="SIGINT"))
    raw.session.attach(FrameDecoder(MIB), raw.peer, raw.session.sent_frames - 2, raw.now)
    raw.say(Ping(received=raw.session.sent_frames - 2, sent=raw.sent), 0)
    new = raw.messages()
    assert new == [
        Pong(received=raw.sent, sent=raw.session.sent_frames - 3),
        b"first",
        Eof(stream=0),
        Signal(signal="SIGINT"),
    ]
    assert [frame.payload for frame in old] == [b"first", Eof(stream=0).encode()]


def test_a_writer_is_paused_and_woken() -> None:
    raw = running()
    half = bytes(LIMITS.queue_max // 2)
    assert raw.session.send_data(1, 0, half)
    assert not raw.session.send_data(1, 0, half)
    assert not raw.session.send_data(1, 0, b""), "still full"
    assert raw.events() == []
    b"".join(raw.session.data_to_send(LIMITS.queue_max // 4))
    assert raw.events() == []
    raw.frames()
    assert raw.events() == [Writable(1)]
    assert raw.session.send_data(1, 0, b"") and raw.session.send_data(1, 0, b"x")
    raw.frames()
    assert raw.events() == []


def test_little_of_a_terminals_output_waits_in_the_queue() -> None:
    """It lies ahead of whatever follows Ctrl-C."""
    server = Raw(Role.SERVER)
    terminal = Terminal(term="vt100", rows=24, columns=80)
    server.say(Open(request="exec", id="x", window=LIMITS.window, argv=["yes"], terminal=terminal))
    server.session.send_message(1, Opened())
    assert server.session.send_data(1, 1, bytes(LIMITS.terminal_queue_max - 1))
    assert not server.session.send_data(1, 1, b"x")


def test_a_paused_writer_learns_of_the_end() -> None:
    """`ChannelClosed` instead of `Writable`; afterwards data is taken and dropped."""
    raw = running()
    assert not raw.session.send_data(1, 0, bytes(LIMITS.queue_max))
    raw.say(Exit(status=0))
    assert raw.say(Close()) == [ChannelClosed(1)]
    assert raw.session.send_data(1, 0, b"x")
    raw.ack(kind=Ping)
    assert [type(message) for message in raw.messages()] == [Pong, Close]
    assert raw.events() == [], "no `Writable` after the end"


# --- acknowledgement


def test_acknowledgements_are_merged() -> None:
    raw = running()
    for _ in range(5 * LIMITS.ack_frames):
        raw.data(1, b"x")
    assert raw.messages() == [Ack(received=raw.sent, sent=raw.session.sent_frames)]
    for _ in range(LIMITS.ack_frames - 1):
        raw.data(1, b"x")
    assert raw.frames() == []
    raw.data(1, b"x")
    assert len(raw.frames()) == 1


def test_an_acknowledgement_follows_receipt() -> None:
    """Data that nobody reads are acknowledged, and no credit is given."""
    raw = running(replace(LIMITS, ack_bytes=16 * 1024))
    raw.data(1, bytes(15 * 1024))
    assert raw.messages() == []
    raw.data(1, bytes(1024))
    assert raw.messages() == [Ack(received=raw.sent, sent=1)]


# --- windows


def feed_window(raw: Raw, round_trip: float, rounds: int) -> list[Window]:
    """The peer fills the window each time that it may, one round trip after its credit. The windows that it is told."""
    told = []
    credit = LIMITS.window
    for _ in range(rounds):
        raw.now += round_trip
        while credit:
            count = min(credit, LIMITS.data_frame_max)
            raw.data(1, bytes(count))
            raw.session.consumed(1, count)
            credit -= count
        for message in raw.messages():
            if isinstance(message, Window):
                credit += message.credit
                told.append(message)
            elif isinstance(message, Ping):
                raw.now += round_trip
                raw.ack(kind=Pong)
    return told


def test_the_first_bulk_data_measures_the_round_trip() -> None:
    raw = running()
    raw.data(1, bytes(LIMITS.window))
    assert raw.session.round_trip is None
    raw.session.consumed(1, LIMITS.window)
    assert [type(message) for message in raw.messages()] == [Ping, Window], "the ping acknowledges as well"
    raw.now = 0.25
    raw.ack(kind=Pong)
    assert raw.session.round_trip == 0.25


def test_a_window_grows_with_the_round_trip() -> None:
    """It doubles while half a window takes less than two round trips, up to 8 MiB; never so at once."""
    raw = running()
    windows = [message.window for message in feed_window(raw, 0.1, 12)]
    assert windows[0] == LIMITS.window
    assert max(windows) == windows[-1] == LIMITS.window_max
    assert windows == sorted(windows) and all(b <= 2 * a for a, b in itertools.pairwise(windows))


def test_a_slow_link_keeps_its_window() -> None:
    """The link, not the window, is the bound."""
    raw = running()
    raw.session.round_trip = 0.001
    assert {message.window for message in feed_window(raw, 0.1, 12)} == {LIMITS.window}


def test_grown_windows_have_a_common_bound() -> None:
    raw = running(channels=4)
    raw.session.round_trip = 1e9
    told = dict.fromkeys(range(1, 5), LIMITS.window)
    for channel in (1, 2, 3, 4) * 8:
        for _ in range(told[channel] // LIMITS.window):
            raw.data(1, bytes(LIMITS.window), channel)
        raw.session.consumed(channel, raw.session.channels[channel].receive.unread)
        for frame in raw.frames():
            if frame.channel and isinstance(message := decode(frame.payload), Window):
                told[frame.channel] = message.window
        assert sum(told.values()) - 4 * LIMITS.window <= LIMITS.windows_max
    assert sum(told.values()) - 4 * LIMITS.window == LIMITS.windows_max
    assert raw.session._grown == LIMITS.windows_max
    for channel in range(1, 5):
        raw.say(Exit(status=0), channel)
        raw.say(Close(), channel)
    raw.frames()
    assert raw.session._grown == 0, "a closed channel gives its share back"


def test_one_window_message_a_channel() -> None:
    """Credit that came while the link was busy is merged."""
    raw = running()
    raw.session.round_trip = 0.0
    raw.data(1, bytes(LIMITS.window))
    for _ in range(LIMITS.window // 1024):
        raw.session.consumed(1, 1024)
    windows = [message for message in raw.messages() if isinstance(message, Window)]
    assert windows == [Window(credit=LIMITS.window, window=LIMITS.window)]


def test_unread_stderr_does_not_starve_stdout() -> None:
    """stderr fills all but 1 KiB of the shared window and is never read; stdout goes on."""
    pair = Pair()
    channel = pair.client.open_channel(exec_message())
    pair.settle()
    pair.server.send_message(channel, Opened())
    pair.server.send_data(channel, 2, bytes(LIMITS.window - 1024))
    got = sent = 0
    for _ in range(1000):
        if sent < 64 and pair.server.send_data(channel, 1, b"x" * 1000):
            sent += 1
        events: list[Event] = pair.settle()[Role.CLIENT]
        for event in events:
            if isinstance(event, DataReceived) and event.stream == 1:
                got += len(event.data)
                pair.client.consumed(channel, len(event.data))
    assert got == 64_000
