"""A command's processes, wherever they went: its session, its descendants, and adopted orphans that carry its id.

Must never signal a process by a number that may have been given to another one meanwhile: a leader that is not reaped
keeps its own number and its group's; every other process is held by a pidfd and looked at again before the signal.

What gets away: a process that left the session, whose parents are gone, and whose environment lacks the id (it was cleared, or
the command was started under an exact `env=`). Without a subreaper the orphans that left the session get away too.

Neighbours: `pipes` and `shell` end their trees here, `children` knows the orphans.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Collection
from dataclasses import dataclass
from weakref import WeakSet

from remote_shell.limits import Limits
from remote_shell.process import children
from remote_shell.process.environment import COMMAND_ID

_FIRST_LOOK = 0.001  # seconds from a KILL to the next look; doubles
_LOOK_MAX = 0.05
_CLEAN_LOOKS = 2  # looks in a row that must find nothing: /proc may skip a process when another exits during the read
Image = tuple[str, int]  # an executable, and where the stack of this very start of it begins
_PF_EXITING = 0x4  # include/linux/sched.h; column 9 of /proc/PID/stat


@dataclass(frozen=True, slots=True)
class Stat:
    """What /proc/PID/stat says: proc(5). `start` (clock ticks since boot) tells a process from a later one of its number."""

    state: str
    parent: int
    group: int
    session: int
    flags: int
    start: int

    @classmethod
    def of(cls, pid: int) -> Stat | None:
        """None if there is no such process."""
        try:
            with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
                text = file.readall()
        except OSError:
            return None
        fields = text[text.rindex(b")") + 2 :].split()  # the name before it may hold spaces and brackets
        return cls(fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[6]), int(fields[19]))

    @property
    def alive(self) -> bool:
        """It still runs: neither a zombie nor on its way there."""
        return self.state not in "ZX" and not self.flags & _PF_EXITING


class ProcessTree:
    """The processes of one command. `held` says that the leader is not reaped: set it to False when it is."""

    __slots__ = ("_known", "_mark", "held", "leader")

    def __init__(self, leader: int, command_id: str | None) -> None:
        self.leader = leader
        self.held = True
        self._known: dict[int, int] = {}  # members seen before: number and start
        self._mark = None if command_id is None else b"\0%s=%s\0" % (COMMAND_ID, os.fsencode(command_id))

    @classmethod
    def left_behind(cls, prefix: str) -> ProcessTree:
        """Not one command's processes, but those that commands whose ids begin with `prefix` left behind: adopted, not killed."""
        tree = cls(0, None)
        tree.held = False
        tree._mark = b"\0%s=%s" % (COMMAND_ID, os.fsencode(prefix))
        return tree

    def members(self) -> dict[int, Stat]:
        """The living ones, the leader among them. Who was a member once remains one, whoever its parent is now."""
        found: dict[int, Stat] = {}
        if self.held:
            _collect(self.leader, found)
        for pid in children.orphans():
            stat = Stat.of(pid)
            # A session's number is safe to compare only while the leader holds it.
            if stat is not None and ((self.held and stat.session == self.leader) or self._is_marked(pid)):
                _collect(pid, found)
        for pid, start in self._known.items():
            stat = Stat.of(pid)
            if stat is not None and stat.start == start:
                _collect(pid, found)
        self._known = {pid: stat.start for pid, stat in found.items()}
        return found

    def signal(self, number: int) -> int:
        """Signal the whole tree once; returns how many members were alive. Those that we may not signal count too."""
        members = self.members()  # before the signal: a parent's death hides whose a process was
        group = self.held and signal_group(self.leader, number)
        for pid, stat in members.items():
            if not (group and stat.group == self.leader):
                signal_process(pid, stat, number)
        return len(members)

    def _is_marked(self, pid: int) -> bool:
        if self._mark is None:
            return False
        try:
            with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
                return self._mark in b"\0" + file.readall()
        except OSError:  # gone, or another account's
            return False


def signal_group(leader: int, number: int) -> bool:
    """Signal the process group of an unreaped leader. False if nobody in it can be signalled."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def signal_process(pid: int, stat: Stat, number: int) -> None:
    """Signal the very process that `stat` was read of; nothing if it is gone or not ours to signal."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        now = Stat.of(pid)
        if now is not None and now.start == stat.start:
            signal.pidfd_send_signal(handle, number)
    except (ProcessLookupError, PermissionError):
        return
    finally:
        os.close(handle)


def dies_of(pid: int, number: int) -> bool:
    """Whether that signal ends the process: neither blocked, nor ignored, nor caught."""
    masks = _signal_masks(pid, b"SigBlk:", b"SigIgn:", b"SigCgt:")
    return len(masks) == 3 and not any(mask >> (number - 1) & 1 for mask in masks)


