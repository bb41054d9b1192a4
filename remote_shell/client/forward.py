"""Tunnels: what both fronts need to know of them, and those of the blocking front.

A tunnel listens on one side and connects on the other; each of its connections is a channel of the session, so it survives cuts as
commands do. The blocking front moves bytes only while a call waits, so here threads wait: one that listens, two for each
connection. Neighbours: `async_forward` has tasks in their place, `remote` is one connection.
"""

from __future__ import annotations

import contextlib
import operator
import socket
import threading
from collections.abc import Callable
from types import TracebackType

from remote_shell.client.conversation import Conversation
from remote_shell.client.process import Mode, ProcessState
from remote_shell.client.redirect import Redirect
from remote_shell.client.remote import Remote, RemoteProcess
from remote_shell.errors import RemoteShellError, UsageError
from remote_shell.wire.messages import Accepted, Open

Address = int | str | tuple[str, int]  # a port on loopback, "HOST:PORT", or both apart
OnError = Callable[[str], None]

READ_SIZE = 64 * 1024
BACKLOG = 128
LOOPBACK = "127.0.0.1"
JOINED: Redirect = Redirect(True, -1, Mode.HOLD, -1, Mode.DROP, -1, False)  # both ways, and nothing on stderr


def address_of(value: Address, *, least: int) -> tuple[str, int]:
    """Host and port; the host is loopback where none was said. `least`: the smallest port. Raises UsageError, TypeError for a port
    that is no whole number: told here, since a connection of the tunnel's would end without a word.
    """
    host: str
    if isinstance(value, int):
        host, port = LOOPBACK, value
    elif isinstance(value, str):
        host, _, digits = value.rpartition(":")
        host = host.removeprefix("[").removesuffix("]") or LOOPBACK
        if not (digits.isascii() and digits.isdigit()):
            raise UsageError(f"{value[:100]!a} is no address of a tunnel: write PORT or HOST:PORT")
        port = int(digits)
    else:
        host, port = value
    port = int(operator.index(port))  # no message has true for a port
    if not least <= port <= 65535:
        raise UsageError(f"{port} is no port of a tunnel: ports go from {least} to 65535")
    if not host or "\0" in host or len(host) > 255 or not _is_unicode(host):
        raise UsageError(f"{host[:100]!a} is no host")
    return host, port


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def listener_on(host: str, port: int) -> socket.socket:
    """A listening socket here. Raises OSError, with the address as its filename, and UsageError."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        if host == "*":
            dual = socket.has_dualstack_ipv6()
            return socket.create_server(
                ("", port), family=socket.AF_INET6 if dual else socket.AF_INET, backlog=BACKLOG, dualstack_ipv6=dual
            )
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        error.filename = f"{host}:{port}"
        raise


def tunnel_message(conversation: Conversation, request: str, host: str | None = None, port: int | None = None) -> Open:
    """The `open` of a listener, or of a connection. Raises UsageError where the server has no tunnels."""
    server = conversation.server
    if server is None or "forward" not in (server.features or ()):
        raise UsageError(f"the server of {conversation.name} has no tunnels: it is older than this client")
    window = conversation.limits.window
    ident = conversation.new_id()
    if request == "listen":
        return Open(request="listen", id=ident, window=window, host=host, port=port, stdin="pipe")
    return Open(request="connect", id=ident, window=window, host=host, port=port, stdin="pipe")


def accept_message(conversation: Conversation, accepted: Accepted) -> Open:
    """The `open` that takes a connection of a listener's."""
    return Open(request="accept", id=accepted.id, window=conversation.limits.window, stdin="pipe")


def state_of(message: Open) -> ProcessState:
    """What is known of it."""
    state = ProcessState(f"{message.request} {message.host}:{message.port}", message.id, Mode.HOLD, Mode.DROP)
    if message.request == "listen":
        state.noted = []
    return state


def reset(sock: socket.socket) -> None:
    """Close it so that its other side hears that it broke, and not that it ended."""
    import struct

    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RD)  # a thread that reads it would keep it open
    sock.close()


