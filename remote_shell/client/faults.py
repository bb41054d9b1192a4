"""What went wrong, in words: each says what failed, the likely cause, and what to type next. One line each.

Neighbours: `login`, `conversation` and both fronts raise what this builds.
"""

from __future__ import annotations

import errno
import os
import socket

from remote_shell.config.paths import quoted, shown
from remote_shell.config.targets import Target
from remote_shell.errors import (
    CommandBelowFileError,
    CommandError,
    CommandNotExecutableError,
    CommandNotFoundError,
    CommandRefusedError,
    CommandTooLongError,
    ConnectError,
    ConnectionLostError,
    DetachedError,
    InterpreterNotFoundError,
    LocalProtocolError,
    RemoteShellError,
    SystemFaultError,
    WorkingDirectoryDeniedError,
    WorkingDirectoryError,
    WorkingDirectoryIsNoneError,
)
from remote_shell.wire.messages import Exit, Open, Rejected, Report, from_system

_NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL)
_NOT_EXECUTABLE: dict[int | None, type[SystemFaultError]] = {
    errno.ENOENT: InterpreterNotFoundError,
    errno.ENOTDIR: CommandBelowFileError,
}
_BAD_CWD: dict[int | None, type[SystemFaultError]] = {
    errno.ENOTDIR: WorkingDirectoryIsNoneError,
    errno.EACCES: WorkingDirectoryDeniedError,
}
_STATES = {
    "never_received": "the server never received this command, and it will not run",
    "running": "the command still runs on the server",
    "finished": "the command ran to its end on the server{end}, but its output is lost",
    "unknown": "whether the command ran is not known",
}


def cannot_connect(target: Target, error: OSError, seconds: float) -> ConnectError:
    """Why no stream to `target` came about. `seconds` is how long was waited."""
    if target.kind == "unix":
        return ConnectError(_unix_fault(target.path, error))
    where = target.address
    if isinstance(error, socket.gaierror):
        return ConnectError(_name_fault(target.host, error))
    if isinstance(error, ConnectionRefusedError):
        kind = "tls:0.0.0.0" if target.kind == "tls" else "tcp:127.0.0.1"
        return ConnectError(
            f"{where} refuses connections: nothing listens there. Is the server started, and is that its port? "
            f"On that machine: remote-shell serve --listen {kind}:{target.port}"
        )
    if isinstance(error, TimeoutError):
        return ConnectError(
            f"{where} gave no answer within {seconds:.3g} s: the machine is off, or a firewall drops what goes there; "
            f"try: ping {target.host}"
        )
    if error.errno in _NO_ROUTE:
        return ConnectError(
            f"no route to {where} ({error.strerror}): this machine's network does not reach it; try: ip route get {target.host}"
        )
    return ConnectError(f"can't connect to {where}: {error.strerror or error}")


def _name_fault(host: str, error: socket.gaierror) -> str:
    if error.errno == socket.EAI_AGAIN:
        return f"unknown host {host}: the name server gives no answer; check the network, or name an IP address"
    return f"unknown host {host}: no name server knows it; check the spelling, or name an IP address"


def _unix_fault(path: str, error: OSError) -> str:
    name = shown(path)
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return f"there is no socket {name}: the server is not started. Start it: remote-shell serve --listen unix:{quoted(path)}"
    if isinstance(error, ConnectionRefusedError):
        return (
            f"nobody listens on the socket {name}: its server ended. Start it again: "
            f"remote-shell serve --listen unix:{quoted(path)}"
        )
    if isinstance(error, PermissionError):
        return (
            f"no permission for the socket {name}: only the account that started its server may connect. See: "
            f"ls -ld {quoted(os.path.dirname(path) or '.')} {quoted(path)}"
        )
    if isinstance(error, (TimeoutError, BlockingIOError)):
        return f"the server on the socket {name} does not answer; is its process stopped or overloaded?"
    return f"can't connect to the socket {name}: {error.strerror or error}"


def hung_up(name: str, transport: str, error: OSError | None = None) -> ConnectError:
    """The stream ended during the login."""
    if transport == "ssh":
        if error is not None:
            return ConnectError(f"{name}: the connection ended during the login: {error}")
        return ConnectError(
            f"{name} ended the connection during the login, after ssh and `remote-shell pipe` had made it; there, "
            "~/.local/state/remote-shell/server.log has the reason"
        )
    return ConnectError(
        f"{name} closed the connection during the login. Is a remote-shell server there that speaks {transport}? "
        "If it is, its log has the reason; it also closes when too many logins are under way"
    )


def no_tls(name: str, error: OSError) -> ConnectError:
    """The TLS handshake failed."""
    if isinstance(error, ConnectionError) or "EOF" in str(error):
        return hung_up(name, "tls")
    reason = getattr(error, "reason", None) or error.strerror or error
    return ConnectError(f"{name} does not speak TLS 1.3 as we do ({reason}); is a remote-shell server on that port?")


