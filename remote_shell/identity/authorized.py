"""authorized_keys: whose public keys may log in.

Fails closed: a line with an option that is not understood is refused, since its writer meant a restriction; so is every other kind of
key, and a file or a folder that somebody else could have written. A line's text never reaches the log. Symlinks are followed, as sshd
does: what is checked is the real file and the folders above it. Neighbours: `restrictions` reads the options and `keys` the key,
`config.watched` reads the file again when it changes.
"""

from __future__ import annotations

import hmac
import logging
import re

from remote_shell.config.paths import shown
from remote_shell.config.watched import Watched
from remote_shell.errors import IdentityError
from remote_shell.identity.keys import KEY_TYPE, PublicKey, parse_public_line
from remote_shell.identity.restrictions import UNRESTRICTED, Restrictions, parse_options, split_options
from remote_shell.limits import DEFAULT_LIMITS

LOGGER = "remote_shell.identity"
_OTHER_TYPE = re.compile(
    r"(?:sk-)?(?:ssh-(?:rsa|dss|ed25519|ed448)|ecdsa-sha2-nistp\d{3}|rsa-sha2-\d{3})(?:-cert-v\d\d)?(?:@openssh\.com)?"
)
_LOOKS_LIKE_KEY = re.compile(r"AAAA[A-Za-z0-9+/]{20}")


class Entry:
    """One line that may log in. `principal` is "key:" and the fingerprint: the name by which sessions belong to it."""

    __slots__ = ("comment", "line", "principal", "public", "restrictions")

    def __init__(self, public: PublicKey, line: int, restrictions: Restrictions = UNRESTRICTED) -> None:
        self.restrictions = restrictions
        self.public = public
        self.principal = f"key:{public.fingerprint}"
        self.comment = public.comment
        self.line = line

    def __repr__(self) -> str:
        return f"Entry({self.principal}, line {self.line})"


class AuthorizedKeys:
    """The keys of the file at `path`, as it is at each question; a missing file means nobody."""

    def __init__(self, path: str) -> None:
        limit = DEFAULT_LIMITS.list_file_max
        self._file: Watched[tuple[Entry, ...]] = Watched(
            path, what="authorized_keys file", limit=limit, private=False, parse=self._parse, empty=(), log=LOGGER
        )
        self._indexed: tuple[Entry, ...] = ()
        self._index: dict[str, Restrictions] = {}  # of those

    @property
    def path(self) -> str:
        return self._file.path

    @property
    def problem(self) -> str:
        """Why the whole file is not used, or an empty text."""
        self._file.get()
        return self._file.problem

    def entries(self) -> tuple[Entry, ...]:
        """All that may log in, in the file's order. Raises nothing."""
        return self._file.get()

    def find(self, blob: bytes) -> Entry | None:
        """The entry of that public key, or None. Raises nothing, and takes as long for either answer."""
        found = None
        for entry in self._file.get():
            if hmac.compare_digest(entry.public.blob, blob) and found is None:
                found = entry
        return found

    def restrictions(self, principal: str) -> Restrictions | None:
        """What the line of that principal says; None where there is no such line now. Raises nothing."""
        entries = self._file.get()
        if entries is not self._indexed:
            self._indexed = entries
            self._index = {entry.principal: entry.restrictions for entry in reversed(entries)}  # the first line counts
        return self._index.get(principal)

    def _parse(self, data: bytes) -> tuple[Entry, ...]:
        entries = []
        log = logging.getLogger(LOGGER)
        # Only "\n" ends a line, as for sshd; splitlines would begin a new one at a "\r" inside a comment.
        for number, raw in enumerate(data.split(b"\n"), start=1):
            line = raw.strip()
            if not line or line.startswith(b"#"):
                continue
            try:
                entries.append(parse_line(line, number))
            except IdentityError as error:
                log.warning("%s, line %d: refused: %s", shown(self.path), number, error)
        return tuple(entries)


def parse_line(raw: bytes, number: int) -> Entry:
    """One line that may log in. Raises IdentityError, whose text tells the kind of fault and nothing of the line."""
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise IdentityError("not UTF-8 text") from None
    first = re.split(r"[ \t]", line, maxsplit=1)[0]
    restrictions = UNRESTRICTED
    if first != KEY_TYPE:
        if _OTHER_TYPE.fullmatch(first):
            raise IdentityError(f"a key of type {first}; only {KEY_TYPE} is taken")
        options, line = _options_and_key(line)
        restrictions = parse_options(options)
    key = parse_public_line(line)
    if _LOOKS_LIKE_KEY.search(key.comment):
        # cat >> onto a file without a last line end: two keys, of which one would silently not count.
        raise IdentityError("two keys on one line; put each on its own")
    return Entry(key, number, restrictions)


def _options_and_key(line: str) -> tuple[str, str]:
    """The options before a key, and the key. Raises IdentityError."""
    try:
        _, rest = split_options(line)
    except IdentityError:
        if KEY_TYPE in line or _LOOKS_LIKE_KEY.search(line):
            raise
        rest = ""
    kind = re.split(r"[ \t]", rest, maxsplit=1)[0]
    if _OTHER_TYPE.fullmatch(kind) and kind != KEY_TYPE:
        raise IdentityError(f"a key of type {kind}; only {KEY_TYPE} is taken")
    if kind != KEY_TYPE:
        raise IdentityError(f"does not begin with {KEY_TYPE}, nor with options and then that")
    return line[: len(line) - len(rest)].rstrip(" \t"), rest
