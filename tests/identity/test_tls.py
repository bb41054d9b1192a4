"""The hash of the server's key: equal to what cryptography cuts out, or refused; and the client's context."""

from __future__ import annotations

import datetime as dt
import hashlib
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from remote_shell.errors import ServerIdentityError
from remote_shell.identity.tls import client_context, peer_key_hash

Key = Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def certificate(key: Key, name: str = "x", names: int = 0) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(start).not_valid_after(start + dt.timedelta(days=40_000))
    if names:
        many = [x509.DNSName(f"host{number}.example") for number in range(names)]
        builder = builder.add_extension(x509.SubjectAlternativeName(many), critical=False)
    digest = None if isinstance(key, Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.DER)


ED = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ED_CERTIFICATE = certificate(ED)


def real_hash(key: Key) -> bytes:
    return hashlib.sha256(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


@pytest.mark.parametrize("names", [0, 3, 30, 3000])
@pytest.mark.parametrize("name", ["x", "y" * 64])
def test_certificates_of_every_size(name: str, names: int) -> None:
    """Lengths of one to three bytes on the way to the key."""
    assert peer_key_hash(certificate(ED, name, names)) == real_hash(ED)


def test_other_kinds_of_key() -> None:
    for key in (ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)):
        assert peer_key_hash(certificate(key)) == real_hash(key)


@settings(max_examples=1000, deadline=None)
@given(st.data())
def test_a_changed_certificate_is_read_as_cryptography_reads_it_or_refused(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(ED_CERTIFICATE)))
    end = data.draw(st.integers(start, min(len(ED_CERTIFICATE), start + 4)))
    changed = ED_CERTIFICATE[:start] + data.draw(st.binary(max_size=4)) + ED_CERTIFICATE[end:]
    try:
        ours = peer_key_hash(changed)
    except ServerIdentityError:
        return
    try:
        key = x509.load_der_x509_certificate(changed).public_key()
    except Exception:
        return  # then OpenSSL would not have taken it either
    theirs = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert ours == hashlib.sha256(theirs).digest() or theirs not in changed


@given(st.binary() | st.binary().map(lambda rest: ED_CERTIFICATE[:40] + rest))
def test_garbage_raises_our_error_only(garbage: bytes) -> None:
    with pytest.raises(ServerIdentityError, match="can't be read"):
        peer_key_hash(garbage)


def test_every_cut_and_every_addition_is_refused() -> None:
    for size in range(len(ED_CERTIFICATE)):
        with pytest.raises(ServerIdentityError):
            peer_key_hash(ED_CERTIFICATE[:size])
    with pytest.raises(ServerIdentityError):
        peer_key_hash(ED_CERTIFICATE + b"\0")


def tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    return bytes([tag, size] if size < 0x80 else [tag, 0x81, size]) + content


def bare(*, version: bytes = tlv(0xA0, b"\x02\x01\x02"), key: bytes = tlv(0x30, b"key")) -> list[bytes]:
    return [version, b"\x02\x01\x01", b"\x30\x00", b"\x30\x00", b"\x30\x00", b"\x30\x00", key]


def test_other_spellings_of_the_same_lengths_are_refused() -> None:
    """A lenient reader and a strict one would see different keys in such bytes."""
    key = tlv(0x30, b"key")
    assert peer_key_hash(tlv(0x30, tlv(0x30, *bare()))) == hashlib.sha256(key).digest()
    body = tlv(0x30, *bare())
    for outer in (
        b"\x30\x81" + bytes([len(body)]) + body,  # not the shortest form
        b"\x30\x82\x00" + bytes([len(body)]) + body,
        b"\x30\x80" + body + b"\0\0",  # indefinite
        b"\x30\x84\x00\x00\x00" + bytes([len(body)]) + body,  # too many digits
        b"\x31" + tlv(0x30, body)[1:],  # a set
        b"\x30" + bytes([len(body) + 1]) + body,  # longer than it is
    ):
        with pytest.raises(ServerIdentityError):
            peer_key_hash(outer)
    body = tlv(0x30, *bare(key=tlv(0x30, b"k" * 150)))
    assert peer_key_hash(b"\x30\x81" + bytes([len(body)]) + body)
    for length in (b"\x82\x00", b"\x83\x00\x00"):
        with pytest.raises(ServerIdentityError):
            peer_key_hash(b"\x30" + length + bytes([len(body)]) + body)
    without_version = tlv(0x30, tlv(0x30, *bare()[1:]))
    doubled_version = tlv(0x30, tlv(0x30, bare()[0], *bare()))
    key_too_long = tlv(0x30, tlv(0x30, *bare(key=b"\x30\x05key")), b"\0\0")
    key_outside = tlv(0x30, tlv(0x30, *bare()[:-1]), key)
    for certificate_ in (without_version, doubled_version, key_too_long, key_outside):
        with pytest.raises(ServerIdentityError):
            peer_key_hash(certificate_)


def test_the_clients_context() -> None:
    context = client_context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_NONE)
    assert context.options & ssl.OP_NO_TICKET and context.options & ssl.OP_NO_COMPRESSION
