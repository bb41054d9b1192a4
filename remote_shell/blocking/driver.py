"""The blocking driver: joins one session to one link after the other, moved by whoever calls.

There is no thread and no loop. One calling thread, the *pump*, waits on the link for all of them; the others sleep until what
they wait for is there, or until the pump leaves and one of them takes over. One lock guards session, link and states; it is
free while the pump waits, so that anybody may queue and send. Between calls nothing is read and nothing sent. Nothing of
`socket`, `select` and `threading` is kept from import time, so that gevent's patches work.
Neighbours: `link` below, `wire.session` beside, `client.blocking` above.
"""

from __future__ import annotations

import fcntl
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TypeVar

from remote_shell.blocking.interrupts import INTERRUPTS
from remote_shell.blocking.spinning import Spin
from remote_shell.errors import RemoteShellError, UsageError
from remote_shell.limits import Limits
from remote_shell.link import Link
from remote_shell.wire.events import Event
from remote_shell.wire.session import Session

T = TypeVar("T")
_IN, _OUT = 1, 4  # poll(2): POLLIN, POLLOUT
_SENDS_MAX = 8  # of 64 KiB each, before we look whether there is something to read
_FRESH = 0.05  # seconds within which a look at the link need not be repeated
_IDLE = 1.0  # seconds without a look at the link after which its silence says nothing


class _Waiter:
    """A thread that waits while another one pumps."""

    __slots__ = ("lock", "ready", "woken")

    def __init__(self, ready: Callable[[], bool]) -> None:
        self.ready = ready
        self.woken = False
        self.lock = threading.Lock()
        self.lock.acquire()

    def wake(self) -> None:
        """Let it look again."""
        if not self.woken:
            self.woken = True
            self.lock.release()


