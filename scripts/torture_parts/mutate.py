"""A million spoilt inputs for the decoder and the state machines of both roles; tests/wire/spoiling.py makes them."""

from __future__ import annotations

import ctypes
import gc
import os
import statistics
from collections import Counter
from collections.abc import Iterator

from tests.server.conftest import resident
from tests.wire.spoiling import MACHINES, EscapedError, attack_many
from torture_parts.errands import parts
from torture_parts.figure import Figure, Settings, at_most, none, told

BLOCK = 5_000  # inputs of one errand
WARM = 4  # a worker's first errands, in which caches fill
MIB = 2**20
TRIM = ctypes.CDLL(None).malloc_trim


def run(settings: Settings) -> Iterator[Figure]:
    """Nothing but the named errors, and no memory kept."""
    count = settings.many(1_000_000, 20_000)
    found: Counter[str] = Counter()
    escaped: list[str] = []
    memory: dict[int, list[int]] = {}
    for counted, said, pid, size in parts("mutate", errand, settings.seed, count, BLOCK):
        found += Counter(counted)
        escaped += said
        memory.setdefault(pid, []).append(size)
    yield told(f"inputs (seed {settings.seed}) for {len(MACHINES)} machines", f"{count:,}")
    yield none("something else than the named errors", len(escaped), f": {escaped[0]}" if escaped else "")
    words = ", ".join(f"{code} {number:,}" for code, number in found.most_common() if code)
    yield told("still good", f"{found['']:,}")
    yield told(f"kinds of errors: {len(found) - 1}", words)
    yield at_most("memory grown meanwhile, a process", 5, max(map(grown, memory.values())) / MIB, " MiB")


def grown(sizes: list[int]) -> float:
    """From the first third of a worker's life, without its first errands, to the last: medians, for a size is taken at any moment."""
    third = max(1, (len(sizes) - WARM) // 3)
    return max(0.0, statistics.median(sizes[-third:]) - statistics.median(sizes[WARM:][:third] or sizes[:1]))


def errand(seed: int, numbers: range) -> tuple[dict[str, int], list[str], int, int]:
    """One block: codes, what escaped, which process, its memory."""
    try:
        found, escaped = dict(attack_many(seed, numbers)), []
    except EscapedError as error:
        found, escaped = {}, [str(error)]
    gc.collect()
    TRIM(0)  # else the allocator keeps some MiB for later, now and then
    return found, escaped, os.getpid(), resident(os.getpid())
