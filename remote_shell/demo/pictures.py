"""Pictures of what sockets noted: rows of blocks, cut and coloured by the messages that were sent. A neighbour of `recorder`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from remote_shell.demo.elements import Block, Piece, Row
from remote_shell.demo.recorder import Note
from remote_shell.demo.stage import pieces, text_of


def sent(label: str, messages: Iterable[bytes]) -> Row:
    """A block for each message, each in a colour of its own: the colours that `received` gives them."""
    return Row(
        label, tuple(Block(pieces(message, [b"" for _ in range(n)] + [message])) for n, message in enumerate(messages))
    )


def received(label: str, notes: Iterable[Note], messages: Sequence[bytes], start: int = 0) -> Row:
    """A block for each `recv` that returned something, cut at the borders of the messages.

    Args:
        notes: the calls of one end, in order.
        messages: what the other end sent, as one stream.
        start: where in that stream the first of the notes begins.
    """
    blocks = []
    for note in notes:
        if note.data:  # none at all means that the other end has hung up
            blocks.append(Block(pieces(note.data, messages, start)))
        start += len(note.data)
    return Row(label, tuple(blocks))


def total(notes: Iterable[Note]) -> int:
    """How many bytes crossed in these calls."""
    return sum(len(note.data) for note in notes)


def short(data: bytes, most: int = 40) -> str:
    """Bytes for a table: all of them, or the beginning and the end, and how many they are."""
    text = text_of(data)
    half = (most - 8) // 2
    return text if len(text) <= most else f"{text[:half]} … {text[-half:]} ({len(data)})"


def framed(data: bytes, sizes: Iterable[int], start: int = 0) -> tuple[Piece, ...]:
    """Cuts bytes into headers, which are grey, and bodies, a colour each.

    Args:
        data: what a call sent or returned.
        sizes: of header, body, header, body and so on, of the whole stream.
        start: where in that stream `data` begins.
    """
    found, at = [], 0
    for number, size in enumerate(sizes):
        low, high = max(at, start), min(at + size, start + len(data))
        if low < high:
            colour = number // 2 % 6 + 1 if number % 2 else 0
            found.append(Piece(text_of(data[low - start : high - start]), high - low, colour))
        at += size
    return tuple(found)


def calls(parts: Iterable[bytes], sizes: Sequence[int]) -> tuple[Block, ...]:
    """A block for each call that sent or returned something, header and body apart.

    Args:
        parts: what the calls sent or returned, in order: the stream from its beginning.
        sizes: as `framed` has them.
    """
    found, at = [], 0
    for part in parts:
        if part:
            found.append(Block(framed(part, sizes, at)))
        at += len(part)
    return tuple(found)
