"""A connection through ssh: `ssh HOST remote-shell pipe` as a child of ours, with one end of a socket pair as its stdin and stdout.

ssh finds the host, encrypts, says who is who and asks the person; nothing of that is done again. Nothing is sent before the preamble was
seen, so a shell over there that prints or reads has nothing of ours to spoil. Signals from the keyboard mean the command and never ssh,
which ignores them. Not subprocess: its import costs as much as the child. Neighbours: `ssh_command` has its words, `ssh_faults` tells what
went wrong.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import time
from typing import Any

from remote_shell.client import ssh_command, ssh_faults
from remote_shell.client.plan import Trip
from remote_shell.client.ssh_faults import Ended
from remote_shell.errors import ConnectError
from remote_shell.limits import Limits
from remote_shell.link import Buffers, PlainLink
from remote_shell.wire.preamble import Preamble

_PAUSE = 0.3  # seconds of quiet after which what ssh has said is for a person: it waits for an answer
_LOST_TIME = 0.2  # seconds from the end of the stream to that of ssh, which is what says why
_FAULT_TIME = 1.0  # the same before there was a connection


class SshLink(PlainLink):
    """`handshake` until the preamble was seen, then a link as any other; its `transport` is that of the socket behind the pipe."""

    __slots__ = (
        *("_ahead", "_errors", "_limits", "_pid", "_pidfd", "_preamble", "_trip", "_shown", "_status", "_visible"),
        "_words",
    )

    def __init__(self, trip: Trip, seconds: float, limits: Limits) -> None:
        """Start it. With `trip.asks` it may use our terminal, for questions and for what it says.

        `seconds` is how long it may take to connect. Raises ConnectError if there is no ssh, OSError if there are no descriptors.
        """
        if not ssh_command.is_installed():
            raise ssh_faults.no_ssh(trip)
        self._trip = trip
        self._limits = limits
        self._shown = 0  # so many bytes of what it says
        self._visible: Any = None  # Visible, from the first word on
        self._preamble = Preamble()
        self._ahead = b""
        self._words = b""
        self._status: int | None = None  # as waitpid's; None while it lives, or if somebody else has taken it
        self._pid = self._pidfd = -1
        ours, theirs = socket.socketpair()
        os.set_blocking(theirs.fileno(), True)  # gevent's are not, and a program's stdin is
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.unsent_max)  # what Ctrl-C may have to wait behind
        # not to wait is ssh's end too: it never stops for us
        self._errors, errors_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            # in this order none is overwritten before it is used: whatever was closed, the pipe is above 1
            stream, words = theirs.fileno(), errors_write
            self._pid = os.posix_spawn(
                "/bin/sh",
                ssh_command.argv(trip, seconds),
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, one, number) for number, one in enumerate((stream, stream, words))],
                setsid=not trip.asks,  # without a terminal there is nothing that it could ask on, whatever its settings are
                setsigdef=[signal.SIGPIPE, signal.SIGTERM],
                setsigmask=[],
            )
            self._pidfd = os.pidfd_open(self._pid)
            super().__init__(_above_2(ours), limits.unsent_max)
        except BaseException:
            ours.close()
            self._end()
            raise
        finally:
            theirs.close()
            os.close(errors_write)

    # --- before there is a connection

    def descriptors(self) -> tuple[int, ...]:
        """What to wait on for `handshake`: the stream, and what ssh says."""
        return (self.fileno(),) if self._errors < 0 else (self.fileno(), self._errors)

    def handshake(self) -> bool:
        """Read what is there. True when the preamble was seen. Raises ConnectError, AccessDeniedError, ServerIdentityError."""
        preamble = self._preamble
        while not preamble.seen:
            self._hear()
            try:
                data = super().recv()
            except ConnectionError:
                data = b""
            if data is None:
                return False
            if not data:
                self._wait(_FAULT_TIME)
                self._hear()
                raise ssh_faults.did_not_start(self._trip, self._ended())
            self._ahead += preamble.feed(data)
            if preamble.too_noisy:
                raise ssh_faults.too_noisy(self._trip, preamble.noise)
        self._hear()
        self._words = b""  # why it will end has not been said yet
        return True

    def show(self) -> None:
        """What ssh said, to the person whom it may be asking something; not at once, since mostly it goes on or ends, and then we speak."""
        if self._trip.asks and self._shown < len(self._words):
            words = self._words[self._shown :]
            if os.isatty(2):  # words of the other side may be among them
                from remote_shell.terminal.visible import Visible  # few connections ask or warn

                self._visible = self._visible or Visible()
                words = self._visible.feed(words)
            with contextlib.suppress(OSError):
                os.write(2, words)
            self._shown = len(self._words)

    def too_slow(self, seconds: float) -> Exception:
        """Why there is still no connection."""
        self._hear()
        return ssh_faults.too_slow(self._trip, seconds, self._ended())

    # --- a link

    def recv(self) -> bytes | None:
        """What is there, None for nothing now. Raises ConnectionAbortedError at the end if that is ssh's own."""
        if self._ahead:
            data, self._ahead = self._ahead, b""
            return data
        try:
            data_or_none = super().recv()
        except ConnectionError:
            data_or_none = b""
        if data_or_none != b"":
            return data_or_none
        why = self._epitaph()
        if why is None:
            return b""
        raise ConnectionAbortedError(why)

    def send(self, buffers: Buffers) -> int:
        """Take what goes now."""
        try:
            return super().send(buffers)
        except ConnectionError as error:
            raise ConnectionAbortedError(self._epitaph() or str(error)) from None

    def finish(self) -> bool:
        """Send nothing more. True when all has left: ssh itself has ended."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        return self._wait(0.0)

    def close(self) -> None:
        """Close the stream, and end ssh if it is still there; safe to repeat."""
        super().close()
        self._end()

    # --- the child

    @property
    def pid(self) -> int:
        """Of ssh; -1 after its end."""
        return self._pid

    def _hear(self) -> None:
        """Keep what ssh says, up to a bound."""
        if self._errors < 0:
            return
        while True:
            try:
                said = os.read(self._errors, 16 * 1024)
            except BlockingIOError:
                return
            if not said:  # nobody has the other end any more
                os.close(self._errors)
                self._errors = -1
                return
            self._words += said[: max(0, self._limits.ssh_words_max - len(self._words))]

    def _wait(self, seconds: float) -> bool:
        """Whether it has ended; waits for that so long at most. Then it is reaped."""
        if self._pid < 0:
            return True
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return False
        try:
            _, self._status = os.waitpid(self._pid, 0)
        except ChildProcessError:  # a handler of the program's took it
            self._status = None
        os.close(self._pidfd)
        self._pid = self._pidfd = -1
        return True

    def _epitaph(self) -> str | None:
        """Why the stream ended, if ssh says so: None where the other side ended it."""
        if not self._wait(_LOST_TIME):
            return None
        self._hear()
        return ssh_faults.epitaph(self._ended())

    def _ended(self) -> Ended:
        return Ended(self._pid < 0, self._status, self._words, self._preamble.noise)

    def _end(self) -> None:
        """TERM first: it gives back a terminal whose echo it has switched off, and a master's socket."""
        if self._pid >= 0:
            for number, seconds in ((signal.SIGTERM, self._limits.ssh_end_time), (signal.SIGKILL, -0.001)):
                if self._pidfd < 0:  # there was no descriptor left for one
                    os.kill(self._pid, signal.SIGKILL)
                    os.waitpid(self._pid, 0)
                    self._pid = -1
                    break
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd, number)
                if self._wait(seconds):
                    break
        if self._errors >= 0:
            os.close(self._errors)
            self._errors = -1


