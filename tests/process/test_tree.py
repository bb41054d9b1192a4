"""Trees whose processes left the group and the session; a subreaper is needed for most, hence processes of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from remote_shell.process import tree
from remote_shell.process.tree import ProcessTree, Stat, TreeKiller
from tests.process.recorder import FAST, eventually, is_alive, python_in_fresh_process, start

pytestmark = pytest.mark.screen  # the quick suite has two minutes for all

PRELUDE = """
import asyncio, os, signal
from remote_shell.process import children
from remote_shell.process.environment import COMMAND_ID
from remote_shell.process.prepare import prepare_process
from tests.process.recorder import ENV, eventually, is_alive, run, start
prepare_process()
def pids(sink, n):
    found = sink.out.split()
    return len(found) >= n and [int(pid) for pid in found]
async def dead(process, numbers):
    await eventually(lambda: not process.killing)
    assert not [pid for pid in numbers if is_alive(pid)]
    children.reap_orphans()
    assert not children.children_of(os.getpid()), "a zombie stayed"
"""

# Each prints the numbers of its processes, and the last of them escapes in a way of its own.
GROUP = "sleep 1000 & echo $!; echo $$; exec sleep 1000"
NEW_SESSION = "setsid sh -c 'echo $$; exec sleep 1000' & echo $$; wait"
DOUBLE_FORK = "(setsid sh -c 'sleep 1000 & echo $!; echo $$; wait' &) ; echo $$; exec sleep 1000"
STUBBORN = "trap '' TERM; (trap '' TERM; setsid sh -c 'echo $$; exec sleep 1000' &); echo $$; exec sleep 1000"
STOPPED = "sleep 1000 & echo $!; echo $$; kill -STOP $$ $!; wait"
TREES = [(GROUP, 2), (NEW_SESSION, 2), (DOUBLE_FORK, 3), (STUBBORN, 2), (STOPPED, 2)]


@pytest.mark.parametrize(("script", "count"), TREES)
@pytest.mark.parametrize("how", ["process.kill_now()", "process.kill(0.2)", "process.kill(0.2, 'SIGINT')"])
def test_after_a_kill_the_tree_is_dead(script: str, count: int, how: str) -> None:
    code = f"""{PRELUDE}
async def main():
    process, sink = start(["sh", "-c", {script!r}], command_id="the-id")
    await sink.until(lambda: pids(sink, {count}))
    {how}
    await sink.finished()
    await dead(process, pids(sink, {count}))
    print(sink.exit is not None)
asyncio.run(main())
"""
    assert python_in_fresh_process(code) == "True\n"


@pytest.mark.parametrize("how", ["process.kill_now()", "process.kill(0.2)"])
def test_without_an_id_what_left_the_session_dies_too_while_its_parents_live(how: str) -> None:
    code = f"""{PRELUDE}
async def main():
    process, sink = start(["sh", "-c", {NEW_SESSION!r}], command_id=None)
    await sink.until(lambda: pids(sink, 2))
    {how}
    await sink.finished()
    await dead(process, pids(sink, 2))
asyncio.run(main())
"""
    python_in_fresh_process(code)


def test_survivors_of_a_normal_end_live_on_and_a_later_kill_finds_them_by_the_id() -> None:
    code = f"""{PRELUDE}
async def main():
    process, sink = start(["sh", "-c", "sleep 1000 & echo $!; setsid sleep 1000 & echo $!"], command_id="mine")
    other, other_sink = start(["sh", "-c", "sleep 1000 & echo $!"], command_id="mine-too")
    exact, exact_sink = start(["sh", "-c", "sleep 1000 & echo $!"], command_id=None)
    for one in (sink, other_sink, exact_sink):
        await one.exited()
    mine, others, exacts = sink.out.split(), other_sink.out.split(), exact_sink.out.split()
    assert len(mine) == 2 and all(is_alive(int(pid)) for pid in mine + others + exacts)
    process.kill(0.1)
    await dead_only(process, mine)
    assert all(is_alive(int(pid)) for pid in others + exacts)
    exact.kill_now()  # without an id nothing proves whose they are
    await eventually(lambda: not exact.killing)
    assert is_alive(int(exacts[0]))
    other.kill_now()
    await dead_only(other, others)
    os.kill(int(exacts[0]), signal.SIGKILL)
    for one in (sink, other_sink, exact_sink):
        await one.finished()
async def dead_only(process, numbers):
    await eventually(lambda: not process.killing)
    assert not [pid for pid in numbers if is_alive(int(pid))]
asyncio.run(main())
"""
    python_in_fresh_process(code)


def test_the_rest_of_the_tree_has_the_grace_when_the_leader_dies_first(tmp_path: Path) -> None:
    tidy = tmp_path / "tidy.sh"
    tidy.write_text("exec 3>&2; trap 'echo tidied >&3; exit' TERM\necho $$\nwhile :; do sleep 0.01; done 2>/dev/null\n")
    code = f"""{PRELUDE}
async def main():
    process, sink = start(["sh", "-c", "sh {tidy} & exec sleep 1000"])
    await sink.until(lambda: pids(sink, 1))
    process.kill(5)
    await sink.finished()
    await dead(process, pids(sink, 1))
    print(sink.exit, b"tidied" in sink.err)
asyncio.run(main())
"""
    assert python_in_fresh_process(code) == "Exit(status=None, signal='SIGTERM') True\n"


def test_a_tree_that_forks_as_fast_as_it_can_is_killed() -> None:
    code = f"""{PRELUDE}
