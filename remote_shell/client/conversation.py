"""The conversation: everything between the session and the commands in flight that both fronts decide alike.

It knows no socket and never waits. A front tells it of logins, events and losses, under its lock; it tells the commands'
states, and when the session was replaced it asks the server what became of each command. Nothing is ever run again.
Neighbours: `process` holds the states, `retry` the times, `login` the handshake.
"""

from __future__ import annotations

import os
from typing import Literal

from remote_shell.client import faults
from remote_shell.client.login import LoggedIn
from remote_shell.client.process import Mode, Noted, ProcessState
from remote_shell.client.retry import Retry, State
from remote_shell.errors import ConnectionLostError, LocalProtocolError, OutputTooLargeError, RemoteShellError
from remote_shell.limits import Limits
from remote_shell.wire.channel import Role
from remote_shell.wire.events import (
    ChannelClosed,
    DataReceived,
    Disconnected,
    EndReceived,
    Event,
    Failed,
    MessageReceived,
    Silent,
    Writable,
)
from remote_shell.wire.file_messages import FILE_MESSAGES
from remote_shell.wire.frames import STDIN
from remote_shell.wire.messages import (
    CLOSE,
    Accepted,
    Attached,
    Detach,
    Detached,
    Done,
    Eof,
    Exit,
    Gap,
    Hello,
    Job,
    Jobs,
    Message,
    Open,
    Opened,
    Rejected,
    Report,
    Resize,
    Shells,
    Signal,
    Unread,
    Welcome,
    from_system,
)
from remote_shell.wire.messages import Mode as TerminalMode
from remote_shell.wire.session import Session

_NOTED = (Job, Jobs, Gap, Exit, Detached, Accepted, *FILE_MESSAGES)