def _above_2(sock: socket.socket) -> socket.socket:
    """With `<&-` it would be 0, and read as the command's stdin."""
    if sock.fileno() > 2:
        return sock
    try:
        return socket.socket(fileno=fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))
    finally:
        sock.close()


class SshCall:
    """An ssh on its way, for both fronts: until when, a person's time aside, and when to look after it."""

    def __init__(self, trip: Trip, limits: Limits, deadline: float) -> None:
        """`deadline` is monotonic. Raises ConnectError."""
        self._began = time.monotonic()
        self._asks = trip.asks
        self._until = max(deadline, self._began + limits.ssh_ask_time) if trip.asks else deadline
        try:
            self.link = SshLink(trip, deadline - self._began, limits)
        except OSError as error:
            raise ConnectError(f"{trip.name}: can't start ssh: {error.strerror or error}") from None

    def next_look(self) -> float:
        """Until then something may come."""
        return min(self._until, time.monotonic() + _PAUSE)

    def look(self) -> None:
        """Nothing came. Raises what `SshLink.too_slow` says when it is too late."""
        now = time.monotonic()
        if now >= self._until:
            raise self.link.too_slow(self._until - self._began)
        self.link.show()

    def person_took(self) -> float:
        """Seconds that are not the machine's, as far as that can be known."""
        return time.monotonic() - self._began if self._asks else 0.0
