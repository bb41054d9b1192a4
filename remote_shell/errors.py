"""Every exception that this project raises on purpose.

Anything else that escapes is a bug. Imports only the standard library, and none of ours, so that every layer may use it.

    RemoteShellError
    ├── UsageError                 the caller asked for something that makes no sense; nothing was sent
    ├── ConfigError                a file of ours (config, hosts.toml, authorized_keys, secrets) can't be used
    ├── IdentityError              a private key can't be read or used; nothing was sent
    ├── ConnectError               no connection: unknown host, refused, no route, timed out
    ├── ServerIdentityError        the server is not proved to be the one that was meant
    │   ├── UnknownServerError     first contact, and nobody to ask
    │   └── ServerKeyChangedError  its key is not the pinned one
    ├── AccessDeniedError          the server refused the login
    ├── ConnectionLostError        the session is gone; `.command_state` says what is known of the command
    ├── CommandError               the server could not start a command
    │   ├── CommandNotFoundError   also a FileNotFoundError
    │   ├── CommandNotExecutableError  also a PermissionError, and what the system says: FileNotFound-, NotADirectoryError
    │   ├── WorkingDirectoryError  also a FileNotFoundError, and what the system says: NotADirectory-, PermissionError
    │   └── CommandRefusedError    a limit, a conflicting id, a server that is shutting down
    │       └── CommandTooLongError  words and environment are more than the system takes; also a UsageError
    ├── LedgerError                the server can't keep ids on disk; within the server alone
    ├── OutputTooLargeError        the command wrote more than its caller wants to hold; it was ended
    ├── NotStartedError            many hosts: this one's turn never came, since too many others had failed
    ├── ManyFailedError            many hosts: at least one failed; `.results` has all of them
    ├── ShellEndedError            the live shell is gone; `.reason` says how
    ├── TransferError              several files of a put or get were not copied; also an OSError; `.faults` are they
    ├── JobUnknownError            nobody can tell what became of a detached job: its keeper died; `.job` is its id
    ├── DetachedError              the live shell goes on, and is not ours any more; `.by` says who has it
    └── ProtocolError              the rules of docs/protocol.md were broken; `.code` names which
        ├── LocalProtocolError     by us: a bug or misuse of the core; nothing was sent
        └── RemoteProtocolError    by the peer
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping


class RemoteShellError(Exception):
    """Base class of all our errors."""


class UsageError(RemoteShellError):
    """The caller asked for something that makes no sense."""


class ConfigError(RemoteShellError):
    """A file of ours can't be used; the text names the file, the fault and the cure."""


class IdentityError(RemoteShellError):
    """A private key can't be read or used."""


class ConnectError(RemoteShellError):
    """No connection came about."""


class ServerIdentityError(RemoteShellError):
    """The server is not proved to be the one that was meant."""


class UnknownServerError(ServerIdentityError):
    """First contact with a server whose key is not known, and nobody to ask. `address` and `fingerprint` are what known_hosts lacks."""

    def __init__(self, text: str, address: str = "", fingerprint: str = "") -> None:
        super().__init__(text)
        self.address = address
        self.fingerprint = fingerprint


class ServerKeyChangedError(ServerIdentityError):
    """The server's key is not the pinned one."""


class AccessDeniedError(RemoteShellError):
    """The server refused the login. It never says why; its log does."""


class ConnectionLostError(RemoteShellError):
    """The session is gone.

    `command_state` is what is known of the command: "never_received", "running", "finished" or "unknown". If it is finished,
    `exit_status` or `signal` says how, as far as the server told, and `timed_out` whether its own timeout ended it.
    """

    def __init__(
        self,
        text: str,
        *,
        command_state: str = "unknown",
        command_id: str | None = None,
        exit_status: int | None = None,
        signal: str | None = None,
        timed_out: bool = False,
    ) -> None:
        super().__init__(text)
        self.command_state = command_state
        self.command_id = command_id
        self.exit_status = exit_status
        self.signal = signal
        self.timed_out = timed_out


class CommandError(RemoteShellError):
    """The server could not start a command. `code` is the word of the `rejected` message."""

    code = "rejected"


