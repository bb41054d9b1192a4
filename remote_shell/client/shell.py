"""The live shell of both fronts: one bash on the server that keeps directory, variables and functions between commands. On a
terminal it is zsh where the account's shell is; without one always bash, so that a program finds the same language everywhere.

What both decide alike is in `ShellCore`: numbers, ends, results. One command at a time; more callers wait their turn. Output
between two commands (of background jobs) comes with the next command's, as on a terminal. asyncio is imported by `AsyncShell` alone,
when it is made. Neighbours: `blocking` and `async_` start shells.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Literal, Protocol

from remote_shell.client import opening
from remote_shell.client.conversation import Conversation
from remote_shell.client.outcome import TextMode, returncode_of, signal_name, signal_number, time_allowed
from remote_shell.client.process import Described, ProcessState
from remote_shell.client.remote import Remote
from remote_shell.client.results import CalledProcessError, CompletedProcess, TimeoutExpired
from remote_shell.errors import CommandRefusedError, DetachedError, ShellEndedError, UsageError
from remote_shell.limits import Limits
from remote_shell.wire.messages import Attached, Command, Done, Exit, InputEnd, Line, from_system

OnOutput = Callable[[int, bytes], None]  # stream (1 or 2), bytes
Alive = Literal["alive", "ended", "replaced"]
_SLACK = 1.5  # seconds beyond the server's own ladder before our clock ends the shell
_ENDED = {
    "shell_ended": "the shell ended (exit, set -e, or a signal): its directory, variables and functions are gone; open a new one",
    "shell_replaced": "the shell was replaced by another program (exec): it takes no more commands; open a new one",
}


class ShellResult(CompletedProcess):
    """One command's end in a live shell. `cwd` is where the shell is now; `shell` is "alive", "ended" or "replaced".

    `statuses` are those of a last pipeline's commands, on a terminal; else the status alone.
    """

    cwd: str
    shell: Alive
    statuses: tuple[int, ...]


class ShellCore(Described):
    """What is known of a live shell, and the messages that drive it. No waiting."""

    def __init__(self, conversation: Conversation, state: ProcessState, limits: Limits) -> None:
        self._conversation = conversation
        self._state = state
        self._limits = limits
        self._number = 0  # of the last command that was sent
        self._over = 0  # of the last one whose end is known
        self._replaced = False
        self._abandoned = False
        self._out_of_time = False  # that is why it is gone
        self._missed = 0  # bytes of output that come first, where it was attached
        self.name = "bash"  # the language of its commands: "bash", or "zsh" on a terminal
        self.cwd = ""  # where the shell is; bytes that are not UTF-8 as os.fsdecode has them

    @property
    def alive(self) -> bool:
        """It takes commands."""
        return not (self._state.ended or self._replaced or self._abandoned)

    def opened_at(self) -> None:
        """The server said that it runs, and where."""
        told = self._state.opened or self._state.attached
        if told is not None and told.cwd is not None:
            self.cwd = os.fsdecode(from_system(told.cwd))
        if told is not None and told.shell is not None:
            self.name = told.shell
        attached = self._state.attached
        if attached is not None:
            self._missed = attached.missed
            self._number = attached.number
            self._over = attached.number if attached.line is None else attached.number - 1

    @property
    def attached(self) -> Attached | None:
        """What the server told of the shell that we took over; None for one that we started."""
        return self._state.attached

    @property
    def lost(self) -> BaseException | None:
        """Why it is not to be had any more, though it may go on: ConnectionLostError, DetachedError."""
        return self._state.lost

    @property
    def is_ours(self) -> bool:
        """Nobody has taken it over, and it was not left."""
        return not isinstance(self._state.lost, DetachedError)

    def send_detach(self) -> None:
        """Ask to leave it to itself; `is_ours` tells when that is done. Nothing else goes to it from now on."""
        self._conversation.detach(self._state)

    def _is_left(self) -> bool:
        return self._state.ended

    def check_alive(self) -> None:
        """Raises ShellEndedError or ConnectionLostError."""
        self._check_lost()
        if not self.alive:
            raise ShellEndedError(self._why_ended(), "shell_replaced" if self._replaced else "shell_ended")

    def _why_ended(self) -> str:
        end = self._state.exit
        if self._out_of_time or (end is not None and end.timed_out):
            return "the server ended the shell, since its time was over; open a new one"
        return _ENDED["shell_replaced" if self._replaced else "shell_ended"]

    def prepare(self, line: opening.Text, given: Any, timeout: float | None) -> Command:
        """The command, with the next number. All that can be wrong with it is told here, before the core is touched."""
        more: dict[str, Any] = {} if given is None else {"stdin": True}
        if timeout is not None:
            more["timeout_ms"] = opening.milliseconds(timeout)
        message = Command.of(number=self._number + 1, line=opening.system_string(line), **more)
        most = self._conversation.limits.frame_max
        size = len(message.line if isinstance(message.line, str) else message.line.base64)
        if size * 6 > most and len(message.encode()) > most:  # JSON takes at most six bytes for a character
            raise UsageError(
                f"a line of {size} characters is too long, a message has at most {most} bytes: "
                "send it as input=, to `. /dev/stdin` for example"
            )
        return message

    def send(self, message: Command, given: Any) -> int:
        """Queue a prepared command with its input; returns its number."""
        self._number = message.number
        session, channel = self._conversation.session, self._state.channel
        session.send_message(channel, message)
        if given is not None:
            if given:
                self._conversation.write(self._state, given)
            session.send_message(channel, InputEnd(number=self._number))
        return self._number

    def joined(self) -> str | None:
        """The line that ran when we attached, if it was not waited for yet."""
        attached = self._state.attached
        if attached is None or attached.line is None or self._over >= attached.number or self._number > attached.number:
            return None
        return os.fsdecode(from_system(attached.line))

    def _has_output(self) -> bool:
        return bool(self._state.outputs[1].chunks) or self._state.ended

    def _take_missed(self) -> list[bytes | memoryview]:
        """More of what was missed."""
        taken = self._conversation.take(self._state, 1)
        self._missed -= sum(map(len, taken))
        if self._state.ended:
            self._missed = 0
        return taken

    def take_early(self) -> bytes:
        """What came along with its start, before any command: a word of the server's."""
        return b"".join(self._conversation.take(self._state, 1))

    # --- its terminal

    @property
    def mode(self) -> str:
        """How its terminal is set: "cooked", "no_echo" or "raw"; "cooked" without one."""
        return self._state.mode.mode if self._state.mode is not None else "cooked"

    def send_line(self, text: bytes, *, end: Literal["newline", "eof"] = "newline") -> None:
        """A line of input for the command that runs, edited under the present mode. It may come back: `take_unread`.

        Raises ValueError for another `end`.
        """
        number = self._state.mode.number if self._state.mode is not None else 0
        if end not in ("newline", "eof"):
            raise ValueError(f"end={end!r}: a line ends with a newline or with eof")
        if not self._state.ended:
            text = text.replace(b"\0", b"")  # Ctrl-@: no string of the system holds it, and no line editor takes it
            message = Line(mode=number, text=opening.system_string(text), end=end)
            if not self._state.leaving:
                self._conversation.session.send_message(self._state.channel, message)

    def send_keys(self, data: bytes) -> bool:
        """Keys for what has the terminal in raw mode. False: wait until `writable`. Raises TypeError for what is not bytes."""
        return self._state.ended or self._conversation.write(self._state, bytes(memoryview(data)))

    @property
    def writable(self) -> bool:
        """There is room for more keys."""
        return self._state.writable or self._state.ended

    def take_unread(self) -> bytes:
        """Input that no program read, given back once."""
        given = b"".join(self._state.unread)
        self._state.unread.clear()
        return given

    def send_size(self, rows: int, columns: int) -> None:
        """The terminal has another size. Raises UsageError, TypeError for one that there is not."""
        self._conversation.resize(self._state, *opening.size_of(rows, columns))

    def signal_current(self, name: str) -> None:
        """Signal the command that runs now, and no later one; nothing happens between commands."""
        if self._number > self._over:
            self._conversation.signal(self._state, name, self._number)

    def is_over(self) -> bool:
        """The command that was sent last has ended, or never will be known to."""
        state = self._state
        while state.done:
            done = state.done.popleft()
            if done.shell == "replaced":
                self._replaced = True  # what took its place is what the command runs now: its end is the command's
                self._note_cwd(done)
            elif done.number == self._number:
                self._last = done
                return True
        return state.ended

    _last: Done | None = None
    _told_cwd: object = None  # as `done` told it last

    def end(self) -> Done | Exit | None:
        """How the command ended, after `is_over`: the shell's word, or the shell's own end."""
        self._over = self._number
        last, self._last = self._last, None
        if last is not None:
            self._note_cwd(last)
            if last.shell != "alive":
                self._abandoned, self._out_of_time = True, last.timed_out
            return last
        return self._state.exit

    def check_ran(self, end: Done | Exit | None) -> Done | Exit:
        """The end of a command that ran. Raises ShellEndedError, CommandRefusedError for one that did not, ConnectionLostError."""
        self._check_lost()
        if isinstance(end, Done) and (end.status is not None or end.signal is not None):
            return end
        if isinstance(end, Exit) and self._replaced:
            return end  # of what took the shell's place, which was the command
        if isinstance(end, Done) and end.shell == "alive":
            raise CommandRefusedError(
                "the server could not take the command: it did not run; its log has the reason", "resources"
            )
        reason = "shell_replaced" if self._replaced else "shell_ended"
        raise ShellEndedError(f"the command did not run: {self._why_ended()}", reason)

    def make_result(
        self, line: Any, end: Done | Exit, out: bytes | None, err: bytes | None, text: TextMode, started: float
    ) -> ShellResult:
        """What `run` returns."""
        stdout = None if out is None else text.decoded(out)
        stderr = None if err is None else text.decoded(err)
        duration = end.duration_us / 1_000_000 if isinstance(end, Done) else time.monotonic() - started
        done = ShellResult(
            line, returncode_of(end), stdout, stderr, signal=end.signal, duration=duration, job=self._state.command_id
        )
        done.cwd = self.cwd
        several = end.statuses if isinstance(end, Done) else None
        done.statuses = tuple(several) if several is not None else (done.returncode,)
        done.shell = (
            "replaced" if self._replaced else "alive" if isinstance(end, Done) and end.shell == "alive" else "ended"
        )
        return done

    def raise_ends(self, done: ShellResult, end: Done | Exit, timeout: float | None, check: bool) -> None:
        """Raises TimeoutExpired if the server's clock ended the command, CalledProcessError if `check`."""
        more: dict[str, Any] = {"signal": done.signal, "duration": done.duration, "job": done.job}
        if end.timed_out and timeout is not None:
            raise TimeoutExpired(done.args, time_allowed(end, timeout), done.stdout, done.stderr, **more)
        if check and done.returncode:
            raise CalledProcessError(done.returncode, done.args, done.stdout, done.stderr, **more)

    def expired(self, line: Any, timeout: float, out: bytes | None, err: bytes | None) -> TimeoutExpired:
        """Neither the command nor the server answered: the shell is given up."""
        self._abandoned = True
        return TimeoutExpired(line, timeout, out, err, duration=timeout, job=self._state.command_id)

    def patience(self, timeout: float) -> float:
        """Seconds after which the server's own ladder must have come to its end."""
        limits = self._limits
        return timeout + limits.interrupt_grace + limits.kill_grace + limits.shell_kill_grace + _SLACK

    def _note_cwd(self, done: Done) -> None:
        if done.cwd is not None and done.cwd != self._told_cwd:  # most commands stay where they are
            self.cwd = os.fsdecode(from_system(done.cwd))
            self._told_cwd = done.cwd


