"""authorized_keys: whose public keys may log in.

Fails closed: a line with an option is refused, since its writer meant a restriction that is not built here yet, but for those about
forwarding, which are sshd(8)'s; so is every other kind of key, and a file or a folder that somebody else could have written. A line's
text never reaches the log. Symlinks are followed, as sshd does: what is checked is the real file and the folders above it.
Neighbours: `keys` reads one line, `config.watched` reads the file again when it changes.
"""

from __future__ import annotations

import hmac
import logging
import re

from remote_shell.config.paths import shown
from remote_shell.config.watched import Watched
from remote_shell.errors import IdentityError
from remote_shell.identity.keys import KEY_TYPE, PublicKey, parse_public_line
from remote_shell.limits import DEFAULT_LIMITS

LOGGER = "remote_shell.identity"
_OTHER_TYPE = re.compile(
    r"(?:sk-)?(?:ssh-(?:rsa|dss|ed25519|ed448)|ecdsa-sha2-nistp\d{3}|rsa-sha2-\d{3})(?:-cert-v\d\d)?(?:@openssh\.com)?"
)
_LOOKS_LIKE_KEY = re.compile(r"AAAA[A-Za-z0-9+/]{20}")


class Forwarding:
    """What a line says about tunnels. `said` is False for a line that says nothing: then the server's settings decide."""

    __slots__ = ("everything", "listens", "opens", "said")

    def __init__(self, *, said: bool, everything: bool, opens: frozenset[str], listens: frozenset[str]) -> None:
        self.said = said
        self.everything = everything
        self.opens = opens  # permitopen, as "host:port" in lower case
        self.listens = listens  # permitlisten

    @classmethod
    def all(cls) -> Forwarding:
        """Anywhere, both ways."""
        return cls(said=True, everything=True, opens=frozenset(), listens=frozenset())

    @classmethod
    def of(cls, options: list[tuple[str, str | None]]) -> Forwarding:
        """What these say together. Raises IdentityError for one that is not about forwarding."""
        opens, listens, everything, nothing = set(), set(), False, False
        for name, value in options:
            if name == "permitopen" and value is not None:
                opens.add(_place(value, host_needed=True))
            elif name == "permitlisten" and value is not None:
                listens.add(_place(value, host_needed=False))
            elif name in ("port-forwarding", "no-port-forwarding") and value is None:
                everything = everything or name == "port-forwarding"
                nothing = nothing or name == "no-port-forwarding"
            else:
                raise IdentityError(_OTHER_OPTIONS)
        if nothing:  # said anywhere; only now, since a `command=` behind it must not be overlooked
            return cls(said=True, everything=False, opens=frozenset(), listens=frozenset())
        return cls(said=bool(options), everything=everything, opens=frozenset(opens), listens=frozenset(listens))

    def may_connect(self, host: str, port: int) -> bool:
        """A tunnel to there; names are compared as they are, and `permitopen` narrows `port-forwarding`."""
        if not self.opens:
            return self.everything
        return not self.opens.isdisjoint((f"{_plain(host)}:{port}", f"{_plain(host)}:*"))

    def may_listen(self, host: str, port: int) -> bool:
        """A listener there; one that was permitted without a host is on loopback."""
        if not self.listens:
            return self.everything
        name = _listening(host)
        return not self.listens.isdisjoint((f"{name}:{port}", f"{name}:*"))


def _plain(host: str) -> str:
    return host.removeprefix("[").removesuffix("]").lower()


def _listening(host: str) -> str:
    """A listener's host, with one name for all that is loopback."""
    name = _plain(host)
    return "localhost" if name in ("", "127.0.0.1", "::1") else name


def _place(value: str, *, host_needed: bool) -> str:
    """HOST:PORT as it is compared. Raises IdentityError."""
    host, colon, port = value.rpartition(":")
    if (host_needed and not (colon and host)) or not (
        port == "*" or (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536)
    ):
        raise IdentityError("permitopen is HOST:PORT, permitlisten PORT or HOST:PORT; the port from 1 to 65535 or *")
    return f"{_plain(host) if host_needed else _listening(host)}:{port}"


_OTHER_OPTIONS = (
    "options before a key are not built yet, but for port-forwarding, permitopen and permitlisten, and without its options it "
    "would allow too much"
)


class Entry:
    """One line that may log in. `principal` is "key:" and the fingerprint: the name by which sessions belong to it."""

    __slots__ = ("comment", "forwarding", "line", "principal", "public")

    def __init__(self, public: PublicKey, line: int, forwarding: Forwarding) -> None:
        self.forwarding = forwarding
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

    def forwarding(self, principal: str) -> Forwarding | None:
        """What the line of that principal says about tunnels; None where there is no such line now. Raises nothing."""
        return next((entry.forwarding for entry in self._file.get() if entry.principal == principal), None)

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
    forwarding = Forwarding.of([])
    if first != KEY_TYPE:
        if _OTHER_TYPE.fullmatch(first):
            raise IdentityError(f"a key of type {first}; only {KEY_TYPE} is taken")
        options, rest = _split_options(line)
        if not rest.startswith(KEY_TYPE) or options is None:
            if KEY_TYPE in line[len(first) :] or _LOOKS_LIKE_KEY.search(line[len(first) :]):
                raise IdentityError(_OTHER_OPTIONS)
            raise IdentityError(f"does not begin with {KEY_TYPE}")
        forwarding = Forwarding.of(options)
        line = rest
    key = parse_public_line(line)
    if _LOOKS_LIKE_KEY.search(key.comment):
        # cat >> onto a file without a last line end: two keys, of which one would silently not count.
        raise IdentityError("two keys on one line; put each on its own")
    return Entry(key, number, forwarding)


_OPTION = re.compile(r'([a-z-]+)(?:="((?:[^"\\]|\\.)*)")?(,|[ \t]+)', re.IGNORECASE | re.ASCII)


def _split_options(line: str) -> tuple[list[tuple[str, str | None]] | None, str]:
    """The options before a key, as sshd(8) writes them, and what follows them; None where that is no list of options."""
    options: list[tuple[str, str | None]] = []
    at = 0
    while found := _OPTION.match(line, at):
        name, value, border = found.groups()
        options.append((name.lower(), None if value is None else value.replace('\\"', '"')))
        at = found.end()
        if border != ",":
            return options, line[at:]
    return None, line[at:]
