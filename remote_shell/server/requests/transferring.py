"""What request=put and request=get have in common: the way from a channel to a transfer's thread and back.

Must never touch a disk: that is the thread's. Neighbours: `put` and `get` begin them, `transfer.threads` is the other side.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from remote_shell.audit import events
from remote_shell.errors import CommandRefusedError
from remote_shell.files import names
from remote_shell.server.audit import milliseconds
from remote_shell.server.context import Context
from remote_shell.server.requests.base import SessionChannel
from remote_shell.transfer.threads import Wire
from remote_shell.wire.frames import STDOUT
from remote_shell.wire.messages import Eof, Exit, Message, Open, Opened, from_system


class Transfer(Wire):
    """One put or get, as the session sees it."""

    idle = False  # a server that ends waits for it a while, as for a command

    def __init__(
        self, context: Context, channel: SessionChannel, takes: tuple[type[Message], ...], message: Open
    ) -> None:
        """`takes`: the client's messages that are about files; others have no effect."""
        self._context = context
        self._channel = channel
        self._takes = takes
        self._opened = False
        self._over = False
        self._asked = message
        self._began_at = context.loop.time()
        context.transfers += 1

    # --- from the session; `put` and `get` say more

    def data(self, data: bytes) -> None:
        """Nobody reads it."""
        self._channel.consumed(len(data))

    def input_end(self) -> None:
        """Nothing to end."""

    def message(self, message: Message) -> None:
        """What is about files goes to the thread."""
        if isinstance(message, self._takes):
            self._put(message)

    def writable(self) -> None:
        """Nothing waits."""

    def kill(self, grace: float) -> None:
        """Nobody wants it any more: partial files are kept for who comes back."""
        self._stop()

    def keep(self) -> bool:
        """It ends with its session."""
        return False

    def _put(self, message: Message) -> None:
        raise NotImplementedError

    def _stop(self) -> None:
        raise NotImplementedError

    def _counts(self) -> tuple[int, int, int]:
        """Files, their bytes, and how many failed."""
        raise NotImplementedError

    def _tell_file(self, path: bytes, size: int, sha256: str) -> None:
        """For the audit, from the thread: a file is whole where it was to be."""
        asked, audit = self._asked, self._context.audit
        audit.write(events.File(asked.id, asked.request, events.text(path), size, sha256), self._channel.who)

    # --- from the thread, in the loop

    def begun(self) -> None:
        """It runs."""
        self._opened = True
        self._channel.send_now(Opened.of())

    def send(self, message: Message) -> bool:
        """Queue a message."""
        return self._channel.send(message)

    def send_data(self, data: bytes | memoryview) -> bool:
        """Queue a file's content."""
        return self._channel.send_data(STDOUT, data)  # type: ignore[arg-type]  # a view will do

    def sent_all(self) -> None:
        """No more files come."""
        self._channel.send(Eof(stream=STDOUT))

    def consumed(self, count: int) -> None:
        """So much is on its way to the disk."""
        self._channel.consumed(count)

    def failed(self, error: BaseException) -> None:
        """The destination can't be used, the client broke the rules, or a fault of ours."""
        if isinstance(error, OSError) and not self._opened:
            code = "resources" if error.errno == errno.EAGAIN else "bad_path"
            self._end(lambda: self._channel.reject(code, names.reason(error)[:1000], names.errno_name(error)))
            return

        def raise_it() -> None:
            raise error

        self._over = True
        self._channel.perform(raise_it)

    def over(self) -> None:
        """The thread is gone."""
        self._context.transfers -= 1
        files, size, failed = self._counts()
        asked, duration = self._asked, milliseconds(self._context.loop.time() - self._began_at)
        self._context.audit.write(
            events.TransferEnd(asked.id, asked.request, files, size, failed, duration), self._channel.who
        )
        if self._opened:
            self._end(lambda: self._channel.finish(Exit.of(status=1 if failed else 0)))
        else:
            self._end(lambda: self._channel.reject("refused", "it was ended before it began"))

    def _end(self, say: Callable[[], None]) -> None:
        if not self._over:
            self._over = True
            say()


def refused(context: Context, channel: SessionChannel, message: Open) -> bool:
    """No transfer can begin now, and that was told; else this one is in the audit."""
    if context.transfers >= context.limits.transfers_max:
        why = f"{context.transfers} transfers are under way here; try again when some have ended"
        channel.reject("resources", why)
        return True
    if context.audit.on:
        paths = tuple(events.text(from_system(path)) for path in message.paths or ())
        to = None if message.to is None else events.text(os.path.join(context.home, from_system(message.to)))
        line = events.Transfer(message.id, message.request, paths, to, message.recursive)
        try:
            context.audit.begin(line, channel.who)
        except CommandRefusedError as error:
            channel.reject(error.code, str(error))
            return True
    return False
