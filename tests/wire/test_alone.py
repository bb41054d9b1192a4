"""A message that finds nothing else waiting is numbered at once: the wire must not show it.

Two cores get the same calls, one of them without that shortcut, and flush after each, as drivers do: they write the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from remote_shell.errors import ProtocolError
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.wire.channel import Role
from remote_shell.wire.messages import (
    Ack,
    Close,
    Command,
    Done,
    Eof,
    Exit,
    Message,
    Opened,
    Ping,
    Rejected,
    Signal,
    Window,
)

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
        raw.session._send_alone = lambda channel: False  # type: ignore[method-assign]
    raw.open()
    out: list[bytes] = []
    for step, taken in todo:
        try:
            step(raw)
        except ProtocolError as error:  # what this state forbids: to both alike
            out.append(error.code.encode())
        data = b"".join(raw.session.data_to_send(2**30))[:taken]
        raw.session.sent(len(data))
        out.append(data)
    return [*out, b"".join(raw.session.data_to_send(2**30))]


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
    assert raw.session.sent_frames == 1


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
