"""Kinds of fields that messages have, and the base of all messages. Unknown fields are refused, integers are 0 to 2^53-1.

Neighbours: `model` validates, `messages` and `file_messages` are made of these.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, ClassVar, Self

from pydantic_core import core_schema

from remote_shell.errors import RemoteProtocolError, UsageError
from remote_shell.wire.model import Model, Schema, model_schema

INTEGER_MAX = 2**53 - 1


def integer(least: int, most: int) -> Schema:
    return Schema(core_schema.int_schema(ge=least, le=most, strict=True))


def string(most: int | None, pattern: str | None = None) -> Schema:
    return Schema(core_schema.str_schema(max_length=most, pattern=pattern, strict=True))


def list_of(items: Any, least: int | None = None, most: int | None = None) -> Schema:
    # Stops at the first fault: a list of a million faults took seconds and a gigabyte to report.
    return Schema(core_schema.list_schema(items, min_length=least, max_length=most, fail_fast=True, strict=True))


Integer = Annotated[int, integer(0, INTEGER_MAX)]
Stream = Annotated[int, integer(0, 2)]
Status = Annotated[int, integer(0, 255)]
Cells = Annotated[int, integer(1, 65535)]
Word = Annotated[str, string(64, r"^[A-Za-z0-9._:/+@-]+$")]
Text = Annotated[str, string(1024)]
Base64 = Annotated[str, string(1024, r"^[A-Za-z0-9+/]*={0,2}$")]
CommandId = Annotated[str, string(64, r"^[A-Za-z0-9._-]+$")]
SignalName = Annotated[str, string(16, r"^SIG[A-Z0-9+-]+$")]


_ALONE = 512  # bytes of a message without its texts


class Message(Model):
    """Base of all messages."""

    name: ClassVar[str]

    encode = Model.to_json  # tag first, without the fields that are unset

    @classmethod
    def of(cls, **values: Any) -> Self:
        """As `Model.of`, tag first."""
        made = object.__new__(cls)
        made.__dict__["type"] = cls.name
        made.__dict__.update(values)
        return made

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes: no window bounds those that wait."""
        weight = _ALONE
        for value in self.__dict__.values():
            kind = type(value)
            if kind is str or kind is list:
                weight += len(value)
            elif kind is Boxed:
                weight += len(value.base64)
        return weight


class Boxed(Model):
    """A string of the system that is not UTF-8."""

    base64: Annotated[str, string(None, r"^[A-Za-z0-9+/]*={0,2}$")]


_SYSTEM_STRING = core_schema.union_schema([string(None).core, model_schema(Boxed)], mode="left_to_right")

SystemString = Annotated[str | Boxed, Schema(_SYSTEM_STRING)]  # argv, env, cwd, paths
Pair = list[str | Boxed]
Strings = Annotated[list[str | Boxed], list_of(_SYSTEM_STRING)]
Pairs = Annotated[list[Pair], list_of(list_of(_SYSTEM_STRING, 2, 2).core)]


def to_system(raw: bytes) -> SystemString:
    """Bytes of argv, env or a path, as a message carries them. NUL is refused: the kernel ends strings there."""
    if b"\0" in raw:
        raise UsageError("embedded null byte: the system ends its strings there")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return Boxed.of(base64=base64.b64encode(raw).decode())


def from_system(value: SystemString) -> bytes:
    """The bytes again. Raises RemoteProtocolError (`bad_message`) on NUL and bad base64."""
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")  # a lone surrogate can't come: the JSON reader refuses it
    else:
        raw = unbase64(value.base64)
    if b"\0" in raw:
        raise RemoteProtocolError("bad_message", "NUL in a string of the system")
    return raw


def unbase64(text: str) -> bytes:
    """Strict base64. Raises RemoteProtocolError (`bad_message`)."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise RemoteProtocolError("bad_message", "bad base64") from None
