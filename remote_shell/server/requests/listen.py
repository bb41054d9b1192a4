"""request=listen: a TCP port of the server's machine, whose connections the client takes one by one.

Only the client opens channels: `accepted` tells it of a connection, and it opens one with `accept`, or lets it pass. The listener
lives as long as its channel; what was taken goes on after it. Neighbour: `tunnel` carries the bytes.
"""

from __future__ import annotations

import os
import secrets
import socket
from functools import partial

from remote_shell.audit import events
from remote_shell.server import forwarding
from remote_shell.server.audit import milliseconds
from remote_shell.server.context import Context
from remote_shell.server.requests.base import Request, SessionChannel, errno_name
from remote_shell.server.requests.tunnel import begun
from remote_shell.wire.messages import Accepted, Exit, Message, Open, Opened

_AT_ONCE = 16  # connections taken in one turn of the loop
_PAUSE = 0.1  # s until the next try, where no descriptor was left


def start_listen(context: Context, channel: SessionChannel, message: Open) -> Request | None:
    """Listen, or say why not."""
    host, port = message.host or "", message.port or 0
    try:
        where = forwarding.address_of(host)
    except ValueError:
        channel.reject("bad_request", f"{host[:100]!a} is no address of the server's machine; names are not looked up")
        return None
    refusal = context.forwards.refusal_to_listen(channel.principal, host, port)
    if refusal:
        channel.reject("forwarding_denied", refusal)
        return None
    if channel.count(Listener) >= context.limits.tunnel_listeners_max:
        channel.reject("bad_request", f"a session may have {context.limits.tunnel_listeners_max} listeners")
        return None
    try:
        listener = forwarding.listen(host, port)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        channel.reject("listen_failed", f"the server can't listen on {where} port {port}: {why}", errno_name(error))
        return None
    if not begun(context, channel, message, where, listener.getsockname()[1]):
        listener.close()
        return None
    return Listener(context, channel, message, listener)


class Listener:
    """A listening socket; a request."""

    idle = True

    def __init__(self, context: Context, channel: SessionChannel, message: Open, listener: socket.socket) -> None:
        self._asked = (message.id, message.request)
        self._began_at = context.loop.time()
        self._context = context
        self._channel = channel
        self._listener = listener
        self._mine: set[str] = set()  # ids of connections that wait
        self._reading = False
        self._over = False
        channel.send(Opened.of(port=listener.getsockname()[1]))
        self._read(True)

    def _read(self, wanted: bool) -> None:
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self._context.loop.add_reader(self._listener.fileno(), self._readable)
            else:
                self._context.loop.remove_reader(self._listener.fileno())

    def _readable(self) -> None:
        self._channel.perform(self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if self._over or len(self._mine) >= self._context.limits.tunnel_waiting_max:
                self._read(False)  # the kernel's own queue holds the rest
                return
            try:
                sock, address = self._listener.accept()
            except BlockingIOError:  # nobody more
                return
            except OSError:  # no descriptors left: who waits stays readable, so the next turn would be the same
                self._read(False)
                self._context.loop.call_later(_PAUSE, self._go_on)
                return
            self._wait(sock, address)

    def _go_on(self) -> None:
        if not self._over:
            self._read(True)

    def _wait(self, sock: socket.socket, address: tuple[object, ...]) -> None:
        sock.setblocking(False)
        ident = secrets.token_hex(8)
        principal = self._channel.principal
        late = self._context.loop.call_later(self._context.limits.tunnel_waiting_time, self._let_pass, ident)
        self._mine.add(ident)
        self._context.forwards.put(principal, ident, forwarding.Waiting(sock, late, partial(self._taken, ident)))
        self._channel.send_now(Accepted(id=ident, peer=f"{address[0]} port {address[1]}"))

    def _taken(self, ident: str) -> None:
        self._mine.discard(ident)
        if not self._over:
            self._read(True)

    def _let_pass(self, ident: str) -> None:
        sock = self._context.forwards.take(self._channel.principal, ident)
        if sock is not None:
            sock.close()

    def data(self, data: bytes) -> None:
        """Nobody reads it."""
        self._channel.consumed(len(data))

    def input_end(self) -> None:
        """The client wants no more connections."""
        self.kill(0)

    def message(self, message: Message) -> None:
        """Nothing to say to a listener."""

    def writable(self) -> None:
        """Nothing waits."""

    def keep(self) -> bool:
        """It ends with its session."""
        return False

    def kill(self, grace: float) -> None:
        """Stop listening; what waits is let pass."""
        if self._over:
            return
        self._over = True
        self._read(False)
        self._listener.close()
        for ident in list(self._mine):
            self._let_pass(ident)
        duration = milliseconds(self._context.loop.time() - self._began_at)
        self._context.audit.write(events.TunnelEnd(*self._asked, 0, 0, 0, duration), self._channel.who)
        self._channel.finish(Exit.of(status=0))
