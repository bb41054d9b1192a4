"""`keys show`: lines to copy, and nothing secret but what was asked for."""

from __future__ import annotations

import subprocess
from pathlib import Path

from remote_shell.identity.authorized import AuthorizedKeys
from remote_shell.identity.private_keys import make_key_file
from remote_shell.identity.secrets import parse_line
from remote_shell.identity.server_identity import ServerIdentity
from tests.cli.program import call, one_line


def test_the_first_call_makes_a_key_and_the_output_is_an_authorized_keys_file(tmp_path: Path) -> None:
    done = call("keys", "show", home=tmp_path)
    assert done.returncode == 0 and not done.stderr
    listed = tmp_path / "authorized_keys"
    listed.write_bytes(done.stdout)
    listed.chmod(0o600)
    (entry,) = AuthorizedKeys(str(listed)).entries()
    text = done.stdout.decode()
    assert entry.public.fingerprint in text and str(tmp_path / "id_ed25519") in text
    assert "PRIVATE" not in text
    assert call("keys", "show", home=tmp_path).stdout == done.stdout


def test_a_named_key_with_a_passphrase_is_shown_without_asking(tmp_path: Path) -> None:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-C", "me@there", "-f", path], check=True)
    done = call("keys", "show", "--identity", str(path), home=tmp_path)
    assert Path(f"{path}.pub").read_text().split()[1] in done.stdout.decode()
    assert "has a passphrase" in done.stdout.decode()


def test_a_comment_can_not_write_to_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "key"
    make_key_file(str(path), "me\x1b[31m\nssh-ed25519 AAAA")
    done = call("keys", "show", "--identity", str(path), home=tmp_path)
    lines = [line for line in done.stdout.decode().splitlines() if not line.startswith("#")]
    assert len(lines) == 1 and lines[0].isprintable()


def test_the_servers_own_fingerprint_is_shown_if_there_is_one(tmp_path: Path) -> None:
    assert b"what a server started here" not in call("keys", "show", home=tmp_path).stdout
    (tmp_path / "state").mkdir(mode=0o700, exist_ok=True)
    identity = ServerIdentity.load(str(tmp_path / "state" / "server_key"))
    assert identity.fingerprint in call("keys", "show", home=tmp_path).stdout.decode()


def test_a_new_secret_is_one_line_that_a_server_takes(tmp_path: Path) -> None:
    done = call("keys", "show", "--new-secret", "ci", home=tmp_path)
    secret = parse_line(done.stdout.decode().strip())
    assert secret.name == "ci" and len(secret.key) == 32
    assert call("keys", "show", "--new-secret", "ci", home=tmp_path).stdout != done.stdout
    assert list(tmp_path.iterdir()) == [], "no copy is kept"
    bad = call("keys", "show", "--new-secret", "../ci", home=tmp_path)
    assert bad.returncode == 125 and "name" in one_line(bad.stderr)


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    done = call("keys", "show", "--identity", str(tmp_path / "none"), home=tmp_path)
    assert done.returncode == 125
    assert "there is no key file" in one_line(done.stderr) and "ssh-keygen" in one_line(done.stderr)


def test_an_unknown_verb(tmp_path: Path) -> None:
    done = call("keys", "shwo", home=tmp_path)
    assert done.returncode == 2 and "show" in one_line(done.stderr)
