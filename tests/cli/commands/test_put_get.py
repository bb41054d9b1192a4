"""put and get on the command line: statuses, words, the bar, and what Ctrl-C leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_shell import testing
from tests.cli.program import ARGV, WITHIN, call, environment, one_line
from tests.transfer.joined import tree
from tests.transfer.test_ends import make_tree

pytestmark = pytest.mark.screen  # whole programs, or ssh, for nearly each test


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    """A server whose account's HOME is of no interest: paths are absolute."""
    with testing.server(("unix:",)) as running:
        yield str(running)


def test_there_and_back(target: str, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source")
    done = call("put", "-r", target, str(source), str(tmp_path / "there"), home=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    done = call("get", target, str(tmp_path / "there"), str(tmp_path / "back"), "-r", home=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert tree(tmp_path / "back") == tree(tmp_path / "there") == tree(source)


def test_names_that_are_no_text(target: str, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe"
    with open(name, "wb") as file:
        file.write(b"x")
    assert call("put", target, name, name + b"2", home=tmp_path).returncode == 0
    assert call("get", target, name + b"2", name + b"3", home=tmp_path).returncode == 0
    with open(name + b"3", "rb") as file:
        assert file.read() == b"x"


def test_a_failed_file_is_named_and_the_rest_goes_on(target: str, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    os.mkfifo(tmp_path / "s" / "fifo\x1b[2J")
    (tmp_path / "s" / "z").write_bytes(b"z")
    for verb in ("put", "get"):
        done = call(verb, "-r", target, str(tmp_path / "s"), str(tmp_path / verb), home=tmp_path)
        assert done.returncode == 1
        line = one_line(done.stderr)
        assert line.startswith(f"remote-shell: {tmp_path}/s/fifo\\x1b[2J: it is a FIFO")
        assert (tmp_path / verb / "z").read_bytes() == b"z"


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        (("put", "-r", "{target}", "{tmp}/x", "{tmp}/no/where"), "No such file or directory", 1),
        (("put", "{target}", "{tmp}", "{tmp}/y"), "it is a folder; to copy it with all that is in it, add -r", 1),
        (("get", "{target}", "{tmp}", "{tmp}/y"), "it is a folder; to copy it with all that is in it, add -r", 1),
        (("get", "{target}", "{tmp}/none", "{tmp}/y"), "none: No such file or directory", 1),
        (
            ("put", "{target}", "{tmp}/x", "{tmp}/x", "{tmp}/no"),
            "several sources need a folder that exists; make it",
            1,
        ),
        (("get", "{target}", "{tmp}/x", "{tmp}/no/"), "there is no such folder; make it first", 1),
        (("put", "unix:/nowhere", "{tmp}/x", "{tmp}/y"), "the server is not started", 125),
        (("put", "{target}", "{tmp}/x"), "where to?", 2),
    ],
)
def test_what_can_not_be_done(target: str, tmp_path: Path, words: tuple[str, ...], said: str, status: int) -> None:
    (tmp_path / "x").write_bytes(b"x")
    done = call(*(word.format(target=target, tmp=tmp_path) for word in words), home=tmp_path)
    assert said in one_line(done.stderr) and done.returncode == status
    assert "No such" not in said or str(tmp_path) in one_line(done.stderr)


def test_a_killed_client_is_followed_at_once(target: str, tmp_path: Path) -> None:
    """Its session lives for its grace; the same line again does not wait for that."""
    block = os.urandom(1 << 20)
    with open(tmp_path / "x", "wb") as file:
        for _ in range(128):
            file.write(block)
    part, words = tmp_path / ".y.rs-part", ["put", target, str(tmp_path / "x"), str(tmp_path / "y")]
    with subprocess.Popen([*ARGV, *words], env=environment(tmp_path), stdin=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + WITHIN
        while not part.exists() or part.stat().st_size < 4 << 20:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
        process.kill()
    until_alone = time.monotonic() + WITHIN
    while call(*words, home=tmp_path).returncode:  # the server may not have heard of the end yet
        assert time.monotonic() < until_alone
    assert subprocess.run(["cmp", tmp_path / "x", tmp_path / "y"], stdin=subprocess.DEVNULL).returncode == 0
    assert not part.exists()


@pytest.mark.usefixtures("unmeasured")  # Ctrl-C in the middle of measuring leaves its lock taken
@pytest.mark.parametrize("verb", ["put", "get"])
def test_ctrl_c_leaves_what_the_next_run_goes_on_with(target: str, tmp_path: Path, verb: str) -> None:
    block = os.urandom(1 << 20)
    with open(tmp_path / "x", "wb") as file:
        for _ in range(128):
            file.write(block)
    words = [*ARGV, verb, target, str(tmp_path / "x"), str(tmp_path / "y")]
    with subprocess.Popen(
        words, env=environment(tmp_path), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        part = tmp_path / ".y.rs-part"
        deadline = time.monotonic() + WITHIN
        while not part.exists() or part.stat().st_size < 4 << 20:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=WITHIN)
    assert process.returncode == 130
    assert "interrupted: " in one_line(error) and "the same command again goes on from there" in one_line(error)
    kept = part.stat().st_size
    assert kept >= 4 << 20 and not (tmp_path / "y").exists()
    (tmp_path / "x").rename(tmp_path / "z")  # a longer way round: the same content under another name
    done = call(verb, target, str(tmp_path / "z"), str(tmp_path / "y"), home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert subprocess.run(["cmp", tmp_path / "z", tmp_path / "y"], stdin=subprocess.DEVNULL).returncode == 0
    assert not part.exists()
