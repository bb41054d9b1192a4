"""How a name is written into a line of bash so that bash reads exactly that name, in the quotes that were begun.

What is written can be shown: control characters and bytes that are no UTF-8 become escapes in `$'…'`. Knows no terminal and no
connection. Neighbours: `words` says what is open at the cursor, `completing` has the names.
"""

from __future__ import annotations

import re

from remote_shell.cli.words import Word

_BARE = re.compile(r"[A-Za-z0-9_./:+,@%=-]", re.ASCII)  # what means nothing to bash wherever it stands in a word
_NAMED = {"\a": "\\a", "\b": "\\b", "\x1b": "\\e", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def written(word: Word, name: str, end: str | None) -> str:
    """What takes the place of the text from `word.start` to the cursor: `name`, and `end` ("", " " or "/") behind it.

    Without an end it is the beginning of a name: quotes stay open. Bytes that are not UTF-8 are as os.fsdecode has them.
    """
    if word.kind == "variable":
        return name + ("}" if word.braced and end is not None else "")
    if not name.isprintable() or word.style == "$'":
        return _with_escapes(word, name, end)
    if not word.style:
        return _bare(word, name) + (end or "")
    opening = "" if word.quote else word.style
    body = name.replace("'", "'\\''") if word.style == "'" else re.sub(r'([$`"\\])', r"\\\1", name)
    return opening + body + (word.style + end if end is not None else "")


def _bare(word: Word, name: str) -> str:
    """Without quotes. What is not ASCII stays as it is: it is printable, and blanks beyond ASCII are not."""
    text = "".join(sign if _BARE.match(sign) or sign > "~" else f"\\{sign}" for sign in name)
    if word.kind == "command":  # not an assignment
        text = text.replace("=", "\\=")
    return text


def _with_escapes(word: Word, name: str, end: str | None) -> str:
    """In `$'…'`, which is closed in any case: what follows may be a character that needs none of it."""
    if word.quote == "$'":
        opening = ""
    else:
        opening = (word.quote or "") + "$'"
    return opening + "".join(map(_escape, name)) + "'" + (end or "")


def _escape(sign: str) -> str:
    if sign in "\\'":
        return f"\\{sign}"
    if sign.isprintable():
        return sign
    if sign in _NAMED:
        return _NAMED[sign]
    # Bytes as three octal digits, which nothing that follows can be taken for a part of.
    return "".join(f"\\{byte:03o}" for byte in sign.encode("utf-8", "surrogateescape"))
