"""request=put: files that the client sends."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from remote_shell.files import names
from remote_shell.server.context import Context
from remote_shell.server.requests.base import Request, SessionChannel
from remote_shell.server.requests.transferring import Transfer, refused
from remote_shell.transfer.receiving import Receiver
from remote_shell.transfer.threads import Incoming
from remote_shell.wire.file_messages import SENDER_MESSAGES
from remote_shell.wire.messages import Message, Open, from_system

_LET_GO = 5.0  # seconds for a put whose client is gone, to write out what it has


def start_put(context: Context, channel: SessionChannel, message: Open) -> Request | None:
    """Take files, or say why not."""
    if message.to is None or message.paths is None:
        channel.reject("bad_request", "put takes paths, what is to come, and to, where it goes")
        return None
    if refused(context, channel, message):
        return None
    path = os.path.join(context.home, from_system(message.to))
    within = context.folder_of(channel.principal)
    return Put(context, channel, message, path, [from_system(name) for name in message.paths], within)


class Put(Transfer):
    """A receiver in a thread."""

    def __init__(
        self,
        context: Context,
        channel: SessionChannel,
        message: Open,
        path: bytes,
        sources: list[bytes],
        within: bytes,
    ) -> None:
        super().__init__(context, channel, SENDER_MESSAGES, message)
        on_file = self._tell_file if context.audit.on else None
        self._what = (path, *sources)
        # The client that was killed left its session for the grace; the same put again takes the partial files over.
        found = [other.give_way(channel.principal, self._what) for other in context.puts]
        before = [gone for gone in found if gone is not None]
        context.puts.add(self)

        def make(stopped: Callable[[], bool]) -> Receiver:
            for gone in before:
                gone.wait(_LET_GO)
            for name in sources:
                if name:
                    names.check(name, name)
            return Receiver(path, sources, context.limits, stopped, within=within, on_file=on_file)

        self._incoming = Incoming(context.loop, context.limits, make, self)
        self._incoming.start()

    def give_way(self, principal: str, what: tuple[bytes, ...]) -> threading.Event | None:
        """Nobody is there any more, and somebody sends the same again."""
        if principal != self._channel.principal or what != self._what or self._channel.connected:
            return None
        self._stop()
        return self._incoming.gone

    def over(self) -> None:
        """The thread is gone."""
        self._context.puts.discard(self)
        super().over()

    def data(self, data: bytes) -> None:
        """A file's content; credit comes when it was written."""
        self._incoming.put(data)

    def input_end(self) -> None:
        """No more files come."""
        self._incoming.end()

    def _put(self, message: Message) -> None:
        self._incoming.put(message)

    def _stop(self) -> None:
        self._incoming.stop()

    def moved(self) -> None:
        """Nobody here is told of the faults: they would be kept to its end."""
        if self._incoming.receiver is not None:
            self._incoming.receiver.take_faults()

    def _counts(self) -> tuple[int, int, int]:
        receiver = self._incoming.receiver
        return (receiver.files, receiver.bytes, receiver.failed) if receiver is not None else (0, 0, 0)
