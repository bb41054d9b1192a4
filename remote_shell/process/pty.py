"""A command on a pseudo-terminal: its terminal opened, sized, watched, hung up; for the rest it is a `PipeProcess`.

The kernel does what a terminal does (echo, erasing, ^C, ^Z, flow control), and we pass bytes. In *line mode* the other side edits
lines itself, as with telnet's LINEMODE (RFC 1184): EXTPROC makes the kernel leave input alone, and packet mode (ioctl_tty(2), TIOCPKT)
tells of each change of the terminal's mode before the output that follows it.

Must never guess a mode from output, nor keep a terminal longer than its session leader: survivors get SIGHUP, as under sshd. setsid(1)
gives the child its controlling terminal: a `preexec_fn` would lose vfork, and posix_spawn(3) knows no directory. Neighbours: `pipes` has
the process, `launch` starts it, `shell` uses one for bash.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import signal
import struct
import termios
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from remote_shell.errors import CommandError
from remote_shell.limits import Limits
from remote_shell.process import launch
from remote_shell.process.base import STDOUT, Sink, signal_number
from remote_shell.process.environment import COMMAND_ID
from remote_shell.process.input import InputPipe
from remote_shell.process.output import OutputPipe
from remote_shell.process.pipes import PipeProcess
from remote_shell.process.poller import Poller
from remote_shell.process.reads import Reads
from remote_shell.process.tree import signal_group

Mode = Literal["cooked", "no_echo", "raw"]

_EXTPROC = 0x10000  # termios(3): "external processing"; not in Python's module
_IUTF8 = 0x4000  # termios(3): erasing takes a whole character away
_TIOCPKT = 0x5420
_LFLAG, _CC = 3, 6  # in what tcgetattr returns
_SETSID = (b"/usr/bin/setsid", b"-c")  # util-linux, essential on Debian
# What a terminal can hold back when a command's end is seen: 64 KiB in tty_buffer.c, 4 KiB in n_tty.c, and as much again to be sure.
_HELD_MAX = 160 * 1024
_LINE_ALONE = 40  # bytes that a line takes besides its own
_EXTERNAL_LATER = 0.02  # seconds after a change of the mode
# seconds between two looks whether the line before was read, of which `reads` may not tell
_LINE_AGAIN, _LINE_AGAIN_MAX = 0.002, 0.05


class Size(NamedTuple):
    """A window's size in characters."""

    rows: int
    columns: int


