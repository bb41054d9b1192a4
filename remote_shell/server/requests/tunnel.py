"""request=connect, request=accept: one TCP connection of the server's, its bytes to and from a channel.

`connect` makes one to where the client says, `accept` takes one that came to a listener of the client's. Stdin is what goes to it,
stdout what comes from it, and each end half-closes for itself. `exit` 0 is an end in order, 1 a connection that broke.
Must not connect before `forwarding` was asked. Neighbour: `listen` has the listeners.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial

from remote_shell.audit import events
from remote_shell.errors import CommandRefusedError
from remote_shell.server.audit import milliseconds
from remote_shell.server.context import Context
from remote_shell.server.requests.base import Request, SessionChannel
from remote_shell.wire.frames import STDOUT
from remote_shell.wire.messages import Eof, Exit, Message, Open, Opened

BROKEN = 1  # exit status of a connection that did not end in order

Made = tuple[asyncio.BaseTransport, asyncio.BaseProtocol]


def start_connect(context: Context, channel: SessionChannel, message: Open) -> Request | None:
    """Connect, or say why not."""
    host, port = message.host, message.port
    if not host or not port:
        channel.reject("bad_request", "connect takes a host and a port from 1 on")
        return None
    refusal = context.forwards.refusal_to_connect(channel.principal, host, port)
    if refusal:
        channel.reject("forwarding_denied", refusal)
        return None
    if not begun(context, channel, message, host, port):
        return None
    loop = context.loop

    def connect(protocol: asyncio.Protocol) -> Awaitable[Made]:
        return loop.create_connection(lambda: protocol, host, port, happy_eyeballs_delay=0.25)

    return Tunnel(context, channel, message, connect, f"{host}:{port}")


def start_accept(context: Context, channel: SessionChannel, message: Open) -> Request | None:
    """Take a connection that waits, or say that it does not."""
    sock = context.forwards.take(channel.principal, message.id)
    if sock is None:
        channel.reject(
            "no_such_connection", "no connection waits under this id: it was too late, or it was taken before"
        )
        return None
    waiting = sock
    if not begun(context, channel, message, *_peer_of(sock)):
        sock.close()
        return None
    return Tunnel(
        context,
        channel,
        message,
        lambda protocol: context.loop.connect_accepted_socket(lambda: protocol, waiting),
        "it",
    )


def begun(context: Context, channel: SessionChannel, message: Open, host: str, port: int) -> bool:
    """It is in the audit and may begin; else that was told."""
    try:
        context.audit.begin(events.Tunnel(message.id, message.request, host, port), channel.who)
    except CommandRefusedError as error:
        channel.reject(error.code, str(error))
        return False
    return True


def _peer_of(sock: socket.socket) -> tuple[str, int]:
    """Address and port at the other end, as far as it is still there."""
    try:
        address = sock.getpeername()
    except OSError:
        return "", 0
    return str(address[0]), int(address[1])


class Tunnel(asyncio.Protocol):
    """One connection; a request and its transport's protocol."""

    idle = True  # a shutdown waits for commands, not for what passes through

    def __init__(
        self,
        context: Context,
        channel: SessionChannel,
        message: Open,
        make: Callable[[asyncio.Protocol], Awaitable[Made]],
        name: str,
    ) -> None:
        self._asked = (message.id, message.request)
        self._began_at = context.loop.time()
        self._sent = self._received_bytes = 0  # to the other side and from it
        self._context = context
        self._channel = channel
        self._name = name
        self._transport: asyncio.Transport | None = None
        # What came before the connection was there, or while it takes no more. The channel's window bounds it. A transport would keep each
        # piece as an object, and from Python 3.12 on count them all anew with each: a window of single bytes took it 20 minutes.
        self._held = bytearray()
        self._taken = 0  # bytes for which no credit was given yet
        self._full = False
        self._input_ended = False
        self._output_ended = False
        self._over = False
        self._task = context.loop.create_task(self._open(make))  # owned: `kill` cancels it

    # --- the connection comes about

    async def _open(self, make: Callable[[asyncio.Protocol], Awaitable[Made]]) -> None:
        limits = self._context.limits
        try:
            async with asyncio.timeout(limits.tunnel_connect_time):
                await make(self)
        except (
            OSError,
            ValueError,
        ) as error:  # a name that IDNA can't take is a UnicodeError, one with a NUL a ValueError
            self._channel.perform(partial(self._refuse, error))

    def _refuse(self, error: Exception) -> None:
        if self._over:
            return
        self._over = True
        if isinstance(error, TimeoutError) and not getattr(error, "errno", None):
            why = f"no answer within {self._context.limits.tunnel_connect_time:.3g} s"
        elif isinstance(error, socket.gaierror):
            why = "the name is unknown there"
        else:
            number = getattr(error, "errno", None)
            why = os.strerror(number) if number else str(error)
        self._channel.reject("connect_failed", f"the server can't connect to {self._name}: {why}")

    # --- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        assert isinstance(transport, asyncio.Transport)
        if self._over:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=0)  # it has one piece at most
        self._transport = transport
        self._channel.perform(self._opened)

    def _opened(self) -> None:
        self._channel.send_now(Opened.of())
        self._write_held()

    def _write_held(self) -> None:
        """All of it at once."""
        held, self._held = self._held, bytearray()
        if held and self._transport is not None:
            self._sent += len(held)
            self._transport.write(held)
        taken, self._taken = self._taken, 0
        self._channel.consumed(taken)
        if self._input_ended:
            self._end_input()

    def data_received(self, data: bytes) -> None:
        """The other side says something."""
        self._channel.perform(partial(self._received, data))

    def _received(self, data: bytes) -> None:
        self._received_bytes += len(data)
        if not self._over and not self._channel.send_data(STDOUT, data) and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """It says nothing more; what is said to it still goes out."""
        self._output_ended = True
        self._channel.perform(self._output_end)
        return not self._input_ended  # False closes

    def _output_end(self) -> None:
        if not self._over:
            self._channel.send_now(Eof(stream=STDOUT))

    def pause_writing(self) -> None:
        """It takes more slowly than we are told: no credit until it does."""
        self._full = True

    def resume_writing(self) -> None:
        """It took what there was."""
        self._full = False
        if not self._over:
            self._channel.perform(self._write_held)

    def connection_lost(self, error: Exception | None) -> None:
        """Its end, in order or not."""
        self._transport = None
        self._channel.perform(partial(self._end, error))

    def _end(self, error: Exception | None) -> None:
        if self._over:
            return
        self._over = True
        in_order = error is None and self._output_ended and self._input_ended
        status = 0 if in_order else BROKEN
        duration = milliseconds(self._context.loop.time() - self._began_at)
        line = events.TunnelEnd(*self._asked, status, self._sent, self._received_bytes, duration)
        self._context.audit.write(line, self._channel.who)
        self._channel.finish(Exit.of(status=status))

    # --- from the session

    def data(self, data: bytes) -> None:
        """For the other side."""
        if self._transport is not None and not self._full:
            self._sent += len(data)
            self._transport.write(data)
            self._channel.consumed(len(data))
            return
        self._held += data
        if self._transport is None or len(self._held) > self._context.limits.tunnel_queue_max:
            self._taken += len(data)
        else:
            self._channel.consumed(len(data))

    def input_end(self) -> None:
        """Nothing more for the other side."""
        self._input_ended = True
        if self._transport is not None and not self._held:
            self._end_input()

    def _end_input(self) -> None:
        if self._transport is None:
            return
        if self._output_ended:
            self._transport.close()
        elif self._transport.can_write_eof():
            try:
                self._transport.write_eof()
            except OSError:  # ENOTCONN: the other side broke it a moment ago, and the loop has not seen that yet
                self._transport.abort()

    def message(self, message: Message) -> None:
        """Signals and sizes are for commands."""

    def writable(self) -> None:
        """Read on."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def keep(self) -> bool:
        """It ends with its session."""
        return False

    def kill(self, grace: float) -> None:
        """Nobody wants it any more."""
        if self._over:
            return
        if self._transport is not None:
            self._transport.abort()  # `connection_lost` says the rest
            return
        self._over = True
        self._task.cancel()
        self._channel.reject("connect_failed", "it is not wanted any more")
