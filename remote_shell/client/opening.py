"""Openings: what `run`, `popen` and `shell` were called with, as the `open` message that starts it.

Takes arguments as subprocess takes them and refuses what subprocess refuses, with the same types of exception; sends nothing.
"""

from __future__ import annotations

import math
import operator
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from remote_shell.client.conversation import Conversation
from remote_shell.client.popen_arguments import Text as Text
from remote_shell.client.popen_arguments import with_executable
from remote_shell.client.process import ProcessState
from remote_shell.client.redirect import Redirect
from remote_shell.errors import CommandRefusedError, UsageError
from remote_shell.limits import Limits
from remote_shell.wire.messages import INTEGER_MAX, Boxed, Open, Terminal, to_system


class Subsystem:
    """Instead of a program: what the server runs under this name, "sftp" above all."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        """Raises UsageError for what is no name."""
        if not _WORD.fullmatch(name):
            raise UsageError(f"{name[:80]!a} is no name of a subsystem, such as sftp")
        self.name = name

    def __repr__(self) -> str:
        return f"Subsystem({self.name!r})"


_WORD = re.compile(r"[A-Za-z0-9._:/+@-]{1,64}", re.ASCII)

Args = Text | Sequence[Text] | Subsystem
Environment = Mapping[str, str] | Mapping[bytes, bytes]
Shell = bool | Literal["account"]


class Pty(NamedTuple):
    """A terminal for a command: its size in characters, and its kind (TERM)."""

    rows: int = 24
    columns: int = 80
    term: str = "xterm-256color"

    @classmethod
    def of(cls, wish: Pty | bool | None) -> Pty | None:
        """What `pty=` means: True is one like our own, if we have one."""
        if not isinstance(wish, bool):
            return wish
        return cls.here() if wish else None

    @classmethod
    def needed(cls, wish: Pty | bool) -> Pty:
        """The same, where there has to be one. Raises UsageError."""
        terminal = cls.of(wish)
        if terminal is None:
            raise UsageError("a shell is attached to a terminal: pty=True, or a Pty")
        return terminal

    @classmethod
    def here(cls) -> Pty:
        """Of the kind and size of our own."""
        columns, rows = (80, 24)
        for descriptor in (0, 1, 2):
            try:
                columns, rows = os.get_terminal_size(descriptor)
                break
            except OSError:
                continue
        term = os.environ.get("TERM", "")
        return cls(min(rows, 65535) or 24, min(columns, 65535) or 80, term if _WORD.fullmatch(term) else "dumb")


# What ssh clients offer too; the server takes what its allow-list has.
OFFERED = ("TERM", "LANG", "COLORTERM", "TZ")
OFFERED_PREFIX = "LC_"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def system_string(value: Text) -> str | Boxed:
    """One string for the system. Raises TypeError for other types, ValueError for a NUL, as subprocess does."""
    if type(value) is not str or not value.isascii():
        raw = os.fsencode(value)
        if b"\0" in raw:
            raise ValueError("embedded null byte")
        return to_system(raw)
    if "\0" in value:
        raise ValueError("embedded null byte")
    return value


def offered_environment() -> list[list[str | Boxed]] | None:
    """Our terminal's and language's variables, as a connection offers them."""
    pairs = [
        [system_string(name), system_string(value)]
        for name, value in os.environ.items()
        if name in OFFERED or name.startswith(OFFERED_PREFIX)
    ]
    return pairs or None


def pairs_of(env: Environment | None) -> list[list[str | Boxed]] | None:
    """An environment as a message carries it. Raises ValueError for a name that can't be one."""
    if env is None:
        return None
    pairs = []
    for name, value in env.items():
        if b"=" in os.fsencode(name) or not name:
            raise ValueError("illegal environment variable name")
        pairs.append([system_string(name), system_string(value)])
    return pairs


def milliseconds(timeout: float | None) -> int | None:
    """A timeout in seconds for a message: at least 1 ms; None for none or beyond what a message can say."""
    if timeout is None or timeout * 1000 > INTEGER_MAX:
        return None
    return max(1, math.ceil(timeout * 1000))


def deadline_in(seconds: float | None) -> float | None:
    """That moment of time.monotonic. Raises TypeError now for what is no number: under the lock it would end the session."""
    return None if seconds is None else float(time.monotonic() + seconds)


def most_of(most: int | None) -> int | None:
    """How much of a stream is held. Raises TypeError now, and not where data comes in: that would end the session."""
    return None if most is None else operator.index(most)


def argv_of(
    args: Args | None, shell: Shell, executable: Text | None = None
) -> tuple[list[str | Boxed] | None, str | Boxed | None]:
    """(argv, line) of the message; one of the two is None.

    A string alone is a program's name, or with `shell=True` a line for /bin/sh, whose positional parameters follow it in a
    list: all as in subprocess. `shell="account"` gives the line to the account's own shell, as ssh does. None is a login shell.
    """
    if args is None or isinstance(args, Subsystem):
        return None, None
    if isinstance(args, (list, tuple)):
        words = [system_string(word) for word in args]
    elif isinstance(args, (str, bytes)):
        words = [system_string(args)]
    elif isinstance(args, os.PathLike):
        if shell:
            raise TypeError("path-like args is not allowed when shell is true")
        words = [system_string(args)]
    else:
        words = [system_string(word) for word in args]
    if not words and not shell:
        raise IndexError("args is empty: the first item names the program")
    if shell == "account":
        if len(words) != 1:
            raise ValueError('shell="account" takes one line')
        return None, words[0]
    if shell:
        words = ["/bin/sh", "-c", *words]
    return (words if executable is None else with_executable(words, system_string(executable), shell)), None