class PtyProcess(PipeProcess):
    """A running command whose descriptors 0, 1 and 2 are a terminal. Everything comes as stream 1."""

    __slots__ = ("_lines", "_lines_size", "_lines_timer", "_reads", "_remembered", "_watched", "slave_path")

    slave_path: bytes
    _lines: deque[bytes]  # wait until the one before was read; empty: an end of file
    _lines_size: int  # what they take
    _lines_timer: asyncio.TimerHandle | None  # when to look whether it was
    _reads: Reads | None  # tells that it was, while lines wait
    _watched: int  # by it
    _remembered: list[Any] | None  # the terminal's attributes

    @classmethod
    def start_on_terminal(
        cls,
        argv: Sequence[bytes],
        *,
        cwd: bytes,
        env: Mapping[bytes, bytes],
        command_id: str | None,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        size: Size,
        on_mode: Callable[[Mode], None] | None = None,
        wrapped: Callable[[int], tuple[Sequence[bytes], Sequence[int], int]] | None = None,
        confined: Sequence[bytes] = (),
    ) -> PtyProcess:
        """Start `argv` on a terminal of its own; for the rest as `PipeProcess.start`, with the same errors.

        `on_mode` asks for line mode: it is told the first mode within this call, and each change before the output that
        follows it. `wrapped` is for `shell`: given the terminal's descriptor, it returns words before `argv`, descriptors to inherit,
        and the program's stderr.
        """
        if command_id is not None:
            env = {**env, COMMAND_ID: os.fsencode(command_id)}
        try:
            master, slave = os.openpty()
        except OSError as error:
            raise launch.no_resources(error) from error
        try:
            path = os.fsencode(os.ttyname(slave))
            _prepare(master, size, line_mode=on_mode is not None)
            words, pass_fds, stderr = wrapped(slave) if wrapped is not None else ((), (), slave)
            popen, pidfd = launch.spawn(
                argv,
                cwd=cwd,
                env=env,
                stdin=slave,
                stdout=slave,
                stderr=stderr,
                pass_fds=pass_fds,
                wrapper=(*_SETSID, *words),
                confined=confined,
            )
        except CommandError:
            os.close(master)
            raise
        except OSError as error:
            os.close(master)
            raise launch.no_resources(error) from error
        finally:
            os.close(slave)
        process = cls(popen, pidfd, command_id, sink, loop, limits)
        process.slave_path, process._lines, process._remembered = path, deque(), None
        process._lines_size = 0
        process._lines_timer, process._reads, process._watched = None, None, -1
        try:
            process._watch_terminal(master, on_mode)
        except OSError as error:
            launch.abandon(popen)
            process.close()
            os.close(pidfd)
            os.close(master)
            raise launch.no_resources(error) from error
        return process

    def _watch_terminal(self, master: int, on_mode: Callable[[Mode], None] | None) -> None:
        """Two descriptors, since each end of it is closed by itself: the terminal is hung up when both are."""
        poll, limits = self._poller, self._limits
        writer = os.dup(master)
        try:
            self.stdin = PtyInput(writer, poll, self._credit, limits)
        except OSError:
            os.close(writer)
            raise
        self._outputs = (PtyOutput(STDOUT, master, poll, self._sink, self._pipe_changed, limits, self._loop, on_mode),)
        poll.add(self._pidfd, select.EPOLLIN, self._look)

    @property
    def _terminal(self) -> PtyOutput:
        output = self._outputs[0]
        assert isinstance(output, PtyOutput), "a terminal has one stream"
        return output

    @property
    def mode(self) -> Mode:
        """What the terminal is set to now; "raw" after its end, when nobody edits anything any more."""
        return self._terminal.mode()

    def signal(self, name: str) -> bool:
        """As `PipeProcess.signal`, to the foreground group too, which may be another than the leader's."""
        sent = super().signal(name)
        if not sent and self._pidfd >= 0:  # setsid(1) has not made the group yet
            try:
                signal.pidfd_send_signal(self._pidfd, signal_number(name))
                sent = True
            except ProcessLookupError:
                return False
        group = self.foreground() if self._pidfd >= 0 else None
        if group is not None and group != self.pid:
            sent = signal_group(group, signal_number(name)) or sent
        return sent

    def resize(self, size: Size) -> None:
        """The window has another size: whoever is in the foreground gets SIGWINCH."""
        if self._terminal.fd >= 0:
            _set_size(self._terminal.fd, size)

    def remember(self) -> None:
        """How the terminal is set now, for `mend`."""
        self._remembered = termios.tcgetattr(self._terminal.fd) if self._terminal.fd >= 0 else None

    def mend(self) -> None:
        """Set the terminal as it was remembered, if it is in raw mode now: who did that was killed."""
        if self._terminal.fd >= 0 and self._remembered is not None and self.mode == "raw":
            termios.tcsetattr(self._terminal.fd, termios.TCSANOW, self._remembered)

    def foreground(self) -> int | None:
        """The foreground process group, which ^C would reach, or None."""
        if self._terminal.fd < 0:
            return None
        try:
            group = os.tcgetpgrp(self._terminal.fd)
        except OSError:
            return None
        return group if group > 0 else None

    def write_stdin(self, data: bytes | memoryview) -> None:
        """Keys. They may have been typed for a program that read keys, and lines are read now: then the kernel takes them as it
        would have taken them here. Under EXTPROC ^C would interrupt nobody, and Enter would end no line.
        """
        terminal = self._terminal
        late = False
        if terminal.tells_modes:
            late = self.mode != "raw" and not terminal.kernel_edits
            terminal.kernel_edits |= late
            terminal.set_external(False)
        super().write_stdin(data)
        if late:
            self._end_late()

    def _end_late(self, delay: float = _LINE_AGAIN) -> None:
        """EXTPROC again, when all of it was read: under it ^D would be data."""
        terminal = self._terminal
        if terminal.fd < 0 or not isinstance(self.stdin, PtyInput):
            return
        terminal.mode()  # nothing tells of a change meanwhile
        if self.stdin.queued or self._waiting():
            self._loop.call_later(delay, self._end_late, min(2 * delay, _LINE_AGAIN_MAX))
        else:
            terminal.kernel_edits = False
            terminal.mode()

    def write_line(self, text: bytes) -> None:
        """A line, edited elsewhere, as input; in line mode only, and without an echo. Empty: an end of file.

        Each waits until what came before it was read. Under EXTPROC a read takes all that lies there, but bash's `read` and others trust
        that a terminal gives them one line at a time; and VEOF (^D) is an end of file only where it lies alone (n_tty.c,
        copy_from_read_buf), and else data.
        """
        self._lines.append(text)
        self._lines_size += len(text) + _LINE_ALONE
        if len(self._lines) == 1:
            self._write_lines()

    @property
    def lines_waiting(self) -> int:
        """About how many bytes of memory lines take that nobody has read: who writes them has no credit, and must not go on for ever."""
        own = self.stdin.queued_own if isinstance(self.stdin, PtyInput) else 0
        return self._lines_size + own

    def _forget_lines(self) -> None:
        self._lines.clear()
        self._lines_size = 0
        self._forget_reads()

    def _write_lines(self, delay: float | None = None) -> None:
        """Those whose turn it is. Called again when the terminal was read, and after `delay` even so."""
        terminal = self._terminal
        if terminal.fd < 0 or not isinstance(self.stdin, PtyInput):
            self._forget_lines()
            return
        raw = terminal.mode() == "raw"  # who reads keys gets all of them
        while self._lines:
            if not raw and (self.stdin.queued or self._waiting()):
                if self._lines_timer is None:
                    delay = delay or _LINE_AGAIN
                    self._lines_timer = self._loop.call_later(delay, self._look_again, delay)
                if self._reads is not None or not self._watch_reads():
                    return
                continue  # it may have been read before the watch was there
            line = self._lines.popleft()
            self._lines_size -= len(line) + _LINE_ALONE
            terminal.set_external(not raw)
            self.stdin.write_own(line or terminal.character(termios.VEOF))
        self._forget_reads()

    def _look_again(self, delay: float) -> None:
        self._lines_timer = None
        self._write_lines(min(2 * delay, _LINE_AGAIN_MAX))

    def _watch_reads(self) -> bool:
        try:
            reads = Reads.of(self._loop)
            self._watched = reads.watch(self.slave_path, self._write_lines)
        except OSError:  # the account has none left: then there are the looks
            return False
        self._reads = reads
        return True

    def _forget_reads(self) -> None:
        if self._reads is not None:
            self._reads.forget(self._watched)
            self._reads = None

    def _waiting(self) -> int:
        """Bytes of input that nobody has read."""
        try:
            slave = os.open(self.slave_path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return 0
        try:
            _has_input(slave)  # moves what is on its way (n_tty_poll), which FIONREAD does not count
            count: int = struct.unpack("i", fcntl.ioctl(slave, termios.FIONREAD, b"\0\0\0\0"))[0]
            return count
        except OSError:
            return 0
        finally:
            os.close(slave)

    def unread(self) -> bytes:
        """Take back the input that nobody has read. Only while the program is known not to read: see `shell`."""
        later = b"".join(self._lines)
        self._forget_lines()
        try:
            slave = os.open(self.slave_path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return later
        found = b""
        try:
            self._terminal.set_external(True)  # also what is no whole line
            while len(found) < _HELD_MAX and (data := os.read(slave, 65536)):
                found += data
        except OSError:  # EAGAIN: no more; EIO: hung up
            pass
        finally:
            os.close(slave)
        return found + later


class PtyInput(InputPipe):
    """The terminal's input. Its end is a character, not a closed descriptor."""

    __slots__ = ("_end_due", "_own", "_tell")

    def __init__(self, fd: int, poll: Poller, credit: Callable[[int], None], limits: Limits) -> None:
        super().__init__(fd, poll, self._credit_data, limits)
        self._tell = credit
        self._own = 0  # queued bytes that did not come as data, and so give no credit back
        self._end_due = False

    @property
    def queued_own(self) -> int:
        """Bytes of these that the terminal did not take."""
        return self._own

    def write_own(self, data: bytes) -> None:
        """Queue what did not come as data: lines, characters."""
        self._own += len(data)
        self.write(data)

    def _credit_data(self, n: int) -> None:
        own = min(n, self._own)
        self._own -= own
        if n > own:
            self._tell(n - own)

    def close_when_written(self) -> None:
        """VEOF (^D) after what is queued, twice: the first ends a line that was begun. A program in raw mode hears of no end."""
        self._end_due = True
        self._write_end()

    def _writable(self) -> None:
        if self._queue:
            super()._writable()
        self._write_end()

    def _write_end(self) -> None:
        if not self._end_due or self._queue or self.fd < 0:
            return
        try:
            if _mode_of(self.fd) != "raw":
                os.write(self.fd, _character(self.fd, termios.VEOF) * 2)
        except BlockingIOError:
            self._watch()
            return
        except OSError:  # hung up
            self.close()
            return
        self._end_due = False
        self._unwatch()


class PtyOutput(OutputPipe):
    """The terminal's output, in packet mode where modes are told."""

    __slots__ = ("_loop", "_mode", "_on_mode", "_timer", "kernel_edits")

    def __init__(
        self,
        stream: int,
        fd: int,
        poll: Poller,
        sink: Sink,
        changed: Callable[[], None],
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        on_mode: Callable[[Mode], None] | None,
    ) -> None:
        super().__init__(stream, fd, poll, sink, changed, limits)
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None  # EXTPROC is still to be switched
        self._on_mode = on_mode
        self._mode: Mode | None = None
        self.kernel_edits = False  # for once, though lines are read
        if on_mode is not None:
            self._look_at_mode()

    @property
    def tells_modes(self) -> bool:
        """Somebody else edits lines."""
        return self._on_mode is not None

    def mode(self) -> Mode:
        """As the terminal is set now; a change that was not told yet is told."""
        if self._on_mode is not None:
            self._look_at_mode()
            assert self._mode is not None, "looked at"
            return self._mode
        return _mode_of(self.fd) if self.fd >= 0 else "raw"

    def set_external(self, on: bool) -> None:
        """Switch EXTPROC on or off."""
        if self.fd >= 0:
            _set_external(self.fd, on)

    def character(self, index: int) -> bytes:
        """One of the terminal's special characters."""
        return _character(self.fd, index) if self.fd >= 0 else b""

    def settle(self) -> None:
        """Pass on what the terminal holds. A read of its master first moves all that was written (n_tty_read), so EAGAIN means none.

        A terminal's FIONREAD does not count what is on its way, so it is not asked. What a background job goes on writing meanwhile
        is bounded by what a terminal can hold.
        """
        self._pass_on(_HELD_MAX)

    def _pass_on(self, budget: int) -> None:
        while budget > 0 and self.fd >= 0:
            if self.paused:
                self.due = budget if _has_input(self.fd) else 0
                return
            data = self._read(self._size)
            if not data:
                break
            budget -= len(data)
            self.sink.on_output(self.stream, data)
        self.due = 0

    def _readable(self) -> None:
        if self.due:
            self._pass_on(self.due)
            if not self.due:
                self._changed()
            return
        data = self._read(self._size)
        if data:
            self.sink.on_output(self.stream, data)
        elif data is not None:
            self._changed()

    def _read(self, size: int) -> bytes | None:
        """As `OutputPipe._read`; EIO is the end: nobody has the other side open."""
        while True:
            try:
                data = os.read(self.fd, size)
            except BlockingIOError:
                return None
            except OSError:
                data = b""
            if not data:
                self.close()
                self.sink.on_output_end(self.stream)
                return data
            if self._on_mode is None:
                return data
            if data[0]:  # TIOCPKT_IOCTL and its like: one byte of flags
                self._look_at_mode()
            elif len(data) > 1:
                if self._mode == "raw" or self.kernel_edits or self._timer is not None:
                    # without EXTPROC no packet tells of the next change
                    self._look_at_mode()
                return data[1:]

    def _grow(self) -> None:
        """A terminal's buffers are the kernel's own."""

    def _look_at_mode(self) -> None:
        mode = _mode_of(self.fd) if self.fd >= 0 else "raw"
        if self._timer is not None and mode != self._mode:
            self._timer.cancel()
            self._timer = None
        if self.fd >= 0 and self._timer is None and _is_external(self.fd) != self._shall_be_external(mode):
            # Not at once: stty(1) compares what it set with what is set then, and calls a difference a failure.
            self._timer = self._loop.call_later(_EXTERNAL_LATER, self._switch)
        if mode != self._mode:
            self._mode = mode
            if self._on_mode is not None:
                self._on_mode(mode)

    def _shall_be_external(self, mode: Mode) -> bool:
        """In raw mode the kernel has to see ^C; in the others `stty sane` may have switched EXTPROC off."""
        return mode != "raw" and not self.kernel_edits

    def _switch(self) -> None:
        self._timer = None
        if self.fd >= 0:
            _set_external(self.fd, self._shall_be_external(_mode_of(self.fd)))
            self._look_at_mode()


def _prepare(master: int, size: Size, *, line_mode: bool) -> None:
    _set_size(master, size)
    attributes = termios.tcgetattr(master)
    attributes[0] |= _IUTF8
    if line_mode:
        attributes[_LFLAG] |= _EXTPROC
        fcntl.ioctl(master, _TIOCPKT, struct.pack("i", 1))
    termios.tcsetattr(master, termios.TCSANOW, attributes)


def _has_input(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def _set_size(fd: int, size: Size) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))


def _is_external(fd: int) -> bool:
    return bool(termios.tcgetattr(fd)[_LFLAG] & _EXTPROC)


def _set_external(fd: int, on: bool) -> None:
    attributes = termios.tcgetattr(fd)
    if bool(attributes[_LFLAG] & _EXTPROC) != on:
        attributes[_LFLAG] ^= _EXTPROC
        termios.tcsetattr(fd, termios.TCSANOW, attributes)


def _mode_of(fd: int) -> Mode:
    """termios(3): ICANON, ECHO."""
    flags = termios.tcgetattr(fd)[_LFLAG]
    if not flags & termios.ICANON:
        return "raw"
    return "cooked" if flags & termios.ECHO else "no_echo"


def _character(fd: int, index: int) -> bytes:
    character: bytes = termios.tcgetattr(fd)[_CC][index]
    return character