def too_slow(name: str, seconds: float) -> ConnectError:
    """The stream is there, the login did not come to its end."""
    return ConnectError(
        f"{name} took the connection but did not finish the login within {round(seconds, 1):g} s; is a remote-shell server "
        "there, and is it stopped or overloaded?"
    )


def unsendable(error: LocalProtocolError, program: object = None) -> RemoteShellError:
    """The core would not open a channel; nothing was sent."""
    if error.code == "too_many_channels":
        return CommandRefusedError(f"{error.detail}; wait until some of them ended, or connect once more", error.code)
    if error.code == "frame_too_large":
        return _noted(CommandTooLongError(f"this command is too long to send: {error.detail}", program))
    return error


def refused(message: Open, answer: Rejected, name: str, program: object = None, cwd: object = None) -> CommandError:
    """The exception for a command that the server did not start. `program` and `cwd` are as the caller passed them."""
    text = f"{name}: {answer.detail or answer.code}"
    if message.request.startswith("job") and answer.code != "not_permitted":
        which = "" if message.request == "jobs" else f"the job {message.id}: "
        return CommandRefusedError(f"{name}: {which}{answer.detail or answer.code}", answer.code)
    if message.request in ("connect", "listen", "accept"):
        return CommandRefusedError(f"{name}: {answer.detail or answer.code}", answer.code)
    if answer.code == "not_permitted":
        return CommandRefusedError(f"{name}: refused: {answer.detail}", answer.code, answer.detail)
    number = getattr(errno, answer.errno, None) if answer.errno is not None else None
    program = _program(message) if program is None else program
    if answer.code == "not_found":
        return _noted(CommandNotFoundError(text, program, number))
    if answer.code == "not_executable":
        return _noted(_NOT_EXECUTABLE.get(number, CommandNotExecutableError)(text, program, number))
    if answer.code == "bad_cwd":
        return _noted(
            _BAD_CWD.get(number, WorkingDirectoryError)(text, _directory(message) if cwd is None else cwd, number)
        )
    if number == errno.E2BIG:
        return _noted(CommandTooLongError(text, program))
    what = "has no such shell" if answer.code == "no_such_shell" else "did not start the command"
    return CommandRefusedError(
        f"{name} {what} ({answer.code}): {answer.detail or answer.code}{_cure(answer.code)}",
        answer.code,
        answer.detail,
    )


def _noted(error: SystemFaultError) -> SystemFaultError:
    """With our words below the system's, where a traceback shows them."""
    error.add_note(error.detail)
    return error


def _directory(message: Open) -> str | None:
    return os.fsdecode(from_system(message.cwd)) if message.cwd is not None else None


def _program(message: Open) -> str | None:
    return os.fsdecode(from_system(message.argv[0])) if message.argv else None


def _cure(code: str) -> str:
    return {
        "id_conflict": "; choose another one",
        "id_running": "; ask again later, in the same words",
        "id_unknown": "; look on the server what it did; to run it again choose another id",
        "id_not_kept": "; nothing was run; the server's log has it too, and commands without an id still run",
        "id_burnt": "; it was asked about this id before it came, so it never runs: choose another one",
        "too_many_channels": "; wait until some commands of this connection have ended, or connect once more",
        "shutting_down": "; connect again when the server is back",
        "no_such_shell": "; list those that there are, or start a new one",
        "too_many_commands": "; wait until some have ended: it counts those of all connections",
        "too_many_jobs": "; `remote-shell jobs` lists them",
        "wrong_user": "; leave USER@ away",
    }.get(code, "")


def detached(name: str, by: str) -> DetachedError:
    """A live shell is not ours any more, and goes on."""
    if by:
        return DetachedError(f"the shell on {name} was attached from elsewhere ({by}): it goes on there", by)
    return DetachedError(f"the shell on {name} goes on without us; attach it again: remote-shell shell {quoted(name)}")


def lost(
    name: str,
    why: str,
    state: str,
    command_id: str | None,
    *,
    kept: bool | None = None,
    end: Exit | Report | None = None,
) -> ConnectionLostError:
    """The exception for a command whose session is gone. `kept`: the id of a command was chosen by a person; `end`: if it is known."""
    known = _STATES[state].format(end=_end_text(end)) if command_id is not None else "nothing was under way"
    text = f"the connection to {name} is lost ({why}): {known}. Nothing is run again by itself"
    if command_id is not None:
        text += f"; the command's id is {command_id}"
        if kept and state == "never_received":
            text += ", which is used up: start it under another one"
        elif kept:
            text += f". What became of it: the same command again, with --id {command_id} (in Python command_id=)"
        elif kept is False:
            text += ". A command with an id of your own (--id ID, command_id=) can be asked about later"
    return ConnectionLostError(
        text,
        command_state=state,
        command_id=command_id,
        exit_status=end.status if end is not None else None,
        signal=end.signal if end is not None else None,
        timed_out=end is not None and end.timed_out,
    )


def _end_text(end: Exit | Report | None) -> str:
    if end is None:
        return ""
    how = f"{end.signal} ended it" if end.signal is not None else f"exit status {end.status}"
    return f" ({'timed out, ' if end.timed_out else ''}{how})"
