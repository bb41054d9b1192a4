"""What is known of one command on the client's side: its output, its end. No I/O, no waiting, no protocol decisions.

`conversation` feeds it with the core's events, under the driver's lock or in the loop's thread; both fronts read it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any

from remote_shell.wire.fields import Message
from remote_shell.wire.messages import Attached, Done, Exit, Opened, Rejected, Report, Shells
from remote_shell.wire.messages import Mode as TerminalMode

Noted = tuple[int, bytes] | Message  # data with its stream, or a message: of jobs, of files


class Mode(Enum):
    """What becomes of an output stream's data."""

    KEEP = "keep"  # collected without a bound, credit at once: `run` and `communicate`
    HOLD = "hold"  # credit when it was taken: who does not read stops the command at the window
    DROP = "drop"  # thrown away, credit at once


class Output:
    """One output stream. What most never change is the class's: three of these are made for each command."""

    ended = False
    kept = 0  # bytes under Mode.KEEP
    most: int | None = None  # of those that its caller wants to hold
    broken = False  # its reader closed it before the end, as a pipe's reader may

    def __init__(self, mode: Mode) -> None:
        self.chunks: deque[bytes | memoryview] = deque()
        self.mode = mode

    def collected(self) -> bytes:
        """All that was kept."""
        return b"".join(self.chunks)  # of one chunk of bytes this makes no copy


_NONE = Output(Mode.DROP)  # what stdin has in its place; never used


class ProcessState:
    """One channel of the session, as far as its command is concerned. What a quick command never sets is the class's, as above."""

    program: object = None  # and cwd: as the caller passed them, for errors
    cwd: object = None
    channel = 0  # 0: not sent yet
    instance: str | None = None  # the server's life in which it was asked for
    # its id was chosen by a person, and a server knows it over all its lives; None: no command
    kept: bool | None = None
    opened: Opened | None = None
    attached: Attached | None = None
    shells: Shells | None = None
    # detached jobs, files, listeners: all that comes, in order; then nothing of it is in `outputs`
    noted: list[Noted] | None = None
    untaken = 0  # memory of the messages that came since all of them were taken
    leaving = False  # `detach` was sent: nothing else is
    rejected: Rejected | None = None
    report: Report | None = None
    exit: Exit | None = None
    mode: TerminalMode | None = None  # of a live shell's terminal, as the server told last
    closed = False  # the server added its last frame, or the session is gone
    lost: BaseException | None = None
    stdin_open = False
    writable = True
    changed: Callable[[], None] | None = None  # asyncio front: called after each event

    def __init__(self, args: object, command_id: str, stdout: Mode, stderr: Mode) -> None:
        self.args = args
        self.command_id = command_id
        self.outputs = (_NONE, Output(stdout), Output(stderr))  # by descriptor
        self.done: deque[Done] = deque()  # live shell: ends of commands that nobody looked at yet
        self.unread: deque[bytes] = deque()  # input that no program read there

    @property
    def started(self) -> bool:
        """The server said whether it runs."""
        return self.opened is not None or self.attached is not None or self.closed or self.rejected is not None

    @property
    def ended(self) -> bool:
        """The command's end is known, or never will be."""
        return self.exit is not None or self.closed or self.rejected is not None

    @property
    def finished(self) -> bool:
        """Nothing more will come that anybody asked for."""
        if self.closed or self.rejected is not None:
            return True
        out, err = self.outputs[1], self.outputs[2]
        return (
            self.exit is not None
            and (out.ended or out.mode is Mode.DROP)
            and (err.ended or err.mode is Mode.DROP)
        )  # fmt: skip

    @property
    def ends_later(self) -> bool:
        """For one that is not finished when its time is over: it ended before, and what it left holds its output.

        No clock of the server's will end that.
        """
        return self.exit is not None and not self.exit.timed_out

    def lose(self, error: BaseException) -> None:
        """The session is gone before the command's end was told."""
        self.lost = error
        self.closed = True
        for output in self.outputs:
            output.ended = True


class Described:
    """What both fronts' processes tell of themselves."""

    _state: ProcessState
    text: Any  # outcome.TextMode

    @property
    def job(self) -> str:
        """The command's id."""
        return self._state.command_id

    @property
    def pid(self) -> int | None:
        """The process id on the server."""
        told = self._state.opened or self._state.attached
        return told.pid if told is not None else None

    @property
    def opened(self) -> Opened | None:
        """The server's word on the start: pid, cwd, started_at_ms, and whether it ran before under its id."""
        return self._state.opened

    def __repr__(self) -> str:
        """As Popen's."""
        text = f"<{type(self).__name__}: returncode: {self.returncode} args: {self._state.args!r}>"
        return text if len(text) <= 80 else text[:76] + "...>"

    @property
    def encoding(self) -> Any:
        """As it was passed; in text mode else the one that stands for it."""
        return self.text.given[0] or self.text.encoding or None

    @property
    def errors(self) -> Any:
        """As it was passed."""
        return self.text.given[1]

    @property
    def text_mode(self) -> Any:
        """True in text mode, or the reason for it, as Popen has it."""
        encoding, errors, text = self.text.given
        return encoding or errors or text

    @property
    def universal_newlines(self) -> Any:
        """Another name of `text_mode`."""
        return self.text_mode

    @property
    def result(self) -> Exit | None:
        """The server's word on the end: status, signal, timed_out, duration_us."""
        return self._state.exit

    @property
    def returncode(self) -> int | None:
        """None while it runs, as far as is known; then the status, or -N for signal N."""
        end = self._state.exit
        if end is None:
            return None
        from remote_shell.client.outcome import returncode_of

        return returncode_of(end)

    @property
    def ends_later(self) -> bool:
        """After a TimeoutExpired: it ended, and what it left holds its output."""
        return self._state.ends_later

    def _check_lost(self) -> None:
        """Raises ConnectionLostError when the end will never be known."""
        lost = self._state.lost
        if lost is not None and self._state.exit is None:
            raise lost.with_traceback(None)
