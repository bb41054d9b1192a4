"""Both ends of a conversation in one process: sockets that close, threads that end, and conditions to wait for.

Lessons run their programs on it. Whatever happens in a lesson, Ctrl-C included, no thread and no socket outlives the `with`.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from remote_shell.demo.delay import carry
from remote_shell.demo.recorder import Note, RecordedSocket

Sock = TypeVar("Sock", bound=socket.socket)
PATIENCE = 10.0  # seconds; no lesson waits longer for anything


class Task(threading.Thread):
    """A function in a thread of its own; `result()` waits for what it returns, and raises what it raised."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        super().__init__(daemon=True)
        self._work = partial(function, *arguments)
        self._returned: Any = None
        self._raised: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._returned = self._work()
        except BaseException as error:  # noqa: BLE001  it is raised again by result()
            self._raised = error

    def result(self, patience: float = PATIENCE) -> Any:
        self.join(patience)
        if self.is_alive():
            raise TimeoutError(f"a thread of the lesson did not end within {patience:g} s")
        if self._raised is not None:
            raise self._raised
        return self._returned


class Ends:
    """A listener on loopback, those who call it, and the threads between them. `notes` has what their calls did.

    Args:
        receive_buffer: bytes that the kernel may hold for a caller (SO_RCVBUF); None leaves it as it is.
    """

    def __init__(self, receive_buffer: int | None = None) -> None:
        self.notes: list[Note] = []
        self._receive_buffer = receive_buffer
        self._sockets: list[socket.socket] = []
        self._tasks: list[Task] = []
        self.listener = self.keep(RecordedSocket(socket.create_server(("127.0.0.1", 0)), "server", self.notes))

    def keep(self, sock: Sock) -> Sock:
        """A socket that ends with the others."""
        self._sockets.append(sock)
        return sock

    def call(self, address: Any = None) -> RecordedSocket:
        """A new connection to the listener, or to `address`: the end that called it, recorded as "client"."""
        sock = self.keep(RecordedSocket(socket.socket(), "client", self.notes))
        if self._receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        sock.connect(address or self.listener.getsockname())
        return sock

    def pair(self, address: Any = None) -> tuple[RecordedSocket, RecordedSocket]:
        """A new connection: the end that called, and the one that was called."""
        caller = self.call(address)
        accepted, _ = self.listener.accept()
        assert isinstance(accepted, RecordedSocket)
        return caller, self.keep(accepted)

    def far_pair(self, seconds: float) -> tuple[RecordedSocket, RecordedSocket]:
        """A new connection as `pair` makes it, with a delay of `seconds` each way, and with Nagle's algorithm off."""
        outside = [socket.socket(), socket.socket()]
        inside = []
        for sock in outside:
            self._sockets.append(sock)
            sock.connect(self.listener.getsockname())
            accepted, _ = socket.socket.accept(self.listener)
            self._sockets.append(accepted)
            inside.append(accepted)
        for sock in (*outside, *inside):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.start(carry, inside[0], inside[1], seconds)
        self.start(carry, inside[1], inside[0], seconds)
        return (
            self.keep(RecordedSocket(outside[0], "client", self.notes)),
            self.keep(RecordedSocket(outside[1], "server", self.notes)),
        )

    def start(self, function: Callable[..., object], *arguments: object) -> Task:
        """Calls a function in a thread."""
        task = Task(function, *arguments)
        self._tasks.append(task)
        return task

    def __enter__(self) -> Ends:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in self._sockets:
            with suppress(OSError):  # not connected, or gone already
                sock.shutdown(socket.SHUT_RDWR)  # wakes whoever waits in accept, recv or send; close alone does not
        for task in self._tasks:
            task.join(PATIENCE)
        for sock in self._sockets:
            sock.close()


def wait_until(condition: Callable[[], object], patience: float = PATIENCE) -> bool:
    """Whether a condition came true in time."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def unread(sock: socket.socket) -> int:
    """How many bytes the kernel holds for this end, which has not read them yet."""
    return _number(sock, termios.FIONREAD)


def on_the_way(sock: socket.socket) -> int:
    """How many bytes this end has sent that the other kernel has not confirmed yet."""
    return _number(sock, termios.TIOCOUTQ)


def _number(sock: socket.socket, what: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(sock, what, bytes(4)))[0])
