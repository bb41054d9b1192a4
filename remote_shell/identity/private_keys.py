"""Private key files in OpenSSH's own format (PROTOCOL.key, "openssh-key-v1"), Ed25519 only: reading, unlocking, making.

The public half stands outside the encryption, so which key a file holds is known without its passphrase. A file without a
passphrase is unlocked here and not by cryptography's reader, which takes 15 ms longer to import. Nothing secret is in an
error or a repr. Neighbours: `keys` has the public half, `signers` decides which file is used.
"""

from __future__ import annotations

import binascii
import hmac
import os

from remote_shell.config.checked import create_private, read_checked
from remote_shell.config.paths import quoted, shown
from remote_shell.errors import IdentityError
from remote_shell.identity.keys import KEY_TYPE, MAKE_KEY, PublicKey, make_blob
from remote_shell.identity.ssh_strings import Reader, TruncatedError, pack_string, pack_u32
from remote_shell.limits import DEFAULT_LIMITS

_BEGIN = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_END = b"-----END OPENSSH PRIVATE KEY-----"
_MAGIC = b"openssh-key-v1\0"
_ONLY = f"only Ed25519 keys in OpenSSH's format are taken; make one: {MAKE_KEY}"
_OTHER_FORMATS = (
    (b"-----BEGIN RSA PRIVATE KEY", f"is an RSA key; {_ONLY}"),
    (b"-----BEGIN EC PRIVATE KEY", f"is an ECDSA key; {_ONLY}"),
    (b"-----BEGIN DSA PRIVATE KEY", f"is a DSA key; {_ONLY}"),
    (b"-----BEGIN PRIVATE KEY", f"is in PKCS#8 format; {_ONLY}"),
    (b"-----BEGIN ENCRYPTED PRIVATE KEY", f"is in PKCS#8 format; {_ONLY}"),
    (b"PuTTY-User-Key-File", "is PuTTY's; convert it: puttygen FILE -O private-openssh-new -o NEWFILE"),
)


class WrongPassphraseError(IdentityError):
    """The passphrase does not open the key; another may."""


class PrivateKeyFile:
    """One file, read and checked, still locked. `public` is its public half, `encrypted` whether it has a passphrase."""

    __slots__ = ("_data", "_section", "encrypted", "path", "public")

    def __init__(self, path: str, data: bytes) -> None:
        """Raises IdentityError if `data` is not such a key."""
        self.path = path
        self._data = data
        try:
            self._parse(_unarmour(path, data))
        except TruncatedError:
            raise self._fault("is cut short") from None

    def __repr__(self) -> str:
        return f"PrivateKeyFile({self.path!r}, {self.public.fingerprint})"

    @classmethod
    def read(cls, path: str) -> PrivateKeyFile | None:
        """The key at `path`, or None if there is no such file.

        Raises IdentityError if others can read the file, if it belongs to anybody but us and root, or if it is no key.
        """
        limit = DEFAULT_LIMITS.key_file_max
        data = read_checked(path, what="key file", limit=limit, private=True, error=IdentityError)
        return None if data is None else cls(path, data)

    def unlock(self, passphrase: str | None = None) -> bytes:
        """The 32 secret bytes. Raises WrongPassphraseError, or IdentityError if the file is damaged."""
        seed = self._decrypt(passphrase) if self.encrypted else self._plain_seed()
        if not hmac.compare_digest(public_of(seed), self.public.raw):
            raise self._fault("has a public half that does not belong to its private half")
        return seed

    def _parse(self, container: bytes) -> None:
        if not container.startswith(_MAGIC):
            raise self._fault("is damaged")
        reader = Reader(container[len(_MAGIC) :])
        cipher, kdf = reader.string(), reader.string()
        reader.string()  # the key derivation's salt and rounds
        if reader.u32() != 1:
            raise self._fault("holds more than one key")
        blob = reader.string()
        kind = Reader(blob).string()
        if kind != KEY_TYPE.encode("ascii"):
            raise self._fault(f"is a key of type {kind[:40].decode('ascii', 'replace')!a}; {_ONLY}")
        try:
            self.public = PublicKey(blob)
        except IdentityError as error:
            raise self._fault(f"can't be used: {error}") from None
        self.encrypted = cipher != b"none" or kdf != b"none"
        self._section = reader.string()
        if not self.encrypted:
            self._plain_seed()  # a damaged file should be told now, not when the server asks for a signature

    def _plain_seed(self) -> bytes:
        reader = Reader(self._section)
        if reader.u32() != reader.u32():
            raise self._fault("is damaged: its two check numbers differ")
        kind, raw, secret, comment = (reader.string() for _ in range(4))
        padding = reader.rest()
        right = kind == KEY_TYPE.encode("ascii") and raw == self.public.raw and len(secret) == 64
        if not right or secret[32:] != raw or padding != bytes(range(1, len(padding) + 1)):
            raise self._fault("is damaged")
        self.public.comment = comment.decode("utf-8", "replace")
        return secret[:32]

    def _decrypt(self, passphrase: str | None) -> bytes:
        from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        try:
            key = serialization.load_ssh_private_key(self._data, os.fsencode(passphrase or ""))
        except (TypeError, ValueError, InvalidTag):
            raise WrongPassphraseError(f"the passphrase does not open {shown(self.path)}") from None
        except UnsupportedAlgorithm:
            raise self._fault(
                f"is encrypted with a cipher that is not known here; type: ssh-keygen -p -Z aes256-ctr -f {quoted(self.path)}"
            ) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise self._fault("is damaged")
        return key.private_bytes_raw()

    def _fault(self, what: str) -> IdentityError:
        return IdentityError(f"the key file {shown(self.path)} {what}")


