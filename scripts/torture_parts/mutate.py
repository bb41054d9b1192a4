"""A million spoilt inputs for the decoder and the state machines of both roles; tests/wire/spoiling.py makes them."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.server.conftest import resident
from tests.wire.spoiling import MACHINES, EscapedError, attack_many
from torture_parts.figure import Figure, Settings, at_most, none, show, told

BLOCK = 5_000  # inputs of one errand
WARM = 4  # a worker's first errands, in which caches fill
MIB = 2**20


def run(settings: Settings) -> Iterator[Figure]:
    """Nothing but the named errors, and no memory kept."""
    count = settings.many(1_000_000, 20_000)
    found: Counter[str] = Counter()
    escaped: list[str] = []
    memory: dict[int, list[int]] = {}
    cpus = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cpus, multiprocessing.get_context("spawn")) as pool:
        blocks = [(settings.seed, range(first, min(first + BLOCK, count))) for first in range(0, count, BLOCK)]
        for number, (counted, said, pid, size) in enumerate(pool.map(errand, *zip(*blocks, strict=True))):
            show(f"mutate: {number * BLOCK:,} of {count:,}")
            found += Counter(counted)
            escaped += said
            memory.setdefault(pid, []).append(size)
    yield told(f"inputs (seed {settings.seed}) for {len(MACHINES)} machines", f"{count:,}")
    yield none("something else than the named errors", len(escaped), f": {escaped[0]}" if escaped else "")
    words = ", ".join(f"{code} {number:,}" for code, number in found.most_common() if code)
    yield told("still good", f"{found['']:,}")
    yield told(f"kinds of errors: {len(found) - 1}", words)
    grown = max(sizes[-1] - sizes[min(WARM, len(sizes) - 1)] for sizes in memory.values())
    yield at_most("memory grown meanwhile, a process", 5, max(0, grown) / MIB, " MiB")


def errand(seed: int, numbers: range) -> tuple[dict[str, int], list[str], int, int]:
    """One block: codes, what escaped, which process, its memory."""
    try:
        found, escaped = dict(attack_many(seed, numbers)), []
    except EscapedError as error:
        found, escaped = {}, [str(error)]
    return found, escaped, os.getpid(), resident(os.getpid())
