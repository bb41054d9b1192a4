"""A keeper's descendants: it is the only subreaper above them, so they are all processes of its job, wherever they went.

`process.tree` does the same for a server, which adopts the orphans of many commands and can't tell them apart; it imports asyncio, which
would more than double a keeper. Must never signal by a number that may be another's by now. Imported by the keeper: nothing heavy here.
"""

from __future__ import annotations

import os
import signal


def living(root: int) -> dict[int, bytes]:
    """The living descendants of `root`, each with the time at which it began: proc_pid_stat(5). `root` is not among them."""
    found: dict[int, bytes] = {}
    waiting = _children(root)
    seen: set[int] = set()
    while waiting:
        pid = waiting.pop()
        if pid in seen:
            continue
        seen.add(pid)
        state, begun = _stat(pid)
        if state and state not in b"ZX":
            found[pid] = begun
        waiting += _children(pid)
    return found


def signal_all(root: int, number: int) -> int:
    """Signal all of them, by handles that can't be another's; returns how many there were."""
    members = living(root)
    for pid, begun in members.items():
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            if _stat(pid)[1] == begun:
                signal.pidfd_send_signal(handle, number)
        except (ProcessLookupError, PermissionError):
            pass
        finally:
            os.close(handle)
    return len(members)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
                found += map(int, file.readall().split())
    except OSError:
        pass
    return found


def _stat(pid: int) -> tuple[bytes, bytes]:
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.readall().rpartition(b")")[2].split()
    except OSError:
        return b"", b""
    return fields[0], fields[19]
