"""`shell` without a terminal: stdin is a script, and means what it means to `sh`."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.program import ARGV, WITHIN, call, environment, one_line

pytestmark = pytest.mark.screen  # the quick suite has two minutes for all

SCRIPTS = {
    "state": "cd /usr; x=1\nf() { echo f$x; }\npwd\nf\n",
    "constructs": "for i in 1 2\ndo\n  echo $i\ndone\nif true; then\n echo yes\nfi\n",
    "here-document": "cat <<E\none $((1+1))\nE\necho after\n",
    "reads its own text": "read line\nthis is read\necho got: $line\n",
    "status of the last": "true\n(exit 5)\n",
    "exit in the middle": "echo before\nexit 3\necho never\n",
    "syntax error late": "echo runs\nfi\necho never\n",
    "no newline at the end": "echo a; exit 9",
    "continued": "echo a \\\nb\n",
    "errexit": "set -e\nfalse\necho never\n",
    "signal": "kill -9 $$\n",
    "empty": "",
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_does_what_it_does_under_bash(script: str, target: str, tmp_path: Path) -> None:
    here = subprocess.run(["bash", "-s"], input=script.encode(), capture_output=True, cwd="/")
    there = call("shell", target, home=tmp_path, input=script.encode())
    assert there.stdout == here.stdout
    assert there.returncode == (128 - here.returncode if here.returncode < 0 else here.returncode)
    assert there.stderr == here.stderr


def test_a_command_runs_when_its_line_is_there_not_when_all_are(target: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        [*ARGV, "shell", target], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(tmp_path)
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"echo one\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"one\n"
        process.stdin.write(b"exit 4\n")
        process.stdin.flush()
        assert process.wait(WITHIN) == 4


def test_nothing_of_the_repl_is_in_the_output(target: str, tmp_path: Path) -> None:
    done = call("shell", target, home=tmp_path, input=b"printf '\\377no end'; false")
    assert (done.stdout, done.stderr, done.returncode) == (b"\xffno end", b"", 1)
    assert not (tmp_path / "state" / "history").exists()


def test_signals_reach_the_script(target: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        [*ARGV, "shell", target], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(tmp_path)
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"echo up; sleep 1000; echo never\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"up\n"
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(WITHIN) == 143
        assert time.monotonic() - begin < WITHIN / 2
        assert process.stdout.read() == b""


def test_what_can_not_be_reached_is_one_line(tmp_path: Path) -> None:
    done = call("shell", "unix:/nonexistent", home=tmp_path)
    assert done.returncode == 125 and "no socket" in one_line(done.stderr)
    assert call("shell", home=tmp_path).returncode == 2
    assert call("shell", "a", "b", home=tmp_path).returncode == 2


def test_what_can_not_be_reached_from_a_terminal_is_one_line_too(tmp_path: Path) -> None:
    leader, follower = os.openpty()
    try:
        done = subprocess.run(
            [*ARGV, "shell", "unix:/nonexistent"],
            stdin=follower,
            capture_output=True,
            env=environment(tmp_path),
            timeout=WITHIN,
        )
    finally:
        os.close(leader)
        os.close(follower)
    assert done.returncode == 125 and "no socket" in one_line(done.stderr)
