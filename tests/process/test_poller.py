from __future__ import annotations

import asyncio
import gc
import os
import weakref

import pytest

from remote_shell.process import poller
from remote_shell.process.poller import Poller
from tests.process.recorder import eventually


async def test_it_calls_while_there_is_something() -> None:
    reader, writer = os.pipe()
    poll = Poller.of(asyncio.get_running_loop())
    calls: list[bytes] = []
    poll.add(reader, poller.READ, lambda: calls.append(os.read(reader, 1)))
    os.write(writer, b"ab")
    await eventually(lambda: calls == [b"a", b"b"])
    poll.drop(reader)
    os.write(writer, b"c")
    await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    assert calls == [b"a", b"b"]
    os.close(reader)
    os.close(writer)


async def test_nothing_is_called_that_was_dropped_by_a_call_before_it() -> None:
    pipes = [os.pipe() for _ in range(2)]
    poll = Poller.of(asyncio.get_running_loop())
    calls: list[int] = []

    def first_takes_all(mine: int) -> None:
        calls.append(mine)
        for reader, _ in pipes:
            poll.drop(reader)

    for reader, writer in pipes:
        os.write(writer, b"x")
        poll.add(reader, poller.READ, lambda reader=reader: first_takes_all(reader))  # type: ignore[misc]
    await eventually(lambda: calls)
    await asyncio.sleep(0.01)
    assert len(calls) == 1
    for pair in pipes:
        os.close(pair[0])
        os.close(pair[1])


async def test_one_turn_is_bounded() -> None:
    pipes = [os.pipe() for _ in range(100)]
    poll = Poller.of(asyncio.get_running_loop())
    calls: list[int] = []
    for reader, writer in pipes:
        os.write(writer, b"x")
        poll.add(reader, poller.READ, lambda: calls.append(1))
    poll._turn()
    assert 0 < len(calls) <= 32
    for pair in pipes:
        poll.drop(pair[0])
        os.close(pair[0])
        os.close(pair[1])


async def test_every_descriptor_gets_its_turn() -> None:
    pipes = [os.pipe() for _ in range(100)]
    poll = Poller.of(asyncio.get_running_loop())
    seen: set[int] = set()
    for reader, writer in pipes:
        os.write(writer, b"x")
        poll.add(reader, poller.READ, lambda reader=reader: seen.add(reader))  # type: ignore[misc]
    await eventually(lambda: len(seen) == 100)
    for pair in pipes:
        poll.drop(pair[0])
        os.close(pair[0])
        os.close(pair[1])


async def test_a_loop_has_one() -> None:
    loop = asyncio.get_running_loop()
    assert Poller.of(loop) is Poller.of(loop)


async def test_what_the_kernel_refuses_is_not_kept() -> None:
    poll = Poller.of(asyncio.get_running_loop())
    with open("/etc/passwd", "rb") as file, pytest.raises(PermissionError):  # epoll takes no plain file
        poll.add(file.fileno(), poller.READ, lambda: None)
    assert not poll._callbacks


def test_it_goes_with_its_loop() -> None:
    loop = asyncio.new_event_loop()
    Poller.of(loop)
    gone = weakref.ref(loop)
    loop.close()
    del loop
    gc.collect()
    assert gone() is None
