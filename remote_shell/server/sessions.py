"""Sessions: what survives connections. A session belongs to a principal; its commands live as long as it does.

A lost link (FIN, RST, silence) starts the grace; a resume within it goes on where both sides were; its end, or `bye`, ends every command.
Expiry and resume are decided here in one step each, never half. Neighbours: `requests` run the commands, `aio.driver` moves the
bytes, `arrival` brings those who logged in.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from functools import partial

from remote_shell.aio.driver import Driver
from remote_shell.audit.events import Login, Logout, Refused, Resume, Who
from remote_shell.errors import LocalProtocolError, RemoteProtocolError
from remote_shell.identity.restrictions import Restrictions
from remote_shell.link import Link
from remote_shell.server.audit import milliseconds
from remote_shell.server.context import Context
from remote_shell.server.requests.attach import start_attach, start_shells
from remote_shell.server.requests.base import Request, SessionChannel
from remote_shell.server.requests.exec import start_exec
from remote_shell.server.requests.get import start_get
from remote_shell.server.requests.jobs import (
    start_job_logs,
    start_job_remove,
    start_job_signal,
    start_job_wait,
    start_jobs,
)
from remote_shell.server.requests.listen import start_listen
from remote_shell.server.requests.put import start_put
from remote_shell.server.requests.query import start_query
from remote_shell.server.requests.shell import start_shell
from remote_shell.server.requests.tunnel import start_accept, start_connect
from remote_shell.server.rights import NotPermittedError, permitted
from remote_shell.wire.channel import Role
from remote_shell.wire.events import (
    ChannelClosed,
    ChannelOpened,
    DataReceived,
    Disconnected,
    EndReceived,
    Event,
    Failed,
    MessageReceived,
    Writable,
)
from remote_shell.wire.frames import FrameDecoder
from remote_shell.wire.messages import CLOSE, Hello, Message, Open, Rejected
from remote_shell.wire.session import Session

log = logging.getLogger("remote_shell.server")

REQUESTS: dict[str, Callable[[Context, SessionChannel, Open], Request | None]] = {
    "exec": start_exec,
    "shell": start_shell,
    "query": start_query,
    "attach": start_attach,
    "shells": start_shells,
    "jobs": start_jobs,
    "job_logs": start_job_logs,
    "job_wait": start_job_wait,
    "job_signal": start_job_signal,
    "job_remove": start_job_remove,
    "connect": start_connect,
    "listen": start_listen,
    "accept": start_accept,
    "put": start_put,
    "get": start_get,
}
_NOT_ALLOWED = ("not_permitted", "forwarding_denied")
_COMMANDS = ("exec", "shell", "attach")  # what max-commands counts; a shell that nobody has is counted where it is


class Channel:
    """The session's side of one channel, for a request."""

    __slots__ = ("_asked", "_ident", "_session", "principal")

    def __init__(self, session: ServerSession, ident: int, asked: Open) -> None:
        self._session = session
        self._ident = ident
        self._asked = (asked.request, asked.id)  # the rest may be large
        self.principal = session.principal

    @property
    def peer(self) -> str:
        """Where its session's client is, or was last: it may have come back from elsewhere."""
        return self._session.peer

    @property
    def who(self) -> Who:
        """Whose doing this is, for the audit."""
        return self._session.who

    def send(self, message: Message) -> bool:
        """Queue a message. False, of a put or get: pause."""
        if type(message) is Rejected:
            self._session.tell_refusal(*self._asked, message)
        room = self._session.core.send_message(self._ident, message)
        self._session.wake()
        self._session.bound_unsaid()
        return room

    def send_now(self, message: Message) -> None:
        """Send a message: somebody waits for it."""
        self._session.core.send_message(self._ident, message)
        self._session.flush()
        self._session.bound_unsaid()

    def send_data(self, stream: int, data: bytes) -> bool:
        """Queue output. False: pause."""
        self._session.used()
        room = self._session.core.send_data(self._ident, stream, data)
        self._session.wake()
        return room

    def consumed(self, count: int) -> None:
        """The command took so much of its stdin."""
        self._session.core.consumed(self._ident, count)
        self._session.wake()

    def when_closed(self, tell: Callable[[bool], None]) -> None:
        """Call once, when the client has closed it too or never will."""
        self._session.when_closed(self._ident, tell)

    def unseen(self) -> int:
        """Bytes of output that the client may not have."""
        return self._session.core.unseen(self._ident)

    def drop_unsent(self) -> None:
        """Forget the output that is queued."""
        self._session.core.drop_unsent(self._ident)

    @property
    def connected(self) -> bool:
        """Its session has a connection."""
        return self._session.lost_at is None

    @property
    def away(self) -> float:
        """Seconds since it has none."""
        return self._session.away

    def holds(self, request: Request) -> bool:
        """That of the same session."""
        return self._session.has(request)

    def count(self, kind: type) -> int:
        """Of the same session."""
        return self._session.count(kind)

    def perform(self, action: Callable[[], None]) -> None:
        """Do what was put off."""
        self._session.perform(self, action)

    def reject(self, code: str, detail: str, system: str | None = None) -> None:
        """Nothing was started."""
        self.send(Rejected.of(code=code, detail=detail[:1000], errno=system))
        self.finish()

    def finish(self, last: Message | None = None) -> None:
        """Everything was said, but for `last`."""
        if last is not None:
            self._session.core.send_message(self._ident, last)
        self._session.core.send_message(self._ident, CLOSE)
        self._session.forget(self._ident)
        self._session.flush()  # what somebody waits for: a turn of the loop earlier


