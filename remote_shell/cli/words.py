"""The word that the cursor stands behind: where it begins, how it is quoted, and what could complete it.

A scan of bash's grammar as far as that takes: quotes, substitutions, operators, redirections, and what commands do with their
arguments. It never judges and never fails: where it does not know, nothing is offered. Asks nobody.
Neighbours: `completing` asks the other side for what `word_at` found, `quoting` writes a name into the line, `usage` knows commands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from remote_shell.cli import usage
from remote_shell.cli.usage import Kind

LINE_MAX = 65_536  # characters before the cursor that are looked at: a scan of more would be felt
_BLANKS = " \t"
_WORD_END = " \t\n;&|<>()"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\[[^]]*\])?\+?=", re.ASCII)
_OPTION = re.compile(r"-*[A-Za-z0-9_.-]+=", re.ASCII)  # --prefix=, if=
_RANGE = re.compile(r"^[+^]|\.\.\.?|:")  # what stands between two branches of one word
_SIMPLE_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "E": "\x1b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
}
_NUMBERED = re.compile(r"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8}))")


@dataclass(frozen=True, slots=True)
class Word:
    """What is completed. Texts are as bash would have them after quoting; bytes that are not UTF-8 as os.fsdecode has them."""

    kind: Kind
    start: int  # where in the line what is replaced begins
    prefix: str  # what is there already
    quote: str = ""  # open before what is replaced: "'", '"' or "$'"
    style: str = ""  # open at the cursor, and so the one to write in
    directory: str = ""  # where to look, with its last slash; without the tilde
    tilde: str = ""  # "~" or "~user" before it
    braced: bool = False  # a variable: after ${


def word_at(text: str) -> Word | None:
    """The word at the end of `text`, all that stands before the cursor; None where nothing can be completed."""
    if len(text) > LINE_MAX:
        return None
    try:
        _Scan(text).commands("", [])
    except _Found as found:
        word = found.word
        return None if word is None or "\0" in word.directory + word.prefix else word
    except (RecursionError, UnicodeError):
        return None
    return None


class _Found(Exception):  # noqa: N818  # not an error
    """The end of the text was reached; here is what stands there."""

    def __init__(self, word: Word | None) -> None:
        self.word = word


@dataclass(slots=True)
class _Piece:
    """A word in the making."""

    start: int
    value: list[str] = field(default_factory=list)  # its characters, after quoting
    ends: list[int] = field(default_factory=list)  # where what stands for each ends
    quotes: list[str] = field(default_factory=list)  # the quote that each stood in
    live: set[int] = field(default_factory=set)  # those that bash would expand, so that the value is not known
    style: str = ""  # the quote that is open where the text ends

    def add(self, text: str, end: int, quote: str, *, live: bool = False) -> None:
        for sign in text:
            if live:
                self.live.add(len(self.value))
            self.value.append(sign)
            self.ends.append(end)
            self.quotes.append(quote)


class _Scan:
    """One pass over a text. Every method moves `at` over what its name says, or raises _Found at the text's end."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def commands(self, closer: str, words: list[str]) -> None:
        """Commands up to `closer`, or with "" to the end of the text. `words` are there of the first one."""
        target = ""  # a redirection's operator, whose word comes next
        while self.at < len(self.text):
            sign = self.text[self.at]
            if sign in _BLANKS:
                self.at += 1
            elif sign == closer:
                self.at += 1
                return
            elif sign == "(":
                array = self.text[self.at - 1 : self.at] == "="
                self.at += 1
                self.commands(")", [":"] if array else [])
                words, target = [], ""
            elif sign in "\n;|)" or (sign == "&" and not self.text.startswith("&>", self.at)):
                self.at += 1
                words, target = [], ""
            elif sign == "#":
                self._comment()
            elif sign in "&<>":
                target = self._redirection()
            else:
                piece = self._word(words, target, closer)
                number = self.text[piece.start : self.at].isdigit() and self.text[self.at] in "<>"  # of a descriptor
                if not target and not number:
                    words.append("".join(piece.value))
                target = ""
        raise _Found(_judge(_Piece(len(self.text)), words, target, len(self.text)))

    def _comment(self) -> None:
        end = self.text.find("\n", self.at)
        if end < 0:
            raise _Found(None)
        self.at = end

    def _redirection(self) -> str:
        """An operator; returned if a word belongs to it."""
        begin = self.at
        while self.at < len(self.text) and self.text[self.at] in "<>&|":
            self.at += 1
        operator = self.text[begin : self.at]
        if operator in ("<", ">") and self.text.startswith("(", self.at):
            self.at += 1
            self.commands(")", [])
            return ""
        if operator in ("<<", "<&", ">&") and self.text.startswith("-", self.at):
            self.at += 1
            return "<<" if operator == "<<" else ""
        return operator

    def _word(self, words: list[str], target: str, closer: str) -> _Piece:
        piece = _Piece(self.at)
        while self.at < len(self.text) and self.text[self.at] not in _WORD_END and self.text[self.at] != closer:
            self._part(piece)
        if self.at >= len(self.text):
            raise _Found(_judge(piece, words, target, len(self.text)))
        return piece

    def _part(self, piece: _Piece) -> None:
        """One character of a word, or one quoted or expanded part of it."""
        sign, at = self.text[self.at], self.at
        if sign == "\\":
            self.at += 2
            follows = self.text[at + 1 : at + 2]
            if follows != "\n":
                piece.add(follows, self.at, "")
        elif sign == "'":
            self.at += 1
            self._single(piece)
        elif sign == '"':
            self.at += 1
            self._double(piece)
        elif self.text.startswith("$'", at):
            self.at += 2
            self._escaped(piece)
        elif sign in "$`":
            self._expansion(piece, "")
        else:
            self.at += 1
            tilde = sign == "~" and (not piece.value or piece.value[-1] in "=:")
            piece.add(sign, self.at, "", live=tilde or sign in "*?[{")

    def _single(self, piece: _Piece) -> None:
        end = self.text.find("'", self.at)
        stop = len(self.text) if end < 0 else end
        for at in range(self.at, stop):
            piece.add(self.text[at], at + 1, "'")
        self.at = stop + (end >= 0)
        piece.style = "'" if end < 0 else ""

    def _double(self, piece: _Piece) -> None:
        piece.style = '"'
        while self.at < len(self.text):
            sign, at = self.text[self.at], self.at
            if sign == '"':
                self.at += 1
                piece.style = ""
                return
            if sign == "\\" and self.text[at + 1 : at + 2] in ("$", "`", '"', "\\", "\n"):
                self.at += 2
                piece.add(self.text[at + 1].strip("\n"), self.at, '"')
            elif sign in "$`":
                self._expansion(piece, '"')
            else:
                self.at += 1
                piece.add(sign, self.at, '"')

    def _escaped(self, piece: _Piece) -> None:
        r"""`$'…'` with its escapes. Bytes are joined at the end, as two of them may be one character."""
        piece.style = "$'"
        while self.at < len(self.text):
            sign, at = self.text[self.at], self.at
            if sign == "'":
                self.at += 1
                piece.style = ""
                return
            numbers = _NUMBERED.match(self.text, at)
            if numbers is not None:
                self.at = numbers.end()
                piece.add(_numbered(numbers), self.at, "$'")
            elif sign == "\\":
                self.at += 2
                follows = self.text[at + 1 : at + 2]
                piece.add(_SIMPLE_ESCAPES.get(follows, follows), self.at, "$'")
            else:
                self.at += 1
                piece.add(sign, self.at, "$'")

    def _expansion(self, piece: _Piece, quote: str) -> None:
        """What begins with $ or a backtick; a name that the text ends in is what is completed."""
        at = self.at
        if self.text[at] == "`":
            self.at += 1
            self.commands("`", [])
        elif self.text.startswith("$((", at):
            self.at += 3
            self._arithmetic()
        elif self.text.startswith("$(", at):
            self.at += 2
            self.commands(")", [])
        elif self.text.startswith("${", at):
            self._braces()
        else:
            self.at += 1
            self._name(braced=False)
            if self.at == at + 1 and self.text[self.at : self.at + 1] in tuple("?$!#@*-0123456789"):
                self.at += 1
        piece.add("$", self.at, quote, live=True)

    def _name(self, *, braced: bool) -> None:
        start = self.at
        found = _NAME.match(self.text, start)
        self.at = start if found is None else found.end()
        if self.at == len(self.text):
            raise _Found(Word("variable", start, self.text[start:], braced=braced))

    def _braces(self) -> None:
        self.at += 2
        while self.text[self.at : self.at + 1] in ("#", "!"):
            self.at += 1
        self._name(braced=True)
        inside = _Piece(self.at)
        while self.at < len(self.text):
            if self.text[self.at] == "}":
                self.at += 1
                return
            self._part(inside)
        raise _Found(None)

    def _arithmetic(self) -> None:
        """Up to the two parentheses that close it."""
        depth = 2
        inside = _Piece(self.at)
        while self.at < len(self.text):
            if self.text[self.at] in "()":
                depth += 1 if self.text[self.at] == "(" else -1
                self.at += 1
                if depth == 0:
                    return
            else:
                self._part(inside)
        raise _Found(None)