class Forward:
    """A tunnel that listens. A context manager: its end closes the listener and all its connections."""

    def __init__(self, address: tuple[str, int], to: tuple[str, int], on_error: OnError | None) -> None:
        self.address = address  # where it listens: host and port
        self.to = to  # where its connections lead
        self.last_error = ""  # of a connection that came to nothing
        self._on_error = on_error
        self._lock = threading.Lock()
        self._connections: dict[Connection, None] = {}
        self._closed = False

    def __enter__(self) -> Forward:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {joined(self.address)} -> {joined(self.to)}>"

    def hush(self) -> None:
        """Its host is being closed: what ends with that is no error to tell."""
        self._closed = True

    def close(self) -> None:
        """Listen no longer, and end what is connected. Safe to repeat."""
        with self._lock:
            self._closed = True
            connections = list(self._connections)
        self._stop()
        for connection in connections:
            connection.end()

    def _stop(self) -> None:
        """Listen no longer."""

    def _failed(self, why: str) -> None:
        self.last_error = why
        if self._on_error is not None and not self._closed:
            self._on_error(why)

    def _thread(self, work: Callable[[], None]) -> None:
        # daemons: who forgets `close` must not hang at the program's end; what they hold is sockets
        threading.Thread(target=work, name=repr(self), daemon=True).start()

    def _carry(self, make: Callable[[], RemoteProcess], sock: socket.socket) -> None:
        """Join a socket and a channel; in a thread of its own."""
        try:
            remote = make()
        except (RemoteShellError, OSError) as error:
            self._failed(str(error))
            reset(sock)
            return
        connection = Connection(remote, sock)
        with self._lock:
            if not self._closed:
                self._connections[connection] = None
                self._thread(connection.send)
        if connection in self._connections:
            connection.receive()
            self._connections.pop(connection, None)
        connection.end()


class Connection:
    """One connection of a tunnel: a socket here and a channel. Two threads: each reads one and writes the other."""

    def __init__(self, remote: RemoteProcess, sock: socket.socket) -> None:
        self._remote = remote
        self._sock = sock

    def send(self) -> None:
        """From the socket, to its end."""
        stdin = self._remote.stdin
        try:
            while data := self._sock.recv(READ_SIZE):
                stdin.write(data)
            stdin.close()
        except (OSError, ValueError, RemoteShellError):
            self._remote.abandon_soon(BrokenPipeError("the tunnel's connection here broke"))

    def receive(self) -> None:
        """To the socket, to its end."""
        try:
            while data := self._remote.stdout.read(READ_SIZE):
                self._sock.sendall(data)
            if not self._remote.returncode:  # else it broke there, and its output did not end in order
                self._sock.shutdown(socket.SHUT_WR)
                self._remote.wait()
            if self._remote.returncode:
                reset(self._sock)
        except (OSError, ValueError, RemoteShellError):
            reset(self._sock)

    def end(self) -> None:
        """Both sides, in order if they ended so. Safe to repeat."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)  # wakes who reads it
        self._sock.close()
        with contextlib.suppress(RemoteShellError, OSError):
            self._remote.abandon_soon(BrokenPipeError("the tunnel was closed"))


class LocalForward(Forward):
    """Listens here, connects there (ssh -L)."""

    def __init__(
        self,
        listener: socket.socket,
        to: tuple[str, int],
        connect: Callable[[str, int], RemoteProcess],
        on_error: OnError | None,
    ) -> None:
        super().__init__(listener.getsockname()[:2], to, on_error)
        self._listener = listener
        self._connect = connect
        self._thread(self._accept)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:  # closed; out of descriptors is told by `connect` of what comes later
                if self._closed:
                    return
                threading.Event().wait(0.05)
                continue
            self._thread(lambda sock=sock: self._carry(lambda: self._connect(*self.to), sock))  # type: ignore[misc]

    def _stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`
        self._listener.close()


class RemoteForward(Forward):
    """Listens there, connects here (ssh -R)."""

    def __init__(
        self,
        listening: Remote,
        state: ProcessState,
        address: tuple[str, int],
        to: tuple[str, int],
        take: Callable[[Accepted], RemoteProcess],
        unlisten: Callable[[], None],
        on_error: OnError | None,
    ) -> None:
        super().__init__(address, to, on_error)
        self._listening = listening
        self._unlisten = unlisten
        self._state = state
        self._take = take
        self._thread(self._accept)

    def _accept(self) -> None:
        state = self._state
        while True:
            try:
                self._listening.serve(lambda: bool(state.noted) or state.ended)
            except (RemoteShellError, OSError) as error:
                self._failed(str(error))
                return
            noted, state.noted = state.noted or [], []
            for one in noted:
                if isinstance(one, Accepted):
                    self._thread(lambda one=one: self._connect(one))  # type: ignore[misc]
            if not noted and state.ended:
                if state.lost is not None:
                    self._failed(str(state.lost))
                return

    def _connect(self, accepted: Accepted) -> None:
        try:
            sock = socket.create_connection(self.to)
        except (OSError, UnicodeError) as error:  # the second is IDNA's
            why = getattr(error, "strerror", None) or error
            self._failed(f"can't connect to {joined(self.to)} for {accepted.peer}: {why}")
            with contextlib.suppress(RemoteShellError):
                self._take(accepted).abandon()  # its other side learns it at once
            return
        self._carry(lambda: self._take(accepted), sock)

    def _stop(self) -> None:
        self._unlisten()


def joined(address: tuple[str, int]) -> str:
    """HOST:PORT, as it is written."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
