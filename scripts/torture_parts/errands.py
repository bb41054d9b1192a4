"""Numbered work in as many processes as there are processors."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TypeVar

from torture_parts.figure import show

Told = TypeVar("Told")


def parts(what: str, errand: Callable[[int, range], Told], seed: int, count: int, block: int) -> Iterator[Told]:
    """What `errand(seed, numbers)` tells for each block of the numbers below `count`. It crosses to a process: a function of a module."""
    wanted = blocks(count, block)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), multiprocessing.get_context("spawn")) as pool:
        try:
            for numbers, told in zip(wanted, pool.map(partial(errand, seed), wanted), strict=True):
                show(f"{what}: {numbers.stop:,} of {count:,}")
                yield told
        finally:
            pool.shutdown(cancel_futures=True)


def blocks(count: int, block: int) -> list[range]:
    """The numbers below `count`, in parts of at most `block`."""
    return [range(first, min(first + block, count)) for first in range(0, count, block)]