class Driver:
    """`with driver:` takes the lock; every method but `urgent` wants it taken."""

    def __init__(
        self,
        limits: Limits,
        *,
        on_event: Callable[[Event], str | None],
        on_lost: Callable[[str], None],
        on_damage: Callable[[], None],
        recover: Callable[[float | None], None],
    ) -> None:
        """`on_event` returns why the connection is of no more use, or None; an empty string if what follows can wait for the next wait.

        `on_lost` is told once a link is gone.

        `on_damage`: an exception from outside (a signal handler's) cut through a step of the core, whose state can't be trusted
        any more: the session must end. `recover(deadline)` is called by the pump while there is no link: it tries once, or waits
        a while. The lock is taken whenever one of them is called.
        """
        self.link: Link | None = None
        self.session: Session
        self._limits = limits
        self._on_event = on_event
        self._on_lost = on_lost
        self._on_damage = on_damage
        self._recover = recover
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._pumping = False
        self._waiters: list[_Waiter] = []
        self._urgent: deque[Callable[[], None]] = deque()
        self._sources: dict[int, Callable[[], None]] = {}
        self.later: deque[Callable[[], None]] = deque()  # done once the lock is free
        self._holder = 0  # the thread that has the lock
        self._outside: BaseException | None = None  # came while we waited, so between two steps
        self._damaged = False  # an exception from outside cut through a step of the core
        self._writing = False  # the link is full: wait until it is writable
        self._undrained = False  # events are left that can wait
        self._fd = -1
        self._looked_at = 0.0
        self._spin = Spin(limits.spin_time)
        self._wake = _open_wake()
        self._poll = select.poll()
        self._poll.register(self._wake, _IN)

    # --- the lock

    def __enter__(self) -> Driver:
        if os.getpid() != self._pid:
            raise UsageError(
                f"this connection belongs to process {self._pid}; process {os.getpid()} is a forked copy of it and must "
                "connect for itself"
            )
        me = threading.get_ident()
        if self._holder == me:
            raise UsageError(
                "in a signal handler nothing may wait: only send_signal, interrupt and abandon_soon are for it"
            )
        INTERRUPTS.enter()
        self._lock.acquire()
        self._holder = me
        if self._damaged:
            try:
                self._end_damage()
            except BaseException as fault:
                self.__exit__(type(fault), fault, None)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and error is not self._outside and not isinstance(error, RemoteShellError):
            self._damaged = True  # a signal handler's, or a fault of ours: who knows what was left half done
        self._outside = None
        self._unlock()
        INTERRUPTS.leave()
        if self.later:
            self.do_later()

    def do_later(self) -> None:
        """With no lock taken: what may call back into us."""
        while self.later:
            self.later.popleft()()

    @property
    def forked(self) -> bool:
        """We are a copy of the process that connected."""
        return os.getpid() != self._pid

    def urgent(self, action: Callable[[], None]) -> None:
        """Do `action` under the lock, now or as soon as who holds it lets go. Never waits: for signal handlers and finalizers."""
        if self.forked:
            return
        self._urgent.append(action)
        INTERRUPTS.enter()  # or Ctrl-C would leave the lock taken
        try:
            if self._lock.acquire(False):
                self._holder = threading.get_ident()
                self._unlock()
            self._kick()  # the pump, or our own thread below this handler, looks again
        finally:
            INTERRUPTS.leave()

    def _unlock(self) -> None:
        """Let go; what was queued by those who could not wait is done by whoever holds the lock last."""
        while True:
            while self._urgent:
                self._urgent.popleft()()
                self.flush()
            self._holder = 0
            self._lock.release()
            if not self._urgent or not self._lock.acquire(False):
                return
            self._holder = threading.get_ident()

    def unlocked(self, work: Callable[[], T]) -> T:
        """Do something slow, or of the user's, with the lock free. Here, and only here, KeyboardInterrupt comes."""
        mine = INTERRUPTS.masked and threading.get_ident() == threading.main_thread().ident
        self._unlock()
        try:
            if mine:
                INTERRUPTS.masked = False
                INTERRUPTS.raise_pending()
            return work()
        except BaseException as error:
            self._outside = error
            raise
        finally:
            if mine:
                INTERRUPTS.masked = True
            self._lock.acquire()
            self._holder = threading.get_ident()

    def _end_damage(self) -> None:
        """Somebody's exception cut through a step: let nobody go on from there."""
        self._damaged = False
        self._on_damage()

    # --- the link

    def attach(self, link: Link, session: Session) -> None:
        """Go on over `link`, to which `session` is attached."""
        self.link, self.session = link, session
        self._fd = link.fileno()
        self._writing = False
        self._looked_at = time.monotonic()
        self._poll.register(self._fd, _IN)
        self._drain()
        self._kick()

    def detach(self) -> Link | None:
        """Let go of the link, without closing it."""
        link, self.link = self.link, None
        if link is not None:
            self._poll.unregister(self._fd)
            self._fd = -1
        return link

    def lose(self, reason: str) -> None:
        """The link is of no more use."""
        link = self.detach()
        if link is not None:
            link.close()
            self._on_lost(reason)
            self._kick()

    def close(self) -> None:
        """Close descriptors. A forked copy only forgets the link: TLS would say goodbye on the stream that both share."""
        link = self.detach()
        if link is not None and not self.forked:
            link.close()
        if self._wake >= 0:
            self._kick()  # another thread may wait in the pump, which closing the descriptors does not end
            os.close(self._wake)
            self._wake = -1

    def flush(self) -> None:
        """Send what goes now."""
        link, session = self.link, self.session
        if link is None or self._writing or self._damaged:
            return
        try:
            for _ in range(_SENDS_MAX):
                buffers = session.data_to_send(self._limits.unsent_max)
                if not buffers:
                    if not link.flush():
                        self._want_write()
                    break
                count = link.send(buffers)
                if not count:
                    self._want_write()
                    break
                if not session.sent(count):
                    if not link.flush():
                        self._want_write()
                    break
            else:
                self._want_write()
        except OSError as error:
            self._read()  # what the peer said before it went
            self.lose(_text(error))
            return
        if session.has_events:
            self._kick()  # a queue got room: a pump that waits for bytes alone would never hear of it

    def look(self) -> None:
        """See whether the link still stands, and take what is there: before a command is started on an idle one."""
        now = time.monotonic()
        if self.link is not None and not self._pumping and now - self._looked_at > _FRESH:
            self._refresh(now)
            self._read()

    def _want_write(self) -> None:
        self._writing = True
        self._poll.modify(self._fd, _IN | _OUT)
        self._kick()

    def _refresh(self, now: float) -> None:
        """Nobody looked for a while: the peer's silence is ours."""
        if now - self._looked_at > _IDLE and self.link is not None:
            self.session.receive_data(self.session.generation, b"", now)
        self._looked_at = now

    def _read(self) -> None:
        link = self.link
        if link is None:
            return
        try:
            data = link.recv()
        except OSError as error:
            self.lose(_text(error))
            return
        if data is None:
            return
        if not data:
            self.lose("the server closed the connection")
            return
        self.session.receive_data(self.session.generation, data, time.monotonic())
        self._drain()

    def catch_up(self) -> None:
        """See to what was left for the next wait."""
        if self._undrained:
            self._drain()

    def _drain(self) -> None:
        """Pass on the core's events."""
        session, on_event = self.session, self._on_event
        reason = None
        self._undrained = False
        while (event := session.next_event()) is not None:
            said = on_event(event)
            if said is not None:
                if not said:
                    self._undrained = True
                    break
                reason = said
        if reason is not None:
            self.flush()  # the last words
            self.lose(reason)

    # --- other descriptors

    def add_source(self, descriptor: int, readable: Callable[[], None]) -> None:
        """Have the pump call `readable` when the descriptor is."""
        self._sources[descriptor] = readable
        self._poll.register(descriptor, _IN)
        self._kick()

    def remove_source(self, descriptor: int) -> None:
        """Stop that."""
        if self._sources.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    @property
    def sources(self) -> int:
        """How many there are."""
        return len(self._sources)

    # --- waiting

    def wait(
        self, ready: Callable[[], bool], deadline: float | None = None, soon: Callable[[], bool] | None = None
    ) -> bool:
        """Move bytes until `ready()`, or until `deadline` (monotonic seconds): then False. A deadline in the past looks once.

        From `soon()` on, without it at once, the answer may come within microseconds: who waits looks for it without sleeping.
        """
        while not ready():
            if self._damaged:
                self._end_damage()
            elif not self._pumping:
                self._pumping = True
                try:
                    return self._pump(ready, deadline, soon)
                finally:
                    self._pumping = False
                    self._hand_over()
            elif not self._sleep(ready, deadline):
                break
        if not self._pumping:
            self._hand_over()
        return ready()

    def send_all(self, deadline: float) -> bool:
        """Wait until all that may go has gone, at most until `deadline`. False if it did not, or the link is lost."""
        self.flush()
        if self._writing:
            self.wait(lambda: not self._writing or self.link is None, deadline)
            self.flush()
        return not self._writing and self.link is not None

    def nap(self, until: float) -> None:
        """For `recover`: wait until a time, or until somebody wants something."""
        self._wait_on([self._wake], until)
        self._clear_wake()

    def _pump(self, ready: Callable[[], bool], deadline: float | None, soon: Callable[[], bool] | None) -> bool:
        began = time.monotonic()
        self._refresh(began)
        until = self._spin.begin(began)  # the whole wait counts: on a busy machine it is long, which switches this off
        near = soon is None
        if self._undrained:
            self.catch_up()
            if ready():
                return True
        while True:
            near = near or (soon is not None and soon())
            if self._damaged:
                self._end_damage()
            elif self.link is None:
                self._recover(deadline)
            else:
                self._turn(deadline, until if near else began)
            if self._waiters:
                self._wake_waiters()
            if ready():
                if near:
                    self._spin.end(self._looked_at)
                return True
            if deadline is not None and (now := time.monotonic()) >= deadline:
                if near and now - began > self._spin.time:  # a look without waiting says nothing
                    self._spin.end(now)
                return False

    def _turn(self, deadline: float | None, sleepless: float) -> None:
        """Send, wait for something, handle it. Until `sleepless` the wait is without sleep, if one command alone is waited for."""
        self.flush()
        if self.link is None:
            return
        if self._undrained or self.session.has_events:  # may be what somebody waits for: look before waiting for more
            self._drain()
            return
        due = self.session.next_timeout()
        until = due if deadline is None else deadline if due is None else min(due, deadline)
        timeout = None if until is None else max(0.0, (until - time.monotonic()) * 1000)
        # `unlocked` by hand: this is where a quick command spends its time
        me = threading.get_ident()
        mine = INTERRUPTS.masked and me == threading.main_thread().ident
        self._unlock()
        try:
            if mine:
                INTERRUPTS.masked = False
                INTERRUPTS.raise_pending()
            found = [] if timeout == 0 or self._waiters else self._spin_until(sleepless)
            if not found:
                found = self._poll.poll(timeout)
        except BaseException as error:
            self._outside = error
            raise
        finally:
            if mine:
                INTERRUPTS.masked = True
            self._lock.acquire()
            self._holder = me
        if self._damaged:
            return
        for descriptor, events in found:
            self._handle(descriptor, events)
        self._looked_at = now = time.monotonic()
        if due is not None and now >= due and self.link is not None:
            self.session.handle_timeout(now)
            self._drain()

    def _spin_until(self, moment: float) -> list[tuple[int, int]]:
        """Look without sleeping: what there is, or nothing. The lock is free meanwhile."""
        found: list[tuple[int, int]] = []
        if len(self.session.channels) > self._limits.spin_channels_max:
            return found
        while time.monotonic() < moment and not (found := self._poll.poll(0)):
            os.sched_yield()
        return found

    def _handle(self, descriptor: int, events: int) -> None:
        if descriptor == self._fd:
            if events & _OUT and self.link is not None:
                self._writing = False
                self._poll.modify(self._fd, _IN)
                self.flush()
            if events & ~_OUT:
                self._read()
        elif descriptor == self._wake:
            self._clear_wake()
        elif descriptor in self._sources:
            self._sources[descriptor]()

    def _sleep(self, ready: Callable[[], bool], deadline: float | None) -> bool:
        """Wait while another thread pumps. False at the deadline."""
        self.flush()
        waiter = _Waiter(ready)
        self._waiters.append(waiter)
        timeout = -1.0 if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            return self.unlocked(lambda: waiter.lock.acquire(timeout=min(timeout, threading.TIMEOUT_MAX)))
        except BaseException:
            if not self._pumping:
                self._hand_over()
            raise
        finally:
            self._waiters.remove(waiter)

    def _wake_waiters(self) -> None:
        for waiter in self._waiters:
            if not waiter.woken and waiter.ready():
                waiter.wake()

    def _hand_over(self) -> None:
        """The pump leaves: wake whoever is ready, and one more to take over."""
        waiters = self._waiters
        if not waiters:
            return
        self._wake_waiters()
        for waiter in waiters:
            if not waiter.woken:
                waiter.wake()
                return

    def _kick(self) -> None:
        """Have the pump look again."""
        if self._pumping and self._wake >= 0 and not self.forked:
            os.eventfd_write(self._wake, 1)

    def _clear_wake(self) -> None:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            pass

    def _wait_on(self, descriptors: Iterable[int], until: float) -> None:
        poll = select.poll()
        for descriptor in descriptors:
            poll.register(descriptor, _IN)
        timeout = max(0.0, (until - time.monotonic()) * 1000)
        self.unlocked(lambda: poll.poll(timeout))


def _open_wake() -> int:
    """An eventfd above descriptor 2: one of those may be closed, and means the command's stdin even so."""
    descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    if descriptor > 2:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(descriptor)


def _text(error: OSError) -> str:
    return error.strerror or str(error)
