"""put and get in the asyncio front: a thread for each reads, hashes and writes; the loop only moves what it hands over.

So a transfer never holds up the live shell beside it, and both go in turns. Neighbours: `files` decides, `transfer.threads` is the thread.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

from remote_shell.client import files
from remote_shell.client.async_process import AsyncRemote
from remote_shell.client.conversation import Conversation
from remote_shell.client.files import Watching as Watching
from remote_shell.client.files import paths_of as paths_of
from remote_shell.client.process import ProcessState
from remote_shell.errors import ConnectionLostError, RemoteProtocolError
from remote_shell.files import names
from remote_shell.limits import Limits
from remote_shell.transfer.progress import FileFault, Transferred
from remote_shell.transfer.receiving import Receiver
from remote_shell.transfer.sending import Sender
from remote_shell.transfer.threads import Incoming, Outgoing, Wire
from remote_shell.wire.file_messages import RECEIVER_MESSAGES, SENDER_MESSAGES
from remote_shell.wire.messages import Message, Open

_Start = Callable[[ProcessState, Open], Awaitable[AsyncRemote]]


class _Transfer(Wire):
    """One put or get: events of the channel go to the thread, its words to the channel."""

    def __init__(self, conversation: Conversation, message: Open, watching: Watching) -> None:
        self.state = files.noting(message)
        self.worker: Incoming | Outgoing
        self.remote: AsyncRemote
        self.error: BaseException | None = None  # of the thread
        self.ended = False  # the thread has
        self._conversation = conversation
        self._message = message
        self._watching = watching
        self._said = False
        self._started = False

    async def run(self, start: _Start) -> None:
        """From the `open` to the end. Raises what went wrong but for single files."""
        self.remote = await start(self.state, self._message)
        try:
            await self.remote.until(lambda: self.state.started)
            self._check()
            self.remote.watch(self._look)
            self.worker.start()
            self._started = True
            self._look()  # what came before anybody watched
            await self.remote.until(lambda: self.error is not None or (self.ended and self.state.closed))
            if self.error is not None:
                raise self.error
            self._check()
        except ConnectionLostError as error:
            raise files.lost(error, self._conversation.name) from None
        finally:
            if self._started:
                self.worker.stop()
            if not self.state.closed:
                self.remote.abandon()

    def _check(self) -> None:
        if self.state.rejected is not None:
            raise files.refused(self._message, self.state.rejected, self._conversation.name)
        if self.state.lost is not None:
            raise self.state.lost.with_traceback(None)

    def _look(self) -> None:
        """After each event of the channel: pass on what came."""
        try:
            self._pass_on()
        except RemoteProtocolError as error:
            self.failed(error)

    def _pass_on(self) -> None:
        state, worker = self.state, self.worker
        noted, state.noted = state.noted or [], []
        for one in noted:
            if isinstance(one, tuple):
                if isinstance(worker, Incoming):
                    worker.put(one[1])
                else:
                    self._conversation.session.consumed(state.channel, len(one[1]))
            elif isinstance(worker, Incoming):
                if isinstance(one, SENDER_MESSAGES):
                    worker.put(one)
            elif isinstance(one, RECEIVER_MESSAGES):
                worker.put(one)
        if isinstance(worker, Outgoing):
            if state.writable:
                worker.writable()
        elif state.outputs[1].ended and not self._said and state.lost is None:
            self._said = True
            worker.end()
        if state.closed and (state.lost is not None or not self._said or isinstance(worker, Outgoing)):
            worker.finish()

    # --- from the thread, in the loop

    def send(self, message: Message) -> bool:
        """Queue it."""
        room = self._conversation.say(self.state, message)
        self.remote.flush()
        return room

    def send_data(self, data: bytes | memoryview) -> bool:
        """Queue it."""
        room = self._conversation.write(self.state, data)
        self.remote.flush()
        return room

    def sent_all(self) -> None:
        """Say so."""
        self._conversation.end_stdin(self.state)
        self.remote.flush()

    def consumed(self, count: int) -> None:
        """More may come."""
        if not self.state.closed:
            self._conversation.session.consumed(self.state.channel, count)
            self.remote.flush()

    def moved(self) -> None:
        """Tell of it."""
        engine = self.worker.receiver if isinstance(self.worker, Incoming) else self.worker.sender
        if engine is not None:
            self._watching.look(engine)

    def failed(self, error: BaseException) -> None:
        """In the thread."""
        self.error = error
        self._changed()

    def over(self) -> None:
        """The thread is gone."""
        self.ended = True
        self._changed()

    def _changed(self) -> None:
        if self.state.changed is not None:
            self.state.changed()


class AsyncTransfers:
    """What a host lends to put and get."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, conversation: Conversation, limits: Limits, start: _Start
    ) -> None:
        self._loop = loop
        self._conversation = conversation
        self._limits = limits
        self._start = start

    async def put(self, sources: list[bytes], to: bytes, recursive: bool, watching: Watching) -> Transferred:
        """Send files. Raises OSError, CommandRefusedError, ConnectionLostError."""
        base, limits = os.getcwdb(), self._limits
        transfer = _Transfer(self._conversation, files.put_message(self._conversation, sources, to), watching)
        worker = transfer.worker = Outgoing(
            self._loop, limits, lambda stopped: Sender(sources, base, recursive, limits, stopped), transfer
        )
        await transfer.run(self._start)
        assert worker.sender is not None, "it ran"
        return watching.result(worker.sender)

    async def get(self, sources: list[bytes], to: bytes, recursive: bool, watching: Watching) -> Transferred:
        """Get files. Raises OSError, CommandRefusedError, ConnectionLostError."""
        path, tops, limits = os.path.join(os.getcwdb(), to), [names.top_name(one) for one in sources], self._limits

        def make(stopped: Callable[[], bool]) -> Receiver:
            try:
                return Receiver(path, tops, limits, stopped, asked=sources)
            except OSError as error:
                raise FileFault(to, error.errno or 0, names.reason(error)).error() from None

        transfer = _Transfer(self._conversation, files.get_message(self._conversation, sources, recursive), watching)
        worker = transfer.worker = Incoming(self._loop, limits, make, transfer)
        await transfer.run(self._start)
        assert worker.receiver is not None, "it ran"
        return watching.result(worker.receiver)
