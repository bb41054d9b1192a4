"""A command on pipes: started, fed, read, signalled, ended.

All decisions are synchronous callbacks of the loop: no task, no thread. A quick command costs one turn: the ends of its output are seen
together with its exit, since we hold the write ends too while it is `young`.

Must never wait for survivors that hold the pipes before it tells the exit, nor reap the leader while its tree is being
killed (its number keeps the group's number ours). Neighbours: `launch` starts it, `output` and `input` are its pipes, `tree` ends
it, `shell` uses one for bash; the server is its `Sink`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from remote_shell.errors import CommandError
from remote_shell.limits import Limits
from remote_shell.process import children, launch, poller
from remote_shell.process.base import STDERR, STDOUT, Exit, Sink, signal_number
from remote_shell.process.environment import COMMAND_ID
from remote_shell.process.input import InputPipe
from remote_shell.process.output import OutputPipe
from remote_shell.process.poller import Poller
from remote_shell.process.tree import ProcessTree, TreeKiller, signal_group
from remote_shell.process.young import Nursery, let_go


class PipeProcess:
    """A running command. `exit` is set when it was told; then signals are dropped, and output of survivors may follow."""

    __slots__ = (
        "_held", "_killer", "_limits", "_loop", "_outputs", "_pidfd", "_poller", "_popen", "_report_timer", "_seen", "_settling",
        "_sink", "_tree", "exit", "stdin",
    )  # fmt: skip

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        pidfd: int,
        command_id: str | None,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
    ) -> None:
        """For `start` only."""
        self.exit: Exit | None = None
        self._popen = popen
        self._pidfd = pidfd  # -1 once the exit was seen
        self._sink = sink
        self._loop = loop
        self._limits = limits
        self._poller = Poller.of(loop)
        self._outputs: tuple[OutputPipe, ...] = ()
        self.stdin: InputPipe | None = None  # for `shell`; others write through the methods
        self._tree = ProcessTree(popen.pid, command_id)
        self._killer: TreeKiller | None = None
        self._held: list[int] = []  # the write ends of its output, while it is young
        self._seen: Exit | None = None  # the exit, before it is told
        self._report_timer: asyncio.TimerHandle | None = None
        self._settling: list[Callable[[], None]] = []  # wait until what is in the pipes was passed on

    @classmethod
    def start(
        cls,
        argv: Sequence[bytes],
        *,
        cwd: bytes,
        env: Mapping[bytes, bytes],
        command_id: str | None,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        stdin: Literal["pipe", "null"],
        merge_stderr: bool = False,
        hidden_stderr: Callable[[int], Sequence[int]] | None = None,
        confined: Sequence[bytes] = (),
    ) -> PipeProcess:
        """Start `argv` in the absolute directory `cwd` with exactly `env`, plus the id's variable if there is one.

        `sink` is called from the loop's next turn on. With `merge_stderr` stream 2 is stream 1, and has no end of its
        own. `hidden_stderr` is for `shell`: it is given stderr's write end, the process starts with /dev/null instead, and
        inherits the descriptors that it returns.

        CommandNotFoundError, CommandNotExecutableError, WorkingDirectoryError, or CommandRefusedError ("resources" if
        descriptors, memory or processes ran out). Nothing is left behind then.
        """
        if command_id is not None:
            env = {**env, COMMAND_ID: os.fsencode(command_id)}
        ends = _Ends()
        try:
            child_in = ends.child_reads() if stdin == "pipe" else ends.child_reads_nothing()
            child_out = ends.child_writes()
            child_err = child_out if merge_stderr else ends.child_writes()
            pass_fds: Sequence[int] = ()
            if hidden_stderr is not None:
                pass_fds, child_err = hidden_stderr(child_err), ends.child_reads_nothing()
            popen, pidfd = launch.spawn(
                argv,
                cwd=cwd,
                env=env,
                stdin=child_in,
                stdout=child_out,
                stderr=child_err,
                pass_fds=pass_fds,
                confined=confined,
            )
        except CommandError:
            ends.close()
            raise
        except OSError as error:
            ends.close()
            raise launch.no_resources(error) from error
        process = cls(popen, pidfd, command_id, sink, loop, limits)
        if hidden_stderr is None:
            process._held, ends.written = ends.written, []
            Nursery.of(loop, limits).add(process._held)
        ends.close_theirs()
        try:
            process._watch(ends)
        except OSError as error:  # epoll_ctl(2): ENOSPC, ENOMEM
            launch.abandon(popen)
            process.close()
            os.close(pidfd)
            ends.close()
            raise launch.no_resources(error) from error
        return process

    def _watch(self, ends: _Ends) -> None:
        """Take over our ends of the pipes, one after the other, so that a failure leaves the rest with `ends`."""
        poll, limits = self._poller, self._limits
        if ends.input is not None:
            self.stdin = InputPipe(ends.input, poll, self._credit, limits)
            ends.input = None
        for stream in (STDOUT, STDERR)[: len(ends.outputs)]:
            self._outputs += (OutputPipe(stream, ends.outputs[0], poll, self._sink, self._pipe_changed, limits),)
            del ends.outputs[0]
        poll.add(self._pidfd, poller.READ, self._look)

    @property
    def pid(self) -> int:
        """Number of the process, its session and its group. It may be another's once `exit` is set."""
        return self._popen.pid

    def pause_output(self, stream: int | None = None) -> None:
        """Read no more of a stream, or of both: the process blocks when its pipe is full."""
        for output in self._outputs:
            if stream in (None, output.stream):
                output.pause()

    def resume_output(self, stream: int | None = None) -> None:
        """Read again. Nothing is passed on within this call."""
        for output in self._outputs:
            if stream in (None, output.stream):
                output.resume()

    def write_stdin(self, data: bytes | memoryview) -> None:
        """Queue `data`; `on_stdin` gives its length back bit by bit, also within this call."""
        if self.stdin is not None:
            self.stdin.write(data)
        elif data:
            self._sink.on_stdin(len(data))

    def close_stdin(self) -> None:
        """End of stdin, after what is queued."""
        if self.stdin is not None:
            self.stdin.close_when_written()

    def signal(self, name: str) -> bool:
        """Signal the whole group; False (dropped) after the end. CommandError for a name that is no signal's."""
        number = signal_number(name)
        return self._pidfd >= 0 and signal_group(self.pid, number)

    def kill(self, grace: float, first: str = "SIGTERM") -> None:
        """End the whole tree: `first` to all of it, KILL after `grace` seconds. Also those that left group and session.

        When the leader ends, the others have the rest of the grace; the exit is told when all are gone, at the latest
        limits.exit_report_time after the leader's end. After a normal exit this still ends the survivors that carry the
        command's id. Goes on after `close`.
        """
        number = signal_number(first)
        killer = self._killer
        if killer is None:
            killer = self._killer = TreeKiller(self._loop, self._tree, self._tree_gone, self._limits)
        killer.start(number, grace)
        if self._pidfd < 0 and self._killer is killer:
            killer.leader_ended()

    def kill_now(self) -> None:
        """KILL the whole tree at once; it is dead some milliseconds later."""
        self.kill(0, "SIGKILL")

    @property
    def ending(self) -> bool:
        """Its exit was seen, and is told as soon as its output was passed on."""
        return self._seen is not None and self._killer is None

    @property
    def killing(self) -> bool:
        """A ladder is under way: something of the tree may be alive. False again when all of it is gone."""
        return self._killer is not None

    def settle(self, then: Callable[[], None]) -> None:
        """Call `then` when all bytes that are in the pipes now were passed on: at once, unless output is paused."""
        sink, settled = self._sink, not self._settling
        try:
            for output in self._outputs:
                output.settle()
                settled = settled and not output.due
            if self._sink is not sink:  # closed by a call of the sink's, just now
                return
            if settled and not self._settling:  # as nearly always
                then()
                return
            self._settling.append(then)
            self._check_settled()
        finally:
            for output in self._outputs:
                output.tidy()

    def close(self) -> None:
        """Forget the streams: nothing more is told. The process goes on, and is reaped when it ends."""
        let_go(self._held)
        self._sink = _NOBODY
        self._settling.clear()
        for output in self._outputs:
            output.sink = _NOBODY
            output.close()
        if self.stdin is not None:
            self.stdin.close()

    def _credit(self, n: int) -> None:
        self._sink.on_stdin(n)

    def _check_settled(self) -> None:
        if self._settling and not any(output.due for output in self._outputs):
            settled, self._settling = self._settling, []
            try:
                for then in settled:
                    then()
            finally:
                for output in self._outputs:
                    output.tidy()

    def _pipe_changed(self) -> None:
        """A stream ended, or what was due of it was passed on."""
        self._check_settled()
        if self._pidfd >= 0:
            self._look()  # the end of a stream is mostly the end of the process: saves a turn of the loop
        else:
            self._check_over()

    def _look(self) -> None:
        """See whether the process ended."""
        if self._killer is None:
            returncode = self._popen.poll()
            if returncode is None:
                return
            children.forget(self.pid)
            self._tree.held = False
            seen = Exit.from_returncode(returncode)
        else:
            # Looks without reaping: the number stays ours until the tree is gone.
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if result is None:
                return
            seen = Exit.from_waitid(result)
        let_go(self._held)
        pidfd, self._pidfd = self._pidfd, -1
        self._seen = seen
        try:
            if self._killer is not None:
                self._killer.leader_ended()  # which may be the end of the ladder
            if self._killer is None:
                self._report()
            else:
                self._report_timer = self._loop.call_later(self._limits.exit_report_time, self._report)
        finally:  # behind the report, for which somebody waits
            self._poller.drop(pidfd)
            os.close(pidfd)

    def _report(self) -> None:
        """Tell the exit behind what the pipes hold now. Once."""
        if self._report_timer is not None:
            self._report_timer.cancel()
            self._report_timer = None
        self.settle(self._tell_exit)

    def _tell_exit(self) -> None:
        for output in self._outputs:
            output.look()  # most are at their end, and `close` then says that too
        self.exit = self._seen
        if self.exit is not None:
            self._sink.on_exit(self.exit)
        self._check_over()

    def _check_over(self) -> None:
        """After the exit and the end of all output nobody is left whose stdin would matter."""
        if self.stdin is not None and self.exit is not None and all(output.fd < 0 for output in self._outputs):
            self.stdin.close()

    def _tree_gone(self) -> None:
        self._killer = None
        if self._pidfd >= 0:  # given up: it hangs in the kernel, or is another account's
            return
        if self._tree.held:
            self._popen.wait()  # a zombie: does not block
            children.forget(self.pid)
            self._tree.held = False
        if self._report_timer is not None:
            self._report()


