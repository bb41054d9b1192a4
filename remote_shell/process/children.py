"""Which of this process's children are whose, and the reaping of those that nobody waits for.

A server that is a subreaper adopts the orphans of its commands. When they die somebody must reap them, and
`waitpid(-1)` would steal the statuses that Popen waits for. So each child that we start is noted here, and the reaper
waits for the others by their pids.

Must never reap a noted child, nor one in the server's own process group: that one was started by other code in this
process (a test's own subprocess), since every command leads a session of its own and so do its orphans.

SIGCHLD as a trigger was rejected: each command would cost one more wake-up of the loop (about 15 microseconds), and
handlers need the main thread. A look a second costs one system call.

Neighbours: `launch` notes, `pipes` forgets, `tree` asks for orphans, the server owns an `OrphanReaper`.
"""

from __future__ import annotations

import asyncio
import os
import threading

# Held from before a fork until the child is noted: the reaper of another loop in this process must not see it between.
starting = threading.Lock()
_ours: set[int] = set()


def note(pid: int) -> None:
    """`pid` was started by us and is waited for by whoever started it. Call with `starting` held."""
    _ours.add(pid)


def forget(pid: int) -> None:
    """`pid` was reaped by whoever started it."""
    _ours.discard(pid)


def children_of(pid: int) -> list[int]:
    """The direct children of a process, of all its threads. Empty if it is gone. proc(5): /proc/PID/task/TID/children.

    The kernel may skip one when another exits during the read: look again before believing that none is left.
    """
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
                found.extend(map(int, file.readall().split()))
        except OSError:
            continue
    return found


def orphans() -> list[int]:
    """Our children that we did not start: adopted, alive or zombie."""
    with starting:
        others = [pid for pid in children_of(os.getpid()) if pid not in _ours]
    own_group = os.getpgrp()
    return [pid for pid in others if _group_of(pid) not in (own_group, None)]


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def reap_orphans() -> int:
    """Reap the dead among the orphans; returns how many. Never blocks."""
    count = 0
    for pid in orphans():
        try:
            count += os.waitpid(pid, os.WNOHANG)[0] == pid
        except ChildProcessError:
            continue
    return count


class OrphanReaper:
    """Reaps dead orphans at least every `interval` seconds while it runs. One a server."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interval: float) -> None:
        self._loop = loop
        self._interval = interval
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin. Reaps what is dead already."""
        self.stop()
        self._tick()

    def stop(self) -> None:
        """End; may be started again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self._interval, self._tick)
        try:
            # Looks only: WNOWAIT leaves the child waitable. It may be one of ours, so it says no more than "go and see".
            dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if dead is not None:
            reap_orphans()
