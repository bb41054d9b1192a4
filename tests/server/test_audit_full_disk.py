"""The audit file and recordings on a disk that is really full: what goes on, what is refused, and what is said afterwards."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from remote_shell.client.blocking import connect
from remote_shell.testing import server
from tests.client.test_blocking import wait_until

from .test_full_disk import Disk, disk, refused

__all__ = ["disk"]  # a fixture
pytestmark = pytest.mark.slow  # it mounts, as root

MARK = ["sh", "-c", 'echo x >> "$0"']


def lines(disk: Disk) -> list[Any]:
    """What can be read; a torn line as None."""
    found = []
    for line in (disk.path / "lines").read_bytes().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            found.append(None)
    return found


def settings(disk: Disk, more: str = "") -> str:
    return f'[audit]\nfile = "{disk.path}/lines"\n{more}\n'


def test_commands_go_on_and_lost_lines_are_counted(disk: Disk, tmp_path: Path) -> None:
    with server(("unix:",), config=settings(disk)) as running, connect(running) as host:
        disk.fill()
        for _ in range(40):  # the page that was begun has room for some
            host.run([*MARK, str(tmp_path / "ran")], check=True)
        assert "the audit file" in running.read_log() and "No space left on device" in running.read_log()
        assert running.read_log().count("can't be written") == 1, "said once, not for each line"
        disk.free()
        host.run(["true"], command_id="after")
    found = lines(disk)
    assert (tmp_path / "ran").read_text() == "x\n" * 40
    (lost,) = [line for line in found if line and line["event"] == "lines_lost"]
    written = [line for line in found if line and line["event"] in ("command", "end") and line["command"] != "after"]
    assert lost["reason"] == "No space left on device" and lost["count"] + len(written) == 80
    assert found.count(None) <= 1 and "after" in [line["command"] for line in found if line and "command" in line]


def test_where_it_is_required_what_would_begin_is_refused(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("hi")
    mark = [*MARK, str(tmp_path / "ran")]
    text = "audit file can't be written (No space left on device)"
    config = "allow_tcp_forwarding = true\n" + settings(disk, "required = true")
    with server(("unix:",), config=config) as running, connect(running) as host, host.shell() as shell:
        going = host.popen(["sh", "-c", "read x; exit 7"], stdin=subprocess.PIPE)
        disk.fill()
        with pytest.raises(Exception, match="audit file"):
            for _ in range(40):
                host.run(["true"], check=True)
        refused(lambda: host.run(mark), text)
        refused(lambda: host.run(mark, pty=True), text)
        refused(lambda: host.detach(mark), text)
        refused(host.shell, text)
        with pytest.raises(Exception, match="audit file"):
            host.put(str(tmp_path / "source"), str(tmp_path / "there"))
        with pytest.raises(Exception, match="audit file"):
            host.forward(0, "127.0.0.1:1", reverse=True)
        refused(lambda: shell.run(f"echo x >> {tmp_path}/ran"), "it did not run")
        going.communicate(b"\n")
        assert going.returncode == 7, "what runs goes on to its end"
        assert not (tmp_path / "ran").exists() and not (tmp_path / "there").exists()
        disk.free()
        assert shell.run(f"echo x >> {tmp_path}/ran").returncode == 0
        host.run(mark, check=True)
    assert (tmp_path / "ran").read_text() == "x\nx\n"
    after = lines(disk)
    assert [line["event"] for line in after if line].count("lines_lost") >= 1


def test_a_keeper_writes_of_its_jobs_end_when_there_is_room(disk: Disk, tmp_path: Path) -> None:
    more = "[limits]\njob_retry_time = 0.05\n"
    with server(("unix:",), config=settings(disk, more)) as running, connect(running) as host:
        job = host.detach(["sh", "-c", f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; exit 5"])
        disk.fill()
        for _ in range(40):
            host.run(["true"])
        (tmp_path / "go").touch()
        disk.free()
        assert job.wait() == 5
        wait_until(lambda: [line for line in lines(disk) if line and line.get("kind") == "job" and "status" in line])


def test_a_recording_ends_and_the_session_does_not(disk: Disk) -> None:
    config = f'[recording]\nfolder = "{disk.path}/kept"\n'
    with server(("unix:",), config=config) as running, connect(running) as host:
        disk.fill()
        done = host.run(["seq", "20000"], pty=True, capture_output=True, check=True)
        assert done.stdout.endswith(b"\r\n20000\r\n")
        wait_until(lambda: "No space left on device" in running.read_log())
        disk.free()
        host.run(["seq", "3"], pty=True, check=True)
    whole = max((disk.path / "kept").glob("*.cast"))
    assert "3\\r\\n" in whole.read_text()
