"""Messages: the JSON inside control frames, one frozen and strict model each.

`decode` finds the model by the `type` tag (the discriminator) and validates; `encode` writes. Times are whole milli- or microseconds.
Neighbours: `fields` has their kinds of fields, `file_messages` those about files; `frames` carries these, `channel` and `session`
know when each is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic_core import ValidationError, from_json

from remote_shell.errors import RemoteProtocolError
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.wire.fields import INTEGER_MAX as INTEGER_MAX
from remote_shell.wire.fields import (
    Base64,
    Cells,
    CommandId,
    Integer,
    Pairs,
    SignalName,
    Status,
    Stream,
    Strings,
    Text,
    Word,
    integer,
    list_of,
    string,
)
from remote_shell.wire.fields import Boxed as Boxed
from remote_shell.wire.fields import Message as Message
from remote_shell.wire.fields import Pair as Pair
from remote_shell.wire.fields import SystemString as SystemString
from remote_shell.wire.fields import from_system as from_system
from remote_shell.wire.fields import to_system as to_system
from remote_shell.wire.fields import unbase64 as unbase64
from remote_shell.wire.file_messages import FILE_MESSAGES, Paths
from remote_shell.wire.model import Model, model_schema
from remote_shell.wire.nesting import is_deeper

PROTOCOL_VERSION = 1
FEATURES = ("subsystem", "files", "forward", "pairing")  # beyond version 1: each is used only where both sides name it
HELLO_SIZE = 320  # bytes, with spaces: no stranger hears a longer hello than it said


# --- channel 0: the connection


class KeyProof(Model):
    """One key and its signature over the transcript."""

    key: Base64  # OpenSSH public key blob
    proof: Base64  # Ed25519 signature, 64 bytes, of the SSHSIG data


Port = Annotated[int, integer(0, 65535)]
Features = Annotated[list[str], list_of(string(64, r"^[A-Za-z0-9._:/+@-]+$").core, most=32)]
KeyProofs = Annotated[list[KeyProof], list_of(model_schema(KeyProof), most=8)]


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
    method: Literal["key", "secret", "peer", "invite"]
    keys: KeyProofs | None = None
    secret: Word | None = None  # the secret's name
    proof: Base64 | None = None  # HMAC-SHA256, 32 bytes
    invite: Word | None = None  # the invitation's name; with it one key that is to be enrolled; feature "pairing"
    label: Word | None = None  # invite: what the client calls itself, for people to read
    user: Text | None = None  # account that was asked for; another than the server's is refused
    session: Word | None = None  # resume this one
    received: Integer = 0  # frames of that session received
    on_lost: Literal["kill", "keep"] = (
        "kill"  # after the grace, or a `detach`: live shells on terminals are ended, or left
    )
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
    left: Integer = (
        0  # shells of this principal that no connected client holds: `shells` lists them, `attach` takes one
    )
    proof: Base64 | None = None  # method "secret": the server knows it too


class Enrolled(Message):
    """The key of an invited client may log in from now on; the connection ends."""

    name = "enrolled"
    type: Literal["enrolled"] = "enrolled"
    proof: Base64  # the server knows the invitation too
    account: Text  # the account that commands will run as
    host: Text
    again: bool = False  # the key was listed before


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
    request: Literal[
        "exec", "shell", "query", "attach", "shells", "jobs", "job_logs", "job_wait", "job_signal", "job_remove",
        "put", "get", "connect", "listen", "accept",
    ]  # fmt: skip
    id: CommandId  # of what is to run; query, attach, job_…: of what was started under it; accept: as `accepted` told it
    window: Integer  # first window for stdout and stderr together
    argv: Strings | None = None  # exec: a program and its arguments
    line: SystemString | None = None  # exec: a line for the account's shell, instead of argv
    subsystem: Word | None = None  # exec: what the server runs under this name, instead of argv; feature "subsystem"
    cwd: SystemString | None = None
    env: Pairs | None = None  # the whole environment, exactly
    env_add: Pairs | None = None  # added to the server's clean base
    env_offer: Pairs | None = None  # added as far as the server's allow-list goes
    stdin: Literal["pipe", "null"] = "null"
    merge_stderr: bool = False  # descriptor 2 is a copy of descriptor 1
    terminal: Terminal | None = None  # descriptors 0, 1 and 2 are a terminal; exec without argv and line: a login shell
    timeout_ms: Integer | None = None
    once: bool = False  # the id was chosen by a person: it is on disk before the command starts
    detach: bool = False  # exec: as a job, which outlives this channel, its session and the server
    follow: bool = False  # job_logs: what is written later, too
    from_now: bool = False  # job_logs: only that
    stdout_from: Integer = 0  # job_logs: the first byte of stdout that is wanted
    stderr_from: Integer = 0  # and of stderr
    signal: SignalName | None = None  # job_signal
    force: bool = False  # job_remove: end it first, if it runs
    host: Text | None = (
        None  # connect: a name or an address; listen: an address of the server's machine; feature "forward"
    )
    port: Port | None = None  # of TCP; listen: 0 is any
    paths: Paths | None = None  # get: what is wanted; put: what each thing that comes is called, empty: what is in it
    to: SystemString | None = None  # put: where it goes to
    recursive: bool = False  # get: folders, too, with all that is in them


class Opened(Message):
    """The command runs."""

    name = "opened"
    type: Literal["opened"] = "opened"
    pid: Integer | None = None
    cwd: SystemString | None = None
    started_at_ms: Integer = 0  # Unix time
    term: Word | None = None  # TERM is this, since the server does not know the one that was asked for
    shell: Word | None = None  # a live shell's language: "bash", "zsh"
    again: bool = False  # it ran before under this id: only its end is told, its output is not kept
    port: Port | None = None  # listen: the one that it is


class Attached(Message):
    """The answer to `attach`: the shell is this channel's from here on. What it wrote unseen follows."""

    name = "attached"
    type: Literal["attached"] = "attached"
    pid: Integer | None = None
    cwd: SystemString | None = None
    first_cwd: SystemString | None = None  # in which it was started
    started_at_ms: Integer = 0  # Unix time
    term: Word | None = None  # TERM of its terminal
    shell: Word | None = None  # as in `opened`
    number: Integer = 0  # of the last `command`
    line: SystemString | None = None  # which still runs
    status: Status | None = None  # how the last one ended that did
    signal: SignalName | None = None
    missed: Integer = 0  # bytes of output that follow at once
    dropped: Integer = 0  # and that came before them, and are gone
    away_ms: Integer = 0  # how long nobody held it


