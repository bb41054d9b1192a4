"""What a hostile sender of files says, to be told to our receiver in memory, through our server, and through our client."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Literal

from remote_shell.wire.fields import Message, to_system
from remote_shell.wire.file_messages import Entry

Said = list[Message | bytes]


def entry(number: int, path: bytes, kind: Literal["file", "folder", "symlink"] = "file", **more: Any) -> Entry:
    """One of source 0."""
    return Entry(number=number, source=0, path=to_system(path), kind=kind, mode=0o644, **more)


def file(number: int, path: bytes, data: bytes = b"evil") -> Said:
    """A small file with its content."""
    return [entry(number, path, size=len(data), sha256=hashlib.sha256(data).hexdigest()), data]


def link(number: int, path: bytes, target: bytes) -> Said:
    """A symlink."""
    return [entry(number, path, "symlink", target=to_system(target))]


def escapes(outside: bytes) -> Iterator[tuple[str, Said]]:
    """Ways out of the destination, into the folder `outside`; each begins with a folder that is the source."""
    top: Said = [entry(1, b"", "folder")]
    yield "absolute", [*top, *file(2, outside + b"/evil")]
    yield "dots", [*top, *file(2, b"../evil")]
    yield "dots within", [*top, *file(2, b"a/../../evil")]
    yield "a folder of dots", [*top, entry(2, b"..", "folder"), *file(3, b"../evil")]
    yield "through a symlink", [*top, *link(2, b"l", outside), *file(3, b"l/evil")]
    yield "through two", [*top, *link(2, b"l", b"m"), *link(3, b"m", outside), *file(4, b"l/evil")]
    yield "a folder behind a symlink", [*top, *link(2, b"l", outside), entry(3, b"l/evil", "folder")]
    yield "a folder that is one", [*top, *link(2, b"l", outside), entry(3, b"l", "folder"), *file(4, b"l/evil")]
    yield "a link behind a link", [*top, *link(2, b"l", outside), *link(3, b"l/evil", b"x")]
    yield "over a symlink", [*top, *link(2, b"evil", outside + b"/evil"), *file(3, b"evil")]
    yield "a partial file that is one", [*top, *link(2, b".evil.rs-part", outside + b"/evil"), *file(3, b"evil")]
    yield "the source is a link", [*link(1, b"", outside), *file(2, b"evil")]
