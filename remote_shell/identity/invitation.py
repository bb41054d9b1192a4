"""An invitation: the line that `keys invite` prints and `pair` reads. It says where, whose key answers there, until when, and the code.

    invitation1 192.0.2.7:8822,[2001:db8::7]:8822 SHA256:… 2026-11-29T14:05Z mfrgg…

The last word is the code and a checksum over all of it, so that a line that was cut or mistyped is told before anybody is asked. The
code never crosses the wire: the invitation's name and the key that both sides prove with are hashes of it. Neighbour: `invitations`
keeps them on the server.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import os

from remote_shell.config.fingerprints import parse_fingerprint
from remote_shell.config.targets import Target, parse_target
from remote_shell.errors import UsageError
from remote_shell.identity.secrets import Secret
from remote_shell.identity.ssh_strings import pack_string
from remote_shell.limits import DEFAULT_LIMITS

CODE_SIZE = 16  # bytes
LINE_MAX = 4096  # characters; the longest that can be made has about 2,300
_MARK = "invitation1"
_CHECK_SIZE = 4
_WORD_SIZE = 32  # base32 characters: exactly what code and checksum take
_CONTEXT = b"remote-shell-invitation@1"
_TIME = "%Y-%m-%dT%H:%MZ"
_HOW = "paste the whole line that `remote-shell keys invite` printed over there; it begins with invitation1"


class Invitation:
    """What a line says. `until` is rounded up to a whole minute, in seconds since 1970; the code is never shown."""

    __slots__ = ("addresses", "code", "fingerprint", "until")

    def __init__(self, addresses: tuple[Target, ...], fingerprint: str, until: int, code: bytes) -> None:
        self.addresses = addresses  # of kind "tls"
        self.fingerprint = fingerprint
        self.until = until
        self.code = code

    def __repr__(self) -> str:
        return f"Invitation({self.name})"

    @property
    def name(self) -> str:
        """By which the server finds it: 32 hex digits, which say nothing of the code."""
        return name_of(self.code)

    def secret(self) -> Secret:
        """What both sides prove to know. Secret!"""
        return Secret(self.name, proving_key(self.code))

    def line(self) -> str:
        """The line, without its end. Secret!"""
        return f"{self._open_part()} {_spell(self.code + self._check())}"

    def _open_part(self) -> str:
        until = dt.datetime.fromtimestamp(self.until, dt.UTC).strftime(_TIME)
        return f"{_MARK} {','.join(target.address for target in self.addresses)} {self.fingerprint} {until}"

    def _check(self) -> bytes:
        return _derived(b"check", self._open_part().encode("utf-8") + b" " + self.code)[:_CHECK_SIZE]


def new_code() -> bytes:
    """128 random bits."""
    return os.urandom(CODE_SIZE)


def name_of(code: bytes) -> str:
    """The name of the invitation with this code."""
    return _derived(b"name", code)[:16].hex()


def proving_key(code: bytes) -> bytes:
    """The 32 bytes that a server keeps in the code's place. Secret!"""
    return _derived(b"key", code)


def parse_line(text: str) -> Invitation:
    """The invitation that `text` spells; white space around and within it is free, since chats and mails break lines.

    Raises UsageError, whose text never repeats the line: it may be another secret.
    """
    words = text.split() if len(text) <= LINE_MAX else []
    if words and words[0] != _MARK and words[0].startswith("invitation"):
        raise UsageError("the invitation is of another version than this remote-shell; get the same one on both sides")
    if len(words) < 5 or words[0] != _MARK:
        raise UsageError(f"that is no whole invitation; {_HOW}")
    _, places, pinned, until, *spelt = words
    try:
        addresses = tuple(parse_target(f"tls:{place}") for place in places.split(","))
        if len(addresses) > DEFAULT_LIMITS.invitation_addresses_max or any(target.user for target in addresses):
            raise UsageError("addresses")
        made = Invitation(addresses, parse_fingerprint(pinned), _moment(until), b"")
        raw = _unspell("".join(spelt))
    except (UsageError, ValueError, OverflowError):
        raise _damaged() from None
    made.code, check = raw[:CODE_SIZE], raw[CODE_SIZE:]
    if made._check() != check:
        raise _damaged()
    return made


def goes_on(text: str) -> bool:
    """`text` begins an invitation and does not end it: a mail or a chat has broken the line."""
    words = text.split()
    return words[:1] == [_MARK] and len(text) <= LINE_MAX and len("".join(words[4:])) < _WORD_SIZE


def _damaged() -> UsageError:
    return UsageError(f"the invitation is damaged: a letter is wrong, or a part is missing; {_HOW}")


def _derived(purpose: bytes, data: bytes) -> bytes:
    return hashlib.sha256(pack_string(_CONTEXT) + pack_string(purpose) + pack_string(data)).digest()


def _moment(text: str) -> int:
    return int(dt.datetime.strptime(text, _TIME).replace(tzinfo=dt.UTC).timestamp())


def _spell(raw: bytes) -> str:
    return base64.b32encode(raw).decode("ascii").lower()


def _unspell(text: str) -> bytes:
    """The bytes again. Raises ValueError."""
    if len(text) != _WORD_SIZE or not text.isascii():
        raise binascii.Error("length")
    return base64.b32decode(text.upper())
