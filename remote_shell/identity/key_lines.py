"""The lines of an authorized_keys file as people look at them and change them: what each is, and edits that are whole or not at all.

Owner and modes of file and folders are asked first, since a line in a file that is not used would be an empty promise. Neighbours:
`config.edited` writes, `authorized` says which lines count.
"""

from __future__ import annotations

import binascii
import os
import re
from collections.abc import Callable
from typing import NamedTuple

from remote_shell.config.checked import folder_fault, read_checked
from remote_shell.config.edited import edit
from remote_shell.config.paths import shown
from remote_shell.errors import ConfigError, IdentityError, UsageError
from remote_shell.identity.authorized import Entry, parse_line
from remote_shell.identity.keys import KEY_TYPE, PublicKey, fingerprint
from remote_shell.identity.restrictions import split_options
from remote_shell.limits import DEFAULT_LIMITS

_WHAT = "authorized_keys file"
_KEY = re.compile(
    rb"(?:^|[ \t])((?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+)[ \t]+(AAAA[A-Za-z0-9+/]+={0,3})(?:[ \t]+(.*))?$", re.DOTALL
)


class KeyLine(NamedTuple):
    """One line with a key on it, or what was meant to be one."""

    number: int  # from 1
    raw: bytes  # as it stands there, without its end
    entry: Entry | None  # whom it lets in
    why: str  # it lets nobody in; empty if it does
    kind: str  # of the key, such as "ssh-ed25519"; empty if none was found
    blob: bytes  # ssh's encoding of the key; empty as well
    options: str  # what stands before the key
    comment: str  # control characters are replaced

    @property
    def fingerprint(self) -> str:
        """The key's, as `ssh-keygen -l` shows it; empty if there is no key."""
        return fingerprint(self.blob) if self.blob else ""


def read(path: str) -> list[KeyLine]:
    """All lines of the file; none if there is no file. Raises ConfigError if it can't be used."""
    fault = folder_fault(path)
    if fault is not None and os.path.lexists(path):
        raise ConfigError(f"the {_WHAT} {shown(path)} is not used: {fault}")
    return parse(read_checked(path, what=_WHAT, limit=DEFAULT_LIMITS.list_file_max, private=False) or b"")


def parse(data: bytes) -> list[KeyLine]:
    """The lines of a file with these bytes, without the empty ones and the remarks."""
    lines = []
    for number, raw in enumerate(data.split(b"\n"), start=1):
        line = raw.strip()
        if line and not line.startswith(b"#"):
            lines.append(_key_line(number, raw, line))
    return lines


def add(path: str, public: PublicKey, options: str = "", comment: str | None = None) -> bool:
    """Append a line for the key, unless one that lets it in is there: then False. The file, and ~/.ssh, are made if they are missing.

    Raises UsageError for options that would make a line that lets nobody in, ConfigError for the file.
    """
    line = make_line(public, options, comment)

    def appended(data: bytes) -> bytes:
        if any(one.entry is not None and one.blob == public.blob for one in parse(data)):
            return data
        return data + (b"\n" if data and not data.endswith(b"\n") else b"") + line + b"\n"

    return _edit(path, appended)


def check(path: str) -> None:
    """Raises ConfigError if `add` could not write there, or what it wrote would not count. Makes the file if there is none."""
    _edit(path, lambda data: data)
    folder = os.path.dirname(os.path.realpath(path))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"the {_WHAT} {shown(path)} can't be changed: its folder is not ours to write to")


def remove(path: str, lines: list[KeyLine]) -> list[KeyLine]:
    """Take these lines away, wherever they stand by now; which of them were still there. Raises ConfigError."""
    gone = {line.raw for line in lines}
    taken: list[KeyLine] = []

    def without(data: bytes) -> bytes:
        taken[:] = [line for line in parse(data) if line.raw in gone]
        numbers = {line.number for line in taken}
        return b"\n".join(raw for number, raw in enumerate(data.split(b"\n"), start=1) if number not in numbers)

    if os.path.lexists(path):
        _edit(path, without)
    return taken


def make_line(public: PublicKey, options: str = "", comment: str | None = None) -> bytes:
    """The line, without its end. Raises UsageError if it would let nobody in, or be more than one."""
    named = PublicKey(public.blob, public.comment if comment is None else comment)
    text = f"{options} {named.line()}" if options else named.line()
    if not options.isprintable():
        raise UsageError("an option has a line end or another control character in it")
    line = text.encode("utf-8", "replace")
    try:
        parse_line(line, 1)
    except IdentityError as error:
        raise UsageError(f"the line would be refused: {error}") from None
    return line


def _edit(path: str, change: Callable[[bytes], bytes]) -> bool:
    """False if the change is none. Raises ConfigError."""
    return edit(path, change, what=_WHAT, guarded=True)


def _key_line(number: int, raw: bytes, line: bytes) -> KeyLine:
    found = _KEY.search(line)
    try:
        entry, why = parse_line(line, number), ""
    except IdentityError as error:
        entry, why = None, str(error)
    if entry is not None:
        before = _before_key(line)
        blob, kind, comment = entry.public.blob, KEY_TYPE, entry.comment
    elif found is not None:
        before, kind, comment = line[: found.start(1)], found[1].decode(), (found[3] or b"").decode("utf-8", "replace")
        try:
            blob = binascii.a2b_base64(found[2])
        except binascii.Error:
            blob = b""
    else:
        before, kind, comment, blob = b"", "", line.decode("utf-8", "replace"), b""
    options = before.decode("utf-8", "replace").strip()
    return KeyLine(number, raw, entry, why, kind, blob, _printable(options), _printable(comment))


def _before_key(line: bytes) -> bytes:
    """The options of a line that lets somebody in."""
    text = line.decode("utf-8")
    return b"" if text.startswith(KEY_TYPE) else text[: len(text) - len(split_options(text)[1])].encode("utf-8")


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)
