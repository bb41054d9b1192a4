"""Shared secrets: the format, the proofs, the files, and what is never said."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.errors import ConfigError
from remote_shell.identity.secrets import Secret, Secrets, generate, load_secret, mac, parse_line, verify
from tests.config.account import as_nobody, give, nobodys_folder

KEY = bytes(range(100, 132))
SECRET = Secret("class", KEY)


@pytest.fixture
def file(home: Path) -> Path:
    path = home / "secrets"
    path.touch(mode=0o600)
    return path


def test_generated_lines_are_read_back() -> None:
    secret = generate("a.b-c_1")
    again = parse_line(secret.line())
    assert (again.name, again.key, again.known) == ("a.b-c_1", secret.key, True)
    assert len(secret.key) == 32 and secret.key != generate("x").key
    assert secret.principal == "secret:a.b-c_1"


@given(st.binary(min_size=32, max_size=32).filter(lambda key: len(set(key)) >= 16))
def test_base64url_and_hex_are_the_same_key(key: bytes) -> None:
    line = Secret("n", key).line()
    for text in (line, f"{line}=", f"n {key.hex()}", f"  n\t{key.hex().upper()} "):
        assert parse_line(text).key == key


def test_what_openssl_makes_is_good() -> None:
    key = bytes([0xFB, 0xFF, *KEY[2:]])
    text = base64.b64encode(key).decode()
    assert "+" in text and "/" in text
    assert parse_line(f"name {text}").key == key


def test_no_key_in_a_repr() -> None:
    assert repr(SECRET) == "Secret('class')"


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("", "not a name and a key"),
        ("name", "not a name and a key"),
        ("name a phrase", "not a name and a key"),
        ("name correct-horse-battery-staple", "a phrase is too easy to guess"),
        ("name " + "x" * 42, "not 256 bits"),
        ("name " + "x" * 44, "not 256 bits"),
        ("name " + KEY.hex()[:-1] + "g", "not 256 bits"),
        ("name " + KEY.hex() + "00", "not 256 bits"),
        ("name " + SECRET.line().split()[1][:-1] + "!", "not 256 bits"),
        ("name " + SECRET.line().split()[1][:-1] + "é", "not 256 bits"),
        ("name " + "A" * 43, "not random"),
        ("name " + "0123456789abcdef" * 4, "not random"),
        ("-name " + KEY.hex(), "a secret's name has"),
        ("näme " + KEY.hex(), "a secret's name has"),
        ("n" * 65 + " " + KEY.hex(), "a secret's name has"),
    ],
)
def test_a_weak_or_damaged_line_says_how_to_make_a_good_one_and_is_not_repeated(line: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        parse_line(line)
    if "name has" not in word:
        assert "remote-shell keys show --new-secret NAME" in str(caught.value)
    for part in line.split()[1:]:
        assert part not in str(caught.value) or part == "a"


def test_unused_bits_in_base64_are_refused() -> None:
    text = Secret("n", KEY[:31] + b"\0").line()
    assert text[-1] == "A"
    with pytest.raises(ConfigError, match="not 256 bits"):
        parse_line(text[:-1] + "B")


@given(st.text())
def test_garbage_raises_our_error_only(text: str) -> None:
    for line in (text, f"name {text}", f"{text} {KEY.hex()}"):
        try:
            parse_line(line)
        except ConfigError as error:
            assert str(error).isprintable()


def test_a_proof_holds_for_its_role_transcript_and_secret_alone() -> None:
    proof = mac(SECRET, "client", b"transcript")
    assert verify(SECRET, "client", b"transcript", proof)
    assert not verify(SECRET, "server", b"transcript", proof)  # reflected
    assert not verify(SECRET, "client", b"transcripT", proof)
    assert not verify(Secret("class", bytes(32)), "client", b"transcript", proof)
    for wrong in (b"", proof[:-1], proof + b"\0", bytes(32)):
        assert not verify(SECRET, "client", b"transcript", wrong)
    with pytest.raises(ValueError, match="role is one of"):
        mac(SECRET, "clientt", b"")


def test_the_proof_as_it_is_specified() -> None:
    message = b"".join(len(part).to_bytes(4, "big") + part for part in (b"remote-shell-secret@1", b"server", b"t"))
    assert mac(SECRET, "server", b"t") == hmac.new(KEY, message, hashlib.sha256).digest()


def test_the_servers_file(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = generate("other")
    file.write_text(f"# comment\n\n{SECRET.line()}\n{other.line()}\r\nbad line here\n{generate('class').line()}\n")
    secrets = Secrets(str(file))
    assert secrets.names() == ("class", "other") and secrets.path == str(file)
    found = secrets.find("class")
    assert found.known and found.key == KEY
    texts = [record.getMessage() for record in caplog.records]
    assert texts[0].startswith(f"{file}, line 5: refused: not a name and a key")
    assert texts[1] == f"{file}, line 6: refused: the name is taken by a line above"
    file.write_text(other.line())
    assert not secrets.find("class").known and secrets.problem == ""


def test_an_unknown_name_gets_a_stand_in_under_which_nothing_is_valid(file: Path) -> None:
    secrets = Secrets(str(file))
    stranger = secrets.find("nobody\n")
    assert not stranger.known and len(stranger.key) == 32
    assert not verify(stranger, "client", b"t", mac(stranger, "client", b"t"))
    assert stranger.key == secrets.find("other").key != Secrets(str(file)).find("x").key


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_file_that_others_may_read_lets_nobody_in(file: Path, mode: int) -> None:
    file.write_text(SECRET.line())
    file.chmod(mode)
    secrets = Secrets(str(file))
    assert secrets.names() == () and "chmod 600" in secrets.problem
    with pytest.raises(ConfigError, match="chmod 600"):
        load_secret(str(file))


def test_a_missing_server_file_is_nobody(file: Path) -> None:
    file.unlink()
    assert Secrets(str(file)).names() == ()


def test_the_clients_file(file: Path) -> None:
    file.write_text(f"# mine\n{SECRET.line()}\n")
    assert load_secret(str(file)).key == KEY


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "must hold one line, and holds 0"),
        (f"{SECRET.line()}\n{SECRET.line()}", "must hold one line, and holds 2"),
        ("name hunter2", "secret file .*: the key is not 256 bits"),
        ("\udcff", "not UTF-8"),
    ],
)
def test_a_clients_file_that_is_none(file: Path, text: str, word: str) -> None:
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=word) as caught:
        load_secret(str(file))
    assert "hunter2" not in str(caught.value)


def test_a_missing_client_file_says_what_to_type(file: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"there is no secret file .*: \(umask 077; remote-shell keys show --new-secret"
    ):
        load_secret(f"{file}x")


def test_modes_as_an_account_without_rights() -> None:
    with nobodys_folder() as folder:
        path = Path(folder) / "secret"
        path.write_text(SECRET.line())
        for mode, answer in [(0o600, "Secret('class')"), (0o644, "chmod 600"), (0o000, "Permission denied")]:
            give(str(path), mode)
            assert answer in as_nobody(lambda: load_secret(str(path)))
