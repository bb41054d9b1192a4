"""The session: one role-neutral machine after the handshake, which outlives its connections.

A driver calls `receive_data`, drains `next_event`, writes `data_to_send` and says how much of it went with `sent`; after
each call it drains and flushes again. Acknowledgement, credit, pings and replay happen in here. An exception between
`data_to_send` and `sent` means: abandon the connection and resume.

Neighbours: `attachment` (what one connection adds), `channel` (states and queues), `replay` (what may be sent again).
"""

from __future__ import annotations

from collections import deque

from remote_shell.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from remote_shell.limits import Limits
from remote_shell.wire import frames
from remote_shell.wire.attachment import Attachment
from remote_shell.wire.channel import EXPRESS, Channel, Role, Said, State
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
    Unheard,
    Writable,
)
from remote_shell.wire.file_messages import FILE_NAMES
from remote_shell.wire.frames import CHANNEL_MAX, CONTROL, Frame, FrameDecoder
from remote_shell.wire.messages import (
    CLOSE,
    Ack,
    Close,
    Disconnect,
    Eof,
    Hello,
    Message,
    Open,
    Ping,
    Pong,
    Rejected,
    Window,
    decode,
)
from remote_shell.wire.replay import ReplayBuffer, ReplayPool

TRANSFERS = ("put", "get")  # requests whose data lets all other channels' go first
YIELDED = 8  # turns of others after which one of those has its own all the same
UNHEARD_MAX = 128  # frames without an event, after which there is one all the same: about 1 ms
AFTER_LOGIN = frozenset(("ack", "ping", "pong", "disconnect"))  # channel 0
ON_CHANNELS = frozenset(
    (
        *("open", "opened", "rejected", "exit", "eof", "close", "window", "signal", "resize"),
        *("command", "input_end", "done", "report", "mode", "line", "unread"),
        *("attached", "detached", "shells", "detach", "job", "jobs", "gap", "accepted"),
    )
)
_CLOSE = CLOSE.encode()
WITH_FILES = ON_CHANNELS | FILE_NAMES  # where both sides name the feature


