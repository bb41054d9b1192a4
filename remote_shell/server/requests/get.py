"""request=get: files that the client wants."""

from __future__ import annotations

from collections.abc import Callable

from remote_shell.server.context import Context
from remote_shell.server.requests.base import Request, SessionChannel
from remote_shell.server.requests.transferring import Transfer, refused
from remote_shell.transfer.sending import Sender
from remote_shell.transfer.threads import Outgoing
from remote_shell.wire.file_messages import RECEIVER_MESSAGES
from remote_shell.wire.messages import Message, Open, from_system


def start_get(context: Context, channel: SessionChannel, message: Open) -> Request | None:
    """Send files, or say why not."""
    if message.paths is None:
        channel.reject("bad_request", "get takes paths: what is wanted")
        return None
    if refused(context, channel, message):
        return None
    sources = [from_system(path) for path in message.paths]
    return Get(context, channel, message, sources, context.folder_of(channel.principal))


class Get(Transfer):
    """A sender in a thread."""

    def __init__(
        self, context: Context, channel: SessionChannel, message: Open, sources: list[bytes], within: bytes
    ) -> None:
        super().__init__(context, channel, RECEIVER_MESSAGES, message)
        on_file = self._tell_file if context.audit.on else None

        def make(stopped: Callable[[], bool]) -> Sender:
            return Sender(sources, context.home, message.recursive, context.limits, stopped, within, on_file)

        self._outgoing = Outgoing(context.loop, context.limits, make, self)
        self._outgoing.start()

    def writable(self) -> None:
        """Read on."""
        self._outgoing.writable()

    def _put(self, message: Message) -> None:
        self._outgoing.put(message)

    def _stop(self) -> None:
        self._outgoing.stop()

    def moved(self) -> None:
        """Nobody here is told of the faults: they would be kept to its end."""
        if self._outgoing.sender is not None:
            self._outgoing.sender.take_faults()

    def _counts(self) -> tuple[int, int, int]:
        sender = self._outgoing.sender
        return (sender.files, sender.bytes, sender.failed) if sender is not None else (0, 0, 0)
