"""What a session needs of a request, and what a request may use of its channel."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Protocol

from remote_shell.audit.events import Who
from remote_shell.errors import SystemFaultError
from remote_shell.wire.messages import Message, Open


class Request(Protocol):
    """One running request. Called by its session; never after `Channel.finish`."""

    @property
    def idle(self) -> bool:
        """Nothing runs that a shutdown should wait for."""

    def data(self, data: bytes) -> None:
        """Bytes for its stdin; credit is given back by `ServerChannel.consumed`."""

    def input_end(self) -> None:
        """No more stdin."""

    def message(self, message: Message) -> None:
        """A message on its channel."""

    def writable(self) -> None:
        """The channel's queue has room again."""

    def kill(self, grace: float) -> None:
        """End the whole tree: TERM now, KILL after `grace` seconds. Its end is still reported."""

    def keep(self) -> bool:
        """Its session is gone for good, and was to leave what can be attached again. False: kill it."""


class ServerChannel(Protocol):
    """The session's side of one channel, as a request uses it."""

    principal: str

    @property
    def who(self) -> Who:
        """Whose doing it is, for the audit: a shell may have changed hands."""

    def send(self, message: Message) -> bool:
        """Queue a message. False, of a put or get: pause until `Request.writable`."""

    def send_now(self, message: Message) -> None:
        """Send a message, and what is queued before it, now and not with the loop's next turn."""

    def send_data(self, stream: int, data: bytes) -> bool:
        """Queue output. False: pause until `Request.writable`."""

    def consumed(self, count: int) -> None:
        """The command took `count` bytes of its stdin."""

    def reject(self, code: str, detail: str, system: str | None = None) -> None:
        """Nothing was started: say so and finish. `system` is what `errno_of` says."""

    def finish(self, last: Message | None = None) -> None:
        """Everything was said, but for `last`: `close`, and forget the request."""


class SessionChannel(ServerChannel, Protocol):
    """A channel, and what there is to know of the session that has it."""

    def perform(self, action: Callable[[], None]) -> None:
        """Do what was put off, as if a message had come for it: faults are the session's, a bad request is refused."""

    @property
    def peer(self) -> str:
        """Where the client is, or was last, for other clients of the same principal."""

    def when_closed(self, tell: Callable[[bool], None]) -> None:
        """Call once: the client has closed the channel as well, so it heard all (True), or its session is lost before that (False).

        A session that is left, or was not to keep anything, counts as the first: nobody is to be told.
        """

    def unseen(self) -> int:
        """Bytes of output of which it is not known that they reached the client."""

    def drop_unsent(self) -> None:
        """Forget the output that is queued."""

    @property
    def connected(self) -> bool:
        """Its session has a connection."""

    @property
    def away(self) -> float:
        """Seconds since its session has none."""

    def holds(self, request: Request) -> bool:
        """The request belongs to the same session."""

    def count(self, kind: type) -> int:
        """How many requests of that class the session has."""


class Inert:
    """A request that takes nothing from its client, which may as well be gone: whatever comes for it changes nothing."""

    idle = False

    def __init__(self, channel: ServerChannel) -> None:
        self._channel = channel

    def data(self, data: bytes) -> None:
        """Nobody reads it."""
        self._channel.consumed(len(data))

    def input_end(self) -> None:
        """Nothing to end."""

    def message(self, message: Message) -> None:
        """Signals and sizes are for who started it, or have a request of their own."""

    def writable(self) -> None:
        """Nothing waits."""

    def keep(self) -> bool:
        """Nobody listens any more."""
        return False

    def kill(self, grace: float) -> None:
        """What it is about is not its own."""


def other_term(message: Open, env: dict[bytes, bytes]) -> str | None:
    """TERM where it is not the one that was asked for."""
    term = env.get(b"TERM", b"").decode("ascii", "replace")
    return None if message.terminal is None or message.env is not None or term == message.terminal.term else term


def reason(error: Exception) -> str:
    """An error's text as `rejected` carries it: in our words, where there are some."""
    text = error.detail if isinstance(error, SystemFaultError) else str(error)
    return text.encode("utf-8", "replace").decode()[:1000]


def errno_of(error: Exception) -> str | None:
    """The name of what the system said, as `rejected` carries it."""
    return errno_name(error) if isinstance(error, SystemFaultError) else None


def errno_name(error: OSError) -> str | None:
    """The same of any error of the system's."""
    return errno.errorcode.get(error.errno) if error.errno is not None else None