class Session:
    """Channels over a stream that may be cut and replaced at any byte."""

    def __init__(self, role: Role, limits: Limits, pool: ReplayPool | None = None) -> None:
        """`pool` is what the replay buffers of several sessions share."""
        self.role = role
        self.limits = limits
        self.generation = 0  # which connection we are on; receive_data ignores older ones
        self.received = 0  # frames of the session received, on all its connections
        self.late_frames = 0  # came for a channel that we had closed; dropped
        self.round_trip: float | None = None  # seconds, measured by ping
        self.channels: dict[int, Channel] = {}
        self._replay = ReplayBuffer(pool)
        self._link: Attachment | None = None
        self._last_id = 0
        self._said = Said()
        self._opens: deque[int] = (
            deque()
        )  # channels whose `open` waits: a start goes before all else of the ordered lane
        self._ready: deque[int] = deque()  # channels that wait for their turn
        self._later: deque[int] = deque()  # and those that let the others go first
        self._passed = 0  # turns of others since one of those had its own
        self._waiting: set[int] = set()  # the same as a set
        self._closing: deque[int] = deque()  # channels of which nothing is left but to answer the server's `close`
        self._express: deque[int] = deque()  # channels with an express frame, each once
        self._resend: deque[bytes] = deque()  # replay that did not go out yet
        self._out: deque[bytes] = deque()  # encoded, not taken by the driver
        self._out_size = 0
        self._out_offset = 0  # bytes of the first that were taken
        self._more = False  # `data_to_send` stopped at its limit: more may be due
        self._prompt = False  # all that is encoded was numbered at once, and the driver has not seen it yet
        self._events: deque[Event] = deque()
        self._grown = 0  # by how much windows grew, all together
        self._now = 0.0
        self._unheard = 0  # frames since the last event of which none was made

    # --- connections

    @property
    def attached(self) -> bool:
        """There is a connection."""
        return self._link is not None

    @property
    def sent_frames(self) -> int:
        """How many frames of the session were numbered."""
        return self._replay.sent

    @property
    def unacknowledged(self) -> tuple[int, int]:
        """Frames and bytes in the replay buffer."""
        return len(self._replay), self._replay.size

    def attach(self, decoder: FrameDecoder, peer: Hello, peer_received: int, now: float) -> int:
        """Go on over a new connection after its handshake; returns its generation.

        Raises RemoteProtocolError (`bad_count`): the session must end.
        """
        self.detach()
        self._replay.acknowledge(peer_received)
        self._now = now
        self._resend = deque(self._replay.after(peer_received))
        decoder.payload_max = self.limits.frame_max
        self._link = Attachment(decoder, peer, self.limits, peer_received, now)
        self.generation += 1
        return self.generation

    def forget(self) -> None:
        """Nobody will resume it: what was kept to be sent again is given up."""
        self.detach()
        self._replay.drop()

    def detach(self) -> None:
        """The connection is gone: forget what was only its own. Events that were decoded stay."""
        self._link = None
        self._out.clear()
        self._resend.clear()
        self._out_size = self._out_offset = 0
        self._prompt = False

    def receive_data(self, generation: int, data: bytes, now: float) -> None:
        """Bytes from the connection; those of an older one are ignored. Then drain `next_event`."""
        link = self._link
        if link is None or generation != self.generation or link.ended:
            return
        self._now = link.heard_at = now
        link.decoder.feed(data)

    def next_event(self) -> Event | None:
        """The next event in the order of the wire, or None when more bytes are needed."""
        while True:
            if self._events:
                return self._events.popleft()
            link = self._link
            if link is None or link.ended or link.disconnect is not None:
                return None
            frame = None
            try:
                frame = link.decoder.next_frame()
                if frame is None:
                    return None
                event = self._receive_session(link, frame) if frame.channel else self._receive_connection(link, frame)
            except ProtocolError as error:
                self.disconnect(error.code, error.detail)
                channel = link.decoder.fault_channel if frame is None else frame.channel
                return Failed(error, ends_session=channel > 0)
            if event is not None:
                self._unheard = 0
                return event
            self._unheard += 1
            if self._unheard >= UNHEARD_MAX:
                self._unheard = 0
                return Unheard()

    def closes_next(self, ident: int) -> bool:
        """The peer's `close` of the channel is all that was read and not told: whoever leaves that leaves nothing that others wait for.

        Not of a channel whose answer is due at once.
        """
        link, channel = self._link, self.channels.get(ident)
        if link is None or self._events or channel is None or not channel.grows:
            return False
        return link.decoder.ends_with(frames.encode(CONTROL, ident, _CLOSE))

    @property
    def has_events(self) -> bool:
        """Events that came about by sending, not by receiving: a queue that got room. `next_event` gives them at once."""
        return bool(self._events)

    def data_to_send(self, limit: int) -> list[bytes | memoryview]:
        """What is due, about `limit` bytes of it, in order, as buffers for one vectored write. Nothing is removed."""
        size = self._out_size
        self._prompt = False
        while size < limit:
            frame = self._next_frame()
            if frame is None:
                self._more = False
                break
            self._out.append(frame)
            size += len(frame)
        else:
            self._more = True
        self._out_size = size
        out: list[bytes | memoryview] = list(self._out)
        if self._out_offset:
            out[0] = memoryview(self._out[0])[self._out_offset :]
        return out

    def sent(self, count: int) -> bool:
        """The driver's connection took the first `count` bytes of `data_to_send`. False: nothing else was due then, don't ask again."""
        self._out_size -= count
        if not self._out_size:
            self._out.clear()
            self._out_offset = 0
            return self._more
        count += self._out_offset
        while self._out and count >= len(self._out[0]):
            count -= len(self._out.popleft())
        self._out_offset = count
        return True

    @property
    def heard_at(self) -> float | None:
        """When the present connection brought the last bytes; None without one."""
        return self._link.heard_at if self._link is not None else None

    def next_timeout(self) -> float | None:
        """The time at which `handle_timeout` should be called, or None."""
        link = self._link
        if link is None or link.ended:
            return None
        due = link.next_timeout()
        return None if due == float("inf") else due

    def handle_timeout(self, now: float) -> None:
        """Time has passed: ask for a sign of life, or tell `Silent`."""
        self._now = max(now, self._now)
        if self._link is not None and not self._link.ended and self._link.handle_timeout(now):
            self._link.ended = True
            self._events.append(Silent())

    def disconnect(self, code: str, detail: str = "") -> None:
        """End this connection (not the session) and say why, after what is already encoded."""
        link = self._link
        if link is not None and link.disconnect is None and not link.ended:
            link.disconnect = Disconnect(code=code, detail=detail[:500])

    # --- channels

    def open_channel(self, message: Open) -> int:
        """Client: start a command; data may follow at once. Raises LocalProtocolError (`too_many_channels`)."""
        if self.role is not Role.CLIENT:
            raise LocalProtocolError("unexpected_message", "only the client opens")
        if len(self.channels) >= self.limits.channels_max:
            raise LocalProtocolError("too_many_channels", f"{self.limits.channels_max} are open in this session")
        if self._last_id == CHANNEL_MAX:
            raise LocalProtocolError("too_many_channels", "the session used up its channel numbers: connect again")
        link = self._link
        if link is None:
            raise LocalProtocolError("not_connected", "a session opens channels on a connection")
        if message.request in TRANSFERS and not link.has_files:
            raise LocalProtocolError("unexpected_message", "the server is older, and does not know of files")
        payload = message.encode()
        if len(payload) > link.message_max:
            raise self._too_large(payload)
        self._last_id += 1
        channel = Channel(self._last_id, self.role, link.peer.window, message.window, self.limits.queue_max)
        channel.said = self._said
        if message.terminal is not None:
            channel.grows = False
        if message.request in TRANSFERS:
            channel.yields = True
        self.channels[channel.ident] = channel
        channel.step("open")
        if self._send_at_once(channel.ident, payload, first=True):
            channel.numbered = True
        else:
            channel.put_message("open", payload)
            self._waiting.add(channel.ident)
            self._opens.append(channel.ident)
        return channel.ident

    @property
    def unsaid(self) -> int:
        """Memory of all messages that wait to be numbered, about. Data has windows and queues that are full; these have not."""
        return self._said.size

    @property
    def has_unsent(self) -> bool:
        """Something that was queued did not go to the driver yet; answers to `close` don't count."""
        return bool(self._out or self._resend) or any(not channel.drained for channel in self.channels.values())

    def send_message(self, ident: int, message: Message) -> bool:
        """Queue a message on a channel, in the lane of its type. Nothing happens when the channel is gone.

        False, of a put or get: as of `send_data`.

        Raises LocalProtocolError for what the channel's state forbids.
        """
        channel = self.channels.get(ident)
        if channel is None or channel.outgoing.closed:
            return True
        payload, word, link = message.encode(), message.name, self._link
        if len(payload) > (self.limits.frame_max if link is None else link.message_max):
            raise self._too_large(payload)
        if word == "close" and self.role is Role.CLIENT:
            channel.abandon()
        channel.step(word, message.stream if isinstance(message, Eof) else -1)
        if word in EXPRESS or not channel.is_empty or not self._send_at_once(ident, payload):
            channel.put_message(word, payload)
            self._wake(channel)
            if channel.yields and channel.queued >= channel.queue_max:
                channel.was_full = True
            return not channel.was_full
        channel.numbered = True
        if word == "close":
            self._forget_closed(channel)
        return True

    def send_data(self, ident: int, stream: int, data: bytes | memoryview) -> bool:
        """Queue data. False: the queue is full, pause until `Writable`. Dropped when nobody will read it."""
        channel = self.channels.get(ident)
        if channel is None or channel.outgoing.closed or channel.incoming.closed:
            return True
        if not data:
            return not channel.was_full
        channel.put_data(stream, data, self.limits.data_frame_max)
        self._wake(channel)
        if channel.queued >= channel.queue_max:
            channel.was_full = True
        return not channel.was_full

    def consumed(self, ident: int, count: int) -> None:
        """The application took `count` bytes of the channel's data: the peer may send as many more."""
        channel = self.channels.get(ident)
        if channel is None or not count:
            return
        if channel.receive.consume(count) and channel.want_window():
            if self.round_trip is None and self._link is not None:
                self._link.want_ping()  # the first bulk data: find out how far away the peer is
            self._wake(channel)

    def unseen(self, ident: int) -> int:
        """Bytes of output on a channel of which it is not known that they reached the peer."""
        channel = self.channels.get(ident)
        return self._replay.data_on(ident) + (channel.queued if channel is not None else 0)

    def drop_unsent(self, ident: int) -> None:
        """Forget the data that waits on a channel: nobody will read it."""
        channel = self.channels.get(ident)
        if channel is not None:
            channel.drop_unsent()

    def measure(self, now: float) -> None:
        """Ask for a sign of life now, which measures the round trip; nothing happens while one is under way."""
        if self._link is not None:
            self._now = max(self._now, now)  # or it would count from when something came last
            self._link.want_ping()

    @property
    def measuring(self) -> bool:
        """A sign of life was asked for, and has not come yet."""
        return self._link is not None and (self._link.ping_due or self._link.ping_sent_at is not None)

    # --- sending

    def _too_large(self, payload: bytes) -> LocalProtocolError:
        most = self.limits.frame_max if self._link is None else self._link.message_max
        return LocalProtocolError("frame_too_large", f"a message of {len(payload)} bytes, at most {most} are allowed")

    def _send_at_once(self, ident: int, payload: bytes, *, first: bool = False) -> bool:
        """Number a message now, if nothing else waits anywhere: it would be the next frame anyway. False: it waits its turn.

        Nearly all messages of single commands come so, and the turns of many channels cost as much as all else of sending one.
        `first`: it goes before what waits on other channels, as an `open` does. All that is encoded must have come so, so that the driver
        has not seen it yet: behind what a link does not take a message could be overtaken and dropped no more.
        """
        link = self._link
        if link is None or link.ended or link.disconnect is not None or (self._out and not self._prompt):
            return False
        if self._opens or self._express or self._resend:
            return False
        if not first and (self._ready or self._later):
            return False
        replay = self._replay
        if replay.is_full(link.kept_bytes_max, link.kept_frames_max, self.limits.unacked_spared):
            return False
        frame = frames.encode(CONTROL, ident, payload)
        self._out.append(self._numbered(link, frame))
        self._out_size += len(frame)
        self._prompt = True
        return True

    def _wake(self, channel: Channel) -> None:
        ident = channel.ident
        if channel.has_express and ident not in self._express:
            self._express.append(ident)
        if ident not in self._waiting and channel.ready:
            self._waiting.add(ident)
            (self._later if channel.yields else self._ready).append(ident)

    def _next_turn(self) -> int:
        """Transfers come after all others, but after YIELDED turns of others one is theirs."""
        if self._opens:
            return self._opens.popleft()
        if self._later and (not self._ready or self._passed >= YIELDED):
            self._passed = 0
            return self._later.popleft()
        self._passed += 1
        return self._ready.popleft()

    def _next_frame(self) -> bytes | None:
        link = self._link
        if link is None or link.ended:
            return None
        if link.disconnect is not None:
            if self._closing and not self._resend and link.disconnect.code == "bye":
                return self._numbered(link, frames.encode(CONTROL, self._closing.popleft(), _CLOSE))
            link.ended = True
            return frames.encode(CONTROL, 0, link.disconnect.encode())
        if link.pong_due or link.ping_due or link.ack_due:
            return self._connection_frame(link)
        if self._resend:
            link.emitted += 1
            return self._resend.popleft()
        # nobody waits for an answer to `close`: it goes in the same write as something else, and behind an `open`
        answers = self._closing and self._out and not self._opens
        if not (self._express or self._opens or self._ready or self._later or answers):
            return None
        replay = self._replay
        if replay.is_full(link.kept_bytes_max, link.kept_frames_max, self.limits.unacked_spared):
            if not replay.is_crowded:  # by its own frames, of which the peer tells in time
                return None
            link.want_ping()
            return self._connection_frame(link) if link.ping_due else None
        frame = self._express_frame() if self._express else None
        if frame is None and answers:
            frame = frames.encode(CONTROL, self._closing.popleft(), _CLOSE)
        if frame is None:
            frame = self._ordered_frame(link)
        return None if frame is None else self._numbered(link, frame)

    def _numbered(self, link: Attachment, frame: bytes) -> bytes:
        self._replay.append(frame)
        link.emitted += 1
        return frame

    def _connection_frame(self, link: Attachment) -> bytes:
        message: Message
        if link.pong_due:
            link.pong_due = False
            message = Pong(received=self.received, sent=link.emitted)
        elif link.ping_due:
            link.ping_due = False
            link.ping_sent_at = self._now
            message = Ping(received=self.received, sent=link.emitted)
        else:
            message = Ack(received=self.received, sent=link.emitted)
        link.note_acknowledged()
        return frames.encode(CONTROL, 0, message.encode())

    def _express_frame(self) -> bytes | None:
        while self._express:
            channel = self.channels.get(self._express[0])
            if channel is None or not channel.has_express:
                self._express.popleft()
                continue
            if channel.window_due:
                channel.window_due = False
                payload = self._window_message(channel)
            else:
                payload = channel.take_express()
            return frames.encode(CONTROL, channel.ident, payload)
        return None

    def _window_message(self, channel: Channel) -> bytes:
        receive = channel.receive
        growth = 0
        if channel.grows and self.round_trip is not None and receive.grows(self._now, self.round_trip):
            room = min(self.limits.window_max - receive.window, self.limits.windows_max - self._grown)
            growth = max(0, min(receive.window, room))
            self._grown += growth
        credit = receive.give_back(self._now, growth)
        return Window.of(credit=credit, window=receive.window).encode()

    def _ordered_frame(self, link: Attachment) -> bytes | None:
        while self._opens or self._ready or self._later:
            ident = self._next_turn()
            channel = self.channels.get(ident)
            if channel is None or not channel.ready:
                self._waiting.discard(ident)
                continue
            stream, payload = channel.take_ordered(link.data_max)
            if channel.ready:
                (self._later if channel.yields else self._ready).append(ident)
            else:
                self._waiting.discard(ident)
            if channel.was_full and channel.queued * 2 < channel.queue_max:
                channel.was_full = False
                self._events.append(Writable(ident))
            if stream >= 0:
                return frames.encode(stream, ident, payload)
            if channel.has_express:
                self._wake(channel)  # express frames that waited for the channel's own `open`
            if channel.outgoing.closed:
                self._forget_closed(channel)
            return frames.encode(CONTROL, ident, payload)
        return None

    # --- receiving

    def _receive_connection(self, link: Attachment, frame: Frame) -> Event | None:
        message = decode(frame.payload, AFTER_LOGIN, self.limits.json_depth_max)
        if isinstance(message, Disconnect):
            link.ended = True
            return Disconnected(message.code, message.detail)
        assert isinstance(message, (Ack, Ping, Pong)), "decode allows nothing else"
        if message.sent != self.received:
            raise RemoteProtocolError("bad_count", f"the peer sent {message.sent} frames, {self.received} arrived")
        if not self._replay.acknowledged <= message.received <= link.emitted:
            raise RemoteProtocolError("bad_count", f"{message.received} frames acknowledged, {link.emitted} sent")
        self._replay.acknowledge(message.received)
        if isinstance(message, Ping):
            link.note_ping()
        elif isinstance(message, Pong):
            self.round_trip = link.note_pong(self._now)
            return Answered(self.round_trip)
        return None

    def _receive_session(self, link: Attachment, frame: Frame) -> Event | None:
        kind, ident, payload = frame
        self.received += 1
        link.note_frame(len(payload))
        channel = self.channels.get(ident)
        if kind != CONTROL:
            if channel is None:
                raise self._nowhere("data", ident)
            channel.incoming.step("data", kind)
            channel.receive.receive(len(payload))
            if channel.outgoing.closed:
                self.late_frames += 1
                return None
            return DataReceived(ident, kind, payload)
        allowed = WITH_FILES if link.has_files else ON_CHANNELS
        message = decode(payload, allowed, self.limits.json_depth_max)
        if channel is None:
            if isinstance(message, Open):
                return self._accept(link, ident, message)
            raise self._nowhere(message.name, ident)
        return self._receive_message(channel, message)

    def _nowhere(self, word: str, ident: int) -> RemoteProtocolError:
        if ident in self._closing:
            return RemoteProtocolError("unexpected_message", f"{word} while {State.CLOSED.value}")
        return RemoteProtocolError("no_such_channel", f"{word} on channel {ident}")

    def _receive_message(self, channel: Channel, message: Message) -> Event | None:
        channel.incoming.step(message.name, message.stream if isinstance(message, Eof) else -1)
        if isinstance(message, Close):
            return self._peer_closed(channel)
        if isinstance(message, Window):
            if message.window > self.limits.window_max:
                raise RemoteProtocolError("bad_credit", f"a window of {message.window} bytes")
            channel.send.grant(message.credit, message.window)
            self._wake(channel)
            return None
        if channel.outgoing.closed:
            self.late_frames += 1
            return None
        if isinstance(message, Eof):
            return EndReceived(channel.ident, message.stream)
        return MessageReceived(channel.ident, message)

    def _accept(self, link: Attachment, ident: int, message: Open) -> Event | None:
        if self.role is not Role.SERVER or ident <= self._last_id:
            raise RemoteProtocolError("unexpected_message", f"open on channel {ident}")
        if message.window > self.limits.window_max:
            raise RemoteProtocolError("bad_credit", f"a window of {message.window} bytes")
        if message.request in TRANSFERS and not link.has_files:
            raise RemoteProtocolError("unexpected_message", f"{message.request} without the feature files")
        self._last_id = ident
        limits, count = self.limits, len(self.channels)
        if count > 2 * limits.channels_max:  # it does not even close what was rejected
            raise RemoteProtocolError("too_many_channels", f"{count} are open in this session")
        if count >= limits.channels_max:  # without those of which only the answer to our `close` has not come
            count = sum(not other.outgoing.closed for other in self.channels.values())
        queue_max = limits.queue_max if message.terminal is None else min(limits.queue_max, limits.terminal_queue_max)
        channel = Channel(ident, self.role, message.window, limits.window, queue_max)
        channel.said = self._said
        if message.request in TRANSFERS:
            channel.yields = True
        channel.incoming.step("open")
        self.channels[ident] = channel
        if count >= limits.channels_max:
            detail = f"{self.limits.channels_max} commands are open in this session"
            self.send_message(ident, Rejected(code="too_many_channels", detail=detail))
            self.send_message(ident, CLOSE)
            return None
        return ChannelOpened(ident, message)

    def _peer_closed(self, channel: Channel) -> Event:
        if not channel.is_empty:
            channel.drop_unsent()
            self._wake(channel)  # messages stay
        channel.was_full = False
        if self.role is Role.CLIENT and not channel.outgoing.closed:
            channel.step("close")  # a client has nothing to add after the server's end
            if channel.is_empty and channel.grows:  # of a shell on a terminal it tells that its end was heard of
                self._closing.append(channel.ident)
            else:
                channel.put_message("close", _CLOSE)
                self._wake(channel)
        self._forget_closed(channel)
        return ChannelClosed(channel.ident)

    def _forget_closed(self, channel: Channel) -> None:
        """Both closes are out: the channel is history."""
        if channel.outgoing.closed and channel.incoming.closed and channel.drained:
            ident = channel.ident
            self.channels.pop(ident, None)
            self._waiting.discard(ident)
            self._grown -= channel.receive.window - channel.receive.first
