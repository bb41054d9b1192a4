"""Whose a line at the prompt is: ours if it begins with the prefix and a letter or `?`, else the shell's. Pure, and cheap to import.

What bash means by a line that begins with `:` goes on meaning that: `: ${x:=1}`, `:>file` and `:(){ …` are the shell's.
Neighbours: `repl` asks, `own_commands` carries out what is ours.
"""

from __future__ import annotations

from remote_shell.config.shell import PREFIX as PREFIX
from remote_shell.config.shell import is_prefix


def is_own(line: str, prefix: str = PREFIX) -> bool:
    """It is for us. Words before the prefix, and blanks, make it the shell's."""
    if line.rstrip() == "?":
        return True
    second = line[1:2]
    return line.startswith(prefix) and (second == "?" or (second.isascii() and second.isalpha()))


def words_of(line: str, prefix: str = PREFIX) -> tuple[str, str]:
    """The command's name and what follows it, line ends and all, of a line that is ours."""
    text = line.removeprefix(prefix)
    size = 1 if text.startswith("?") else next((n for n, letter in enumerate(text) if not _in_name(letter)), len(text))
    return text[:size], text[size:].strip(" \t")


def for_shell(line: str, prefix: str = PREFIX) -> str:
    """The shell's line: of two prefixes at its beginning one is taken away."""
    return line[1:] if line.startswith(prefix * 2) else line


def sign(text: str) -> str:
    """A prefix from the command line. Raises ValueError."""
    if not is_prefix(text):
        raise ValueError(text)
    return text


def _in_name(letter: str) -> bool:
    return letter.isascii() and (letter.isalnum() or letter in "-_")
