"""One connection of the blocking front, before it runs anything: login, cuts and the way back, signs of life, the goodbye.

Must never decide what `conversation` and `retry` decide for both fronts. Neighbours: `blocking.Host` adds the verbs, the driver moves
bytes, `dialing` logs in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

from remote_shell.blocking.driver import Driver
from remote_shell.blocking.interrupts import interrupt as interrupt
from remote_shell.client import faults, opening
from remote_shell.client import forward as tunnels
from remote_shell.client.conversation import Conversation
from remote_shell.client.dialing import log_in, see_out
from remote_shell.client.login import Credentials, Login
from remote_shell.client.plan import Plan
from remote_shell.client.process import ProcessState
from remote_shell.client.remote import Remote
from remote_shell.client.retry import Retry, State
from remote_shell.config.targets import Target
from remote_shell.errors import (
    ConnectError,
    LocalProtocolError,
    RemoteShellError,
    UsageError,
)
from remote_shell.wire.frames import CONTROL, encode
from remote_shell.wire.messages import Disconnect, Hello, Open, Welcome

_LAST_LOOK = 1.0  # seconds that an attempt to reconnect may take at least, though its caller's own time is up
_LAST_LOOK_BY_SSH = 4.0  # ssh takes half a dozen round trips and a process at both ends


class BlockingConnection:
    """A session with a server. Threads may share it; a forked process may not."""

    def __init__(
        self, plan: Plan, on_state: Callable[[State], None] | None = None, credentials: Credentials | None = None
    ) -> None:
        self._plan = plan
        self._limits = plan.limits
        self._login = Login(plan, credentials)
        self._on_state = on_state
        self._closed = False
        self._forwards: list[tunnels.Forward] = []
        self._offer = opening.offered_environment()
        self._conversation = Conversation(plan.name, plan.limits)
        self._conversation.keeps = plan.on_lost == "keep"
        link, login = log_in(self._login, time.monotonic() + plan.connect_time)
        self._driver = Driver(
            plan.limits,
            on_event=self._conversation.on_event,
            on_lost=self._lost,
            on_damage=self._damaged,
            recover=self._recover,
        )
        with self._driver:
            self._tell(self._conversation.welcomed(login, time.monotonic()))
            self._driver.attach(link, self._conversation.session)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
        assert self._conversation.welcome is not None, "connected"
        return self._conversation.welcome

    @property
    def server(self) -> Hello:
        """What the server said of itself: software, version, limits."""
        assert self._conversation.server is not None, "connected"
        return self._conversation.server

    # --- signs of life

    @property
    def in_contact(self) -> bool:
        """There is a connection; whether the server answers over it, `heard` asks."""
        return self._driver.link is not None

    def heard(self, within: float) -> bool:
        """Whether the server acknowledges, within so many seconds, all that was sent so far."""
        driver, conversation = self._driver, self._conversation
        until = float(time.monotonic() + within)  # not under the lock: what is no number would end the session

        def known() -> bool:
            session = conversation.session
            return driver.link is None or not (session.has_unsent or session.unacknowledged[0])

        with driver:
            conversation.session.measure(time.monotonic())
            driver.flush()
            return driver.wait(known, until) and driver.link is not None

    def wait_lost(self) -> None:
        """Wait until the session is lost for good; what threads of tunnels do goes on meanwhile. Raises ConnectionLostError."""
        driver, conversation = self._driver, self._conversation
        with driver:
            self._ready()
            driver.wait(lambda: conversation.over is not None or self._closed)
            if conversation.over is not None:
                raise conversation.over.with_traceback(None)

    # --- the end

    def close(self) -> None:
        """Say goodbye: the server ends at once what still runs. Safe to repeat; in a forked copy it only lets go."""
        if self._closed:
            return
        self._closed = True
        for tunnel in self._forwards:
            tunnel.hush()
        driver = self._driver
        if driver.forked:
            driver.close()
            return
        with driver:
            try:
                driver.catch_up()  # the goodbye comes behind our answers to `close`
                self._conversation.session.disconnect("bye")
                deadline = time.monotonic() + self._limits.bye_time
                driver.send_all(deadline)
                see_out(driver.link, deadline)
            finally:
                self._conversation.end("it was closed here")
                driver.close()

    # --- starting

    def _start(self, state: ProcessState, message: Open, remote: Remote, given: memoryview | None) -> None:
        """Under the lock: queue the `open`; who waits then sends it."""
        self._ready()
        try:
            self._conversation.start(state, message)
        except LocalProtocolError as error:
            raise faults.unsendable(error, state.program) from None
        remote.begin(given)

    def _ready(self) -> None:
        """Under the lock: there is a connection, or an error that says why not."""
        if self._closed:
            raise UsageError("this connection was closed; connect again")
        driver, conversation = self._driver, self._conversation
        if not conversation.states:
            driver.look()  # a server that went away between calls: begin anew, with nothing to lose
        if driver.link is None:
            if conversation.over is not None:
                conversation.try_again(time.monotonic())
            driver.wait(lambda: driver.link is not None or conversation.over is not None)
            if conversation.over is not None:
                raise conversation.over.with_traceback(None)

    def _raise_refusal(self, state: ProcessState, message: Open) -> None:
        if state.rejected is not None:
            raise faults.refused(message, state.rejected, self._plan.name, state.program, state.cwd)
        if state.lost is not None:
            raise state.lost.with_traceback(None)

    # --- the connection's fate; all under the lock

    def _tell(self, news: State) -> None:
        """Pass on news, once the lock is free."""
        if self._on_state is not None:
            self._driver.later.append(partial(self._on_state, news))

    def _lost(self, reason: str) -> None:
        if self._conversation.over is None and not self._closed:
            self._tell(self._conversation.disconnected(time.monotonic(), reason, self._plan.connect_time))
        elif self._conversation.over is not None:
            self._tell(State("gave_up", reason=str(self._conversation.over)))

    def _give_up(self, reason: str, error: RemoteShellError | None = None) -> None:
        self._conversation.end(reason, error=error)
        self._tell(State("gave_up", reason=reason))

    def _recover(self, deadline: float | None) -> None:
        """The pump has no link: one attempt at a new one, or a nap until it is time."""
        driver, conversation = self._driver, self._conversation
        if driver.later:
            driver.unlocked(driver.do_later)
        retry, now = conversation.retry, time.monotonic()
        if retry is None:
            if conversation.over is None:
                self._give_up("it was closed here")
            return
        if now < retry.due:
            driver.nap(retry.due if deadline is None else min(retry.due, deadline))
            return
        limit = retry.limit(now, self._plan.connect_time)
        if deadline is not None:
            least = _LAST_LOOK_BY_SSH if self._plan.target.kind == "ssh" else _LAST_LOOK
            limit = min(limit, max(deadline, now + least))
        session = conversation.session
        attempt = partial(log_in, self._login, limit, conversation.resumable, session.received)
        try:
            link, login = driver.unlocked(attempt)
        except ConnectError as error:
            self._attempt_failed(retry, error)
        except RemoteShellError as error:  # refused, or not the server that was meant: waiting mends neither
            self._give_up(str(error), error)
        else:
            if self._closed:
                link.close()
                return
            self._tell(conversation.welcomed(login, time.monotonic()))
            driver.attach(link, conversation.session)
            if driver.later:
                driver.unlocked(driver.do_later)  # tell of the return now, not when the call ends

    def _attempt_failed(self, retry: Retry, error: ConnectError) -> None:
        news = retry.failed(time.monotonic(), str(error))
        if news is not None:
            self._tell(news)
        else:
            why = retry.summary(time.monotonic(), str(error))
            self._give_up(why, None if self._conversation.in_flight else error)

    def _damaged(self) -> None:
        """A signal handler's exception cut through the core: end the session here, and tell the server over a new connection."""
        driver, conversation = self._driver, self._conversation
        link = driver.detach()
        if link is not None:
            link.close()
        session, received = conversation.resumable, conversation.session.received
        self._give_up("a signal handler raised an exception in the middle of a step")

        def say_bye() -> None:
            try:
                link, _ = log_in(self._login, time.monotonic() + self._limits.bye_time, session, received)
            except RemoteShellError:
                return  # the grace will end it
            try:
                link.send([encode(CONTROL, 0, Disconnect(code="bye").encode())])
                link.flush()
                see_out(link, time.monotonic() + self._limits.bye_time)
            finally:
                link.close()

        if session is not None:
            driver.unlocked(say_bye)
