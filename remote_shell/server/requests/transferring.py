"""What request=put and request=get have in common: the way from a channel to a transfer's thread and back.

Must never touch a disk: that is the thread's. Neighbours: `put` and `get` begin them, `transfer.threads` is the other side.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from remote_shell.files import names
from remote_shell.server.context import Context
from remote_shell.server.requests.base import SessionChannel
from remote_shell.transfer.threads import Wire
from remote_shell.wire.frames import STDOUT
from remote_shell.wire.messages import Eof, Exit, Message, Opened


class Transfer(Wire):
    """One put or get, as the session sees it."""

    idle = False  # a server that ends waits for it a while, as for a command

    def __init__(self, context: Context, channel: SessionChannel, takes: tuple[type[Message], ...]) -> None:
        """`takes`: the client's messages that are about files; others have no effect."""
        self._context = context
        self._channel = channel
        self._takes = takes
        self._opened = False
        self._over = False
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

    def _failures(self) -> int:
        raise NotImplementedError

    # --- from the thread, in the loop

    def begun(self) -> None:
        """It runs."""
        self._opened = True
        self._channel.send_now(Opened.of())

    def send(self, message: Message) -> None:
        """Queue a message."""
        self._channel.send(message)

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
        if self._opened:
            self._end(lambda: self._channel.finish(Exit.of(status=1 if self._failures() else 0)))
        else:
            self._end(lambda: self._channel.reject("refused", "it was ended before it began"))

    def _end(self, say: Callable[[], None]) -> None:
        if not self._over:
            self._over = True
            say()


def refusal(context: Context) -> str | None:
    """Why no transfer can begin now."""
    if context.transfers >= context.limits.transfers_max:
        return f"{context.transfers} transfers are under way here; try again when some have ended"
    return None
