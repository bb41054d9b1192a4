"""A feed: a descriptor of ours that is a command's stdin. Read only as fast as the command takes it.

The pump reads it, whoever that is, when it is readable and the channel's queue has room. Neighbours: `remote` starts and stops
it.
"""

from __future__ import annotations

import os
import select

from remote_shell.blocking.driver import Driver
from remote_shell.client.conversation import Conversation
from remote_shell.client.process import ProcessState
from remote_shell.client.redirect import is_end_of_input

READ_SIZE = 64 * 1024


class Feed:
    """From one descriptor to one command's stdin, until either ends."""

    __slots__ = ("_begun", "_conversation", "_descriptor", "_driver", "_inherited", "_reading", "_state")

    def __init__(self, driver: Driver, conversation: Conversation, state: ProcessState, descriptor: int) -> None:
        """The descriptor is doubled: several commands may inherit one. Raises OSError if it is none."""
        self._driver = driver
        self._conversation = conversation
        self._state = state
        self._descriptor = os.dup(descriptor)
        self._inherited = descriptor == 0
        self._begun = False  # something was read
        self._reading = False

    def start(self) -> None:
        """Under the driver's lock, after the channel was opened."""
        self._state.changed = self._look
        self._look()

    def stop(self) -> None:
        """Under the lock: nobody takes any more."""
        self._state.changed = None
        self._pause()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _look(self) -> None:
        """Something changed: there may be room again, or the command may have ended."""
        if self._descriptor < 0:
            return
        if self._state.ended:
            self.stop()
        elif self._state.writable and not self._reading:
            self._reading = True
            self._driver.add_source(self._descriptor, self._readable)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._driver.remove_source(self._descriptor)

    def _readable(self) -> None:
        if self._driver.sources > 1 and not _is_readable(self._descriptor):
            return  # another command that inherits the same input was quicker; reading now would wait
        try:
            data = os.read(self._descriptor, READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            if not is_end_of_input(self._descriptor, error, inherited=self._inherited, begun=self._begun):
                self._conversation.fail(self._state, error)
                self.stop()
                return
            data = b""
        self._begun = True
        if not data:
            self._conversation.end_stdin(self._state)
            self.stop()
        elif not self._conversation.write(self._state, data):
            self._pause()


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, 1)  # POLLIN
    return bool(poll.poll(0))
