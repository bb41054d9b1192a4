"""The streams of an asyncio front's process, with the methods of asyncio's StreamReader and StreamWriter.

Bytes, or text that is decoded as it comes. What nobody reads stops the command at the channel's window. Neighbours: `async_process`
makes them.
"""

from __future__ import annotations

import asyncio
import codecs
import errno
import io
import os
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Protocol

from remote_shell.client.conversation import Conversation
from remote_shell.client.outcome import TextMode
from remote_shell.client.process import ProcessState

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


class Reads(Protocol):
    """What a stream needs of its process."""

    _owner: Owner
    _state: ProcessState
    _watch: Watch

    def _check_lost(self) -> None:
        """Raises ConnectionLostError when the end will never be known."""


class AsyncReader:
    """What a command writes to one stream."""

    def __init__(self, process: Reads, stream: int) -> None:
        self._process = process
        self._stream = stream
        self._output = process._state.outputs[stream]
        self._rest = b""  # read beyond a line's end

    def at_eof(self) -> bool:
        """Everything was read."""
        return self._output.ended and not self._output.chunks and not self._rest

    async def read(self, n: int = -1) -> Any:
        """At most `n` bytes, at least one unless the stream ended; all of it with n=-1. Raises ConnectionLostError."""
        if n == 0:
            return b""
        if n > 0:
            data, self._rest = self._rest[:n], self._rest[n:]
            return data or await self._some(n)
        parts = [self._rest]
        self._rest = b""
        while part := await self._some(-1):
            parts.append(part)
        return b"".join(parts)

    async def readexactly(self, n: int) -> Any:
        """`n` bytes. Raises asyncio.IncompleteReadError."""
        data = bytearray(self._rest[:n])
        self._rest = self._rest[n:]
        while len(data) < n:
            part = await self._some(n - len(data))
            if not part:
                raise asyncio.IncompleteReadError(bytes(data), n)
            data += part
        return bytes(data)

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
                return bytes(data)
            data += part
        self._rest = bytes(data[end + 1 :])
        return bytes(data[: end + 1])

    async def readuntil(self, separator: bytes = b"\n") -> Any:
        """Up to and with the separator. Raises asyncio.IncompleteReadError, and ValueError above `LINE_MAX` bytes."""
        data = bytearray(self._rest)
        self._rest = b""
        while (end := data.find(separator)) < 0:
            if len(data) > LINE_MAX:
                raise ValueError(f"no separator in {LINE_MAX} bytes")
            part = await self._some(-1)
            if not part:
                raise asyncio.IncompleteReadError(bytes(data), None)
            data += part
        end += len(separator)
        self._rest = bytes(data[end:])
        return bytes(data[:end])

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Line by line."""
        while line := await self.readline():
            yield line

    async def some(self) -> bytes:
        """What is there; at least one byte unless the stream ended."""
        data, self._rest = self._rest, b""
        return data or await self._some(-1)

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

    def so_far(self) -> bytes:
        """What came and was not read, which stays."""
        return self._rest + self._output.collected()

    def remainder(self) -> Any:
        """The same at the end."""
        return self.so_far()


class AsyncTextReader:
    """The same as text, with universal newlines. Sizes are characters; no character and no line's end is cut by how the bytes came."""

    def __init__(self, process: Reads, stream: int, text: TextMode) -> None:
        self._bytes = AsyncReader(process, stream)
        self._text = text
        self._decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(text.encoding)(text.errors), True)
        self._rest = ""
        self._final = False

    def at_eof(self) -> bool:
        """Everything was read."""
        return self._bytes.at_eof() and not self._rest

    async def read(self, n: int = -1) -> Any:
        """At most `n` characters, at least one unless the stream ended; all of it with n=-1. Raises ConnectionLostError."""
        if n < 0:
            while await self._more(-1):
                pass
            return self._taken(len(self._rest))
        while n and not self._rest and await self._more(n):
            pass
        return self._taken(n)

    async def readexactly(self, n: int) -> Any:
        """`n` characters. Raises asyncio.IncompleteReadError, whose `partial` is text too."""
        while len(self._rest) < n:
            if not await self._more(n - len(self._rest)):
                raise asyncio.IncompleteReadError(self._taken(n), n)  # type: ignore[arg-type]
        return self._taken(n)

    async def readline(self) -> Any:
        """One line with its end, less at the end of the stream. Raises ValueError above `LINE_MAX` characters."""
        looked = 0
        while (end := self._rest.find("\n", looked)) < 0:
            looked = len(self._rest)
            if looked > LINE_MAX:
                raise ValueError(f"a line of more than {LINE_MAX} characters")
            if not await self._more(-1):
                return self._taken(len(self._rest))
        return self._taken(end + 1)

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Line by line."""
        while line := await self.readline():
            yield line

    def so_far(self) -> bytes:
        """What came and was not read, which stays: bytes, for exceptions have those in text mode too."""
        return self._rest.encode(self._text.encoding, self._text.errors) + self._bytes.so_far()

    def remainder(self) -> Any:
        """The same at the end, as text."""
        return self._rest + self._decoder.decode(self._bytes.so_far(), True)

    def _taken(self, n: int) -> str:
        taken, self._rest = self._rest[:n], self._rest[n:]
        return taken

    async def _more(self, n: int) -> bool:
        """Decode some more. False at the end."""
        if self._final:
            return False
        data = await self._bytes.read(n) if n > 0 else await self._bytes.some()
        self._final = not data
        self._rest += self._decoder.decode(data, self._final)
        return bool(data) or bool(self._rest)


class AsyncWriter:
    """A command's stdin."""

    def __init__(self, process: Reads, text: TextMode) -> None:
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
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        process._owner.conversation.write(process._state, bytes(self._text.encoded(data)))
        process._owner.flush()

    def writelines(self, lines: Iterable[Any]) -> None:
        """Queue each of them."""
        for line in lines:
            self.write(line)

    def can_write_eof(self) -> bool:
        """Always."""
        return True

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

    def write_eof(self) -> None:
        """As `close`: nothing comes back on this stream."""
        self.close()

    async def wait_closed(self) -> None:
        """Wait until what was written has left the queue, or nobody takes it any more. Raises ConnectionLostError."""
        await self.drain()

    def is_full(self) -> bool:
        """`drain` would wait."""
        return not (self._process._state.writable or self._process._state.ended)

    def is_closing(self) -> bool:
        """`close` was called."""
        return self._closed