class _Nobody:
    """Stands for the sink after `close`."""

    def on_output(self, stream: int, data: bytes) -> None: ...

    def on_output_end(self, stream: int) -> None: ...

    def on_exit(self, exit: Exit) -> None: ...

    def on_stdin(self, n: int) -> None: ...


_NOBODY: Sink = _Nobody()


class _Ends:
    """The ends of a command's pipes until somebody owns them. Children inherit none by accident. OSError: EMFILE, ENFILE."""

    __slots__ = ("input", "outputs", "theirs", "written")

    def __init__(self) -> None:
        self.input: int | None = None  # our write end of stdin
        self.outputs: list[int] = []  # our read ends of stdout, stderr
        self.theirs: list[int] = []  # blocking, as programs expect: O_NONBLOCK belongs to an end, not to the pipe
        self.written: list[int] = []  # the same: their write ends of stdout, stderr

    def child_reads(self) -> int:
        theirs, self.input = os.pipe2(os.O_CLOEXEC)
        self.theirs.append(theirs)
        return theirs

    def child_reads_nothing(self) -> int:
        self.theirs.append(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
        return self.theirs[-1]

    def child_writes(self) -> int:
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        self.outputs.append(ours)
        self.written.append(theirs)
        return theirs

    def close_theirs(self) -> None:
        for fd in (*self.theirs, *self.written):
            os.close(fd)
        self.theirs.clear()
        self.written.clear()

    def close(self) -> None:
        self.close_theirs()
        for fd in self.outputs:
            os.close(fd)
        if self.input is not None:
            os.close(self.input)
