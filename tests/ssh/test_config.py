"""ssh's own files: which lines are about a host; compared with `ssh -G` where ssh is installed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from remote_shell.errors import ConfigError
from remote_shell.ssh.config import read_config
from remote_shell.ssh.settings import Settings

LINES = """
# before any Host: for all
ConnectTimeout 7
Host box
    HostName box.example
    User deploy
    Port 2222
    IdentityFile ~/.ssh/one
    IdentityFile ~/.ssh/two
Host *.inside !secret.inside
    User inside
    HostName %h.example
Host b? "with blank" 10.0.0.*
    User short
Host secret.*
    HostName hidden
Host *
    User all
    RequestTTY no
    BatchMode yes
"""
HOSTS = ["box", "a.inside", "secret.inside", "b1", "b12", "10.0.0.7", "with blank", "other", "BOX"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config"
    path.write_text(LINES)
    return path


def read(path: Path | str, host: str) -> Settings:
    settings = Settings()
    read_config(settings, host, str(path))
    return settings


def test_the_first_value_of_each_counts(file: Path) -> None:
    settings = read(file, "box")
    assert settings.text("hostname") == "box.example" and settings.text("user") == "deploy"
    assert settings.file_identities == ["~/.ssh/one", "~/.ssh/two"]
    assert settings.connect_timeout == 7 and settings.flag("batchmode") and settings.terminal == "no"


def test_the_command_line_wins(file: Path) -> None:
    settings = Settings()
    settings.add_option("User=me")
    settings.add_option("BatchMode=no")
    read_config(settings, "box", str(file))
    assert settings.text("user") == "me" and not settings.flag("batchmode")


def test_a_port_is_sshds(file: Path) -> None:
    settings = read(file, "box")
    assert settings.port is None
    assert any("line 7: Port is passed over: it is sshd's" in note for note in settings.notes)


@pytest.mark.parametrize("host", HOSTS[:6] + HOSTS[7:])  # ssh takes no blank in a host
def test_ssh_reads_the_same(host: str, file: Path) -> None:
    done = subprocess.run(["ssh", "-F", str(file), "-G", host], capture_output=True, text=True, check=True)
    theirs: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        theirs.setdefault(keyword, []).append(value)
    settings = read(file, host)
    ours = (settings.text("hostname") or "%h").replace("%h", host).lower()
    assert theirs["hostname"] == [ours] or theirs["hostname"] == [ours.replace("box", "BOX")]
    assert theirs["user"] == [settings.text("user")]
    assert theirs["batchmode"] == ["yes" if settings.flag("batchmode") else "no"]
    if settings.file_identities:
        assert theirs["identityfile"] == settings.file_identities
    assert theirs["connecttimeout"] == ["7"] and theirs["requesttty"] == ["false"]


def test_include(tmp_path: Path, file: Path) -> None:
    """Into the block that it stands in, sorted, and with blocks of its own that end with the file."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "2").write_text("User second\nHost other\nRequestTTY force\n")
    (tmp_path / "d" / "1").write_text("User first\n")
    file.write_text(f"Host box\nInclude {tmp_path}/d/* {tmp_path}/none\nBatchMode yes\nHost *\nConnectTimeout 3\n")
    settings = read(file, "box")
    assert settings.text("user") == "first" and settings.flag("batchmode") and settings.connect_timeout == 3
    assert settings.terminal == "auto"
    assert read(file, "other").text("user") == ""


def test_include_counts_from_the_folder_of_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".ssh"
    folder.mkdir()
    (folder / "config").write_text("Include more ~/.ssh/third\n")
    (folder / "more").write_text("User more\n")
    (folder / "third").write_text("BatchMode yes\n")
    settings = Settings()
    read_config(settings, "h", system=str(tmp_path / "none"))
    assert settings.text("user") == "more" and settings.flag("batchmode")