def checked_id(command_id: str) -> str:
    """An id that a user chose. Raises UsageError."""
    if not _ID.fullmatch(command_id):
        raise UsageError(f"{command_id[:80]!a} is no id for a command: 1 to 64 letters, digits, '.', '_' or '-'")
    return command_id


def query_message(command_id: str, limits: Limits) -> Open:
    """The `open` of a question about a command. Raises UsageError."""
    return Open.of(request="query", id=checked_id(command_id), window=limits.window)


def prepare(
    args: Args | None,
    redirect: Redirect,
    conversation: Conversation,
    offer: list[list[str | Boxed]] | None,
    *,
    shell: Shell,
    cwd: Text | None,
    env: Environment | None,
    env_add: Environment | None,
    timeout: float | None,
    command_id: str | None,
    written: bool,
    pty: Pty | None = None,
    executable: Text | None = None,
) -> tuple[ProcessState, Open]:
    """The state and the `open` of a command. `written`: the caller sends its stdin; `command_id`: chosen by a user."""
    if isinstance(args, Subsystem):
        _require(conversation, "subsystem")
    if args is None or isinstance(args, (list, tuple, str, bytes, Subsystem, os.PathLike)):
        words: Args = args  # type: ignore[assignment]
    else:
        words = list(args)  # may be read once only
    argv, line = argv_of(words, shell, executable)
    ident = checked_id(command_id) if command_id is not None else conversation.new_id()
    wishes: dict[str, Any] = {}  # all that is not as most have it: what is left out costs neither side anything
    if argv is not None:
        wishes["argv"] = argv
    if line is not None:
        wishes["line"] = line
    if isinstance(args, Subsystem):
        wishes["subsystem"] = args.name
    if cwd is not None:
        wishes["cwd"] = system_string(cwd)
    if env is not None:
        wishes["env"] = pairs_of(env)
    elif offer is not None:
        wishes["env_offer"] = offer
    if env_add is not None:
        wishes["env_add"] = pairs_of(env_add)
    if written or redirect.stdin >= 0:
        wishes["stdin"] = "pipe"
    if pty is not None:
        wishes["terminal"] = terminal_of(pty)
    elif redirect.merge:
        wishes["merge_stderr"] = True
    if timeout is not None:
        wishes["timeout_ms"] = milliseconds(timeout)
    if command_id is not None:
        wishes["once"] = True
    message = Open.of(request="exec", id=ident, window=conversation.limits.window, **wishes)
    state = ProcessState(args, ident, redirect.stdout_mode, redirect.stderr_mode)
    state.program, state.cwd = _program(words, shell, executable), cwd
    return state, message


def _require(conversation: Conversation, feature: str) -> None:
    """Raises CommandRefusedError where the server is too old for it: a field that it does not know would end the session."""
    server = conversation.server
    if server is None or feature not in (server.features or ()):
        raise CommandRefusedError(f"the server has no {feature}s: it is older than this client", "no_such_subsystem")


def _program(args: Args | None, shell: Shell, executable: Text | None) -> Text | None:
    """What an error names as its file: subprocess has what it was passed, whatever its type."""
    if executable is not None:
        return executable
    if shell or args is None:
        return "/bin/sh" if shell is not False and shell != "account" else None
    if isinstance(args, Subsystem):
        return args.name
    return (
        args[0] if isinstance(args, (list, tuple)) else args if isinstance(args, (str, bytes, os.PathLike)) else args[0]
    )


def shell_message(
    conversation: Conversation,
    offer: list[list[str | Boxed]] | None,
    *,
    cwd: Text | None,
    env: Environment | None,
    env_add: Environment | None,
    pty: Pty | None = None,
) -> Open:
    """The `open` of a live shell."""
    return Open.of(
        request="shell",
        id=conversation.new_id(),
        window=conversation.limits.window,
        cwd=None if cwd is None else system_string(cwd),
        env=pairs_of(env),
        env_add=pairs_of(env_add),
        env_offer=offer if env is None else None,
        stdin="pipe",
        terminal=terminal_of(pty),
    )


def attach_message(shell_id: str, limits: Limits, pty: Pty) -> Open:
    """The `open` that takes over a live shell."""
    return Open.of(
        request="attach", id=checked_id(shell_id), window=limits.window, stdin="pipe", terminal=terminal_of(pty)
    )


def shells_message(conversation: Conversation) -> Open:
    """The `open` that asks which there are."""
    return Open.of(request="shells", id=conversation.new_id(), window=conversation.limits.window)


def terminal_of(pty: Pty | None) -> Terminal | None:
    """A terminal as `open` asks for it. Raises UsageError for one that there is not, TypeError for a size that is no whole number."""
    if pty is None:
        return None
    rows, columns = size_of(pty.rows, pty.columns)
    if not _WORD.fullmatch(pty.term):
        raise UsageError(f"{pty.term[:80]!a} is no name of a kind of terminal")
    return Terminal.of(term=pty.term, rows=rows, columns=columns)


def size_of(rows: int, columns: int) -> tuple[int, int]:
    """A terminal's size as messages have it: the server ends the session for 24.0, and for true. Raises UsageError, TypeError."""
    rows, columns = int(operator.index(rows)), int(operator.index(columns))
    if not (0 < rows < 65536 and 0 < columns < 65536):
        raise UsageError(f"a terminal of {rows} rows and {columns} columns: both go from 1 to 65535")
    return rows, columns
