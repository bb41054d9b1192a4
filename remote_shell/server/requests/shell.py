"""request=shell: a live shell, which keeps directory, variables and functions between commands.

On a terminal it is zsh where that is the account's shell. On pipes it is always bash: a program that sends lines relies on one language.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

from remote_shell.errors import (
    CommandError,
    CommandNotExecutableError,
    CommandNotFoundError,
    CommandRefusedError,
    RemoteProtocolError,
    ShellEndedError,
)
from remote_shell.process.base import Exit as ProcessExit
from remote_shell.process.bash_text import BASH
from remote_shell.process.launch import no_resources
from remote_shell.process.pty import Mode, Size
from remote_shell.process.shell import LiveShell
from remote_shell.process.shell_command import Done as ShellDone
from remote_shell.process.shell_terminal import BASH_PATH
from remote_shell.process.shell_words import ShellWords
from remote_shell.process.zsh_text import ZSH, is_zsh
from remote_shell.server.claims import Claim
from remote_shell.server.context import Context
from remote_shell.server.recording import OVER, Recorder
from remote_shell.server.requests.base import Request, ServerChannel, SessionChannel, errno_of, other_term, reason
from remote_shell.server.terminals import Held
from remote_shell.wire.frames import STDERR, STDOUT
from remote_shell.wire.messages import (
    Command,
    Done,
    Eof,
    Exit,
    InputEnd,
    Line,
    Message,
    Open,
    Opened,
    Resize,
    Signal,
    Unread,
    from_system,
    to_system,
)
from remote_shell.wire.messages import Mode as ModeMessage

log = logging.getLogger("remote_shell.server")

_UNREAD_PART = 8 * 1024  # bytes; in JSON up to six times as many, and a client takes 64 KiB
_STATES: dict[str, Literal["alive", "ended", "replaced"]] = {
    "shell_alive": "alive",
    "shell_ended": "ended",
    "shell_replaced": "replaced",
}


def start_shell(context: Context, channel: SessionChannel, message: Open) -> Request | None:
    """Start a live shell, or say why not."""
    if message.argv is not None or message.line is not None:
        channel.reject("bad_request", "a shell takes commands, not argv or line")
        return None
    if message.once:
        channel.reject("bad_request", "a shell's id is not kept on disk: once is for commands")
        return None
    verdict, claim = context.claims.claim(channel.principal, message, context.loop.time())
    if verdict != "new":
        channel.reject("id_burnt" if verdict == "id_burnt" else "id_conflict", "a shell's id is used once")
        return None
    try:
        if message.terminal is None:
            return Shell(context, channel, message, claim)
        held = Held(context.terminals, channel, message)
        held.restrictions = context.restrictions_of(channel.principal)
        return held.run(Shell(context, held, message, claim))
    except (CommandError, RemoteProtocolError) as error:
        context.claims.release(claim)
        channel.reject(error.code, reason(error), errno_of(error))
        return None


class Shell:
    """A running live shell; the sink of its process."""

    def __init__(self, context: Context, channel: ServerChannel, message: Open, claim: Claim) -> None:
        """Raises CommandError or RemoteProtocolError: nothing was started."""
        self._channel = channel
        self._claim = claim
        self._audit = context.audit
        self._ident = message.id
        self._written = {STDOUT: 0, STDERR: 0}  # bytes
        self._loop = context.loop
        self._exited = False
        self._timed_out = False
        self._timer: asyncio.TimerHandle | None = None
        self._limits = context.limits
        self._waiting: dict[int, int] = {}  # commands that did not end: number -> bytes of the line
        self._unwanted = False  # killed: survivors are waited for no longer, output beyond a full queue is dropped
        self._full = False  # the channel's queue
        self._number = 0  # of the last `command` that arrived
        self._done = 0  # of the last one that ended
        self._replaced = 0  # of the one that `exec` made another program, whose stdin and signals it still has
        self._input = 0  # whose input the data is
        self._early: dict[int, str] = {}  # signals that overtook their command; at most a handful
        self._mode = 0  # number of the terminal's mode
        self._raw = False
        self._echoes = False  # the client shows what is typed
        terminal = message.terminal
        self._on_terminal = terminal is not None
        self._streams = {STDOUT} if self._on_terminal else {STDOUT, STDERR}
        cwd, env = context.directory(message), context.environment(message)
        self._early_modes: list[Mode] | None = []  # told before `opened`
        self._started_at = context.loop.time()
        self._audit.starts(channel.who, message.id, "shell", terminal=self._on_terminal, cwd=cwd)
        self._folder, more = _pipes_folder(context) if terminal is None else ("", ())
        confined, env_behind = context.confinement.confine(cwd, env, more)
        begin = partial(
            LiveShell.start,
            cwd=cwd,
            env=env_behind,
            confined=confined,
            sandboxed=None if context.confinement.sandbox is None else self._folder,
            command_id=context.next_token() if message.env is None else None,
            sink=self,
            loop=context.loop,
            limits=context.limits,
            size=None if terminal is None else Size(terminal.rows, terminal.columns),
            startup_files=context.config.startup_files and terminal is not None,
        )
        self._recorder: Recorder | None = None
        if terminal is not None:
            size = Size(terminal.rows, terminal.columns)
            term = env.get(b"TERM", b"")
            self._recorder = context.recordings.begin(message.id, channel.who, size, term, self._end_unrecorded)
        zsh = context.shell if self._on_terminal and is_zsh(context.shell) else None
        note = ""
        if zsh is not None and context.confinement.sandbox is not None:
            zsh, note = None, "is bash, not zsh: the server runs it in a sandbox"
        self._places = context.places
        try:
            self._places.take(channel.principal)
            try:
                self._shell, words, fault = _zsh_or_bash(begin, zsh)
            except BaseException:
                self._places.leave(channel.principal)
                raise
        except BaseException:
            self._remove_folder()
            if self._recorder is not None:
                self._recorder.discard()
            raise
        note = note or fault
        channel.send(
            Opened(
                pid=self._shell.pid,
                cwd=to_system(os.path.normpath(cwd)),
                started_at_ms=time.time_ns() // 1_000_000,
                term=other_term(message, env),
                shell=words.name,
            )
        )
        if message.timeout_ms is not None:
            self._timer = context.loop.call_later(message.timeout_ms / 1000, self._time_out)
        early, self._early_modes = self._early_modes, None
        for mode in early or ():
            self.on_mode(mode)
        if self._recorder is not None and context.recordings.notice:
            self.on_output(STDOUT, context.recordings.notice)
            self._written[STDOUT] = 0  # that was ours
        if note:
            log.warning("%s: the shell %s", channel.principal, note)
            self.on_output(STDOUT, f"remote-shell: this shell {note}\r\n".encode())

    # --- from the session

    @property
    def idle(self) -> bool:
        """It waits for a command."""
        return not self._shell.busy

    def data(self, data: bytes) -> None:
        """Input of the command whose `command` message came last, unless it ended already; keys for what has the terminal."""
        if self._on_terminal and not self._exited:
            self._shell.write_stdin(data)
        elif not self._is_over(self._input) and not self._exited:
            self._shell.write_stdin(data, self._input)
        else:
            self._channel.consumed(len(data))

    def input_end(self) -> None:
        """The client will send neither input nor commands: the shell may go when it is done."""
        if not self._exited:
            self._shell.end()

    def message(self, message: Message) -> None:
        """Commands, the end of their input, signals."""
        if isinstance(message, Command):
            self._run(message)
        elif isinstance(message, InputEnd):
            if message.number == self._input and not self._is_over(message.number):
                self._shell.close_stdin(message.number)
                self._input = 0
        elif isinstance(message, Line):
            self._line(message)
        elif isinstance(message, Resize):
            size = Size(message.rows, message.columns)
            self._shell.resize(size)
            if self._recorder is not None:
                self._recorder.resize(size)
        elif isinstance(message, Signal):
            number = self._number if message.command is None else message.command
            if number > self._number and len(self._early) < 16:
                self._early[number] = message.signal
            elif not self._is_over(number):
                self._signal(number, message.signal)

    def writable(self) -> None:
        """Read on."""
        self._full = False
        self._shell.resume_output()

    def keep(self) -> bool:
        """Without a terminal it ends with its session."""
        return False

    def kill(self, grace: float) -> None:
        """Nobody wants it any more."""
        self._unwanted = True
        if self._exited:
            self._end()
        else:
            self._shell.kill(grace)
            self._shell.resume_output()  # an end is told after the output, and who should read it may be gone

    def _run(self, command: Command) -> None:
        if command.number != self._number + 1:
            raise RemoteProtocolError("bad_message", f"command {command.number} after {self._number}")
        line = from_system(command.line)
        self._waiting[command.number] = len(line)
        limits = self._limits
        if (
            len(self._waiting) > limits.shell_waiting_max
            or sum(self._waiting.values()) > limits.shell_waiting_bytes_max
        ):
            raise RemoteProtocolError(
                "bad_message", f"{len(self._waiting)} commands wait; send the next when one is done"
            )
        self._number = command.number
        self._input = command.number if command.stdin else 0
        timeout = None if command.timeout_ms is None else command.timeout_ms / 1000
        try:
            if self._audit.on:
                who, number = self._channel.who, command.number
                self._audit.starts(who, self._ident, "line", terminal=self._on_terminal, number=number, line=line)
            self._shell.run(command.number, line, stdin=command.stdin, timeout=timeout)
        except (ShellEndedError, CommandError) as error:  # too late, or no descriptor left: it did not run
            log.info("%s: command %d did not run: %s", self._channel.principal, command.number, error)
            if self._on_terminal and isinstance(error, CommandRefusedError):  # `done` has no place for the reason
                self.on_output(STDOUT, f"remote-shell: not run: {error}\r\n".encode())
            reason = error.reason if isinstance(error, ShellEndedError) else "shell_alive"
            self._done = max(self._done, command.number)
            self._waiting.pop(command.number, None)
            self._channel.send(Done(number=command.number, shell=_STATES[reason]))
            return
        if self._recorder is not None:
            self._recorder.command(line)
        early = self._early.pop(command.number, None)
        if early is not None:
            self._signal(command.number, early)

    def _is_over(self, number: int) -> bool:
        return number <= self._done and not 0 < number == self._replaced

    def _line(self, line: Line) -> None:
        """Write it, if the terminal's mode is what it was edited under and somebody may read it; else give it back."""
        text = from_system(line.text)
        if line.end == "newline":
            text += b"\n"
        if not self._exited:
            self._shell.look_at_mode()
            if line.mode == self._mode and not self._raw and self._shell.write_line(text):
                if self._shell.lines_waiting > self._limits.shell_waiting_bytes_max:
                    raise RemoteProtocolError(
                        "bad_message", "nobody reads the lines; send the next when some were read"
                    )
                if self._recorder is not None and self._echoes:
                    self._recorder.echoed(from_system(line.text), ended=line.end == "newline")
                return
        if text:
            self.on_unread(text)

    def _signal(self, number: int, name: str) -> None:
        try:
            self._shell.signal(number, name)
        except CommandError as error:
            raise RemoteProtocolError("bad_message", str(error)) from None

    def _end_unrecorded(self) -> None:
        self._loop.call_soon(self._kill_unrecorded)  # not while its output is being passed on

    def _kill_unrecorded(self) -> None:
        if not self._exited:
            self.on_output(STDOUT, OVER)
            self.kill(0)

    # --- from the process

    def on_output(self, stream: int, data: bytes) -> None:
        """The shell or something in it wrote."""
        self._written[stream] += len(data)
        if self._recorder is not None:
            self._recorder.output(data)
        if self._full and self._unwanted:
            return
        self._full = not self._channel.send_data(stream, data)
        if self._full and not self._unwanted:
            self._shell.pause_output()

    def on_output_end(self, stream: int) -> None:
        """Nobody holds the pipe any more."""
        self._streams.discard(stream)
        if not self._exited or self._streams:
            self._channel.send(Eof(stream=stream))
        else:
            self._end()

    def on_done(self, done: ShellDone) -> None:
        """A command ended."""
        if done.shell == "replaced" and done.status is None and not self._replaced:
            self._replaced = done.number  # any that waited are told later
        self._done = max(self._done, done.number)
        self._waiting.pop(done.number, None)
        end: dict[str, Any] = {"number": done.number, "cwd": to_system(done.cwd)}  # and what is not as most have it
        if done.status is not None:
            end["status"] = done.status
        if done.signal is not None:
            end["signal"] = done.signal
        if done.statuses:
            end["statuses"] = list(done.statuses)
        if done.timed_out or (self._timed_out and done.shell != "alive"):
            end["timed_out"] = True
        if done.shell != "alive":
            end["shell"] = done.shell
        self._channel.send_now(Done.of(**end, duration_us=int(done.duration * 1_000_000)))
        if done.status is not None or done.signal is not None:  # else it goes on as another program, or never ran
            self._audit.ended(
                self._channel.who,
                self._ident,
                "line",
                number=done.number,
                status=done.status,
                signal=done.signal,
                timed_out=done.timed_out,
                seconds=done.duration,
            )

    def on_mode(self, mode: Mode) -> None:
        """The terminal's mode changed."""
        if self._early_modes is not None:
            self._early_modes.append(mode)
            return
        self._mode += 1
        self._raw, self._echoes = mode == "raw", mode == "cooked"
        self._channel.send(ModeMessage(number=self._mode, mode=mode))

    def on_unread(self, data: bytes) -> None:
        """Input that nobody read."""
        for part in _in_parts(data.replace(b"\0", b"")):
            self._channel.send(Unread(text=to_system(part)))

    def on_exit(self, exit: ProcessExit) -> None:
        """The shell itself ended."""
        self._exited = True
        self._places.leave(self._channel.principal)
        seconds = self._loop.time() - self._started_at
        duration = int(seconds * 1_000_000)
        how = Exit(status=exit.status, signal=exit.signal, duration_us=duration, timed_out=self._timed_out)
        if self._timer is not None:
            self._timer.cancel()
        self._channel.send(how)
        stdout, stderr = self._written[STDOUT], self._written[STDERR]
        self._audit.ended(
            self._channel.who,
            self._ident,
            "shell",
            pid=self._shell.pid,
            status=exit.status,
            signal=exit.signal,
            timed_out=self._timed_out,
            seconds=seconds,
            written=(stdout, None if self._on_terminal else stderr),
        )
        self._claim.end(how, self._loop.time())
        if not self._streams or self._unwanted or self._on_terminal:
            self._end()  # a terminal is hung up when its session's leader is gone

    def on_stdin(self, count: int) -> None:
        """The command took so much of its input."""
        self._channel.consumed(count)

    def _time_out(self) -> None:
        self._timed_out = True
        self._shell.kill(self._limits.kill_grace)

    def _end(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
        self._shell.close()
        self._remove_folder()
        self._channel.finish()

    def _remove_folder(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def _in_parts(data: bytes) -> Iterator[bytes]:
    """Of a size that any client takes in a frame, however it is written in JSON. Whole lines, where they are not longer than that."""
    at = 0
    while at < len(data):
        end = at + _UNREAD_PART
        if end < len(data):
            end = data.rfind(b"\n", at, end) + 1 or end
        yield data[at:end]
        at = end


def _pipes_folder(context: Context) -> tuple[str, Sequence[bytes]]:
    """Where a shell in a sandbox finds the stdin of its commands, and bwrap's words that show it; none without a sandbox."""
    if context.confinement.sandbox is None:
        return "", ()
    try:
        folder = tempfile.mkdtemp(prefix="remote-shell-", dir="/tmp")  # which each sandbox has
    except OSError as error:
        raise no_resources(error) from error
    path = os.fsencode(folder)
    return folder, (b"--ro-bind", path, path)


def _zsh_or_bash(begin: Callable[..., LiveShell], zsh: bytes | None) -> tuple[LiveShell, ShellWords, str]:
    """Start zsh, if there is a path of one, or else bash, with a note why."""
    note = ""
    if zsh is not None:
        try:
            return begin(shell_path=zsh, words=ZSH), ZSH, note
        except (CommandNotFoundError, CommandNotExecutableError) as error:
            note = f"is bash, not zsh: {reason(error)}"
    return begin(shell_path=BASH_PATH, words=BASH), BASH, note
