"""One command of a live shell: its words to the outside, its stdin, its processes.

Must never decide what happens next: `shell` does. Neighbours: `shell` owns them, the server implements `ShellSink`, `tree` finds
processes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from remote_shell.limits import Limits
from remote_shell.process import tree
from remote_shell.process.base import Exit
from remote_shell.process.input import InputPipe
from remote_shell.process.poller import Poller
from remote_shell.process.pty import Mode
from remote_shell.process.tree import Stat

State = Literal["alive", "ended", "replaced"]


@dataclass(frozen=True, slots=True)
class Done:
    """How a command of a live shell ended.

    `status` is what `$?` has become: 130 after SIGINT, 2 after a syntax error. Where the command ended the shell, `status` or
    `signal` is the shell's own. Both are None after `exec`, and if the shell was gone before the command could run. `cwd` is the
    directory afterwards, `duration` in seconds. `shell` says whether the shell takes another command.
    `statuses` are those of a last pipeline's commands, on a terminal.
    """

    number: int
    status: int | None
    signal: str | None
    cwd: bytes
    duration: float
    timed_out: bool
    shell: State
    statuses: tuple[int, ...] = ()


class ShellSink(Protocol):
    """Who is told of a live shell. Called on the loop's thread; calls back into the shell are allowed."""

    def on_output(self, stream: int, data: bytes) -> None:
        """The current command or a background job wrote `data` (never empty) on stream 1 or 2."""

    def on_output_end(self, stream: int) -> None:
        """Nobody holds the stream any more."""

    def on_done(self, done: Done) -> None:
        """A command ended; everything that it wrote itself was passed on before. Once a command, in order."""

    def on_exit(self, exit: Exit) -> None:
        """The shell, or what replaced it, ended. Once, after the last `on_done`."""

    def on_stdin(self, n: int) -> None:
        """`n` more bytes of stdin were taken by a command's pipe, or thrown away because nobody can read them."""

    def on_mode(self, mode: Mode) -> None:
        """On a terminal: what its mode is for the output that follows."""

    def on_unread(self, data: bytes) -> None:
        """On a terminal: input that the command which ends now left there. Before its `on_done`."""


class _Nobody:
    """Stands for the sink of a shell that was closed."""

    def on_output(self, stream: int, data: bytes) -> None: ...

    def on_output_end(self, stream: int) -> None: ...

    def on_done(self, done: Done) -> None: ...

    def on_exit(self, exit: Exit) -> None: ...

    def on_stdin(self, n: int) -> None: ...

    def on_mode(self, mode: Mode) -> None: ...

    def on_unread(self, data: bytes) -> None: ...


NOBODY: ShellSink = _Nobody()


class ShellCommand:
    """A command that waits, runs, or was reported."""

    __slots__ = (
        "before",
        "line",
        "number",
        "reader",
        "started",
        "state",
        "stdin",
        "timed_out",
        "timeout",
        "timer",
        "unwanted",
    )

    def __init__(self, number: int, line: bytes, timeout: float | None) -> None:
        self.number = number
        self.line = line
        self.timeout = timeout
        # "told": `exec` replaced the shell, which was told; stdin, signals and the timeout still are this command's.
        self.state: Literal["waiting", "running", "reported", "told"] = "waiting"
        self.reader = -1  # read end of its stdin, held until it ends: bash opens it by its /proc name
        self.stdin: InputPipe | None = None
        self.started = 0.0
        self.before: frozenset[int] = frozenset()  # the shell's children when it began: background jobs of others
        self.timed_out = False
        self.unwanted = False  # cancelled before it could begin: it never runs
        self.timer: asyncio.TimerHandle | None = None

    def open_stdin(self, poll: Poller, credit: Callable[[int], None], limits: Limits) -> None:
        """OSError: EMFILE, ENFILE."""
        self.reader, writer = os.pipe2(os.O_CLOEXEC)
        self.stdin = InputPipe(writer, poll, credit, limits)

    def stdin_path(self) -> bytes:
        """What bash opens for it. A pipe opened so has an end of its own: blocking, and gone when the command is."""
        return b"/dev/null" if self.reader < 0 else b"/proc/%d/fd/%d" % (os.getpid(), self.reader)

    def processes(self, shell: int) -> dict[int, Stat]:
        """The living processes that it started, without background jobs of earlier commands."""
        return tree.descendants(shell, self.before)

    def signal(self, shell: int, number: int) -> bool:
        """Signal its processes, never the shell; False if it has none: a built-in."""
        found = self.processes(shell)
        for pid, stat in found.items():
            tree.signal_process(pid, stat, number)
        return bool(found)

    def done(
        self,
        status: int | None,
        signal: str | None,
        cwd: bytes,
        now: float,
        shell: State,
        statuses: tuple[int, ...] = (),
    ) -> Done:
        """What to tell of it at the loop's time `now`."""
        duration = 0.0 if self.state == "waiting" else now - self.started
        return Done(self.number, status, signal, cwd, duration, self.timed_out, shell, statuses)

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def close(self) -> None:
        """Nobody reads its stdin any more; what is queued is credited."""
        self.stop_timer()
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1
        if self.stdin is not None:
            self.stdin.close()
