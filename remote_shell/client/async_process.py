"""A remote process of the asyncio front: shaped like `asyncio.subprocess.Process`, with Popen's attributes besides.

Output is received in the background up to the channel's window; what nobody reads stops the command there. Neighbours: `async_`
starts it, `async_passing` joins it to descriptors.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Protocol

from remote_shell.client.async_passing import Feed, Relay
from remote_shell.client.conversation import Conversation
from remote_shell.client.outcome import TextMode, expired, signal_name
from remote_shell.client.process import Described, Mode, ProcessState
from remote_shell.client.redirect import Redirect

LINE_MAX = 8 * 1024 * 1024  # bytes of a line that `readline` collects


class Owner(Protocol):
    """What a process needs of its host."""

    loop: asyncio.AbstractEventLoop
    conversation: Conversation

    def flush(self) -> None:
        """Something was queued."""

    def flush_now(self) -> None:
        """Send what goes, before this call returns."""


class Watch:
    """Who waits for a change of a process's state."""

    __slots__ = ("_loop", "_waiters", "moves")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self.moves: list[Callable[[], None]] = []  # relays and feeds

    def changed(self) -> None:
        """An event came."""
        for move in self.moves:
            move()
        for ready, future in self._waiters:
            if not future.done() and ready():
                future.set_result(None)

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready()`."""
        while not ready():
            entry = (ready, self._loop.create_future())
            self._waiters.append(entry)
            try:
                await entry[1]
            finally:
                self._waiters.remove(entry)


class AsyncReader:
    """What a command writes to one stream."""

    def __init__(self, process: AsyncRemote, stream: int, text: TextMode) -> None:
        self._process = process
        self._stream = stream
        self._output = process._state.outputs[stream]
        self._text = text
        self._rest = b""  # read beyond a line's end

    def at_eof(self) -> bool:
        """Everything was read."""
        return self._output.ended and not self._output.chunks and not self._rest

    async def read(self, n: int = -1) -> Any:
        """At most `n` bytes, at least one unless the stream ended; all of it with n=-1. Raises ConnectionLostError."""
        if n == 0:
            return self._text.decoded(b"")
        if n > 0:
            data, self._rest = self._rest[:n], self._rest[n:]
            return self._text.decoded(data or await self._some(n))
        parts = [self._rest]
        self._rest = b""
        while part := await self._some(-1):
            parts.append(part)
        return self._text.decoded(b"".join(parts))

    async def readexactly(self, n: int) -> Any:
        """`n` bytes. Raises asyncio.IncompleteReadError."""
        data = bytearray(self._rest[:n])
        self._rest = self._rest[n:]
        while len(data) < n:
            part = await self._some(n - len(data))
            if not part:
                raise asyncio.IncompleteReadError(bytes(data), n)
            data += part
        return self._text.decoded(bytes(data))

    async def readline(self) -> Any:
        """One line with its end, less at the end of the stream. Raises ValueError above `LINE_MAX` bytes."""
        data = bytearray(self._rest)
        self._rest = b""
        looked = 0
        while (end := data.find(b"\n", looked)) < 0:
            looked = len(data)
            if looked > LINE_MAX:
                raise ValueError(f"a line of more than {LINE_MAX} bytes")
            part = await self._some(-1)
            if not part:
                return self._text.decoded(bytes(data))
            data += part
        self._rest = bytes(data[end + 1 :])
        return self._text.decoded(bytes(data[: end + 1]))

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Line by line."""
        while line := await self.readline():
            yield line

    async def _some(self, n: int) -> bytes:
        output, process = self._output, self._process
        if not output.chunks and not output.ended:
            await process._watch.until(lambda: bool(output.chunks) or output.ended)
        chunks = process._owner.conversation.take(process._state, self._stream, n)
        if chunks:
            process._owner.flush()
        else:
            process._check_lost()
        return b"".join(chunks)


class AsyncWriter:
    """A command's stdin."""

    def __init__(self, process: AsyncRemote, text: TextMode) -> None:
        self._process = process
        self._text = text
        self._closed = False

    def write(self, data: Any) -> None:
        """Queue data; `drain` waits for room. Raises BrokenPipeError after the command's end, ValueError after `close`."""
        process = self._process
        if self._closed:
            raise ValueError("write to closed stdin")
        process._check_lost()
        if process._state.ended:
            raise BrokenPipeError(32, "the remote command ended")
        process._owner.conversation.write(process._state, bytes(self._text.encoded(data)))
        process._owner.flush()

    async def drain(self) -> None:
        """Wait until the queue has room. Raises ConnectionLostError."""
        state = self._process._state
        await self._process._watch.until(lambda: state.writable or state.ended)
        self._process._check_lost()

    def close(self) -> None:
        """End of input."""
        if not self._closed:
            self._closed = True
            self._process._owner.conversation.end_stdin(self._process._state)
            self._process._owner.flush()

    def is_full(self) -> bool:
        """`drain` would wait."""
        return not (self._process._state.writable or self._process._state.ended)

    def is_closing(self) -> bool:
        """`close` was called."""
        return self._closed


class AsyncRemote(Described):
    """One command on the server, without files: what `run` needs."""

    def __init__(self, owner: Owner, state: ProcessState) -> None:
        self._owner = owner
        self._state = state
        self._watch = Watch(owner.loop)
        self._relays: list[Relay] = []
        self._feed: Feed | None = None
        state.changed = self._watch.changed

    def begin(self, redirect: Redirect, given: memoryview | None) -> None:
        """After the channel was opened: join descriptors, send stdin that is known."""
        owner, state = self._owner, self._state
        for stream, descriptor in ((1, redirect.stdout), (2, redirect.stderr)):
            if descriptor >= 0:
                relay = Relay(owner.loop, owner.conversation, state, stream, descriptor, owner.flush)
                self._relays.append(relay)
                self._watch.moves.append(relay.move)
        if given is not None:
            if given:
                owner.conversation.write(state, given)
            owner.conversation.end_stdin(state)
        elif redirect.stdin >= 0:
            self._feed = Feed(owner.loop, owner.conversation, state, redirect.stdin, owner.flush)
            self._watch.moves.append(self._feed.move)
            self._feed.move()

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready()` and all that came is written. Raises the OSError of a descriptor that can't be written."""

        def all_there() -> bool:
            return any(relay.error for relay in self._relays) or (
                ready() and not any(relay.busy for relay in self._relays)
            )

        await self._watch.until(all_there if self._relays else ready)
        for relay in self._relays:
            if relay.error is not None:
                error, relay.error = relay.error, None
                raise error

    def flush(self) -> None:
        """Something was queued."""
        self._owner.flush()

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` after each event."""
        self._watch.moves.append(changed)

    def release(self) -> None:
        """Everything that was asked for is here."""
        self._let_go()
        if not self._state.closed:
            self._owner.conversation.forget(self._state)

    def abandon(self) -> None:
        """Nobody wants it any more: the server ends its tree."""
        self._let_go()
        if not self._state.closed:
            self._owner.conversation.close(self._state)
            self._owner.flush_now()

    def _let_go(self) -> None:
        for relay in self._relays:
            relay.close()
        if self._feed is not None:
            self._feed.close()
        self._watch.moves.clear()


class AsyncProcess(AsyncRemote):
    """Names and meanings are subprocess's; what waits is awaited. Its end by `async with` waits, and a cancelled task ends the tree."""

    args: Any = None
    stdin: AsyncWriter | None = None
    stdout: AsyncReader | None = None
    stderr: AsyncReader | None = None
    text: TextMode

    async def __aenter__(self) -> AsyncProcess:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None and not issubclass(kind, Exception):
                self.abandon()
                return
            if self.stdin is not None:
                self.stdin.close()
            for stream in (1, 2):
                self._shut(stream)
            await self.wait()
            self.release()
        except BaseException:
            self.abandon()
            raise

    def open_files(self, redirect: Redirect, text: TextMode) -> None:
        """Make the stream objects of pipes."""
        self.text = text
        if redirect.stdin_pipe:
            self.stdin = AsyncWriter(self, text)
        if redirect.stdout_mode is Mode.HOLD and redirect.stdout < 0:
            self.stdout = AsyncReader(self, 1, text)
        if redirect.stderr_mode is Mode.HOLD and redirect.stderr < 0:
            self.stderr = AsyncReader(self, 2, text)

    async def wait(self, timeout: float | None = None) -> int:
        """Wait for the command's end (not its output's). Raises TimeoutExpired, ConnectionLostError; the command goes on."""
        try:
            async with asyncio.timeout(timeout):
                await self.until(lambda: self._state.ended)
        except TimeoutError:
            assert timeout is not None, "without one there is no TimeoutError"
            raise expired(self._state, timeout, None, None) from None
        self._check_lost()
        code = self.returncode
        assert code is not None, "it ended"
        return code

    async def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Send `input`, read everything to the end. After TimeoutExpired it may be called again; nothing is lost."""
        state, conversation = self._state, self._owner.conversation
        if self.stdin is not None and not self.stdin.is_closing():
            if input and not state.ended:
                conversation.write(state, self.text.encoded(input))
            self.stdin.close()
        files = {1: self.stdout, 2: self.stderr}
        for stream, file in files.items():
            if file is not None and state.outputs[stream].mode is Mode.HOLD:
                conversation.set_mode(state, stream, Mode.KEEP)
        self._owner.flush()
        try:
            async with asyncio.timeout(timeout):
                await self.until(lambda: state.finished)
        except TimeoutError:
            assert timeout is not None, "without one there is no TimeoutError"
            out, err = (self._kept(stream, file) for stream, file in files.items())
            raise expired(state, timeout, out, err) from None
        self._check_lost()
        self.release()
        out, err = (self._kept(stream, file) for stream, file in files.items())
        return tuple(None if data is None else self.text.decoded(data) for data in (out, err))  # type: ignore[return-value]

    def send_signal(self, number: int) -> None:
        """Signal the command's process group; 0 signals nothing."""
        if number == 0:  # subprocess's test for life: no error, whatever became of the command
            return
        self._owner.conversation.signal(self._state, signal_name(number))
        self._owner.flush()

    def resize(self, rows: int, columns: int) -> None:
        """Its terminal has another size, in characters."""
        self._owner.conversation.resize(self._state, rows, columns)
        self._owner.flush()

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, to the process group; `abandon` ends the whole tree."""
        self.send_signal(signal.SIGKILL)

    def _kept(self, stream: int, file: AsyncReader | None) -> bytes | None:
        return None if file is None else file._rest + self._state.outputs[stream].collected()

    def _shut(self, stream: int) -> None:
        """Nobody reads on: what comes is dropped, and the command gets SIGPIPE if it goes on writing."""
        output = self._state.outputs[stream]
        if output.mode is Mode.HOLD and not any(relay.busy for relay in self._relays):
            output.broken = not output.ended
            self._owner.conversation.set_mode(self._state, stream, Mode.DROP)
            self._owner.flush()
