"""Input of ours that can't be read, or not to its end: never taken for an end of input, for then half of it would pass for the whole."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_shell import PIPE
from remote_shell.client.async_ import connect_async
from remote_shell.client.blocking import Host
from remote_shell.testing import RunningServer

from .test_blocking import wait_until

FRONTS = pytest.mark.parametrize("front", ["blocking", "asyncio"])


async def run(front: str, host: Host, running: RunningServer, args: list[str], **options: Any) -> Any:
    if front == "blocking":
        return host.run(args, **options)
    async with connect_async(running.targets["unix"]) as asynchronous:
        return await asynchronous.run(args, **options)


@pytest.fixture
def broken() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A stream whose other end was reset after a few bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = socket.create_connection(listener.getsockname())
        there = listener.accept()[0]
    there.sendall(b"half of it")
    assert here.recv(4, socket.MSG_PEEK) == b"half"
    there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    yield here, there
    here.close()
    there.close()


@FRONTS
async def test_a_folder_and_what_is_open_for_writing(
    front: str, host: Host, running: RunningServer, tmp_path: Path
) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(IsADirectoryError):
            await run(front, host, running, ["cat"], stdin=folder, capture_output=True)
    finally:
        os.close(folder)
    with open(tmp_path / "out", "wb") as sink, pytest.raises(OSError, match="Bad file descriptor"):
        await run(front, host, running, ["cat"], stdin=sink, capture_output=True)
    assert host.run(["echo", "on"], stdin=None, stdout=PIPE).stdout == b"on\n", "the connection has taken no harm"


@FRONTS
async def test_an_error_in_the_middle_ends_the_command_and_is_raised(
    front: str, host: Host, running: RunningServer, tmp_path: Path, broken: Any
) -> None:
    here, there = broken
    line = f"head -c 10 > {tmp_path}/part; exec cat"

    def reset() -> None:
        wait_until(lambda: (tmp_path / "part").exists() and (tmp_path / "part").read_bytes())
        there.close()

    thread = threading.Thread(target=reset)
    thread.start()
    with pytest.raises(ConnectionResetError):
        await run(front, host, running, ["bash", "-c", line], stdin=here, capture_output=True)
    thread.join()


@FRONTS
async def test_an_inherited_one_matters_to_who_reads_it_only(
    front: str, host: Host, running: RunningServer, tmp_path: Path
) -> None:
    """nohup(1) gives a descriptor that can't be read."""
    before = os.dup(0)
    unreadable = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    os.dup2(unreadable, 0)
    try:
        assert (await run(front, host, running, ["echo", "x"], stdout=PIPE)).stdout == b"x\n"
        assert (await run(front, host, running, ["cat"], stdout=PIPE)).stdout == b""
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(unreadable)


@FRONTS
async def test_a_terminal_that_hung_up_is_an_end(front: str, host: Host, running: RunningServer) -> None:
    master, slave = os.openpty()
    os.close(slave)
    try:
        done = await run(front, host, running, ["cat"], stdin=master, stdout=PIPE)
    finally:
        os.close(master)
    assert (done.returncode, done.stdout) == (0, b"")