class Detached(Message):
    """Another has taken the shell, or it was left as asked: it goes on there, and this channel is closed."""

    name = "detached"
    type: Literal["detached"] = "detached"
    by: Text = ""  # who took it; empty: nobody


class LeftShell(Model):
    """A live shell on a terminal."""

    id: CommandId
    started_at_ms: Integer  # Unix time
    cwd: SystemString
    line: SystemString | None = None  # the command that runs, as far as 200 bytes
    ended: bool = False  # the shell has: `attach` brings its last output and its exit, once
    away_ms: Integer | None = None  # for how long no connected client has held it; without: one does
    holder: Text = ""  # who holds it, or held it last


class Shells(Message):
    """The answer to `shells`: those of the same principal, held in other sessions or by nobody."""

    name = "shells"
    type: Literal["shells"] = "shells"
    shells: Annotated[list[LeftShell], list_of(model_schema(LeftShell), most=32)]


class Job(Message):
    """One detached job: an entry of the answer to `jobs`, or what data and `exit` that follow are about. Again: it changed."""

    name = "job"
    type: Literal["job"] = "job"
    id: CommandId
    state: Literal["running", "finished", "unknown"]  # unknown: its keeper died, nobody knows what became of it
    command: Text = ""  # for people: as a shell would take it, as far as 1,000 characters
    cwd: SystemString | None = None
    pid: Integer | None = None
    started_at_ms: Integer | None = None  # Unix time; without: there is no proof that it was started
    ended_at_ms: Integer | None = None
    status: Status | None = None
    signal: SignalName | None = None
    timed_out: bool = False
    duration_us: Integer = 0
    trouble: Text = ""  # why it waits
    stdout_at: Integer | None = None  # job_logs: which byte of stdout comes next
    stderr_at: Integer | None = None  # and of stderr


class Jobs(Message):
    """The end of the answer to `jobs`."""

    name = "jobs"
    type: Literal["jobs"] = "jobs"
    count: Integer  # of the messages `job` before it


class Gap(Message):
    """Job logs: so much of a stream is not there any more. What follows on the stream comes after it."""

    name = "gap"
    type: Literal["gap"] = "gap"
    stream: Stream
    dropped: Integer  # bytes


class Accepted(Message):
    """Listen: somebody has connected. The client opens a channel with `accept` and this id, or lets it pass."""

    name = "accepted"
    type: Literal["accepted"] = "accepted"
    id: CommandId
    peer: Text  # address and port


class Rejected(Message):
    """Nothing was started."""

    name = "rejected"
    type: Literal["rejected"] = "rejected"
    code: Word
    detail: Text = ""
    errno: Word | None = None  # the name of what the system said: numbers differ between systems


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


class Detach(Message):
    """Live shell on a terminal: leave it to itself. The answer is `detached`; the client only closes after this."""

    name = "detach"
    type: Literal["detach"] = "detach"


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
    statuses: Annotated[list[int], list_of(integer(0, 255).core, most=256)] | None = None  # of a pipeline's commands
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
    timed_out: bool = False


CONNECTION_MESSAGES: tuple[type[Message], ...] = (Hello, Auth, Welcome, Enrolled, Denied, Ack, Ping, Pong, Disconnect)
SESSION_MESSAGES: tuple[type[Message], ...] = (
    *(Open, Opened, Rejected, Exit, Eof, Close, Window, Signal, Resize, Command, InputEnd, Done, Report),
    *(Mode, Line, Unread, Attached, Detached, Shells, Detach, Job, Jobs, Gap, Accepted),
    *FILE_MESSAGES,
)
MODELS: dict[str, type[Message]] = {model.name: model for model in CONNECTION_MESSAGES + SESSION_MESSAGES}


def decode(
    payload: bytes, allowed: Iterable[str] | None = None, depth_max: int = DEFAULT_LIMITS.json_depth_max
) -> Message:
    """One control payload as a message. `allowed` limits which types are even looked at (before login).

    Raises RemoteProtocolError: `bad_json`, `unknown_message`, `bad_message`, `unexpected_message`.
    """
    if payload == _CLOSE_JSON and (allowed is None or "close" in allowed):
        return CLOSE
    if is_deeper(payload, depth_max):
        raise RemoteProtocolError("bad_json", f"nests deeper than {depth_max}")
    try:
        value = from_json(payload, allow_inf_nan=False)
    except ValueError as error:  # bad UTF-8 too
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
