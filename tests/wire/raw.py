"""One core against frames made by hand: the peer here says what it likes, and reads what the core writes."""

from __future__ import annotations

import json
from typing import Any

from remote_shell.errors import ProtocolError
from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.wire import frames
from remote_shell.wire.channel import Role
from remote_shell.wire.events import Event, Failed
from remote_shell.wire.frames import CONTROL, Frame, FrameDecoder
from remote_shell.wire.messages import Ack, Close, Exit, Hello, Message, Open, Opened, Ping, Pong, Rejected, decode
from remote_shell.wire.session import Session

from .pair import exec_message, hello


def control(message: Message | dict[str, Any] | bytes, channel: int = 0) -> bytes:
    """A control frame: of a message, of what JSON makes of a dict, or of raw bytes."""
    if isinstance(message, Message):
        payload = message.encode()
    else:
        payload = message if isinstance(message, bytes) else json.dumps(message).encode()
    return frames.encode(CONTROL, channel, payload)


class Raw:
    """A session in `role` and its hand-made peer."""

    def __init__(self, role: Role, limits: Limits = DEFAULT_LIMITS, peer: Hello | None = None) -> None:
        self.session = Session(role, limits)
        self.limits = limits
        self.peer = peer or hello(limits)
        self.sent = 0  # frames of the session that the peer sent
        self.now = 0.0
        self.decoder = FrameDecoder(2**31)
        self.session.attach(FrameDecoder(limits.frame_max), self.peer, 0, self.now)

    def feed(self, data: bytes) -> list[Event]:
        """The core gets bytes; its events."""
        self.session.receive_data(self.session.generation, data, self.now)
        return self.events()

    def events(self) -> list[Event]:
        """What the core has to tell."""
        return list(iter(self.session.next_event, None))

    def say(self, message: Message | dict[str, Any] | bytes, channel: int = 1) -> list[Event]:
        """A control frame for the core."""
        self.sent += channel > 0
        return self.feed(control(message, channel))

    def data(self, stream: int, data: bytes, channel: int = 1) -> list[Event]:
        """A data frame for the core."""
        self.sent += 1
        return self.feed(frames.encode(stream, channel, data))

    def ack(self, received: int | None = None, kind: type[Ack | Ping | Pong] = Ack) -> list[Event]:
        """An honest acknowledgement of all that the core numbered, or of so much."""
        count = self.session.sent_frames if received is None else received
        return self.say(kind(received=count, sent=self.sent), 0)

    def frames(self, limit: int = 2**30) -> list[Frame]:
        """What the core writes, at most about `limit` bytes."""
        data = b""
        while len(data) < limit and (buffers := self.session.data_to_send(limit - len(data))):
            data += b"".join(buffers)
            if not self.session.sent(sum(map(len, buffers))):
                break
        self.decoder.feed(data)
        return list(iter(self.decoder.next_frame, None))

    def messages(self) -> list[Message | bytes]:
        """The same: messages decoded, data as bytes."""
        return [decode(frame.payload) if frame.type == CONTROL else frame.payload for frame in self.frames()]

    def open(self, message: Open | None = None) -> int:
        """A channel with an `open`, from whichever side has to say it. Its id."""
        if self.session.role is Role.CLIENT:
            ident = self.session.open_channel(message or exec_message())
            self.frames()
            return ident
        ident = max(self.session.channels, default=0) + 1
        self.say(message or exec_message(), ident)
        return ident


def failure(events: list[Event]) -> tuple[str, bool]:
    """The code of the failure that these events end with, and whether it ends the session."""
    last = events[-1]
    assert isinstance(last, Failed), events
    assert isinstance(last.error, ProtocolError)
    return last.error.code, last.ends_session


REPLIES: dict[str, list[Message]] = {
    "idle": [],
    "running": [Opened()],
    "ended": [Opened(), Exit(status=0)],
    "refused": [Rejected(code="not_found")],
    "closed": [Opened(), Exit(status=0), Close()],
}
