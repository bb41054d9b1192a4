"""A small world with one seed: clients and servers made of the real cores, a network with delays and cuts, crashes, clocks that jump.

Nothing here waits: time is a number, and what could come in any order comes in one that the seed chooses. What must hold whatever happens
is checked where it would break; a `BrokenError` begins with the invariant's name:

    login     nothing is started but for who proved a key
    once      no command is started twice, whoever asks again, and through crashes
    bytes     what arrives is what was written, each byte once and in order
    exit      a command has one exit, and nothing of it follows
    credit    nobody sends beyond its credit, no count goes below zero
    bounds    what is kept for a peer stays under its limit
    rules     no side calls the other's words a fault
    ends      when the faults are over, everything comes to its end
"""

from __future__ import annotations

from typing import Literal

from remote_shell.wire import frames
from remote_shell.wire.channel import Role
from remote_shell.wire.frames import CONTROL
from remote_shell.wire.messages import Auth

from ..at_random import message as any_message
from ..at_random import written
from ..pair import exec_message
from .client import Client
from .network import BrokenError as BrokenError
from .network import Order, Surroundings
from .server import Server

CHAOS = 400  # steps with faults
PATIENCE = 40_000  # steps after them, until which everything must have ended


class World(Surroundings):
    """Everything, from one seed."""

    def __init__(self, seed: int, *, clients: int = 2, orders: int = 3) -> None:
        super().__init__(seed)
        self._new_server()
        self.clients = [self._client(f"c{number}", orders) for number in range(clients)]

    def _new_server(self) -> None:
        self.server = Server(self)
        self.accept = self.server.accept

    def _client(self, name: str, count: int) -> Client:
        rng, orders = self.rng, []
        for number in range(count):
            output = {stream: rng.randbytes(rng.choice((0, 5, 650, 2500))) for stream in (1, 2)}
            order = Order(f"{name}.{number}", rng.randbytes(rng.choice((0, 3, 700, 2000))), output, number)
            self.orders[order.ident] = order
            orders.append(order)
        return Client(self, name, orders)

    def run(self) -> None:
        """Chaos, then calm until everything has ended. Raises BrokenError, or whatever a core raises."""
        for _ in range(CHAOS):
            if self.rng.random() < 0.03:
                self._fault()
            self._step()
        self.speed = 0.2
        for _ in range(PATIENCE):
            self._step()
            if all(client.done for client in self.clients):
                return
        left = [order.ident for client in self.clients for order in (*client.channels.values(), *client.waiting)]
        raise BrokenError(f"ends: {', '.join(left)} did not")

    def _step(self) -> None:
        self.now += self.rng.random() * self.speed * 2
        self.server.step()
        self.rng.choice(self.clients).step()

    def _fault(self) -> None:
        rng = self.rng
        kind = rng.choice(("cut", "cut", "cut", "clock", "clock", "intruder", "client crash", "server crash"))
        self.seen[kind] += 1
        match kind:
            case "cut":
                if self.connections:
                    rng.choice(self.connections).cut(rng)
            case "clock":
                clocks: list[Server | Client] = [self.server, *self.clients]
                rng.choice(clocks).skew += rng.choice((1.0, 50.0, 86_400.0))
            case "intruder":
                self._intrude()
            case "client crash":
                at = rng.randrange(len(self.clients))
                self.clients[at] = Client(self, self.clients[at].name, self.clients[at].crash())
            case _:
                self.server.crash()
                self._new_server()

    def _intrude(self) -> None:
        """Somebody without the key says what only a session may say, with a hello and a login before it, or without."""
        rng = self.rng
        line = self.dial(honest=False).lines[Role.CLIENT]
        start = exec_message(f"intruder{rng.random()}").encode()
        said = [frames.encode(CONTROL, rng.choice((0, 1)), start)]
        for _ in range(rng.randrange(3)):
            said.insert(rng.randrange(2), frames.encode(CONTROL, 0, written(rng, any_message(rng))))
        if rng.random() < 0.7:
            method: Literal["secret", "key", "peer"] = rng.choice(("secret", "key", "peer"))
            auth = Auth(
                method=method,
                secret="c0",
                proof=self.prove("nobody", b""),
                session=rng.choice((*self.server.records, None)),
            )
            said.insert(0, frames.encode(CONTROL, 0, auth.encode()))
        if rng.random() < 0.9:
            said.insert(0, frames.encode(CONTROL, 0, self.hello().encode()))
        line.write(b"".join(said), self.now + self.delay())
        line.ended = True


def simulate(seed: int) -> dict[str, int]:
    """One world; what happened in it how often. Raises BrokenError with the seed in its text."""
    world = World(seed)
    try:
        world.run()
    except Exception as error:
        raise BrokenError(f"{error or type(error).__name__} (seed {seed})") from error
    return world.seen
