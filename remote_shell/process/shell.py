"""The live shell: one long-lived bash (or zsh) that keeps directory, variables and functions between commands.

A command's end is reported on a pipe of its own, and what the command wrote is in the output pipes before that: at the report
we pass on what FIONREAD shows there, then tell `done`. Output that comes between commands is that of background jobs.

On a terminal (`pty`) the shell has its lines from a pipe even so: only its commands have the terminal as their stdin, so that it never
takes a person's input for a command of ours, and what a command left unread can be taken back.

Must never run two commands at once, let a late Ctrl-C reach the next command, or hang on what a user does to the shell: it
ends (`exit`, `set -e`), is replaced (`exec`), or a timeout ends it. Never dash: it ends itself on a syntax error
in `eval`.

Neighbours: `pipes` runs the shell, `shell_link` types and reads the reports, `bash_text` and `zsh_text` have the words, `shell_command`
is one command; the server implements `ShellSink`.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from itertools import islice

from remote_shell.errors import CommandRefusedError, ShellEndedError
from remote_shell.limits import Limits
from remote_shell.process import tree
from remote_shell.process.base import Exit, signal_number
from remote_shell.process.bash_text import BASH
from remote_shell.process.children import children_of
from remote_shell.process.confinement import CONSOLE
from remote_shell.process.input import InputPipe
from remote_shell.process.launch import no_resources
from remote_shell.process.pipes import PipeProcess
from remote_shell.process.poller import Poller
from remote_shell.process.pty import Mode, PtyProcess, Size
from remote_shell.process.shell_command import NOBODY, Done, Forked, ShellCommand, ShellSink, State
from remote_shell.process.shell_link import LOWEST, ShellLink
from remote_shell.process.shell_report import Report
from remote_shell.process.shell_terminal import BASH_PATH, TerminalEnds
from remote_shell.process.shell_watch import ShellWatch
from remote_shell.process.shell_words import ShellWords

_READ_AGAIN = (
    0.001  # seconds between two looks whether the shell is where a SIGINT does what it should, and how many of them
)
_READ_PATIENCE = 100
_INTERRUPT_PAUSE = 10  # times what it took to find a command's processes, until the next SIGINT to it
_ASKED_MAX = 4096  # bytes of questions that the shell has not read: another one would change nothing
_INTERRUPT_LOOKS = (0.02, 0.1, 0.5, 2.0)  # seconds after a SIGINT at which we look whether it got lost
_KILL_AGAIN = 0.02  # seconds between two KILLs of a command's processes: the next of `a; b; c` may ignore SIGINT too


class LiveShell:
    """A running shell. `cwd` is its directory after the last command."""

    __slots__ = (
        "_asking", "_children", "_current", "_interrupts", "_limits", "_link", "_loop", "_outside", "_poller", "_process", "_queue",
        "_serial", "_sink", "_state", "_terminal", "_typed", "_watch", "_words",
        "cwd", "pid",
    )  # fmt: skip

    def __init__(
        self, cwd: bytes, words: ShellWords, sink: ShellSink, loop: asyncio.AbstractEventLoop, limits: Limits
    ) -> None:
        """For `start` only."""
        self.cwd = cwd
        self._words = words
        self._sink = sink
        self._loop = loop
        self._limits = limits
        self._poller = Poller.of(loop)
        self._process: PipeProcess
        self._terminal: PtyProcess | None = None  # the same, if it is one
        self._typed: InputPipe  # what it reads its commands from
        self._link: ShellLink
        self._watch: ShellWatch | None = None
        self._children = -1  # /proc/PID/task/PID/children, kept open: a look costs one system call
        self._state: State = "alive"
        self._queue: deque[ShellCommand] = deque()
        self._current: ShellCommand | None = None  # runs, or was reported and waits for its output to be passed on
        self._serial = 0  # of the report that is waited for, if any is; never used again
        self._interrupts = 0  # SIGINTs whose effect is not proved to be over
        self._asking = True  # for that proof; at first for the report that it has started
        self.pid = 0  # the shell's process; behind bwrap(1) that one's, until the first report
        self._outside: str | None = None  # what is in a sandbox has its commands' stdin from named pipes in this folder

    @classmethod
    def start(
        cls,
        *,
        cwd: bytes,
        env: Mapping[bytes, bytes],
        command_id: str | None,
        sink: ShellSink,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        shell_path: bytes = BASH_PATH,
        words: ShellWords = BASH,
        startup_files: bool = False,
        size: Size | None = None,
        confined: Sequence[bytes] = (),
        sandboxed: str | None = None,
    ) -> LiveShell:
        """Start the shell in `cwd` with exactly `env`; commands may be given at once. Raises as `PipeProcess.start` does.

        `words` are those of the program at `shell_path`. No startup file is read, so that a command finds the same shell everywhere, unless
        `startup_files` asks for them. What they write on stderr is lost with the shell's own messages at its
        start. With `size` its
        commands have a terminal, in line mode, and with `startup_files` it is a login shell, as sshd's would be. `confined` are the words
        of a `confinement`; `sandboxed` is a folder of this shell alone which its sandbox shows, if there is one.
        """
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if 0 <= most <= LOWEST + 2:
            text = f"the server may open {most} files, a live shell uses numbers above {LOWEST}: start it with a higher ulimit -n"
            raise CommandRefusedError(text, "resources")
        shell = cls(cwd, words, sink, loop, limits)
        argv = words.argv(shell_path, startup_files=startup_files, terminal=size is not None)
        try:
            link = shell._link = ShellLink(words, shell._poller, shell._reported, shell._status_ended)
        except OSError as error:
            raise no_resources(error) from error
        try:
            if size is None:
                process = shell._process = PipeProcess.start(
                    argv, cwd=cwd, env=env, command_id=command_id, sink=_ProcessSink(shell), loop=loop, limits=limits,
                    stdin="pipe", hidden_stderr=link.inherit, confined=confined,
                )  # fmt: skip
                assert process.stdin is not None
                shell._typed = process.stdin
            else:
                ends = TerminalEnds(link)
                try:
                    process = shell._process = shell._terminal = PtyProcess.start_on_terminal(
                        argv, cwd=cwd, env=env, command_id=command_id, sink=_ProcessSink(shell),
                        loop=loop, limits=limits, size=size, on_mode=shell._mode, wrapped=ends.wrap, confined=confined,
                    )  # fmt: skip
                    shell._typed = InputPipe(ends.take(), shell._poller, _uncredited, limits)
                finally:
                    ends.close()
        except BaseException:
            link.close()
            raise
        shell._outside = sandboxed
        try:
            shell._is(process.pid)
            link.open(shell._typed.write)
            due, ask, lost = shell._due, link.ask, process.kill_now
            shell._watch = ShellWatch(loop, limits, process.pid, shell._typed, due, ask, lost)
        except OSError as error:
            shell.close()
            process.kill_now()
            raise no_resources(error) from error
        return shell

    # --- commands

    def run(self, number: int, line: bytes, *, stdin: bool = False, timeout: float | None = None) -> None:
        """Run `line` (any number of lines) after those that were given before it.

        `number` is the caller's name for it. Its stdin is empty unless `stdin` says that some will come. After `timeout`
        seconds it is cancelled. ShellEndedError if the shell takes no more; CommandRefusedError for a NUL byte, or if there is
        no descriptor left.
        """
        if self._state != "alive":
            text = "the shell has ended" if self._state == "ended" else "the shell was replaced by exec"
            raise ShellEndedError(f"{text}; open another one", f"shell_{self._state}")
        if b"\0" in line:
            raise CommandRefusedError("the line contains a NUL byte, which no shell can take")
        command = ShellCommand(number, line, timeout)
        if stdin:
            try:
                if self._outside is None:
                    command.open_stdin(self._poller, self._credit, self._limits)
                else:
                    command.open_named_stdin(self._outside, self._loop, self._credit, self._limits)
            except OSError as error:
                raise no_resources(error) from error
        self._queue.append(command)
        self._next()

    def write_stdin(self, data: bytes | memoryview, number: int | None = None) -> None:
        """Stdin for the current command (before it has started, the first), or for the waiting one of that number.

        Without a taker it is thrown away. On a terminal it is that terminal's, as long as a command runs, or startup files do.
        """
        command = self._find(number)
        if self._terminal is not None:
            if self._may_read(command):
                self._terminal.write_stdin(data)
            elif data:
                self._credit(len(data))
        elif command is not None and command.stdin is not None:
            command.stdin.write(data)
        elif data:
            self._credit(len(data))

    def close_stdin(self, number: int | None = None) -> None:
        """End of the stdin of the current command, or of the waiting one of that number, after what is queued."""
        command = self._find(number)
        if command is not None and command.stdin is not None:
            command.stdin.close_when_written()

    def signal(self, number: int, name: str) -> bool:
        """Signal the command of that number if it is the current one, else False: too late or too early.

        SIGINT goes to the shell's group as from a terminal, so the rest of the command is dropped. Others go to the
        command's processes and never to the shell. CommandError for a name that is no signal's.
        """
        signum = signal_number(name)
        command = self._running(number)
        if command is None:
            return signum == signal.SIGINT and self._asking and self._drop_waiting(number, 1)
        if self._state == "replaced":
            return self._process.signal(name)
        if signum == signal.SIGINT:
            self._interrupt(command)
            return True
        if self._terminal is not None and signum in (signal.SIGQUIT, signal.SIGTSTP):  # ^\ and ^Z
            group = self._foreground()
            return group != self.pid and tree.signal_group(group, signum)
        return command.signal(self.pid, signum)

    def cancel(self, number: int) -> bool:
        """End the command of that number: INT, KILL of its processes, at last KILL of the shell. False if it has ended.

        One that waits never runs; it is told in its turn, with status 130.
        """
        command = self._running(number)
        if command is None:
            return self._drop_waiting(number, len(self._queue))
        self._cancel(command)
        return True

    # --- its terminal

    def write_line(self, line: bytes) -> bool:
        """Input for the command that runs, edited elsewhere; False if there is none. An empty line is an end of file."""
        if self._terminal is None or not self._may_read(self._current):
            return False
        self._terminal.write_line(line)
        return True

    @property
    def lines_waiting(self) -> int:
        """Bytes of such input that nobody has read."""
        return 0 if self._terminal is None else self._terminal.lines_waiting

    def look_at_mode(self) -> None:
        """Tell a change of the terminal's mode that was not told yet."""
        if self._terminal is not None:
            self._terminal.mode  # noqa: B018  # telling is what looking does

    def resize(self, size: Size) -> None:
        """The terminal's window has another size."""
        if self._terminal is not None:
            self._terminal.resize(size)

    @property
    def busy(self) -> bool:
        """A command runs or waits."""
        return self._current is not None or bool(self._queue)

    # --- the shell as a process

    @property
    def session(self) -> int:
        """Its session, and without a sandbox its process. Without a terminal its group, too."""
        return self._process.pid

    @property
    def exit(self) -> Exit | None:
        """How the shell ended, once it was told."""
        return self._process.exit

    @property
    def killing(self) -> bool:
        """A ladder for the whole tree is under way."""
        return self._process.killing

    def pause_output(self, stream: int | None = None) -> None:
        """As PipeProcess.pause_output: `done` waits behind the output too."""
        self._process.pause_output(stream)

    def resume_output(self, stream: int | None = None) -> None:
        """As PipeProcess.resume_output."""
        self._process.resume_output(stream)

    def end(self) -> None:
        """Let the shell end by itself after the current command: traps on EXIT run, background jobs live on."""
        self._typed.write(self._words.exit_text())
        self._typed.close_when_written()

    def kill(self, grace: float, first: str = "SIGHUP") -> None:
        """End the shell and its whole tree, background jobs too; an interactive shell ignores SIGTERM. Goes on after `close`."""
        self._process.kill(grace, first)

    def kill_now(self) -> None:
        """KILL the shell and its whole tree at once."""
        self._process.kill_now()

    def close(self) -> None:
        """Forget the streams: nothing more is told. The shell reads the end of its input and ends by itself."""
        self._sink = NOBODY
        self._state = "ended"
        self._process.close()
        self._let_go()
        for command in (self._current, *self._queue):
            if command is not None:
                command.close()
        self._current = None
        self._queue.clear()

    # --- one command after the other

    def _running(self, number: int) -> ShellCommand | None:
        """The current command, if it has that number and has not ended."""
        command = self._current
        if command is None or command.number != number or command.state == "reported":
            return None
        return command

    def _drop_waiting(self, number: int, among: int) -> bool:
        for command in islice(self._queue, among):
            if command.number == number:
                command.unwanted = True
                return True
        return False

    def _due(self) -> int | None:
        """Serial of the report that the shell owes, if it does."""
        running = self._current is not None and self._current.state == "running"
        return self._serial if self._state == "alive" and (running or self._asking) else None

    def _may_read(self, command: ShellCommand | None) -> bool:
        """Somebody may read the terminal: a command that runs, or a startup file that asks a question."""
        starting = self._serial == 0 and self._asking and self._state == "alive"
        return starting or (command is not None and command.state in ("running", "told"))

    def _find(self, number: int | None) -> ShellCommand | None:
        if self._current is not None and number in (None, self._current.number):
            return self._current
        return next((command for command in self._queue if number in (None, command.number)), None)

    def _credit(self, n: int) -> None:
        self._sink.on_stdin(n)

    def _next(self) -> None:
        if self._current is not None or self._asking or not self._queue:
            return
        if self._state != "alive" or self._process.exit is not None:
            return
        self._serial += 1
        if self._interrupts:
            # A SIGINT may lie between two system calls of the shell and drop the next line: prove that it does not.
            self._asking = True
            self._link.ask(self._serial, self._interrupts + 1)
            self._interrupts = 0
            self._await_report()
            return
        command = self._current = self._queue.popleft()
        if command.unwanted:
            command.state = "reported"
            self._tell(command, command.done(128 + signal.SIGINT, None, self.cwd, command.started, "alive"))
            return
        command.state = "running"
        command.started = self._loop.time()
        command.before = self._children_now()
        if command.timeout is not None:
            command.timer = self._loop.call_later(command.timeout, self._timed_out, command)
        terminal = self._terminal
        if terminal is not None:
            terminal.remember()
        if terminal is None:
            stdin = command.stdin_path()
        else:
            stdin = terminal.slave_path if self._outside is None else CONSOLE
        self._link.run(self._serial, command.line, stdin, statuses=terminal is not None)
        command.line = b""
        self._await_report()

    def _await_report(self) -> None:
        """One is owed. Behind what asks for it, since the shell can begin meanwhile."""
        if self._watch is not None:
            self._watch.arm()

    def _reported(self, report: Report) -> None:
        if report.serial != self._serial or self._state != "alive":
            return
        if (
            b"r" in report.flags
        ):  # `set -r`: it refuses to source what we type, and would report that as the command's end
            self._process.kill_now()
            return
        if self._outside is not None and self.pid == self.session:
            self._find_behind_bwrap()
        self.cwd = report.cwd or self._real_cwd()
        command = self._current
        if self._asking:
            self._asking = False
            self._next()
        elif command is not None and command.state == "running":
            command.state = "reported"
            command.stop_timer()
            done = command.done(report.status, None, self.cwd, self._loop.time(), "alive", report.statuses)
            self._process.settle(lambda: self._tell(command, done))

    def _mode(self, mode: Mode) -> None:
        if mode != "raw" and self._watch is not None:
            self._watch.hurry()  # in raw mode ^C is the kernel's business, and may have dropped the line that reports
        self._sink.on_mode(mode)

    def _tell(self, command: ShellCommand, done: Done) -> None:
        if self._terminal is not None:
            if done.status is not None and done.status > 128:
                self._terminal.mend()  # as bash does itself; zsh leaves it to its editor
            self.look_at_mode()  # `stty sane` out of raw mode is announced by nothing
            if left := self._terminal.unread():
                self._sink.on_unread(left)
        self._current = None
        command.close()
        self._sink.on_done(done)
        self._next()

    def _is(self, pid: int) -> None:
        """That process is the shell. OSError: it is gone, or EMFILE, ENFILE."""
        children = os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)
        if self._children >= 0:
            os.close(self._children)
        self.pid, self._children = pid, children
        if self._watch is not None:
            self._watch.pid = pid

    def _find_behind_bwrap(self) -> None:
        """The shell has started: it is the first child of its namespace's init, which is bwrap's only one."""
        try:
            init = children_of(self.session)[0]
            self._is(children_of(init)[0])
        except (IndexError, OSError):  # it has ended already, which will be told
            return

    def _children_now(self) -> frozenset[int]:
        try:
            return frozenset(map(int, os.pread(self._children, 65536, 0).split()))
        except OSError:  # ESRCH: the shell is dying, which its pidfd will tell
            return frozenset()

    def _real_cwd(self) -> bytes:
        """Where `$PWD` was unset."""
        try:
            return os.readlink(b"/proc/%d/cwd" % self.pid)
        except OSError:
            return self.cwd

    # --- interrupting

    def _interrupt(self, command: ShellCommand) -> None:
        """One that waits for its turn stands for those that come meanwhile, as the system's signals do: each costs looks at /proc."""
        if not command.interrupt_due:
            command.interrupt_due = True
            delay = command.interrupt_next - self._loop.time()
            if delay > 0:
                self._loop.call_later(delay, self._try_interrupt, command)
            else:
                self._try_interrupt(command)

    def _try_interrupt(self, command: ShellCommand, patience: int = _READ_PATIENCE) -> None:
        command.interrupt_due = False
        if command is not self._current or command.state == "reported":
            return
        began = self._loop.time()
        found, forked = command.look(self.pid)
        # Looked at last: until the signal is sent the shell goes on.
        if patience and not self._interrupts and (self._typed.unread() or self._is_starting(command, found, forked)):
            # It has not read the line yet, and a SIGINT now would be spent on its empty prompt; or see `_is_starting`.
            command.interrupt_due = True
            self._loop.call_later(_READ_AGAIN, self._try_interrupt, command, patience - 1)
            return
        self._send_interrupt(command, found, forked)
        now = self._loop.time()
        command.interrupt_next = now + _INTERRUPT_PAUSE * (now - began)
        command.look_again([self._loop.call_later(delay, self._interrupt_again, command) for delay in _INTERRUPT_LOOKS])

    def _send_interrupt(self, command: ShellCommand, found: Mapping[int, tree.Stat], forked: Forked) -> None:
        command.interrupted(found, forked)
        self._interrupts += 1
        tree.signal_group(self._foreground(), signal.SIGINT)
        for pid, stat in () if self._terminal is not None else command.processes(self.pid).items():
            if stat.session == self.session != stat.group:  # `set -m` gives each job a group of its own
                tree.signal_process(pid, stat, signal.SIGINT)
        if self._typed.unread() < _ASKED_MAX:
            self._link.ask(self._serial)  # the signal may have dropped the line that reports

    def _is_starting(
        self, command: ShellCommand, found: Mapping[int, tree.Stat], forked: Collection[tuple[int, int]]
    ) -> bool:
        """With `found` as its processes and `forked` those without a program of their own: the shell forks, or has forked and still
        has the terminal, which it is about to give to the child.

        A SIGINT now would be the shell's: it drops the line and writes a line end, but waits for the child, which lives. That one is
        ended by a second SIGINT, and bash writes a line end for that too. bash blocks SIGINT from before fork until the child has a group
        of its own. Between its last look at signals and fork nothing shows from outside: there it still happens.
        """
        if self._terminal is None or self._foreground() != self.pid:
            return False
        if any(
            stat.parent == self.pid and stat.group != self.pid and (pid, stat.start) in forked
            for pid, stat in found.items()
        ):
            return True
        stat = tree.Stat.of(self.pid)
        if stat is not None and stat.state != "S" and tree.blocks(self.pid, signal.SIGINT):
            return True  # asleep it reads what a `$(...)` writes, for which bash blocks SIGINT as well
        return not self._children_now() <= found.keys() | command.before  # forked since

    def _interrupt_again(self, command: ShellCommand) -> None:
        """A SIGINT that met a process between fork and exec is sent again.

        To it and what it started alone if its parent heard the first one, whose clean-up a second would end; else to all.
        """
        if command is not self._current or command.state != "running" or self._state != "alive":
            return
        group = None if self._terminal is None else self._foreground()
        deaf, alone = command.deaf(self.pid, self.session, group)
        if not deaf:
            return
        found, forked = command.look(self.pid)  # this one may get lost as well
        if not alone:
            self._send_interrupt(command, found, forked)
            return
        for pid, stat in deaf.items():
            tree.signal_process(pid, stat, signal.SIGINT)
        command.interrupted({pid: stat for pid, stat in found.items() if pid in deaf}, forked)

    def _foreground(self) -> int:
        """Whom ^C reaches: on a terminal its foreground group, as its job control has it."""
        return self.session if self._terminal is None else self._terminal.foreground() or self.pid

    def _timed_out(self, command: ShellCommand) -> None:
        command.timed_out = True
        self._cancel(command)

    def _cancel(self, command: ShellCommand) -> None:
        command.stop_timer()
        if self._state == "replaced":
            self._process.kill(self._limits.interrupt_grace, "SIGINT")
            return
        self._interrupt(command)
        until = self._loop.time() + self._limits.interrupt_grace + self._limits.shell_kill_grace
        command.timer = self._loop.call_later(self._limits.interrupt_grace, self._kill_command, command, until)

    def _kill_command(self, command: ShellCommand, until: float) -> None:
        """KILL its processes again and again; when that did not end it, the shell itself is what hangs."""
        if self._loop.time() >= until:
            self._process.kill_now()
            return
        command.signal(self.pid, signal.SIGKILL)
        command.timer = self._loop.call_later(_KILL_AGAIN, self._kill_command, command, until)

    # --- the end of the shell

    def _status_ended(self) -> None:
        """The shell let go of the status pipe: it exits, which its pidfd will tell, or `exec` replaced it."""
        stat = tree.Stat.of(self.pid) if self._process.exit is None else None
        if stat is None or not stat.alive:
            return
        self._state = "replaced"
        self._typed.close_when_written()  # should it be the shell still, with our descriptor closed, then this ends it
        command = self._current
        if command is not None and command.state == "running":
            command.state = "told"
            done = command.done(None, None, self.cwd, self._loop.time(), "replaced")
            self._process.settle(lambda: self._sink.on_done(done))
        self._process.settle(self._refuse_queue)

    def _refuse_queue(self) -> None:
        while self._queue:
            command = self._queue.popleft()
            command.close()
            self._sink.on_done(command.done(None, None, self.cwd, self._loop.time(), self._state))

    def _exited(self, exit: Exit) -> None:
        self._link.read()  # a last report may be there still
        if self._state == "alive":
            self._state = "ended"
        self._let_go()
        command, self._current = self._current, None
        if command is not None:
            command.close()
            if command.state == "running":
                self._sink.on_done(command.done(exit.status, exit.signal, self.cwd, self._loop.time(), "ended"))
        self._refuse_queue()
        self._sink.on_exit(exit)

    def _let_go(self) -> None:
        self._link.close()
        if self._watch is not None:
            self._watch.stop()
        self._typed.close()
        if self._children >= 0:
            os.close(self._children)
            self._children = -1


def _uncredited(n: int) -> None:
    """Of what we typed: nobody's credit."""


class _ProcessSink:
    """Passes on what its process tells."""

    __slots__ = ("_shell",)

    def __init__(self, shell: LiveShell) -> None:
        self._shell = shell

    def on_output(self, stream: int, data: bytes) -> None:
        self._shell._sink.on_output(stream, data)

    def on_output_end(self, stream: int) -> None:
        self._shell._sink.on_output_end(stream)

    def on_exit(self, exit: Exit) -> None:
        self._shell._exited(exit)

    def on_stdin(self, n: int) -> None:
        """On a terminal, keys; without, what we typed, which is nobody's credit."""
        if self._shell._terminal is not None:
            self._shell._credit(n)
