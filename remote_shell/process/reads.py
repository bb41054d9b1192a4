"""Who waits until a terminal is read is told by the kernel: inotify(7), IN_ACCESS.

A terminal has no event for "its input was read", and looks in between cost what they wait: 1,600 pasted lines, one after the other, took
3 to 9 s with looks 2 ms apart, 0.4 s so. A descriptor of its slave, kept to wait on, would keep it from being hung up. One instance serves
a whole loop: an account has 128 (max_user_instances), and closing one takes 20 ms.

It tells as well when a named pipe was opened. Must never be relied on for a terminal: an account may have none left, and input that was
flushed (tcflush(3)) was read by nobody. Neighbours: `pty`, `shell_command`.
"""

from __future__ import annotations

import asyncio
import os
import struct
import weakref
from collections.abc import Callable

from remote_shell.process import poller
from remote_shell.process.libc import checked, libc
from remote_shell.process.poller import Poller

READ, OPENED = 0x1, 0x20  # IN_ACCESS, IN_OPEN
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of a name, which only what lies in a watched folder has
_READ = 4096

_instances: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Reads] = weakref.WeakKeyDictionary()


class Reads:
    """One loop's. `watch` and `forget` are cheap enough for each burst of lines."""

    __slots__ = ("__weakref__", "_callbacks", "_fd")

    def __init__(self) -> None:
        """OSError: EMFILE, ENFILE; ENOSYS of a kernel without it."""
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._fd = -1
        self._fd = checked(libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> Reads:
        """The loop's, made on first use and gone with the loop. OSError, as by `__init__`, at each call."""
        reads = _instances.get(loop)
        if reads is None:
            reads = cls()
            Poller.of(loop).add(reads._fd, poller.READ, reads._told)
            _instances[loop] = reads
        return reads

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def watch(self, path: bytes, callback: Callable[[], None], event: int = READ) -> int:
        """Call `callback` soon after each read, or other `event`, of `path`, which nobody else here watches; a number for `forget`.

        OSError: ENOSPC if the account has no watch left (max_user_watches), ENOENT.
        """
        number = checked(libc().inotify_add_watch(self._fd, path, event))
        self._callbacks[number] = callback
        return number

    def forget(self, number: int) -> None:
        """No further call, not even for a read that was before."""
        del self._callbacks[number]
        libc().inotify_rm_watch(self._fd, number)  # EINVAL: the terminal is gone, and took the watch along

    def _told(self) -> None:
        try:
            data = os.read(self._fd, _READ)
        except BlockingIOError:
            return
        for number in dict.fromkeys(event[0] for event in _EVENT.iter_unpack(data)):
            callback = self._callbacks.get(number)
            if callback is not None:
                callback()
