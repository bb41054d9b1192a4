"""A channel: one command's traffic. Its states, and its send queue with two lanes.

Two small machines run for each channel, one a direction, so that teardown is never a special case: the *request* half is
what the client may send, the *reply* half what the server may. Both ends run both, one as sender and one as receiver, by
the same tables; a missing (state, input) pair is the protocol error. Neighbours: `windows` counts credit, `session`
numbers the frames that this hands out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import Enum
from itertools import islice
from typing import NamedTuple

from remote_shell.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from remote_shell.wire.file_messages import FILE_NAMES
from remote_shell.wire.frames import STDERR, STDIN, STDOUT
from remote_shell.wire.windows import ReceiveWindow, SendWindow


class State(Enum):
    """States of a half. Half-closed names follow RFC 9113."""

    IDLE = "idle"
    OPEN = "open"
    INPUT_ENDED = "input_ended"
    DETACHED = "detached"
    RUNNING = "running"
    ENDED = "ended"
    REFUSED = "refused"
    CLOSED = "closed"

    __hash__ = object.__hash__  # Enum's own is written in Python, and each frame looks its state up


Table = dict[tuple[State, str], State]

REQUEST_TABLE: Table = {
    (State.IDLE, "open"): State.OPEN,
    (State.OPEN, "data"): State.OPEN,
    (State.OPEN, "eof"): State.INPUT_ENDED,
    (State.OPEN, "command"): State.OPEN,
    (State.OPEN, "line"): State.OPEN,
    (State.OPEN, "input_end"): State.OPEN,
    (State.OPEN, "detach"): State.DETACHED,
    (State.OPEN, "signal"): State.OPEN,
    (State.OPEN, "resize"): State.OPEN,
    (State.OPEN, "window"): State.OPEN,
    **{(State.OPEN, word): State.OPEN for word in sorted(FILE_NAMES)},
    (State.OPEN, "close"): State.CLOSED,
    (State.INPUT_ENDED, "signal"): State.INPUT_ENDED,
    (State.INPUT_ENDED, "resize"): State.INPUT_ENDED,
    (State.INPUT_ENDED, "window"): State.INPUT_ENDED,
    (State.INPUT_ENDED, "close"): State.CLOSED,
    (State.DETACHED, "window"): State.DETACHED,
    (State.DETACHED, "close"): State.CLOSED,
}

REPLY_TABLE: Table = {
    (State.IDLE, "opened"): State.RUNNING,
    (State.IDLE, "rejected"): State.REFUSED,
    (State.IDLE, "report"): State.REFUSED,
    (State.IDLE, "shells"): State.REFUSED,
    (State.IDLE, "attached"): State.RUNNING,
    (State.IDLE, "jobs"): State.REFUSED,
    (State.IDLE, "job"): State.RUNNING,
    (State.RUNNING, "job"): State.RUNNING,
    (State.RUNNING, "jobs"): State.REFUSED,
    (State.RUNNING, "gap"): State.RUNNING,
    (State.RUNNING, "accepted"): State.RUNNING,
    (State.RUNNING, "data"): State.RUNNING,
    (State.RUNNING, "eof"): State.RUNNING,
    (State.RUNNING, "window"): State.RUNNING,
    (State.RUNNING, "done"): State.RUNNING,
    (State.RUNNING, "mode"): State.RUNNING,
    (State.RUNNING, "unread"): State.RUNNING,
    **{(State.RUNNING, word): State.RUNNING for word in sorted(FILE_NAMES)},
    (State.RUNNING, "detached"): State.DETACHED,
    (State.RUNNING, "exit"): State.ENDED,
    (State.ENDED, "data"): State.ENDED,
    (State.ENDED, "eof"): State.ENDED,
    (State.ENDED, "gap"): State.ENDED,
    (State.ENDED, "job"): State.ENDED,
    (State.ENDED, "window"): State.ENDED,
    (State.ENDED, "close"): State.CLOSED,
    (State.REFUSED, "close"): State.CLOSED,
    (State.DETACHED, "close"): State.CLOSED,
}

_DONE = (State.REFUSED, State.DETACHED)  # who said so takes no more data
_CLOSED = State.CLOSED
EXPRESS = frozenset(("window", "signal", "resize"))  # the lane that overtakes data; chosen before a frame is numbered


MESSAGE_ALONE = 128  # bytes that a message takes besides its own, where it waits


class Said:
    """About how much memory messages take that wait to be numbered: no window bounds them."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0


