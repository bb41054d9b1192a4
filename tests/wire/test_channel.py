"""A channel: the full product of states and inputs in both roles, and the two lanes."""

from __future__ import annotations

import pytest

from remote_shell.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from remote_shell.wire.channel import (
    EXPRESS,
    REPLY_TABLE,
    REQUEST_TABLE,
    STREAMS,
    Channel,
    Half,
    Role,
    Rules,
    State,
    Table,
)
from remote_shell.wire.frames import STDERR, STDIN, STDOUT
from remote_shell.wire.messages import SESSION_MESSAGES

WORDS = ["data", *(model.name for model in SESSION_MESSAGES), "ack", ""]
TABLES = {"request": (REQUEST_TABLE, (STDIN,)), "reply": (REPLY_TABLE, (STDOUT, STDERR))}

# Written out a second time by hand, so that a slip in a table shows.
FILES = {"entry", "wanted", "content", "seek", "entry_end", "skipped", "stored", "entry_failed"}  # of put and get
REQUESTS = {
    State.IDLE: {"open"},
    State.OPEN: {
        "data",
        "eof",
        "command",
        "input_end",
        "line",
        "detach",
        "signal",
        "resize",
        "window",
        "close",
        *FILES,
    },
    State.DETACHED: {"window", "close"},
    State.INPUT_ENDED: {"signal", "resize", "window", "close"},
}
REPLIES = {
    State.IDLE: {"opened", "attached", "rejected", "report", "shells", "job", "jobs"},
    State.RUNNING: {
        "data",
        "eof",
        "window",
        "done",
        "mode",
        "unread",
        "exit",
        "detached",
        "job",
        "jobs",
        "gap",
        "accepted",
        *FILES,
    },
    State.ENDED: {"data", "eof", "window", "gap", "job", "close"},
    State.REFUSED: {"close"},
    State.DETACHED: {"close"},
}


def queue(made: Channel, word: str, payload: bytes, stream: int = -1) -> None:
    """A message that waits for its turn."""
    made.step(word, stream)
    made.put_message(word, payload)


def half(kind: str, error: type[ProtocolError], state: State) -> Half:
    """One direction in a state."""
    table, streams = TABLES[kind]
    made = Half(Rules(table, streams, error))
    made.state = state
    return made


@pytest.mark.parametrize("error", [LocalProtocolError, RemoteProtocolError])
@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize(("kind", "legal"), [("request", REQUESTS), ("reply", REPLIES)])
def test_full_product(kind: str, legal: dict[State, set[str]], state: State, error: type[ProtocolError]) -> None:
    """As sender (a local error) and as receiver (a remote one)."""
    table, streams = TABLES[kind]
    for word in WORDS:
        machine = half(kind, error, state)
        stream = streams[0] if word in ("data", "eof") else -1
        if word in legal.get(state, ()):
            machine.step(word, stream)
            assert machine.state is table[state, word]
            assert machine.closed == (word == "close")
        else:
            with pytest.raises(error) as caught:
                machine.step(word, stream)
            assert caught.value.code == "unexpected_message" and state.value in caught.value.detail
            assert machine.state is state


@pytest.mark.parametrize("table", [REQUEST_TABLE, REPLY_TABLE])
def test_every_state_is_reached_and_every_way_ends(table: Table) -> None:
    reached, last = {State.IDLE}, set[State]()
    while reached != last:
        last = set(reached)
        reached |= {after for (state, _), after in table.items() if state in reached}
    assert reached == {state for state, _ in table} | {State.CLOSED}
    assert State.CLOSED not in {state for state, _ in table}
    assert {state for (_, word), state in table.items() if word == "close"} == {State.CLOSED}


def test_messages_that_no_state_takes() -> None:
    """Each message of the session is legal in one direction at least."""
    legal = {word for state_words in (REQUESTS, REPLIES) for words in state_words.values() for word in words}
    assert legal == {"data", *(model.name for model in SESSION_MESSAGES)}
    assert sorted(EXPRESS) == ["resize", "signal", "window"]