def _numbered(found: re.Match[str]) -> str:
    one_byte, octal, short, long = found.groups()
    if one_byte is not None or octal is not None:
        return bytes([int(one_byte, 16) if one_byte else int(octal, 8) & 255]).decode("utf-8", "surrogateescape")
    number = int(short or long, 16)
    return chr(number) if number < 0x110000 else ""


def _judge(piece: _Piece, words: list[str], target: str, end: int) -> Word | None:
    """What completes `piece`, which ends at the cursor, after `words` of the same command."""
    value = "".join(piece.value)
    wish = None if target == "<<" else "path" if target else usage.wish(words, value)
    cut = 0  # what stands before it is not looked at
    if wish in ("command", "variable"):
        if (found := _ASSIGNMENT.match(value)) is not None:  # its value may be a list with colons, as of PATH
            wish, cut = "path", max(found.end(), value.rfind(":") + 1)
    elif wish in ("path", "directory"):
        option = _OPTION.match(value)
        cut = option.end() if option is not None else 0
    elif wish == "branch":
        cut = max((mark.end() for mark in _RANGE.finditer(value)), default=0)
    if wish is None:
        return None
    if any(piece.quotes[:cut]):
        cut = 0
    if wish in ("branch", "remote", "variable"):
        return None if piece.live else _cut(piece, wish, cut, end)
    return _path(piece, wish, cut, end)


