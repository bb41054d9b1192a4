"""What an audit line can say: one class an event, its fields in the order of the line. docs/audit.md has them all, and a test compares.

`encode` makes the line: ASCII JSON without a control character, whatever the bytes. Bytes that are no UTF-8 are lone surrogates, as
Python's `surrogateescape` has them: `json.loads(line)["cwd"].encode("utf-8", "surrogateescape")` gives back what it was.
Neighbours: `appending` writes it, `server.audit` says when.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from remote_shell.audit.appending import stamp

_CUT_TEXT, _CUT_LIST = 512, 32  # what is left of a text and of a list in a line that would be too long


class Who(NamedTuple):
    """Whose doing it was: every line about a session has these."""

    session: str  # names it in this file and in recordings, and is not the id by which it is resumed
    principal: str  # "key:SHA256:…", "secret:NAME" or "uid:N"
    source: str  # transport and address, or the process at the other end of a Unix socket


def text(data: bytes) -> str:
    """Bytes from the system, without loss."""
    return data.decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Event:
    """One line. A field that is None is not in it."""

    event: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class ServerStart(Event):
    """A server begins."""

    event: ClassVar[str] = "server_start"
    pid: int
    version: str
    account: str  # as which commands run
    listen: tuple[str, ...]
    keys: tuple[str, ...]  # fingerprints that may log in now


@dataclass(frozen=True, slots=True)
class ServerEnd(Event):
    """It ends. Without this line before the next `server_start` it was killed."""

    event: ClassVar[str] = "server_end"
    pid: int


@dataclass(frozen=True, slots=True)
class Login(Event):
    """A new session."""

    event: ClassVar[str] = "login"
    method: str  # "key", "secret" or "peer"
    software: str  # what the client calls itself


@dataclass(frozen=True, slots=True)
class Resume(Event):
    """The same session over a new connection."""

    event: ClassVar[str] = "resume"
    method: str
    software: str


@dataclass(frozen=True, slots=True)
class LoginRefused(Event):
    """A stranger stayed outside."""

    event: ClassVar[str] = "login_refused"
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Enrolled(Event):
    """An invited stranger's key may log in from now on."""

    event: ClassVar[str] = "enrolled"
    source: str
    key: str  # its fingerprint
    invitation: str  # the beginning of its name, by which `keys list` shows it
    again: bool  # the key was listed before


@dataclass(frozen=True, slots=True)
class RefusalsCounted(Event):
    """More of them than are written one by one."""

    event: ClassVar[str] = "refusals_counted"
    count: int  # beyond those that have lines
    seconds: float  # within which they came


@dataclass(frozen=True, slots=True)
class Logout(Event):
    """A session is over."""

    event: ClassVar[str] = "logout"
    reason: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Command(Event):
    """Something is about to be started: written before it is."""

    event: ClassVar[str] = "command"
    command: str  # its id; of a live shell's line the shell's
    kind: str  # "exec", "job", "shell", or "line" of a live shell
    number: int | None  # of a line
    argv: tuple[str, ...] | None
    line: str | None  # a live shell's
    cwd: str | None  # of a line it is where the shell is
    terminal: bool


@dataclass(frozen=True, slots=True)
class End(Event):
    """It ended. A job's line is its keeper's, at whatever time that is."""

    event: ClassVar[str] = "end"
    command: str
    kind: str
    number: int | None
    pid: int | None
    status: int | None
    signal: str | None
    timed_out: bool
    duration_ms: int
    stdout: int | None  # bytes that it wrote; of a terminal all
    stderr: int | None


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """Somebody with a login asked for what was not begun, or could not be."""

    event: ClassVar[str] = "refused"
    request: str
    command: str
    reason: str  # the protocol's code
    errno: str | None


@dataclass(frozen=True, slots=True)
class Asked(Event):
    """A request about what runs or ran, and is this principal's."""

    event: ClassVar[str] = "request"
    request: str  # "attach", "job_logs", "job_wait", "job_signal" or "job_remove"
    command: str
    signal: str | None
    force: bool


