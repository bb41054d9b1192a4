"""Named shared secrets of 256 bits, and the proof of knowing one: HMAC-SHA256 over a transcript, in both directions.

A secret is generated, never a phrase: whoever records one login could try phrases at leisure. No key is in a repr, an error or a
log, and a name that nobody has costs what a known one costs. Neighbours: the handshake makes the transcript, `authorized` is
the same for public keys.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import logging
import os
import re

from remote_shell.config.checked import read_text
from remote_shell.config.paths import quoted, shown
from remote_shell.config.watched import Watched
from remote_shell.errors import ConfigError
from remote_shell.identity.ssh_strings import pack_string
from remote_shell.limits import DEFAULT_LIMITS

KEY_SIZE = 32  # bytes
MAC_SIZE = 32
MAKE_SECRET = "remote-shell keys show --new-secret NAME"
LOGGER = "remote_shell.identity"
_CONTEXT = b"remote-shell-secret@1"
_ROLES = ("client", "server")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_VARIETY = 16  # different bytes of 32; random ones have fewer once in 10^17, "aaaa..." and 000102... of ASCII always
_FORMAT = f"a line is NAME and 256 bits as 43 characters of base64 or 64 hex digits; make one: {MAKE_SECRET}"


class Secret:
    """A named key. `known` is False for the stand-in under a name that nobody has: nothing is ever valid under it."""

    __slots__ = ("key", "known", "name")

    def __init__(self, name: str, key: bytes, *, known: bool = True) -> None:
        self.name = name
        self.key = key
        self.known = known

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"

    @property
    def principal(self) -> str:
        """The name by which sessions belong to it."""
        return f"secret:{self.name}"

    def line(self) -> str:
        """The line for a secrets file, without its end. Secret!"""
        text = binascii.b2a_base64(self.key, newline=False).translate(bytes.maketrans(b"+/", b"-_"))
        return f"{self.name} {text.decode('ascii').rstrip('=')}"


class Secrets:
    """The secrets of the server's file at `path`, as it is at each question; a missing file means nobody."""

    def __init__(self, path: str) -> None:
        limit = DEFAULT_LIMITS.list_file_max
        self._file: Watched[dict[str, Secret]] = Watched(
            path, what="secrets file", limit=limit, private=True, parse=self._parse, empty={}, log=LOGGER
        )
        self._stand_in = os.urandom(KEY_SIZE)

    @property
    def path(self) -> str:
        return self._file.path

    @property
    def problem(self) -> str:
        """Why the whole file is not used, or an empty text."""
        self._file.get()
        return self._file.problem

    def names(self) -> tuple[str, ...]:
        """The names that may log in, in the file's order. Raises nothing."""
        return tuple(self._file.get())

    def find(self, name: str) -> Secret:
        """The secret of that name, or a stand-in whose `known` is False. Raises nothing."""
        stand_in = Secret(name, self._stand_in, known=False)
        return self._file.get().get(name, stand_in)

    def _parse(self, data: bytes) -> dict[str, Secret]:
        found: dict[str, Secret] = {}
        log = logging.getLogger(LOGGER)
        for number, raw in enumerate(data.split(b"\n"), start=1):
            line = raw.decode("utf-8", "replace").strip()
            if not line or line.startswith("#"):
                continue
            try:
                secret = parse_line(line)
                if secret.name in found:
                    raise ConfigError("the name is taken by a line above")
            except ConfigError as error:
                log.warning("%s, line %d: refused: %s", shown(self.path), number, error)
                continue
            found[secret.name] = secret
        return found


def generate(name: str) -> Secret:
    """A new secret of 256 random bits. Raises ConfigError for a name that is none."""
    return Secret(_checked_name(name), os.urandom(KEY_SIZE))


def parse_line(line: str) -> Secret:
    """The secret of one line. Raises ConfigError, whose text never repeats the line."""
    words = line.split()
    if len(words) != 2:
        raise ConfigError(f"not a name and a key; {_FORMAT}")
    name = _checked_name(words[0])
    key = _decode(words[1])
    if key is None:
        raise ConfigError(f"the key is not 256 bits; a phrase is too easy to guess; {_FORMAT}")
    if len(set(key)) < _VARIETY:
        raise ConfigError(f"the key is not random; make one: {MAKE_SECRET}")
    return Secret(name, key)


def load_secret(path: str) -> Secret:
    """The one secret of a client's file. Raises ConfigError if the file is missing, open to others, or holds anything else."""
    text = read_text(path, what="secret file", limit=DEFAULT_LIMITS.key_file_max, private=True)
    if text is None:
        raise ConfigError(
            f"there is no secret file {shown(path)}; make one: (umask 077; {MAKE_SECRET} > {quoted(path)})"
        )
    lines = [line for line in (raw.strip() for raw in text.split("\n")) if line and not line.startswith("#")]
    if len(lines) != 1:
        raise ConfigError(f"the secret file {shown(path)} must hold one line, and holds {len(lines)}; {_FORMAT}")
    try:
        return parse_line(lines[0])
    except ConfigError as error:
        raise ConfigError(f"the secret file {shown(path)}: {error}") from None


def mac(secret: Secret, role: str, transcript: bytes) -> bytes:
    """The 32 bytes by which `role`, "client" or "server", proves that it knows the secret.

    HMAC-SHA256 (RFC 2104) over a context, the role and the transcript, each behind its length: neither side's proof passes
    for the other's.
    """
    if role not in _ROLES:
        raise ValueError(f"role is one of {_ROLES}, not {role!r}")
    message = pack_string(_CONTEXT) + pack_string(role.encode("ascii")) + pack_string(transcript)
    return hmac.digest(secret.key, message, hashlib.sha256)


def verify(secret: Secret, role: str, transcript: bytes, proof: bytes) -> bool:
    """Whether `proof` is `role`'s over `transcript`; in constant time, and never for a stand-in."""
    right = hmac.compare_digest(mac(secret, role, transcript), proof)
    return right and secret.known


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            "a secret's name has 1 to 64 letters, digits, '.', '_' or '-', and begins with one of the first two"
        )
    return name


def _decode(text: str) -> bytes | None:
    """The 32 bytes that `text` spells, or None."""
    try:
        if len(text) == 2 * KEY_SIZE:
            return binascii.a2b_hex(text)
        plain = text.rstrip("=").encode("ascii")
        if len(plain) != 43:
            return None
        standard = plain.translate(bytes.maketrans(b"-_", b"+/"))  # `openssl rand -base64 32` is good as well
        key = binascii.a2b_base64(standard + b"=", strict_mode=True)
        # A spelling with unused bits set is refused: one key, one text.
        return key if binascii.b2a_base64(key, newline=False) == standard + b"=" else None
    except ValueError:  # binascii.Error and UnicodeEncodeError are
        return None
