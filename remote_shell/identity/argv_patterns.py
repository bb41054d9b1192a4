"""allow="pattern": which commands a key may run, compared word by word with what would be executed, and never with a shell's line.

A pattern is words, quoted as a shell's. In each word `*` stands for any characters but `/`, `**` for any with it, `?` for one; a word that
has the path component `..` matches no wildcard, so that `cat /var/log/*` reads nothing from elsewhere. A word that is `*` alone is any one
word, and as the last one any words that follow, none too. No pattern makes a shell: a line is compared as the words that it is made of,
and is run as these, without one. Must never guess: what is not understood does not match. Neighbour: `restrictions` reads the option.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from remote_shell.errors import IdentityError

_WORDS_MAX = 256
_WORD_MAX = 4096  # characters of a word that a wildcard is compared with: PATH_MAX
_LINE_MAX = 64 * 1024  # characters of a line that is taken apart
_BLANK = " \t"


class _Wild(Enum):
    ONE = "?"
    SOME = "*"
    DEEP = "**"


_Word = tuple[str | _Wild, ...]  # characters and wildcards: one that was quoted is a character


@dataclass(frozen=True, slots=True)
class ArgvPattern:
    """One pattern. `text` is what was written."""

    text: str
    _words: tuple[_Word, ...] = field(init=False, repr=False, compare=False)
    _open: bool = field(init=False, repr=False, compare=False)  # any words may follow

    def __post_init__(self) -> None:
        """Raises IdentityError for a pattern that is none."""
        words = _split_pattern(self.text)
        if not words or len(words) > _WORDS_MAX:
            raise IdentityError(f"allow is a program and its arguments, from 1 to {_WORDS_MAX} words")
        if not words[0] or all(isinstance(sign, _Wild) for sign in words[0]):
            raise IdentityError("allow must say which program: its first word is no wildcard alone")
        is_open = words[-1] == _ANY
        object.__setattr__(self, "_open", is_open)
        object.__setattr__(self, "_words", tuple(words[:-1] if is_open else words))

    def matches(self, argv: Sequence[str]) -> bool:
        """Whether exactly these words may be executed. Words that are not UTF-8 come as `os.fsdecode` has them."""
        if len(argv) < len(self._words) or (len(argv) > len(self._words) and not self._open):
            return False
        return all(_fits(pattern, word) for pattern, word in zip(self._words, argv, strict=False))


_ANY: _Word = (_Wild.SOME,)


def _fits(pattern: _Word, word: str) -> bool:
    """All ways at once, so that a hostile word costs no more than its length times the pattern's."""
    if pattern == _ANY:
        return True
    if not any(isinstance(sign, _Wild) for sign in pattern):
        return "".join(str(sign) for sign in pattern) == word
    if len(word) > _WORD_MAX or ".." in word.split("/"):
        return False
    at = _skipped(pattern, {0})
    for sign in word:
        further = set()
        for place in at:
            wanted = pattern[place] if place < len(pattern) else None
            if wanted is _Wild.DEEP or (wanted is _Wild.SOME and sign != "/"):
                further.add(place)
            elif wanted == sign or (wanted is _Wild.ONE and sign != "/"):
                further.add(place + 1)
        at = _skipped(pattern, further)
    return len(pattern) in at


def _skipped(pattern: _Word, places: set[int]) -> set[int]:
    """These, and where they lead when a `*` or `**` stands for nothing."""
    found = set(places)
    for place in sorted(places):
        while place < len(pattern) and pattern[place] in (_Wild.SOME, _Wild.DEEP):
            place += 1
            found.add(place)
    return found


def _split_pattern(text: str) -> list[_Word]:
    """The words of a pattern. Raises IdentityError for a quote that does not end."""
    words: list[_Word] = []
    word: list[str | _Wild] | None = None
    quote = ""
    at = 0
    while at < len(text):
        sign = text[at]
        at += 1
        if not sign.isprintable() and sign not in _BLANK:
            raise IdentityError("allow has a character that can't be seen")
        if sign in _BLANK and not quote:
            if word is not None:
                words.append(tuple(word))
            word = None
            continue
        word = [] if word is None else word
        if quote:
            if sign == quote:
                quote = ""
            else:
                word.append(sign)
        elif sign in "'\"":
            quote = sign
        elif sign == "\\":
            if at == len(text):
                raise IdentityError("allow ends with a backslash")
            word.append(text[at])
            at += 1
        elif sign == "*":
            deep = text[at : at + 1] == "*"
            word.append(_Wild.DEEP if deep else _Wild.SOME)
            at += deep
        else:
            word.append(_Wild.ONE if sign == "?" else sign)
    if quote:
        raise IdentityError("allow has a quote that does not end")
    return words if word is None else [*words, tuple(word)]


def plain_words(line: str) -> list[str] | None:
    """The words of a shell's line, where it is nothing but one program and its arguments; None where a shell would do anything else.

    Quotes and backslashes as POSIX 2.2 has them. A variable, a wildcard, a redirection, a second command, an assignment: None.
    """
    words: list[str] = []
    word: list[str] | None = None
    at = 0
    while at < len(line) <= _LINE_MAX:
        found = _PART.match(line, at)
        if found is None or (found["plain"] and "=" in found["plain"] and not words):
            return None
        at = found.end()
        if found["blank"]:
            if word is not None:
                words.append("".join(word))
            word = None
            continue
        word = [] if word is None else word
        if found["double"] is not None:
            word.append(re.sub(r"\\([\\\"$`])", r"\1", found["double"]))
        else:
            word.append(found["plain"] or found["single"] or found["hidden"] or "")
    if word is not None:
        words.append("".join(word))
    return words if words and at == len(line) else None


# Unquoted, each plain character is itself to every shell that is sh's heir; "=" only behind the first word. Within double quotes a
# backslash hides four characters alone, "$" and "`" do what they do, and a line end behind a backslash vanishes.
_PART = re.compile(
    r"""(?P<blank>[ \t]+)|(?P<plain>[^\s\x00-\x1f\x7f|&;<>()$`\\"'*?\[\]{}~#!^]+)|'(?P<single>[^']*)'|\\(?P<hidden>[^\n])"""
    r"""|"(?P<double>(?:\\[^\n]|[^\\"$`])*)\"""",
    re.ASCII,
)
