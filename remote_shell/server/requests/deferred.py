"""A request that waits for the disk: what comes for it meanwhile is kept, in order, and given to what it becomes.

The client's window bounds what is kept of its data, limits its messages. Who leaves before the answer has started nothing.
Neighbours: `claims` settles, `exec` and `query` say how to go on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from remote_shell.errors import RemoteProtocolError
from remote_shell.server.claims import Claim
from remote_shell.server.context import Context
from remote_shell.server.requests.base import Request, SessionChannel
from remote_shell.wire.messages import Message


class Deferred:
    """Goes on as what `go` returns, once `claim` is settled; `drop` is called instead when nobody wants that any more."""

    def __init__(
        self,
        context: Context,
        channel: SessionChannel,
        claim: Claim,
        go: Callable[[], Request | None],
        drop: Callable[[], None],
    ) -> None:
        self._context = context
        self._channel = channel
        self._go = go
        self._drop = drop
        self._inner: Request | None = None
        self._weight = 0  # of the messages that are kept
        self._gone = False  # it said everything, or nobody wants it
        self._early: list[Callable[[Request], None] | bytearray] = []  # bytes are its input
        claim.when_settled(partial(channel.perform, self._settled))

    def _settled(self) -> None:
        if self._gone:
            self._drop()
            self._channel.reject("refused", "its channel was closed before it started")
            return
        if self._context.draining:
            self._gone = True
            self._drop()
            self._channel.reject("shutting_down", "the server is shutting down; start it again or use another")
            return
        self._inner = self._go()
        self._gone = self._inner is None
        early, self._early = self._early, []
        if self._inner is not None:
            for event in early:
                if isinstance(event, bytearray):
                    self._inner.data(bytes(event))
                else:
                    event(self._inner)

    def _pass(self, event: Callable[[Request], None]) -> None:
        if self._inner is not None:
            event(self._inner)
        elif not self._gone:
            if len(self._early) >= self._context.limits.unacked_frames_max:
                raise RemoteProtocolError("unexpected_message", "too many before the command has started")
            self._early.append(event)

    @property
    def idle(self) -> bool:
        """As what it became; until then it is busy."""
        return self._inner is not None and self._inner.idle

    def data(self, data: bytes) -> None:
        """Bytes for its stdin."""
        if self._inner is not None:
            self._inner.data(data)
        elif self._early and isinstance(last := self._early[-1], bytearray):
            last += data  # a window of single bytes must not cost a window of objects
        elif not self._gone:
            self._early.append(bytearray(data))

    def input_end(self) -> None:
        """No more stdin."""
        self._pass(lambda request: request.input_end())

    def message(self, message: Message) -> None:
        """A message on its channel. Raises RemoteProtocolError for too many."""
        if self._inner is None and not self._gone:
            self._weight += message.weight
            if self._weight > self._context.limits.shell_waiting_bytes_max:
                raise RemoteProtocolError("unexpected_message", "too much before the command has started")
        self._pass(lambda request: request.message(message))

    def writable(self) -> None:
        """The channel's queue has room again."""
        if self._inner is not None:
            self._inner.writable()

    def kill(self, grace: float) -> None:
        """Nobody wants it any more."""
        if self._inner is not None:
            self._inner.kill(grace)
        else:
            self._gone = True
            self._early.clear()

    def keep(self) -> bool:
        """As what it became."""
        return self._inner is not None and self._inner.keep()
