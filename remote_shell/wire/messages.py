"""Messages: the JSON inside control frames, one frozen and strict model each.

`decode` finds the model by the `type` tag (the discriminator) and validates; `encode` writes. Unknown fields are refused,
integers are 0 to 2^53-1 and never strings or floats, times are whole milli- or microseconds.
Neighbours: `frames` carries these, `channel` and `session` know when each is allowed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic_core import ValidationError, core_schema, from_json

from remote_shell.errors import RemoteProtocolError, UsageError
from remote_shell.wire.model import Model, Schema, model_schema

PROTOCOL_VERSION = 1
HELLO_SIZE = 320  # bytes, with spaces: no stranger hears a longer hello than it said
INTEGER_MAX = 2**53 - 1


def _integer(least: int, most: int) -> Schema:
    return Schema(core_schema.int_schema(ge=least, le=most, strict=True))


def _string(most: int | None, pattern: str | None = None) -> Schema:
    return Schema(core_schema.str_schema(max_length=most, pattern=pattern, strict=True))


def _list(items: Any, least: int | None = None, most: int | None = None) -> Schema:
    # Stops at the first fault: a list of a million faults took seconds and a gigabyte to report.
    return Schema(core_schema.list_schema(items, min_length=least, max_length=most, fail_fast=True, strict=True))


Integer = Annotated[int, _integer(0, INTEGER_MAX)]
Stream = Annotated[int, _integer(0, 2)]
Status = Annotated[int, _integer(0, 255)]
Cells = Annotated[int, _integer(1, 65535)]
Word = Annotated[str, _string(64, r"^[A-Za-z0-9._:/+@-]+$")]
Text = Annotated[str, _string(1024)]
Base64 = Annotated[str, _string(1024, r"^[A-Za-z0-9+/]*={0,2}$")]
CommandId = Annotated[str, _string(64, r"^[A-Za-z0-9._-]+$")]
SignalName = Annotated[str, _string(16, r"^SIG[A-Z0-9+-]+$")]


class Message(Model):
    """Base of all messages."""

    name: ClassVar[str]

    def encode(self) -> bytes:
        """The JSON, tag first, without the fields that are unset."""
        return self.to_json()

    @classmethod
    def of(cls, **values: Any) -> Self:
        """As `Model.of`."""
        return super().of(type=cls.name, **values)


class Boxed(Model):
    """A string of the system that is not UTF-8."""

    base64: Annotated[str, _string(None, r"^[A-Za-z0-9+/]*={0,2}$")]


class KeyProof(Model):
    """One key and its signature over the transcript."""

    key: Base64  # OpenSSH public key blob
    proof: Base64  # Ed25519 signature, 64 bytes, of the SSHSIG data


_SYSTEM_STRING = core_schema.union_schema([_string(None).core, model_schema(Boxed)], mode="left_to_right")

SystemString = Annotated[str | Boxed, Schema(_SYSTEM_STRING)]  # argv, env, cwd, paths
Pair = list[str | Boxed]
Strings = Annotated[list[str | Boxed], _list(_SYSTEM_STRING)]
Pairs = Annotated[list[Pair], _list(_list(_SYSTEM_STRING, 2, 2).core)]
Features = Annotated[list[str], _list(_string(64, r"^[A-Za-z0-9._:/+@-]+$").core, most=32)]
KeyProofs = Annotated[list[KeyProof], _list(model_schema(KeyProof), most=8)]


def to_system(raw: bytes) -> SystemString:
    """Bytes of argv, env or a path, as a message carries them. NUL is refused: the kernel ends strings there."""
    if b"\0" in raw:
        raise UsageError("embedded null byte: the system ends its strings there")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return Boxed(base64=base64.b64encode(raw).decode())


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


# --- channel 0: the connection


class Hello(Message):
    """First message of each side: what it is and what it takes."""

    name = "hello"
    type: Literal["hello"] = "hello"
    version: Integer = PROTOCOL_VERSION
    software: Text
    features: Features | None = None
    nonce: Base64  # 32 random bytes
    frame_max: Integer
    window: Integer  # first window for stdin on each channel that the peer opens
    unacked_bytes_max: Integer  # session frames that it takes unacknowledged
    unacked_frames_max: Integer
    prompt: bool  # reads and answers at all times, so that silence means loss
    instance: Word | None = None  # server only: which life of the server this is

    def encode(self) -> bytes:
        """The JSON, filled with spaces up to HELLO_SIZE."""
        return super().encode().ljust(HELLO_SIZE)


class Auth(Message):
    """The client's login, and which session it wants back."""

    name = "auth"
    type: Literal["auth"] = "auth"
    method: Literal["key", "secret", "peer"]
    keys: KeyProofs | None = None
    secret: Word | None = None  # the secret's name
    proof: Base64 | None = None  # HMAC-SHA256, 32 bytes
    user: Text | None = None  # account that was asked for; another than the server's is refused
    session: Word | None = None  # resume this one
    received: Integer = 0  # frames of that session received
    on_lost: Literal["kill"] = "kill"
    grace_ms: Integer | None = None