def hears(pid: int, number: int) -> bool:
    """Whether that signal ends the process or is caught by it: neither blocked nor ignored."""
    masks = _signal_masks(pid, b"SigBlk:", b"SigIgn:")
    return len(masks) == 2 and not any(mask >> (number - 1) & 1 for mask in masks)


def blocks(pid: int, number: int) -> bool:
    """Whether that signal waits, if it is sent now. False where that is not to be seen."""
    return any(mask >> (number - 1) & 1 for mask in _signal_masks(pid, b"SigBlk:"))


def _signal_masks(pid: int, *names: bytes) -> list[int]:
    """Those lines of proc_pid_status(5), in its order; none if there is no such process."""
    try:
        with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
            lines = file.readall().split(b"\n")
    except OSError:
        return []
    return [int(line[7:], 16) for line in lines if line.startswith(names)]


def image(pid: int) -> Image | None:
    """What it runs. A fork keeps it and exec makes a new one, of the same file too. None where that is not to be seen."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.readall()
        stack = int(text[text.rindex(b")") + 2 :].split()[25])  # startstack, random at each exec; 0 if kept from us
        return (os.readlink(f"/proc/{pid}/exe"), stack) if stack else None
    except OSError:
        return None


def descendants(pid: int, without: Collection[int] = ()) -> dict[int, Stat]:
    """The living descendants of a process, except for the direct children in `without` and theirs."""
    found: dict[int, Stat] = {}
    for child in children.children_of(pid):
        if child not in without:
            _collect(child, found)
    return found


def _collect(root: int, found: dict[int, Stat]) -> None:
    waiting = [root]
    seen = set(found)
    while waiting:
        pid = waiting.pop()
        if pid in seen:
            continue
        seen.add(pid)
        stat = Stat.of(pid)
        if stat is None:
            continue
        if stat.alive:
            found[pid] = stat
        waiting.extend(children.children_of(pid))


class TreeKiller:
    """The ladder: a first signal, then KILL until nothing of the tree is left. `gone` is called once, at its end.

    It ends when two looks found nothing, or after limits.kill_give_up (a process that hangs in the kernel, or another account's).
    """

    __slots__ = (
        "__weakref__",
        "_clean",
        "_deadline",
        "_delay",
        "_gone",
        "_kill_at",
        "_limits",
        "_loop",
        "_timer",
        "_tree",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, tree: ProcessTree, gone: Callable[[], None], limits: Limits
    ) -> None:
        self._loop = loop
        self._tree = tree
        self._gone = gone
        self._limits = limits
        self._kill_at = float("inf")  # from this moment of the loop's clock on, KILL
        self._deadline = float("inf")
        self._delay = _FIRST_LOOK
        self._clean = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, first: int, grace: float) -> None:
        """Send `first` to the tree, KILL after `grace` seconds. Again: signals again, and the earlier KILL counts."""
        _under_way.add(self)
        now = self._loop.time()
        self._kill_at = min(self._kill_at, now + grace)
        if now < self._kill_at:
            self._tree.signal(first)
            self._tree.signal(signal.SIGCONT)  # a stopped process takes no other signal
            self._wait(self._kill_at - now)
        else:
            self._look()

    def hasten(self, grace: float) -> None:
        """KILL after `grace` seconds at the latest; no other signal."""
        now = self._loop.time()
        self._kill_at = min(self._kill_at, now + grace)
        if now < self._kill_at:
            self._wait(min(self._delay, self._kill_at - now))
        else:
            self._look()

    def leader_ended(self) -> None:
        """The leader is dead: see at once, and from now on often, whether anything else is left."""
        self._delay = _FIRST_LOOK
        self._look()

    def stop(self) -> None:
        """Kill no further. The tree stays as it is."""
        _under_way.discard(self)
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = self._loop.time()
        if now >= self._kill_at:
            self._deadline = min(self._deadline, now + self._limits.kill_give_up)
            left = self._tree.signal(signal.SIGKILL)
        else:
            left = len(self._tree.members())
        children.reap_orphans()
        self._clean = 0 if left else self._clean + 1
        if self._clean >= _CLEAN_LOOKS or now >= self._deadline:
            self.stop()
            self._gone()
            return
        self._wait(min(self._delay, self._kill_at - now) if now < self._kill_at else self._delay)
        self._delay = min(self._delay * 2, _LOOK_MAX)

    def _wait(self, delay: float) -> None:
        self._cancel()
        self._timer = self._loop.call_later(delay, self._look)


# Not the requests' to keep: a goodbye forgets those at once, and their trees die later.
_under_way: WeakSet[TreeKiller] = WeakSet()


def under_way(loop: asyncio.AbstractEventLoop) -> list[TreeKiller]:
    """The ladders of that loop at whose end something may still be alive: who ends before them leaves processes behind."""
    return [killer for killer in _under_way if killer._loop is loop]
