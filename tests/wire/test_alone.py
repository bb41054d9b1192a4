"""A message that finds nothing else waiting is numbered at once: the wire must not show it.

Two cores get the same calls, one of them without that shortcut, and flush after each, as drivers do: they write the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.errors import LocalProtocolError, ProtocolError
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.wire.channel import Role
from remote_shell.wire.events import ChannelClosed, ChannelOpened, DataReceived
from remote_shell.wire.messages import (
    Ack,
    Close,
    Command,
    Done,
    Eof,
    Exit,
    Message,
    Open,
    Opened,
    Ping,
    Pong,
    Rejected,
    Signal,
    Terminal,
    Window,
)

from .pair import Pair, exec_message
from .raw import Raw

SAID: dict[Role, list[Message]] = {
    Role.SERVER: [
        *(Opened(), Exit(status=0), Done(number=1, status=0), Eof(stream=1), Eof(stream=2), Close()),
        Rejected(code="bad_request"),
    ],
    Role.CLIENT: [Command(number=1, line=":"), Signal(signal="SIGINT"), Eof(stream=0), Close()],
}
# few frames and bytes may be unacknowledged, and few be sent on a channel: all that can stop a message does
TIGHT = replace(DEFAULT_LIMITS, unacked_frames_max=6, unacked_bytes_max=2000, window=300)

Step = Callable[[Raw], object]
CHANNELS = st.integers(1, 3)


def said(role: Role) -> st.SearchStrategy[Step]:
    return st.builds(
        lambda channel, message: lambda raw: raw.session.send_message(channel, message),
        CHANNELS,
        st.sampled_from(SAID[role]),
    )


def wrote(role: Role) -> st.SearchStrategy[Step]:
    streams = st.sampled_from([1, 2] if role is Role.SERVER else [0])
    return st.builds(
        lambda channel, stream, size: lambda raw: raw.session.send_data(channel, stream, bytes(size)),
        *(CHANNELS, streams, st.integers(1, 400)),
    )


def heard(role: Role) -> st.SearchStrategy[Step]:
    """What the peer says; nothing of it may be wrong, or the core would say no more."""

    def acknowledge(raw: Raw) -> object:
        return raw.ack(kind=Ack)

    def ping(raw: Raw) -> object:
        return raw.ack(kind=Ping)

    def credit(channel: int) -> Step:
        def give(raw: Raw) -> object:
            mine = raw.session.channels.get(channel)
            if mine is None or mine.incoming.state.value not in ("open", "input_ended", "running", "ended"):
                return None
            return raw.say(Window(credit=mine.send.window - mine.send.credit, window=mine.send.window), channel)

        return give

    opens: list[Step] = [lambda raw: raw.open()]
    return st.one_of(st.sampled_from([acknowledge, ping, *opens]), st.builds(credit, CHANNELS))


def steps(role: Role) -> st.SearchStrategy[list[tuple[Step, int]]]:
    """Calls, and how many bytes the link takes after each."""
    taken = st.one_of(st.just(2**30), st.integers(0, 200))
    return st.lists(st.tuples(st.one_of(said(role), wrote(role), heard(role)), taken), max_size=40)


def written(role: Role, todo: list[tuple[Step, int]], *, shortcut: bool) -> list[bytes]:
    raw = Raw(role, TIGHT)
    if not shortcut:
        raw.session._send_at_once = lambda *_, **__: False  # type: ignore[method-assign]
    raw.open()
    out: list[bytes] = []
    for step, taken in todo:
        try:
            step(raw)
        except ProtocolError as error:  # what this state forbids: to both alike
            out.append(error.code.encode())
        out.append(flushed(raw, taken))
    return [*out, flushed(raw, 2**30)]


def flushed(raw: Raw, room: int) -> bytes:
    """What a driver writes until nothing is due, or its link takes no more."""
    out = b""
    while buffers := raw.session.data_to_send(2**30):
        data = b"".join(buffers)[: room - len(out)]
        out += data
        if not data or not raw.session.sent(len(data)):
            break
    return out


@given(todo=steps(Role.SERVER))
def test_a_server_writes_the_same_bytes(todo: list[tuple[Step, int]]) -> None:
    assert written(Role.SERVER, todo, shortcut=True) == written(Role.SERVER, todo, shortcut=False)


@given(todo=steps(Role.CLIENT))
def test_a_client_writes_the_same_bytes(todo: list[tuple[Step, int]]) -> None:
    assert written(Role.CLIENT, todo, shortcut=True) == written(Role.CLIENT, todo, shortcut=False)


def test_the_shortcut_is_taken() -> None:
    raw = Raw(Role.SERVER)
    raw.open()
    raw.session.send_message(1, Opened())
    raw.session.send_message(1, Exit(status=0))
    assert raw.session.sent_frames == 2


def test_an_open_goes_before_all_else() -> None:
    raw = Raw(Role.CLIENT)
    raw.open()
    raw.say(Opened(), 1)
    raw.session.send_data(1, 0, b"input")
    raw.session.open_channel(exec_message())
    assert [frame.channel for frame in raw.frames()] == [2, 1]


def test_answers_to_close_go_behind_something_else() -> None:
    """A command costs its client no send for that, and its server no turn."""
    raw = Raw(Role.CLIENT)
    for ident in range(1, 10):
        raw.session.open_channel(exec_message(str(ident)))
        assert [frame.channel for frame in raw.frames()] == [ident, ident - 1][: min(ident, 2)]
        for message in (Opened(), Exit(status=0), Close()):
            raw.say(message, ident)
        assert not raw.session.channels and not raw.session.has_unsent
        assert raw.frames() == []
    raw.ack(kind=Ping)
    assert [type(message) for message in raw.messages()] == [Pong, Close]
    assert not raw.session._closing


@pytest.mark.parametrize("most", [1, 2, 3])
def test_held_answers_take_no_room(most: int) -> None:
    """Nothing is refused, by either side, while channels that wait for an answer are all that there are too many of."""
    limits = replace(DEFAULT_LIMITS, channels_max=most)
    pair = Pair(limits)
    for ident in range(1, 20):
        assert pair.client.open_channel(exec_message(str(ident))) == ident
        pair.write(Role.CLIENT)
        events = pair.read(Role.SERVER)
        assert [type(event) for event in events if not isinstance(event, ChannelClosed)] == [ChannelOpened]
        for message in (Opened(), Exit(status=0), Close()):
            pair.server.send_message(ident, message)
        pair.write(Role.SERVER)
        pair.read(Role.CLIENT)
    assert len(pair.server.channels) <= 2


def a_signal(pair: Pair) -> None:
    pair.client.send_message(3, Signal(signal="SIGINT"))


def half_a_frame(pair: Pair) -> None:
    pair.client.send_message(3, Eof(stream=0))
    pair.write(Role.CLIENT, 10)


def nothing_may_be_numbered(pair: Pair) -> None:
    for number in range(1, 20):
        pair.client.send_message(3, Command(number=number, line=":"))
        pair.write(Role.CLIENT)


@pytest.mark.parametrize("before", [a_signal, half_a_frame, nothing_may_be_numbered])
def test_held_answers_take_no_room_whatever_waits(before: Callable[[Pair], None]) -> None:
    pair = Pair(replace(DEFAULT_LIMITS, channels_max=3, unacked_frames_max=16))
    for ident in (1, 2, 3):
        pair.client.open_channel(exec_message(str(ident)))
    pair.settle()
    for ident in (1, 2):
        for message in (Opened(), Exit(status=0), Close()):
            pair.server.send_message(ident, message)
    pair.settle()
    assert len(pair.client.channels) == 1 and len(pair.client._closing) == 2
    before(pair)
    idents = [pair.client.open_channel(exec_message(name)) for name in ("a", "b")]
    with pytest.raises(LocalProtocolError, match="too_many_channels"):
        pair.client.open_channel(exec_message("c"))
    events = pair.settle()[Role.SERVER]
    pair.server.measure(pair.now)  # which acknowledges
    events += pair.settle()[Role.SERVER]
    assert [event.channel for event in events if isinstance(event, ChannelOpened)] == idents
    assert sorted(pair.server.channels) == [3, *idents]


def test_answers_do_not_wait_behind_data_without_end() -> None:
    """Nor would they ever go, if a transfer always had something more to say."""
    pair = Pair()
    bulk = pair.client.open_channel(exec_message("bulk"))
    pair.settle()
    pair.server.send_message(bulk, Opened())
    for ident in range(2, 50):
        pair.client.open_channel(exec_message(str(ident)))
        pair.client.send_data(bulk, 0, bytes(70_000))
        pair.write(Role.CLIENT, 1000)
        for event in pair.read(Role.SERVER):
            if isinstance(event, ChannelOpened):
                for message in (Opened(), Exit(status=0), Close()):
                    pair.server.send_message(event.channel, message)
            elif isinstance(event, DataReceived):
                pair.server.consumed(event.channel, len(event.data))
        pair.write(Role.SERVER)
        pair.read(Role.CLIENT)
        assert len(pair.client._closing) <= 2
    assert len(pair.server.channels) <= 4


def test_the_answer_of_who_held_a_terminal_goes_at_once() -> None:
    """The server offers a shell again until it knows that its end was heard of."""
    raw = Raw(Role.CLIENT)
    raw.session.open_channel(replace_terminal(exec_message()))
    raw.frames()
    for message in (Opened(), Exit(status=0), Close()):
        raw.say(message, 1)
    assert raw.messages() == [Close()]


def replace_terminal(message: Open) -> Open:
    return message.changed(terminal=Terminal(term="xterm", rows=24, columns=80))


def test_an_open_that_may_not_be_numbered_waits() -> None:
    raw = Raw(Role.CLIENT, TIGHT)
    for _ in range(TIGHT.unacked_frames_max + 2):
        raw.session.open_channel(exec_message())
    assert raw.session.sent_frames == TIGHT.unacked_frames_max


def test_sent_tells_whether_to_ask_again() -> None:
    """A driver that would not be told so would ask each time, or leave something unsent."""
    raw = Raw(Role.SERVER)
    raw.open()
    raw.session.send_message(1, Opened())
    raw.session.send_data(1, 1, bytes(100_000))
    first = b"".join(raw.session.data_to_send(10))  # at its limit: who knows what else is due
    assert raw.session.sent(len(first))
    rest = b"".join(raw.session.data_to_send(2**30))
    assert raw.session.sent(len(rest) - 1)  # not all of it went
    assert len(b"".join(raw.session.data_to_send(2**30))) == 1
    assert not raw.session.sent(1)
    assert raw.session.data_to_send(2**30) == []