class Welcome(Message):
    """The login holds."""

    name = "welcome"
    type: Literal["welcome"] = "welcome"
    session: Word
    resumed: bool
    received: Integer  # frames of the session received: the client replays what follows
    principal: Text  # who the server takes the client for
    account: Text  # the account that commands run as
    host: Text
    grace_ms: Integer
    proof: Base64 | None = None  # method "secret": the server knows it too


class Denied(Message):
    """The one refusal before login, always the same."""

    name = "denied"
    type: Literal["denied"] = "denied"


class Ack(Message):
    """Both counts of the session's frames, as the sender sees them."""

    name = "ack"
    type: Literal["ack"] = "ack"
    received: Integer
    sent: Integer


class Ping(Message):
    """Asks for a sign of life; acknowledges too."""

    name = "ping"
    type: Literal["ping"] = "ping"
    received: Integer
    sent: Integer


class Pong(Message):
    """The answer; acknowledges too."""

    name = "pong"
    type: Literal["pong"] = "pong"
    received: Integer
    sent: Integer


class Disconnect(Message):
    """Last message on a connection: why it ends."""

    name = "disconnect"
    type: Literal["disconnect"] = "disconnect"
    code: Word
    detail: Text = ""


# --- channels from 1 up: the session


class Terminal(Model):
    """A terminal that is asked for."""

    term: Word  # TERM, as the client's own terminal has it
    rows: Cells
    columns: Cells


class Open(Message):
    """First message on a channel: what should run."""

    name = "open"
    type: Literal["open"] = "open"
    request: Literal["exec", "shell", "query"]
    id: CommandId
    window: Integer  # first window for stdout and stderr together
    argv: Strings | None = None  # exec: a program and its arguments
    line: SystemString | None = None  # exec: a line for the account's shell, instead of argv
    cwd: SystemString | None = None
    env: Pairs | None = None  # the whole environment, exactly
    env_add: Pairs | None = None  # added to the server's clean base
    env_offer: Pairs | None = None  # added as far as the server's allow-list goes
    stdin: Literal["pipe", "null"] = "null"
    merge_stderr: bool = False  # descriptor 2 is a copy of descriptor 1
    terminal: Terminal | None = None  # descriptors 0, 1 and 2 are a terminal; exec without argv and line: a login shell
    timeout_ms: Integer | None = None
    once: bool = False  # the id was chosen by the user: an ended command's result is told again


class Opened(Message):
    """The command runs."""

    name = "opened"
    type: Literal["opened"] = "opened"
    pid: Integer | None = None
    cwd: SystemString | None = None
    started_at_ms: Integer = 0  # Unix time
    term: Word | None = None  # TERM is this, since the server does not know the one that was asked for
    again: bool = False  # it ran before under this id: only its end is told, its output is not kept


class Rejected(Message):
    """Nothing was started."""

    name = "rejected"
    type: Literal["rejected"] = "rejected"
    code: Word
    detail: Text = ""


class Exit(Message):
    """The command ended: a status or a signal."""

    name = "exit"
    type: Literal["exit"] = "exit"
    status: Status | None = None
    signal: SignalName | None = None
    timed_out: bool = False
    duration_us: Integer = 0


class Eof(Message):
    """No more data on a stream."""

    name = "eof"
    type: Literal["eof"] = "eof"
    stream: Stream


class Close(Message):
    """The sender's last frame on the channel."""

    name = "close"
    type: Literal["close"] = "close"

    def encode(self) -> bytes:
        """Always the same, and so written once."""
        return _CLOSE_JSON


_CLOSE_JSON = b'{"type":"close"}'
CLOSE = Close.of()


