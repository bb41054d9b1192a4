"""request=get: files that the client wants."""

from __future__ import annotations

from collections.abc import Callable

from remote_shell.server.context import Context
from remote_shell.server.requests.base import Request, SessionChannel
from remote_shell.server.requests.transferring import Transfer, refusal
from remote_shell.transfer.sending import Sender
from remote_shell.transfer.threads import Outgoing
from remote_shell.wire.file_messages import RECEIVER_MESSAGES
from remote_shell.wire.messages import Message, Open, from_system


def start_get(context: Context, channel: SessionChannel, message: Open) -> Request | None:
    """Send files, or say why not."""
    why = refusal(context)
    if why is not None:
        channel.reject("resources", why)
        return None
    if message.paths is None:
        channel.reject("bad_request", "get takes paths: what is wanted")
        return None
    sources = [from_system(path) for path in message.paths]
    return Get(context, channel, sources, message.recursive, context.folder_of(channel.principal))


class Get(Transfer):
    """A sender in a thread."""

    def __init__(
        self, context: Context, channel: SessionChannel, sources: list[bytes], recursive: bool, within: bytes
    ) -> None:
        super().__init__(context, channel, RECEIVER_MESSAGES)

        def make(stopped: Callable[[], bool]) -> Sender:
            return Sender(sources, context.home, recursive, context.limits, stopped, within)

        self._outgoing = Outgoing(context.loop, make, self)
        self._outgoing.start()

    def writable(self) -> None:
        """Read on."""
        self._outgoing.writable()

    def _put(self, message: Message) -> None:
        self._outgoing.put(message)

    def _stop(self) -> None:
        self._outgoing.stop()

    def _failures(self) -> int:
        sender = self._outgoing.sender
        return sender.failed if sender is not None else 0
