"""Bytes to a descriptor that may take nothing: in order, all of them, the loop never held up, the descriptor left as it was."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_shell.cli.outlet import Outlet

MUCH = bytes(range(256)) * 4096  # a MiB, more than any pipe or terminal holds


@pytest.fixture(params=["pipe", "terminal"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """Where it is read, and where it is written."""
    if request.param == "pipe":
        read, write = os.pipe()
    else:
        import tty

        read, write = os.openpty()
        tty.setraw(write)
    yield read, write
    for descriptor in (read, write):
        try:
            os.close(descriptor)
        except OSError:
            continue


def taken(read: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += os.read(read, count - len(data))
    return data


async def test_nothing_is_lost_and_the_loop_goes_on(ends: tuple[int, int]) -> None:
    read, write = ends
    written = bytearray()
    outlet = Outlet(write, written.extend)
    outlet.put(b"first ")
    assert not outlet.is_busy and written == b"first "
    outlet.put(MUCH)
    outlet.put(b" last")
    assert outlet.is_busy, "it came back, though nobody reads"
    assert len(written) < len(MUCH)
    drained = asyncio.create_task(outlet.drained())
    whole = b"first " + MUCH + b" last"
    got = await asyncio.to_thread(taken, read, len(whole))
    await drained
    assert got == whole == written
    assert os.get_blocking(write), "it is shared with the shell that started us"
    outlet.close()


async def test_closing_forgets_what_waits(ends: tuple[int, int]) -> None:
    written = bytearray()
    outlet = Outlet(ends[1], written.extend)
    outlet.put(MUCH)
    outlet.close()
    count = len(written)
    outlet.put(b"more")
    outlet.close()
    assert len(written) == count


async def test_a_reader_that_is_gone_is_an_error_for_who_waits(ends: tuple[int, int]) -> None:
    read, write = ends
    outlet = Outlet(write, lambda data: None)
    outlet.put(MUCH)
    waiting = asyncio.create_task(outlet.drained())
    await asyncio.sleep(0)
    os.close(read)
    with pytest.raises(OSError):  # EPIPE, EIO
        await waiting
    outlet.put(b"x")
    assert not outlet.is_busy
    with pytest.raises(OSError):
        await outlet.drained()
    outlet.close()


async def test_a_file_goes_on_where_it_was(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb", buffering=0) as file:
        file.write(b"before ")
        outlet = Outlet(file.fileno(), lambda data: None)
        outlet.put(MUCH)
        await outlet.drained()
        outlet.close()
        file.write(b" after")
    assert (tmp_path / "file").read_bytes() == b"before " + MUCH + b" after"