class Role(Enum):
    """Which end of the connection we are."""

    CLIENT = "client"
    SERVER = "server"

    __hash__ = object.__hash__  # as above, for each channel


STREAMS = {Role.CLIENT: (STDOUT, STDERR), Role.SERVER: (STDIN,)}  # what each role receives


class Rules(NamedTuple):
    """What a half may do: the same for all channels of a role."""

    table: Table
    streams: tuple[int, ...]
    error: type[ProtocolError]  # of an end that sends, or of one that receives


_RULES = {  # of what each role sends, and of what it receives
    Role.CLIENT: (
        Rules(REQUEST_TABLE, STREAMS[Role.SERVER], LocalProtocolError),
        Rules(REPLY_TABLE, STREAMS[Role.CLIENT], RemoteProtocolError),
    ),
    Role.SERVER: (
        Rules(REPLY_TABLE, STREAMS[Role.CLIENT], LocalProtocolError),
        Rules(REQUEST_TABLE, STREAMS[Role.SERVER], RemoteProtocolError),
    ),
}


class Half:
    """One direction of a channel. At first it is as the class says."""

    state = State.IDLE
    closed = False  # after `close`: the same as the state, for those who look at it with each frame
    _ended = 0  # bit mask of streams after their eof

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def step(self, word: str, stream: int = -1) -> None:
        """Move by one input; `stream` goes with data and eof. Raises our ProtocolError (`unexpected_message`)."""
        rules = self._rules
        state = rules.table.get((self.state, word))
        if state is None:
            raise rules.error("unexpected_message", f"{word} while {self.state.value}")
        if stream >= 0:
            if stream not in rules.streams:
                raise rules.error("wrong_stream", f"{word} on stream {stream}")
            if self._ended >> stream & 1:
                raise rules.error("data_after_eof", f"{word} on stream {stream}")
            if word == "eof":
                self._ended |= 1 << stream
        self.state = state
        if state is _CLOSED:
            self.closed = True


