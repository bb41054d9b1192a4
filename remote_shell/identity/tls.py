"""TLS as a client of ours uses it: the context, and the hash of the server's public key, by which it is pinned.

The certificate itself proves nothing here: no chain, no name and no date is checked, so whoever uses `client_context` must
compare `peer_key_hash` with what it knows before it sends a byte. cryptography's certificate reader would cost 25 ms at each
start, so the key is cut out by hand, exactly or not at all. Neighbours: `server_identity` is the other end, `known_hosts`
remembers.
"""

from __future__ import annotations

import hashlib
import ssl

from remote_shell.errors import ServerIdentityError

_SEQUENCE = 0x30
_INTEGER = 0x02
_VERSION = 0xA0
# TBSCertificate up to the key, RFC 5280 section 4.1: version, serial number, algorithm, issuer, validity, subject. Every
# certificate since 1996 states its version, and requiring it leaves only one way to read the rest.
_BEFORE_KEY = (_VERSION, _INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE, _SEQUENCE)


def client_context() -> ssl.SSLContext:
    """TLS 1.3 only, no session tickets; the server is not verified by it. See the module's text for what its user must do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    return context


def peer_key_hash(certificate: bytes) -> bytes:
    """The SHA-256 of the DER SubjectPublicKeyInfo in a DER certificate, as `getpeercert(binary_form=True)` gives it.

    Strict DER only, so that no certificate is read here in one way and by OpenSSL, which checks the key's signature, in
    another. Raises ServerIdentityError.
    """
    start, end = _content(certificate, 0, len(certificate), _SEQUENCE)
    if end != len(certificate):
        raise _unreadable()
    start, end = _content(certificate, start, end, _SEQUENCE)
    for tag in _BEFORE_KEY:
        start = _content(certificate, start, end, tag)[1]
    return hashlib.sha256(certificate[start : _content(certificate, start, end, _SEQUENCE)[1]]).digest()


def _content(data: bytes, start: int, end: int, tag: int) -> tuple[int, int]:
    """Where the content of the element at `start` begins and ends (X.690 section 10.1: definite length, shortest form)."""
    if end - start < 2 or data[start] != tag:
        raise _unreadable()
    first = data[start + 1]
    inside = start + 2
    size = first
    if first >= 0x80:
        digits = first & 0x7F
        size = int.from_bytes(data[inside : inside + digits], "big")
        inside += digits
        # The first also refuses 0 digits, an indefinite length.
        if size < 0x80 or size < 1 << 8 * (digits - 1):
            raise _unreadable()
    if size > end - inside:
        raise _unreadable()
    return inside, inside + size


def _unreadable() -> ServerIdentityError:
    return ServerIdentityError("the server's certificate can't be read; is it a remote-shell server?")
