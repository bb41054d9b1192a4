"""Tunnels of the asyncio front: as `forward`, with tasks where the other has threads.

Each tunnel owns its tasks, and its end cancels them. Neighbours: `forward` has what both share, `async_process` is one connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType

from remote_shell.client.async_process import AsyncProcess, AsyncRemote
from remote_shell.client.conversation import Conversation
from remote_shell.client.forward import READ_SIZE, OnError, joined, reset
from remote_shell.client.process import ProcessState
from remote_shell.errors import RemoteShellError
from remote_shell.wire.messages import Accepted


class AsyncForward:
    """A tunnel that listens; as `Forward`. `async with` closes the listener and all its connections."""

    def __init__(self, address: tuple[str, int], to: tuple[str, int], on_error: OnError | None) -> None:
        self.address = address  # where it listens: host and port
        self.to = to  # where its connections lead
        self.last_error = ""  # of a connection that came to nothing
        self._on_error = on_error
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> AsyncForward:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {joined(self.address)} -> {joined(self.to)}>"

    def hush(self) -> None:
        """Its host is being closed: what ends with that is no error to tell."""
        self._on_error = None

    async def close(self) -> None:
        """Listen no longer, and end what is connected. Safe to repeat."""
        self._on_error = None
        await self._stop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _stop(self) -> None:
        """Listen no longer."""

    def own(self, work: Coroutine[object, object, None]) -> None:
        """A task of this tunnel's."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _failed(self, why: str) -> None:
        self.last_error = why
        if self._on_error is not None:
            self._on_error(why)

    async def _carry(self, make: Callable[[], Awaitable[AsyncProcess]], sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            process = await make()
        except BaseException as error:
            if isinstance(error, (RemoteShellError, OSError)):
                self._failed(str(error))
            reset(sock)
            if not isinstance(error, (RemoteShellError, OSError)):
                raise
            return
        in_order = False
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._send(process, sock))
                group.create_task(self._receive(process, sock))
            in_order = True
        except* (OSError, RemoteShellError):
            pass  # one side broke: so does the other
        finally:
            process.abandon()
            if in_order:
                sock.close()
            else:
                reset(sock)

    async def _send(self, process: AsyncProcess, sock: socket.socket) -> None:
        assert process.stdin is not None, "joined both ways"
        while data := await self._loop.sock_recv(sock, READ_SIZE):
            process.stdin.write(data)
            await process.stdin.drain()
        process.stdin.close()

    async def _receive(self, process: AsyncProcess, sock: socket.socket) -> None:
        assert process.stdout is not None, "joined both ways"
        while data := await process.stdout.read(READ_SIZE):
            await self._loop.sock_sendall(sock, data)
        if not process.returncode:  # else it broke there, and its output did not end in order
            sock.shutdown(socket.SHUT_WR)
            await process.wait()
        if process.returncode:
            raise ConnectionResetError


class AsyncLocalForward(AsyncForward):
    """Listens here, connects there (ssh -L)."""

    def __init__(
        self,
        listener: socket.socket,
        to: tuple[str, int],
        connect: Callable[[str, int], Awaitable[AsyncProcess]],
        on_error: OnError | None,
    ) -> None:
        super().__init__(listener.getsockname()[:2], to, on_error)
        self._connect = connect
        listener.setblocking(False)
        self.own(self._accept(listener))

    async def _accept(self, listener: socket.socket) -> None:
        with listener:
            while True:
                try:
                    sock, _ = await self._loop.sock_accept(listener)
                except OSError as error:  # no descriptors left: later, perhaps
                    self._failed(f"can't accept a connection: {error.strerror}")
                    await asyncio.sleep(0.05)
                    continue
                self.own(self._carry(lambda: self._connect(*self.to), sock))


class AsyncRemoteForward(AsyncForward):
    """Listens there, connects here (ssh -R)."""

    def __init__(
        self,
        listening: AsyncRemote,
        state: ProcessState,
        conversation: Conversation,
        address: tuple[str, int],
        to: tuple[str, int],
        take: Callable[[Accepted], Awaitable[AsyncProcess]],
        on_error: OnError | None,
    ) -> None:
        super().__init__(address, to, on_error)
        self._listening = listening
        self._state = state
        self._conversation = conversation
        self._take = take
        self.own(self._accept())

    async def _accept(self) -> None:
        state = self._state
        try:
            while not state.ended or state.noted:
                await self._listening.until(lambda: bool(state.noted) or state.ended)
                for one in self._conversation.take_noted(state):
                    if isinstance(one, Accepted):
                        self.own(self._connect(one))
            if state.lost is not None:
                self._failed(str(state.lost))
        finally:
            self._listening.abandon()

    async def _stop(self) -> None:
        """The end of its input ends the listener; its end is waited for, so that nothing listens afterwards."""
        if not self._state.ended:
            self._conversation.end_stdin(self._state)
            self._listening.flush()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._conversation.limits.bye_time):
                    await self._listening.until(lambda: self._state.ended)

    async def _connect(self, accepted: Accepted) -> None:
        try:
            sock = await _connected(self._loop, self.to)
        except (OSError, UnicodeError) as error:  # the second is IDNA's
            why = getattr(error, "strerror", None) or error
            self._failed(f"can't connect to {joined(self.to)} for {accepted.peer}: {why}")
            try:
                (await self._take(accepted)).abandon()  # its other side learns it at once
            except (RemoteShellError, OSError):
                return
            return
        await self._carry(lambda: self._take(accepted), sock)


async def _connected(loop: asyncio.AbstractEventLoop, to: tuple[str, int]) -> socket.socket:
    """A connected socket; the name's addresses are tried in turn. Raises OSError."""
    failure: OSError | None = None
    try:  # an address needs no thread of the loop's, all of which may wait for this very tunnel
        found = socket.getaddrinfo(*to, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await loop.getaddrinfo(*to, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure or OSError("no address")