async def main():
    bomb = "i=0; while [ $i -lt 2000 ]; do setsid sh -c 'sleep 1000 & sleep 1000' & i=$((i+1)); done; echo never"
    process, sink = start(["sh", "-c", bomb], command_id="bomb")
    await asyncio.sleep(0.05)
    process.kill_now()
    await sink.finished()
    await dead(process, [])
    assert sink.out == b""
asyncio.run(main())
"""
    python_in_fresh_process(code)


async def test_the_number_is_held_until_the_tree_is_gone() -> None:
    """Else the group's number could be another's when the KILL comes."""
    process, sink = start(["sh", "-c", "sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.01; done' & wait"])
    await sink.until(lambda: sink.out)
    process.kill(0.15)
    await sink.exited()
    assert Stat.of(process.pid) is not None
    assert not is_alive(process.pid)
    await eventually(lambda: not process.killing)
    await sink.finished()
    assert Stat.of(process.pid) is None


def test_stat_of_what_is_not_there() -> None:
    assert Stat.of(2**22 + 1) is None


def test_stat_reads_names_with_brackets_and_spaces(tmp_path: Path) -> None:
    program = tmp_path / ") R 1 (x"
    program.symlink_to("/bin/cat")
    with subprocess.Popen([program], stdin=subprocess.PIPE) as process:
        stat = Stat.of(process.pid)
        assert stat is not None
        assert (stat.parent, stat.group, stat.alive) == (os.getpid(), os.getpgrp(), True)


def test_whether_a_signal_waits() -> None:
    assert not tree.blocks(os.getpid(), signal.SIGUSR2)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        assert tree.blocks(os.getpid(), signal.SIGUSR2) and not tree.blocks(os.getpid(), signal.SIGUSR1)
        assert not tree.dies_of(os.getpid(), signal.SIGUSR2)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert not tree.blocks(2**22, signal.SIGUSR2), "there is no such process"


def test_who_hears_a_signal() -> None:
    """Caught or not, but neither blocked nor ignored."""
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        assert tree.hears(os.getpid(), signal.SIGUSR2) and not tree.dies_of(os.getpid(), signal.SIGUSR2)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        assert not tree.hears(os.getpid(), signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        assert not tree.hears(os.getpid(), signal.SIGUSR2)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert not tree.hears(2**22, signal.SIGUSR2), "there is no such process"


def test_a_fork_keeps_the_image_and_exec_of_the_same_file_makes_another() -> None:
    own = tree.image(os.getpid())
    assert own is not None and tree.image(2**22) is None
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    with subprocess.Popen([own[0], "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert tree.image(child) == own
        other = tree.image(process.pid)
        assert other is not None and other[0] == own[0] and other != own
    os.close(write)
    os.waitpid(child, 0)


def test_a_number_that_was_given_to_another_process_is_not_signalled() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        stat = Stat.of(process.pid)
        assert stat is not None
        tree.signal_process(process.pid, replace(stat, start=stat.start - 1), signal.SIGKILL)
        tree.signal_process(2**22 + 1, stat, signal.SIGKILL)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0


def test_a_group_that_is_gone_takes_no_signal() -> None:
    assert not tree.signal_group(2**22 + 1, signal.SIGTERM)


async def test_descendants_without_some() -> None:
    process, sink = start(["sh", "-c", "sleep 1000 & echo $!; sh -c 'sleep 1000 & wait' & echo $!; wait"])
    await eventually(lambda: len(tree.descendants(process.pid)) == 3)
    await sink.until(lambda: sink.out.count(b"\n") == 2)
    first, second = map(int, sink.out.split())
    assert set(tree.descendants(process.pid, {second})) == {first}
    process.kill_now()
    await sink.finished()
    await eventually(lambda: not process.killing)


async def test_what_cannot_be_killed_is_given_up_in_the_end() -> None:
    class Immortal(ProcessTree):
        def signal(self, number: int) -> int:
            return 1

    gone: list[bool] = []
    limits = replace(FAST, kill_give_up=0.05)
    killer = TreeKiller(asyncio.get_running_loop(), Immortal(1, None), lambda: gone.append(True), limits)
    killer.start(signal.SIGTERM, 0)
    assert not gone
    await eventually(lambda: gone)
    await asyncio.sleep(0.06)
    assert gone == [True]


async def test_a_ladder_is_under_way_until_its_tree_is_gone() -> None:
    loop = asyncio.get_running_loop()
    process, sink = start(["sh", "-c", "trap '' TERM; echo; while :; do sleep 0.01; done"])
    await sink.until(lambda: sink.out)
    assert not tree.under_way(loop)
    process.kill(60)
    process.close()  # whoever asked for it may forget it
    (killer,) = tree.under_way(loop)
    killer.hasten(50)
    assert is_alive(process.pid)
    killer.hasten(0.01)
    await eventually(lambda: not tree.under_way(loop))
    assert not process.killing and not is_alive(process.pid)


async def test_the_earlier_kill_counts() -> None:
    process, sink = start(["sh", "-c", "trap '' TERM; echo; while :; do sleep 0.01; done"])
    await sink.until(lambda: sink.out)
    process.kill(60)
    process.kill(0.01)
    process.kill(60)
    exit = await sink.finished()
    assert exit.signal == "SIGKILL"
    await eventually(lambda: not process.killing)
