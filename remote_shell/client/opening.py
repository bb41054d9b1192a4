"""Openings: what `run`, `popen` and `shell` were called with, as the `open` message that starts it.

Takes arguments as subprocess takes them and refuses what subprocess refuses, with the same types of exception; sends nothing.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from remote_shell.client.conversation import Conversation
from remote_shell.client.process import ProcessState
from remote_shell.client.redirect import Redirect
from remote_shell.errors import UsageError
from remote_shell.limits import Limits
from remote_shell.wire.messages import INTEGER_MAX, Boxed, Open, Terminal, to_system

Text = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Args = Text | Sequence[Text]
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
        return cls(min(rows, 65535) or 24, min(columns, 65535) or 80, term if _TERM.fullmatch(term) else "dumb")


_TERM = re.compile(r"[A-Za-z0-9._:/+@-]{1,64}", re.ASCII)

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


def argv_of(args: Args | None, shell: Shell) -> tuple[list[str | Boxed] | None, str | Boxed | None]:
    """(argv, line) of the message; one of the two is None.

    A string alone is a program's name, or with `shell=True` a line for /bin/sh, whose positional parameters follow it in a
    list: all as in subprocess. `shell="account"` gives the line to the account's own shell, as ssh does. None is a login shell.
    """
    if args is None:
        return None, None
    if isinstance(args, (str, bytes, os.PathLike)):
        words = [system_string(args)]
    else:
        words = [system_string(word) for word in args]
    if not words:
        raise ValueError("args is empty: the first item names the program")
    if shell == "account":
        if len(words) > 1:
            raise ValueError('shell="account" takes one line')
        return None, words[0]
    return ["/bin/sh", "-c", *words] if shell else words, None


def checked_id(command_id: str) -> str:
    """An id that a user chose. Raises UsageError."""
    if not _ID.fullmatch(command_id):
        raise UsageError(f"{command_id[:80]!a} is no id for a command: 1 to 64 letters, digits, '.', '_' or '-'")
    return command_id


def query_message(command_id: str, limits: Limits) -> Open:
    """The `open` of a question about a command. Raises UsageError."""
    return Open(request="query", id=checked_id(command_id), window=limits.window)


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
) -> tuple[ProcessState, Open]:
    """The state and the `open` of a command. `written`: the caller sends its stdin; `command_id`: chosen by a user."""
    argv, line = argv_of(args, shell)
    ident = checked_id(command_id) if command_id is not None else conversation.new_id()
    message = Open.of(
        request="exec",
        id=ident,
        window=conversation.limits.window,
        argv=argv,
        line=line,
        cwd=None if cwd is None else system_string(cwd),
        env=pairs_of(env),
        env_add=pairs_of(env_add),
        env_offer=offer if env is None else None,
        stdin="pipe" if written or redirect.stdin >= 0 else "null",
        merge_stderr=redirect.merge and pty is None,
        terminal=terminal_of(pty),
        timeout_ms=milliseconds(timeout),
        once=command_id is not None,
    )
    return ProcessState(args, ident, redirect.stdout_mode, redirect.stderr_mode), message


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
    return Open(
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


def terminal_of(pty: Pty | None) -> Terminal | None:
    """A terminal as `open` asks for it. Raises UsageError for a size that there is not."""
    if pty is None:
        return None
    if not (0 < pty.rows < 65536 and 0 < pty.columns < 65536):
        raise UsageError(f"a terminal of {pty.rows} rows and {pty.columns} columns: both go from 1 to 65535")
    if not _TERM.fullmatch(pty.term):
        raise UsageError(f"{pty.term[:80]!a} is no name of a kind of terminal")
    return Terminal(term=pty.term, rows=pty.rows, columns=pty.columns)
