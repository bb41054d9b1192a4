"""Key files: ssh-keygen's, ours read by ssh-keygen, damaged ones, and those that others may read."""

from __future__ import annotations

import binascii
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remote_shell.errors import IdentityError
from remote_shell.identity import private_keys
from remote_shell.identity.keys import parse_public_line
from remote_shell.identity.private_keys import PrivateKeyFile, WrongPassphraseError, make_key_file, public_of
from remote_shell.identity.ssh_strings import pack_string, pack_u32
from tests.config.account import as_nobody, give, nobodys_folder
from tests.identity.conftest import KeyMaker


def read(path: Path) -> PrivateKeyFile:
    file = PrivateKeyFile.read(str(path))
    assert file is not None
    return file


def test_a_plain_key_of_ssh_keygen(keygen: KeyMaker) -> None:
    path = keygen("key", comment="my key")
    file = read(path)
    assert not file.encrypted
    assert file.public.blob == parse_public_line(path.with_suffix(".pub").read_text()).blob
    assert file.public.comment == "my key"
    assert public_of(file.unlock()) == file.public.raw
    assert public_of(file.unlock("not needed")) == file.public.raw


@pytest.mark.parametrize("cipher", ["aes256-ctr", "aes256-gcm@openssh.com"])
def test_an_encrypted_key_shows_its_public_half_and_opens_with_its_passphrase(keygen: KeyMaker, cipher: str) -> None:
    path = keygen("key", "-Z", cipher, "-a", "1", passphrase="pass wörd")
    file = read(path)
    assert file.encrypted
    assert file.public.blob == parse_public_line(path.with_suffix(".pub").read_text()).blob
    assert public_of(file.unlock("pass wörd")) == file.public.raw
    for wrong in ("other", "", None, "\udcff", "x" * 1000):
        with pytest.raises(WrongPassphraseError, match="does not open"):
            file.unlock(wrong)


def test_a_cipher_that_is_not_known_names_the_cure(keygen: KeyMaker) -> None:
    path = keygen("key", "-Z", "chacha20-poly1305@openssh.com", "-a", "1", passphrase="secret phrase")
    with pytest.raises(IdentityError, match="ssh-keygen -p -Z aes256-ctr -f ") as caught:
        read(path).unlock("secret phrase")
    assert "secret phrase" not in str(caught.value)
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-Z", "aes256-ctr", "-P", "secret phrase", "-N", "secret phrase", "-f", str(path)],
        check=True,
        capture_output=True,
        timeout=20,
    )
    assert read(path).unlock("secret phrase")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("-t", "rsa"), "type 'ssh-rsa'; only Ed25519 .* ssh-keygen -t ed25519"),
        (("-t", "ecdsa"), "type 'ecdsa-sha2-nistp256'"),
        (("-t", "rsa", "-m", "PEM"), "is an RSA key"),
        (("-t", "ecdsa", "-m", "PEM"), "is an ECDSA key"),
        (("-t", "rsa", "-m", "PKCS8"), "is in PKCS#8 format"),
    ],
)
def test_other_kinds_say_what_to_make(keygen: KeyMaker, options: tuple[str, ...], word: str) -> None:
    with pytest.raises(IdentityError, match=word):
        read(keygen("key", *options))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"", "is not a private key"),
        (b"hello", "is not a private key"),
        (b"PuTTY-User-Key-File-3: ssh-ed25519", "puttygen"),
        (b"ssh-ed25519 AAAA x", "is a public key"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----", "damaged or cut short"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\n!\n-----END OPENSSH PRIVATE KEY-----", "damaged or cut short"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----", "is damaged"),
    ],
)
def test_what_is_no_key(text: bytes, word: str) -> None:
    with pytest.raises(IdentityError, match=word):
        PrivateKeyFile("path", text)