def public_of(seed: bytes) -> bytes:
    """The 32 bytes of the public key that belongs to the 32 secret bytes `seed`."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def make_key_file(path: str, comment: str) -> PrivateKeyFile:
    """Make a new key at `path`, mode 0600, without a passphrase, and return it; one that is there already is returned.

    Raises IdentityError.
    """
    there = PrivateKeyFile.read(path)
    if there is not None:
        return there
    create_private(path, _encode(os.urandom(32), comment), what="key file", error=IdentityError)
    made = PrivateKeyFile.read(path)  # not what was written: another start may have been first
    if made is None:
        raise IdentityError(f"the key file {shown(path)} was removed while it was made; try again")
    return made


def _encode(seed: bytes, comment: str) -> bytes:
    raw = public_of(seed)
    check = os.urandom(4)
    kind = pack_string(KEY_TYPE.encode("ascii"))
    section = check + check + kind + pack_string(raw) + pack_string(seed + raw) + pack_string(comment.encode("utf-8"))
    section += bytes(range(1, -len(section) % 8 + 1))
    none = pack_string(b"none")
    container = (
        _MAGIC + none + none + pack_string(b"") + pack_u32(1) + pack_string(make_blob(raw)) + pack_string(section)
    )
    text = binascii.b2a_base64(container, newline=False)
    lines = [text[start : start + 70] for start in range(0, len(text), 70)]
    return b"\n".join([_BEGIN, *lines, _END, b""])


def _unarmour(path: str, data: bytes) -> bytes:
    text = data.strip()
    if text.startswith(_BEGIN):
        body, end, _ = text[len(_BEGIN) :].partition(_END)
        try:
            # Strict: lenient base64 drops what it does not know.
            container = binascii.a2b_base64(b"".join(body.split()), strict_mode=True) if end else b""
        except binascii.Error:
            container = b""
        if container:
            return container
        raise IdentityError(f"the key file {shown(path)} is damaged or cut short")
    for start, what in _OTHER_FORMATS:
        if text.startswith(start):
            raise IdentityError(f"the key file {shown(path)} {what}")
    if text.startswith((b"ssh-", b"ecdsa-", b"sk-")):
        raise IdentityError(f"{shown(path)} is a public key; name the private one, whose file has no .pub at its end")
    raise IdentityError(f"{shown(path)} is not a private key; {_ONLY}")