def _path(piece: _Piece, wish: Kind, cut: int, end: int) -> Word | None:
    """A file's name, perhaps with folders before it, and perhaps at the place of a command."""
    value, tilde = "".join(piece.value), ""
    if cut in piece.live and value[cut] == "~":
        tilde = value[cut:].partition("/")[0]
    if piece.live - ({cut} if tilde else set()) or any(piece.quotes[cut : cut + len(tilde)]):
        return None  # what bash would make of it is not known here
    if tilde and len(value) == cut + len(tilde):
        return None if piece.style else _cut(piece, "user", cut + 1, end)
    slash = value.rfind("/") + 1
    if wish == "command":
        if slash <= cut:
            return _cut(piece, "command", cut, end) if value else None
        wish = "program"
    slash = max(slash, cut)
    directory = _joined(value[cut + len(tilde) : slash])
    return replace(_cut(piece, wish, slash, end), directory=directory, tilde=tilde)


def _cut(piece: _Piece, kind: Kind, cut: int, end: int) -> Word:
    """The word from its character number `cut` on. A quote that opens or closes right there belongs to what is replaced."""
    value = _joined("".join(piece.value[cut:]))
    if cut == 0:
        return Word(kind, piece.start, value, style=piece.style)
    quote = piece.quotes[cut - 1]  # what stays was written in it
    return Word(kind, min(piece.ends[cut - 1], end), value, quote=quote, style=quote or piece.style)


def _joined(value: str) -> str:
    """Bytes written one by one in `$'…'` become the characters that they are."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
