"""Where a command line leads: hosts.toml first, then ssh's own files, and never sshd's port."""

from __future__ import annotations

import getpass
import os
import subprocess
from pathlib import Path

import pytest

from remote_shell.errors import ConfigError, UsageError
from remote_shell.identity.private_keys import make_key_file
from remote_shell.ssh.options import parse
from remote_shell.ssh.places import Destination, Place, find, parse_destination

HOSTS = """
[hosts.box]
target = "tls:boxes.example:9000"
identity = "keys/box"
fingerprint = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
[hosts.mine]
target = "me@10.0.0.7"
[hosts.shared]
target = "tls:10.0.0.8:1"
secret_file = "secret"
[hosts.here]
target = "unix:/run/x"
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """HOME and our settings, with hosts.toml and an ssh config of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(tmp_path / "rs"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / "rs").mkdir(mode=0o700)
    (tmp_path / "rs" / "hosts.toml").write_text(HOSTS)
    (tmp_path / ".ssh").mkdir(mode=0o700)
    return tmp_path


def place(*words: str) -> Place:
    return find(parse(list(words)), system="/nonexistent/ssh_config")


def config(home: Path, text: str) -> None:
    (home / ".ssh" / "config").write_text(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("h", ("h", "", "")),
        ("u@h", ("h", "u", "")),
        ("u@v@h", ("h", "u@v", "")),
        ("::1", ("::1", "", "")),
        ("ssh://h", ("h", "", "")),
        ("ssh://h/", ("h", "", "")),
        ("ssh://u@h:22", ("h", "u", "22")),
        ("SSH://u@h", ("h", "u", "")),
        ("ssh://u%40v@[::1]:22/", ("::1", "u@v", "22")),
        ("ssh://u;fingerprint=x@h", ("h", "u", "")),
        ("tls:h:9", ("tls:h:9", "", "")),
        ("unix:/a@b", ("unix:/a@b", "", "")),
    ],
)
def test_destinations(text: str, parts: tuple[str, str, str]) -> None:
    assert parse_destination(text) == Destination(*parts)


@pytest.mark.parametrize(
    "text",
    ["", "@h", "u@", "-h", "u@-h", "ssh://", "ssh://h/path", "ssh://h:", "ssh://h:1:2", "ssh://[::1", "ssh://[::1]x"],
)
def test_what_is_no_destination(text: str) -> None:
    with pytest.raises(UsageError, match="bad host"):
        parse_destination(text)


# --- hosts.toml


def test_a_name_of_ours_brings_everything(home: Path) -> None:
    config(home, "Host box\nHostName wrong\nUser wrong\nProxyJump wrong\n")
    found = place("box")
    assert str(found.target) == "tls:boxes.example:9000"
    assert found.options["identity"] == str(home / "rs" / "keys" / "box")
    assert found.options["fingerprint"].startswith("SHA256:AAAA")


def test_what_is_typed_changes_it() -> None:
    found = place("-p", "7", "-l", "you", "-i", "/key", "-o", "ConnectTimeout=3", "shared")
    assert str(found.target) == "tls:you@10.0.0.8:7"
    assert found.options == {
        "identity": "/key",
        "secret_file": None,
        "fingerprint": None,
        "connect_timeout": 3.0,
    }
    assert place("shared").options["secret_file"] is not None


def test_the_account() -> None:
    assert place("mine").target.user == "me"
    assert place("you@mine").target.user == "you"
    assert place("-l", "first", "you@mine").target.user == "first"
    assert place("you@here").target.user == "you" and place("you@here").target.path == "/run/x"


@pytest.mark.parametrize("user", ["a b", "a:b", "-x", "a\x07"])
def test_what_is_no_account(user: str) -> None:
    with pytest.raises(UsageError, match="no account name"):
        place("-l", user, "mine")


def test_a_socket_has_no_port() -> None:
    with pytest.raises(UsageError, match="has no port; leave -p away"):
        place("-p", "22", "here")


