"""Detached jobs through the death of servers: every line once, every end right, nothing started twice."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_shell.testing import RunningServer, server
from remote_shell.wire.messages import Gap, Job

from .conftest import Place
from .raw_client import RawClient, until

pytestmark = pytest.mark.screen  # the quick suite has two minutes for all

# Numbered lines on both streams until the file `stop` is there; then an end of its own.
WRITER = """
import os, sys, time
number, stop, how = 0, sys.argv[1], int(sys.argv[2])
while not os.path.exists(stop):
    for fd in (1, 2):
        os.write(fd, b"%d\\n" % number)
    number += 1
    time.sleep(0.004)
if how > 300:
    os.kill(os.getpid(), how - 300)
sys.exit(how)
"""


class Mortal:
    """A server that is killed and started again in the same place."""

    def __init__(self, running: RunningServer) -> None:
        self.home = running.home
        self.place = Place(running, "unix")
        self._process: subprocess.Popen[bytes] = running.process
        self._argv = running.process.args

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def start(self) -> None:
        with open(os.path.join(self.home, "log"), "ab") as log:
            environment = {**os.environ, "REMOTE_SHELL_HOME": self.home}
            self._process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment
            )
        assert self._process.stdout is not None
        assert json.loads(self._process.stdout.readline())["event"] == "ready"

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@pytest.fixture
def mortal(unmeasured: None) -> Iterator[Mortal]:
    with server(("unix:",)) as running:
        made = Mortal(running)
        try:
            yield made
        finally:
            made.close()


def write_lines(client: RawClient, stop: Path, how: int) -> str:
    ident = secrets.token_hex(6)
    argv = [sys.executable, "-I", "-S", "-c", WRITER, str(stop), str(how)]
    done = client.run(argv, detach=True, id=ident)
    assert done.opened is not None, done.rejected
    return ident


def check(client: RawClient, ident: str, how: int) -> int:
    """Every line once on each stream, and the end; returns how many lines there were."""
    logs = client.finish(client.open(None, request="job_logs", id=ident, follow=True), 60)
    assert not [message for message in logs.others if isinstance(message, Gap)]
    count = logs.text(1).count(b"\n")
    expected = b"".join(b"%d\n" % number for number in range(count))
    assert logs.text(1) == expected and logs.text(2) == expected
    assert logs.exit is not None
    end = (logs.exit.status, logs.exit.signal)
    assert end == ((None, signal.Signals(how - 300).name) if how > 300 else (how, None))
    return count


def torture(mortal: Mortal, stop: Path, kills: int, jobs: int, chance: random.Random) -> None:
    idents: dict[str, int] = {}
    ends = [0, 1, 3, 255, 300 + signal.SIGKILL, 300 + signal.SIGTERM, 300 + signal.SIGSEGV]
    for round in range(kills):
        with mortal.place.connect() as client:
            while len(idents) < min(jobs, jobs // 2 + round):
                how = ends[len(idents) % len(ends)]
                idents[write_lines(client, stop, how)] = how
            found = client.run(None, request="jobs", id="l").others
            states = {job.id: job.state for job in found if isinstance(job, Job)}
            assert states == dict.fromkeys(idents, "running"), round
            for ident in list(idents)[:3]:
                client.open(None, request="job_logs", id=ident, follow=True)
            if chance.random() < 0.5:
                client.wait(lambda: list(client.commands.values())[-1].size, "lines come")
            mortal.kill()
            client.cut()
        mortal.start()
    stop.touch()
    with mortal.place.connect() as client:
        counts = [check(client, ident, how) for ident, how in idents.items()]
    assert len(counts) == jobs and min(counts) > 5


def test_servers_are_killed_while_jobs_write(mortal: Mortal, tmp_path: Path) -> None:
    torture(mortal, tmp_path / "stop", 4, 5, random.Random(1))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_fifty_servers_are_killed_while_twenty_jobs_write(mortal: Mortal, tmp_path: Path) -> None:
    torture(mortal, tmp_path / "stop", 50, 20, random.Random(2))


def starts(mortal: Mortal, tmp_path: Path, rounds: int, chance: random.Random) -> None:
    """The server dies around the start of a job; the same `open` is sent to the next: it ran exactly once, or is known to be unknown."""
    seen: list[str] = []
    for round in range(rounds):
        ident, mark = f"r{round}", tmp_path / f"mark{round}"
        fields: dict[str, Any] = {"id": ident, "detach": True}
        argv = ["/bin/sh", "-c", f"echo $$ >> {mark}; exit 7"]
        with mortal.place.connect() as client:
            channel = client.open(argv, **fields)
            end = time.monotonic() + chance.uniform(0, 0.06)
            while time.monotonic() < end and not client.commands[channel].closed:
                client.pump(0.005)
            mortal.kill()
            client.cut()
        mortal.start()
        with mortal.place.connect() as client:
            done = client.run(argv, **fields)
            assert done.opened is not None, done.rejected
            told = client.finish(client.open(None, request="job_wait", id=ident))
            if told.exit is not None:
                assert told.exit.status == 7
                assert mark.read_text().count("\n") == 1
            else:
                states = [message.state for message in told.others if isinstance(message, Job)]
                assert states[-1] == "unknown" and not mark.exists(), "it died between the claim and the keeper"
            seen.append("again" if done.opened.again else "new")
    assert len(seen) == rounds


def test_a_server_dies_around_the_start(mortal: Mortal, tmp_path: Path) -> None:
    starts(mortal, tmp_path, 4, random.Random(3))


@pytest.mark.slow
def test_many_servers_die_around_the_start(mortal: Mortal, tmp_path: Path) -> None:
    starts(mortal, tmp_path, 60, random.Random(4))


def test_what_one_server_started_another_ends(mortal: Mortal) -> None:
    with mortal.place.connect() as client:
        ident = secrets.token_hex(6)
        opened = client.run(["sleep", "100"], detach=True, id=ident).opened
        assert opened is not None
        mortal.kill()
        client.cut()
    mortal.start()
    with mortal.place.connect() as client:
        assert client.query(ident).state == "running"
        report = client.run(None, request="job_signal", id=ident, signal="SIGTERM").report
        assert report is not None and report.state == "running"
        done = client.run(None, request="job_wait", id=ident).exit
        assert done is not None and done.signal == "SIGTERM"
        assert until(lambda: client.run(None, request="job_remove", id=ident).report, "removed").state == "finished"