def test_a_key_whose_halves_differ_is_refused(keygen: KeyMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    seed, foreign = read(keygen("key")).unlock(), read(keygen("other")).public.raw
    with monkeypatch.context() as patch:
        patch.setattr(private_keys, "public_of", lambda _: foreign)
        data = private_keys._encode(seed, "x")
    with pytest.raises(IdentityError, match="does not belong"):
        PrivateKeyFile("path", data).unlock()


def container(data: bytes) -> bytes:
    return binascii.a2b_base64(b"".join(data.splitlines()[1:-1]))


def armoured(contents: bytes) -> bytes:
    text = binascii.b2a_base64(contents)
    return b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + text + b"-----END OPENSSH PRIVATE KEY-----\n"


def test_fields_that_contradict_each_other(keygen: KeyMaker) -> None:
    whole = container(keygen("key", comment="c").read_bytes())
    start = whole.index(pack_string(b"none") * 2 + pack_string(b"")) + 20
    assert whole[start : start + 4] == pack_u32(1)
    two_keys = whole[:start] + pack_u32(2) + whole[start + 4 :]
    checks = start + 4 + 4 + 51 + 4
    assert whole[checks : checks + 4] == whole[checks + 4 : checks + 8]
    other_check = whole[:checks] + bytes([whole[checks] ^ 1]) + whole[checks + 1 :]
    assert whole[-1] > 0
    other_padding = whole[:-1] + bytes([whole[-1] ^ 0x80])
    cut = whole[:-1]
    PrivateKeyFile("path", armoured(whole))
    for damaged, word in [
        (two_keys, "more than one key"),
        (other_check, "two check numbers differ"),
        (other_padding, "is damaged"),
        (cut, "is cut short"),
    ]:
        with pytest.raises(IdentityError, match=word):
            PrivateKeyFile("path", armoured(damaged))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_file_raises_our_error_only(keygen: KeyMaker, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "key"
    whole = (path if path.exists() else keygen("key")).read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 6)))
    damaged = whole[:start] + data.draw(st.binary(max_size=6)) + whole[end:]
    try:
        PrivateKeyFile("path", damaged).unlock("x")
    except IdentityError:
        pass


def test_nothing_secret_in_a_repr(keygen: KeyMaker) -> None:
    file = read(keygen("key"))
    assert repr(file) == f"PrivateKeyFile({file.path!r}, {file.public.fingerprint})"


def test_a_missing_file_is_none(tmp_path: Path) -> None:
    assert PrivateKeyFile.read(str(tmp_path / "missing")) is None


def test_a_key_that_others_may_read_is_refused(keygen: KeyMaker) -> None:
    path = keygen("key")
    path.chmod(0o640)
    with pytest.raises(IdentityError, match=f"mode 0640.*chmod 600 {path}"):
        read(path)


def test_modes_as_an_account_without_rights() -> None:
    with nobodys_folder() as folder:
        path = Path(folder) / "key"
        make_key_file(str(path), "x")

        def fingerprint() -> str:
            return read(path).public.fingerprint

        for mode, answer in [
            (0o600, "'SHA256:"),
            (0o644, f"IdentityError: the key file {path} is open to others"),
            (0o000, f"IdentityError: can't read the key file {path}: Permission denied"),
        ]:
            give(str(path), mode)
            assert as_nobody(fingerprint).startswith(answer)


def test_our_own_file_is_read_by_ssh_keygen(tmp_path: Path) -> None:
    path = tmp_path / "own"
    file = make_key_file(str(path), "me@here")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    done = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert parse_public_line(done.stdout).blob == file.public.blob
    assert done.stdout.strip() == file.public.line() and file.public.comment == "me@here"


@pytest.mark.parametrize("length", range(9))
def test_every_length_of_padding_is_taken_by_ssh_keygen(tmp_path: Path, length: int) -> None:
    path = tmp_path / "own"
    make_key_file(str(path), "c" * length)
    assert subprocess.run(["ssh-keygen", "-y", "-f", str(path)], capture_output=True, timeout=20).returncode == 0


def test_a_key_that_is_there_stays(tmp_path: Path) -> None:
    path = str(tmp_path / "own")
    assert make_key_file(path, "x").public.blob == make_key_file(path, "x").public.blob


def test_first_starts_at_once_end_with_one_key(tmp_path: Path) -> None:
    path = str(tmp_path / "own")
    barrier = threading.Barrier(8)
    blobs: list[bytes] = []

    def start() -> None:
        barrier.wait()
        blobs.append(make_key_file(path, "x").public.blob)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(blobs) == 8 and len(set(blobs)) == 1
    assert [one.name for one in tmp_path.iterdir() if one.name != "home"] == ["own"]
