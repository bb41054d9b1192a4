"""The keeper: the process that one detached job has for a parent. It holds the job's pipes, log and lock, and alone signals it.

Its session is its own and it is the only subreaper above the job's processes, so a server may come and go, and no process of the job gets
away. What the job wrote, and how it ended, is on the disk before anybody is told. It imports neither asyncio, nor ssl, nor pydantic, and
nothing that imports `dataclasses` or `typing`: there is one keeper a job, of at most 12 MB.

A full disk pauses the job: its output is kept here, its pipes are read no more, and once a second the write is tried again. Dropping
output was rejected: a log with holes that nobody asked for; so was ending the job: space comes back.

Servers talk to it through `socket` in the job's folder. Neighbour: `visitors` has what they say.

Descriptors at the start: 0 a memfd with the orders, 1 the pipe for the word on the start, 2 a file, 3 the job's folder, 4 its lock.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import marshal
import os
import select
import signal
import struct
import termios
import time

from remote_shell.audit.appending import Appending, stamp
from remote_shell.jobs import durable, family
from remote_shell.jobs.log import PAYLOAD_MAX, STDERR, STDOUT, LogWriter
from remote_shell.jobs.visitors import Visitors

_REPORT, _FOLDER, _LOCK = 1, 3, 4
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_IGNORED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
)  # a machine's shutdown is first the job's to hear of
_DEFAULT = (*_IGNORED, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD)
_LOOK = 0.05  # seconds between two looks at a tree that is being killed


class Orders:
    """What a keeper is told by the server that starts it. Times are seconds, sizes bytes."""

    def __init__(
        self,
        *,
        argv: list[bytes],
        program: bytes,
        cwd: bytes,
        env: dict[bytes, bytes],
        merge: bool,
        timeout: float | None,
        kill_grace: float,
        kill_give_up: float,
        retry: float,
        clients_max: int,
        segment: int,
        total: int,
        audit: tuple[str, bytes] | None,
        audit_tries: int,
    ) -> None:
        self.argv, self.program, self.cwd, self.env = argv, program, cwd, env
        self.merge = merge  # stderr is a copy of stdout
        self.timeout = timeout
        self.kill_grace, self.kill_give_up = kill_grace, kill_give_up
        self.retry = retry  # after a failed write
        self.clients_max = clients_max
        self.segment, self.total = segment, total  # of the log
        self.audit, self.audit_tries = audit, audit_tries  # its file, and what this job's last line there begins with

    def forget(self) -> None:
        """It is started: what it was started with, up to a megabyte, is not held for as long as it runs."""
        self.argv, self.env = [], {}
        with contextlib.suppress(AttributeError):  # a C library without it
            ctypes.CDLL(None).malloc_trim(0)


def main() -> None:
    """Keep one job until it has ended and nobody holds its pipes. Never returns."""
    with open(0, "rb", closefd=False) as file:
        file.seek(0)
        orders = Orders(**marshal.loads(file.read()))  # noqa: S302  # the server's own, from a memfd
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > _LOCK:
            with contextlib.suppress(OSError):  # the listing's own is gone
                os.close(fd)
        elif fd >= _FOLDER:
            os.set_inheritable(fd, False)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.chdir("/")
    try:
        keeper = Keeper(orders)
        started = keeper.start()
    except OSError as error:
        _report(("failed", "keeper", error.errno or 0))
        os._exit(1)
    _report(started)
    if started[0] == "started":
        keeper.run()
    os._exit(0)


def _report(word: tuple[str | int, ...]) -> None:
    """Tell the server, and free descriptor 1, so that nothing waits for us any more."""
    try:
        os.write(_REPORT, marshal.dumps(word))
    except OSError:  # it is gone: the proof is in the folder
        pass
    os.dup2(0, _REPORT)


class Keeper:
    """One job, from its start to its end."""

    def __init__(self, orders: Orders) -> None:
        """Raises OSError: nothing was started."""
        self._orders = orders
        self._log = LogWriter(_FOLDER, orders.segment, orders.total)
        self._poll = select.poll()
        self._pipes: dict[int, int] = {}  # descriptor -> stream
        self._paused: list[tuple[int, bytes]] = []  # what the disk had no room for; then no pipe is read
        self._trouble = ""
        self._leader = 0
        self._began = 0.0
        self._ended: tuple[int, float] | None = None  # the leader's wait status, and how long it ran
        self._recorded = False
        self._line = b""  # for the audit, not written yet
        self._tries = 0
        self._timed_out = False
        self._kill_at: float | None = None  # from then on KILL, until nothing is left or
        self._killed_until = 0.0  # so long
        self._looks: dict[str, float] = {}  # when what is due next
        self._visitors = Visitors(self._poll, _FOLDER, orders.clients_max, self._answer)
        self._wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._poll.register(self._wake, select.POLLIN)

    # --- the start

    def start(self) -> tuple[str | int, ...]:
        """Make the claim durable, then the proof, then start the command. Raises OSError: nothing was started.

        ("started", pid, Unix time in ms), or ("failed", what was tried, errno) where the system would not.
        """
        for name in ("claim", ".", ".."):
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=_FOLDER)
            os.fsync(fd)
            os.close(fd)
        ends = [os.pipe2(os.O_CLOEXEC) for _ in range(1 if self._orders.merge else 2)]
        heard, told = os.pipe2(os.O_CLOEXEC)
        gate, key = os.pipe2(os.O_CLOEXEC)
        at = time.time_ns() // 1_000_000
        self._leader = os.fork()
        if self._leader == 0:
            os.close(key)
            self._become([write for _, write in ends], gate, told)
        os.close(told)
        os.close(gate)
        for stream, (read, write) in zip((STDOUT, STDERR), ends, strict=False):
            os.close(write)
            os.set_blocking(read, False)
            self._pipes[read] = stream
            self._poll.register(read, select.POLLIN)
        try:
            text = f'{{"pid":{self._leader},"keeper":{os.getpid()},"started_at_ms":{at}}}'
            durable.write(_FOLDER, "started", text.encode())
            self._began = time.monotonic()
            os.write(key, b"!")  # not before: what runs without a proof could never be told from what did not
        finally:
            os.close(key)
        with open(heard, "rb", buffering=0) as file:
            fault = file.readall()
        if fault:
            os.waitpid(self._leader, 0)
            return ("failed", *marshal.loads(fault))  # noqa: S302  # our own child's
        self._orders.forget()
        if self._orders.timeout is not None:
            self._looks["timeout"] = self._began + self._orders.timeout
        return ("started", self._leader, at)

    def _become(self, outputs: list[int], gate: int, told: int) -> None:
        """In the child: become the command, or say why not. Never returns."""
        orders = self._orders
        tried = "keeper"
        try:
            if not os.read(gate, 1):
                return
            os.setsid()
            for number in _DEFAULT:
                signal.signal(number, signal.SIG_DFL)
            os.dup2(outputs[0], 1)
            os.dup2(outputs[-1], 2)
            tried = "cwd"
            os.chdir(orders.cwd)
            tried = "program"
            os.execve(orders.program, orders.argv, orders.env)
        except OSError as error:
            os.write(told, marshal.dumps((tried, error.errno or 0)))
        finally:
            os._exit(127)

    # --- the loop

    def run(self) -> None:
        """Until the command has ended, that is on the disk, and nobody holds its pipes any more."""
        while not (self._recorded and self._kill_at is None and not (self._pipes or self._paused or self._line)):
            now = time.monotonic()
            due = min(self._looks.values(), default=None)
            for fd, _ in self._poll.poll(None if due is None else max(0.0, due - now) * 1000 + 1):
                self._ready(fd)
            now = time.monotonic()
            for name in [name for name, at in self._looks.items() if at <= now]:
                if self._looks.pop(name, None) is not None:
                    self._look(name, now)
        try:
            self._log.sync()
        except OSError:
            pass  # of what came after the end that was told
        self._visitors.close()

    def _ready(self, fd: int) -> None:
        if fd in self._pipes:
            self._read(fd)
        elif fd == self._wake:
            os.read(fd, 4096)
            self._reap()
        else:
            self._visitors.ready(fd)

    def _look(self, name: str, now: float) -> None:
        if name == "timeout" and self._ended is None:
            self._timed_out = True
            self._kill(self._orders.kill_grace)
        elif name == "kill":
            self._kill_on(now)
        elif name == "retry":
            self._store()
        elif name == "audit":
            self._tell_audit()

    # --- output

    def _read(self, fd: int) -> bool:
        """Take what is there. False: nothing is there now."""
        try:
            data = os.read(fd, PAYLOAD_MAX)
        except BlockingIOError:
            return False
        if not data:
            self._drop_pipe(fd)
            return False
        self._paused.append((self._pipes[fd], data))
        self._store()
        return True

    def _drop_pipe(self, fd: int) -> None:
        del self._pipes[fd]
        if not self._trouble:
            self._poll.unregister(fd)
        os.close(fd)

    def _store(self) -> None:
        """Write what waits, and the end when it is time; without room for it, read no more and try again later."""
        try:
            while self._paused:
                self._log.write(*self._paused[0])
                del self._paused[0]
            if self._ended is not None and not self._recorded:
                self._record(*self._ended)
        except OSError as error:
            self._looks["retry"] = time.monotonic() + self._orders.retry
            if not self._trouble:
                for fd in self._pipes:
                    self._poll.unregister(fd)
            self._set_trouble(f"its log cannot be written: {os.strerror(error.errno or 0)}; the job waits")
            return
        if self._trouble:
            for fd in self._pipes:
                self._poll.register(fd, select.POLLIN)
            self._set_trouble("")
        self._visitors.tell(b"+\n")

    def _set_trouble(self, text: str) -> None:
        if text != self._trouble:
            self._trouble = text
            self._visitors.tell(b"trouble %s\n" % text.encode())

    # --- the end

    def _reap(self) -> None:
        """Our children are the command and orphans that we adopted; nobody else waits for them."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._leader:
                self._ended = status, time.monotonic() - self._began
                self._looks.pop("timeout", None)
                self._drain()

    def _drain(self) -> None:
        """What the command wrote is in the pipes now: store it, then its end. What survivors write comes after."""
        for fd in list(self._pipes):
            left: int = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0]
            while left > 0:
                data = os.read(fd, min(left, PAYLOAD_MAX))
                left -= len(data)
                self._paused.append((self._pipes[fd], data))
        self._store()

    def _record(self, status: int, seconds: float) -> None:
        self._log.sync()
        code, number = (os.WEXITSTATUS(status), 0) if os.WIFEXITED(status) else (-1, os.WTERMSIG(status))
        text = (
            f'{{"status":{code},"signal":{number},"timed_out":{"true" if self._timed_out else "false"},'
            f'"duration_us":{int(seconds * 1e6)},"ended_at_ms":{time.time_ns() // 1_000_000},'
            f'"stdout":{self._log.sizes[STDOUT]},"stderr":{self._log.sizes[STDERR]}}}'
        )
        durable.write(_FOLDER, "status", text.encode())
        self._recorded = True
        self._line = self._audit_line(code, number, seconds)
        self._tell_audit()
        self._visitors.tell(b"ended\n")

    def _audit_line(self, code: int, number: int, seconds: float) -> bytes:
        """What docs/audit.md has as `end`; json would be a megabyte more in each keeper."""
        if self._orders.audit is None:
            return b""
        how = f'"signal":"{signal.Signals(number).name}"' if number else f'"status":{code}'
        return (
            b'{"time":"%s",' % stamp(time.time()).encode()
            + self._orders.audit[1]
            + f',"pid":{self._leader},{how},"timed_out":{"true" if self._timed_out else "false"},"duration_ms":{int(seconds * 1000)},'
            f'"stdout":{self._log.sizes[STDOUT]},"stderr":{self._log.sizes[STDERR]}}}\n'.encode()
        )

    def _tell_audit(self) -> None:
        """Where the disk is full, again later, but not for ever: the job has ended, and that is told elsewhere."""
        if not self._line or self._orders.audit is None:
            return
        try:
            file = Appending(self._orders.audit[0])
            file.write(self._line)
            file.close()
        except OSError:
            self._tries += 1
            if self._tries < self._orders.audit_tries:
                self._looks["audit"] = time.monotonic() + self._orders.retry
                return
        self._line = b""

    def _kill(self, grace: float) -> None:
        """End every process of the job: TERM now, KILL after `grace` seconds."""
        now = time.monotonic()
        if grace > 0 and self._kill_at is None:
            family.signal_all(os.getpid(), signal.SIGTERM)
            family.signal_all(os.getpid(), signal.SIGCONT)  # a stopped process takes no other signal
        self._kill_at = min(now + grace, self._kill_at or now + grace)
        self._killed_until = self._kill_at + self._orders.kill_give_up
        self._looks["kill"] = now if grace <= 0 else min(now + _LOOK, self._kill_at)

    def _kill_on(self, now: float) -> None:
        assert self._kill_at is not None, "a ladder is under way"
        me = os.getpid()
        left = family.signal_all(me, signal.SIGKILL) if now >= self._kill_at else len(family.living(me))
        self._reap()
        if left and now < self._killed_until:
            self._looks["kill"] = now + _LOOK
            return
        self._kill_at = None
        for fd in list(self._pipes):  # nobody is left who could write; what hangs in the kernel must not keep us
            while self._read(fd):
                pass
            if fd in self._pipes:
                self._drop_pipe(fd)

    # --- those who ask

    def _answer(self, words: list[bytes]) -> bytes:
        """The lines that a request gets; none for what is no request."""
        if words == [b"follow"]:
            log = self._log
            at = b"at %d %d %d %d\n" % (log.number, log.position, log.sizes[STDOUT], log.sizes[STDERR])
            # first: who wants no more than the place hangs up at it
            return (b"trouble %s\n" % self._trouble.encode() if self._trouble else b"") + at
        if len(words) != 2 or not words[1].isdigit():
            return b""
        if words[0] == b"signal":
            if self._ended is not None:
                return b"late\n"
            with contextlib.suppress(OSError, OverflowError):
                os.killpg(self._leader, int(words[1]))  # not reaped yet, so the number is its own
            return b"signalled\n"
        if words[0] == b"kill":
            self._kill(int(words[1]) / 1000)
            return b"killing\n"
        return b""
