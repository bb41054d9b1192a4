"""Names that the lines of a session have made in its shell: variables, functions, aliases.

Completion asks a new process over there, which can't know them; asking the live shell itself would disturb it. A guess by the words
of each line that was run: a name too many costs nothing. Bounded, and never shown but as something to complete. Neighbour:
`completing`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

NAMES_MAX = 1000  # of each kind; the oldest go
LINE_MAX = 4096  # characters of a line that are looked at
_COMMANDS = re.compile(r"[;&|(){}\n]+")
_ASSIGNED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\[[^]]*\])?\+?=", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_FUNCTION = re.compile(r"(?:^|[;&|{}\n])\s*(?:function\s+([^\s;&|(){}<>$'\"\\]+)|([^\s;&|(){}<>$'\"\\]+)\s*\(\s*\))")
_ALIAS = re.compile(r"\balias\s+([^\s=;&|'\"$\\/]+)=")
_BEFORE = frozenset(("do", "then", "else", "elif", "if", "while", "until", "!", "time"))
_DECLARERS = frozenset(("export", "declare", "typeset", "local", "readonly", "read", "mapfile", "readarray", "getopts"))
_LOOPS = frozenset(("for", "select"))


class Noted:
    """What was noted of one shell."""

    def __init__(self) -> None:
        self._variables: dict[str, None] = {}  # in the order in which they came
        self._commands: dict[str, None] = {}

    def note(self, line: str) -> None:
        """A line was run."""
        line = line[:LINE_MAX]
        for name in _variables(line):
            _keep(self._variables, name)
        for found in _FUNCTION.finditer(line):
            _keep(self._commands, found[1] or found[2])
        for found in _ALIAS.finditer(line):
            _keep(self._commands, found[1])

    def beginning(self, kind: str, prefix: str) -> list[str]:
        """The names of that kind ("variable", "command") that begin so."""
        names = {"variable": self._variables, "command": self._commands}.get(kind, {})
        return [name for name in names if name.startswith(prefix)]


def _keep(names: dict[str, None], name: str) -> None:
    names.pop(name, None)
    names[name] = None
    if len(names) > NAMES_MAX:
        del names[next(iter(names))]


def _variables(line: str) -> Iterator[str]:
    for command in _COMMANDS.split(line):
        words = [word for word in command.split() if word not in _BEFORE]
        while words and (found := _ASSIGNED.match(words[0])):
            yield found[1]
            del words[0]
        if words and words[0] in _LOOPS:
            yield from filter(_NAME.fullmatch, words[1:2])
        elif words and words[0] in _DECLARERS:
            yield from filter(_NAME.fullmatch, (word.partition("=")[0].rstrip("+") for word in words[1:]))