class Conversation:
    """One host's session, its commands, and its present connection's fate."""

    def __init__(self, name: str, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        self.session = Session(Role.CLIENT, limits)
        self.states: dict[int, ProcessState] = {}
        self.welcome: Welcome | None = None
        self.server: Hello | None = None
        self.retry: Retry | None = None  # the connection is lost
        self.keeps = False  # live shells on terminals outlive the session
        self.over: RemoteShellError | None = None  # why the session ended for good; the next call may begin a new one
        self.reconnects = 0  # how often the session went on over a new connection
        self._asking: dict[int, tuple[ProcessState, str]] = {}  # query's channel -> the command, and why it was lost
        self._prefix = os.urandom(8).hex()
        self._id_begin = f"{self._prefix}."
        self._count = 0
        self._progress_before = 0  # when the present connection began
        self._welcomed_at = 0.0  # and when that was
        self._useless = 0  # connections in a row that moved nothing and were soon gone: the next attempt waits longer

    def new_id(self) -> str:
        """An id for a command, never used before. It names the life of the server that knows it: another one then says so."""
        self._count += 1
        return f"{self._id_begin}{self._count}"

    # --- connections

    def welcomed(self, login: LoggedIn, now: float) -> State:
        """A login holds: go on over it. The front then drains and flushes."""
        handshake, welcome = login
        assert handshake.peer is not None, "a welcome follows a hello"
        before, retry = self.welcome, self.retry
        orphans: list[ProcessState] = []
        if not welcome.resumed:
            if before is not None:
                orphans = self._begin_anew()
            self.session.attach(handshake.decoder, handshake.peer, 0, now)
        else:
            self.session.attach(handshake.decoder, handshake.peer, welcome.received, now)
            self.reconnects += 1
        self.welcome, self.server, self.retry, self.over = welcome, handshake.peer, None, None
        life = self.server.instance
        self._id_begin = f"{life}.{self._prefix}." if life and len(life) < 20 else f"{self._prefix}."
        self._progress_before, self._welcomed_at = self._progress(), now
        for state in orphans:
            self._ask_about(state, "the server no longer has its session")
        after = now - retry.lost_at if retry is not None else 0.0
        return State("resumed" if welcome.resumed else "connected" if before is None else "new_session", after)

    def disconnected(self, now: float, reason: str, patience: float) -> State:
        """The connection is gone. `patience` bounds the attempts when nothing is in flight."""
        self.session.detach()
        # one that lay idle for long was no failure: whoever sits at a prompt has it back as soon as anybody
        useful = self._progress() > self._progress_before or now - self._welcomed_at > self.limits.backoff_max
        self._useless = 0 if useful else self._useless + 1
        grace = patience
        if self.welcome is not None and self.in_flight:
            grace = self.limits.terminals_left_time if self.keeps else self.welcome.grace_ms / 1000
        self.retry = Retry(self.limits, now, grace, reason, self._useless - 1 if self._useless > 1 else 0)
        return State("lost", 0.0, 0.0, grace, reason)

    def _progress(self) -> int:
        """Frames of the session that surely crossed the wire, both ways."""
        session = self.session
        return session.received + session.sent_frames - session.unacknowledged[0]

    @property
    def in_flight(self) -> bool:
        """A command's end is not known yet."""
        return bool(self.states)

    @property
    def resumable(self) -> str | None:
        """The session to ask for at the next login."""
        return self.welcome.session if self.welcome is not None and self.session.generation else None

    def end(
        self, why: str, state: Literal["unknown", "running"] = "unknown", error: RemoteShellError | None = None
    ) -> None:
        """The session is over: whoever waits is told. `error` is what a later call gets if it can't begin a new one."""
        for process in self._begin_anew():
            self._lose(process, why, state)
        self.over = error if error is not None else faults.lost(self.name, why, state, None)
        self.retry = None

    def try_again(self, now: float) -> None:
        """A call after the end: one attempt at a new session."""
        self.over = None
        self.retry = Retry(self.limits, now, 0.0, "")

    def _begin_anew(self) -> list[ProcessState]:
        """Drop the session with its replay buffer; returns the commands that were in flight."""
        orphans = [state for state in self.states.values() if not state.ended]
        for state in self.states.values():
            if state.ended:  # its end is known; what output is missing is lost with the session
                self._lose(state, "its session is gone", "finished", state.exit)
        orphans += [state for state, _ in self._asking.values()]  # the answer was lost too: it is asked for again
        self.session.detach()
        self.session = Session(Role.CLIENT, self.limits)
        self.states.clear()
        self._asking.clear()
        return [state for state in orphans if not state.closed]

    def _ask_about(self, state: ProcessState, why: str) -> None:
        """What became of a command of the session before. Another life of the server knows it if its id was kept on disk."""
        if state.report is None and state.instance is not None and self.server is not None:
            same_life = self.server.instance == state.instance
            if not same_life:
                why = "the server was started anew"
            if same_life or state.kept:
                message = Open.of(request="query", id=state.command_id, window=self.limits.window)
                try:
                    self._asking[self.session.open_channel(message)] = (state, why)
                    return
                except LocalProtocolError:
                    pass  # more commands than channels: unknown is the honest answer
        self._lose(state, why, "unknown")

    def _lose(self, state: ProcessState, why: str, known: str, end: Exit | Report | None = None) -> None:
        """Its session is gone, and this is what is known of it."""
        state.lose(faults.lost(self.name, why, known, state.command_id, kept=state.kept, end=end))
        self._tell(state)

    def out_of_contact(self, state: ProcessState, timeout: float) -> ConnectionLostError:
        """The exception for a command whose time was over while there was no connection: it may have ended before."""
        known = "finished" if state.exit is not None else "unknown"
        why = f"it was not back when the command's {timeout:g} s were over; if it still runs, the server ends it"
        return faults.lost(self.name, why, known, state.command_id, kept=state.kept, end=state.exit)

    # --- commands

    def start(self, state: ProcessState, message: Open) -> None:
        """Open a channel. Raises LocalProtocolError, CommandRefusedError's cause, when the session has no room."""
        state.channel = self.session.open_channel(message)
        known = self.server is not None and message.request not in (
            "put",
            "get",
        )  # nobody need ask what became of those
        state.instance = self.server.instance if known and self.server is not None else None
        if message.request == "exec":
            state.kept = message.once
        if message.stdin == "pipe" or message.request in ("shell", "attach", "put"):
            state.stdin_open = True
        self.states[state.channel] = state

    def write(self, state: ProcessState, data: bytes | memoryview) -> bool:
        """Queue stdin. False: wait until `state.writable`."""
        if not state.leaving:
            state.writable = self.session.send_data(state.channel, STDIN, data)
        return state.writable

    def say(self, state: ProcessState, message: Message) -> bool:
        """Queue a message about files; nothing happens after the end. False: as of `write`."""
        if not state.closed:
            state.writable = self.session.send_message(state.channel, message)
        return state.writable

    def end_stdin(self, state: ProcessState) -> None:
        """No more stdin."""
        if state.stdin_open:
            state.stdin_open = False
            if not state.closed and not state.leaving:
                self.session.send_message(state.channel, Eof(stream=STDIN))

    def signal(self, state: ProcessState, name: str, command: int | None = None) -> None:
        """Send a signal by name; nothing happens after the end."""
        if not state.ended and not state.leaving:
            self.session.send_message(state.channel, Signal(signal=name, command=command))

    def resize(self, state: ProcessState, rows: int, columns: int) -> None:
        """Its terminal has another size; nothing happens after the end."""
        if not state.ended and not state.leaving:
            self.session.send_message(state.channel, Resize(rows=rows, columns=columns))

    def detach(self, state: ProcessState) -> None:
        """Leave a shell to itself; `detached` comes. Keys for a program that does not read would stand before it for ever."""
        if not state.ended and not state.leaving:
            state.leaving = True
            self.session.drop_unsent(state.channel)
            self.session.send_message(state.channel, Detach())

    def close(self, state: ProcessState) -> None:
        """We are done with the command: if it runs, the server ends its tree."""
        if self.states.pop(state.channel, None) is not None:
            self.session.send_message(state.channel, CLOSE)
        state.closed = True

    def fail(self, state: ProcessState, error: OSError) -> None:
        """Its input can't be read on: the server ends its tree, and whoever waits for it raises `error`."""
        if not state.ended:
            self.close(state)
            state.lose(error)
            self._tell(state)

    def forget(self, state: ProcessState) -> None:
        """Its end is known and nobody reads what survivors still write: they are left alone, their output is dropped."""
        self.states.pop(state.channel, None)
        for output in state.outputs:
            if output.mode is Mode.HOLD:
                self.session.consumed(state.channel, sum(map(len, output.chunks)))
        state.closed = True

    def take(self, state: ProcessState, stream: int, size: int = -1) -> list[bytes | memoryview]:
        """Chunks of a stream, all or about `size` bytes, and the credit for them given back."""
        output = state.outputs[stream]
        chunks = output.chunks
        if size < 0:
            taken = list(chunks)
            chunks.clear()
        else:
            taken = []
            while chunks and size > 0:
                chunk = chunks.popleft()
                if len(chunk) > size:
                    view = memoryview(chunk)
                    chunks.appendleft(view[size:])
                    chunk = view[:size]
                taken.append(chunk)
                size -= len(chunk)
        if taken and output.mode is Mode.HOLD:
            self.session.consumed(state.channel, sum(map(len, taken)))
        return taken

    def take_noted(self, state: ProcessState) -> list[Noted]:
        """What came on a channel that is about a job, and the credit for its data given back."""
        noted, state.noted = state.noted or [], []
        size = sum(len(one[1]) for one in noted if isinstance(one, tuple))
        if size and not state.closed:
            self.session.consumed(state.channel, size)
        return noted

    def set_mode(self, state: ProcessState, stream: int, mode: Mode) -> None:
        """From now on treat a stream so. From HOLD, what lies there is credited now."""
        output = state.outputs[stream]
        if output.mode is Mode.HOLD and mode is not Mode.HOLD:
            self.session.consumed(state.channel, sum(map(len, output.chunks)))
        output.mode = mode
        if mode is Mode.DROP:
            output.chunks.clear()

    # --- events

    def on_event(self, event: Event) -> str | None:
        """One event of the core. Returns why this connection is of no more use, or None. May end the session (`over`).

        An empty string: all that a command's caller waits for is here, and the core's next event, the last one, tells nobody anything. That
        can wait.
        """
        kind = type(event)
        if kind is MessageReceived:
            return self._message(event)  # type: ignore[arg-type]  # isinstance costs twice as much here
        if kind is DataReceived:
            self._data(event)  # type: ignore[arg-type]
        elif kind is ChannelClosed:
            self._closed(event.channel)  # type: ignore[union-attr]
        elif isinstance(event, EndReceived):
            state = self.states.get(event.channel)
            if state is not None:
                state.outputs[event.stream].ended = True
                self._tell(state)
        elif isinstance(event, Writable):
            state = self.states.get(event.channel)
            if state is not None:
                state.writable = True
                self._tell(state)
        elif isinstance(event, Silent):
            return f"no sign of life for {self.limits.silence_max:g} s"
        elif isinstance(event, Failed):
            why = f"the server broke the protocol: {event.error}"
            if event.ends_session:
                self.end(why)
            return why
        elif isinstance(event, Disconnected):
            why = self._why_disconnected(event)
            self.end(why, "running" if event.code == "replaced" else "unknown")
            return why
        return None

    def _data(self, event: DataReceived) -> None:
        state = self.states.get(event.channel)
        if state is None:
            self.session.consumed(event.channel, len(event.data))
            return
        output = state.outputs[event.stream]
        if state.noted is not None:
            state.noted.append((event.stream, event.data))
        elif output.mode is Mode.HOLD:
            output.chunks.append(event.data)
        else:
            self.session.consumed(event.channel, len(event.data))
            if output.mode is Mode.KEEP:
                output.chunks.append(event.data)
                output.kept += len(event.data)
                if output.most is not None and output.kept > output.most:
                    self.close(state)
                    state.lose(OutputTooLargeError(f"the command wrote more than {output.most} bytes: it was ended"))
            elif output.broken:
                output.broken = False
                self.signal(state, "SIGPIPE")  # as a local command is told that its reader closed the pipe
        if state.changed is not None:
            state.changed()

    def _message(self, event: MessageReceived) -> str | None:
        channel, message = event
        if channel in self._asking:
            state, why = self._asking.pop(channel)
            report = message if isinstance(message, Report) else None
            self._lose(state, why, report.state if report is not None else "unknown", report)
            return None
        found = self.states.get(channel)
        if found is None:
            return None
        if found.noted is not None and isinstance(message, _NOTED):
            if not self._has_room(found, message):
                return self._too_much()
            found.noted.append(message)
        elif type(message) is Opened:
            found.opened = message
        elif type(message) is Exit:
            found.exit = message
            if found.kept is not None and self.session.closes_next(channel):  # as nearly always, of a command
                self._closed(channel)
                return ""
        elif isinstance(message, Done):
            if not self._has_room(found, message):
                return self._too_much()
            found.done.append(message)
        elif isinstance(message, Rejected):
            found.rejected = message
        elif isinstance(message, Report):
            found.report = message
        elif isinstance(message, TerminalMode):
            found.mode = message
        elif isinstance(message, Unread):
            if not self._has_room(found, message):
                return self._too_much()
            found.unread.append(from_system(message.text))
        elif isinstance(message, Attached):
            found.attached = message
        elif isinstance(message, Shells):
            found.shells = message
        elif isinstance(message, Detached):
            found.lose(faults.detached(self.name, message.by))
        if found.changed is not None:
            found.changed()
        return None

    def _has_room(self, state: ProcessState, message: Message) -> bool:
        """For one more message that is kept until somebody takes it. One alone always has, and is not weighed: most are."""
        if not (state.noted or state.done or state.unread):
            state.untaken = 0
            return True
        state.untaken += message.weight
        return state.untaken <= self.limits.untaken_max

    def _too_much(self) -> str:
        why = "the server broke the protocol: it says more than anybody asked for"
        self.end(why)
        return why

    def _closed(self, channel: int) -> None:
        asked = self._asking.pop(channel, None)
        state = self.states.pop(channel, None)
        if asked is not None:
            self._lose(*asked, "unknown")
        if state is not None:
            state.closed = True
            for output in state.outputs:
                output.ended = True
            self._tell(state)

    def _tell(self, state: ProcessState) -> None:
        if state.changed is not None:
            state.changed()

    def _why_disconnected(self, event: Disconnected) -> str:
        if event.code == "replaced":
            return "its session was taken over from elsewhere"
        if event.code == "shutting_down":
            return "the server shuts down"
        if event.code == "revoked" and event.detail:
            return f"the server ended it: {event.detail}"
        return f"the server ended it: {event.code}" + (f", {event.detail}" if event.detail else "")
