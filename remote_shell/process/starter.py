"""Starts processes from a thread whose table of descriptors is small: for a server that holds thousands of them.

A fork copies the table, and the exec closes what was copied: with 10,000 connections open `true` took twice as long. A thread may
have a table of its own (close_range(2), CLOSE_RANGE_UNSHARE); what a process is to get comes into it by SCM_RIGHTS. What it starts are
children of this process like any others, to wait for and to signal. The way there and back costs 40 microseconds. A process for it was
rejected: the commands would be its children, so their statuses would have to be told, and its death survived.

Must never keep open what this process has closed, so its table has the standard descriptors, its socket, and the one that signal handlers
write to: the kernel may choose any thread for a handler, which finds there the number that it was told. For the same reason must never
run the garbage collector: what it closes there by a number of this process's table stays open here, and is something else there.

Neighbours: `launch` starts through it.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import os
import queue
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Final

MANY = 1_000  # descriptors, from which on it pays
_UNSHARE = 2  # CLOSE_RANGE_UNSHARE: linux/close_range.h
_LAST = 2**31 - 1
# of what there may be again
_SHORT = frozenset((errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

# starts a process with these as its stdin, stdout and stderr
Start = Callable[[int, int, int], "subprocess.Popen[bytes]"]
Answer = subprocess.Popen[bytes] | BaseException


class Starter:
    """The thread, from now until `retire`. Used by one thread at a time."""

    def __init__(self, wakeup: int) -> None:
        """`wakeup`: what signal handlers write to, -1 for nothing. OSError if the kernel (before 5.9) or the C library can't."""
        self.wakeup: Final = wakeup
        self._inode = _inode(wakeup)
        self.busy = False  # stays so if whoever waits for an answer is interrupted
        self._orders: queue.SimpleQueue[Start | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._ours, its = socket.socketpair()
        with its:
            try:
                threading.Thread(target=self._run, args=(its.fileno(),), name="starter", daemon=True).start()
                fault = self._answers.get()
            except RuntimeError as error:  # no thread is to be had
                fault = OSError(errno.EAGAIN, str(error))
        if isinstance(fault, BaseException):
            self._ours.close()
            raise fault

    def serves(self, wakeup: int) -> bool:
        """It waits for orders, and has what handlers write to: another loop's may have the same number."""
        return not self.busy and self.wakeup == wakeup and self._inode == _inode(wakeup)

    def start(self, start: Start, descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
        """What `start` returns or raises, called there with copies of the three `descriptors`."""
        self.busy = True
        socket.send_fds(self._ours, [b"\0"], descriptors)
        self._orders.put(start)
        answer = self._answers.get()
        self.busy = False
        if isinstance(answer, subprocess.Popen):
            return answer
        assert answer is not None, "an order has an answer"
        raise answer

    def retire(self) -> None:
        """End the thread, and its table with it."""
        self._orders.put(None)
        self._ours.close()

    def _run(self, number: int) -> None:
        try:
            _keep_only({0, 1, 2, number, self.wakeup})
        except OSError as error:
            self._answers.put(error)
            return
        except Exception as error:  # glibc before 2.34 and musl have no close_range, a Python may have no ctypes
            self._answers.put(OSError(errno.ENOSYS, str(error)))
            return
        with socket.socket(fileno=number) as own:
            self._answers.put(None)
            while (start := self._orders.get()) is not None:
                self._answers.put(_obey(start, own))


def _obey(start: Start, own: socket.socket) -> Answer:
    """What it returns or raises. All is done when the answer is out: from then on the collector may run."""
    descriptors: Sequence[int] = ()
    try:
        _, descriptors, _, _ = socket.recv_fds(own, 1, 3)
        return start(*descriptors)
    except BaseException as error:  # theirs to handle, whatever it is
        return error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


_starter: Starter | None = None
_possible = True


def start(start: Start, descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    """What `start` returns or raises, called with the three `descriptors` or copies of them. One call at a time."""
    global _starter, _possible
    main = threading.current_thread() is threading.main_thread()  # others can't ask what signal handlers write to
    if not (_possible and main):
        return start(*descriptors)
    collects = gc.isenabled()
    gc.disable()
    try:
        wakeup = _wakeup()
        if _starter is not None and not _starter.serves(wakeup):
            _starter.retire()
            _starter = None
        if _starter is None:
            _starter = Starter(wakeup)
    except OSError as error:
        _possible = error.errno in _SHORT
        return start(*descriptors)
    else:
        return _starter.start(start, descriptors)
    finally:
        if collects:
            gc.enable()


def _keep_only(kept: set[int]) -> None:
    """From now on this thread has a table of descriptors of its own, with only those."""
    from remote_shell.process.libc import checked, libc  # and ctypes, which few servers need

    numbers = sorted(kept)
    checked(libc().close_range(numbers[-1] + 1, _LAST, _UNSHARE))
    for before, after in itertools.pairwise(numbers):
        if after - before > 1:
            checked(libc().close_range(before + 1, after - 1, 0))


def _wakeup() -> int:
    """What signal handlers write to, -1 for nothing: asyncio's. Python tells it only to who sets another one."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)  # as asyncio has it
        with contextlib.suppress(BlockingIOError):
            came = ours.recv(256)  # signals that came between
            if wakeup >= 0:
                os.write(wakeup, came)
    return wakeup


def _inode(descriptor: int) -> int:
    """What tells a socket from all others that are open; 0 for none."""
    return os.fstat(descriptor).st_ino if descriptor >= 0 else 0


def _forget() -> None:
    """In a fork of this process there is no such thread."""
    global _starter
    _starter = None


os.register_at_fork(after_in_child=_forget)
