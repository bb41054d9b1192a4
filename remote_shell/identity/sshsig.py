"""What a login signs: OpenSSH's SSHSIG format in a namespace of our own (PROTOCOL.sshsig), and the check of it.

The namespace keeps a login here from passing for a git commit, a file signature or an ssh login, whose data never begins with
SSHSIG. The public key and the signature travel beside each other, so only the signed part of the format is built.
Neighbours: `signers` signs, the handshake makes the message.
"""

from __future__ import annotations

import hashlib

from remote_shell.errors import IdentityError
from remote_shell.identity.keys import raw_key
from remote_shell.identity.ssh_strings import pack_string

NAMESPACE = "remote-shell-auth@1"
_MAGIC = b"SSHSIG"
_HASH = b"sha512"


def signed_data(namespace: str, message: bytes) -> bytes:
    """The bytes that the key signs for `message`: what `ssh-keygen -Y sign -n NAMESPACE` signs for a file of them."""
    digest = hashlib.sha512(message).digest()
    reserved = pack_string(b"")
    return _MAGIC + pack_string(namespace.encode("utf-8")) + reserved + pack_string(_HASH) + pack_string(digest)


def verify(public_blob: bytes, signature: bytes, message: bytes, namespace: str = NAMESPACE) -> bool:
    """Whether `signature`, 64 raw bytes, is the key's over `message`. Raises nothing, whatever the peer sent."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(raw_key(public_blob)).verify(signature, signed_data(namespace, message))
    except (IdentityError, InvalidSignature, ValueError):
        return False
    return True
