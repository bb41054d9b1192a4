"""Where pictures put what they show: sums that the terminal and the page share. Neither prints nor knows a colour."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from remote_shell.demo.elements import Blocks, Row

Mark = Literal["plain", "code", "term"]
_MARKED = re.compile(r"`([^`]+)`|\*([^*\s][^*]*)\*")


def marked(text: str) -> Iterator[tuple[Mark, str]]:
    """Parts a text at its marks: `` `code` `` and `*word*`."""
    at = 0
    for found in _MARKED.finditer(text):
        if found.start() > at:
            yield "plain", text[at : found.start()]
        yield ("code", found[1]) if found[1] is not None else ("term", found[2])
        at = found.end()
    if at < len(text):
        yield "plain", text[at:]


def visible(text: str) -> str:
    """The text with its control characters written as Python writes them, such as `\\x1b`: no terminal obeys them. Line ends stay."""
    return "".join(
        each if each == "\n" else f"\\x{ord(each):02x}" if each < " " or "\x7f" <= each < "\xa0" else each
        for each in text.expandtabs()
    )


def borders(row: Row) -> list[int]:
    """The offsets at which blocks of the row begin or end."""
    found = [0]
    for block in row.blocks:
        found.append(found[-1] + block.size)
    return found


def edges(blocks: Blocks) -> list[int]:
    """All offsets at which a block or a piece of any row begins or ends."""
    found = {0}
    for row in blocks.rows:
        at = 0
        for block in row.blocks:
            for piece in block.pieces:
                at += piece.size
                found.add(at)
    return sorted(found)


def widths(sizes: list[int], room: float, least: float) -> list[float]:
    """How wide stretches of these sizes are drawn in `room`: each at least `least` (a shorter one its size), none wider than its size where
    a unit is a byte, the rest shared out in proportion."""
    given = [min(size, least) for size in sizes]
    free = room - sum(given)
    while free > 0.5:
        hungry = [index for index, size in enumerate(sizes) if given[index] < size]
        if not hungry:
            break
        total = sum(sizes[index] for index in hungry)
        shares = [(index, min(sizes[index] - given[index], free * sizes[index] / total)) for index in hungry]
        for index, share in shares:
            given[index] += share
        spent = sum(share for _, share in shares)
        free -= spent
        if spent < 0.5:
            break
    return given
