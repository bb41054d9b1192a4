"""Young commands: what their write ends in our hands change, and what they must not."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from dataclasses import replace

from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.process.young import Nursery, let_go

from .recorder import FAST, Recorder, start

BRIEF = replace(DEFAULT_LIMITS, young_time=0.001)
FOREVER = replace(FAST, young_time=1000.0)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def ends() -> list[int]:
    return list(os.pipe2(os.O_CLOEXEC))


async def test_the_ends_of_a_young_command_are_told_with_its_exit_alone() -> None:
    """It closes its output and goes on: as long as it is young nobody hears of that. Its exit brings both."""
    sink = Recorder()
    process, _ = start(["sh", "-c", "echo out; exec >&- 2>&-; read x; exit 3"], sink, stdin="pipe", limits=FOREVER)
    await sink.until(lambda: sink.out == b"out\n")
    for _ in range(100):
        await asyncio.sleep(0)
    assert not sink.ended
    process.write_stdin(b"\n")
    await sink.until(lambda: sink.exit is not None)
    assert sink.log == ["output 1", "stdin", "end 1", "end 2", "exit"]


async def test_what_a_command_left_in_the_pipes_comes_before_its_exit() -> None:
    sink = Recorder()
    start(["sh", "-c", "echo out; echo err >&2"], sink, limits=FOREVER)
    await sink.until(lambda: sink.exit is not None)
    assert (sink.out, sink.err, sink.log[-1]) == (b"out\n", b"err\n", "exit")
    assert sorted(sink.ended) == [1, 2]


async def test_a_survivor_that_holds_the_pipes_is_waited_for() -> None:
    """The exit is told, the ends are not, though we hold nothing any more."""
    read, write = os.pipe()
    sink = Recorder()
    start(["sh", "-c", f"(read x </proc/{os.getpid()}/fd/{read}; echo late) & exit 0"], sink, limits=FOREVER)
    await sink.until(lambda: sink.exit is not None)
    assert sink.ended == []
    os.write(write, b"\n")
    await sink.until(lambda: sorted(sink.ended) == [1, 2])
    assert sink.out == b"late\n"
    os.close(read)
    os.close(write)


async def test_one_that_is_young_no_more_is_heard_while_it_goes_on() -> None:
    sink = Recorder()
    process, _ = start(["sh", "-c", "exec >&- 2>&-; read x"], sink, stdin="pipe", limits=FAST)
    await sink.until(lambda: sorted(sink.ended) == [1, 2])
    assert sink.exit is None
    process.write_stdin(b"\n")
    await sink.until(lambda: sink.exit is not None)


async def test_all_grow_up_within_twice_the_time_and_the_timer_rests_then() -> None:
    loop = asyncio.get_running_loop()
    nursery = Nursery(loop, BRIEF)
    first, second = ends(), ends()
    held = [first.copy(), second.copy(), []]
    for one in held:
        nursery.add(one)
    while any(held):
        await asyncio.sleep(0.001)
    assert not any(map(is_open, first + second))
    third = ends()
    nursery.add(third)  # after a rest as before
    while third:
        await asyncio.sleep(0.001)


async def test_whoever_comes_first_closes_them_and_nobody_does_twice() -> None:
    nursery = Nursery(asyncio.get_running_loop(), BRIEF)
    held, marker = ends(), ends()
    nursery.add(held)
    let_go(held)
    let_go(held)
    others = ends()  # most likely the same numbers
    nursery.add(marker)
    while marker:
        await asyncio.sleep(0.001)
    assert all(map(is_open, others))
    let_go(others)


def test_a_nursery_does_not_keep_its_loop() -> None:
    loop = asyncio.new_event_loop()
    gone = weakref.ref(loop)
    held = ends()
    Nursery.of(loop, FOREVER).add(held)
    assert Nursery.of(loop, FOREVER) is Nursery.of(loop, FOREVER)
    loop.close()
    del loop
    gc.collect()
    assert gone() is None
    let_go(held)
