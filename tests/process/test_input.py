from __future__ import annotations

import asyncio
import os
import tracemalloc

from remote_shell.process.input import InputPipe
from remote_shell.process.poller import Poller
from tests.process.recorder import FAST, eventually


class Pipe:
    """An InputPipe, its reader, and the credit it gave."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe2(os.O_CLOEXEC)
        self.credit = 0
        self.input = InputPipe(writer, Poller.of(asyncio.get_running_loop()), self._take, FAST)

    def _take(self, n: int) -> None:
        assert n > 0
        self.credit += n

    def close(self) -> None:
        self.input.close()
        os.close(self.reader)


async def test_what_fits_is_taken_at_once() -> None:
    pipe = Pipe()
    pipe.input.write(b"abc")
    pipe.input.write(b"")
    assert pipe.credit == 3
    assert os.read(pipe.reader, 10) == b"abc"
    pipe.close()


async def test_what_does_not_fit_waits_in_order_and_the_end_waits_too() -> None:
    pipe = Pipe()
    data = os.urandom(200_000)
    for at in range(0, len(data), 1024):
        pipe.input.write(memoryview(data)[at : at + 1024])
    pipe.input.close_when_written()
    assert pipe.credit == 65536
    got = b""
    os.set_blocking(pipe.reader, False)

    def read() -> bool:
        nonlocal got
        try:
            got += os.read(pipe.reader, 65536)
        except BlockingIOError:
            return False
        return pipe.input.fd < 0

    await eventually(read)
    while chunk := os.read(pipe.reader, 65536):
        got += chunk
    assert got == data
    assert pipe.credit == len(data)
    pipe.close()


async def test_the_callers_buffer_may_change_after_the_call() -> None:
    pipe = Pipe()
    buffer = bytearray(b"x" * 100_000)
    pipe.input.write(memoryview(buffer))
    buffer[:] = b"y" * 100_000
    assert os.read(pipe.reader, 65536) == b"x" * 65536
    await eventually(lambda: pipe.credit == 100_000)
    assert set(os.read(pipe.reader, 65536)) == {ord("x")}
    pipe.close()


async def test_when_nobody_reads_all_is_thrown_away_and_credited() -> None:
    pipe = Pipe()
    pipe.input.write(bytes(100_000))
    os.close(pipe.reader)
    await eventually(lambda: pipe.credit == 100_000)
    pipe.input.write(b"abc")
    assert pipe.credit == 100_003
    pipe.reader = os.open("/dev/null", os.O_RDONLY)
    pipe.close()


async def test_after_the_end_data_is_thrown_away() -> None:
    pipe = Pipe()
    pipe.input.close_when_written()
    pipe.input.write(b"late")
    assert pipe.credit == 4
    assert os.read(pipe.reader, 10) == b""
    pipe.close()


async def test_data_after_the_end_is_not_slipped_in_while_the_queue_empties() -> None:
    pipe = Pipe()
    pipe.input.write(bytes(100_000))
    pipe.input.close_when_written()
    pipe.input.write(b"late")
    assert pipe.credit == 65536 + 4
    pipe.close()
    assert pipe.credit == 100_004


async def test_a_window_of_single_bytes_costs_little_more_than_its_bytes() -> None:
    """To a program that does not read. They come out as they came."""
    pipe = Pipe()
    data = os.urandom(200_000)
    tracemalloc.start()
    try:
        for at in range(len(data)):
            pipe.input.write(data[at : at + 1])
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 4 * (len(data) - pipe.credit)
    pipe.input.close_when_written()
    got = b""
    os.set_blocking(pipe.reader, False)

    def read() -> bool:
        nonlocal got
        try:
            chunk = os.read(pipe.reader, 5000)
        except BlockingIOError:
            return False
        got += chunk
        return not chunk

    await eventually(read)
    assert got == data
    assert pipe.credit == len(data)
    pipe.close()
