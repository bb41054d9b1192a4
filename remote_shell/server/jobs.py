"""Detached jobs, as a server has them: it starts their keepers, talks to them, and sweeps the table. The jobs themselves need no server.

Must never wait on the loop's thread, nor signal a job itself. Neighbours: `remote_shell.jobs` has table and keepers, `requests.detach` and
`requests.jobs` serve the clients.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import marshal
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from remote_shell.errors import ConfigError
from remote_shell.jobs import orders
from remote_shell.jobs.table import JobFacts, Slot, Table
from remote_shell.limits import Limits
from remote_shell.transfer.threads import no_thread

log = logging.getLogger("remote_shell.server")
T = TypeVar("T")

_ANSWER = 4096  # bytes of the socket or the pipe that are read at once
_AGAIN = 0.02  # seconds until a keeper that could not be asked is asked again
_BUSY = {
    errno.EAGAIN,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
}  # unix(7): its backlog is full; or we are out of something

Started = tuple[
    str | int, ...
]  # ("started", pid, ms) or ("failed", what was tried, errno); (): its keeper died, or is too slow


_Listing = asyncio.Future[list[JobFacts]]


class Jobs:
    """What all requests about jobs share."""

    def __init__(self, loop: asyncio.AbstractEventLoop, folder: Callable[[], str], limits: Limits) -> None:
        """`folder` is asked when the first job is: a server that never has one needs no state."""
        self.loop = loop
        self.limits = limits
        self._folder = folder
        self._table: Table | None = None
        self._swept = float("-inf")
        self._starting: dict[str, set[str]] = {}  # ids of each principal whose keepers have not said their word
        self._sweeping: asyncio.Future[int] | None = None
        self._listing: dict[
            str, _Listing | None
        ] = {}  # by principal, while its jobs are read: what comes next, if it was asked for

    @property
    def table(self) -> Table:
        """The jobs of the account. Raises ConfigError where its state folder can't be used."""
        if self._table is None:
            self._table = Table(os.path.join(self._folder(), "jobs"), self.limits)
        return self._table

    def find(self, principal: str, ident: str) -> JobFacts | None:
        """The job of this id, for requests that are about anything; None also where there can be none."""
        try:
            return self.table.find(principal, ident)
        except (OSError, ConfigError):
            return None

    def sweep(self) -> None:
        """Forget what is too old or too much, in a thread, unless that was done a moment ago."""
        now = self.loop.time()
        if now - self._swept < self.limits.job_sweep_time or self._sweeping is not None:
            return
        self._swept = now
        self._sweeping = self.in_thread(self.table.sweep)
        self._sweeping.add_done_callback(self._swept_out)

    def listing(self, principal: str) -> _Listing:
        """All jobs of this principal, read from now on. One reading at a time: all that ask meanwhile have the next."""
        if principal in self._listing:
            waiting = self._listing[principal]
            if waiting is None:
                waiting = self._listing[principal] = self.loop.create_future()
            return waiting
        answer: _Listing = self.loop.create_future()
        self._list(principal, answer)
        return answer

    def _list(self, principal: str, answer: _Listing) -> None:
        self._listing[principal] = None
        work = self.in_thread(partial(self.table.of, principal))
        work.add_done_callback(partial(self._listed, principal, answer))

    def _listed(self, principal: str, answer: _Listing, work: _Listing) -> None:
        waiting = self._listing.pop(principal)
        if waiting is not None:
            self._list(principal, waiting)
        if work.cancelled():
            answer.cancel()
        elif (error := work.exception()) is not None:
            answer.set_exception(error)
        else:
            answer.set_result(work.result())

    def in_thread(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """What `work` returns or raises, which may wait for a disk; OSError (EAGAIN) where no thread is to be had."""
        try:
            return self.loop.run_in_executor(None, work)
        except RuntimeError:
            found: asyncio.Future[T] = self.loop.create_future()
            found.set_exception(no_thread())
            return found

    def _swept_out(self, done: asyncio.Future[int]) -> None:
        self._sweeping = None
        if not done.cancelled() and done.exception() is not None:
            log.warning("old jobs could not be forgotten: %s", done.exception())

    def is_full(self, principal: str) -> bool:
        """It has as many jobs as it may. A keeper that was just started has nothing on the disk yet by which to count it."""
        return self.table.has_running(principal, self.limits.jobs_running_max, self._starting.get(principal, ()))

    def has_running(self, principal: str, count: int) -> bool:
        """It has so many jobs that run. True where that can't be known."""
        try:
            return self.table.has_running(principal, count, self._starting.get(principal, ()))
        except (OSError, ConfigError):
            return True

    def start(self, made: bytes, slot: Slot, owner: tuple[str, str], tell: Callable[[Started], None]) -> None:
        """Start a keeper; `tell` is called with its word, once, within `job_start_time`. Raises OSError. `slot` is closed.

        `owner` is the principal and the job's id.
        """
        principal, ident = owner
        try:
            _, heard = orders.start_keeper(made, slot.folder, slot.lock, ident)
        finally:
            slot.close()
        self._starting.setdefault(principal, set()).add(ident)

        def told(word: Started) -> None:
            ours = self._starting[principal]
            ours.remove(ident)
            if not ours:
                del self._starting[principal]
            tell(word)

        _Word(self.loop, heard, told, self.limits.job_start_time)


class _Word:
    """A keeper's word on the start, as it comes through its pipe."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, heard: int, tell: Callable[[Started], None], patience: float
    ) -> None:
        self._loop = loop
        self._heard = heard
        self._tell = tell
        self._data = b""
        os.set_blocking(heard, False)
        loop.add_reader(heard, self._readable)
        self._timer = loop.call_later(patience, self._end)

    def _readable(self) -> None:
        try:
            data = os.read(self._heard, _ANSWER)
        except BlockingIOError:
            return
        self._data += data
        if not data:
            self._end()

    def _end(self) -> None:
        self._loop.remove_reader(self._heard)
        self._timer.cancel()
        os.close(self._heard)
        try:
            word: Started = marshal.loads(self._data)  # noqa: S302  # our own keeper's
        except (EOFError, ValueError, TypeError):
            word = ()
        self._tell(word)


class KeeperLink:
    """A connection to a job's keeper. `heard` gets each line, `gone` is called once, when there is no keeper any more.

    Both are called from the loop and never within `__init__` or `say`; after `close` neither is.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        folder: int,
        first: bytes,
        heard: Callable[[bytes], None],
        gone: Callable[[], None],
    ) -> None:
        """`folder` is a descriptor of the job's folder and outlives this; `first` is a request that is sent as soon as can be."""
        self._loop = loop
        self._folder = folder
        self._heard = heard
        self._gone = gone
        self._unsent = first
        self._data = b""
        self._closed = False
        self._sock: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = loop.call_later(0, self._connect)

    def close(self) -> None:
        """Hang up."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        sock, self._sock = self._sock, None
        if sock is not None:
            self._loop.remove_reader(sock.fileno())
            sock.close()

    def _connect(self) -> None:
        self._timer = None
        try:
            sock = self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            sock.connect(f"/proc/self/fd/{self._folder}/socket")
            sock.send(self._unsent)
        except OSError as error:
            if self._sock is not None:
                self._sock.close()
                self._sock = None
            if error.errno in _BUSY:
                self._timer = self._loop.call_later(_AGAIN, self._connect)
            else:
                self._end()
        else:
            self._loop.add_reader(sock.fileno(), self._readable)

    def _readable(self) -> None:
        assert self._sock is not None, "close removes the reader"
        try:
            data = self._sock.recv(_ANSWER)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        *lines, self._data = (self._data + data).split(b"\n")
        for line in lines:
            if not self._closed:  # a line may be all that was waited for
                self._heard(line)

    def _end(self) -> None:
        self.close()
        self._gone()
