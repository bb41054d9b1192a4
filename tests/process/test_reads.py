"""Reads of terminals, told by the kernel."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from remote_shell.process.reads import Reads
from tests.process.recorder import eventually


class Pair:
    """A terminal with our reader."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.path = os.fsencode(os.ttyname(self.slave))

    def pass_line(self) -> None:
        os.write(self.master, b"line\n")
        assert os.read(self.slave, 100) == b"line\n"

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


@pytest.fixture
def other() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


async def test_each_terminals_reads_are_told_to_who_watches_it(pair: Pair, other: Pair) -> None:
    told: list[str] = []
    reads = Reads.of(asyncio.get_running_loop())
    assert Reads.of(asyncio.get_running_loop()) is reads
    first = reads.watch(pair.path, lambda: told.append("first"))
    second = reads.watch(other.path, lambda: told.append("second"))
    os.write(pair.master, b"not read yet\n")
    other.pass_line()
    await eventually(lambda: told == ["second"])
    os.read(pair.slave, 100)
    await eventually(lambda: told == ["second", "first"])
    reads.forget(first)
    pair.pass_line()
    other.pass_line()
    await eventually(lambda: len(told) == 3)
    assert told[2] == "second"
    reads.forget(second)


async def test_what_is_forgotten_by_a_callback_is_not_told_any_more(pair: Pair, other: Pair) -> None:
    told: list[str] = []
    reads = Reads.of(asyncio.get_running_loop())

    def forget(name: str) -> None:
        told.append(name)
        reads.forget(numbers["other" if name == "pair" else "pair"])

    numbers = {
        "pair": reads.watch(pair.path, lambda: forget("pair")),
        "other": reads.watch(other.path, lambda: forget("other")),
    }
    pair.pass_line()
    other.pass_line()
    await eventually(lambda: bool(told))
    assert told == ["pair"]
    reads.forget(numbers["pair"])


async def test_a_terminal_that_is_gone_is_forgotten_without_an_error() -> None:
    gone = Pair()
    reads = Reads.of(asyncio.get_running_loop())
    number = reads.watch(gone.path, lambda: None)
    gone.close()
    with pytest.raises(FileNotFoundError):
        reads.watch(gone.path, lambda: None)
    reads.forget(number)
