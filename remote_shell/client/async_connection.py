"""One connection of the asyncio front, before it runs anything: login, cuts and the way back, signs of life, the goodbye.

Moved by callbacks (`aio.driver`), with one task, and only while the link is lost. Must never decide what `conversation` and `retry` decide
for both fronts. Neighbours: `async_.AsyncHost` adds the verbs, `async_dialing` logs in.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from remote_shell.aio.driver import Driver
from remote_shell.client import async_forward, faults, opening
from remote_shell.client.async_dialing import log_in
from remote_shell.client.conversation import Conversation
from remote_shell.client.login import Credentials, LoggedIn, Login
from remote_shell.client.plan import Plan
from remote_shell.client.process import ProcessState
from remote_shell.client.retry import Retry, State
from remote_shell.config.targets import Target
from remote_shell.errors import ConnectError, LocalProtocolError, RemoteShellError, UsageError
from remote_shell.link import Link
from remote_shell.wire.events import Answered, Disconnected, Event
from remote_shell.wire.messages import Hello, Open, Welcome


class AsyncConnection:
    """A session with a server. All its methods are for the loop that connected it."""

    def __init__(
        self, plan: Plan, on_state: Callable[[State], None] | None = None, credentials: Credentials | None = None
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.conversation = Conversation(plan.name, plan.limits)
        self.conversation.keeps = plan.on_lost == "keep"
        self._plan = plan
        self._limits = plan.limits
        self._login = Login(plan, credentials)
        self._on_state = on_state
        self._offer = opening.offered_environment()
        self._driver: Driver | None = None
        self._link: Link | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []  # for a connection, or for the news that there will be none
        self._closed = False
        self._forwards: list[async_forward.AsyncForward] = []
        self._pid = os.getpid()
        self._answered: list[Callable[[], None]] = []

    async def open(self) -> None:
        """The first login."""
        link, login = await log_in(self._login, time.monotonic() + self._plan.connect_time)
        self._attach(link, login)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- what is known

    @property
    def name(self) -> str:
        """The target, as it was named."""
        return self._plan.name

    @property
    def target(self) -> Target:
        """Where that is."""
        return self._plan.target

    @property
    def welcome(self) -> Welcome:
        """What the server said at the login: principal, account, host, grace_ms."""
        assert self.conversation.welcome is not None, "connected"
        return self.conversation.welcome

    @property
    def server(self) -> Hello:
        """What the server said of itself: software, version, limits."""
        assert self.conversation.server is not None, "connected"
        return self.conversation.server

    @property
    def server_key(self) -> tuple[str, str] | None:
        """With TLS: the fingerprint of the server's key, and whether it is "new", "known" or "pinned"."""
        return self._login.server_key

    @property
    def fingerprint(self) -> str | None:
        """Of the server's key, as known_hosts has it; None where the transport shows no key."""
        from remote_shell.config.fingerprints import format_fingerprint

        return format_fingerprint(self._login.key_hash) if self._login.key_hash else None

    # --- the end

    async def close(self) -> None:
        """Say goodbye: the server ends at once what still runs. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        for tunnel in self._forwards:
            tunnel.hush()
        if self._recovery is not None:
            self._recovery.cancel()
        driver = self._driver
        if driver is not None:
            driver.pump()  # what was said last, `detach` for one, goes before the goodbye
            self.conversation.session.disconnect("bye")
            driver.pump()
            deadline = self.loop.time() + self._limits.bye_time
            while self._unsent() and self.loop.time() < deadline:  # noqa: ASYNC110  # rare and bounded
                await asyncio.sleep(0.005)
            while self._link is not None and not self._link.finish() and self.loop.time() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            self._drop()
        self.conversation.end("it was closed here")
        self._wake()

    def measure(self) -> None:
        """Find out the round trip anew: `conversation.session.round_trip` has it, one round trip later."""
        self.conversation.session.measure(self.loop.time())
        self.flush()

    async def reconnect(self) -> None:
        """Drop the connection and go on with the same session over a new one; nothing is run again.

        Returns when there is one. Raises UsageError where the server keeps no session, ConnectionLostError when it can't be had.
        """
        if self._driver is not None and not self._closed:
            if not self.welcome.grace_ms:
                raise UsageError(f"{self.name} keeps no session without a connection (grace 0): it would be lost")
            self.drop_connection("it was dropped here")
        await self._ready()

    # --- for processes and shells

    def flush(self) -> None:
        """Send soon, once for all that this turn of the loop queues."""
        if self._driver is not None:
            self._driver.wake()

    def flush_now(self) -> None:
        """Send what goes now."""
        if self._driver is not None:
            self._driver.pump()

    async def _ready(self) -> None:
        """There is a connection, or an error that says why not."""
        if self._closed:
            raise UsageError("this connection was closed; connect again")
        if os.getpid() != self._pid:
            raise UsageError(
                f"this connection belongs to process {self._pid}; process {os.getpid()} is a forked copy of it and must "
                "connect for itself"
            )
        if asyncio.get_running_loop() is not self.loop:
            raise UsageError(
                "this connection belongs to the event loop that connected it; connect once more in this one"
            )
        conversation = self.conversation
        if conversation.over is not None and self._recovery is None:
            conversation.try_again(time.monotonic())
            self._recovery = self.loop.create_task(self._recover())
        while self._driver is None:
            if conversation.over is not None:
                raise conversation.over.with_traceback(None)
            future = self.loop.create_future()
            self._waiting.append(future)
            await future

    def _start(self, state: ProcessState, message: Open) -> None:
        try:
            self.conversation.start(state, message)
        except LocalProtocolError as error:
            raise faults.unsendable(error, state.program) from None
        self.flush()

    def _raise_refusal(self, state: ProcessState, message: Open) -> None:
        if state.rejected is not None:
            raise faults.refused(message, state.rejected, self._plan.name, state.program, state.cwd)
        if state.lost is not None:
            raise state.lost.with_traceback(None)

    # --- the connection's fate

    def _attach(self, link: Link, login: LoggedIn) -> None:
        news = self.conversation.welcomed(login, time.monotonic())
        self._link = link
        self._driver = Driver(self.loop, link, self.conversation.session, on_event=self._event, on_lost=self._lost)
        self._driver.start()
        self._tell(news)
        self._wake()

    # --- signs of life

    @property
    def silence(self) -> float:
        """Seconds since the present connection brought anything; 0 without one."""
        heard = self.conversation.session.heard_at
        return max(0.0, self.loop.time() - heard) if heard is not None and self._driver is not None else 0.0

    @property
    def in_contact(self) -> bool:
        """There is a connection; whether the server answers over it, `heard` asks."""
        return self._driver is not None

    async def heard(self, within: float) -> bool:
        """Whether the server acknowledges, within so many seconds, all that was sent so far."""
        if self._driver is None:
            return False
        answer = self.loop.create_future()
        self.ping(lambda: None if answer.done() else answer.set_result(None))
        try:
            async with asyncio.timeout(within):
                await answer
        except TimeoutError:
            return False
        return True

    def ping(self, answered: Callable[[], None] | None = None) -> None:
        """Ask for a sign of life; `answered` is called when one has come, after all that the server had to replay."""
        if answered is not None:
            self._answered.append(answered)
        self.measure()

    def drop_connection(self, reason: str) -> None:
        """Give the present connection up and go on with the same session over another. Nothing is lost, nothing runs twice."""
        if self._driver is not None:
            self._drop()
            self._lost(ConnectionAbortedError(reason))

    def _event(self, event: Event) -> None:
        if type(event) is Answered:
            answered, self._answered = self._answered, []
            for tell in answered:
                tell()
        reason = self.conversation.on_event(event)
        if reason is not None and isinstance(event, Disconnected):
            self.loop.call_soon(self._drop)
            self._tell(State("gave_up", reason=reason))

    def _unsent(self) -> bool:
        """The goodbye has not left yet."""
        return self._driver is not None and bool(self.conversation.session.data_to_send(1))

    def _drop(self) -> None:
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.stop()

    def _lost(self, error: Exception | None) -> None:
        self._driver = None
        self._answered.clear()  # no answer comes over another connection
        if self._closed:
            return
        if self.conversation.over is not None:
            self._tell(State("gave_up", reason=str(self.conversation.over)))
            return
        reason = str(error) if error is not None else "the server closed the connection"
        self._tell(self.conversation.disconnected(time.monotonic(), reason, self._plan.connect_time))
        if self._recovery is None:  # else it was lost again before the attempt that brought it was over
            self._recovery = self.loop.create_task(self._recover())

    async def _recover(self) -> None:
        """Attempts at a new connection until one holds or there is no more time."""
        conversation = self.conversation
        try:
            while (retry := conversation.retry) is not None:
                await asyncio.sleep(max(0.0, retry.due - time.monotonic()))
                limit = retry.limit(time.monotonic(), self._plan.connect_time)
                received = conversation.session.received
                try:
                    link, login = await log_in(self._login, limit, conversation.resumable, received)
                except ConnectError as error:
                    self._attempt_failed(retry, error)
                except RemoteShellError as error:  # refused, or not the server that was meant: waiting mends neither
                    self._give_up(str(error), error)
                else:
                    self._attach(link, login)
        finally:
            self._recovery = None

    def _attempt_failed(self, retry: Retry, error: ConnectError) -> None:
        news = retry.failed(time.monotonic(), str(error))
        if news is not None:
            self._tell(news)
        else:
            self._give_up(retry.summary(time.monotonic(), str(error)), None if self.conversation.in_flight else error)

    def _give_up(self, reason: str, error: RemoteShellError | None = None) -> None:
        self.conversation.end(reason, error=error)
        self._tell(State("gave_up", reason=reason))
        self._wake()

    def _tell(self, news: State) -> None:
        if self._on_state is not None:
            self._on_state(news)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
