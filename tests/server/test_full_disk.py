"""A disk that is really full: a small tmpfs, ENOSPC from the kernel. What runs waits, what is new is refused, nothing is lost."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_shell.client.blocking import connect
from remote_shell.errors import CommandRefusedError
from remote_shell.testing import RunningServer, server
from tests.cli.program import ARGV, environment
from tests.client.test_blocking import wait_until

from .test_jobs_survive import Mortal

pytestmark = pytest.mark.slow  # it mounts, as root

SIZE = 3 * 2**20
LINES = b"".join(b"%d\n" % number for number in range(1, 50_001))


class Disk:
    """A file system without much room."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """To the last page."""
        with open(self._filler, "ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        assert os.statvfs(self.path).f_bfree == 0

    def free(self) -> None:
        self._filler.unlink()


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "none", str(folder)], check=True)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))  # where `testing.server` has its state
    try:
        yield Disk(folder)
    finally:
        monkeypatch.undo()
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def running(disk: Disk) -> Iterator[RunningServer]:
    with server(("unix:",)) as made:
        yield made


def test_a_job_waits_says_so_and_loses_nothing(disk: Disk, running: RunningServer, tmp_path: Path) -> None:
    """Through the death of the server, too: it is the keeper that waits."""
    script = f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; seq 50000; echo end >&2; exit 5"
    mortal = Mortal(running)
    with contextlib.ExitStack() as ended, connect(running) as host:
        ended.callback(mortal.close)
        job = host.detach(script, shell=True)
        disk.fill()
        logs = [*ARGV, "logs", "-f", str(running), job.id]
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        follower = ended.enter_context(subprocess.Popen(logs, env=environment(tmp_path), **streams))
        ended.callback(follower.kill)
        (tmp_path / "go").touch()
        assert follower.stderr is not None
        assert select.select([follower.stderr], [], [], 10)[0], "it says nothing"
        said = follower.stderr.readline()
        assert b"its log cannot be written: No space left on device; the job waits" in said
        info = job.info()
        assert info.state == "running" and "No space left on device" in info.trouble
        mortal.kill()
        disk.free()
        mortal.start()
        out, err = follower.communicate(timeout=20)
        assert (follower.returncode, out, err.splitlines()[-1:]) == (0, LINES, [b"end"])
        assert job.wait() == 5 and job.info().trouble == ""


def refused(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(CommandRefusedError) as caught:
        call()
    assert text in str(caught.value)


def test_what_is_new_is_refused_and_nothing_runs(disk: Disk, running: RunningServer, tmp_path: Path) -> None:
    mark = ["sh", "-c", f"echo x >> {tmp_path}/ran"]
    with connect(running) as host:
        host.run(["true"], command_id="before")
        disk.fill()
        refused(lambda: host.detach(mark), "No space left on device")
        refused(lambda: host.detach(mark, job_id="job"), "no room for")
        refused(lambda: host.run(mark, command_id="command"), "no room for")
        assert host.run(["true"], command_id="before").again, "what is known needs no room"
        assert host.run(["echo", "plain"], capture_output=True).stdout == b"plain\n"
        time.sleep(0.2)
        assert not (tmp_path / "ran").exists() and host.jobs() == []
        disk.free()
        host.run(mark, command_id="command")
        assert host.detach(mark, job_id="job").wait() == 0
        wait_until(lambda: (tmp_path / "ran").read_text() == "x\nx\n")
        assert host.run(mark, command_id="command").again


@pytest.mark.parametrize("pages", range(12))
def test_a_start_with_little_room_is_whole_or_not_at_all(disk: Disk, tmp_path: Path, pages: int) -> None:
    """The disk gets full at each step of a start in turn: what was refused did not run and left no folder, what was not did."""
    with server(("unix:",)) as running, connect(running) as host:
        host.detach(["true"]).wait()  # the folders are there
        disk.fill()
        os.truncate(disk.path / "filler", os.path.getsize(disk.path / "filler") - pages * 4096)
        try:
            host.detach(["sh", "-c", f"echo x >> {tmp_path}/ran"], job_id="job")
        except CommandRefusedError:
            ran = False
        else:
            ran = True
        disk.free()
        wait_until(lambda: all(info.state == "finished" for info in host.jobs()))
        assert {info.id for info in host.jobs() if info.id == "job"} == ({"job"} if ran else set())
        assert (tmp_path / "ran").exists() == ran