@pytest.mark.parametrize("word", ["data", "eof"])
@pytest.mark.parametrize(
    ("kind", "state", "wrong"),
    [("request", State.OPEN, (1, 2)), ("reply", State.RUNNING, (0,)), ("reply", State.ENDED, (0,))],
)
def test_a_stream_of_the_other_direction(kind: str, state: State, wrong: tuple[int, ...], word: str) -> None:
    for stream in wrong:
        with pytest.raises(RemoteProtocolError) as caught:
            half(kind, RemoteProtocolError, state).step(word, stream)
        assert caught.value.code == "wrong_stream"


@pytest.mark.parametrize("word", ["data", "eof"])
@pytest.mark.parametrize("state", [State.RUNNING, State.ENDED])
def test_nothing_after_eof_on_that_stream(state: State, word: str) -> None:
    machine = half("reply", RemoteProtocolError, state)
    machine.step("eof", STDERR)
    machine.step("data", STDOUT)
    with pytest.raises(RemoteProtocolError) as caught:
        machine.step(word, STDERR)
    assert caught.value.code == "data_after_eof"
    machine.step("eof", STDOUT)


def channel(role: Role = Role.CLIENT, send: int = 1000, *, started: bool = True) -> Channel:
    """A channel whose first message is out, unless it is not `started`."""
    made = Channel(1, role, send, 1000, 1000)
    if started:
        queue(made, "open" if role is Role.CLIENT else "opened", b"first")
        assert made.take_ordered(10) == (-1, b"first")
    return made


def taken(made: Channel, data_max: int = 100) -> list[tuple[int, bytes]]:
    """All ordered frames that may go now."""
    out = []
    while made.ready:
        stream, payload = made.take_ordered(data_max)
        out.append((stream, bytes(payload)))
    return out


@pytest.mark.parametrize("role", Role)
def test_roles_have_their_directions(role: Role) -> None:
    made = channel(role, started=False)
    mine = "request" if role is Role.CLIENT else "reply"
    assert made.outgoing.state is made.incoming.state is State.IDLE
    with pytest.raises(LocalProtocolError):
        queue(made, "opened" if mine == "request" else "open", b"x")
    with pytest.raises(RemoteProtocolError):
        made.incoming.step("open" if mine == "request" else "opened")
    assert set(STREAMS[Role.CLIENT]) | set(STREAMS[Role.SERVER]) == {0, 1, 2}
    queue(made, "open" if mine == "request" else "opened", b"x")
    for stream in STREAMS[role]:
        with pytest.raises(LocalProtocolError, match="wrong_stream"):
            made.put_data(stream, b"x", 10)


def test_order_of_one_lane() -> None:
    made = channel(Role.SERVER)
    made.put_data(STDOUT, b"a", 1)
    made.put_data(STDERR, b"b", 100)
    queue(made, "exit", b"exit")
    made.put_data(STDOUT, b"late", 100)
    queue(made, "eof", b"eof", STDOUT)
    queue(made, "close", b"close")
    assert made.queued == 6
    assert taken(made) == [(1, b"a"), (2, b"b"), (-1, b"exit"), (1, b"late"), (-1, b"eof"), (-1, b"close")]
    assert made.queued == 0 and made.drained


def test_small_writes_are_joined_up_to_a_frame() -> None:
    made = channel()
    data = memoryview(b"abcdefghij")
    for at in range(10):
        made.put_data(STDIN, data[at : at + 1], 4)
    assert taken(made) == [(0, b"abcd"), (0, b"efgh"), (0, b"ij")]


def test_joining_stops_at_another_stream_and_at_a_message() -> None:
    made = channel(Role.SERVER)
    for stream in (STDOUT, STDERR, STDOUT):
        made.put_data(stream, b"x", 100)
    queue(made, "done", b"done")
    made.put_data(STDOUT, b"y", 100)
    assert taken(made) == [(1, b"x"), (2, b"x"), (1, b"x"), (-1, b"done"), (1, b"y")]


