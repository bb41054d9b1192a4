"""What `subprocess.Popen` takes besides, and what becomes of it where the child is on another machine.

A default is always taken, so that arguments made for subprocess can be passed on; another value is taken where it comes true
over there, else refused with the reason: ignoring it would change what runs. Sends nothing. Neighbours: both fronts ask it first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypedDict

from remote_shell.errors import UsageError

Text = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class PopenArguments(TypedDict, total=False):
    """By keyword, as in subprocess."""

    executable: Text | None
    universal_newlines: bool | None
    preexec_fn: Callable[[], Any] | None
    close_fds: bool
    restore_signals: bool
    start_new_session: bool
    process_group: int | None
    pass_fds: Any
    user: str | int | None
    group: str | int | None
    extra_groups: Any
    umask: int
    pipesize: int
    startupinfo: Any
    creationflags: int


_ACCOUNT = (
    "a command runs as the account that the login is for; log in as another one, or start it through sudo or setpriv"
)
_REFUSED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "preexec_fn": (lambda value: value is None, "a function of this process can't run in a child elsewhere; start a program that does it"),
    "close_fds": (bool, "our descriptors are not to be had over there; what a command needs comes through stdin"),
    "restore_signals": (bool, "the server always gives its commands the default signals; `trap '' PIPE` in a shell line ignores one"),
    "process_group": (lambda value: not value, "each command leads a process group of its own"),
    "pass_fds": (lambda value: not value, "our descriptors are not to be had over there; what a command needs comes through stdin"),
    "user": (lambda value: value is None, _ACCOUNT),
    "group": (lambda value: value is None, _ACCOUNT),
    "extra_groups": (lambda value: value is None, _ACCOUNT),
    "umask": (lambda value: value < 0, "set it where the command starts: run(['umask 027; exec \"$0\" \"$@\"', *args], shell=True)"),
}  # fmt: skip
_TRUE_OF_ITSELF = frozenset(("start_new_session", "pipesize", "executable", "universal_newlines"))
_WINDOWS = {"startupinfo": None, "creationflags": 0}


def check_arguments(verb: str, bufsize: Any, arguments: PopenArguments) -> None:
    """Raises UsageError for what can't be meant elsewhere; TypeError and ValueError as subprocess does."""
    if bufsize is not None and not isinstance(bufsize, int):
        raise TypeError("bufsize must be an integer")
    for name, value in arguments.items():
        if name in _REFUSED:
            harmless, reason = _REFUSED[name]
            if not harmless(value):
                raise UsageError(f"{name}={value!r} has no meaning for a remote command: {reason}")
        elif name in _WINDOWS:
            if value != _WINDOWS[name]:
                raise ValueError(f"{name} is only supported on Windows platforms")
        elif name not in _TRUE_OF_ITSELF:
            raise TypeError(f"{verb}() got an unexpected keyword argument {name!r}")


def with_executable(words: list[Any], executable: Any, shell: object) -> list[Any]:
    """The words with another shell, which subprocess puts in the first one's place too; words of no shell keep their program's name."""
    if executable is None or not words or executable == words[0]:
        return words
    if not shell:
        raise UsageError(
            "executable= without shell=True has no meaning for a remote command: the first word both names the program and is its "
            "name; bash -c 'exec -a NAME PROGRAM' gives another one"
        )
    return [executable, *words[1:]]
