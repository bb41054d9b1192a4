"""Detached jobs on the command line: `run --detach`, jobs, logs, attach, wait, signal, rm; statuses and words."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_shell import testing
from tests.cli.person import Person
from tests.cli.program import ARGV, WITHIN, call, environment, one_line

pytestmark = pytest.mark.screen


@pytest.fixture
def target() -> Iterator[str]:
    """A server without anybody else's jobs."""
    with testing.server(("unix:",)) as running:
        yield str(running)


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + WITHIN
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)
    return found


def detach(target: str, home: Path, script: str, *options: str) -> str:
    done = call("run", "--detach", *options, target, "sh", "-c", script, home=home)
    assert done.returncode == 0 and done.stderr == b"" and re.fullmatch(rb"[0-9a-f]{12}\n", done.stdout), done
    return done.stdout.decode().strip()


@contextlib.contextmanager
def started(home: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [*ARGV, *words],
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def test_a_job_from_its_start_to_its_removal(target: str, tmp_path: Path) -> None:
    assert call("jobs", target, home=tmp_path).stdout == b""
    job = detach(target, tmp_path, 'echo "$A"; pwd; echo err >&2; exit 3', "--env", "A=b", "--cwd", "/usr", "-n")
    assert call("wait", target, job, home=tmp_path).returncode == 3
    logs = call("logs", target, job, home=tmp_path)
    assert (logs.returncode, logs.stdout, logs.stderr) == (0, b"b\n/usr\n", b"err\n")
    assert call("attach", target, job[:4], home=tmp_path).returncode == 3
    lines = call("jobs", target, home=tmp_path).stdout.decode().splitlines()
    assert re.fullmatch(r"JOB +STATE +STARTED +COMMAND", lines[0])
    assert re.fullmatch(rf"{job}  exit 3  \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d  sh -c 'echo .*exit 3'", lines[1])
    done = call("rm", target, job, home=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert call("jobs", target, home=tmp_path).stdout == b""


def test_the_line_of_a_shell_and_the_statuses(target: str, tmp_path: Path) -> None:
    ends = {"exit 0": 0, "exit 200": 200, "kill -KILL $$": 137, "kill -TERM $$": 143}
    for line, status in ends.items():
        job = call("run", "--detach", "-c", line, target, home=tmp_path).stdout.decode().strip()
        assert call("wait", target, job, home=tmp_path).returncode == status, line
        assert call("attach", target, job, home=tmp_path).returncode == status
    job = detach(target, tmp_path, "exec sleep 100", "--timeout", "0.1")
    assert call("wait", target, job, home=tmp_path).returncode == 124
    states = call("jobs", target, home=tmp_path).stdout.decode()
    assert all(word in states for word in ("exit 0", "exit 200", "SIGKILL", "SIGTERM", "timed out"))


def test_json(target: str, tmp_path: Path) -> None:
    first = json.loads(call("run", "--detach", "--json", target, "sleep", "100", home=tmp_path).stdout)
    assert (
        first["state"] == "running"
        and first["pid"]
        and first["exit_status"] is None
        and first["command"] == "sleep 100"
    )
    job = first["job"]
    done = call("wait", "--json", "--timeout", "0.1", target, job, home=tmp_path)
    assert done.returncode == 124 and json.loads(done.stdout)["state"] == "running"
    assert "goes on" in one_line(done.stderr)
    call("signal", "-s", "int", target, job, home=tmp_path)
    done = call("wait", "--json", target, job, home=tmp_path)
    report = json.loads(done.stdout)
    assert done.returncode == 130
    assert (report["state"], report["signal"], report["exit_status"]) == ("finished", "SIGINT", None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", report["ended_at"]) and report["duration_s"] > 0
    assert json.loads(call("jobs", "--json", target, home=tmp_path).stdout) == report


def test_logs_follow_to_the_end(target: str, tmp_path: Path) -> None:
    job = detach(target, tmp_path, "for i in 1 2 3; do echo $i; echo e$i >&2; sleep 0.05; done; exit 9")
    done = call("logs", "-f", target, job, home=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n2\n3\n", b"e1\ne2\ne3\n")


def test_logs_of_what_runs_end_at_once_and_a_pipe_may_close(target: str, tmp_path: Path) -> None:
    job = detach(target, tmp_path, "yes | head -c 4000000; exec sleep 100")
    line = f"{shlex.join(ARGV)} logs -f {target} {job} | head -2"
    done = subprocess.run(["sh", "-c", line], env=environment(tmp_path), capture_output=True, timeout=WITHIN)
    assert (done.stdout, done.stderr) == (b"y\ny\n", b"")
    assert b"running" in call("jobs", target, home=tmp_path).stdout
    assert call("rm", "-f", target, job, home=tmp_path).returncode == 0


@pytest.mark.usefixtures("unmeasured")  # Ctrl-C in the middle of measuring leaves its lock taken
def test_signals_to_attach_leave_the_job(target: str, tmp_path: Path) -> None:
    job = detach(target, tmp_path, "while :; do echo tick; sleep 0.01; done")
    with started(tmp_path, "attach", target, job) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"tick\n"
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(WITHIN) == 130
        text = one_line(process.stderr.read())
        assert f"the job {job} goes on" in text and f"attach {target} {job}" in text
    with started(tmp_path, "logs", "-f", target, job) as process:
        assert process.stdout is not None and process.stdout.readline() == b"tick\n"
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(WITHIN) == 130
    assert b"running" in call("jobs", target, home=tmp_path).stdout


def test_attach_ends_as_the_job_does(target: str, tmp_path: Path) -> None:
    script = f"echo before; while [ ! -e {tmp_path}/go ]; do echo tick; sleep 0.01; done; echo after; exit 5"
    job = detach(target, tmp_path, script)
    until(lambda: b"tick" in call("logs", target, job, home=tmp_path).stdout, "it writes")
    with started(tmp_path, "attach", target, job) as process:
        assert process.stdout is not None and process.stdout.readline() == b"tick\n", "not what came before"
        (tmp_path / "go").touch()
        assert process.stdout.read().endswith(b"after\n") and process.wait(WITHIN) == 5


def test_removing_what_runs(target: str, tmp_path: Path) -> None:
    one = detach(target, tmp_path, "exec sleep 100")
    two = detach(target, tmp_path, "exec sleep 100")
    done = call("rm", target, one, two, home=tmp_path)
    assert done.returncode == 125 and done.stderr.count(b"it runs; end it first, or force it") == 2
    done = call("rm", "--force", target, one, "nonsense", two, home=tmp_path)
    assert done.returncode == 125 and "no job 'nonsense'" in one_line(done.stderr)
    assert call("jobs", target, home=tmp_path).stdout == b""


def test_words_that_mean_no_job(target: str, tmp_path: Path) -> None:
    for name in ("logs", "wait", "attach", "signal", "rm"):
        done = call(name, target, "feed", home=tmp_path)
        assert done.returncode == 125 and f"remote-shell jobs {target}" in one_line(done.stderr), name
    for number in range(2):
        call("run", "-d", "--id", f"build-{number}", target, "true", home=tmp_path)
    done = call("wait", target, "build", home=tmp_path)
    assert done.returncode == 125 and "2 jobs begin with 'build': build-0, build-1" in one_line(done.stderr)
    assert call("wait", target, "build-1", home=tmp_path).returncode == 0
    assert call("run", "-d", "--id", "build-1", target, "true", home=tmp_path).stdout == b"build-1\n", "told again"
    done = call("run", "-d", "--id", "build-1", target, "false", home=tmp_path)
    assert done.returncode == 125 and "choose another one" in one_line(done.stderr)


def test_wrong_lines(target: str, tmp_path: Path) -> None:
    for words in (
        ("run", "-d", "-t", target, "true"),
        ("signal", "-s", "NONE", target, "x"),
        ("wait", target),
        ("rm", target),
    ):
        done = call(*words, home=tmp_path)
        assert done.returncode == 2 and done.stdout == b"", words
        one_line(done.stderr)
    assert call("run", "-d", target, "/nope", home=tmp_path).returncode == 127
    assert call("run", "-d", target, "/etc/passwd", home=tmp_path).returncode == 126
    assert call("run", "-d", "--cwd", "/nope", target, "true", home=tmp_path).returncode == 125


def test_an_unknown_end_is_125_and_said(target: str, tmp_path: Path) -> None:
    job = detach(target, tmp_path, "echo before; exec sleep 100")
    until(lambda: call("logs", target, job, home=tmp_path).stdout, "it writes")
    pid = json.loads(call("jobs", "--json", target, home=tmp_path).stdout)["pid"]
    keeper = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(keeper, signal.SIGKILL)
    until(lambda: b"unknown" in call("jobs", target, home=tmp_path).stdout, "it is told")
    for name in ("wait", "attach", "logs"):
        done = call(name, target, job, home=tmp_path)
        assert done.returncode == 125 and "is unknown: its keeper was killed" in one_line(done.stderr), name
        assert done.stdout == (b"before\n" if name == "logs" else b"")
    os.kill(pid, signal.SIGKILL)
    assert call("rm", target, job, home=tmp_path).returncode == 0


def test_what_is_gone_is_said(tmp_path: Path) -> None:
    config = "[limits]\njob_log_max = 400_000\njob_segment_max = 100_000\n"
    with testing.server(("unix:",), config=config) as running:
        job = detach(running, tmp_path, "seq 1000000")
        assert call("wait", running, job, home=tmp_path).returncode == 0
        done = call("logs", running, job, home=tmp_path)
        gone = re.fullmatch(r"remote-shell: ([\d,]+) bytes of stdout are gone: .*", one_line(done.stderr))
        assert gone and int(gone[1].replace(",", "")) + len(done.stdout) == 6888896


def test_what_a_person_sees(target: str, tmp_path: Path) -> None:
    """At a terminal: the list, and Ctrl-C on `attach`."""
    job = detach(target, tmp_path, "while :; do echo tick; sleep 0.05; done")
    with Person(tmp_path, "jobs", target, columns=200) as person:
        person.wait_for("COMMAND")
        person.wait_for("running")
    with Person(tmp_path, "attach", target, job, columns=200) as person:
        person.wait_for("tick")
        person.type("\x03")
        person.wait_for(f"left: the job {job} goes on")


def test_what_a_person_sees_of_another_server(tmp_path: Path) -> None:
    """The server is killed and started anew below `logs -f` and `wait`: they go on, and say so."""
    with testing.server(("unix:",)) as running:
        stop = tmp_path / "stop"
        job = detach(
            running, tmp_path, f"i=0; while [ ! -e {stop} ]; do echo line $i; i=$((i+1)); sleep 0.02; done; exit 4"
        )
        with Person(tmp_path, "logs", "-f", running, job, rows=40, columns=150) as person:
            person.wait_for("line 3")
            running.process.kill()
            running.process.wait()
            again = subprocess.Popen(
                running.process.args,
                env={**os.environ, "REMOTE_SHELL_HOME": running.home},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            try:
                person.wait_for("is back with a new session; of a job nothing is lost")
                stop.touch()
                assert call("wait", running, job, home=tmp_path).returncode == 4
                assert person.wait_end() == 0
            finally:
                again.terminate()
                again.wait()
                assert again.stdout is not None
                again.stdout.close()