class SystemFaultError(CommandError, OSError):
    """What the server's system said instead of starting a command: errno, strerror, filename and text as `subprocess` has them.

    `detail` says more in our words. `filename` is what the caller passed.
    """

    number = errno.EIO

    def __init__(self, detail: str, filename: object = None, number: int | None = None) -> None:
        number = self.number if number is None else number
        name = () if filename is None else (filename,)
        OSError.__init__(self, number, os.strerror(number), *name)
        self.detail = detail

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.detail, self.filename, self.errno), self.__dict__


class CommandNotFoundError(SystemFaultError, FileNotFoundError):
    """The program does not exist on the server (127)."""

    code = "not_found"
    number = errno.ENOENT


class CommandNotExecutableError(SystemFaultError, PermissionError):
    """The program exists on the server but can't be run (126)."""

    code = "not_executable"
    number = errno.EACCES


class InterpreterNotFoundError(CommandNotExecutableError, FileNotFoundError):
    """The program that a script's first line names, or a loader, is missing."""


class CommandBelowFileError(CommandNotExecutableError, NotADirectoryError):
    """A part of the program's path is a file."""


class WorkingDirectoryError(SystemFaultError, FileNotFoundError):
    """The directory that the command should start in can't be entered."""

    code = "bad_cwd"
    number = errno.ENOENT


class WorkingDirectoryIsNoneError(WorkingDirectoryError, NotADirectoryError):
    """It is something else than a directory."""


class WorkingDirectoryDeniedError(WorkingDirectoryError, PermissionError):
    """The account may not enter it."""


class CommandRefusedError(CommandError):
    """The server would not start the command: a limit, a conflicting id, a shutdown. `reason` is the server's own text, if it gave one."""

    def __init__(self, text: str, code: str = "refused", reason: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.reason = reason


class CommandTooLongError(SystemFaultError, CommandRefusedError, UsageError):
    """Words and environment are more than the system takes, or more than a message carries."""

    code = "refused"
    number = errno.E2BIG


class LedgerError(RemoteShellError):
    """The server can't keep the ids that people chose: no room, a lock, a damaged file. Its clients see `id_not_kept`."""


class OutputTooLargeError(RemoteShellError):
    """The command wrote more than its caller wants to hold in memory; its tree was ended."""


class NotStartedError(RemoteShellError):
    """Nothing was sent to this host: too many others had failed before its turn came."""


class ManyFailedError(RemoteShellError):
    """At least one of many hosts failed. `results` maps every host's name to what came of it."""

    def __init__(self, text: str, results: Mapping[str, object] | None = None) -> None:
        super().__init__(text)
        self.results = results if results is not None else {}


class ShellEndedError(RemoteShellError):
    """The live shell is gone. `reason` is "shell_ended" or "shell_replaced"."""

    def __init__(self, text: str, reason: str = "shell_ended") -> None:
        super().__init__(text)
        self.reason = reason


class TransferError(RemoteShellError, OSError):
    """Several files of one put or get were not copied; the others were. `faults` has one entry for each of the first 100,000,
    `errno` is the first one's.
    """

    def __init__(self, text: str, number: int = errno.EIO, faults: tuple[object, ...] = ()) -> None:
        OSError.__init__(self, number, text)
        self.faults = faults

    def __str__(self) -> str:
        return str(self.strerror)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.strerror, self.errno, self.faults), self.__dict__


class JobUnknownError(RemoteShellError):
    """What became of a detached job is unknown: its keeper was killed, or the machine went down. `job` is its id."""

    def __init__(self, text: str, job: str = "") -> None:
        super().__init__(text)
        self.job = job


class DetachedError(RemoteShellError):
    """The live shell goes on without us: it was left, or taken over. `by` is who took it, empty: nobody."""

    def __init__(self, text: str, by: str = "") -> None:
        super().__init__(text)
        self.by = by


class ProtocolError(RemoteShellError):
    """The rules of docs/protocol.md were broken. `code` is the word that `disconnect` carries."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail


class LocalProtocolError(ProtocolError):
    """We asked the core for something that its state forbids."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something that its state forbids."""
