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
    │   ├── CommandNotExecutableError  also a PermissionError
    │   ├── WorkingDirectoryError  also a FileNotFoundError
    │   └── CommandRefusedError    a limit, a conflicting id, a server that is shutting down
    ├── OutputTooLargeError        the command wrote more than its caller wants to hold; it was ended
    ├── ShellEndedError            the live shell is gone; `.reason` says how
    └── ProtocolError              the rules of docs/protocol.md were broken; `.code` names which
        ├── LocalProtocolError     by us: a bug or misuse of the core; nothing was sent
        └── RemoteProtocolError    by the peer
"""

from __future__ import annotations

import errno


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
    """First contact with a server whose key is not known, and nobody to ask."""


class ServerKeyChangedError(ServerIdentityError):
    """The server's key is not the pinned one."""


class AccessDeniedError(RemoteShellError):
    """The server refused the login. It never says why; its log does."""


class ConnectionLostError(RemoteShellError):
    """The session is gone.

    `command_state` is what is known of the command: "never_received", "running", "finished" or "unknown".
    """

    def __init__(self, text: str, *, command_state: str = "unknown", command_id: str | None = None) -> None:
        super().__init__(text)
        self.command_state = command_state
        self.command_id = command_id


class CommandError(RemoteShellError):
    """The server could not start a command. `code` is the word of the `rejected` message."""

    code = "rejected"


class CommandNotFoundError(CommandError, FileNotFoundError):
    """The program does not exist on the server (127)."""

    code = "not_found"

    def __init__(self, text: str, filename: str | None = None) -> None:
        FileNotFoundError.__init__(self, errno.ENOENT, text, filename)


class CommandNotExecutableError(CommandError, PermissionError):
    """The program exists on the server but can't be run (126)."""

    code = "not_executable"

    def __init__(self, text: str, filename: str | None = None) -> None:
        PermissionError.__init__(self, errno.EACCES, text, filename)


class WorkingDirectoryError(CommandError, FileNotFoundError):
    """The directory that the command should start in can't be entered."""

    code = "bad_cwd"

    def __init__(self, text: str, filename: str | None = None) -> None:
        FileNotFoundError.__init__(self, errno.ENOENT, text, filename)


class CommandRefusedError(CommandError):
    """The server would not start the command: a limit, a conflicting id, a shutdown."""

    def __init__(self, text: str, code: str = "refused") -> None:
        super().__init__(text)
        self.code = code


class OutputTooLargeError(RemoteShellError):
    """The command wrote more than its caller wants to hold in memory; its tree was ended."""


class ShellEndedError(RemoteShellError):
    """The live shell is gone. `reason` is "shell_ended" or "shell_replaced"."""

    def __init__(self, text: str, reason: str = "shell_ended") -> None:
        super().__init__(text)
        self.reason = reason


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
