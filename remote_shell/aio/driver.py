"""The asyncio driver: joins one session to one link. Callbacks only, no task: a command costs few turns of the loop.

It reads, drains the core's events into `on_event`, and flushes; reading never waits for writing, and others on the loop wait
for us `limits.turn_time` at most, and one event. It must never decide anything that the core or the application should
decide. Neighbours: `link` below, `wire.session` beside, `server` and `client` above.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from remote_shell.errors import RemoteProtocolError
from remote_shell.link import Link
from remote_shell.wire.events import Event, Failed, Silent
from remote_shell.wire.session import Session


class Driver:
    """One connection of a session, from `start` to `stop`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        link: Link,
        session: Session,
        *,
        on_event: Callable[[Event], None],
        on_lost: Callable[[Exception | None], None],
    ) -> None:
        """`on_lost` is called once, unless `stop` came first: with None at the end of the stream, or with what broke it."""
        self._loop = loop
        self._link = link
        self._session = session
        self._on_event = on_event
        self._on_lost = on_lost
        self._generation = session.generation
        self._fd = link.fileno()
        self._writing = False
        self._flush_due = False
        self._pumping = False
        self._behind = False  # events wait for our next turn: nothing is read before
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    @property
    def blocked(self) -> bool:
        """Something waits until the peer reads."""
        return self._writing

    def start(self) -> None:
        """Begin to read; what the handshake's last chunk brought along is handled first."""
        self._loop.add_reader(self._fd, self._readable)
        self._arm()
        self.pump()

    def stop(self) -> None:
        """Let go of the link and close it. Nothing is called back any more."""
        if self._stopped:
            return
        self._stopped = True
        self._loop.remove_reader(self._fd)
        if self._writing:
            self._loop.remove_writer(self._fd)
        if self._timer is not None:
            self._timer.cancel()
        self._link.close()

    def wake(self) -> None:
        """The application queued something: flush soon, once for all that this turn of the loop brings."""
        if not self._flush_due and not self._pumping and not self._stopped:
            self._flush_due = True
            self._loop.call_soon(self.pump)

    def flush(self) -> None:
        """Write now what the application queued: somebody waits for it. Within a pump that comes by itself."""
        if self._pumping or self._stopped:
            return
        self._pumping = True
        try:
            self._flush()
        finally:
            self._pumping = False
        if self._session.has_events:
            self.wake()

    def pump(self) -> None:
        """Drain events and flush until neither moves."""
        self._flush_due = False
        if self._pumping:
            return
        self._pumping = True
        try:
            self._drain_and_flush()
        finally:
            self._pumping = False

    def _drain_and_flush(self) -> None:
        session, on_event, now = self._session, self._on_event, self._loop.time
        self._behind = False
        until = now() + session.limits.turn_time
        while not self._stopped:
            event = session.next_event()
            if event is not None:
                on_event(event)
                if type(event) is Failed or type(event) is Silent:
                    self._end(event.error if isinstance(event, Failed) else TimeoutError("the peer fell silent"))
                elif now() >= until and not self._stopped:
                    self._behind = self._flush_due = True
                    self._loop.call_soon(self.pump)  # after the others' turns
                    self._flush()
                    return
                continue
            self._flush()
            if not session.has_events:  # a queue got room
                return

    def _end(self, error: Exception) -> None:
        """The connection is of no more use: last words, then let go."""
        if not self._stopped:
            self._flush()
        self._lose(error)

    def _readable(self) -> None:
        if self._behind:
            return
        try:
            data = self._link.recv()
        except OSError as error:
            self._lose(error)
            return
        if data is None:
            return
        if not data:
            self._lose(None)
            return
        self._session.receive_data(self._generation, data, self._loop.time())
        self.pump()
        if self._timer is None:
            self._arm()  # a peer that is not prompt owed an answer, for which no deadline was set

    def _flush(self) -> None:
        """Write what goes now."""
        if self._writing:
            return
        session, link = self._session, self._link
        try:
            more = True
            while more:
                buffers = session.data_to_send(link.unsent_max)
                if not buffers:
                    break
                count = link.send(buffers)
                if not count:
                    self._wait_writable()
                    return
                more = session.sent(count)
            if not link.flush():
                self._wait_writable()
        except OSError as error:
            self._hear_out()
            self._lose(error)
        except BaseException:
            self._lose(ConnectionAbortedError("interrupted while writing"))  # nobody knows how much of it went
            raise

    def _hear_out(self) -> None:
        """Writing failed, but what the peer said before it went may be a goodbye, which is no cut."""
        session = self._session
        try:
            while not self._stopped and (data := self._link.recv()):
                session.receive_data(self._generation, data, self._loop.time())
                while (event := session.next_event()) is not None:
                    self._on_event(event)
        except OSError:
            return  # nothing more to hear

    def _wait_writable(self) -> None:
        self._writing = True
        self._loop.add_writer(self._fd, self._writable)

    def _writable(self) -> None:
        self._writing = False
        self._loop.remove_writer(self._fd)
        self.pump()

    def _lose(self, error: Exception | None) -> None:
        if self._stopped:
            return
        self.stop()
        if isinstance(error, RemoteProtocolError):
            error = RemoteProtocolError(error.code, error.detail)  # without the frames that its traceback keeps alive
        self._on_lost(error)

    def _arm(self) -> None:
        """One timer a connection: it is not moved with each byte, it looks again when it fires."""
        due = self._session.next_timeout()
        if due is not None and not self._stopped:
            self._timer = self._loop.call_at(max(due, self._loop.time() + 0.001), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._session.handle_timeout(self._loop.time())
        self.pump()
        if self._timer is None:
            self._arm()
