"""The server's key: made once, the same fingerprint whatever the certificate, and a handshake of both ends in memory."""

from __future__ import annotations

import hashlib
import os
import ssl
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from remote_shell.errors import IdentityError
from remote_shell.identity.server_identity import ServerIdentity
from remote_shell.identity.tls import client_context, peer_key_hash
from tests.config.account import as_nobody, give, nobodys_folder
from tests.identity.conftest import KeyMaker


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True))
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return ends


def test_the_key_is_made_once_in_the_state_folder(home: Path) -> None:
    first, second = ServerIdentity.load(), ServerIdentity.load()
    path = home / "remote-shell" / "state" / "server_key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first.fingerprint == second.fingerprint and len(first.key_hash) == 32
    assert repr(first) == f"ServerIdentity({first.fingerprint})"
    assert os.listdir(path.parent) == ["server_key"]


def test_the_fingerprint_is_the_hash_of_the_key_in_every_certificate() -> None:
    identity = ServerIdentity.load()
    one, other = identity.certificate(), identity.certificate()
    assert one != other
    for pem in (one, other):
        parsed = x509.load_pem_x509_certificate(pem)
        info = parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert hashlib.sha256(info).digest() == identity.key_hash == peer_key_hash(parsed.public_bytes(Encoding.DER))
        assert parsed.not_valid_after_utc.year == 9999


def test_openssl_agrees_with_the_fingerprint(tmp_path: Path) -> None:
    identity = ServerIdentity.load()
    (tmp_path / "pem").write_bytes(identity.certificate())
    line = (
        "openssl x509 -in pem -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary | base64"
    )
    done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert "SHA256:" + done.stdout.strip().rstrip("=") == identity.fingerprint


def test_both_ends_agree_on_the_key_over_tls_1_3_without_tickets() -> None:
    identity = ServerIdentity.load()
    client, server = handshake(client_context(), identity.server_context())
    seen = client.getpeercert(binary_form=True)
    assert seen is not None and peer_key_hash(seen) == identity.key_hash
    assert client.version() == server.version() == "TLSv1.3"
    server.write(b"x")
    assert client.read() == b"x"  # tickets would come with the first bytes
    assert client.session is None or not client.session.has_ticket
    assert client.compression() is None


def test_older_tls_is_refused() -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(ssl.SSLError, match="(?i)protocol|version"):
        handshake(old, ServerIdentity.load().server_context())


def test_the_private_key_is_left_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    before = set(os.listdir("/proc/self/fd"))
    context = ServerIdentity.load().server_context()
    assert set(os.listdir("/proc/self/fd")) == before
    assert os.listdir(tmp_path / "tmp") == []
    handshake(client_context(), context)


def test_a_key_of_ssh_keygen_is_taken_and_one_with_a_passphrase_is_not(keygen: KeyMaker) -> None:
    assert ServerIdentity.load(str(keygen("key"))).server_context()
    with pytest.raises(IdentityError, match="nobody is there to type it; take it off: ssh-keygen -p -f "):
        ServerIdentity.load(str(keygen("locked", "-a", "1", passphrase="right")))


def test_as_an_account_without_rights(home: Path) -> None:
    with nobodys_folder() as folder:
        path = f"{folder}/server_key"

        def load() -> str:
            ServerIdentity.load(path).server_context()
            return ServerIdentity.load(path).fingerprint

        assert as_nobody(load).startswith("'SHA256:")
        os.chmod(path, 0o644)
        assert "chmod 600" in as_nobody(load)
        os.unlink(path)
        give(folder, 0o500)
        assert as_nobody(load) == f"IdentityError: can't make the key file {path}: Permission denied"
