"""Signs of running servers: seen while the server lives, and never of one that was killed."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from remote_shell.config.running import Running, put_up, running

ONE = Running(os.getpid(), ("tls:0.0.0.0:8822", "unix:/x"), "SHA256:x", "/home/ann/.ssh/authorized_keys")
TWO = Running(os.getpid(), ("unix:/y",), "", "/other")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(tmp_path))
    return tmp_path / "state" / "servers"


def test_up_and_down(state: Path) -> None:
    assert running() == []
    one = put_up(ONE)
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()] == [0o600]
    other = put_up(TWO)
    assert sorted(running()) == sorted([ONE, TWO])
    one.take_down()
    assert running() == [TWO]
    other.take_down()
    assert running() == [] and list(state.iterdir()) == []


def test_a_killed_servers_sign_is_none_and_the_next_removes_it(state: Path) -> None:
    text = (
        "import os, signal\nfrom remote_shell.config.running import Running, put_up\n"
        "sign = put_up(Running(os.getpid(), ('tls:h:1',), 'SHA256:x', '/x'))\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", text], timeout=15)
    assert len(list(state.iterdir())) == 1 and running() == []
    sign = put_up(ONE)
    assert len(list(state.iterdir())) == 1 and running() == [ONE]
    sign.take_down()


def test_two_that_look_at_once_are_no_server(state: Path) -> None:
    sign = put_up(ONE)
    os.close(sign._descriptor)  # as if it was killed
    (path,) = state.iterdir()
    with path.open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert running() == []


def test_a_sign_that_was_damaged_is_passed_over(state: Path) -> None:
    one, other = put_up(ONE), put_up(TWO)
    path = next(path for path in state.iterdir() if b"/other" not in path.read_bytes())
    path.write_text("[")
    assert running() == [TWO]
    one.take_down()
    other.take_down()
