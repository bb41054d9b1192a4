"""One command of a live shell: its words to the outside, its stdin, its processes.

Must never decide what happens next: `shell` does. Neighbours: `shell` owns them, the server implements `ShellSink`, `tree` finds
processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal as signals
from collections.abc import Callable, Mapping, Sequence
from stat import S_ISFIFO
from typing import Literal, NamedTuple, Protocol

from remote_shell.limits import Limits
from remote_shell.process import tree
from remote_shell.process.base import Exit
from remote_shell.process.input import InputPipe
from remote_shell.process.poller import Poller
from remote_shell.process.pty import Mode
from remote_shell.process.reads import OPENED, Reads
from remote_shell.process.tree import Stat

State = Literal["alive", "ended", "replaced"]
_LOOKS = 5  # at processes, until no more come meanwhile
Forked = dict[tuple[int, int], tree.Image]  # pid and start of processes, and what they run


class Done(NamedTuple):
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

    # "told": `exec` replaced the shell, which was told; stdin, signals and the timeout still are this command's.
    state: Literal["waiting", "running", "reported", "told"] = "waiting"
    reader = -1  # read end of its stdin, held until it ends: bash opens it by its /proc name
    named = b""  # its path, if it has one
    _held = -1  # a write end of that
    _watched = -1
    _reads: Reads
    stdin: InputPipe | None = None
    started = 0.0
    before: frozenset[int] = frozenset()  # the shell's children when it began: background jobs of others
    timed_out = False
    unwanted = False  # cancelled before it could begin: it never runs
    timer: asyncio.TimerHandle | None = None
    interrupt_due = False  # a SIGINT waits for its turn
    interrupt_next = 0.0  # the loop's time before which none has it
    _looks: Sequence[asyncio.TimerHandle] = ()

    def __init__(self, number: int, line: bytes, timeout: float | None) -> None:
        self.number = number
        self.line = line
        self.timeout = timeout
        self._heard: set[tuple[int, int]] = set()  # pid and start of those that had begun their program at a SIGINT
        self._forked: Forked = {}  # those that had not, and what they ran then

    def open_stdin(self, poll: Poller, credit: Callable[[int], None], limits: Limits) -> None:
        """OSError: EMFILE, ENFILE."""
        self.reader, writer = os.pipe2(os.O_CLOEXEC)
        self.stdin = InputPipe(writer, poll, credit, limits)

    def open_named_stdin(
        self, folder: str, loop: asyncio.AbstractEventLoop, credit: Callable[[int], None], limits: Limits
    ) -> None:
        """The same with a name in `folder`, for a shell that can't open ours by its /proc name. OSError: ENOSPC of inotify(7), too."""
        path = os.fsencode(os.path.join(folder, str(self.number)))
        os.mkfifo(path, 0o600)
        self.named = path
        try:
            self.reader = os.open(self.named, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            # Held until the shell has opened it, which would else wait for a writer who may be gone by then.
            self._held = os.open(self.named, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            if not S_ISFIFO(os.fstat(self._held).st_mode):  # put there by what runs in a sandbox that may write to /tmp
                raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
            self._reads = Reads.of(loop)
            self._watched = self._reads.watch(self.named, self._opened, OPENED)
            self.stdin = InputPipe(os.dup(self._held), Poller.of(loop), credit, limits)
        except OSError:
            self.close()
            raise

    def _opened(self) -> None:
        """The shell has it, or never will."""
        if self._watched >= 0:
            self._reads.forget(self._watched)
            self._watched = -1
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def stdin_path(self) -> bytes:
        """What bash opens for it. A pipe opened so has an end of its own: blocking, and gone when the command is."""
        if self.named:
            return self.named
        return b"/dev/null" if self.reader < 0 else b"/proc/%d/fd/%d" % (os.getpid(), self.reader)

    def processes(self, shell: int) -> dict[int, Stat]:
        """The living processes that it started, without background jobs of earlier commands."""
        return tree.descendants(shell, self.before)

    def look(self, shell: int) -> tuple[dict[int, Stat], Forked]:
        """Its processes just before a SIGINT, and those among them that have no program of their own.

        Between fork and exec a child runs what its parent does. A SIGINT is lost there: the parent's handler takes it, and is gone.
        """
        for _ in range(_LOOKS):
            found = self.processes(shell)
            images = {pid: tree.image(pid) for pid in {shell, *found, *(stat.parent for stat in found.values())}}
            if self.processes(shell).keys() <= found.keys():
                break  # else one has come meanwhile, which may be the very one that misses it
        return found, {
            (pid, stat.start): own
            for pid, stat in found.items()
            if (own := images[pid]) is not None and own in (images[shell], images[stat.parent])
        }

    def interrupted(self, found: Mapping[int, Stat], forked: Forked) -> None:
        """A SIGINT was sent to all of `found`, of which those in `forked` may not know of it."""
        self._heard.update((pid, stat.start) for pid, stat in found.items() if (pid, stat.start) not in forked)
        self._forked |= forked

    def look_again(self, looks: Sequence[asyncio.TimerHandle]) -> None:
        """Those after the last SIGINT, which see what those after the one before it would."""
        for look in self._looks:
            look.cancel()
        self._looks = looks

    def deaf(self, shell: int, session: int, group: int | None) -> tuple[dict[int, Stat], bool]:
        """Its processes in that group, or in the session, to which a SIGINT was lost; and whether the parents all have heard it.

        Those that have begun their program since, whatever they do at a SIGINT now; and subshells that it ends. A program's children count
        only if they were there already: what it starts since, to clean up for instance, is none of ours. The shell's own count always,
        since one may come between our look and the signal.
        """
        found = self.processes(shell)
        own = tree.image(shell)
        shells = {shell, *(pid for pid in found if own is not None and tree.image(pid) == own)}
        meant = {
            pid for pid, stat in found.items() if (stat.session == session if group is None else stat.group == group)
        }
        deaf = {}
        for pid, stat in found.items():
            key = (pid, stat.start)
            if key in self._heard or pid not in meant or stat.state in "DT":
                continue
            of_shell = stat.parent in shells
            before = own if of_shell else self._forked.get(key)
            began = before is not None and tree.image(pid) not in (None, before)
            if (began and tree.hears(pid, signals.SIGINT)) or (of_shell and tree.dies_of(pid, signals.SIGINT)):
                deaf[pid] = stat
        parents = {stat.parent for stat in deaf.values()}
        alone = all(pid in found and (pid, found[pid].start) in self._heard for pid in parents)
        for pid in tuple(deaf):  # what such a one has started missed it as well
            deaf.update((below, stat) for below, stat in tree.descendants(pid).items() if below in meant)
        return deaf, alone

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
        if self.named:
            self._opened()
            with contextlib.suppress(OSError):  # never made, or its folder was taken away
                os.unlink(self.named)
            self.named = b""
        if self.stdin is not None:
            self.stdin.close()
