"""The lesson "many", what is run: one of its servers, a client with a slow command, two with quick ones, and when each thing happened.

The slow command is `cat` of a named pipe, so that the lesson decides when it ends, and not the clock. Neighbour: `many` tells of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import select
import shlex
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from remote_shell.demo.programs import (
    many_asyncio,
    many_one,
    many_selectors,
    many_socketserver,
    many_threads,
)

HOLD = 0.3  # seconds that the slow command lasts at least, for the picture
LINGER = 0.15  # seconds that the slow client stays, and says nothing, after its answer
PATIENCE = 10.0  # seconds that the slow command lasts at most, where nobody should have to wait for it
GIVE_UP = 15.0  # seconds after which a run is over, whatever has not happened
QUICK = ("quick 1", "quick 2")
_QUEUE = struct.Struct("II")  # of TCP_INFO of a listening socket: connections that wait in it, and how many may
_QUEUE_AT = 24

Run = Callable[[bytes], Awaitable[bytes]]


@dataclass(slots=True)
class Server:
    """A server that runs: where it listens, and when it accepted whom (monotonic seconds by the client's address). `called`: how many
    clients have connected, and are waited for before it is stopped."""

    listener: socket.socket
    accepted: dict[Any, float]
    called: int = 0

    @property
    def address(self) -> tuple[str, int]:
        name: tuple[str, int] = self.listener.getsockname()
        return name


@dataclass(slots=True)
class Visit:
    """One client, and when it did what; None: it did not come to that."""

    name: str
    connection: socket.socket
    address: Any
    called: float
    sent: float
    accepted: float | None = None
    answered: float | None = None
    left: float | None = None
    answer: bytes = b""


@dataclass(slots=True)
class Meeting:
    """What happened: the slow client first. `released`: when the slow command was let go. `threads`: what the server had then.
    `waiting` and `room`: connections in the listener's queue then, and how many may be there."""

    visits: list[Visit] = field(default_factory=list)
    released: float | None = None
    threads: int = 0
    waiting: int = 0
    room: int = 0

    @property
    def slow(self) -> Visit:
        return self.visits[0]

    @property
    def quick(self) -> list[Visit]:
        return self.visits[1:]

    @property
    def order(self) -> list[str]:
        """The names in the order of their answers."""
        answered = [(each.answered, each.name) for each in self.visits if each.answered is not None]
        return [name for _, name in sorted(answered)]

    def served_meanwhile(self) -> bool:
        """Each quick client had its answer while the slow command still ran."""
        released = self.released
        return released is not None and all(
            visit.answered is not None and visit.answered < released for visit in self.quick
        )

    def held_up(self) -> bool:
        """Each quick client had its answer, and only after the slow command was let go."""
        released = self.released
        return released is not None and all(
            visit.answered is not None and visit.answered > released for visit in self.quick
        )

    def taken_in_turn(self) -> bool:
        """Each client was accepted only after the one before it had left."""
        pairs = itertools.pairwise(self.visits)
        return all(
            before.left is not None and after.accepted is not None and after.accepted > before.left
            for before, after in pairs
        )


class _Listener(socket.socket):
    """A listening socket that notes when it accepted whom, and knows the server's ends of the connections."""

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.accepted: dict[Any, float] = {}
        self.connections: list[socket.socket] = []
        self.bind(("127.0.0.1", 0))
        self.listen()

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        self.accepted[address] = time.monotonic()
        self.connections.append(connection)
        return connection, address


@contextlib.contextmanager
def serving(kind: str) -> Iterator[Server]:
    """A server of this kind (`one`, `threads`, `selectors`, `socketserver`, `asyncio`, `in_thread`, `blocking`); leaves no thread."""
    before = set(threading.enumerate())
    try:
        with contextlib.ExitStack() as stack:
            if kind == "socketserver":
                yield stack.enter_context(_by_socketserver())
            elif kind in ("one", "threads", "selectors"):
                program = {"one": many_one, "threads": many_threads, "selectors": many_selectors}[kind]
                yield stack.enter_context(_by_function(program.serve))
            else:
                yield stack.enter_context(_by_asyncio(_runs()[kind]))
    finally:
        for thread in set(threading.enumerate()) - before:
            thread.join(GIVE_UP)


def _runs() -> dict[str, Run]:
    return {
        "asyncio": many_asyncio.run,
        "in_thread": many_asyncio.run_in_thread,
        "blocking": many_asyncio.run_blocking,
    }


@contextlib.contextmanager
def _by_function(serve: Callable[[socket.socket], None]) -> Iterator[Server]:
    stopping = threading.Event()

    def work() -> None:
        try:
            serve(listener)
        except OSError:
            if not stopping.is_set():  # otherwise it is how `accept` says that we have stopped the listener
                raise

    with _Listener() as listener:
        thread = threading.Thread(target=work, name="server")
        thread.start()
        server = Server(listener, listener.accepted)
        try:
            yield server
        finally:
            stopping.set()
            until = time.monotonic() + GIVE_UP
            while thread.is_alive() and time.monotonic() < until:
                if len(listener.connections) >= server.called and all(
                    each.fileno() < 0 for each in listener.connections
                ):
                    break
                time.sleep(0.002)  # the server hears that its clients have left
            listener.shutdown(socket.SHUT_RDWR)  # close() would not wake a thread in accept()
            thread.join(GIVE_UP)
            for connection in listener.connections:
                connection.close()  # of a server that an error ended


@contextlib.contextmanager
def _by_socketserver() -> Iterator[Server]:
    accepted: dict[Any, float] = {}

    class Noting(many_socketserver.Server):
        def get_request(self) -> tuple[socket.socket, Any]:
            connection, address = super().get_request()
            accepted[address] = time.monotonic()
            return connection, address

    with Noting(("127.0.0.1", 0), many_socketserver.Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="server")
        thread.start()
        try:
            yield Server(server.socket, accepted)
        finally:
            server.shutdown()
            thread.join(GIVE_UP)


@contextlib.contextmanager
def _by_asyncio(run: Run) -> Iterator[Server]:
    ready = threading.Event()
    told: list[Callable[[], object]] = []

    async def work() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        told.append(lambda: loop.call_soon_threadsafe(stop.set))
        listener.setblocking(False)
        server = await asyncio.start_server(functools.partial(many_asyncio.talk, run), sock=listener)
        ready.set()
        await stop.wait()
        until = time.monotonic() + GIVE_UP
        while (
            time.monotonic() < until
        ):  # those who came hear that their clients have left, also who waits for accept() still
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if not others and not queue_of(listener)[0]:
                break
            await asyncio.wait(others or {asyncio.create_task(asyncio.sleep(0.002))}, timeout=GIVE_UP)
        server.close()

    with _Listener() as listener:
        thread = threading.Thread(target=lambda: asyncio.run(work()), name="server")
        thread.start()
        try:
            ready.wait(GIVE_UP)
            yield Server(listener, listener.accepted)
        finally:
            for stop in told:
                stop()
            thread.join(GIVE_UP)


class _Gate:
    """A named pipe: a command that reads it lasts until we let it go."""

    def __init__(self, path: str) -> None:
        os.mkfifo(path, 0o600)
        self.path = path
        self._file = -1
        self._released = False

    def __enter__(self) -> _Gate:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._released:  # a reader may be waiting for us, even for us to open it
            self._file = self._file if self._file >= 0 else os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
            os.close(self._file)
        os.unlink(self.path)

    def has_reader(self) -> bool:
        """The command runs, and has come as far as to read."""
        if self._file < 0:
            with contextlib.suppress(OSError):  # ENXIO: nobody has it open
                self._file = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        return self._file >= 0

    def release(self) -> None:
        """The command reads a line and the end, and ends."""
        os.write(self._file, b"slow\n")
        os.close(self._file)
        self._released = True


def meet(kind: str, *, patience: float = PATIENCE) -> Meeting:
    """Runs a server of this kind and its three clients.

    Args:
        kind: as `serving` takes it.
        patience: seconds after which the slow command ends although quick clients wait.
    """
    base = threading.active_count()
    with tempfile.TemporaryDirectory(prefix="remote-shell-demo-") as folder, contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(kind))
        gate = stack.enter_context(_Gate(os.path.join(folder, "gate")))
        meeting = Meeting()
        try:
            meeting.visits.append(_call(server, "slow", f"cat {shlex.quote(gate.path)}"))
            until = time.monotonic() + GIVE_UP
            while not gate.has_reader() and time.monotonic() < until:
                time.sleep(0.002)
            for name in QUICK:
                meeting.visits.append(_call(server, name, f"echo {name}"))
            if gate.has_reader():
                _watch(meeting, server, gate, base, patience)
        finally:
            for visit in meeting.visits:
                with contextlib.suppress(OSError):  # it has left already
                    visit.connection.shutdown(socket.SHUT_WR)  # a goodbye, where close() alone may be a reset
                visit.connection.close()
        return meeting


