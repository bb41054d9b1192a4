from __future__ import annotations

import asyncio
import fcntl
import os
from dataclasses import replace

import pytest

from remote_shell.limits import Limits
from remote_shell.process import output
from remote_shell.process.output import OutputPipe
from remote_shell.process.poller import Poller
from tests.process.recorder import FAST, Recorder, eventually


class Pipe:
    """An OutputPipe, its writer, and what it told."""

    def __init__(self, limits: Limits = FAST) -> None:
        reader, self.writer = os.pipe2(os.O_CLOEXEC)
        self.sink = Recorder()
        self.changes = 0
        self.output = OutputPipe(1, reader, Poller.of(asyncio.get_running_loop()), self.sink, self._change, limits)

    def _change(self) -> None:
        self.changes += 1

    def close(self) -> None:
        self.output.close()
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1


async def test_chunks_and_the_end() -> None:
    pipe = Pipe()
    os.write(pipe.writer, b"no newline")
    await pipe.sink.until(lambda: pipe.sink.out == b"no newline")
    os.close(pipe.writer)
    pipe.writer = -1
    await pipe.sink.until(lambda: pipe.sink.ended == [1])
    assert pipe.changes == 1
    assert pipe.output.fd == -1


async def test_a_fault_of_whom_the_end_is_told_is_one_fault() -> None:
    """The pipe is closed all the same, or the poller would call for it without an end."""
    faults: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
    pipe = Pipe()
    reader = pipe.output.fd

    def fail(stream: int) -> None:
        raise ValueError("a fault of ours")

    pipe.sink.on_output_end = fail  # type: ignore[method-assign]
    os.close(pipe.writer)
    pipe.writer = -1
    await eventually(lambda: faults)
    await asyncio.sleep(0.02)
    assert len(faults) == 1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reader)
    pipe.close()


async def test_paused_it_reads_nothing_and_resumed_it_loses_nothing() -> None:
    pipe = Pipe()
    pipe.output.pause()
    os.write(pipe.writer, b"abc")
    await asyncio.sleep(0.01)
    assert pipe.sink.out == b""
    pipe.output.resume()
    assert pipe.sink.out == b""  # never within the call
    await pipe.sink.until(lambda: pipe.sink.out == b"abc")
    pipe.close()


async def test_a_pause_within_a_chunk_is_kept() -> None:
    pipe = Pipe(replace(FAST, pipe_read=4))
    pipe.sink.when_output = pipe.output.pause
    os.write(pipe.writer, b"abcdefgh")
    await pipe.sink.until(lambda: pipe.sink.out)
    await asyncio.sleep(0.01)
    assert pipe.sink.out == b"abcd"
    pipe.output.settle()
    assert pipe.output.due == 4
    pipe.close()


async def test_settling_passes_on_what_is_there_now() -> None:
    pipe = Pipe(replace(FAST, pipe_read=4, pipes_grown_max=0))
    os.write(pipe.writer, b"0123456789")
    pipe.output.settle()
    assert (pipe.sink.out, pipe.output.due) == (b"0123456789", 0)
    pipe.output.settle()
    assert pipe.output.due == 0
    pipe.close()


async def test_settling_does_not_follow_a_writer_that_goes_on() -> None:
    pipe = Pipe(replace(FAST, pipe_read=4, pipes_grown_max=0))
    os.write(pipe.writer, b"0123456789")

    def write_more() -> None:
        os.write(pipe.writer, b"more")

    pipe.sink.when_output = write_more
    pipe.output.settle()
    assert len(pipe.sink.out) <= 14  # the four that came within the first read, at most
    assert pipe.output.due == 0
    pipe.sink.when_output = lambda: None
    pipe.close()


async def test_settling_while_paused_counts_and_tells_when_it_was_passed_on() -> None:
    pipe = Pipe()
    pipe.output.pause()
    os.write(pipe.writer, b"abc")
    pipe.output.settle()
    assert (pipe.output.due, pipe.changes) == (3, 0)
    pipe.output.resume()
    await eventually(lambda: pipe.changes == 1)
    assert pipe.output.due == 0
    pipe.close()


async def test_the_end_within_settling_is_told() -> None:
    pipe = Pipe()
    os.write(pipe.writer, b"abc")
    os.close(pipe.writer)
    pipe.writer = -1
    pipe.output.settle()
    pipe.output.settle()
    assert pipe.sink.log == ["output 1", "end 1"]
    pipe.output.settle()
    pipe.output.pause()  # between the end and its tidying
    pipe.output.resume()
    pipe.output.tidy()
    pipe.output.close()


async def test_a_full_pipe_grows_within_the_bound_for_all() -> None:
    limits = replace(FAST, pipe_read=4096, pipe_grown=131072, pipes_grown_max=1)
    before = output._grown
    pipes = [Pipe(limits), Pipe(limits)]
    for pipe in pipes:
        os.write(pipe.writer, bytes(4096))
        await pipe.sink.until(lambda pipe=pipe: pipe.sink.out)  # type: ignore[misc]
    sizes = [fcntl.fcntl(pipe.output.fd, fcntl.F_GETPIPE_SZ) for pipe in pipes]
    assert sizes == [131072, 65536]
    for pipe in pipes:
        pipe.close()
    assert output._grown == before


async def test_closing_twice_and_changing_after_it_do_no_harm() -> None:
    pipe = Pipe()
    pipe.output.close()
    pipe.output.close()
    pipe.output.pause()
    pipe.output.resume()
    assert pipe.sink.log == []
    pipe.close()
