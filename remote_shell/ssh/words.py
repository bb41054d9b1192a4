"""One line of ssh_config(5) as its words. Pure text. Neighbours: `settings` and `config` use it.

A keyword, then white space or one `=`, then words: double and single quotes keep blanks, a backslash keeps a quote, a backslash
or a blank, and `#` at the beginning of a word begins a comment. These are the rules of OpenSSH's argv_split.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from remote_shell.errors import UsageError

_BLANK = " \t\r\f\v"


class Line(NamedTuple):
    """`keyword` in lower case. `text` is what follows as it stands: commands are not split."""

    keyword: str
    text: str
    words: list[str]


def split_line(text: str) -> Line | None:
    """The line's parts; None for one that is empty or a comment. Raises UsageError for a quote that is not closed."""
    text = text.strip(_BLANK + "\n")
    if not text or text.startswith("#"):
        return None
    if text.startswith('"'):
        keyword, quote, rest = text[1:].partition('"')
        if not quote:
            raise UsageError(f"{text[:80]!a}: a quote that is not closed")
    else:
        end = next((at for at, sign in enumerate(text) if sign in _BLANK or sign == "="), len(text))
        keyword, rest = text[:end], text[end:]
    rest = rest.lstrip(_BLANK)
    if rest.startswith("="):
        rest = rest[1:].lstrip(_BLANK)
    return Line(keyword.lower(), rest, split_words(rest))


def split_words(text: str) -> list[str]:
    """The words of the text. Raises UsageError for a quote that is not closed."""
    words: list[str] = []
    at = 0
    while at < len(text):
        if text[at] in _BLANK:
            at += 1
            continue
        if text[at] == "#":
            break
        word, at = _word(text, at)
        words.append(word)
    return words


def _word(text: str, at: int) -> tuple[str, int]:
    """The word that begins at `at`, and where it ends."""
    word, quote = "", ""
    while at < len(text):
        sign = text[at]
        if sign == "\\" and text[at + 1 : at + 2] in ('"', "'", "\\", *([] if quote else [" "])):
            at += 1
            word += text[at]
        elif quote:
            if sign == quote:
                quote = ""
            else:
                word += sign
        elif sign in "\"'":
            quote = sign
        elif sign in _BLANK:
            break
        else:
            word += sign
        at += 1
    if quote:
        raise UsageError(f"{text[:80]!a}: a quote that is not closed")
    return word, at


def matches(pattern: str, text: str) -> bool:
    """Whether `text` is as `pattern` says: `*` is anything, `?` one character, and nothing else is special."""
    signs = (".*" if sign == "*" else "." if sign == "?" else re.escape(sign) for sign in pattern)
    return re.fullmatch("".join(signs), text, re.DOTALL) is not None


def matches_list(patterns: list[str], text: str) -> bool:
    """Whether a pattern of the list does, and none does that begins with `!`."""
    if any(matches(pattern[1:], text) for pattern in patterns if pattern.startswith("!")):
        return False
    return any(matches(pattern, text) for pattern in patterns if not pattern.startswith("!"))
