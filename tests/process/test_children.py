"""Orphans are only adopted by a subreaper, so most of this happens in processes of its own."""

from __future__ import annotations

import os
import subprocess

from remote_shell.process import children
from tests.process.recorder import python_in_fresh_process

PRELUDE = """
import asyncio, os, signal, subprocess, time
from remote_shell.process import children
from remote_shell.process.children import OrphanReaper
from remote_shell.process.prepare import prepare_process
from tests.process.recorder import eventually, is_alive, run, start
prepare_process()
def zombies():
    return [pid for pid in children.children_of(os.getpid()) if not is_alive(pid)]
async def zombie():
    await run(["sh", "-c", "(sleep 0.01 &)"])
    await eventually(zombies)
"""


def test_children_of_a_process_without_any() -> None:
    assert children.children_of(2**22 + 1) == []


def test_children_of_this_process() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        assert process.pid in children.children_of(os.getpid())


def test_a_child_that_other_code_started_is_no_orphan() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        assert process.pid not in children.orphans()
        assert process.stdin is not None
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        children.reap_orphans()
        assert process.wait() == 0


def test_a_dead_orphan_is_reaped_within_the_interval() -> None:
    code = (
        PRELUDE
        + """
async def main():
    await zombie()
    reaper = OrphanReaper(asyncio.get_running_loop(), 0.2)  # long enough for a zombie to be seen before
    reaper.start()
    assert not zombies()
    await zombie()
    await eventually(lambda: not zombies())
    reaper.stop()
    await zombie()
    await asyncio.sleep(0.3)
    print(len(zombies()))
    children.reap_orphans()
    assert not zombies()
asyncio.run(main())
"""
    )
    assert python_in_fresh_process(code) == "1\n"


def test_the_reaper_steals_no_status_and_sees_past_our_own_zombies() -> None:
    code = (
        PRELUDE
        + """
async def main():
    reaper = OrphanReaper(asyncio.get_running_loop(), 0.01)
    reaper.start()
    process, sink = start(["sh", "-c", "(sleep 0.02 &); exit 42"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, not yet seen by us: a zombie of our own
    deadline = time.monotonic() + 15
    while len(zombies()) < 2 and time.monotonic() < deadline:
        time.sleep(0.002)
    assert children.reap_orphans() == 1
    assert zombies() == [process.pid]
    await sink.finished()
    print(sink.exit)
    reaper.stop()
    assert not children.children_of(os.getpid())
asyncio.run(main())
"""
    )
    assert python_in_fresh_process(code) == "Exit(status=42, signal=None)\n"