class ServerSession:
    """One client's session."""

    def __init__(
        self,
        context: Context,
        principal: str,
        grace: float,
        restrictions: Restrictions,
        on_end: Callable[[ServerSession], None],
    ) -> None:
        self.ident = secrets.token_urlsafe(16)
        self.principal = principal
        self.grace = grace
        self.restrictions = restrictions  # those under which it began: with others it ends
        self.name = secrets.token_hex(6)  # for logs: whoever knows `ident` may ask for the session
        self.peer = ""  # where its client is, for people
        self.source = ""  # its address, or "unix"
        self.origin = ""  # the same with its transport, for the audit
        self._announced = False  # the audit has its beginning, and is to have its end
        self._began = context.loop.time()
        self.keeps = False  # on_lost: shells with a terminal outlive it
        self.lost_at: float | None = None  # the loop's time at which it lost its connection
        self.core = Session(Role.SERVER, context.limits, context.replay_pool)
        self.ended = False
        self._overfull = False  # and about to end
        self._context = context
        self._on_end = on_end
        self._requests: dict[int, Request] = {}
        self._unclosed: dict[
            int, Callable[[bool], None]
        ] = {}  # whom to tell that the client has heard all on a channel
        self._commands: set[int] = set()  # channels of requests that count as commands
        self._driver: Driver | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._idle_time = context.limits.session_idle_time
        self._used_at = context.loop.time()
        self._idle_timer: asyncio.TimerHandle | None = None
        if self._idle_time:
            self._idle_timer = context.loop.call_later(self._idle_time, self._look_idle)

    @property
    def who(self) -> Who:
        """Whose doing this is, for the audit."""
        return Who(self.name, self.principal, self.origin)

    def logged_in(self, method: str, software: str, *, resumed: bool) -> None:
        """Its client was welcomed: that is in the audit."""
        self._announced = True
        self._context.audit.write((Resume if resumed else Login)(method, software), self.who)

    def tell_refusal(self, request: str, ident: str, why: Rejected) -> None:
        """Have a refusal in the audit. Not its text: that may name what the client sent, its environment too.

        What a key may not do is in the log as well, with the reason.
        """
        if why.code in _NOT_ALLOWED:
            log.warning("%s: %s refused: %s", self.principal, request, why.detail)
        self._context.audit.write(Refused(request, ident, why.code, why.errno), self.who)

    @property
    def running(self) -> int:
        """Commands that did not end."""
        return len(self._requests)

    @property
    def busy(self) -> bool:
        """A command runs, or its client has not been told everything yet."""
        # not until it answers `close`: a blocking client between two calls says nothing
        unsaid = self._driver is not None and (self._driver.blocked or self.core.has_unsent)
        return unsaid or any(not request.idle for request in self._requests.values())

    def attach(self, link: Link, decoder: FrameDecoder, peer: Hello, received: int) -> None:
        """Go on over this connection. Raises RemoteProtocolError (`bad_count`)."""
        self.core.attach(decoder, peer, received, self._context.loop.time())
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        self.lost_at = None
        self._driver = Driver(self._context.loop, link, self.core, on_event=self._handle, on_lost=self._lost)
        self._driver.start()

    def let_go(self, code: str, detail: str = "") -> None:
        """Tell the present connection why it ends, and leave it. What it had not decoded is discarded."""
        driver, self._driver = self._driver, None
        if driver is not None:
            self.core.disconnect(code, detail)
            driver.pump()
            driver.stop()
        self.core.detach()

    def wait_for_client(self) -> None:
        """No connection carries this session any more: the grace begins. Decided here alone, and once for each connection."""
        self.core.detach()
        if self.ended or self._expiry is not None:
            return
        self.lost_at = self._context.loop.time()
        if self.grace <= 0:
            self.end(self._context.limits.bye_kill_time / 2, keep=self.keeps, reason="lost")
            return
        self._expiry = self._context.loop.call_later(self.grace, self._expire)

    @property
    def away(self) -> float:
        """Seconds since it has no connection."""
        return 0.0 if self.lost_at is None else self._context.loop.time() - self.lost_at

    def has(self, request: Request) -> bool:
        """It is this one's."""
        return any(request is mine for mine in self._requests.values())

    def count(self, kind: type) -> int:
        """How many requests of that class it has."""
        return sum(isinstance(request, kind) for request in self._requests.values())

    def end(self, grace: float, *, keep: bool = False, why: str = "", reason: str = "ended") -> None:
        """No one will come back: end every command within `grace` seconds, or keep what can be attached again.

        `why` is for the client, `reason` a word for the audit.
        """
        if self.ended:
            return
        self.ended = True
        for timer in (self._expiry, self._idle_timer):
            if timer is not None:
                timer.cancel()
        self.let_go("session_ended", why)
        for ident, request in list(self._requests.items()):
            if keep and request.keep():
                self.forget(ident)
            else:
                request.kill(grace)
        unclosed, self._unclosed = self._unclosed, {}
        for tell in unclosed.values():
            tell(not keep)
        if self._announced:
            duration = milliseconds(self._context.loop.time() - self._began)
            self._context.audit.write(Logout(reason, duration), self.who)
        self.core.forget()
        self._on_end(self)

    def revoke(self, why: str) -> None:
        """Who logged in may not any more, or something else: end it now, and tell the client why."""
        self.let_go("revoked", why)
        self.end(self._context.limits.bye_kill_time / 2, reason="revoked")

    def used(self) -> None:
        """Something that is no sign of life came or went."""
        if self._idle_time:
            self._used_at = self._context.loop.time()

    def _look_idle(self) -> None:
        """End it if nothing was asked of it for too long. One without a connection has its grace."""
        loop = self._context.loop
        due = self._used_at + self._idle_time
        if self._driver is None or any(not request.idle for request in self._requests.values()):
            due = loop.time() + self._idle_time  # from its end on
        if due > loop.time():
            self._idle_timer = loop.call_at(due, self._look_idle)
            return
        log.info("%s: idle for %g s", self.principal, self._idle_time)
        why = f"idle for {self._idle_time:g} s, and this server keeps idle sessions no longer"
        self.end(self._context.limits.kill_grace, keep=self.keeps, why=why, reason="idle")

    def kill_commands(self, grace: float) -> None:
        """End every command, but stay: their ends are still told."""
        for request in list(self._requests.values()):
            request.kill(grace)

    def wake(self) -> None:
        """Something was queued."""
        if self._driver is not None:
            self._driver.wake()

    def flush(self) -> None:
        """Something was queued that should not wait for the loop's next turn."""
        if self._driver is not None:
            self._driver.flush()

    def bound_unsaid(self) -> None:
        """Its client causes messages, and takes none: they would wait without end."""
        if self.core.unsaid > self._context.limits.unsaid_max and not self.ended and not self._overfull:
            self._overfull = True
            log.warning(
                "%s: more than %d bytes of messages wait for it", self.principal, self._context.limits.unsaid_max
            )
            why = "too many messages wait to be read by this client"
            end = partial(self.end, self._context.limits.kill_grace, keep=self.keeps, why=why, reason="error")
            self._context.loop.call_soon(end)

    def when_closed(self, ident: int, tell: Callable[[bool], None]) -> None:
        """Call once: with True when the client closes the channel, or nothing is to be kept; else with False, when this session ends."""
        self._unclosed[ident] = tell

    def forget(self, ident: int) -> None:
        """A request said everything."""
        self._requests.pop(ident, None)
        if ident in self._commands:
            self._commands.remove(ident)
            self._context.count_command(self.principal, -1)

    # --- events of the core

    def _handle(self, event: Event) -> None:
        try:
            if type(event) is MessageReceived:
                self.used()
                request = self._requests.get(event.channel)
                if request is not None:
                    request.message(event.message)
            elif type(event) is DataReceived:
                self.used()
                self._data(event)
            elif type(event) is ChannelOpened:
                self.used()
                self._open(event.channel, event.message)
            elif type(event) is Disconnected:
                self._disconnected(event)
            elif type(event) is Failed:
                log.warning("%s: protocol error %s", self.principal, event.error)
                if event.ends_session:
                    self._context.loop.call_soon(self._fail)
            else:
                self._tell(event)
        except Exception as error:
            self._broken(error)

    def perform(self, channel: Channel, action: Callable[[], None]) -> None:
        """Do what a request has put off, with the same care as an event."""
        try:
            action()
        except LocalProtocolError as error:
            channel.reject("bad_request", str(error))
        except Exception as error:
            self._broken(error)

    def _broken(self, error: Exception) -> None:
        if isinstance(error, RemoteProtocolError):  # what only a request could see to be wrong
            log.warning("%s: protocol error %s", self.principal, error)
            self.core.disconnect(error.code, error.detail)
        else:  # a fault of ours: whoever waits for the answer must not wait for ever
            log.error("%s: internal error", self.principal, exc_info=error)
            self.core.disconnect("internal_error", "the server's log has more")
        self.wake()
        self._context.loop.call_soon(self._fail)

    def _data(self, event: DataReceived) -> None:
        request = self._requests.get(event.channel)
        if request is not None:
            request.data(event.data)
        else:
            self.core.consumed(event.channel, len(event.data))

    def _tell(self, event: Event) -> None:
        if not isinstance(event, (ChannelClosed, EndReceived, Writable)):
            return
        if isinstance(event, ChannelClosed) and (tell := self._unclosed.pop(event.channel, None)) is not None:
            tell(True)
        request = self._requests.get(event.channel)
        if request is None:
            return
        if isinstance(event, EndReceived):
            request.input_end()
        elif isinstance(event, Writable):
            request.writable()
        else:
            request.kill(self._context.limits.kill_grace)  # the client closed: nobody wants it any more

    def _open(self, ident: int, message: Open) -> None:
        channel = Channel(self, ident, message)
        if self._context.draining:
            channel.reject("shutting_down", "the server is shutting down; start it again or use another")
            return
        refusal = self._context.outside_of_sandbox(message.request)
        if refusal is not None:
            channel.reject(*refusal)
            return
        try:
            message = permitted(self._context, self.principal, self.source, message)
            if self._context.audit.on:
                self._context.audit.asked(message.request, message.id, message.signal, message.force, self.who)
            request = REQUESTS[message.request](self._context, channel, message)
        except NotPermittedError as error:
            channel.reject(error.code, str(error))
            return
        except LocalProtocolError as error:
            channel.reject("bad_request", str(error))
            return
        if request is not None and ident in self.core.channels and not self.core.channels[ident].outgoing.closed:
            self._requests[ident] = request
            if message.request in _COMMANDS and not message.detach:
                self._commands.add(ident)
                self._context.count_command(self.principal, 1)

    def _disconnected(self, event: Disconnected) -> None:
        loop = self._context.loop
        if event.code == "bye":
            loop.call_soon(partial(self.end, self._context.limits.bye_kill_time / 2, reason="bye"))
        else:  # the core reads nothing more from this connection, and a client that stays on it must not keep it open
            loop.call_soon(self._hang_up, self._driver, f"the client said {event.code}")

    def _hang_up(self, driver: Driver | None, why: str) -> None:
        if driver is not None and driver is self._driver:
            driver.stop()
            self._lost(ConnectionAbortedError(why))

    def _lost(self, error: Exception | None) -> None:
        if self._driver is None:  # it was let go: who did that says what comes next
            return
        self._driver = None
        log.info("%s: link lost (%s), %d commands go on", self.principal, error or "end of stream", self.running)
        self.wait_for_client()

    def _fail(self) -> None:
        self.end(self._context.limits.kill_grace, keep=self.keeps, reason="error")

    def _expire(self) -> None:
        self._expiry = None
        log.info("%s: did not come back within %.0f s", self.principal, self.grace)
        self.end(self._context.limits.kill_grace, keep=self.keeps, reason="lost")


