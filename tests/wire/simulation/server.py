"""The server of a world: sessions, their commands, and what is durable."""

from __future__ import annotations

from dataclasses import dataclass, field

from remote_shell.wire.channel import Role
from remote_shell.wire.events import (
    ChannelClosed,
    ChannelOpened,
    DataReceived,
    Disconnected,
    EndReceived,
    Event,
    Failed,
    LoginAsked,
    Silent,
)
from remote_shell.wire.handshake import ServerHandshake
from remote_shell.wire.messages import Auth, Close, Eof, Exit, Opened, Rejected, Welcome
from remote_shell.wire.session import Session

from .network import GRACE, KEY_HASH, LIMITS, BrokenError, Connection, End, Order, Surroundings, check


@dataclass
class Work:
    """A command that runs at a server."""

    order: Order
    taken: bytearray = field(default_factory=bytearray)
    written: dict[int, int] = field(default_factory=lambda: {1: 0, 2: 0})
    ended: bool = False


class Record:
    """A session at the server."""

    def __init__(self, ident: str, principal: str) -> None:
        self.ident = ident
        self.principal = principal
        self.core = Session(Role.SERVER, LIMITS)
        self.works: dict[int, Work] = {}
        self.end: End | None = None
        self.lost_at: float | None = None
        self.unread: list[tuple[int, int]] = []


class Server:
    """One life of the server. What is durable (`world.claims`) outlives it."""

    def __init__(self, world: Surroundings) -> None:
        self.world = world
        self.skew = 0.0
        self.records: dict[str, Record] = {}
        self.ends: dict[End, Record | None] = {}

    @property
    def clock(self) -> float:
        return self.world.now + self.skew

    def accept(self, connection: Connection) -> None:
        end = End(self.world, connection, Role.SERVER)
        end.handshake = ServerHandshake(self.world.hello(), "tls", KEY_HASH, LIMITS)
        self.ends[end] = None

    def step(self) -> None:
        """Something that a server does of itself, at one of its connections or in one of its commands."""
        rng = self.world.rng
        if self.ends:
            end = rng.choice(list(self.ends))
            self._serve(end)
        for record in list(self.records.values()):
            if record.lost_at is not None and self.clock - record.lost_at > GRACE:
                del self.records[record.ident]  # with its commands
            elif record.works:
                self._work(record, rng.choice(list(record.works)))
            if record.unread and rng.random() < 0.5:
                record.core.consumed(*record.unread.pop(rng.randrange(len(record.unread))))

    def _serve(self, end: End) -> None:
        record = self.ends[end]
        for event in end.read(self.clock):
            if record is None:
                record = self._arriving(end, event)
                if record is None:
                    return
            else:
                self._handle(end, record, event)
            if end not in self.ends:
                return
        if end.session is not None:
            self._tick(end, end.session)
        end.write(self.clock)
        if end.closed:
            self._lose(end)

    def _tick(self, end: End, session: Session) -> None:
        due = session.next_timeout()
        if due is not None and due <= self.clock:
            session.handle_timeout(self.clock)
            for event in iter(session.next_event, None):
                end.closed |= isinstance(event, Silent)

    def _arriving(self, end: End, event: Event) -> Record | None:
        """Before login; the session if it ends well."""
        handshake = end.handshake
        assert isinstance(handshake, ServerHandshake)
        auth = handshake.auth
        if isinstance(event, Failed) or auth is None or not self._proved(handshake, auth):
            handshake.deny()
            end.write(self.clock)
            end.connection.lines[Role.SERVER].ended = True
            del self.ends[end]
            return None
        assert isinstance(event, LoginAsked)
        check(end.connection in self.world.honest, "login", "somebody without the key was let in")
        record = self.records.get(auth.session or "")
        resumed = record is not None and record.principal == auth.secret
        if record is None or not resumed:
            record = Record(f"s{len(self.world.started)}.{self.world.rng.random()}", auth.secret or "")
            self.records[record.ident] = record
        if record.end is not None:
            record.core.disconnect("replaced")
            record.end.write(self.clock)
            self.ends.pop(record.end, None)
            record.end.connection.lines[Role.SERVER].ended = True
            record.core.detach()
        handshake.welcome(
            Welcome(session=record.ident, resumed=resumed, received=record.core.received, principal=record.principal,
                    account="a", host="h", grace_ms=1)
        )  # fmt: skip
        record.end, record.lost_at, self.ends[end] = end, None, record
        self.world.seen["resumed"] += resumed
        for event in end.attach(record.core, auth.received if resumed else 0, self.clock):
            self._handle(end, record, event)
        return record

    def _proved(self, handshake: ServerHandshake, auth: Auth) -> bool:
        name = auth.secret or ""
        expected = self.world.prove(name, handshake.transcript("client", name.encode()))
        return auth.method == "secret" and auth.proof == expected

    def _handle(self, end: End, record: Record, event: Event) -> None:
        core = record.core
        match event:
            case ChannelOpened(channel, message):
                check(end.connection in self.world.honest, "login", f"{message.id} was started without a login")
                if message.id in self.world.claims:
                    core.send_message(channel, Rejected(code="id_conflict"))
                    core.send_message(channel, Close())
                    return
                self.world.claims.add(message.id)
                self.world.started.append(message.id)
                check(self.world.started.count(message.id) == 1, "once", f"{message.id} was started twice")
                record.works[channel] = Work(self.world.orders[message.id])
                core.send_message(channel, Opened(pid=1))
            case DataReceived(channel, _, data):
                work = record.works.get(channel)
                if work is not None:
                    work.taken += data
                    check(work.order.stdin.startswith(work.taken), "bytes", f"stdin of {work.order.ident}")
                record.unread.append((channel, len(data)))
            case EndReceived(channel, _) if channel in record.works:
                work = record.works[channel]
                check(work.taken == work.order.stdin, "bytes", f"the end of {work.order.ident}'s stdin came too early")
            case ChannelClosed(channel):
                if channel in record.works and not record.works[channel].ended:
                    self._finish(record, channel, killed=True)
                record.works.pop(channel, None)
            case Disconnected():
                end.closed = True
            case Failed(error, _):
                raise BrokenError(f"rules: the server says {error}")
            case _:
                return

    def _work(self, record: Record, channel: int) -> None:
        """The command writes a little more, or ends."""
        work, rng = record.works[channel], self.world.rng
        left = [stream for stream, at in work.written.items() if at < len(work.order.output[stream])]
        if work.ended:
            return
        if not left:
            self._finish(record, channel, killed=False)
            return
        stream = rng.choice(left)
        at = work.written[stream]
        piece = work.order.output[stream][at : at + rng.choice((1, 80, 900))]
        record.core.send_data(channel, stream, piece)
        work.written[stream] = at + len(piece)

    def _finish(self, record: Record, channel: int, *, killed: bool) -> None:
        work = record.works[channel]
        work.ended = True
        if not killed:
            for stream in (1, 2):
                record.core.send_message(channel, Eof(stream=stream))
        record.core.send_message(channel, Exit(status=work.order.status))
        record.core.send_message(channel, Close())

    def _lose(self, end: End) -> None:
        record = self.ends.pop(end)
        end.connection.lines[Role.SERVER].ended = True
        if record is not None and record.end is end:
            record.core.detach()
            record.end, record.lost_at = None, self.clock

    def crash(self) -> None:
        """SIGKILL: sockets close, all but the claims is gone."""
        for end in self.ends:
            end.connection.cut(self.world.rng)
