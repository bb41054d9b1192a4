"""Public keys: equal to what ssh-keygen says, and every other kind refused."""

from __future__ import annotations

import binascii
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.errors import IdentityError
from remote_shell.identity import keys
from remote_shell.identity.keys import PublicKey, fingerprint, make_blob, parse_public_line, raw_key
from remote_shell.identity.ssh_strings import pack_string
from tests.identity.conftest import KeyMaker

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
GOOD = make_blob(bytes(range(32)))


def line_of(blob: bytes) -> str:
    return "ssh-ed25519 " + binascii.b2a_base64(blob, newline=False).decode()


def test_same_fingerprint_and_line_as_ssh_keygen(keygen: KeyMaker) -> None:
    public = keygen("key", comment="two words").with_suffix(".pub")
    done = subprocess.run(["ssh-keygen", "-lf", str(public)], capture_output=True, text=True, check=True, timeout=20)
    key = parse_public_line(public.read_text())
    assert key.fingerprint == fingerprint(key.blob) == done.stdout.split()[1]
    assert key.comment == "two words"
    assert key.line() == public.read_text().strip()
    assert repr(key) == f"PublicKey({key.fingerprint})"
    assert make_blob(key.raw) == key.blob


def test_a_comment_never_makes_a_second_line() -> None:
    assert PublicKey(GOOD, "a\nssh-ed25519 b\x1b").line() == f"{line_of(GOOD)} a?ssh-ed25519 b?"


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_other_kinds_of_key_are_refused(keygen: KeyMaker, kind: str) -> None:
    with pytest.raises(IdentityError, match="does not begin with ssh-ed25519"):
        parse_public_line(keygen("key", "-t", kind).with_suffix(".pub").read_text())


def test_a_hardware_keys_blob_is_refused_though_cryptography_takes_it() -> None:
    blob = pack_string(b"sk-ssh-ed25519@openssh.com") + pack_string(bytes(range(32))) + pack_string(b"ssh:")
    with pytest.raises(IdentityError, match="not ssh-ed25519"):
        PublicKey(blob)
    with pytest.raises(IdentityError, match="not ssh-ed25519"):
        parse_public_line(line_of(blob))


@pytest.mark.parametrize(
    ("blob", "word"),
    [
        (b"", "cut short"),
        (GOOD[:-1], "cut short"),
        (GOOD + b"\0", "32 bytes"),
        (make_blob(bytes(31)), "32 bytes"),
        (make_blob(bytes(33)), "32 bytes"),
        (pack_string(b"ssh-ed25519-cert-v01@openssh.com") + pack_string(bytes(32)), "type"),
        (pack_string(b"ssh-\xff\x1b") + pack_string(bytes(32)), "type"),
    ],
)
def test_blobs_that_are_no_key(blob: bytes, word: str) -> None:
    with pytest.raises(IdentityError, match=word) as caught:
        raw_key(blob)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("", "does not begin"),
        ("ssh-ed25519", "no key after"),
        ("ssh-ed25519 !!!", "not base64$"),
        ("ssh-ed25519 ключ", "not base64"),
        (line_of(GOOD) + "=", "not base64"),
        (line_of(GOOD)[:-1], "cut short|32 bytes|base64"),
        ("restrict " + line_of(GOOD), "does not begin"),
        (line_of(b""), "no key after"),
    ],
)
def test_lines_that_are_no_key(line: str, word: str) -> None:
    with pytest.raises(IdentityError, match=word):
        parse_public_line(line)


def test_base64_with_unused_bits_set_is_refused() -> None:
    blob = pack_string(b"ssh-ed25519") + pack_string(bytes(31))  # 50 bytes: two unused bits... and not a key
    text = binascii.b2a_base64(blob, newline=False).decode()
    assert text.endswith("=")
    with pytest.raises(IdentityError, match="canonical"):
        parse_public_line(f"ssh-ed25519 {text[:-2]}B=")


@given(st.binary(max_size=80))
def test_garbage_raises_our_error_only(blob: bytes) -> None:
    for garbage in (blob, pack_string(b"ssh-ed25519") + blob):
        with pytest.raises(IdentityError):
            raw_key(garbage)


@given(st.text())
def test_garbage_lines_raise_our_error_only(text: str) -> None:
    for line in (text, "ssh-ed25519 " + text, "ssh-ed25519 AAAA" + text):
        with pytest.raises(IdentityError):
            parse_public_line(line)


def point_of(raw: bytes) -> tuple[int, int] | None:
    """RFC 8032 section 5.1.3, without its check that y is below p."""
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (x, y % P) if (x * x - square) % P == 0 else None


def added(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    product = D * a[0] * b[0] * a[1] * b[1]
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + product, -1, P) % P
    return x, (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P) % P


def is_of_small_order(raw: bytes) -> bool:
    point = point_of(raw)
    assert point is not None
    for _ in range(3):
        point = added(point, point)
    return point == (0, 1)


def test_the_list_of_worthless_keys_is_right_and_whole() -> None:
    for y in keys._WEAK_Y:
        for sign in (0, 1 << 255):
            raw = (y | sign).to_bytes(32, "little")
            assert is_of_small_order(raw)
            with pytest.raises(IdentityError, match="anybody can sign"):
                raw_key(make_blob(raw))
    assert len({y % P for y in keys._WEAK_Y}) == 5  # y of the points of order 1, 2, 4 (two of them), 8 (four of them)
    real = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert not is_of_small_order(real)
    assert raw_key(make_blob(real)) == real


def test_why_worthless_keys_are_refused() -> None:
    """Under the key of all zeros one signature fits about one text in four: nobody needs a private key."""
    zeros = Ed25519PublicKey.from_public_bytes(bytes(32))
    identity = (1).to_bytes(32, "little")
    fits = 0
    for number in range(64):
        try:
            zeros.verify(identity + bytes(32), str(number).encode())
        except Exception:
            continue
        fits += 1
    assert fits > 0
