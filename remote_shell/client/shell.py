"""The live shell of both fronts: one bash on the server that keeps directory, variables and functions between commands. On a
terminal it is zsh where the account's shell is; without one always bash, so that a program finds the same language everywhere.

What both decide alike is in `ShellCore`: numbers, ends, results. One command at a time; more callers wait their turn. Output
between two commands (of background jobs) comes with the next command's, as on a terminal. Neighbours: `blocking_shell` and
`async_shell` are the fronts.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any, Literal

from remote_shell.client import opening
from remote_shell.client.conversation import Conversation
from remote_shell.client.outcome import TextMode, returncode_of, signal_name, signal_number, time_allowed
from remote_shell.client.process import Described, ProcessState
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


class Collected:
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


def signal_word(name: str | int) -> str:
    """As the server knows it: it ends the session for another. Raises ValueError."""
    if isinstance(name, int):
        return signal_name(name)
    base, plus, _ = name.partition("+")
    if base not in signal.Signals.__members__ or (plus and base != "SIGRTMIN"):  # SIG_IGN is none, nor SIGTERM+3
        raise ValueError(f"{name!a} is no signal")
    return signal_name(signal_number(name))
