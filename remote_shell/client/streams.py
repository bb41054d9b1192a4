"""The file objects of a blocking `RemoteProcess`: raw streams under Python's own buffered ones.

They have no `fileno`: their bytes come out of the protocol, so `select` can't wait for them. Neighbours: `remote` makes them.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from remote_shell.client.outcome import TextMode

READ_SIZE = 64 * 1024  # of the buffer above a raw stream
WRITE_MAX = 256 * 1024  # bytes copied at once from a caller's buffer

NO_LINES = "line buffering (buffering=1) isn't supported in binary mode, the default buffer size will be used"


class QuietError(Exception):
    """The file has nothing more at hand, and was not to ask for more."""


class RawOutput(io.RawIOBase):
    """What a command writes to one stream. `read(size)` gives chunks, none at the end; `shut` hears that nobody reads on."""

    def __init__(self, read: Callable[[int], list[Any]], shut: Callable[[], None]) -> None:
        self._read = read
        self._shut = shut
        self.quiet = False  # `ahead` looks at what the files above hold

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Waits for at least one byte or the end. Raises ConnectionLostError."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        if self.quiet:
            raise QuietError
        view = memoryview(buffer).cast("B")
        count = 0
        for chunk in self._read(len(view)):
            view[count : count + len(chunk)] = chunk
            count += len(chunk)
        return count

    def readall(self) -> bytes:
        """Waits for the end; without the small pieces of Python's own. Raises ConnectionLostError."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        parts: list[Any] = []
        while chunks := self._read(-1):
            parts += chunks
        return b"".join(parts)

    def close(self) -> None:
        """Nobody reads on: what comes is dropped, and the command gets SIGPIPE if it goes on writing."""
        if not self.closed:
            try:
                self._shut()
            finally:
                super().close()


class RawInput(io.RawIOBase):
    """A command's stdin. `send(data)` queues and waits for room."""

    def __init__(self, send: Callable[[bytes], None], shut: Callable[[], None]) -> None:
        self._send = send
        self._shut = shut

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any) -> int:
        """Takes at most `WRITE_MAX` bytes. Raises BrokenPipeError after the command's end, ConnectionLostError."""
        if self.closed:
            raise ValueError("write to closed file")
        with memoryview(data).cast("B") as view:
            piece = bytes(view[:WRITE_MAX])
        if piece:
            self._send(piece)
        return len(piece)

    def close(self) -> None:
        """End of input."""
        if not self.closed:
            try:
                self._shut()
            finally:
                super().close()


def reader(raw: RawOutput, text: TextMode, bufsize: int) -> Any:
    """What `process.stdout` is: buffered bytes, text, or the raw stream with `bufsize=0`."""
    if bufsize == 0 and not text.text:
        return raw
    buffered = io.BufferedReader(raw, READ_SIZE if bufsize <= 1 else bufsize)
    return io.TextIOWrapper(buffered, encoding=text.encoding, errors=text.errors) if text.text else buffered


def ahead(file: Any) -> Any:
    """What a reader holds that its caller has not read: bytes, which stay there, or text, which is taken out. Waits for nothing."""
    if isinstance(file, RawOutput):
        return b""
    bare = isinstance(file, io.BufferedReader)
    raw = file.raw if bare else file.buffer.raw
    text: list[str] = []
    raw.quiet = True
    try:
        if bare:
            return file.peek()
        while True:
            text.append(file.read(1))  # more at once would be lost with the exception; there are 72 KiB at most
    except (QuietError, UnicodeDecodeError):
        return b"" if bare else "".join(text)
    finally:
        raw.quiet = False


def writer(raw: RawInput, text: TextMode, bufsize: int) -> Any:
    """What `process.stdin` is."""
    below: Any = raw if bufsize == 0 else io.BufferedWriter(raw, io.DEFAULT_BUFFER_SIZE if bufsize <= 1 else bufsize)
    if not text.text:
        return below
    return io.TextIOWrapper(
        below, encoding=text.encoding, errors=text.errors, write_through=True, line_buffering=bufsize == 1
    )
