"""What ten other tools got wrong, each with a test: stdin's speed, bytes that are no text, deaths by a signal, what a timeout leaves."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from remote_shell import DEVNULL, PIPE, STDOUT
from remote_shell.client.async_ import connect_async
from remote_shell.client.blocking import Host
from remote_shell.testing import RunningServer

from .test_async import until_gone
from .test_blocking import running_commands, wait_until

pytestmark = pytest.mark.screen  # the quick suite has two minutes for all

MUCH = 64 * 2**20
ODD = b"before \xff\xfe after\r\n"


@pytest.fixture(scope="module")
def much() -> bytes:
    return os.urandom(2**20) * 64


def test_64_mib_go_through_cat(host: Host, much: bytes) -> None:
    """In and out again. The bound is loose, since machines are busy; the tools that read stdin byte by byte would take a week."""
    started = time.monotonic()
    done = host.run(["cat"], input=much, capture_output=True)
    assert time.monotonic() - started < 12
    assert len(done.stdout) == MUCH and done.stdout == much


async def test_64_mib_go_through_cat_in_the_asyncio_front(running: RunningServer, much: bytes) -> None:
    started = time.monotonic()
    async with connect_async(running.targets["unix"]) as host:
        done = await host.run(["cat"], input=much, capture_output=True)
    assert time.monotonic() - started < 12
    assert done.stdout == much


def test_64_mib_from_a_file_and_from_a_pipe(host: Host, much: bytes, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(much)
    wanted = hashlib.sha256(much).hexdigest()
    with open(tmp_path / "in", "rb") as source:
        assert host.run(["sha256sum"], stdin=source, capture_output=True, text=True).stdout.split()[0] == wanted
    with (
        subprocess.Popen(["cat", str(tmp_path / "in")], stdout=PIPE) as local,
        open(tmp_path / "out", "wb") as sink,
    ):
        assert host.run(["cat"], stdin=local.stdout, stdout=sink).returncode == 0
    assert (tmp_path / "out").read_bytes() == much


def test_64_mib_written_to_popens_stdin(host: Host, much: bytes) -> None:
    with host.popen(["sha256sum"], stdin=PIPE, stdout=PIPE, text=False) as process:
        process.stdin.write(much)
        process.stdin.close()
        assert process.stdout.read().split()[0].decode() == hashlib.sha256(much).hexdigest()


@pytest.mark.parametrize("errors", ["strict", "replace", "ignore", "surrogateescape", "backslashreplace"])
async def test_bytes_that_are_no_text_harm_nobody(host: Host, running: RunningServer, errors: str) -> None:
    """The command's own call says what it is; the connection goes on, and so do the others on it."""

    def wanted() -> Any:
        try:
            return ODD.decode("utf-8", errors).replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            return str(error)

    line = r"printf 'before \377\376 after\r\n'"
    options: dict[str, Any] = {"shell": True, "stdout": PIPE, "text": True, "errors": errors}
    with host.popen(["cat"], stdin=PIPE, stdout=PIPE) as other:
        try:
            found: Any = host.run(line, **options).stdout
        except UnicodeDecodeError as error:
            found = str(error)
        assert found == wanted()
        assert host.run(line, shell=True, capture_output=True).stdout == ODD
        assert other.communicate(ODD) == (ODD, None)
    async with connect_async(running.targets["unix"]) as asynchronous:
        try:
            found = (await asynchronous.run(line, **options)).stdout
        except UnicodeDecodeError as error:
            found = str(error)
        assert found == wanted()
        assert (await asynchronous.run(line, shell=True, capture_output=True)).stdout == ODD


async def test_a_death_by_sigkill_is_minus_nine(host: Host, running: RunningServer) -> None:
    for line in ("kill -9 $$", "exec sh -c 'kill -9 $$'"):
        done = host.run(line, shell=True)
        assert (done.returncode, done.signal) == (-9, "SIGKILL")
    with host.popen(["sleep", "60"]) as process:
        host.run(["kill", "-9", str(process.pid)], stdin=DEVNULL)  # by somebody else
        assert process.wait() == -9
    assert host.run(["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).returncode == 137, "the shell's word for its child's"
    assert [host.run(["sh", "-c", f"exit {n}"]).returncode for n in (0, 1, 9, 137, 255)] == [0, 1, 9, 137, 255]
    async with connect_async(running.targets["unix"]) as asynchronous:
        assert (await asynchronous.run("kill -9 $$", shell=True)).returncode == -9


async def test_a_timeout_leaves_nothing_running(host: Host, running: RunningServer) -> None:
    """Not what made a session of its own either, nor what ignores TERM and HUP, nor what lost its parent."""
    name = f"1040.{os.getpid()}"
    line = f"setsid sleep {name} & nohup sleep {name} >/dev/null 2>&1 & (sleep {name} & ) ; echo begun; sleep {name}; sleep {name}"
    options: dict[str, Any] = {"shell": True, "stdin": DEVNULL, "stdout": PIPE, "stderr": STDOUT, "timeout": 0.4}
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        host.run("trap '' TERM HUP; " + line, **options)
    assert caught.value.output == b"begun\n"
    wait_until(lambda: not running_commands(f"sleep {name}"))
    async with connect_async(running.targets["unix"]) as asynchronous:
        with pytest.raises(subprocess.TimeoutExpired):
            await asynchronous.run(line, **options)
        await until_gone(f"sleep {name}")


@pytest.mark.parametrize("sink", ["pipe", "file", "one file for both", "descriptors"])
def test_merged_output_is_in_order(host: Host, tmp_path: Path, sink: str) -> None:
    """As it was written, a thousand times: one pipe over there, and not two that are read in turns."""
    line = "i=0; while [ $i -lt 500 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done"
    wanted = "".join(f"o{n}\ne{n}\n" for n in range(500)).encode()
    if sink == "pipe":
        found = host.run(line, shell=True, stdout=PIPE, stderr=STDOUT).stdout
    else:
        with open(tmp_path / "out", "wb") as file:
            both: Any = {"one file for both": file, "descriptors": file.fileno()}.get(sink, STDOUT)
            host.run(line, shell=True, stdout=file, stderr=both)
        found = (tmp_path / "out").read_bytes()
    assert found == wanted
