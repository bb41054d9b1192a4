"""SSHSIG against the real ssh-keygen, in both directions, and against everything that is not one."""

from __future__ import annotations

import binascii
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.identity.keys import make_blob, parse_public_line
from remote_shell.identity.private_keys import PrivateKeyFile
from remote_shell.identity.signers import FileSigner
from remote_shell.identity.ssh_strings import Reader, pack_string, pack_u32
from remote_shell.identity.sshsig import NAMESPACE, signed_data, verify
from tests.identity.conftest import KeyMaker

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
BLOB = make_blob(KEY.public_key().public_bytes_raw())
NAMES = st.text(st.characters(codec="utf-8"))
MESSAGE = b"a transcript"
SIGNATURE = KEY.sign(signed_data(NAMESPACE, MESSAGE))


def signature_of(armoured: str) -> bytes:
    """The 64 bytes in a file of ssh-keygen -Y sign."""
    body = "".join(line for line in armoured.splitlines() if not line.startswith("-----"))
    reader = Reader(binascii.a2b_base64(body))
    assert (reader.take(6), reader.u32()) == (b"SSHSIG", 1)
    for _ in range(4):  # key, namespace, reserved, hash
        reader.string()
    signature = Reader(reader.string())
    assert signature.string() == b"ssh-ed25519"
    return signature.string()


def test_what_ssh_keygen_signs_verifies_here(keygen: KeyMaker, tmp_path: Path) -> None:
    key = keygen("key")
    (tmp_path / "message").write_bytes(MESSAGE)
    for namespace, holds in [(NAMESPACE, True), ("file", False)]:
        line = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(key), "-n", namespace, str(tmp_path / "message")]
        subprocess.run(line, check=True, capture_output=True, timeout=20)
        signature = signature_of((tmp_path / "message.sig").read_text())
        blob = parse_public_line(key.with_suffix(".pub").read_text()).blob
        assert verify(blob, signature, MESSAGE) is holds
        assert verify(blob, signature, MESSAGE, namespace)
        (tmp_path / "message.sig").unlink()


@pytest.mark.parametrize(("namespace", "holds"), [(NAMESPACE, True), ("git", False)])
def test_what_we_sign_ssh_keygen_verifies_in_our_namespace_alone(
    keygen: KeyMaker, tmp_path: Path, namespace: str, holds: bool
) -> None:
    file = PrivateKeyFile.read(str(keygen("key")))
    assert file is not None
    signature = FileSigner(file).sign(signed_data(NAMESPACE, MESSAGE))
    whole = b"SSHSIG" + pack_u32(1) + pack_string(file.public.blob) + pack_string(NAMESPACE.encode())
    whole += pack_string(b"") + pack_string(b"sha512")
    whole += pack_string(pack_string(b"ssh-ed25519") + pack_string(signature))
    body = binascii.b2a_base64(whole).decode()
    (tmp_path / "sig").write_text(f"-----BEGIN SSH SIGNATURE-----\n{body}-----END SSH SIGNATURE-----\n")
    (tmp_path / "allowed").write_text(f"me {file.public.line()}\n")
    line = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "me", "-n", namespace, "-s", "sig"]
    done = subprocess.run(line, input=MESSAGE, capture_output=True, cwd=tmp_path, timeout=20)
    assert (done.returncode == 0) is holds


def test_the_right_signature_and_all_that_is_near_it() -> None:
    assert verify(BLOB, SIGNATURE, MESSAGE)
    assert not verify(BLOB, SIGNATURE, MESSAGE + b"x")
    assert not verify(BLOB, SIGNATURE, MESSAGE, "file")
    assert not verify(BLOB, KEY.sign(MESSAGE), MESSAGE)  # a bare signature, as an ssh login's is
    assert not verify(make_blob(bytes(range(32))), SIGNATURE, MESSAGE)
    for position in range(64):
        assert not verify(
            BLOB, SIGNATURE[:position] + bytes([SIGNATURE[position] ^ 1]) + SIGNATURE[position + 1 :], MESSAGE
        )
    for length in (0, 63, 65):
        assert not verify(BLOB, (SIGNATURE * 2)[:length], MESSAGE)


def test_a_second_spelling_of_the_signature_is_refused() -> None:
    """S + L verifies under a careless implementation (RFC 8032 section 8.4)."""
    order = 2**252 + 27742317777372353535851937790883648493
    larger = (int.from_bytes(SIGNATURE[32:], "little") + order).to_bytes(32, "little")
    assert not verify(BLOB, SIGNATURE[:32] + larger, MESSAGE)


def test_a_worthless_key_never_verifies() -> None:
    zeros = pack_string(b"ssh-ed25519") + pack_string(bytes(32))
    forged = (1).to_bytes(32, "little") + bytes(32)
    assert not any(verify(zeros, forged, str(number).encode()) for number in range(64))


@given(st.binary(max_size=80), st.binary(max_size=80) | st.binary(min_size=64, max_size=64), st.binary())
def test_garbage_is_false(blob: bytes, signature: bytes, message: bytes) -> None:
    assert verify(blob, signature, message) is False
    assert verify(make_blob(blob[:32].ljust(32, b"x")), signature, message) is False
    assert verify(BLOB, signature, message) is False


@given(st.binary(), st.binary(), NAMES, NAMES)
def test_different_questions_have_different_texts(one: bytes, other: bytes, here: str, there: str) -> None:
    assert (signed_data(here, one) == signed_data(there, other)) is ((here, one) == (there, other))