def _call(server: Server, name: str, command: str) -> Visit:
    called = time.monotonic()
    connection = socket.create_connection(server.address, GIVE_UP)
    server.called += 1
    many_one.send(connection, command.encode())
    return Visit(name, connection, connection.getsockname(), called, time.monotonic())


def _watch(meeting: Meeting, server: Server, gate: _Gate, base: int, patience: float) -> None:
    """Takes the answers as they come, lets the slow command go, and lets clients leave."""
    until = time.monotonic() + GIVE_UP
    slow = meeting.slow
    while (now := time.monotonic()) < until and not all(visit.left for visit in meeting.visits):
        waits = any(visit.answered is None for visit in meeting.quick)
        if meeting.released is None and now >= slow.sent + (patience if waits else HOLD):
            meeting.threads = threading.active_count() - base
            meeting.waiting, meeting.room = queue_of(server.listener)
            meeting.released = time.monotonic()
            gate.release()
        for visit in meeting.visits:
            stays = slow.answered is None or (visit is slow and now < slow.answered + LINGER)
            if visit.answered and not visit.left and not stays:
                visit.left = time.monotonic()
                visit.connection.close()
        asking = [visit for visit in meeting.visits if visit.answered is None]
        for connection in select.select([visit.connection for visit in asking], [], [], 0.005)[0]:
            visit = next(each for each in asking if each.connection is connection)
            visit.answer = many_one.receive(connection) or b""
            visit.answered = time.monotonic()
    for visit in meeting.visits:
        visit.accepted = server.accepted.get(visit.address)


def queue_of(listener: socket.socket) -> tuple[int, int]:
    """How many connections wait in a listener for `accept`, and how many may. tcp(7): of a listener TCP_INFO tells that."""
    found: tuple[int, int] = _QUEUE.unpack_from(
        listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), _QUEUE_AT
    )
    return found
