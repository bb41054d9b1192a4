"""A pair of cores joined in memory: a client's session and a server's, over a link that can be cut at any byte."""

from __future__ import annotations

import random
from dataclasses import replace

from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.wire.channel import Role
from remote_shell.wire.events import Event, Failed
from remote_shell.wire.frames import FrameDecoder
from remote_shell.wire.messages import FEATURES, Hello, Open
from remote_shell.wire.session import Session

NONCE = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
SMALL = replace(DEFAULT_LIMITS, window=600, window_max=4800, windows_max=9600, data_frame_max=97, queue_max=500)


def hello(
    limits: Limits = DEFAULT_LIMITS, *, prompt: bool = True, features: tuple[str, ...] | None = FEATURES
) -> Hello:
    """A hello that states `limits`."""
    return Hello(
        software="test",
        nonce=NONCE,
        features=list(features) if features is not None else None,
        frame_max=limits.frame_max,
        window=limits.window,
        unacked_bytes_max=limits.unacked_bytes_max,
        unacked_frames_max=limits.unacked_frames_max,
        prompt=prompt,
    )


def exec_message(ident: str = "x", window: int = DEFAULT_LIMITS.window) -> Open:
    """An `open` for a command that reads its stdin."""
    return Open(request="exec", id=ident, argv=["cat"], window=window, stdin="pipe")


class Pair:
    """Two sessions and the two half-links between them. `wires[side]` is what `side` wrote and the other did not read."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS, *, limit: int = 64 * 1024) -> None:
        self.limits = limits
        self.client = Session(Role.CLIENT, limits)
        self.server = Session(Role.SERVER, limits)
        self.wires = {Role.CLIENT: bytearray(), Role.SERVER: bytearray()}
        self.now = 0.0
        self.limit = limit
        self.cuts = -1
        self.resume()

    def end(self, role: Role) -> Session:
        """The session of one side."""
        return self.client if role is Role.CLIENT else self.server

    def resume(self) -> None:
        """A new connection after both sides noticed that the old one is gone."""
        for session in (self.client, self.server):
            session.detach()
        for wire in self.wires.values():
            wire.clear()
        counts = self.client.received, self.server.received
        self.client.attach(FrameDecoder(self.limits.frame_max), hello(self.limits), counts[1], self.now)
        self.server.attach(FrameDecoder(self.limits.frame_max), hello(self.limits), counts[0], self.now)
        self.cuts += 1

    def write(self, role: Role, count: int = 2**30) -> int:
        """`role`'s driver writes at most `count` bytes."""
        session, data = self.end(role), b""
        while len(data) < count and (buffers := session.data_to_send(self.limit)):
            part = b"".join(buffers)[: count - len(data)]
            data += part
            if not session.sent(len(part)) or len(data) >= self.limit:
                break
        self.wires[role] += data
        return len(data)

    def read(self, role: Role, count: int = 2**30) -> list[Event]:
        """`role`'s driver reads at most `count` bytes of what the other wrote and drains its events."""
        wire = self.wires[Role.SERVER if role is Role.CLIENT else Role.CLIENT]
        data = bytes(wire[:count])
        del wire[: len(data)]
        self.now += 0.0001
        session = self.end(role)
        if data:
            session.receive_data(session.generation, data, self.now)
        return self.events(role)

    def events(self, role: Role) -> list[Event]:
        """All events that `role` has."""
        out: list[Event] = []
        while (event := self.end(role).next_event()) is not None:
            if isinstance(event, Failed):
                raise event.error
            out.append(event)
        return out

    def settle(self) -> dict[Role, list[Event]]:
        """Write and read until nothing moves any more."""
        seen: dict[Role, list[Event]] = {Role.CLIENT: [], Role.SERVER: []}
        moved = True
        while moved:
            moved = False
            for role in Role:
                moved |= self.write(role) > 0
            for role in Role:
                events = self.read(role)
                seen[role] += events
                moved |= bool(events)
        return seen

    def jump(self, rng: random.Random) -> dict[Role, list[Event]]:
        """One random step: a write or a read of a random size."""
        role = rng.choice((Role.CLIENT, Role.SERVER))
        count = rng.choice((1, 7, 60, 300, 5000))
        if rng.random() < 0.5:
            self.write(role, count)
            return {role: self.events(role)}
        return {role: self.read(role, count)}
