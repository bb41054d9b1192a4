"""Ed25519 public keys as OpenSSH writes them: the blob, the line, the fingerprint.

Only plain `ssh-ed25519`: a hardware key (`sk-...`) or a certificate signs something else, and taking its public half for a
plain key would skip its own checks. Imports no cryptography. Neighbours: `private_keys` holds the other half, `authorized`
reads whole files of these lines, `sshsig` checks signatures.
"""

from __future__ import annotations

import binascii
import hashlib

from remote_shell.config.fingerprints import format_fingerprint
from remote_shell.errors import IdentityError
from remote_shell.identity.ssh_strings import Reader, TruncatedError, pack_string

KEY_TYPE = "ssh-ed25519"
MAKE_KEY = "ssh-keygen -t ed25519"
_RAW_SIZE = 32
_P = 2**255 - 19
# y of the eight points of small order (RFC 8032's curve), and the spellings of two of them above the field's size. Under such
# a key a signature for any text is found in a few tries; the key of all zeros, which stands in many an example, is one.
_WEAK_Y = frozenset(
    {
        0,
        1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        _P - 1,
        _P,
        _P + 1,
    }
)


class PublicKey:
    """An Ed25519 public key. `blob` is ssh's own encoding of it (RFC 8709 section 4), `raw` its 32 bytes."""

    __slots__ = ("blob", "comment", "raw")

    def __init__(self, blob: bytes, comment: str = "") -> None:
        """Raises IdentityError if `blob` is not an Ed25519 key."""
        self.raw = raw_key(blob)
        self.blob = blob
        self.comment = comment

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` shows it."""
        return fingerprint(self.blob)

    def line(self) -> str:
        """The line for an authorized_keys file, without its end; always one line, whatever the comment holds."""
        comment = "".join(sign if sign.isprintable() else "?" for sign in self.comment)
        return f"{KEY_TYPE} {binascii.b2a_base64(self.blob, newline=False).decode('ascii')} {comment}".rstrip()

    def __repr__(self) -> str:
        return f"PublicKey({self.fingerprint})"


def fingerprint(blob: bytes) -> str:
    """ "SHA256:" and 43 characters, equal to what `ssh-keygen -l` prints for the key."""
    return format_fingerprint(hashlib.sha256(blob).digest())


def make_blob(raw: bytes) -> bytes:
    """ssh's encoding of the 32 bytes of an Ed25519 public key."""
    return pack_string(KEY_TYPE.encode("ascii")) + pack_string(raw)


def raw_key(blob: bytes) -> bytes:
    """The 32 bytes inside `blob`. Raises IdentityError for another kind of key, other lengths, or a worthless key."""
    reader = Reader(blob)
    try:
        kind = reader.string()
        if kind != KEY_TYPE.encode("ascii"):
            raise IdentityError(f"the key's type is {kind[:40].decode('ascii', 'replace')!a}, not {KEY_TYPE}")
        raw = reader.string()
    except TruncatedError:
        raise IdentityError("the key is cut short") from None
    if len(raw) != _RAW_SIZE or reader.rest():
        raise IdentityError(f"an Ed25519 key has {_RAW_SIZE} bytes, and this one has not")
    if int.from_bytes(raw, "little") & (2**255 - 1) in _WEAK_Y:
        raise IdentityError("the key is one of those under which anybody can sign")
    return raw


def parse_public_line(line: str) -> PublicKey:
    """The key of a line `ssh-ed25519 AAAA... comment`, as in a .pub file.

    Raises IdentityError; its text never repeats the line. Options before the key are not taken.
    """
    words = line.split(None, 2)
    if not words or words[0] != KEY_TYPE:
        raise IdentityError(f"the line does not begin with {KEY_TYPE}")
    if len(words) == 1:
        raise IdentityError(f"there is no key after {KEY_TYPE}")
    try:
        blob = binascii.a2b_base64(words[1], strict_mode=True)
    except ValueError:  # binascii.Error is one; so is a character that is not ASCII
        raise IdentityError("the key is not base64") from None
    if binascii.b2a_base64(blob, newline=False).decode("ascii") != words[1]:
        raise IdentityError("the key is not base64 in its one canonical form")
    return PublicKey(blob, words[2].strip() if len(words) == 3 else "")
