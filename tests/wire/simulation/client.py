"""A client of a world: what its program wants, and how it comes back."""

from __future__ import annotations

from collections import deque

from remote_shell.wire.channel import Role
from remote_shell.wire.events import (
    ChannelClosed,
    DataReceived,
    Disconnected,
    EndReceived,
    Event,
    Failed,
    MessageReceived,
    ServerGreeted,
    Silent,
    WasDenied,
    Welcomed,
)
from remote_shell.wire.handshake import ClientHandshake
from remote_shell.wire.messages import Auth, Close, Eof, Exit, Rejected
from remote_shell.wire.session import Session

from ..pair import exec_message
from .network import KEY_HASH, LIMITS, BrokenError, End, Order, Surroundings, check


class Client:
    """One life of a client: it opens, feeds, reads, comes back after cuts, and asks again under the same id when a session is gone."""

    def __init__(self, world: Surroundings, name: str, orders: list[Order]) -> None:
        self.world = world
        self.name = name
        self.skew = 0.0
        self.waiting = deque(orders)
        self.session = Session(Role.CLIENT, LIMITS)
        self.ident: str | None = None
        self.end: End | None = None
        self.channels: dict[int, Order] = {}
        self.unread: list[tuple[int, int]] = []

    @property
    def clock(self) -> float:
        return self.world.now + self.skew

    @property
    def done(self) -> bool:
        return not self.waiting and not self.channels

    def step(self) -> None:
        rng = self.world.rng
        if self.end is None:
            if rng.random() < 0.1:
                self._connect()
            return
        if self.end.session is not None:
            self._act()
        self._serve(self.end)
        if self.unread and rng.random() < 0.5:
            self.session.consumed(*self.unread.pop(rng.randrange(len(self.unread))))

    def _connect(self) -> None:
        connection = self.world.dial(honest=True)
        self.end = End(self.world, connection, Role.CLIENT)
        self.end.handshake = ClientHandshake(self.world.hello(), "tls", KEY_HASH, LIMITS)

    def _act(self) -> None:
        """The program wants something."""
        rng = self.world.rng
        if self.waiting and rng.random() < 0.3:
            order = self.waiting.popleft()
            channel = self.session.open_channel(exec_message(order.ident, LIMITS.window))
            self.channels[channel] = order
        for channel, order in self.channels.items():
            if order.abandoned:
                continue
            if 0 <= order.fed < len(order.stdin):
                piece = order.stdin[order.fed : order.fed + rng.choice((1, 50, 900))]
                self.session.send_data(channel, 0, piece)
                order.fed += len(piece)
            elif order.fed == len(order.stdin):
                self.session.send_message(channel, Eof(stream=0))
                order.fed += 1
            elif rng.random() < 0.002:
                order.abandoned = True
                self.session.send_message(channel, Close())

    def _serve(self, end: End) -> None:
        for event in end.read(self.clock):
            self._handle(end, event)
            if self.end is not end:
                return
        session = end.session
        if session is not None:
            due = session.next_timeout()
            if due is not None and due <= self.clock:
                session.handle_timeout(self.clock)
                end.closed |= any(isinstance(event, Silent) for event in iter(session.next_event, None))
        end.write(self.clock)
        if end.closed or (
            session is None and self.world.rng.random() < 0.003
        ):  # a login that gets no answer is given up
            self._lose()

    def _handle(self, end: End, event: Event) -> None:
        handshake = end.handshake
        assert isinstance(handshake, ClientHandshake)
        match event:
            case ServerGreeted():
                auth = Auth(method="secret", secret=self.name, session=self.ident, received=self._received)
                proof = self.world.prove(self.name, handshake.transcript("client", auth, self.name.encode()))
                handshake.log_in(auth.changed(proof=proof))
            case Welcomed(welcome):
                if not welcome.resumed:
                    self._start_over()
                self.ident = welcome.session
                for one in end.attach(self.session, welcome.received, self.clock):
                    self._told(one)
            case WasDenied():
                raise BrokenError("login: who has the key was refused")
            case Failed(error, _) if end.session is None:
                raise BrokenError(f"rules: the client says {error}")
            case _:
                self._told(event)

    @property
    def _received(self) -> int:
        return self.session.received if self.ident is not None else 0

    def _start_over(self) -> None:
        """The session is gone with what ran in it. Ask again for what has no end: whoever ran is not run again."""
        self.session = Session(Role.CLIENT, LIMITS)
        orders, self.channels = list(self.channels.values()), {}
        self.unread.clear()
        for order in orders:
            if not order.exits and not order.abandoned:
                order.fed, order.got = 0, {1: bytearray(), 2: bytearray()}
                self.waiting.append(order)

    def _told(self, event: Event) -> None:
        match event:
            case DataReceived(channel, stream, data):
                order = self.channels[channel]
                check(not order.exits, "exit", f"output of {order.ident} behind its exit")
                order.got[stream] += data
                check(order.output[stream].startswith(order.got[stream]), "bytes", f"stream {stream} of {order.ident}")
                self.unread.append((channel, len(data)))
            case MessageReceived(channel, Exit(status=status)):
                order = self.channels[channel]
                order.exits += 1
                self.world.seen["exit"] += 1
                check(order.exits == 1 and status == order.status, "exit", f"{order.exits} of {order.ident}")
                if not order.abandoned:
                    check({**order.got} == order.output, "bytes", f"the end of {order.ident} came before all it wrote")
            case MessageReceived(channel, Rejected()):
                self.channels[channel].refused = True
            case ChannelClosed(channel):
                order = self.channels.pop(channel)
                order.closed = True
                check(order.exits == 1 or order.refused or order.abandoned, "exit", f"none of {order.ident}")
            case Failed(error, _):
                raise BrokenError(f"rules: the client says {error}")
            case Disconnected():
                assert self.end is not None
                self.end.closed = True
            case EndReceived() | _:
                return

    def _lose(self) -> None:
        assert self.end is not None
        self.end.connection.lines[Role.CLIENT].ended = True
        self.end = None
        self.session.detach()

    def crash(self) -> list[Order]:
        """Its process is killed; what another one may ask for again."""
        if self.end is not None:
            self.end.connection.cut(self.world.rng)
        orders = [order for order in (*self.channels.values(), *self.waiting) if not order.exits]
        for order in orders:
            order.fed, order.got, order.abandoned = 0, {1: bytearray(), 2: bytearray()}, False
        return orders
