"""A hundred thousand small worlds of client and server cores; tests/wire/simulation.py is the world, and names what must hold in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.wire.simulation import BrokenError, simulate
from torture_parts.errands import parts
from torture_parts.figure import Figure, Settings, none, told

BLOCK = 250  # seeds of one errand


def run(settings: Settings) -> Iterator[Figure]:
    """Each seed from that of the command line on."""
    count = settings.many(100_000, 500)
    seen: Counter[str] = Counter()
    broken: list[str] = []
    for counted, said in parts("simulate", errand, settings.seed, count, BLOCK):
        seen += Counter(counted)
        broken += said
    yield told(f"worlds, seeds from {settings.seed} on", f"{count:,}")
    yield told("what happened in them", ", ".join(f"{number:,} × {kind}" for kind, number in seen.items()))
    yield none("invariants broken", len(broken), f": {broken[0]}" if broken else "")


def errand(first: int, numbers: range) -> tuple[dict[str, int], list[str]]:
    """What happened in these worlds, and what broke."""
    seen: Counter[str] = Counter()
    broken: list[str] = []
    for number in numbers:
        try:
            seen += Counter(simulate(first + number))
        except BrokenError as error:
            broken.append(str(error))
    return dict(seen), broken
