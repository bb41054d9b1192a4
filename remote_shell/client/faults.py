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
    CommandError,
    CommandNotExecutableError,
    CommandNotFoundError,
    CommandRefusedError,
    ConnectError,
    ConnectionLostError,
    LocalProtocolError,
    RemoteShellError,
    UsageError,
    WorkingDirectoryError,
)
from remote_shell.wire.messages import Open, Rejected, from_system

_NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL)
_STATES = {
    "never_received": "the server never received this command, and it will not run",
    "running": "the command still runs on the server",
    "finished": "the command ran to its end on the server, but its output is lost",
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


def hung_up(name: str, transport: str) -> ConnectError:
    """The stream ended during the login."""
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
        f"{name} took the connection but did not finish the login within {seconds:.3g} s; is a remote-shell server "
        "there, and is it stopped or overloaded?"
    )


def unsendable(error: LocalProtocolError) -> RemoteShellError:
    """The core would not open a channel; nothing was sent."""
    if error.code == "too_many_channels":
        return CommandRefusedError(f"{error.detail}; wait until some of them ended, or connect once more", error.code)
    if error.code == "frame_too_large":
        return UsageError(f"this command is too long to send: {error.detail}")
    return error


def refused(message: Open, answer: Rejected, name: str) -> CommandError:
    """The exception for a command that the server did not start."""
    text = f"{name}: {answer.detail or answer.code}"
    if answer.code == "not_found":
        return CommandNotFoundError(text, _program(message))
    if answer.code == "not_executable":
        return CommandNotExecutableError(text, _program(message))
    if answer.code == "bad_cwd":
        cwd = os.fsdecode(from_system(message.cwd)) if message.cwd is not None else None
        return WorkingDirectoryError(text, cwd)
    return CommandRefusedError(
        f"{name} did not start the command ({answer.code}): {answer.detail or answer.code}{_cure(answer.code)}",
        answer.code,
    )


def _program(message: Open) -> str | None:
    return os.fsdecode(from_system(message.argv[0])) if message.argv else None


def _cure(code: str) -> str:
    return {
        "id_conflict": "; another command has this id: choose another one",
        "id_burnt": "; it was asked about this id before it came, so it never runs: choose another one",
        "too_many_channels": "; wait until some commands of this connection have ended, or connect once more",
        "resources": "; the machine is out of processes, memory or descriptors: try again later",
        "shutting_down": "; connect again when the server is back",
        "wrong_user": "; leave USER@ away",
    }.get(code, "")


def lost(name: str, why: str, state: str, command_id: str | None) -> ConnectionLostError:
    """The exception for a command whose session is gone."""
    known = _STATES[state] if command_id is not None else "nothing was under way"
    return ConnectionLostError(
        f"the connection to {name} is lost ({why}): {known}. Nothing is run again by itself"
        + (f"; the command's id is {command_id}" if command_id is not None else ""),
        command_state=state,
        command_id=command_id,
    )