class _Collected:
    """A command's output: kept, or passed on as it comes."""

    __slots__ = ("_on_output", "_parts")

    def __init__(self, on_output: OnOutput | None) -> None:
        self._on_output = on_output
        self._parts: tuple[list[bytes], list[bytes]] = ([], [])

    def add(self, stream: int, chunks: list[bytes | memoryview]) -> None:
        """More of it came."""
        if self._on_output is None:
            self._parts[stream - 1].extend(bytes(chunk) for chunk in chunks)
        else:
            for chunk in chunks:
                self._on_output(stream, bytes(chunk))

    def whole(self) -> tuple[bytes | None, bytes | None]:
        """stdout and stderr, or nothing if they were passed on."""
        if self._on_output is not None:
            return None, None
        return b"".join(self._parts[0]), b"".join(self._parts[1])


class Shell(ShellCore):
    """A live shell of the blocking front."""

    def __init__(self, remote: Remote, conversation: Conversation, state: ProcessState, limits: Limits) -> None:
        super().__init__(conversation, state, limits)
        self._remote = remote
        self._driver = remote.driver
        self._turn = threading.Lock()

    def __enter__(self) -> Shell:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(
        self,
        line: opening.Text,
        *,
        input: Any = None,
        timeout: float | None = None,
        check: bool = False,
        text: bool = True,
        on_output: OnOutput | None = None,
    ) -> ShellResult:
        """Run a line, of any length and number of lines, to its end.

        Its stdin is `input`, otherwise empty. With `on_output(stream, data)` the output is passed on as bytes and not
        returned. A timeout, or KeyboardInterrupt, ends the command and not the shell, if the command lets it. Raises
        CalledProcessError, TimeoutExpired, ShellEndedError, ConnectionLostError.
        """
        mode = TextMode(text, "utf-8" if text else None, "replace" if text else None)
        given = mode.encoded(input) if input is not None else None
        with self._turn:
            started = time.monotonic()
            message = self.prepare(line, given, timeout)
            first = partial(self._begin, message, given)
            done, end = self._finish(line, timeout, mode, started, on_output, first)
        self.raise_ends(done, end, timeout, check)
        return done

    def join(self, *, text: bool = True, on_output: OnOutput | None = None) -> ShellResult | None:
        """Wait for the command that ran when the shell was attached. None if none did: what was missed has been passed on."""
        mode = TextMode(text, "utf-8" if text else None, "replace" if text else None)
        with self._turn:
            line = self.joined()
            if line is not None:
                return self._finish(line, None, mode, time.monotonic(), on_output)[0]
            output = _Collected(on_output)
            while self._missed > 0:
                with self._driver:
                    self._driver.wait(self._has_output, None)
                    missed = self._take_missed()
                    self._driver.flush()
                output.add(1, missed)
            self._check_lost()
            return None

    def _finish(
        self,
        line: opening.Text,
        timeout: float | None,
        mode: TextMode,
        started: float,
        on_output: OnOutput | None,
        first: Callable[[], None] | None = None,
    ) -> tuple[ShellResult, Done | Exit]:
        """Wait for the end of the command that runs, or that `first` starts."""
        output = _Collected(on_output)
        deadline = None if timeout is None else started + self.patience(timeout)
        number = self._number
        try:
            in_time = self._move(output, deadline, first)
        except BaseException:
            if first is None or self._number > number:
                self._stop(output)
            raise
        out, err = output.whole()
        if not in_time:
            assert timeout is not None, "only a timeout ends so"
            self._remote.abandon()
            raise self.expired(line, timeout, out, err)
        end = self.check_ran(self.end())
        return self.make_result(line, end, out, err, mode, started), end

    def interrupt(self) -> None:
        """SIGINT for the command that runs now. Never waits: for signal handlers and other threads."""
        self.signal("SIGINT")

    def signal(self, name: str | int) -> None:
        """Another signal for it, by name or number."""
        word = _signal_word(name)
        self._driver.urgent(lambda: self.signal_current(word))

    def detach(self) -> None:
        """Leave it to itself: it goes on, and `Host.attach` takes it up again. Then every call raises DetachedError."""
        self._driver.urgent(self.send_detach)
        with self._driver:
            self._driver.wait(self._is_left, None)

    def close(self) -> None:
        """End the shell and what runs in it. Safe to repeat."""
        self._abandoned = True
        self._remote.abandon()

    def _begin(self, message: Command, given: Any) -> None:
        """Under the lock: queue the command; who waits then sends it."""
        self.check_alive()
        self.send(message, given)

    def _move(self, output: _Collected, deadline: float | None, first: Callable[[], None] | None = None) -> bool:
        """Pass on output until the command is over. False at the deadline. `first` is done under the lock before."""
        outputs, conversation, state = self._state.outputs, self._conversation, self._state

        def ready() -> bool:
            return bool(outputs[1].chunks or outputs[2].chunks or state.done) or state.ended

        while True:
            with self._driver:
                if first is not None:
                    first()
                    first = None
                    self._driver.flush()  # the shell begins while we prepare to wait
                in_time = self._driver.wait(ready, deadline)
                over = self.is_over()
                work = [(stream, conversation.take(state, stream)) for stream in (1, 2) if outputs[stream].chunks]
                if work:
                    self._driver.flush()
            for stream, chunks in work:
                output.add(stream, chunks)
            if over or not in_time:
                return over

    def _stop(self, output: _Collected) -> None:
        """We were interrupted: so is the command; the shell stays if it answers in time, and is given up if not."""
        self.interrupt()
        limits = self._limits
        silent = _Collected(lambda stream, data: None)
        if self._move(silent, time.monotonic() + limits.interrupt_grace + limits.kill_grace):
            self.end()
        else:
            self.close()


