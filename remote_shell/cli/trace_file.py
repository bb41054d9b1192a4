"""A trace in a file: JSON, one object a line, so that what was written before a crash can be read.

    {"format":"remote-shell trace","version":1,"software":"…","began":1764381600.25,"named":false}
    {"t":0.0004,"host":"box","connection":1,"event":"connected","text":"unix:/run/…"}
    {"t":0.0005,"host":"box","connection":1,"event":"frame","way":"sent","raw":"…base64…","hidden":[[9,12]],"why":"…"}

`t` is in seconds since `began` (Unix time). `raw` is header and payload; `hidden` are places in it of which only the length was written.
Neighbours: `tracing` opens one, `commands.trace` reads it, `trace_lines` shows what is in it.
"""

from __future__ import annotations

import base64
import binascii
import errno
import json
import os
import stat
import time
from collections.abc import Iterator
from typing import IO, Any, NamedTuple, get_args

from remote_shell import __version__
from remote_shell.cli.main import complain
from remote_shell.client.remote import write_all
from remote_shell.client.tracing import WITHOUT_BYTES, Kind, TraceEvent
from remote_shell.errors import UsageError
from remote_shell.wire.frames import HEADER, HEADER_SIZE

FORMAT = "remote-shell trace"
VERSION = 1
LINE_MAX = 4 * 1024 * 1024  # bytes; the largest frame takes 1.4 MB
_KINDS = get_args(Kind)
_OPENED = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class TraceWriter:
    """Called with each event. A file that can't be written any more is told once, and stops no command."""

    def __init__(self, path: str, *, named: bool = False) -> None:
        """`named`: of several hosts. Raises UsageError for a file that is not to be replaced, OSError."""
        self._path = path
        self._descriptor = _open(path)
        self._began = time.monotonic()
        head = {
            "format": FORMAT,
            "version": VERSION,
            "software": f"remote-shell/{__version__}",
            "began": round(time.time(), 6),
            "named": named,
        }
        self._write(head)

    def __call__(self, event: TraceEvent) -> None:
        """One more line."""
        if self._descriptor >= 0:
            try:
                self._write(line_of(event, self._began))
            except OSError as error:
                self.close()
                complain(f"the trace in {self._path} ends here: {error.strerror}; the command goes on")

    def close(self) -> None:
        """Safe to repeat."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _write(self, record: dict[str, Any]) -> None:
        # a line at a time, and nothing kept here: what ends us takes no line along
        write_all(self._descriptor, [json.dumps(record, separators=(",", ":")).encode() + b"\n"])


def _open(path: str) -> int:
    """An empty file, 0600. Only an empty file or a trace of our own account is replaced."""
    try:
        descriptor = os.open(path, _OPENED, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UsageError(f"{path} is a symlink, and a trace is written to a plain file only; name that") from None
        raise OSError(error.errno, f"can't write the trace: {error.strerror}", path) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path} is no plain file; name a new one, or write --trace for stderr")
        if status.st_uid != os.geteuid():
            raise UsageError(f"{path} belongs to somebody else, who could read the trace; name a new file")
        if status.st_size and not os.pread(descriptor, len(_BEGIN), 0) == _BEGIN:
            raise UsageError(
                f"{path} is there, and is no trace: it would be overwritten; name a new file, or remove it first"
            )
        os.fchmod(descriptor, 0o600)
        os.ftruncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


_BEGIN = json.dumps({"format": FORMAT}, separators=(",", ":")).encode()[:-1]


def line_of(event: TraceEvent, began: float) -> dict[str, Any]:
    """An event as it is written."""
    record: dict[str, Any] = {
        "t": round(event.at - began, 6),
        "host": event.host,
        "connection": event.connection,
        "event": event.kind,
    }
    if event.kind in WITHOUT_BYTES:
        record["text"] = event.text
        return record
    record["way"] = "sent" if event.sent else "received"
    if event.again:
        record["again"] = True
    record["raw"] = base64.b64encode(event.raw).decode()
    if event.hidden:
        record["hidden"] = [list(place) for place in event.hidden]
        record["why"] = event.why
    return record


class Head(NamedTuple):
    """The first line."""

    began: float  # Unix time
    named: bool
    software: str


class DamagedError(ValueError):
    """A line that is no line of a trace."""


def read_head(file: IO[bytes], name: str) -> Head:
    """Raises UsageError if that is no trace that we can read."""
    line = file.readline(LINE_MAX)
    if not line:
        raise UsageError(f"{name} is empty: the command that should have been traced wrote nothing")
    try:
        head = json.loads(line)
        if head["format"] != FORMAT:
            raise ValueError
        version = head["version"]
        began, named, software = float(head.get("began", 0)), head.get("named") is True, str(head.get("software", ""))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(f"{name} is no trace: its first line is not that of a file that --trace=FILE wrote") from None
    if version != VERSION:
        shown = version if isinstance(version, int) else "?"
        raise UsageError(
            f"{name} has version {shown} of the format, and this remote-shell reads {VERSION}: use a newer one"
        )
    return Head(began, named, software)


def read_events(file: IO[bytes]) -> Iterator[TraceEvent | DamagedError]:
    """What follows the first line; for a line that is damaged what is wrong with it, and then the next. `at` counts from `began`."""
    number = 1
    while line := file.readline(LINE_MAX):
        number += 1
        if not line.endswith(b"\n"):
            if len(line) < LINE_MAX:
                yield DamagedError(
                    f"line {number} is cut off: the client was killed, its disk was full, or it still writes"
                )
                return
            while line and not line.endswith(b"\n"):
                line = file.readline(LINE_MAX)
            yield DamagedError(f"line {number} is longer than any of a trace; it is left out")
            continue
        try:
            event = parse(line)
        except (ValueError, KeyError, TypeError, RecursionError):
            yield DamagedError(f"line {number} is damaged; it is left out")
        else:
            yield event


def parse(line: bytes) -> TraceEvent:
    """One line. Raises ValueError, KeyError, TypeError, RecursionError for what is none."""
    record = json.loads(line)
    at, connection, kind = float(record["t"]), record["connection"], record["event"]
    host = _text(record["host"])
    if kind not in _KINDS or type(connection) is not int or not abs(at) < 1e12:
        raise ValueError
    if kind in WITHOUT_BYTES:
        return TraceEvent(at, host, connection, kind, text=_text(record["text"]))
    way = record["way"]
    if way not in ("sent", "received"):
        raise ValueError
    try:
        raw = base64.b64decode(record["raw"], validate=True)
    except binascii.Error as error:
        raise ValueError from error
    if kind == "frame" and (len(raw) < HEADER_SIZE or HEADER.unpack_from(raw)[0] != len(raw) - HEADER_SIZE):
        raise ValueError
    hidden, end = [], 0
    for place in record.get("hidden", []):
        begin, count = place
        if type(begin) is not int or type(count) is not int or begin < end or count < 1 or begin + count > len(raw):
            raise ValueError
        end = begin + count
        hidden.append((begin, count))
    return TraceEvent(
        *(at, host, connection, kind, way == "sent", raw, tuple(hidden)),
        why=_text(record.get("why", "")),
        again=record.get("again") is True,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
