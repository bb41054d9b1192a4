"""A proxy with faults between a client and a server, in a thread of the test's own process.

It passes bytes from a TCP or Unix address to another and can cut the link at chosen bytes, delay each direction, stall, pass
slices, or turn newcomers away. It knows no protocol. `with Proxy("unix:/run/s", cut_after=...) as proxy: connect(proxy.target)`.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import socket
import struct
import tempfile
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any

UNDER_WAY_MAX = 16 * 1024 * 1024  # bytes held in one direction: more than any bandwidth times delay of a test
READ_SIZE = 256 * 1024
HEARD_MAX = 64 * 1024  # bytes of each direction that are kept to look at
_IN, _OUT, _GONE = select.POLLIN, select.POLLOUT, select.POLLHUP | select.POLLERR


class _Way:
    """One direction of a connection."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.chunks: deque[tuple[float, bytes]] = deque()  # when due, what
        self.size = 0
        self.ended = False  # the source has no more
        self.shut = False  # and the sink was told
        self.full = False  # the sink takes nothing now


class _Connection:
    """A client's connection and the one to the server."""

    def __init__(self, client: socket.socket, server: socket.socket, budget: int | None, number: int) -> None:
        self.number = number
        self.ways = (_Way(client, server), _Way(server, client))
        self.budget = budget  # bytes until the cut
        self.passed = [0, 0]


