"""When to look again and again instead of sleeping: for an answer that comes within microseconds.

A core that sleeps takes 25 microseconds to wake where it is a virtual one, and what runs then finds cold caches; a command waits for four
such wake-ups. Who looks without sleeping lets others run between two looks (sched_yield), no longer than `Spin.time`, and not at all
where it would be of no use: with one CPU, and where waits were too long for it. On a busy machine they are, since who yields to a program
that computes gets its CPU back after milliseconds, while who wakes gets it at once.

Neighbours: `driver` waits so for a command's end.
"""

from __future__ import annotations

import os
from functools import cache

_MEMORY = 16  # bounds the score: so many waits are remembered, as it were
_FAILURE = 4  # a wait without sleep that took too long weighs as much as so many others


class Spin:
    """What one waiter knows of its waits: whether the next is likely to be short. Nothing at first, so it sleeps."""

    __slots__ = ("_began", "_score", "_sleepless", "time")

    def __init__(self, time: float) -> None:
        self.time = time  # seconds that a wait may go without sleep
        self._score = 0  # short waits less those that took longer; above 0 the next goes without sleep
        self._began = 0.0
        self._sleepless = False

    def begin(self, now: float) -> float:
        """A wait begins. Until when it should go without sleep: `now` for not at all."""
        self._began = now
        self._sleepless = self._score > 0 and cpus() >= 2
        return now + self.time if self._sleepless else now

    def end(self, now: float) -> None:
        """What it waited for is there."""
        if now - self._began <= self.time:
            self._score = min(self._score + 1, _MEMORY)
        else:
            self._score = max(self._score - (_FAILURE if self._sleepless else 1), -_MEMORY)


@cache
def cpus() -> float:
    """How many CPUs this process may use at once, as it was when first asked: its affinity, and its cgroups' quota."""
    return min([float(len(os.sched_getaffinity(0))), *quotas()])


def quotas(proc: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> list[float]:
    """Those of its cgroup and of all above it: cgroups(7), cpu.max of version 2 (or what version 1 has instead)."""
    found: list[float] = []
    for line in _lines(proc):
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = os.path.join(root, "cpu") if controllers else root
        folder = os.path.normpath(f"{top}/{path}")
        while folder.startswith(top):
            if controllers:
                words = [*_lines(f"{folder}/cpu.cfs_quota_us"), *_lines(f"{folder}/cpu.cfs_period_us")]
            else:
                words = " ".join(_lines(f"{folder}/cpu.max")).split()
            if len(words) == 2 and words[0].isdigit() and words[1].isdigit():  # "max" and -1 are no quota
                found.append(int(words[0]) / int(words[1]))
            folder = os.path.dirname(folder)
    return found


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().split("\n")[:-1]
    except OSError:
        return []