class Sessions:
    """All sessions of the server."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._sessions: dict[str, ServerSession] = {}
        self._per_principal: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def all(self) -> list[ServerSession]:
        """A copy of the list of sessions."""
        return list(self._sessions.values())

    def resume(self, ident: str, principal: str, restrictions: Restrictions) -> ServerSession | None:
        """That session, if it is this principal's and alive, free of its old connection. With other restrictions it ends instead."""
        session = self._sessions.get(ident)
        if session is None or session.ended or session.principal != principal:
            return None
        if session.restrictions != restrictions:
            log.warning("%s: what it may do has changed: session %s ends", principal, session.name)
            session.end(self._context.limits.bye_kill_time / 2, reason="revoked")
            return None
        session.let_go("replaced")
        return session

    def create(self, principal: str, grace: float | None, restrictions: Restrictions) -> ServerSession | None:
        """A new session, or None above the limits."""
        limits = self._context.limits
        count = self._per_principal.get(principal, 0)
        if len(self._sessions) >= limits.sessions_max or count >= limits.sessions_per_principal_max:
            return None
        grace = limits.grace if grace is None else min(grace, limits.grace_max)
        session = ServerSession(self._context, principal, grace, restrictions, self._forget)
        self._sessions[session.ident] = session
        self._per_principal[principal] = count + 1
        return session

    def _forget(self, session: ServerSession) -> None:
        if self._sessions.pop(session.ident, None) is not None:
            left = self._per_principal[session.principal] - 1
            if left:
                self._per_principal[session.principal] = left
            else:
                del self._per_principal[session.principal]