@dataclass(frozen=True, slots=True)
class Transfer(Event):
    """Files are about to come or go."""

    event: ClassVar[str] = "transfer"
    command: str
    direction: str  # "put" or "get"
    paths: tuple[str, ...]  # put: what each is called; get: what is wanted
    to: str | None  # put: where they go
    recursive: bool


@dataclass(frozen=True, slots=True)
class File(Event):
    """Of a put, one is whole where it was to be; of a get, all of one was sent."""

    event: ClassVar[str] = "file"
    command: str
    direction: str
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class TransferEnd(Event):
    """No more of them come."""

    event: ClassVar[str] = "transfer_end"
    command: str
    direction: str
    files: int
    bytes: int
    failed: int
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Tunnel(Event):
    """A connection from here, one that came here, or a port that listens."""

    event: ClassVar[str] = "tunnel"
    command: str
    request: str  # "connect": host and port are where to; "accept": where from; "listen": where
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class TunnelEnd(Event):
    """It is over."""

    event: ClassVar[str] = "tunnel_end"
    command: str
    request: str
    status: int  # 0: in order
    sent: int  # bytes to the other end
    received: int  # bytes from it
    duration_ms: int


@dataclass(frozen=True, slots=True)
class KeyChange(Event):
    """authorized_keys lets others in than before, or lets them do something else."""

    event: ClassVar[str] = "key_change"
    file: str
    added: tuple[str, ...]  # fingerprints
    removed: tuple[str, ...]
    comments: tuple[str, ...]  # of those that were added
    problem: str | None  # why the file is not used at all
    changed: tuple[str, ...] = ()  # fingerprints of those whose options are others now


@dataclass(frozen=True, slots=True)
class Recording(Event):
    """What this command's terminal shows is recorded."""

    event: ClassVar[str] = "recording"
    command: str
    file: str


@dataclass(frozen=True, slots=True)
class RecordingCut(Event):
    """From here on it is not, or it never was."""

    event: ClassVar[str] = "recording_cut"
    command: str
    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class LinesLost(Event):
    """Lines before this one could not be written."""

    event: ClassVar[str] = "lines_lost"
    count: int
    reason: str


EVENTS: tuple[type[Event], ...] = (
    *(
        ServerStart,
        ServerEnd,
        Login,
        Resume,
        LoginRefused,
        Enrolled,
        RefusalsCounted,
        Logout,
        Command,
        End,
        Refused,
        Asked,
    ),
    *(Transfer, File, TransferEnd, Tunnel, TunnelEnd, KeyChange, Recording, RecordingCut, LinesLost),
)
# made once and without a search for circles: that was two thirds of a line's time
_encode = json.JSONEncoder(ensure_ascii=True, check_circular=False, separators=(",", ":")).encode
_FIELDS = {one: tuple(field.name for field in dataclasses.fields(one)) for one in EVENTS}


def encode(event: Event, who: Who | None, now: float, most: int) -> bytes:
    """The line, of at most `most` bytes, 256 KiB or more. `now` is Unix time.

    A line that would be longer keeps the beginnings of its texts and lists, and says with `cut` how many bytes it had and their SHA-256.
    """
    fields: dict[str, Any] = {"time": stamp(now), "event": event.event}
    if who is not None:
        fields |= who._asdict()
    for name in _FIELDS[type(event)]:
        value = getattr(event, name)
        if value is not None:
            fields[name] = value
    line = _dump(fields)
    if len(line) > most:
        short = {name: _shortened(value) for name, value in fields.items()}
        line = _dump({**short, "cut": {"bytes": len(line), "sha256": hashlib.sha256(line).hexdigest()}})
    return line


def _dump(fields: dict[str, Any]) -> bytes:
    return _encode(fields).encode("ascii") + b"\n"


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_CUT_TEXT]
    if isinstance(value, tuple):
        return [one[:_CUT_TEXT] for one in value[:_CUT_LIST]]
    return value