def test_a_caller_may_not_change_what_was_joined() -> None:
    made, first = channel(), b"immutable"
    made.put_data(STDIN, first, 100)
    made.put_data(STDIN, b"!", 100)
    assert first == b"immutable" and taken(made) == [(0, b"immutable!")]


def test_data_is_cut_to_credit_and_frame() -> None:
    made = channel(send=25)
    made.put_data(STDIN, bytes(range(40)), 10)
    assert taken(made, 10) == [(0, bytes(range(10))), (0, bytes(range(10, 20))), (0, bytes(range(20, 25)))]
    assert made.queued == 15 and not made.ready and not made.drained
    made.send.grant(5, 25)
    made.put_data(STDIN, b"tail", 100)  # joins a rest that was cut
    assert taken(made, 10) == [(0, bytes(range(25, 30)))]
    made.send.grant(25, 25)
    assert b"".join(payload for _, payload in taken(made, 10)) == bytes(range(30, 40)) + b"tail"


def test_a_message_needs_no_credit_but_keeps_its_place() -> None:
    made = channel(send=0)
    queue(made, "command", b"first")
    made.put_data(STDIN, b"data", 10)
    queue(made, "input_end", b"last")
    assert taken(made) == [(-1, b"first")]
    made.send.grant(4, 4)
    assert taken(made) == [(0, b"data"), (-1, b"last")]


def test_express_waits_for_the_first_message_only() -> None:
    made = channel(started=False)
    queue(made, "open", b"open")
    made.put_data(STDIN, b"data", 10)
    queue(made, "signal", b"signal")
    assert not made.has_express
    made.take_ordered(10)
    assert made.has_express and not made.drained
    assert made.take_express() == b"signal"
    assert not made.has_express
    assert taken(made) == [(0, b"data")]


def test_express_keeps_its_own_order() -> None:
    made = channel()
    for word in ("signal", "resize", "signal"):
        queue(made, word, word.encode())
    assert [made.take_express() for _ in range(3)] == [b"signal", b"resize", b"signal"]


def test_a_closed_peer_gets_no_more_data() -> None:
    """What has no number yet is dropped; messages stay, so that the end is told."""
    made = channel(Role.SERVER)
    made.put_data(STDOUT, b"12345", 10)
    queue(made, "eof", b"eof", STDOUT)
    made.window_due = True
    assert made.drop_unsent() == 5
    assert not made.has_express and made.queued == 0
    assert taken(made) == [(-1, b"eof")]


def test_an_early_close_drops_what_is_before_it() -> None:
    """`close` may not wait for credit; an `eof` behind dropped data would pass for the whole input."""
    made = channel(send=0)
    made.put_data(STDIN, b"12345", 10)
    queue(made, "signal", b"signal")
    queue(made, "eof", b"eof", STDIN)
    made.abandon()
    queue(made, "close", b"close")
    assert made.queued == 0 and made.take_express() == b"signal" and taken(made) == [(-1, b"close")]


def test_an_early_close_never_drops_the_open() -> None:
    made = channel(started=False)
    made.abandon()
    queue(made, "open", b"open")
    made.put_data(STDIN, b"12345", 10)
    made.abandon()
    queue(made, "close", b"close")
    assert taken(made) == [(-1, b"open"), (-1, b"close")]


def test_credit_for_a_peer_that_has_no_use_for_it() -> None:
    """`rejected` and `close` forbid `window` after them, whenever the application consumed."""
    made = channel(Role.SERVER, started=False)
    assert made.want_window() and made.window_due
    queue(made, "rejected", b"rejected")
    assert not made.window_due and not made.want_window()
    made = channel()
    made.incoming.state = State.CLOSED
    assert not made.want_window()
    made = channel()
    queue(made, "close", b"close")
    assert not made.want_window() and not made.window_due