# --- hosts


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (["h.example"], "tls:h.example:8822"),
        (["H.Example"], "tls:h.example:8822"),
        (["-p", "9", "h.example"], "tls:h.example:9"),
        (["-p", "22", "h.example"], "tls:h.example:22"),
        (["ssh://u@h.example:9"], "tls:u@h.example:9"),
        (["-p", "7", "ssh://h.example:9"], "tls:h.example:7"),
        (["::1"], "tls:[::1]:8822"),
        (["ssh://[::1]:9"], "tls:[::1]:9"),
        (["10.0.0.1"], "tls:10.0.0.1:8822"),
        (["tls:h.example:9"], "tls:h.example:9"),
        (["unix:/x"], "unix:/x"),
    ],
)
def test_the_port_is_ours_unless_it_was_typed(words: list[str], target: str) -> None:
    assert str(place(*words).target) == target


def test_ssh_s_own_file_gives_address_and_account_but_no_port(home: Path) -> None:
    config(home, "Host box2\nHostName %h.example\nUser deploy\nPort 2222\n")
    found = place("box2")
    assert str(found.target) == "tls:deploy@box2.example:8822" and found.name == "box2"
    assert str(place("-p", "5", "me@box2").target) == "tls:me@box2.example:5"


def test_a_jump_host_is_refused_with_what_to_do(home: Path) -> None:
    config(home, "Host far\nProxyJump bastion\n")
    with pytest.raises(ConfigError, match=r"line 2: ProxyJump is refused: .* in hosts\.toml"):
        place("far")
    assert place("-o", "ProxyJump=none", "far").target.host == "far"


def test_another_file(home: Path) -> None:
    config(home, "HostName wrong\n")
    (home / "other").write_text("HostName right\n")
    assert place("-F", str(home / "other"), "h").target.host == "right"
    assert place("-F", "none", "h").target.host == "h"


def test_signs_that_are_not_known(home: Path) -> None:
    config(home, "HostName %k\n")
    with pytest.raises(UsageError, match="%k is not known here"):
        place("h")
    config(home, "HostName a%%h\n")
    with pytest.raises(UsageError, match="can't hold '%'"):
        place("h")


# --- keys


def test_of_several_keys_that_are_typed_the_first_that_is_there(home: Path) -> None:
    (home / "two").write_text("")
    assert place("-i", "none", "-i", "~/one", "-i", "~/two", "-i", "~/three", "h").options["identity"] == str(
        home / "two"
    )
    assert place("-i", "~/one", "h").options["identity"] == str(home / "one"), "its absence is told at the login"


def test_keys_of_a_file_are_tried_for_what_they_are(home: Path) -> None:
    """ssh's own file names RSA keys and such that are not there; a host must not be out of reach for that."""
    good = str(home / "good")
    make_key_file(good, "x")
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", home / "rsa"], check=True)
    config(home, f"IdentityFile ~/none\nIdentityFile %d/rsa\nIdentityFile {good}\n")
    line = parse(["h"])
    found = find(line, system="/nonexistent")
    assert found.options["identity"] == good
    assert sum("a key is passed over" in note for note in line.settings.notes) == 2
    config(home, "IdentityFile ~/none\nIdentityFile %d/rsa\n")
    assert place("h").options["identity"] is None
    config(home, f"IdentityFile {good}\n")
    assert place("-i", "/typed", "h").options["identity"] == "/typed"


def test_signs_in_the_name_of_a_key(home: Path) -> None:
    me = getpass.getuser()
    found = place("-p", "7", "-i", "/k/%h-%n-%p-%r-%u-%i-%%-%d", "you@h.example")
    assert found.identities == [f"/k/h.example-h.example-7-you-{me}-{os.getuid()}-%-{home}"]


def test_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/theirs")
    place("-o", "IdentityAgent=SSH_AUTH_SOCK", "here")
    assert os.environ["SSH_AUTH_SOCK"] == "/theirs"
    place("-o", "IdentityAgent=/mine", "here")
    assert os.environ["SSH_AUTH_SOCK"] == "/mine"
    monkeypatch.setenv("OTHER", "/other")
    place("-o", "IdentityAgent=$OTHER", "here")
    assert os.environ["SSH_AUTH_SOCK"] == "/other"
    place("-o", "IdentityAgent=none", "here")
    assert "SSH_AUTH_SOCK" not in os.environ
