"""put and get in the blocking front: the caller's thread reads, hashes, writes and sends, in turns.

No lock is taken while it waits for a disk, so other threads' commands go on. Ctrl-C comes anywhere: what is under way is cut off as a lost
connection would, and the next attempt continues. Neighbours: `files` decides, `transfer` has the two ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from remote_shell.blocking.driver import Driver
from remote_shell.client import files
from remote_shell.client.conversation import Conversation
from remote_shell.client.files import Watching as Watching
from remote_shell.client.files import paths_of as paths_of
from remote_shell.client.process import ProcessState
from remote_shell.client.redirect import NOWHERE
from remote_shell.client.remote import Remote
from remote_shell.errors import ConnectionLostError
from remote_shell.files import names
from remote_shell.limits import Limits
from remote_shell.transfer.progress import FileFault, Transferred
from remote_shell.transfer.receiving import Receiver
from remote_shell.transfer.sending import Item, Sender
from remote_shell.wire.fields import Message
from remote_shell.wire.file_messages import FILE_MESSAGES
from remote_shell.wire.messages import Open


class _Channel:
    """One put or get, under way."""

    def __init__(self, driver: Driver, conversation: Conversation, limits: Limits, message: Open) -> None:
        self._driver = driver
        self._conversation = conversation
        self._message = message
        self.state: ProcessState = files.noting(message)
        self.remote = Remote(driver, conversation, self.state, NOWHERE, limits)

    def check(self) -> None:
        """Raises what the server refused with, or that the session is gone."""
        if self.state.rejected is not None:
            raise files.refused(self._message, self.state.rejected, self._conversation.name)
        if self.state.lost is not None:
            raise self.state.lost.with_traceback(None)

    def take(self) -> tuple[list[bytes | Message], bool, bool]:
        """What came, in order; whether the server will send no more data; whether it closed."""
        with self._driver:
            noted = self._conversation.take_noted(self.state)
            if noted:
                self._driver.flush()
            ended, closed = self.state.outputs[1].ended, self.state.closed
        items = [one[1] if isinstance(one, tuple) else one for one in noted]
        return [one for one in items if isinstance(one, (bytes, memoryview, *FILE_MESSAGES))], ended, closed

    def send(self, items: list[Item] | list[Message], *, last: bool = False) -> None:
        """Queue it, and send what goes."""
        if not items and not last:
            return
        with self._driver:
            for item in items:
                if isinstance(item, Message):
                    self._conversation.say(self.state, item)
                else:
                    self._conversation.write(self.state, item)
            if last:
                self._conversation.end_stdin(self.state)
            self._driver.flush()

    def leave(self) -> None:
        """It is over, or nobody wants it any more."""
        if not self.state.closed:
            with suppress(ConnectionLostError):
                self.remote.abandon()


class Transfers:
    """What a host lends to put and get."""

    def __init__(
        self,
        driver: Driver,
        conversation: Conversation,
        limits: Limits,
        begin: Callable[[ProcessState, Open, Remote], None],
    ) -> None:
        """`begin(state, message, remote)` queues the `open`, under the lock."""
        self._driver = driver
        self._conversation = conversation
        self._limits = limits
        self._begin = begin

    def put(self, sources: list[bytes], to: bytes, recursive: bool, watching: Watching) -> Transferred:
        """Send files. Raises OSError, CommandRefusedError, ConnectionLostError."""
        message = files.put_message(self._conversation, sources, to)
        sender = Sender(sources, os.getcwdb(), recursive, self._limits, lambda: False)
        channel = self._open(message)
        try:
            self._send(channel, sender, watching)
        except ConnectionLostError as error:
            raise files.lost(error, self._conversation.name) from None
        finally:
            sender.close()
            channel.leave()
        return watching.result(sender)

    def get(self, sources: list[bytes], to: bytes, recursive: bool, watching: Watching) -> Transferred:
        """Get files. Raises OSError, CommandRefusedError, ConnectionLostError."""
        message = files.get_message(self._conversation, sources, recursive)
        try:
            receiver = Receiver(
                os.path.join(os.getcwdb(), to), [names.top_name(path) for path in sources], self._limits, asked=sources
            )
        except OSError as error:
            raise FileFault(to, error.errno or 0, names.reason(error)).error() from None
        channel, whole = self._open(message), False
        try:
            self._receive(channel, receiver, watching)
            whole = True
        except ConnectionLostError as error:
            raise files.lost(error, self._conversation.name) from None
        finally:
            channel.leave()
            if not whole:
                watching.kept(receiver.close())
        return watching.result(receiver)

    def _open(self, message: Open) -> _Channel:
        channel = _Channel(self._driver, self._conversation, self._limits, message)
        state, remote = channel.state, channel.remote
        try:
            remote.serve(lambda: state.started, first=lambda: self._begin(state, message, remote))
            channel.check()
        except BaseException:
            channel.leave()
            raise
        return channel

    def _send(self, channel: _Channel, sender: Sender, watching: Watching) -> None:
        state, said = channel.state, False
        while True:
            items, _, closed = channel.take()
            for item in items:
                if isinstance(item, Message):
                    sender.receive(item)
            watching.look(sender)
            if closed:
                channel.check()
                return
            piece = sender.produce() if state.writable else []
            last = sender.exhausted and not said
            channel.send(piece, last=last)
            said = said or last
            if piece:
                channel.remote.serve(lambda: bool(state.noted) or state.closed, 0.0)
            elif state.writable:
                channel.remote.serve(lambda: bool(state.noted) or state.closed)
            else:
                channel.remote.serve(lambda: bool(state.noted) or state.closed or state.writable)

    def _receive(self, channel: _Channel, receiver: Receiver, watching: Watching) -> None:
        state, said = channel.state, False
        output = state.outputs[1]
        while True:
            channel.remote.serve(lambda: bool(state.noted) or state.closed or (output.ended and not said))  # noqa: B023
            items, ended, closed = channel.take()
            for item in items:
                if isinstance(item, Message):
                    receiver.message(item)
                else:
                    receiver.data(item)
            if closed and state.lost is not None:
                channel.check()
            if ended and not said:
                receiver.end()
                said = True
            elif not state.noted and not said:
                receiver.settle()
            channel.send(receiver.take_answers())
            watching.look(receiver)
            if closed:
                channel.check()
                return
