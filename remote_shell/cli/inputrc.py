"""Which keys a person edits lines with, emacs' or vi's, as their ~/.inputrc tells every program that uses readline.

Reads that one setting and nothing else of the file. Never raises: a file that can't be read says nothing. Neighbour: `editor`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

FILE_MAX = 64 * 1024  # bytes that are read of a file
DEPTH_MAX = 8  # files that include one another

Mode = Literal["emacs", "vi"]
_SYSTEM = "/etc/inputrc"  # for those who have none of their own, as readline does
_APPLICATIONS = ("bash", "remote-shell")  # bash is what the lines are for


def editing_mode(environment: Mapping[str, str]) -> Mode:
    """EDITING_MODE if it names one, otherwise what $INPUTRC, or ~/.inputrc, sets (readline(3)); emacs if nothing does."""
    named = _mode(environment.get("EDITING_MODE", ""))
    if named is not None:
        return named
    path = environment.get("INPUTRC") or os.path.join(environment.get("HOME", ""), ".inputrc")
    text = _text(path)
    return _Reading(environment).read(_text(_SYSTEM) if text is None else text, 0)


class _Reading:
    """What is known while the lines go by."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._mode: Mode = "emacs"

    def read(self, text: str | None, depth: int) -> Mode:
        """The mode after these lines."""
        conditions: list[bool] = []
        for line in (text or "").splitlines():
            words = line.split()
            name = words[0].lower() if words else ""
            if name == "$if":
                conditions.append(self._holds(" ".join(words[1:])))
            elif name == "$else" and conditions:
                conditions[-1] = not conditions[-1]
            elif name == "$endif" and conditions:
                conditions.pop()
            elif not all(conditions) or len(words) < 2:
                continue
            elif name == "$include" and depth < DEPTH_MAX:
                path = words[1]
                home = self._environment.get("HOME", "")
                self.read(_text(os.path.join(home, path[2:]) if path.startswith("~/") else path), depth + 1)
            elif name == "set" and words[1].lower() == "editing-mode":
                self._mode = _mode(words[2] if len(words) > 2 else "") or self._mode
        return self._mode

    def _holds(self, condition: str) -> bool:
        name, equals, value = condition.replace(" ", "").lower().partition("=")
        if not equals:
            return name in _APPLICATIONS
        if name == "mode":
            return value == self._mode
        terminal = self._environment.get("TERM", "").lower()
        return name == "term" and value in (terminal, terminal.partition("-")[0])


def _mode(word: str) -> Mode | None:
    word = word.lower()
    return "vi" if word == "vi" else "emacs" if word == "emacs" else None


def _text(path: str) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return os.read(descriptor, FILE_MAX).decode("utf-8", "replace")
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        return None
