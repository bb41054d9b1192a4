"""When to look again and again instead of sleeping: for an answer that comes within microseconds.

A core that sleeps takes 5 to 60 microseconds to wake where it is a virtual one, and a command waits for four such wake-ups. Who looks
without sleeping lets others run between two looks (sched_yield), and no longer than `Spin.time`. Whether it is of use nobody can know
beforehand: on a busy machine who yields to a program that computes gets its CPU back after milliseconds, while who wakes gets it at once.
So both ways are tried, and the quicker one is taken.

Neighbours: `driver` waits so for a command's end.
"""

from __future__ import annotations

import os
from collections import deque
from functools import cache

_MEMORY = 9  # waits of each way that are remembered: their median counts, so a long command among short ones does not
_TRY = 17  # each so many waits the other way is tried; a prime, since commands of a loop come in the same order again and again


class Spin:
    """What one waiter knows of its waits: which way the last ones were shorter. Nothing at first, so it sleeps."""

    __slots__ = ("_asleep", "_awake", "_began", "_count", "_sleepless", "_useful", "time")

    def __init__(self, time: float) -> None:
        self.time = time  # seconds that a wait may go without sleep
        self._asleep: deque[float] = deque(maxlen=_MEMORY)  # how long the last waits took, at most `time`
        self._awake: deque[float] = deque(maxlen=_MEMORY)
        self._useful = False  # not to sleep
        self._sleepless = False  # the present wait
        self._began = 0.0
        self._count = 0

    def begin(self, now: float) -> float:
        """A wait begins. Until when it should go without sleep: `now` for not at all."""
        self._began = now
        self._count += 1
        self._sleepless = self._useful is (self._count % _TRY > 0) and cpus() >= 2
        return now + self.time if self._sleepless else now

    def end(self, now: float) -> None:
        """What it waited for is there."""
        waits = self._awake if self._sleepless else self._asleep
        waits.append(min(now - self._began, self.time))
        if self._asleep:
            asleep = _median(self._asleep)
            self._useful = asleep > _median(self._awake) if self._awake else asleep < self.time


def _median(waits: deque[float]) -> float:
    return sorted(waits)[len(waits) // 2]


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
