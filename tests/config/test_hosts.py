"""hosts.toml: lookup, and errors that name file, table and key."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.config.fingerprints import format_fingerprint
from remote_shell.config.hosts import load_hosts, lookup, parse_toml, resolve, shell_settings
from remote_shell.config.new_host import NewHost
from remote_shell.config.shell import ShellDefaults
from remote_shell.config.targets import Target
from remote_shell.errors import ConfigError, UsageError

PIN = format_fingerprint(bytes(range(32)))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", "/h")
    (tmp_path / "home").mkdir(mode=0o700)
    path = tmp_path / "home" / "hosts.toml"
    path.touch(mode=0o644)
    return path


def test_a_whole_table(file: Path) -> None:
    file.write_text(f"""
[hosts.build-box]
target = "10.0.0.7:8822"
identity = "~/.ssh/id_ed25519"
secret_file = "box.secret"
fingerprint = "{PIN}"
groups = ["linux", "ci"]
colour = "yellow"
production = true
allow = ["title", "clipboard"]
[hosts.small]
target = "unix:/x"
""")
    host = lookup("build-box")
    assert host is not None
    assert str(host.target) == "tls:10.0.0.7:8822"
    assert host.identity == "/h/.ssh/id_ed25519"
    assert host.secret_file == str(file.parent / "box.secret")
    assert (host.fingerprint, host.groups, host.colour, host.production) == (PIN, ("linux", "ci"), "yellow", True)
    assert host.allow == {"title", "clipboard"}
    small = lookup("small")
    assert small is not None
    assert small.allow == frozenset()
    assert (small.identity, small.groups, small.production) == (None, (), False)
    assert lookup("other") is None
    assert repr(small) == "Host('small', Target('unix:/x'))"


def test_a_host_through_ssh(file: Path) -> None:
    file.write_text('[hosts.a]\ntarget = "ssh:box"\nremote_command = "~/x y"\nidentity = "~/k"\n')
    target, host = resolve("bob@a")
    assert str(target) == "ssh:bob@box" and host is not None
    assert host.remote_command == "~/x y"  # the other side's shell expands it, not ours


def test_no_file_is_no_hosts(file: Path) -> None:
    file.unlink()
    assert load_hosts() == {}
    target, host = resolve("name")
    assert (str(target), host) == ("tls:name:8822", None)


def test_a_name_of_the_file_wins_over_a_host_name(file: Path) -> None:
    file.write_text('[hosts.box]\ntarget = "carol@10.0.0.7"\n')
    target, host = resolve("box")
    assert str(target) == "tls:carol@10.0.0.7:8822" and host is not None and target.text == "box"
    target, host = resolve("bob@box")
    assert str(target) == "tls:bob@10.0.0.7:8822" and host is not None
    assert str(resolve("box:1")[0]) == "tls:box:1"
    assert str(resolve("tls:bob@box")[0]) == "tls:bob@box:8822"
    target, host = resolve("ssh:bob@box")  # it says by itself where that is
    assert str(target) == "ssh:bob@box" and host is None
    assert resolve("tls:box")[1] is None
    with pytest.raises(UsageError):
        resolve("a b")
    with pytest.raises(UsageError):
        resolve("")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("x = 1", r"unknown key 'x'; every host is a table \[hosts.NAME\], for all of them there is \[shell\]"),
        ("hosts = 1", "'hosts' is not a table"),
        ("hosts.a = 1", r"\[hosts.a\] is not a table"),
        ("[hosts.a]", 'needs a target, such as target = "a:8822"'),
        ('[hosts.a]\ntarget = "h"\nport = 1', r"\[hosts.a\]: unknown key 'port'; known are target, identity"),
        ("[hosts.a]\ntarget = 1", "target: must be a text"),
        (
            '[hosts.a]\ntarget = ""',
            r"\[hosts.a\] target: is empty; write an address between the quotes, such as 10.0.0.7:8822",
        ),
        (
            '[hosts.a]\ntarget = "h"\nidentity = ""',
            "identity: is empty; write a file between the quotes, or leave the line",
        ),
        ('[hosts.a]\ntarget = "h"\ncolour = ""', "colour: is empty; write one of black, red"),
        ('[hosts.a]\ntarget = "h"\nfingerprint = ""', "fingerprint: is empty; write SHA256:"),
        ('[hosts.a]\ntarget = "h:0"', r"\[hosts.a\] target: bad target 'h:0'"),
        ('[hosts.a]\ntarget = "h"\nfingerprint = "SHA256:x"', r"\[hosts.a\] fingerprint: 'SHA256:x' is not"),
        ('[hosts.a]\ntarget = "h"\ncolour = "mauve"', "colour: must be one of black, red"),
        ('[hosts.a]\ntarget = "h"\nproduction = 1', "production: must be true or false"),
        ('[hosts.a]\ntarget = "h"\nallow = "title"', "allow: must be a list of title, clipboard, all"),
        ('[hosts.a]\ntarget = "h"\nallow = ["colour"]', "allow: must be a list of title, clipboard, all"),
        ('[hosts.a]\ntarget = "h"\nallow = [["title"]]', "allow: must be a list of title, clipboard, all"),
        ('[hosts.a]\ntarget = "h"\ngroups = "ci"', "groups: must be a list"),
        ('[hosts.a]\ntarget = "h"\ngroups = ["a b"]', "groups: must be a list"),
        ('[hosts.a]\ntarget = "h"\nlabel = "\\u001b"', "label: must be a text"),
        ('[hosts.a]\ntarget = "h"\nlabel = " a"', r"\[hosts.a\] label: must be at most 32 cells wide"),
        ('[hosts.a]\ntarget = "h"\nlabel = "' + "x" * 33 + '"', "label: must be at most 32 cells wide"),
        ('[hosts.a]\ntarget = "h"\nlabel = "' + "漢" * 17 + '"', "label: must be at most 32 cells wide"),
        ('[hosts.a]\ntarget = "h"\nprefix = "ab"', r"\[hosts.a\] prefix: must be one sign"),
        ('[hosts.a]\ntarget = "h"\nprefix = "x"', "prefix: must be one sign"),
        ('[hosts.a]\ntarget = "h"\non_lost = "hold"', r"\[hosts.a\] on_lost: must be one of kill, keep, ask"),
        ('[hosts.a]\ntarget = "ssh:h"\nsecret_file = "x"', r"\[hosts.a\] secret_file: not with a target ssh:"),
        (f'[hosts.a]\ntarget = "ssh:h"\nfingerprint = "{PIN}"', "fingerprint: not with a target ssh:"),
        ('[hosts.a]\ntarget = "h"\nremote_command = "x"', "remote_command: only for a target ssh:"),
        (
            '[hosts.a]\ntarget = "ssh:h"\nremote_command = ""',
            "remote_command: is empty; write where remote-shell is over there",
        ),
        ("shell = 1", r"\[shell\] is not a table"),
        ("[shell]\nprefix = 1", r"\[shell\] prefix: must be one sign"),
        ("[shell]\non_lost = true", r"\[shell\] on_lost: must be one of kill, keep, ask"),
        ("[shell]\non_lost = []", r"\[shell\] on_lost: must be one of kill, keep, ask"),
        ('[shell]\ntarget = "h"', r"\[shell\]: unknown key 'target'; known are prefix, on_lost"),
        ('[hosts."a b"]\ntarget = "h"', r"\[hosts.'a b'\]: a name has no spaces"),
        ('[hosts."\\u001b"]\ntarget = "h"', "a name has no spaces"),
        ("[hosts\n", "not TOML: .*line 1"),
        ("a = " + "[" * 100_000, "not TOML"),
        ("a = " + "9" * 10_000, "not TOML"),
    ],
)
def test_faults_name_file_table_and_key(file: Path, text: str, word: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=word) as caught:
        lookup("a")
    assert str(caught.value).startswith(str(file)) and str(caught.value).isprintable()


def test_a_file_that_others_may_write_is_refused(file: Path) -> None:
    file.chmod(0o664)
    with pytest.raises(ConfigError, match="chmod go-w"):
        lookup("a")


@given(st.text() | st.text(alphabet='[]"=.a1\n{}#', max_size=60))
def test_garbage_is_refused_by_our_error(text: str) -> None:
    try:
        parse_toml(text, "file")
    except ConfigError as error:
        assert str(error).startswith("file: not TOML")


def test_an_empty_label_is_none(file: Path) -> None:
    file.write_text('[hosts.a]\ntarget = "h"\nlabel = ""\n')
    host = lookup("a")
    assert host is not None and host.label is None


# --- what the shell takes


def test_for_the_shell_the_command_line_wins_then_the_host_then_shell(file: Path) -> None:
    assert shell_settings("a") == (":", "kill")
    file.write_text("""
