"""Subsystems: the server's list decides what a name runs, and nothing else can be reached by one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_shell.client.blocking import connect
from remote_shell.client.opening import Subsystem
from remote_shell.errors import CommandNotFoundError, CommandRefusedError, UsageError
from remote_shell.server.subsystems import SFTP_SERVERS, argv_of
from remote_shell.testing import RunningServer, server

from .conftest import ALL, Place
from .raw_client import Command


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "sftp-server"
    path.write_text("")
    path.chmod(0o755)
    return str(path)


def test_sftp_is_the_first_that_is_there(program: str, tmp_path: Path) -> None:
    assert argv_of("sftp", {}, (str(tmp_path / "none"), program, "/bin/sh")) == [os.fsencode(program)]


def test_the_settings_go_before_it(program: str) -> None:
    assert argv_of("sftp", {"sftp": ["/opt/s", "-R"]}, (program,)) == [b"/opt/s", b"-R"]
    assert argv_of("backup", {"backup": ["/opt/b"]}, (program,)) == [b"/opt/b"]


@pytest.mark.parametrize("name", ["", "sftp-server", "/bin/sh", "../sftp", "SFTP", "netconf"])
def test_another_name_runs_nothing(name: str, program: str) -> None:
    with pytest.raises(CommandRefusedError, match="it has backup, sftp") as caught:
        argv_of(name, {"backup": ["/opt/b"]}, (program,))
    assert caught.value.code == "no_such_subsystem"


def test_it_can_be_taken_away(program: str) -> None:
    with pytest.raises(CommandRefusedError, match="it has none"):
        argv_of("sftp", {"sftp": []}, (program,))


def test_one_that_is_not_installed_says_what_to_install() -> None:
    with pytest.raises(CommandNotFoundError) as caught:
        argv_of("sftp", {}, ("/nowhere/sftp-server",))
    assert "openssh-sftp-server" in caught.value.detail and "[subsystems]" in caught.value.detail


# --- over the wire

SETTINGS = '[subsystems]\nsay = ["/bin/sh", "-c", "read x; echo got $x; echo $0 >&2; exit 4", "a b"]\nsftp = []\n'


@pytest.fixture(scope="module")
def with_subsystems() -> Iterator[RunningServer]:
    with server(ALL, config=SETTINGS) as running:
        yield running


def code(command: Command) -> str:
    assert command.rejected is not None and command.exit is None
    return command.rejected.code


def test_it_runs_without_a_shell_and_with_all_streams(with_subsystems: RunningServer) -> None:
    with Place(with_subsystems, "unix").connect() as client:
        done = client.run(None, subsystem="say", input=b"word\n")
        assert (done.text(1), done.text(2)) == (b"got word\n", b"a b\n")
        assert done.exit is not None and done.exit.status == 4


def test_what_is_not_listed_is_rejected(with_subsystems: RunningServer) -> None:
    with Place(with_subsystems, "unix").connect() as client:
        assert code(client.run(None, subsystem="sftp")) == "no_such_subsystem"
        assert code(client.run(None, subsystem="/bin/sh")) == "no_such_subsystem"


def test_it_goes_with_nothing_else(with_subsystems: RunningServer) -> None:
    with Place(with_subsystems, "unix").connect() as client:
        assert code(client.run(["true"], subsystem="say")) == "bad_request"
        assert code(client.run(None, line="true", subsystem="say")) == "bad_request"
        assert code(client.run(None, detach=True, line="true", subsystem="say")) == "bad_request"


def test_the_server_names_the_feature(with_subsystems: RunningServer) -> None:
    with connect(with_subsystems.targets["unix"]) as host:
        assert "subsystem" in (host.server.features or ())
        assert host.run(Subsystem("say"), input=b"x\n", capture_output=True).stdout == b"got x\n"


def test_an_older_server_is_never_sent_the_field(
    with_subsystems: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would end the session for a field that it does not know."""
    with connect(with_subsystems.targets["unix"]) as host:
        monkeypatch.setattr(host._conversation, "server", host.server.changed(features=None))
        with pytest.raises(CommandRefusedError, match="older"):
            host.run(Subsystem("say"))
        monkeypatch.undo()
        assert host.run(["true"]).returncode == 0


@pytest.mark.parametrize("name", ["", "a b", "ü", "x" * 65, "a\n"])
def test_what_is_no_name_is_refused_here(name: str) -> None:
    with pytest.raises(UsageError, match="no name of a subsystem"):
        Subsystem(name)


def test_systems_have_it_in_these_places() -> None:
    assert all(os.path.isabs(path) and path.endswith("/sftp-server") for path in SFTP_SERVERS)
    assert len(set(SFTP_SERVERS)) == len(SFTP_SERVERS)
