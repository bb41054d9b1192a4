"""Messages of put and get (feature "files"): the sender of files says what comes, the receiver what it has and what became of it.

The client sends for put, the server for get; the messages are the same. Neighbours: `offers` has the order in which a sender may say them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic_core import core_schema

from remote_shell.wire.fields import Boxed, Integer, Message, Text, Word, integer, list_of, string
from remote_shell.wire.model import Schema, model_schema

PATH_MAX = 4096  # characters, and bytes: what the system takes
NUMBERS_MAX = 1024  # in one `stored`


class BoxedPath(Boxed):
    """A path that is not UTF-8."""

    base64: Annotated[str, string(PATH_MAX * 4 // 3 + 4, r"^[A-Za-z0-9+/]*={0,2}$")]


_PATH = core_schema.union_schema([string(PATH_MAX).core, model_schema(BoxedPath)], mode="left_to_right")
Path = Annotated[str | Boxed, Schema(_PATH)]
Paths = Annotated[list[str | Boxed], list_of(_PATH, least=1, most=NUMBERS_MAX)]
Digest = Annotated[str, string(64, r"^[0-9a-f]{64}$")]
Numbers = Annotated[list[int], list_of(integer(1, 2**53 - 1).core, least=1, most=NUMBERS_MAX)]


class Entry(Message):
    """Sender: a folder, a symlink or a file. With `sha256` a file's content follows at once, otherwise after `content`."""

    name = "entry"
    type: Literal["entry"] = "entry"
    number: Integer  # 1, 2, 3, …
    source: Integer  # which of `open.paths` it belongs to, from 0
    path: Path  # below that; empty: the source itself
    kind: Literal["file", "folder", "symlink"]
    size: Integer = 0  # file
    mode: Annotated[int, integer(0, 0o777)] = 0  # permission bits
    mtime_s: Integer = 0  # Unix time
    mtime_ns: Annotated[int, integer(0, 999_999_999)] = 0
    target: Path | None = None  # symlink
    sha256: Digest | None = None  # file: of the `size` bytes that follow


class Wanted(Message):
    """Receiver: go on with a file that was announced without `sha256`; this much of it is here already."""

    name = "wanted"
    type: Literal["wanted"] = "wanted"
    number: Integer
    offset: Integer = 0
    sha256: Digest | None = None  # of the bytes up to there


class Content(Message):
    """Sender: the data that follows is this file's, from there on."""

    name = "content"
    type: Literal["content"] = "content"
    number: Integer
    offset: Integer = 0  # 0, or the `offset` of `wanted`, when the bytes up to there are the same


class Seek(Message):
    """Sender: up to here the content is a hole."""

    name = "seek"
    type: Literal["seek"] = "seek"
    offset: Integer


class EntryEnd(Message):
    """Sender: the end of what `content` began."""

    name = "entry_end"
    type: Literal["entry_end"] = "entry_end"
    sha256: Digest | None = None  # of the whole content; absent: it could not be read to its end, or nobody wants it
    errno: Word | None = None
    detail: Text = ""


class Skipped(Message):
    """Sender: this can't be sent."""

    name = "skipped"
    type: Literal["skipped"] = "skipped"
    source: Integer
    path: Path
    errno: Word | None = None
    detail: Text = ""


class Stored(Message):
    """Receiver: these are in their places."""

    name = "stored"
    type: Literal["stored"] = "stored"
    numbers: Numbers


class EntryFailed(Message):
    """Receiver: this one is not."""

    name = "entry_failed"
    type: Literal["entry_failed"] = "entry_failed"
    number: Integer
    errno: Word | None = None
    detail: Text = ""
    kept: Integer = 0  # bytes of it that are kept for the next attempt


SENDER_MESSAGES = (Entry, Content, Seek, EntryEnd, Skipped)
RECEIVER_MESSAGES = (Wanted, Stored, EntryFailed)
FILE_MESSAGES: tuple[type[Message], ...] = (*SENDER_MESSAGES, *RECEIVER_MESSAGES)
FILE_NAMES = frozenset(model.name for model in FILE_MESSAGES)
