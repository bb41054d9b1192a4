"""The written form of a public key's SHA-256: "SHA256:" and 43 characters of base64, as ssh-keygen -l prints it.

Imports nothing but `binascii`; says nothing about whose key it is. Neighbours: `hosts` and identity's `known_hosts` keep these
texts, identity's `tls` and `keys` make them.
"""

from __future__ import annotations

import binascii

from remote_shell.errors import UsageError

_PREFIX = "SHA256:"


def format_fingerprint(digest: bytes) -> str:
    """The text for a SHA-256 `digest` of 32 bytes."""
    return _PREFIX + binascii.b2a_base64(digest, newline=False).decode("ascii").rstrip("=")


def parse_fingerprint(text: str) -> str:
    """`text` if it is a fingerprint in its one canonical form, "=" at its end taken off. Raises UsageError."""
    body = text.strip().removeprefix(_PREFIX)
    try:
        digest = binascii.a2b_base64(body.rstrip("=") + "=", strict_mode=True)
    except ValueError:  # binascii.Error is one; so is a character that is not ASCII
        digest = b""
    # The comparison refuses a second spelling of the same bytes, whose last character has unused bits set.
    if len(digest) != 32 or format_fingerprint(digest) != _PREFIX + body.rstrip("="):
        raise UsageError(
            f"{text[:80]!a} is not a fingerprint: write SHA256: and 43 characters, as the server prints when it starts"
        )
    if not text.strip().startswith(_PREFIX):
        raise UsageError(f"a fingerprint begins with SHA256:, so write SHA256:{body.rstrip('=')}")
    return format_fingerprint(digest)
