"""Descriptors of ours as a command's streams, for the asyncio front: callbacks only, and never a call that would wait.

The descriptors stay as they are: setting them non-blocking would set it for every program that shares them. So a write
is preceded by a look whether it may go, and is no longer than what a pipe that is writable takes without waiting.
Neighbours: `async_process` starts these, `feeding` and `remote` are the blocking front's.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
from collections.abc import Callable

from remote_shell.client.conversation import Conversation
from remote_shell.client.process import Mode, ProcessState
from remote_shell.client.redirect import is_end_of_input

READ_SIZE = 64 * 1024
PIPE_BUF = 4096  # pipe(7): a writable pipe takes so much at once
_TURN = 64  # writes before other callbacks get their turn
_IN, _OUT = 1, 4


class Relay:
    """From one output stream to one descriptor."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        conversation: Conversation,
        state: ProcessState,
        stream: int,
        descriptor: int,
        flush: Callable[[], None],
    ) -> None:
        self.error: OSError | None = None  # it can't be written any more
        self._loop = loop
        self._conversation = conversation
        self._state = state
        self._stream = stream
        self._descriptor = os.dup(descriptor)
        self._whole = stat.S_ISREG(os.fstat(descriptor).st_mode)  # a file never makes us wait for a reader
        self._flush = flush
        self._left: list[bytes | memoryview] = []
        self._waiting = False

    @property
    def busy(self) -> bool:
        """Something was received and not written."""
        return self._descriptor >= 0 and bool(self._left or self._state.outputs[self._stream].chunks)

    def move(self) -> None:
        """Write what goes now."""
        if self._waiting or self._descriptor < 0:
            return
        for _ in range(_TURN):
            if not self._left:
                self._left = self._conversation.take(self._state, self._stream)
                if not self._left:
                    if self._state.outputs[self._stream].ended:
                        self.close()
                    return
                self._flush()
            if not self._whole and not _ready(self._descriptor, _OUT):
                self._waiting = True
                self._loop.add_writer(self._descriptor, self._writable)
                return
            try:
                chunk = memoryview(self._left[0])
                count = os.write(self._descriptor, chunk if self._whole else chunk[:PIPE_BUF])
            except BlockingIOError:
                continue
            except OSError as error:
                self.error = error
                self._state.outputs[self._stream].broken = True
                self._conversation.set_mode(self._state, self._stream, Mode.DROP)
                self.close()
                self._tell()
                return
            if count == len(chunk):
                del self._left[0]
            else:
                self._left[0] = chunk[count:]
        self._loop.call_soon(self._go_on)

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._descriptor < 0:
            return
        if self._waiting:
            self._waiting = False
            self._loop.remove_writer(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        self._left.clear()

    def _writable(self) -> None:
        self._waiting = False
        self._loop.remove_writer(self._descriptor)
        self._go_on()

    def _go_on(self) -> None:
        self.move()
        if not self.busy:
            self._tell()

    def _tell(self) -> None:
        if self._state.changed is not None:
            self._state.changed()


class Feed:
    """From a descriptor to a command's stdin, only as fast as the command takes it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        conversation: Conversation,
        state: ProcessState,
        descriptor: int,
        flush: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._conversation = conversation
        self._state = state
        self._flush = flush
        self._descriptor = os.dup(descriptor)
        self._inherited = descriptor == 0
        self._begun = False  # something was read
        self._watched = False
        self._due = False

    def move(self) -> None:
        """Something changed: there may be room, or the command may have ended."""
        if self._descriptor < 0:
            return
        if self._state.ended:
            self.close()
        elif self._state.writable and not self._watched and not self._due:
            try:
                self._loop.add_reader(self._descriptor, self._read)
                self._watched = True
            except PermissionError:  # epoll(7) takes no plain files: they are always readable
                self._due = True
                self._loop.call_soon(self._read)

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._descriptor >= 0:
            self._pause()
            os.close(self._descriptor)
            self._descriptor = -1

    def _pause(self) -> None:
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._descriptor)

    def _read(self) -> None:
        self._due = False
        if self._descriptor < 0 or not _ready(self._descriptor, _IN):
            return  # another command that inherits the same input was quicker; reading now would wait
        try:
            data = os.read(self._descriptor, READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            if not is_end_of_input(self._descriptor, error, inherited=self._inherited, begun=self._begun):
                self.close()
                self._conversation.fail(self._state, error)
                self._flush()
                return
            data = b""
        self._begun = True
        if not data:
            self._conversation.end_stdin(self._state)
            self.close()
        elif not self._conversation.write(self._state, data):
            self._pause()
        else:
            self.move()
        self._flush()


def _ready(descriptor: int, events: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, events)
    return bool(poll.poll(0))
