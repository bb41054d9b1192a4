"""What a session needs of a request, and what a request may use of its channel."""

from __future__ import annotations

from typing import Protocol

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


class ServerChannel(Protocol):
    """The session's side of one channel, as a request uses it."""

    principal: str

    def send(self, message: Message) -> None:
        """Queue a message."""

    def flush(self) -> None:
        """Send what is queued now, and not with the loop's next turn."""

    def send_data(self, stream: int, data: bytes) -> bool:
        """Queue output. False: pause until `Request.writable`."""

    def consumed(self, count: int) -> None:
        """The command took `count` bytes of its stdin."""

    def reject(self, code: str, detail: str) -> None:
        """Nothing was started: say so and finish."""

    def finish(self) -> None:
        """Everything was said: `close`, and forget the request."""


def other_term(message: Open, env: dict[bytes, bytes]) -> str | None:
    """TERM where it is not the one that was asked for."""
    term = env.get(b"TERM", b"").decode("ascii", "replace")
    return None if message.terminal is None or message.env is not None or term == message.terminal.term else term


def reason(error: Exception) -> str:
    """An error's text as `rejected` carries it: without the number that Python puts before an OSError's."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.encode("utf-8", "replace").decode()[:1000]
