"""That a broken shell is found, and a busy one never, is shown with real shells in test_shell."""

from __future__ import annotations

import asyncio
import os
import subprocess
from dataclasses import replace
from pathlib import Path

from remote_shell.process.input import InputPipe
from remote_shell.process.poller import Poller
from remote_shell.process.shell_watch import ShellWatch
from tests.process.recorder import FAST, eventually


class Watched:
    """A `cat` that reads what we type, and a watch on it."""

    def __init__(self, due: int | None) -> None:
        loop = asyncio.get_running_loop()
        reader, writer = os.pipe2(os.O_CLOEXEC)
        self.child = subprocess.Popen(["cat"], stdin=reader, stdout=subprocess.DEVNULL)
        os.close(reader)
        self.typed = InputPipe(writer, Poller.of(loop), lambda n: None, FAST)
        self.lost = 0
        self.asked: list[int] = []
        limits = replace(FAST, shell_watch_first=0.002, shell_watch_time=0.005)
        self.due = due
        self.watch = ShellWatch(
            loop, limits, self.child.pid, self.typed, lambda: self.due, self.asked.append, self._lose
        )

    def _lose(self) -> None:
        self.lost += 1

    def close(self) -> None:
        self.watch.stop()
        self.typed.close()
        self.child.wait()


async def test_who_sleeps_in_our_pipe_and_owes_a_report_is_asked_and_then_lost() -> None:
    watched = Watched(due=1)
    watched.watch.arm()
    watched.watch.arm()
    await eventually(lambda: watched.lost)
    await asyncio.sleep(0.02)
    assert (watched.asked, watched.lost) == ([1], 1)
    watched.close()


async def test_who_owes_nothing_is_not_and_nobody_looks_any_more() -> None:
    watched = Watched(due=None)
    watched.watch.arm()
    await asyncio.sleep(0.03)
    assert (watched.lost, watched.watch._timer) == (0, None)
    watched.close()


async def test_who_has_a_new_report_to_make_each_time_is_not() -> None:
    watched = Watched(due=0)
    await eventually(watched.watch._is_idle)
    for i in range(10):
        watched.due = i
        watched.watch._look()
    assert watched.lost == 0
    watched.watch._look()
    assert watched.lost == 1
    watched.close()


async def test_who_does_not_sleep_there_is_not() -> None:
    watched = Watched(due=1)
    watched.child.send_signal(19)
    await eventually(lambda: Path(f"/proc/{watched.child.pid}/stat").read_text().split()[2] == "T")
    watched.typed.write(b"unread")
    watched.watch.arm()
    await asyncio.sleep(0.03)
    assert watched.lost == 0
    watched.child.send_signal(18)
    watched.close()
