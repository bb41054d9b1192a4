"""Events: what the protocol core tells its driver, one at a time, in the order of the wire."""

from __future__ import annotations

from typing import NamedTuple

from remote_shell.errors import ProtocolError
from remote_shell.wire.messages import Enrolled, Hello, Message, Open, Welcome


class ServerGreeted(NamedTuple):
    """Client handshake: the server's hello is here; now log in."""

    hello: Hello


class Welcomed(NamedTuple):
    """Client handshake: the login holds."""

    welcome: Welcome


class WasEnrolled(NamedTuple):
    """Client handshake: our key is listed now. The connection ends."""

    enrolled: Enrolled


class WasDenied(NamedTuple):
    """Client handshake: the login was refused."""


class LoginAsked(NamedTuple):
    """Server handshake: a login to judge; the message is in `ServerHandshake.auth`."""


class ChannelOpened(NamedTuple):
    """The peer opened a channel."""

    channel: int
    message: Open


class MessageReceived(NamedTuple):
    """A message on a channel that is for the application."""

    channel: int
    message: Message


class DataReceived(NamedTuple):
    """Data on a channel. Say `Session.consumed` when the application took it."""

    channel: int
    stream: int
    data: bytes


class EndReceived(NamedTuple):
    """No more data will come on this stream."""

    channel: int
    stream: int


class ChannelClosed(NamedTuple):
    """The peer closed its side: nothing more will come on the channel."""

    channel: int


class Writable(NamedTuple):
    """The channel's queue, which was full, is no longer."""

    channel: int


class Answered(NamedTuple):
    """The peer answered our ping: all that it had replayed has arrived before."""

    round_trip: float  # seconds


class Disconnected(NamedTuple):
    """The peer says that it ends this connection."""

    code: str
    detail: str


class Failed(NamedTuple):
    """The peer broke the protocol. `disconnect` is queued: flush, then close.

    `ends_session`: the fault was on a channel from 1 up; replay would only repeat it.
    """

    error: ProtocolError
    ends_session: bool


class Silent(NamedTuple):
    """A prompt peer has said nothing for too long: give this connection up and resume."""


class Unheard(NamedTuple):
    """Very many frames came that nobody has to hear of: whoever drains may let others have a turn."""


Event = (
    ServerGreeted
    | Welcomed
    | WasEnrolled
    | WasDenied
    | LoginAsked
    | ChannelOpened
    | MessageReceived
    | DataReceived
    | EndReceived
    | ChannelClosed
    | Writable
    | Answered
    | Disconnected
    | Failed
    | Silent
    | Unheard
)
