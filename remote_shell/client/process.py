"""What is known of one command on the client's side: its output, its end. No I/O, no waiting, no protocol decisions.

`conversation` feeds it with the core's events, under the driver's lock or in the loop's thread; both fronts read it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum

from remote_shell.wire.messages import Done, Exit, Opened, Rejected, Report
from remote_shell.wire.messages import Mode as TerminalMode


class Mode(Enum):
    """What becomes of an output stream's data."""

    KEEP = "keep"  # collected without a bound, credit at once: `run` and `communicate`
    HOLD = "hold"  # credit when it was taken: who does not read stops the command at the window
    DROP = "drop"  # thrown away, credit at once


class Output:
    """One output stream."""

    __slots__ = ("broken", "chunks", "ended", "kept", "mode", "most")

    def __init__(self, mode: Mode) -> None:
        self.chunks: deque[bytes | memoryview] = deque()
        self.mode = mode
        self.ended = False
        self.kept = 0  # bytes under Mode.KEEP
        self.most: int | None = None  # of those that its caller wants to hold
        self.broken = False  # its reader closed it before the end, as a pipe's reader may

    def collected(self) -> bytes:
        """All that was kept."""
        return b"".join(self.chunks)  # of one chunk of bytes this makes no copy


class ProcessState:
    """One channel of the session, as far as its command is concerned."""

    __slots__ = (
        *("args", "changed", "channel", "closed", "command_id", "done", "exit", "instance", "lost"),
        *("mode", "opened", "outputs", "rejected", "report", "stdin_open", "unread", "writable"),
    )

    def __init__(self, args: object, command_id: str, stdout: Mode, stderr: Mode) -> None:
        self.args = args
        self.command_id = command_id
        self.channel = 0  # 0: not sent yet
        self.instance: str | None = None  # the server's life in which it was asked for
        self.outputs = (Output(Mode.DROP), Output(stdout), Output(stderr))  # by descriptor; 0 is never used
        self.opened: Opened | None = None
        self.rejected: Rejected | None = None
        self.report: Report | None = None
        self.exit: Exit | None = None
        self.done: deque[Done] = deque()  # live shell: ends of commands that nobody looked at yet
        self.mode: TerminalMode | None = None  # of a live shell's terminal, as the server told last
        self.unread: deque[bytes] = deque()  # input that no program read there
        self.closed = False  # the server added its last frame, or the session is gone
        self.lost: BaseException | None = None
        self.stdin_open = False
        self.writable = True
        self.changed: Callable[[], None] | None = None  # asyncio front: called after each event

    @property
    def started(self) -> bool:
        """The server said whether it runs."""
        return self.opened is not None or self.closed or self.rejected is not None

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

    def lose(self, error: BaseException) -> None:
        """The session is gone before the command's end was told."""
        self.lost = error
        self.closed = True
        for output in self.outputs:
            output.ended = True


class Described:
    """What both fronts' processes tell of themselves."""

    _state: ProcessState

    @property
    def job(self) -> str:
        """The command's id."""
        return self._state.command_id

    @property
    def pid(self) -> int | None:
        """The process id on the server."""
        return self._state.opened.pid if self._state.opened is not None else None

    @property
    def opened(self) -> Opened | None:
        """The server's word on the start: pid, cwd, started_at_ms, and whether it ran before under its id."""
        return self._state.opened

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

    def _check_lost(self) -> None:
        """Raises ConnectionLostError when the end will never be known."""
        lost = self._state.lost
        if lost is not None and self._state.exit is None:
            raise lost.with_traceback(None)