class Window(Message):
    """Credit for more data, and how large the window now is."""

    name = "window"
    type: Literal["window"] = "window"
    credit: Integer
    window: Integer


class Signal(Message):
    """A signal for the command's process group."""

    name = "signal"
    type: Literal["signal"] = "signal"
    signal: SignalName
    command: Integer | None = None  # live shell: only if this command is the current one


class Resize(Message):
    """The terminal's new size."""

    name = "resize"
    type: Literal["resize"] = "resize"
    rows: Cells
    columns: Cells


class Mode(Message):
    """Live shell on a terminal: what its mode is from here on. Numbers rise by one."""

    name = "mode"
    type: Literal["mode"] = "mode"
    number: Integer
    mode: Literal["cooked", "no_echo", "raw"]


class Line(Message):
    """Live shell on a terminal: a line of input, edited here under that mode; it is given back if the mode has changed."""

    name = "line"
    type: Literal["line"] = "line"
    mode: Integer
    text: SystemString  # without a line end
    end: Literal["newline", "eof"] = "newline"


class Unread(Message):
    """Live shell on a terminal: input that no program has read: a line of another mode, or what a command left."""

    name = "unread"
    type: Literal["unread"] = "unread"
    text: SystemString


class Command(Message):
    """Live shell: the next line to run. Numbers rise by one."""

    name = "command"
    type: Literal["command"] = "command"
    number: Integer
    line: SystemString
    stdin: bool = False  # data up to `input_end` is its input; otherwise it reads nothing
    timeout_ms: Integer | None = None


class InputEnd(Message):
    """Live shell: the input of a command ends here."""

    name = "input_end"
    type: Literal["input_end"] = "input_end"
    number: Integer


class Done(Message):
    """Live shell: a command ended."""

    name = "done"
    type: Literal["done"] = "done"
    number: Integer
    status: Status | None = None
    signal: SignalName | None = None
    cwd: SystemString | None = None
    statuses: Annotated[list[int], _list(_integer(0, 255).core, most=256)] | None = None  # of a pipeline's commands
    duration_us: Integer = 0
    timed_out: bool = False
    shell: Literal["alive", "ended", "replaced"] = "alive"


class Report(Message):
    """Query: what is known of a command's id. Asking about an unknown id burns it: it will never run."""

    name = "report"
    type: Literal["report"] = "report"
    state: Literal["never_received", "running", "finished", "unknown"]
    status: Status | None = None
    signal: SignalName | None = None


CONNECTION_MESSAGES: tuple[type[Message], ...] = (Hello, Auth, Welcome, Denied, Ack, Ping, Pong, Disconnect)
SESSION_MESSAGES: tuple[type[Message], ...] = (
    *(Open, Opened, Rejected, Exit, Eof, Close, Window, Signal, Resize, Command, InputEnd, Done, Report),
    *(Mode, Line, Unread),
)
MODELS: dict[str, type[Message]] = {model.name: model for model in CONNECTION_MESSAGES + SESSION_MESSAGES}


def decode(payload: bytes, allowed: Iterable[str] | None = None) -> Message:
    """One control payload as a message. `allowed` limits which types are even looked at (before login).

    Raises RemoteProtocolError: `bad_json`, `unknown_message`, `bad_message`, `unexpected_message`.
    """
    if payload == _CLOSE_JSON and (allowed is None or "close" in allowed):
        return CLOSE
    try:
        value = from_json(payload, allow_inf_nan=False)
    except ValueError as error:  # bad UTF-8 and nesting beyond the reader's bound (200) land here too
        raise RemoteProtocolError("bad_json", str(error)[:200]) from None
    tag = value.get("type") if isinstance(value, dict) else None
    if not isinstance(tag, str):
        raise RemoteProtocolError("bad_message", "a control payload is a JSON object with a type")
    model = MODELS.get(tag)
    if model is None:
        raise RemoteProtocolError("unknown_message", repr(tag[:40]))
    if allowed is not None and tag not in allowed:
        raise RemoteProtocolError("unexpected_message", tag)
    try:
        return model.from_value(value)
    except ValidationError as error:
        if error.error_count() > 100:  # writing them out takes seconds where there are very many
            raise RemoteProtocolError("bad_message", f"{tag}: {error.error_count()} faults") from None
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:80]
        raise RemoteProtocolError("bad_message", f"{tag}: {where}: {first['msg'][:120]}") from None