[shell]
prefix = ","
on_lost = "keep"
[hosts.a]
target = "h"
label = "EU staging"
[hosts.b]
target = "h"
prefix = "%"
on_lost = "ask"
""")
    assert shell_settings("a") == shell_settings("tls:h:1") == shell_settings("unknown") == (",", "keep")
    assert shell_settings("b") == shell_settings("bob@b") == ("%", "ask")
    assert shell_settings("b", ShellDefaults(prefix="!")) == ("!", "ask")
    assert shell_settings("b", ShellDefaults(on_lost="kill")) == ("%", "kill")
    a, b = lookup("a"), lookup("b")
    assert a is not None and b is not None
    assert (a.label, a.prefix, a.on_lost, b.label, b.prefix, b.on_lost) == ("EU staging", None, None, None, "%", "ask")


# --- a new host

BOX = Target("tls", host="10.0.0.7", port=8822)


@pytest.mark.parametrize(
    "before", ["", "# mine\n[shell]\nprefix = ';'", '[hosts.a]\ntarget = "b"\n\n', 'hosts = { a = { target = "b" } }\n']
)
def test_a_new_host_leaves_what_is_there(file: Path, before: str) -> None:
    file.write_text(before)
    file.chmod(0o640)
    new = NewHost("box.home", "/k/id", PIN)
    if before.startswith("hosts ="):
        with pytest.raises(ConfigError, match='add this by hand: .hosts."box.home"'):
            new.add(BOX)
        assert file.read_text() == before
        return
    new.add(BOX)
    new.add(BOX)
    assert file.read_text().startswith(before) and stat.S_IMODE(file.stat().st_mode) == 0o640
    host = lookup("box.home")
    assert host is not None and (host.target, host.fingerprint, host.identity) == (BOX, PIN, "/k/id")
    assert len(os.listdir(file.parent)) == 1


def test_any_path_of_a_key_is_written_or_refused_before_anybody_is_asked(file: Path) -> None:
    path = '/k/a "b" \\n é'
    NewHost("box", path, PIN).add(BOX)
    host = lookup("box")
    assert host is not None and host.identity == path
    for path in ("/k/a\nb", "/k/\udcff", "/k/\x1b"):
        with pytest.raises(ConfigError, match="can't be written into hosts.toml"):
            NewHost("other", path, PIN)


def test_the_file_is_made_for_a_new_host(file: Path) -> None:
    file.unlink()
    NewHost("box", None, PIN).add(BOX)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    host = lookup("box")
    assert host is not None and host.identity is None


@pytest.mark.parametrize("name", ["", "a b", "-a", 'a"', "a]", "a\n", "a/b", "é", "x" * 65])
def test_a_new_name_that_is_none(file: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no name"):
        NewHost(name, None, PIN)


def test_a_new_name_that_is_taken(file: Path) -> None:
    file.write_text('[hosts.box]\ntarget = "b"\n')
    with pytest.raises(UsageError, match="already"):
        NewHost("box", None, PIN)


def test_many_new_hosts_at_once(file: Path) -> None:
    threads = [threading.Thread(target=NewHost(f"h{number}", None, PIN).add, args=(BOX,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(load_hosts()) == {f"h{number}" for number in range(8)}
