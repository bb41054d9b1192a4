"""request=exec: one command, its streams and its end. At most once per id."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from remote_shell.errors import CommandError, RemoteProtocolError
from remote_shell.process.base import Exit as ProcessExit
from remote_shell.process.pipes import PipeProcess
from remote_shell.process.pty import PtyProcess, Size
from remote_shell.server.claims import Claim
from remote_shell.server.context import Context
from remote_shell.server.recording import OVER, Recorder
from remote_shell.server.requests.base import (
    Inert,
    Request,
    ServerChannel,
    SessionChannel,
    errno_of,
    other_term,
    reason,
)
from remote_shell.server.requests.deferred import Deferred
from remote_shell.server.requests.detach import start_detached
from remote_shell.server.subsystems import argv_of
from remote_shell.wire.frames import STDERR, STDOUT
from remote_shell.wire.messages import Eof, Exit, Message, Open, Opened, Resize, Signal, from_system, to_system


def start_exec(context: Context, channel: SessionChannel, message: Open) -> Request | None:
    """Start the command, or say why not."""
    if message.detach:
        return start_detached(context, channel, message)
    if message.once and context.jobs.find(channel.principal, message.id) is not None:
        channel.reject("id_conflict", "a job has this id")
        return None
    if (not message.argv or message.line is not None or message.subsystem is not None) and not _is_one(message):
        channel.reject("bad_request", "exec takes argv, line or subsystem, one of them; only on a terminal none")
        return None
    verdict, claim = context.claims.claim(channel.principal, message, context.loop.time())
    if verdict == "asking":
        return Deferred(
            context,
            channel,
            claim,
            go=lambda: _start(context, channel, message, claim.verdict, claim),
            drop=lambda: context.claims.release(claim),
        )
    if verdict == "wait":
        return Deferred(context, channel, claim, go=lambda: start_exec(context, channel, message), drop=lambda: None)
    return _start(context, channel, message, verdict, claim)


def _is_one(message: Open) -> bool:
    """What it asks for is one thing; on a terminal it may be nothing, a login shell."""
    asked = (message.argv is not None) + (message.line is not None) + (message.subsystem is not None)
    return asked == 1 and message.argv != [] if asked else message.terminal is not None


def _start(context: Context, channel: SessionChannel, message: Open, verdict: str, claim: Claim) -> Request | None:
    if verdict == "again":
        return TellAgain(channel, claim)
    if verdict != "new":
        channel.reject(verdict, claim.why or _REFUSALS.get(verdict, verdict))
        return None
    try:
        return Exec(context, channel, message, claim)
    except (CommandError, RemoteProtocolError) as error:
        context.claims.release(claim)
        channel.reject(error.code, reason(error), errno_of(error))
        return None


_REFUSALS = {
    "id_conflict": "another command ran under this id",
    "id_burnt": "this id was asked about before it came",
    "id_running": "the command of this id still runs, since an earlier life of the server, or under another server",
    "id_unknown": "the server ended while the command of this id was under way: it may have run, in part or to its end",
}


class TellAgain(Inert):
    """The id ran before: only its end is told, its output was not kept."""

    def __init__(self, channel: ServerChannel, claim: Claim) -> None:
        super().__init__(channel)
        channel.send(Opened(again=True))
        claim.when_ended(self._ended)

    def _ended(self, how: Exit) -> None:
        self._channel.send(how)
        self._channel.finish()


class Exec:
    """A running command; the sink of its process."""

    idle = False
    # what a quick command never sets is the class's
    _timed_out = False
    _timer: asyncio.TimerHandle | None = None
    _terminal: PtyProcess | None = None
    _recorder: Recorder | None = None
    _unsaid_timer: asyncio.TimerHandle | None = None
    _exited = False
    _told = False  # and that was said
    _unwanted = False  # killed: survivors are waited for no longer, output beyond a full queue is dropped
    _full = False  # the channel's queue

    def __init__(self, context: Context, channel: ServerChannel, message: Open, claim: Claim) -> None:
        """Raises CommandError or RemoteProtocolError: nothing was started."""
        self._context = context
        self._channel = channel
        self._claim = claim
        self._loop = context.loop
        self._written = {STDOUT: 0, STDERR: 0}  # bytes, until its end
        self._streams = {STDOUT} if message.merge_stderr else {STDOUT, STDERR}  # that have not ended
        self._unsaid: list[int] = []  # streams whose end is to be told
        cwd, env = context.directory(message), context.environment(message)
        # Both before the start: on a busy machine the command may have ended by the time that we go on.
        self._started_at, at = context.loop.time(), time.time_ns()
        context.places.take(channel.principal)
        try:
            self._process = self._start(context, message, cwd, env)
        except BaseException:
            context.places.leave(channel.principal)
            raise
        more = {} if message.terminal is None else {"term": other_term(message, env)}
        channel.send(
            Opened.of(
                pid=self._process.pid,
                cwd=to_system(os.path.normpath(cwd)),
                started_at_ms=at // 1_000_000,
                **more,
            )
        )
        context.claims.started(claim, self._process.pid)
        if self._recorder is not None and context.recordings.notice:
            self.on_output(STDOUT, context.recordings.notice)
            self._written[STDOUT] = 0  # that was ours
        if message.timeout_ms is not None:
            self._timer = context.loop.call_later(message.timeout_ms / 1000, self._time_out)

    def _start(self, context: Context, message: Open, cwd: bytes, env: Mapping[bytes, bytes]) -> PipeProcess:
        if message.argv is not None:
            argv = [from_system(word) for word in message.argv]
        elif message.line is not None:
            argv = [context.shell, b"-c", from_system(message.line)]
        elif message.subsystem is not None:
            argv = argv_of(message.subsystem, context.config.subsystems)
        else:
            argv = [context.shell, b"-l"]
        terminal = message.terminal is not None
        if context.audit.on:
            context.audit.starts(self._channel.who, message.id, "exec", terminal=terminal, cwd=cwd, argv=argv)
        token = context.next_token() if message.env is None else None
        confined, env = context.confinement.confine(cwd, env)
        if message.terminal is None:
            return PipeProcess.start(
                argv,
                cwd=cwd,
                env=env,
                command_id=token,
                sink=self,
                loop=context.loop,
                limits=context.limits,
                stdin=message.stdin,
                confined=confined,
                merge_stderr=message.merge_stderr,
            )
        self._streams = {STDOUT}
        size = Size(message.terminal.rows, message.terminal.columns)
        term = env.get(b"TERM", b"")
        self._recorder = context.recordings.begin(message.id, self._channel.who, size, term, self._end_unrecorded)
        try:
            self._terminal = PtyProcess.start_on_terminal(
                argv,
                cwd=cwd,
                env=env,
                command_id=token,
                sink=self,
                loop=context.loop,
                limits=context.limits,
                size=size,
                confined=confined,
            )
        except BaseException:
            if self._recorder is not None:
                self._recorder.discard()
            raise
        if message.stdin == "null":
            self._terminal.close_stdin()
        return self._terminal

    # --- from the session

    def data(self, data: bytes) -> None:
        """Bytes for stdin."""
        self._process.write_stdin(data)

    def input_end(self) -> None:
        """No more stdin."""
        self._process.close_stdin()

    def message(self, message: Message) -> None:
        """Signals, and the size of its terminal if it has one."""
        if isinstance(message, Resize):
            if self._terminal is not None:
                size = Size(message.rows, message.columns)
                self._terminal.resize(size)
                if self._recorder is not None:
                    self._recorder.resize(size)
        elif isinstance(message, Signal) and not self._exited:
            try:
                self._process.signal(message.signal)
            except CommandError as error:
                raise RemoteProtocolError("bad_message", str(error)) from None

    def writable(self) -> None:
        """Read on."""
        self._full = False
        self._process.resume_output()

    def keep(self) -> bool:
        """It ends with its session."""
        return False

    def kill(self, grace: float) -> None:
        """Nobody wants it any more."""
        self._unwanted = True
        self._process.kill(grace)
        self._process.resume_output()  # an end is told after the output, and who should read it may be gone
        if self._told:
            self._end()  # those that held its pipes are ended, but nobody waits for them

    def _end_unrecorded(self) -> None:
        self._loop.call_soon(self._kill_unrecorded)  # not while its output is being passed on

    def _kill_unrecorded(self) -> None:
        if not self._exited:
            self.on_output(STDOUT, OVER)
            self.kill(0)

    # --- from the process

    def on_output(self, stream: int, data: bytes) -> None:
        """The command, or who inherited its pipes, wrote."""
        self._written[stream] += len(data)
        if self._recorder is not None:
            self._recorder.output(data)
        if self._full and self._unwanted:
            return
        self._full = not self._channel.send_data(stream, data)
        if self._full and not self._unwanted:
            self._process.pause_output()

    def on_output_end(self, stream: int) -> None:
        """Nobody holds the pipe any more."""
        self._streams.discard(stream)
        if self._told and not self._streams:
            self._end()  # `close` ends the streams too
            return
        if not self._unsaid and (
            self._full or not self._process.ending
        ):  # `close` mostly says it all within microseconds
            self._unsaid_timer = self._loop.call_later(self._context.limits.end_hold, self._say_ends)
        self._unsaid.append(stream)

    def on_exit(self, exit: ProcessExit) -> None:
        """The command itself ended, and all that it wrote was passed on."""
        self._exited = True
        if self._timer is not None:
            self._timer.cancel()
        end: dict[str, Any] = {"status": exit.status} if exit.signal is None else {"signal": exit.signal}
        if self._timed_out:
            end["timed_out"] = True
        seconds = self._loop.time() - self._started_at
        how = Exit.of(**end, duration_us=int(seconds * 1_000_000))
        try:
            self._context.claims.ended(self._claim, how, self._loop.time(), partial(self._tell, how))
        finally:  # and the audit last: somebody waits for the rest
            self._context.places.leave(self._channel.principal)
        stdout, stderr = self._written[STDOUT], self._written[STDERR]
        self._context.audit.ended(
            self._channel.who,
            self._claim.key[1],
            "exec",
            pid=self._process.pid,
            status=how.status,
            signal=how.signal,
            timed_out=self._timed_out,
            seconds=seconds,
            written=(stdout, None if self._terminal is not None else stderr),
        )

    def _tell(self, how: Exit) -> None:
        """Its end is known for good."""
        self._told = True
        if not self._streams or self._unwanted or self._terminal is not None:
            self._end(how)  # a terminal is hung up when its session's leader is gone
            return
        self._channel.send(how)
        if self._timed_out:  # its tree is being killed; who got away must not keep the channel open
            self._timer = self._loop.call_later(self._context.limits.kill_grace, self._end)

    def on_stdin(self, count: int) -> None:
        """The command took so much of its stdin."""
        self._channel.consumed(count)

    def _say_ends(self) -> None:
        unsaid, self._unsaid = self._unsaid, []
        for stream in unsaid:
            self._channel.send(Eof(stream=stream))

    def _end(self, last: Exit | None = None) -> None:
        for timer in (self._timer, self._unsaid_timer):
            if timer is not None:
                timer.cancel()
        if self._recorder is not None:
            self._recorder.close()
        try:
            self._channel.finish(last)
        finally:  # behind the word for which somebody waits
            self._process.close()

    def _time_out(self) -> None:
        self._timed_out = True
        self._process.kill(self._context.limits.kill_grace)