class Proxy:
    """`target` is what a client connects to, of the kind that `upstream` is ("unix:PATH", "tls:HOST:PORT", "tcp:HOST:PORT").

    `latency` is in seconds each way; `piece` the most bytes passed at once; `cut_after(number)` gives the bytes (both ways
    together) after which connection `number` is cut, or None; `reset` cuts TCP by RST,
    which takes what was not read yet along, and not by FIN. `record` keeps what passed: see `recorded`.
    """

    def __init__(
        self,
        upstream: str,
        *,
        latency: float = 0.0,
        piece: int = 0,
        cut_after: Callable[[int], int | None] | None = None,
        reset: bool = False,
        record: bool = False,
    ) -> None:
        self.latency = latency
        self.piece = piece
        self.cut_after = cut_after
        self.reset = reset
        self.cuts = 0
        self.accepted = 0
        self.passed = [0, 0]  # bytes to the server, to the client
        self.said = bytearray()  # the first of what the server was sent
        self.heard = bytearray()  # and of what clients were
        self.flights = 0  # times that the client began to speak, the server having had the last word
        self.recorded: dict[tuple[int, int], bytearray] = {}  # (connection from 1, 0 to the server or 1) -> what passed
        self._record = record
        self._last_to_speak = 1
        self._kind, _, address = upstream.partition(":")
        self._family = socket.AF_UNIX if self._kind == "unix" else socket.AF_INET
        self._upstream: Any = (
            address if self._kind == "unix" else (address.rpartition(":")[0], int(address.rpartition(":")[2]))
        )
        self._folder = tempfile.mkdtemp(prefix="proxy-")
        self._listener = socket.socket(self._family, socket.SOCK_STREAM)
        self._listener.bind(os.path.join(self._folder, "s") if self._kind == "unix" else ("127.0.0.1", 0))
        self._listener.listen(64)
        self._listener.setblocking(False)
        name = self._listener.getsockname()
        self.target = f"unix:{name}" if self._kind == "unix" else f"{self._kind}:127.0.0.1:{name[1]}"
        self._connections: list[_Connection] = []
        self._orders: deque[Callable[[], None]] = deque()
        self._stalled = False
        self._away = False
        self._closing = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._serve, name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- for tests, from any thread

    def cut(self) -> None:
        """Cut every connection now; returns when it is done."""
        self._order(self._cut_all)

    def cut_in(self, count: int) -> None:
        """Cut those that there are now after `count` more bytes, both ways together."""

        def set_budgets() -> None:
            for connection in self._connections:
                connection.budget = count

        self._order(set_budgets)

    def stall(self, stalled: bool = True) -> None:
        """Pass nothing on, as a dead link that nobody told of; or go on."""
        self._order(lambda: setattr(self, "_stalled", stalled))

    def go_away(self, away: bool = True) -> None:
        """Cut, and close the door to newcomers at once; or let them in again."""

        def go() -> None:
            self._away = away
            if away:
                self._cut_all()

        self._order(go)

    def told(self, what: bytes, times: int = 1) -> bool:
        """Whether the clients have read this so many times, from a server on a Unix socket: they know then what it says."""
        if self.heard.count(what) < times:
            return False
        unread: list[int] = []

        def look() -> None:
            for connection in self._connections:
                unread.extend(fcntl.ioctl(connection.ways[0].source, termios.TIOCOUTQ, bytes(4)))  # unix(7): SIOCOUTQ

        self._order(look)
        return not any(unread)

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._connections)

    def close(self) -> None:
        """End the thread and everything of it."""
        if not self._closing:
            self._closing = True
            os.eventfd_write(self._wake, 1)
            self._thread.join()
            os.close(self._wake)
            self._listener.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _order(self, action: Callable[[], None]) -> None:
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self._orders.append(act)
        os.eventfd_write(self._wake, 1)
        assert done.wait(10), "the proxy's thread hangs"

    # --- the thread

    def _serve(self) -> None:
        try:
            while not self._closing:
                self._turn()
        finally:
            for connection in list(self._connections):
                self._drop(connection)

    def _turn(self) -> None:
        poll = select.poll()
        poll.register(self._wake, _IN)
        poll.register(self._listener, _IN)
        by_descriptor: dict[int, list[tuple[_Connection, _Way, bool]]] = {}
        due = float("inf")
        for connection, way in self._ways():
            if not way.ended and way.size < UNDER_WAY_MAX and not self._stalled:
                by_descriptor.setdefault(way.source.fileno(), []).append((connection, way, False))
            if way.full:
                by_descriptor.setdefault(way.sink.fileno(), []).append((connection, way, True))
            elif way.chunks and not self._stalled:
                due = min(due, way.chunks[0][0])
        for descriptor, uses in by_descriptor.items():
            poll.register(descriptor, sum({_OUT if writing else _IN for _, _, writing in uses}))
        timeout = None if due == float("inf") else max(0.0, (due - time.monotonic()) * 1000)
        for descriptor, events in poll.poll(timeout):
            if descriptor == self._wake:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._wake)
            elif descriptor == self._listener.fileno():
                self._accept()
            for connection, way, writing in by_descriptor.get(descriptor, ()):
                if writing and events & (_OUT | _GONE):
                    way.full = False
                elif not writing and events & (_IN | _GONE) and connection in self._connections:
                    self._read(connection, way)
        while self._orders:
            self._orders.popleft()()
        for connection in list(self._connections):
            self._write(connection)

    def _ways(self) -> Iterator[tuple[_Connection, _Way]]:
        for connection in self._connections:
            for way in connection.ways:
                yield connection, way

    def _accept(self) -> None:
        try:
            client = self._listener.accept()[0]
        except OSError:
            return
        self.accepted += 1
        server = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            if self._away:
                raise ConnectionRefusedError
            server.connect(self._upstream)
        except OSError:
            client.close()
            server.close()
            return
        for end in (client, server):
            end.setblocking(False)
            if self._family == socket.AF_INET:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        budget = self.cut_after(self.accepted) if self.cut_after is not None else None
        self._connections.append(_Connection(client, server, budget, self.accepted))

    def _read(self, connection: _Connection, way: _Way) -> None:
        try:
            data = way.source.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            self._drop(connection)
            return
        if data:
            speaker = connection.ways.index(way)
            self.flights += speaker < self._last_to_speak
            self._last_to_speak = speaker
            way.size += len(data)
            way.chunks.append((time.monotonic() + self.latency, data))
        else:
            way.ended = True

    def _write(self, connection: _Connection) -> None:
        for number, way in enumerate(connection.ways):
            while way.chunks and not way.full and not self._stalled and way.chunks[0][0] <= time.monotonic():
                due, data = way.chunks[0]
                piece = data[: self.piece] if self.piece else data
                if connection.budget is not None:
                    piece = piece[: connection.budget]
                try:
                    count = way.sink.send(piece) if piece else 0
                except BlockingIOError:
                    way.full = True
                    break
                except OSError:  # nobody reads this way any more; what was said last on the other one is still passed
                    way.chunks.clear()
                    way.size, way.ended, way.shut = 0, True, True
                    break
                way.size -= count
                self.passed[number] += count
                if self._record:
                    self.recorded.setdefault((connection.number, number), bytearray()).extend(piece[:count])
                heard = self.heard if number else self.said
                if len(heard) < HEARD_MAX:
                    heard += piece[:count]
                if count == len(data):
                    way.chunks.popleft()
                else:
                    way.chunks[0] = (due, data[count:])
                if connection.budget is not None:
                    connection.budget -= count
                    if connection.budget <= 0:
                        self.cuts += 1
                        self._drop(connection)
                        return
            if way.ended and not way.chunks and not way.shut and not self._stalled:
                way.shut = True
                with suppress(OSError):
                    way.sink.shutdown(socket.SHUT_WR)
        if all(way.shut for way in connection.ways):
            self._drop(connection)

    def _cut_all(self) -> None:
        for connection in list(self._connections):
            self.cuts += 1
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        for way in connection.ways:
            if self.reset and self._family == socket.AF_INET:
                with suppress(OSError):
                    way.source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            way.source.close()
