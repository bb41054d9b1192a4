"""Notices a shell that waits for its next typed line although it owes a report, asks for it, and else gives the shell up.

The report was dropped if the command sent SIGINT to the shell itself (`kill -INT $$`, a program that dies of it). It will never
come if the user took our words away (`builtin() { :; }`, `set -r`): without this such a command would hang for ever. Must never be
wrong about a command that merely takes long: it acts only on a shell that sleeps in the read of our own typed line. Where
/proc tells no `wchan` it does nothing.

Neighbours: `shell` owns one; it kills what is lost.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from remote_shell.limits import Limits
from remote_shell.process.input import InputPipe


class ShellWatch:
    """`due` gives the serial of the report that is owed, or None; `ask` types for it; `lost` is called when it will not come.

    It looks after limits.shell_watch_first, then less and less often up to shell_watch_time; not at all while nothing is owed.
    """

    __slots__ = ("_ask", "_asked", "_delay", "_due", "_limits", "_loop", "_lost", "_timer", "_typed", "pid")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        pid: int,
        typed: InputPipe,
        due: Callable[[], int | None],
        ask: Callable[[int], None],
        lost: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._limits = limits
        self.pid = pid
        self._typed = typed
        self._due = due
        self._ask = ask
        self._lost = lost
        self._asked: int | None = None  # the serial that we have asked for
        self._delay = limits.shell_watch_first
        self._timer: asyncio.TimerHandle | None = None

    def arm(self) -> None:
        """A report is owed from now on. Costs nothing while a look is planned already; an idle shell has none."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._delay, self._look)

    def hurry(self) -> None:
        """Something happened that may have dropped the report: look soon, if one is owed."""
        if self._timer is not None and self._due() is not None:
            self._timer.cancel()
            self._delay = self._limits.shell_watch_first
            self._timer = self._loop.call_later(self._delay, self._look)

    def stop(self) -> None:
        """The shell is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        due = self._due()
        if due is None:
            self._delay = self._limits.shell_watch_first
            return
        self._delay = min(2 * self._delay, self._limits.shell_watch_time)
        if self._is_idle():
            if due == self._asked:
                self._lost()
                return
            self._asked = due
            self._ask(due)
        self.arm()

    def _is_idle(self) -> bool:
        """Everything typed was read, and the shell sleeps reading a pipe while its descriptor 0 is ours: no command runs."""
        if self._typed.fd < 0 or self._typed.unread():
            return False
        try:
            with open(f"/proc/{self.pid}/wchan", "rb", buffering=0) as file:
                if b"pipe" not in file.readall():
                    return False
            return os.stat(f"/proc/{self.pid}/fd/0").st_ino == os.fstat(self._typed.fd).st_ino
        except OSError:
            return False