class AsyncChannel(Protocol):
    """What `AsyncShell` needs of `async_process.AsyncRemote`."""

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready()`."""

    def flush(self) -> None:
        """Something was queued."""

    def abandon(self) -> None:
        """Nobody wants it any more."""


class AsyncShell(ShellCore):
    """A live shell of the asyncio front."""

    def __init__(self, remote: AsyncChannel, conversation: Conversation, state: ProcessState, limits: Limits) -> None:
        import asyncio

        super().__init__(conversation, state, limits)
        self._remote = remote
        self._turn = asyncio.Lock()
        self.on_mode: Callable[[str], None] | None = None  # called when its terminal's mode has changed
        self.on_unread: Callable[[], None] | None = None  # called when `take_unread` has something
        self.on_detached: Callable[[], None] | None = None  # called once, when it is not ours any more
        self._told_mode = self.mode

    async def __aenter__(self) -> AsyncShell:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def run(
        self,
        line: opening.Text,
        *,
        input: Any = None,
        timeout: float | None = None,
        check: bool = False,
        text: bool = True,
        on_output: OnOutput | None = None,
    ) -> ShellResult:
        """Run a line to its end; as `Shell.run`. Cancelling interrupts the command; the shell stays if it answers in time."""
        mode = TextMode(text, "utf-8" if text else None, "replace" if text else None)
        given = mode.encoded(input) if input is not None else None
        async with self._turn:
            started = time.monotonic()
            self.check_alive()
            self.send(self.prepare(line, given, timeout), given)
            self._remote.flush()
            done, end = await self._finish(line, timeout, mode, started, on_output)
        self.raise_ends(done, end, timeout, check)
        return done

    async def join(self, *, text: bool = True, on_output: OnOutput | None = None) -> ShellResult | None:
        """Wait for the command that ran when the shell was attached. None if none did: what was missed has been passed on."""
        mode = TextMode(text, "utf-8" if text else None, "replace" if text else None)
        async with self._turn:
            line = self.joined()
            if line is not None:
                return (await self._finish(line, None, mode, time.monotonic(), on_output))[0]
            output = _Collected(on_output)
            while self._missed > 0:
                await self._remote.until(self._has_output)
                output.add(1, self._take_missed())
                self._remote.flush()
            self._check_lost()
            return None

    async def _finish(
        self, line: opening.Text, timeout: float | None, mode: TextMode, started: float, on_output: OnOutput | None
    ) -> tuple[ShellResult, Done | Exit]:
        output = _Collected(on_output)
        try:
            in_time = await self._move(output, None if timeout is None else self.patience(timeout))
        except BaseException:
            await self._stop()
            raise
        out, err = output.whole()
        if not in_time:
            assert timeout is not None, "only a timeout ends so"
            self._remote.abandon()
            raise self.expired(line, timeout, out, err)
        end = self.check_ran(self.end())
        return self.make_result(line, end, out, err, mode, started), end

    def interrupt(self) -> None:
        """SIGINT for the command that runs now."""
        self.signal("SIGINT")

    def signal(self, name: str | int) -> None:
        """Another signal for it, by name or number."""
        self.signal_current(_signal_word(name))
        self._remote.flush()

    def look(self) -> None:
        """For `async_`: something came."""
        if not self.is_ours and self.on_detached is not None:
            told, self.on_detached = self.on_detached, None
            told()
        if self._state.unread and self.on_unread is not None:
            self.on_unread()
        if self.mode != self._told_mode:
            self._told_mode = self.mode
            if self.on_mode is not None:
                self.on_mode(self.mode)

    def flush(self) -> None:
        """Send what was queued for its terminal."""
        self._remote.flush()

    async def room(self) -> None:
        """Wait until there is room for more keys."""
        await self._remote.until(lambda: self.writable)

    async def detach(self) -> None:
        """Leave it to itself; as `Shell.detach`."""
        self.send_detach()
        self._remote.flush()
        await self._remote.until(self._is_left)

    async def close(self) -> None:
        """End the shell and what runs in it. Safe to repeat."""
        self._abandoned = True
        self._remote.abandon()

    async def _move(self, output: _Collected, seconds: float | None) -> bool:
        import asyncio

        outputs, conversation, state = self._state.outputs, self._conversation, self._state

        def ready() -> bool:
            return bool(outputs[1].chunks or outputs[2].chunks or state.done) or state.ended

        try:
            async with asyncio.timeout(seconds):
                while True:
                    await self._remote.until(ready)
                    over = self.is_over()
                    for stream in (1, 2):
                        chunks = conversation.take(state, stream)
                        if chunks:
                            self._remote.flush()
                            output.add(stream, chunks)
                    if over:
                        return True
        except TimeoutError:
            return False

    async def _stop(self) -> None:
        """We were cancelled: see `Shell._stop`. Shielded by nothing: a second cancellation gives the shell up."""
        self.interrupt()
        silent = _Collected(lambda stream, data: None)
        try:
            answered = await self._move(silent, self._limits.interrupt_grace + self._limits.kill_grace)
        except BaseException:
            await self.close()
            raise
        if answered:
            self.end()
        else:
            await self.close()


def _signal_word(name: str | int) -> str:
    """As the server knows it: it ends the session for another. Raises ValueError."""
    if isinstance(name, int):
        return signal_name(name)
    base, plus, _ = name.partition("+")
    if base not in signal.Signals.__members__ or (plus and base != "SIGRTMIN"):  # SIG_IGN is none, nor SIGTERM+3
        raise ValueError(f"{name!a} is no signal")
    return signal_name(signal_number(name))