def test_the_systems_file_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("User mine\n")
    system = tmp_path / "ssh_config"
    system.write_text("User systems\nConnectTimeout 2\nInclude d/*.conf\n")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x.conf").write_text("BatchMode yes\n")
    settings = Settings()
    read_config(settings, "h", system=str(system))
    assert settings.text("user") == "mine" and settings.connect_timeout == 2 and settings.flag("batchmode")


def test_without_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = Settings()
    read_config(settings, "h", system=str(tmp_path / "none"))
    looked_for = [
        str(tmp_path / ".ssh/config"),
        str(tmp_path / "none"),
    ]  # one that is made later is another state of things
    assert vars(settings) == vars(Settings()) | {"files": looked_for}


@pytest.mark.parametrize("path", ["none", "/dev/null"])
def test_no_file_at_all(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("User mine\n")
    assert read(path, "h").text("user") == ""


def test_a_match_block_is_passed_over_and_told(file: Path) -> None:
    file.write_text("Match host box\nUser wrong\nMatch exec 'touch /x'\nUser wrong\nHost *\nUser right\n")
    settings = read(file, "box")
    assert settings.text("user") == "right"
    assert sum("a Match block is passed over" in note for note in settings.notes) == 2


@pytest.mark.parametrize("keyword", ["ProxyJump bastion", "ProxyCommand nc %h %p", "RefuseConnection 'no more'"])
def test_what_leads_elsewhere_is_refused(keyword: str, file: Path) -> None:
    file.write_text(f"Host box\n{keyword}\n")
    with pytest.raises(ConfigError, match=r"config, line 2: \w+ is refused"):
        read(file, "box")
    assert read(file, "other").text("user") == ""


def test_none_before_it_takes_it_back(file: Path) -> None:
    file.write_text("Host box\nProxyJump none\nHost *\nProxyJump bastion\n")
    read(file, "box")
    with pytest.raises(ConfigError):
        read(file, "other")
    settings = Settings()
    settings.add_option("ProxyJump=none")
    read_config(settings, "other", str(file))


@pytest.mark.parametrize("line", ["ForwardAgent yes", "DynamicForward 1080", "Tunnel yes", "PKCS11Provider /x"])
def test_what_would_only_grant_less_is_passed_over_and_told(line: str, file: Path) -> None:
    file.write_text(f"{line}\nUser me\n")
    settings = read(file, "h")
    assert settings.text("user") == "me" and len(settings.notes) == 1
    assert "line 1" in settings.notes[0] and "passed over" in settings.notes[0]


def test_an_unknown_keyword_is_passed_over(file: Path) -> None:
    """A newer ssh has more of them."""
    file.write_text("FromTheFuture yes\nUser me\n")
    settings = read(file, "h")
    assert settings.text("user") == "me" and "fromthefuture" in settings.notes[0]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("User 'me\n", "line 1: .*not closed"),
        ("\nUser\n", "line 2: User needs a value"),
        ("ConnectTimeout soon\n", "line 1: ConnectTimeout takes a number of seconds"),
        ("BatchMode perhaps\n", "line 1: BatchMode takes yes or no"),
        ("SetEnv x\n", "line 1: SetEnv takes NAME=VALUE"),
    ],
)
def test_a_bad_line_is_named(text: str, line: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=line):
        read(file, "h")


def test_a_file_that_includes_itself(file: Path) -> None:
    file.write_text(f"Include {file}\n")
    with pytest.raises(ConfigError, match="include itself"):
        read(file, "h")
    file.write_text(f"Include {file} {file}\n")
    with pytest.raises(ConfigError, match="include itself"):
        read(file, "h")


def test_a_file_that_others_may_write_is_not_believed(file: Path) -> None:
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="writable by others"):
        read(file, "box")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="which -F names"):
        read(tmp_path / "none", "h")


def test_bytes_that_are_not_utf_8_pass(file: Path) -> None:
    file.write_bytes(b"# caf\xe9\nIdentityFile /k\xff\n")
    assert os.fsencode(read(file, "h").file_identities[0]) == b"/k\xff"
