"""What many hosts wrote, shown once for all that wrote the same, under their names: `clush -b`'s way. And the other way, `-l`, as it comes.

On a terminal control characters of theirs are shown and not obeyed, but for colours (`terminal.visible`): one host must not write over
another's lines. In a file or a pipe every byte is theirs. Neighbours: `spool` has the output, `mapping` the hosts.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable

from remote_shell.cli.outlet import Outlet
from remote_shell.cli.showing import Passage, Untouched, passage
from remote_shell.cli.spool import Piece, Store
from remote_shell.client.remote import write_all
from remote_shell.config.names import fold
from remote_shell.config.paths import shown
from remote_shell.terminal.visible import Visible, last_sign

_RULE = "-" * 15
_LINE_MAX = 64 * 1024  # bytes of a line that are held; more is shown as several lines
_PLAIN = b"\x1b[m"


class Section:
    """Hosts that ended alike and wrote the same. `how` is how they ended, empty for success."""

    def __init__(self, how: str, out: Piece, err: Piece) -> None:
        self.how = how
        self.pieces = (out, err)
        self.names: list[str] = []

    @property
    def title(self) -> str:
        """What stands above what they wrote."""
        count = f" ({len(self.names)})" if len(self.names) > 1 else ""
        return shown(fold(self.names)) + count + (f": {self.how}" if self.how else "")


def show(sections: Iterable[Section], store: Store) -> None:
    """All of it, stdout on ours and stderr on ours. Raises OSError."""
    for section in sections:
        for descriptor, piece in zip((1, 2), section.pieces, strict=True):
            if piece.size or piece.dropped:
                stream = ", stderr" if descriptor == 2 else ""
                write_all(descriptor, [f"{_RULE}\n{section.title}{stream}\n{_RULE}\n".encode("utf-8", "replace")])
                _show_piece(descriptor, store, piece)


def _show_piece(descriptor: int, store: Store, piece: Piece) -> None:
    way = passage(descriptor)
    last = b"\n"
    for data in store.chunks(piece):
        text = way.feed(data)
        write_all(descriptor, [text])
        last = last_sign(text) or last
    end = way.end()
    last = last_sign(end) or last
    end += b"" if last == b"\n" else b"\n"
    if piece.dropped:
        end += f"… and {piece.dropped} bytes more, which were not kept; -l shows all as it comes\n".encode()
    if end:
        write_all(descriptor, [end])


class PrintingError(Exception):
    """Our own stdout or stderr takes no more; `__cause__` says why."""


class Printer:
    """One of our descriptors, for many who write to it: each text stays whole, and who writes waits until it has left."""

    def __init__(self, descriptor: int) -> None:
        self.terminal = os.isatty(descriptor)
        self._outlet = Outlet(descriptor, lambda data: None)
        self._one_at_a_time = asyncio.Lock()

    async def put(self, data: bytes) -> None:
        """Raises PrintingError."""
        async with self._one_at_a_time:
            self._outlet.put(data)
            try:
                await self._outlet.drained()
            except OSError as error:
                raise PrintingError from error

    def close(self) -> None:
        """Forget what waits."""
        self._outlet.close()


class Labelled:
    """One stream of one host, line by line, its name before each."""

    def __init__(self, name: str, printer: Printer) -> None:
        self._label = f"{shown(name)}: ".encode("utf-8", "replace")
        self._printer = printer
        self._passage: Passage = Visible() if printer.terminal else Untouched()
        self._rest = b""

    async def put(self, data: bytes) -> None:
        """More of it came. Raises PrintingError."""
        lines = (self._rest + self._passage.feed(data)).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > _LINE_MAX:
            lines.append(self._rest)
            self._rest = b""
        await self._put(lines)

    async def end(self) -> None:
        """Nothing more comes. Raises PrintingError."""
        *lines, rest = (self._rest + self._passage.end().removesuffix(_PLAIN)).split(b"\n")
        self._rest = b""
        await self._put([*lines, rest] if rest else lines)

    async def _put(self, lines: list[bytes]) -> None:
        if lines:
            if self._printer.terminal:
                lines = [line + _PLAIN if b"\x1b" in line else line for line in lines]
            await self._printer.put(b"".join(self._label + line + b"\n" for line in lines))