class Channel:
    """Both halves, both windows and the send queue of one channel. What most never change is the class's."""

    grows = True  # what we receive may need a larger window; a terminal's must not lie far ahead of Ctrl-C
    yields = False  # put and get: whoever else has something to send goes first, and messages fill the queue too
    numbered = False  # our first frame (`open`, `opened`) is out: only then may express frames overtake
    queued = 0  # bytes of data in the queue, and of messages if it yields
    was_full = False
    window_due = False  # one `window` message a channel: the credit is counted when it leaves
    said = Said()  # the session's, where it has one

    def __init__(self, ident: int, role: Role, send_window: int, receive_window: int, queue_max: int) -> None:
        self.ident = ident
        sent, received = _RULES[role]
        self.outgoing = Half(sent)
        self.incoming = Half(received)
        self.send = SendWindow(send_window)
        self.receive = ReceiveWindow(receive_window)
        self.queue_max = queue_max
        self._queue: deque[tuple[int, bytes | bytearray | memoryview]] = deque()  # (stream or -1, data or JSON)
        self._express: deque[bytes] = deque()

    # --- queueing

    def step(self, word: str, stream: int = -1) -> None:
        """A message is to be sent, now or by its turn. Raises LocalProtocolError for what the state forbids."""
        outgoing = self.outgoing
        outgoing.step(word, stream)
        if outgoing.state in _DONE:
            self.window_due = False  # nothing runs here that could read

    def put_message(self, word: str, payload: bytes) -> None:
        """Queue a message in the lane of its type, behind its `step`."""
        self.said.size += len(payload) + MESSAGE_ALONE
        if word in EXPRESS:
            self._express.append(payload)
        else:
            self._queue.append((-1, payload))
            self.queued += len(payload) * self.yields

    def put_data(self, stream: int, data: bytes | memoryview, join_below: int) -> None:
        """Queue data. Small writes to one stream are joined up to `join_below` bytes."""
        self.outgoing.step("data", stream)
        self.queued += len(data)
        if self._queue:
            last_stream, last = self._queue[-1]
            if last_stream == stream and len(last) + len(data) <= join_below:
                if isinstance(last, bytearray):
                    last += data
                else:
                    self._queue[-1] = (stream, bytearray(last) + data)
                return
        self._queue.append((stream, data))

    def drop_unsent(self) -> int:
        """The peer closed: forget data and express frames that have no number yet. Messages stay. Bytes dropped."""
        dropped = self.queued
        if dropped:
            self._queue = deque(item for item in self._queue if item[0] < 0)
            self.queued = sum(len(payload) for _, payload in self._queue) * self.yields
            dropped -= self.queued
        self._forget_said(self._express)
        self._express.clear()
        self.window_due = False
        return dropped

    def _forget_said(self, payloads: Iterable[bytes | bytearray | memoryview]) -> None:
        self.said.size -= sum(len(payload) + MESSAGE_ALONE for payload in payloads)

    def abandon(self) -> None:
        """A client closes early: forget all that has no number yet, but `open` and signals.

        Otherwise `close` would wait behind data for which there may never be credit; and a stray `eof` behind data that was
        dropped would pass for the whole input.
        """
        first = None if self.numbered or not self._queue else self._queue[0]
        self._forget_said(payload for stream, payload in islice(self._queue, first is not None, None) if stream < 0)
        self._queue.clear()
        self.queued = 0
        if first is not None:
            self._queue.append(first)
            self.queued = len(first[1]) * self.yields

    def want_window(self) -> bool:
        """Credit is to be given back. False when the peer has no more use for it."""
        if self.outgoing.state in _DONE or self.outgoing.closed or self.incoming.state is _CLOSED:
            return False
        self.window_due = True
        return True

    # --- taking

    @property
    def has_express(self) -> bool:
        """An express frame may go now."""
        return (self.window_due or bool(self._express)) and self.numbered

    def take_express(self) -> bytes:
        """The payload of the next express frame."""
        payload = self._express.popleft()
        self.said.size -= len(payload) + MESSAGE_ALONE
        return payload

    @property
    def ready(self) -> bool:
        """An ordered frame may go now."""
        queue = self._queue
        return bool(queue) and (queue[0][0] < 0 or self.send.credit > 0)

    @property
    def is_empty(self) -> bool:
        """Nothing waits in either lane."""
        return not (self._queue or self._express or self.window_due)

    def take_ordered(self, data_max: int) -> tuple[int, bytes | memoryview]:
        """The next ordered frame: (stream or -1 for a message, payload), at most `data_max` bytes of data."""
        queue = self._queue
        stream, payload = queue[0]
        if stream < 0:
            self.numbered = True
            self.said.size -= len(payload) + MESSAGE_ALONE
            self.queued -= len(payload) * self.yields
            return queue.popleft()  # type: ignore[return-value]  # a message's payload is bytes
        count = min(len(payload), data_max, self.send.credit)
        self.send.spend(count)
        self.queued -= count
        if count == len(payload):
            queue.popleft()
            return stream, memoryview(payload)
        view = memoryview(payload)
        queue[0] = (stream, view[count:])
        return stream, view[:count]

    @property
    def drained(self) -> bool:
        """Nothing waits to be sent."""
        return not self._queue and not self.has_express
