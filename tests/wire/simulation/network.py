"""What a world is made of: lines that bytes are under way on, connections, the two ends that drive a core each, and orders."""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from remote_shell.wire.channel import Role
from remote_shell.wire.events import (
    Event,
)
from remote_shell.wire.handshake import ClientHandshake, ServerHandshake
from remote_shell.wire.messages import Hello
from remote_shell.wire.session import Session

from ..pair import SMALL, hello

LIMITS = replace(SMALL, unacked_bytes_max=64 * 1024, unacked_frames_max=128, ack_bytes=2000)
HELLO = hello(LIMITS)
KEY_HASH = b"k" * 32
GRACE = 60.0  # seconds that a session without a connection lives
ROOM = 3000  # bytes that a socket takes


class BrokenError(AssertionError):
    """An invariant; the text begins with its name."""


def check(true: bool, invariant: str, what: str) -> None:
    if not true:
        raise BrokenError(f"{invariant}: {what}")


class Line:
    """One direction: bytes, each due at a time."""

    def __init__(self) -> None:
        self._chunks: deque[tuple[float, bytes]] = deque()
        self.size = 0
        self.ended = False  # nothing will follow what is there

    def write(self, data: bytes, due: float) -> None:
        self._chunks.append((max(due, self._chunks[-1][0] if self._chunks else 0.0), data))
        self.size += len(data)

    def read(self, count: int, now: float) -> bytes:
        """What has come by now, at most `count` bytes."""
        if not self._chunks or self._chunks[0][0] > now:
            return b""
        due, data = self._chunks.popleft()
        if len(data) > count:
            self._chunks.appendleft((due, data[count:]))
            data = data[:count]
        self.size -= len(data)
        return data

    def lose(self, kept: int) -> None:
        """The link is cut: all but the first bytes that are under way are gone."""
        data = b"".join(data for _, data in self._chunks)[:kept]
        self._chunks = deque([(0.0, data)] if data else [])
        self.size, self.ended = len(data), True


class Connection:
    """Two lines between a client and a server."""

    def __init__(self) -> None:
        self.lines = {Role.CLIENT: Line(), Role.SERVER: Line()}  # by who writes
        self.dead = False  # nothing passes any more, and nobody is told

    def cut(self, rng: random.Random) -> None:
        """Told or not told."""
        for line in self.lines.values():
            line.lose(rng.choice((0, rng.randrange(2000), 10**6)))
        self.dead = rng.random() < 0.3


@dataclass
class Order:
    """A command that a client wants: what it feeds, and what the command will write."""

    ident: str
    stdin: bytes
    output: dict[int, bytes]
    status: int
    fed: int = 0
    got: dict[int, bytearray] = field(default_factory=lambda: {1: bytearray(), 2: bytearray()})
    exits: int = 0
    closed: bool = False
    abandoned: bool = False
    refused: bool = False


class Surroundings:
    """What everybody in a world refers to: its chances, its time, and what nobody may forget."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.now = 0.0
        self.speed = rng.choice((0.0, 0.01, 0.3))  # seconds that a step takes, about
        self.far = rng.choice((0.0, 0.05, 1.0))  # seconds that bytes are under way, at most
        self.claims: set[str] = set()  # ids that the servers have on their disk
        self.started: list[str] = []
        self.honest: set[Connection] = set()
        self.orders: dict[str, Order] = {}
        self.connections: list[Connection] = []
        kinds = ("cut", "server crash", "client crash", "clock", "intruder", "resumed", "exit")
        self.seen: dict[str, int] = dict.fromkeys(kinds, 0)
        self.accept: Callable[[Connection], None]  # of the server that there is now

    def hello(self) -> Hello:
        """A fresh one."""
        return HELLO.changed(nonce=base64.b64encode(self.rng.randbytes(32)).decode())

    def prove(self, name: str, said: bytes) -> str:
        """What the key of that name proves; intruders do not ask."""
        return base64.b64encode(hmac.digest(name.encode(), said, hashlib.sha256)).decode()

    def delay(self) -> float:
        """How long the next bytes are under way."""
        return self.rng.random() * self.far

    def dial(self, *, honest: bool) -> Connection:
        """A connection to the server that there is now."""
        connection = Connection()
        self.connections = [*self.connections[-7:], connection]
        if honest:
            self.honest.add(connection)
        self.accept(connection)
        return connection


class End:
    """One side of a connection: what a driver does."""

    def __init__(self, world: Surroundings, connection: Connection, role: Role) -> None:
        self.world = world
        self.connection = connection
        self.role = role
        self.handshake: ClientHandshake | ServerHandshake | None = None
        self.session: Session | None = None
        self.generation = 0
        self.closed = False

    def write(self, clock: float) -> None:
        """As much as the socket takes; what is written on a cut link is gone."""
        line = self.connection.lines[self.role]
        if self.session is None:
            assert self.handshake is not None
            data = self.handshake.data_to_send()
            if data and not line.ended:
                line.write(data, self.world.now + self.world.delay())
            return
        for _ in range(4):
            shown = b"".join(self.session.data_to_send(1000))
            self._check(self.session)
            room = max(0, min(len(shown), ROOM - line.size, self.world.rng.choice((1, 50, ROOM, ROOM))))
            if not room:
                return
            self.session.sent(room)
            if not line.ended:
                line.write(shown[:room], self.world.now + self.world.delay())

    def _check(self, session: Session) -> None:
        for channel in session.channels.values():
            receive = channel.receive
            least = min(channel.send.credit, receive.left, receive.unread, receive.returned)
            check(least >= 0, "credit", f"{least} on channel {channel.ident}")
            check(
                receive.left + receive.unread + receive.returned == receive.window,
                "credit",
                "the window does not add up",
            )
        count, size = session.unacknowledged
        check(count <= LIMITS.unacked_frames_max, "bounds", f"{count} frames are kept")
        check(size <= LIMITS.unacked_bytes_max + 2000, "bounds", f"{size} bytes are kept")

    def read(self, clock: float) -> list[Event]:
        """What has come: its events."""
        if self.connection.dead:
            return []
        line = self.connection.lines[Role.SERVER if self.role is Role.CLIENT else Role.CLIENT]
        data = line.read(self.world.rng.choice((1, 40, 700, 10_000)), self.world.now)
        if not data:
            self.closed |= line.ended and not line.size
            return []
        if self.session is not None:
            self.session.receive_data(self.generation, data, clock)
            return list(iter(self.session.next_event, None))
        assert self.handshake is not None
        self.handshake.receive_data(data)
        return list(iter(self.handshake.next_event, None))

    def attach(self, session: Session, received: int, clock: float) -> list[Event]:
        """The handshake is over; what came along with its last bytes."""
        handshake = self.handshake
        assert handshake is not None and handshake.peer is not None
        self.write(clock)
        self.session = session
        self.generation = session.attach(handshake.decoder, handshake.peer, received, clock)
        return list(iter(session.next_event, None))
