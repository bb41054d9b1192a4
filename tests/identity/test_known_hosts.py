"""known_hosts: known, unknown, changed; many writers; and texts that say what to type."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shlex
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remote_shell.config.fingerprints import format_fingerprint
from remote_shell.config.targets import parse_target
from remote_shell.errors import ConfigError, RemoteShellError, ServerKeyChangedError, UnknownServerError, UsageError
from remote_shell.identity import known_hosts
from remote_shell.identity.known_hosts import KnownHosts, check_pin
from remote_shell.limits import DEFAULT_LIMITS
from tests.config.account import as_nobody, give, nobodys_folder

OLD = format_fingerprint(bytes(32))
NEW = format_fingerprint(bytes(range(32)))
HOST = parse_target("box").address


@pytest.fixture
def hosts(tmp_path: Path) -> KnownHosts:
    return KnownHosts(str(tmp_path / "known hosts"))


def test_unknown_known_changed(hosts: KnownHosts) -> None:
    assert hosts.check(HOST, OLD) == "unknown"
    hosts.add(HOST, OLD)
    assert hosts.check(HOST, OLD) == "known"
    assert hosts.check(HOST, NEW) == "changed"
    assert hosts.check("box:1", OLD) == "unknown"
    assert hosts.check("[::1]:8822", OLD) == "unknown"
    hosts.require(HOST, OLD)
    assert Path(hosts.path).read_text() == f"box:8822 {OLD}\n"
    assert stat.S_IMODE(os.stat(hosts.path).st_mode) == 0o600


def test_the_default_file(home: Path) -> None:
    assert KnownHosts().path == str(home / "remote-shell" / "known_hosts")


def test_a_person_s_file(hosts: KnownHosts) -> None:
    Path(hosts.path).write_text(f"# servers\n\n BOX:8822\t{NEW}=\nbox:8822 {OLD}")
    assert hosts.check(HOST, OLD) == hosts.check(HOST, NEW) == "known"  # while a key is changed, both count
    hosts.add("other:1", OLD)  # after a line without its end
    assert Path(hosts.path).read_text().endswith(f"box:8822 {OLD}\nother:1 {OLD}\n")


def test_adding_twice_is_one_line_and_adding_another_key_is_refused(hosts: KnownHosts) -> None:
    hosts.add(HOST, OLD)
    hosts.add(HOST, OLD)
    assert Path(hosts.path).read_text().count("\n") == 1
    with pytest.raises(ServerKeyChangedError):
        hosts.add(HOST, NEW)
    assert hosts.check(HOST, NEW) == "changed"


def test_the_text_for_an_unknown_server(hosts: KnownHosts) -> None:
    with pytest.raises(UnknownServerError, match=f"{HOST} is not known .* no terminal .* --fingerprint {NEW}"):
        hosts.require(HOST, NEW)


def test_the_text_for_a_changed_server_mends_it_when_typed(hosts: KnownHosts) -> None:
    hosts.add("first:1", OLD)
    hosts.add(HOST, OLD)
    hosts.add("last:1", OLD)
    with pytest.raises(ServerKeyChangedError, match=f"CHANGED. It shows {NEW}; .*, line 2, has {OLD}") as caught:
        hosts.require(HOST, NEW)
    line = str(caught.value).rpartition("forget the old one: ")[2]
    assert shlex.split(line)[:2] == ["sed", "-i"]
    subprocess.run(line, shell=True, check=True, timeout=20)
    assert hosts.check(HOST, NEW) == "unknown" and hosts.check("last:1", OLD) == "known"


def test_the_text_for_several_lines_of_one_server(hosts: KnownHosts) -> None:
    third = format_fingerprint(b"\xff" * 32)
    Path(hosts.path).write_text(f"{HOST} {OLD}\nother:1 {OLD}\n{HOST} {third}\n")
    with pytest.raises(ServerKeyChangedError) as caught:
        hosts.require(HOST, NEW)
    subprocess.run(str(caught.value).rpartition("forget the old one: ")[2], shell=True, check=True, timeout=20)
    assert Path(hosts.path).read_text() == f"other:1 {OLD}\n"


def test_a_pin() -> None:
    check_pin(HOST, OLD, OLD)
    with pytest.raises(ServerKeyChangedError, match=f"shows the key {NEW}, but {OLD} is asked for"):
        check_pin(HOST, OLD, NEW)


@pytest.mark.parametrize("line", [f"{HOST}", f"{HOST} {OLD} x", f"{HOST} {OLD[:-1]}", "\x1b[31m"])
def test_a_damaged_line_is_an_error_and_not_a_first_contact(hosts: KnownHosts, line: str) -> None:
    Path(hosts.path).write_text(f"other:1 {OLD}\n{line}\n")
    for question in (hosts.check, hosts.require, hosts.add):
        with pytest.raises(ConfigError, match="line 2: not HOST:PORT and SHA256:...; .*: sed -i 2d '") as caught:
            question(HOST, NEW)
        assert str(caught.value).isprintable()
    subprocess.run(str(caught.value).rpartition("delete it: ")[2], shell=True, check=True, timeout=20)
    assert hosts.check("other:1", OLD) == "known"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(st.characters(codec="utf-8")))
def test_any_file_gives_an_answer_or_our_error(hosts: KnownHosts, text: str) -> None:
    Path(hosts.path).write_text(text)
    try:
        assert hosts.check(HOST, OLD) in ("unknown", "known", "changed")
    except RemoteShellError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize("address", ["", "a b:1", "a:1\nb:2", "#a:1"])
def test_an_address_that_would_break_the_file_is_refused(hosts: KnownHosts, address: str) -> None:
    with pytest.raises(UsageError):
        hosts.add(address, OLD)
    with pytest.raises(UsageError):
        hosts.add(HOST, "SHA256:x")
    assert not os.path.exists(hosts.path)


def test_a_file_that_others_may_write_is_refused(hosts: KnownHosts) -> None:
    hosts.add(HOST, OLD)
    os.chmod(hosts.path, 0o622)
    with pytest.raises(ConfigError, match="chmod go-w"):
        hosts.check(HOST, OLD)
    with pytest.raises(ConfigError, match="chmod go-w"):
        hosts.add("other:1", OLD)


def test_many_writers_at_once_lose_nothing(hosts: KnownHosts) -> None:
    barrier = threading.Barrier(8)

    def write(number: int) -> None:
        barrier.wait()
        for turn in range(5):
            KnownHosts(hosts.path).add(f"host{number}:{turn}", OLD)
            KnownHosts(hosts.path).add("shared:1", OLD)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = Path(hosts.path).read_text().splitlines()
    assert len(lines) == len(set(lines)) == 41


def test_a_lock_is_not_waited_for_without_end(hosts: KnownHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts.add(HOST, OLD)
    monkeypatch.setattr(known_hosts, "DEFAULT_LIMITS", dataclasses.replace(DEFAULT_LIMITS, file_lock_time=0.05))
    with open(hosts.path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="locked by another process"):
            hosts.add("other:1", OLD)
        assert hosts.check(HOST, OLD) == "known"  # reading waits for nobody


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file .*--known-hosts"):
        KnownHosts(str(tmp_path / "missing" / "file")).add(HOST, OLD)
    with nobodys_folder() as folder:
        give(folder, 0o500)
        answer = as_nobody(lambda: KnownHosts(f"{folder}/file").add(HOST, OLD))
        assert answer.startswith(f"ConfigError: can't write {folder}/file: Permission denied")
