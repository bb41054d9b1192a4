"""A live shell that outlives its window: left, lost, killed, listed, attached again, taken over."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from remote_shell.client.async_ import connect_async
from remote_shell.client.blocking import Host, connect
from remote_shell.client.blocking_shell import Shell
from remote_shell.client.opening import Pty
from remote_shell.errors import CommandError, DetachedError, UsageError
from remote_shell.testing import RunningServer, server

pytestmark = pytest.mark.screen  # the quick suite has two minutes for all

SIZE = Pty(30, 100, "xterm")


def until(true: Callable[[], Any], what: str) -> Any:
    """Look until `true` gives something."""
    end = time.monotonic() + 10
    while not (found := true()):
        assert time.monotonic() < end, what
        time.sleep(0.005)
    return found


def alive(pid: int | None) -> bool:
    """A process is there, and no zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int | None) -> bool:
    """It is not."""
    return not alive(pid)


def children_of(pid: str) -> list[int]:
    """A process's children."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(number) for number in file.read().split()]


def keeping(running: RunningServer, **more: Any) -> Host:
    """A connection whose shells on terminals stay."""
    return connect(running.targets["unix"], on_lost="keep", **more)


def leave(shell: Shell) -> None:
    """Detach, and see that it is so."""
    shell.detach()
    with pytest.raises(DetachedError):
        shell.run("true")


def in_thread(shell: Shell, line: str) -> tuple[threading.Thread, list[Any], bytearray]:
    """Run a line elsewhere; what came of it."""
    ends: list[Any] = []
    seen = bytearray()

    def run() -> None:
        try:
            ends.append(shell.run(line, on_output=lambda stream, data: seen.extend(data)))
        except Exception as error:
            ends.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ends, seen


def test_left_and_attached_again(running: RunningServer, host: Host) -> None:
    """Directory, variables and the command's number go on; the list says what there is."""
    before = {one.id for one in host.shells()}
    first = connect(running.targets["unix"])
    with first.shell(pty=SIZE) as shell:
        assert shell.run("cd /usr; X=mine; (exit 3)").returncode == 3
        held = [one for one in host.shells() if one.id not in before]
        assert [(one.cwd, one.line, one.ended, one.away_ms) for one in held] == [("/usr", None, False, None)]
        assert held[0].holder.startswith(f"process {os.getpid()} on ")
        assert first.shells() == [one for one in first.shells() if one.id in before], "one's own is not in the list"
        leave(shell)
        pid = shell.pid
    first.close()
    left = next(one for one in host.shells() if one.id not in before)
    assert left.away_ms is not None and left.id == held[0].id
    again = host.attach(left.id, pty=SIZE)
    told = again.attached
    assert told is not None and (told.number, told.line, told.status, again.pid, again.cwd) == (1, None, 3, pid, "/usr")
    assert again.join() is None
    assert again.run("echo $X $PWD").stdout == "mine /usr\n"
    again.close()
    until(lambda: not alive(pid), "closed by its holder, it ends")


def test_a_left_shell_needs_its_own_key(running: RunningServer, host: Host) -> None:
    """One principal sees nothing of another's, and can't take it by its name."""
    shell = host.shell(pty=SIZE)
    with connect(running.targets["tls"], **running.options()) as stranger:
        assert stranger.shells() == [] and stranger.welcome.left == 0
        with pytest.raises(CommandError, match="no_such_shell"):
            stranger.attach(shell.job)
    assert shell.run("echo here").stdout == "here\n"
    shell.close()


def test_a_running_command_is_waited_for(running: RunningServer, host: Host) -> None:
    """What it wrote unseen comes first, once, and then its end."""
    with keeping(running) as first:
        shell = first.shell(pty=SIZE)
        thread, ends, seen = in_thread(
            shell, "echo seen; read x; for i in 1 2 3; do echo line $i; done; read x; (exit 7)"
        )
        until(lambda: b"seen\r\n" in seen, "it runs")
        shell.detach()
        thread.join(10)
        assert isinstance(ends[0], DetachedError)
        with pytest.raises(DetachedError):
            shell.run("true")
    left = next(one for one in host.shells() if one.id == shell.job)
    assert isinstance(left.line, str) and left.line.startswith("echo seen;")
    again = host.attach(shell.job, pty=SIZE)
    thread, ends, seen = in_join(again)
    until(lambda: b"seen\r\n" in seen, "a little of what it wrote before is shown again")
    for _ in range(2):
        say(again, b"x")
    thread.join(10)
    assert seen == b"seen\r\nline 1\r\nline 2\r\nline 3\r\n"
    assert (
        ends[0].returncode == 7
        and ends[0].args == "echo seen; read x; for i in 1 2 3; do echo line $i; done; read x; (exit 7)"
    )
    again.close()


def in_join(shell: Shell) -> tuple[threading.Thread, list[Any], bytearray]:
    """Wait for its command elsewhere."""
    ends: list[Any] = []
    seen = bytearray()
    thread = threading.Thread(target=lambda: ends.append(shell.join(on_output=lambda stream, data: seen.extend(data))))
    thread.start()
    return thread, ends, seen


def say(shell: Shell, line: bytes) -> None:
    """A line of input."""
    shell._remote.driver.urgent(lambda: shell.send_line(line))


def test_output_unseen_never_stops_it_and_the_last_is_kept(running: RunningServer, host: Host) -> None:
    """3 MB while nobody looks: the command ends, 256 KiB are kept from the beginning of a line, the rest is counted."""
    first = keeping(running)
    shell = first.shell(pty=SIZE)
    shell.run("f() { echo in; read x; seq 400000; echo the end; }")
    thread, _, before = in_thread(shell, "f")
    until(lambda: before, "it runs")
    say(shell, b"go")
    shell.detach()
    thread.join(10)
    first.close()
    until(lambda: next(one for one in host.shells() if one.id == shell.job).line is None, "it ends all the same")
    again = host.attach(shell.job, pty=SIZE)
    seen = bytearray()
    assert again.join(on_output=lambda stream, data: seen.extend(data)) is None
    told = again.attached
    assert told is not None and told.dropped > 1_000_000 and 200_000 < told.missed <= 256 * 1024 + 100
    assert len(seen) == told.missed and seen.endswith(b"400000\r\nthe end\r\n")
    numbers = [int(line) for line in seen.split(b"\r\n")[:-2]]
    assert numbers == list(range(numbers[0], 400_001)), "whole lines, each once"
    again.close()


def test_taking_over_tells_the_other(running: RunningServer, host: Host) -> None:
    """Who held it hears by whom, at once, and its keys go nowhere."""
    first = connect(running.targets["unix"])
    shell = first.shell(pty=SIZE)
    thread, ends, seen = in_thread(shell, "echo one; read x; echo got $x")
    until(lambda: b"one" in seen, "it runs")
    again = host.attach(shell.job, pty=Pty(40, 132))
    thread.join(10)
    assert isinstance(ends[0], DetachedError)
    assert ends[0].by.startswith(f"process {os.getpid()} on ") and ends[0].by in str(ends[0])
    shell.interrupt()
    bad: Any = "bad"
    with pytest.raises(ValueError, match="a line ends with"):
        shell.send_line(b"lost", end=bad)
    shell.send_line(b"lost")
    shell.close()
    assert first.run(["true"]).returncode == 0, "the connection has more to do"
    first.close()
    thread, ends, seen = in_join(again)
    say(again, b"mine")
    thread.join(10)
    assert seen == b"one\r\ngot mine\r\n" and ends[0].returncode == 0
    assert again.run("stty size").stdout == "40 132\n"
    again.close()


def test_a_closed_window_ends_it_unless_it_is_kept(running: RunningServer, host: Host) -> None:
    """A goodbye ends every shell, whatever was asked for cut links."""
    for options in ({}, {"on_lost": "keep"}):
        first = connect(running.targets["unix"], **options)  # type: ignore[arg-type]
        shell = first.shell(pty=SIZE)
        pid = shell.pid
        first.close()
        until(functools.partial(gone, pid), "gone")
        until(lambda ident=shell.job: ident not in [one.id for one in host.shells()], "forgotten")  # type: ignore[misc]


CLIENT = """
import sys, remote_shell
host = remote_shell.connect(sys.argv[1], on_lost=sys.argv[2], grace=float(sys.argv[3]))
shell = host.shell(pty=remote_shell.client.opening.Pty())
print(shell.job, shell.pid, flush=True)
shell.run("sleep 1000")
"""


@pytest.mark.parametrize("on_lost", ["kill", "keep"])
def test_a_client_that_is_killed(running: RunningServer, host: Host, on_lost: str) -> None:
    """Nothing stays after its grace unless it was told to keep it; then it goes on, and can be attached."""
    argv = [sys.executable, "-W", "error", "-c", CLIENT, running.targets["unix"], on_lost, "0.3"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        ident, pid = client.stdout.readline().split()
        shell = until(lambda: next((one for one in host.shells() if one.line == "sleep 1000"), None), "it runs")
        assert shell.id == ident
        children = until(lambda: children_of(pid), "its sleep runs")
        client.kill()
    if on_lost == "kill":
        for number in (int(pid), *children):
            until(functools.partial(gone, number), "nothing stays")
        until(lambda: ident not in [one.id for one in host.shells()], "it is forgotten")
        return
    until(lambda: "did not come back" in running.read_log(), "the grace is over")
    again = host.attach(ident, pty=SIZE)
    thread, ends, _ = in_join(again)
    again.interrupt()
    thread.join(10)
    assert ends[0].returncode == 130
    assert again.run("echo $$").stdout == f"{pid}\n"
    again.close()


def test_one_whose_link_is_lost_is_offered_and_can_be_taken(running: RunningServer, host: Host) -> None:
    """Within its grace too: the session that comes back later is told."""
    first = connect(running.targets["unix"], grace=60)
    shell = first.shell(pty=SIZE)
    first._driver.link.close()  # type: ignore[union-attr]
    one = until(lambda: next((o for o in host.shells() if o.id == shell.job and o.away_ms is not None), None), "lost")
    with connect(running.targets["unix"]) as third:
        assert third.welcome.left >= 1
    again = host.attach(one.id, pty=SIZE)
    with pytest.raises(DetachedError):
        shell.run("true")
    first.close()
    assert again.run("echo still").stdout == "still\n"
    again.close()


def test_an_end_that_nobody_saw_is_told_once(running: RunningServer, host: Host) -> None:
    """Its last output and its status; then it is forgotten."""
    with connect(running.targets["unix"]) as first:
        shell = first.shell(pty=SIZE)
        thread, _, seen = in_thread(shell, "echo in; read x; read x < /dev/null; sleep 0.1; echo bye; exit 5")
        until(lambda: seen, "it runs")
        say(shell, b"go")
        shell.detach()
        thread.join(10)
    until(lambda: next(one for one in host.shells() if one.id == shell.job).ended, "it ends")
    again = host.attach(shell.job, pty=SIZE)
    seen = bytearray()
    assert again.join(on_output=lambda stream, data: seen.extend(data)) is None
    assert bytes(seen) in (b"bye\r\n", b"in\r\nbye\r\n"), "what nobody is known to have seen, and no more"
    assert again.returncode == 5 and not again.alive
    with pytest.raises(CommandError, match="no_such_shell"):
        host.attach(shell.job, pty=SIZE)


def test_modes_come_back(running: RunningServer, host: Host) -> None:
    """A program's alternate screen and its mouse, which it switched on long ago, are switched on for who attaches."""
    first = connect(running.targets["unix"])
    shell = first.shell(pty=SIZE)
    line = r"""stty raw -echo; printf '\033[?1049h\033[?1000h\033[?25lscreen'; head -c1 >/dev/null; stty sane; printf '\033[?1049l'"""
    thread, _, seen = in_thread(shell, line)
    until(lambda: b"screen" in seen and shell.mode == "raw", "the program has its screen")
    again = host.attach(shell.job, pty=SIZE)
    thread.join(10)
    first.close()
    thread, ends, seen = in_join(again)
    until(lambda: again.mode == "raw", "the mode is told")
    say_keys(again, b"q")
    thread.join(10)
    assert ends[0].returncode == 0
    before, _, _ = bytes(seen).partition(b"screen")
    assert b"\x1b[?1049h" in before and b"\x1b[?1000h" in before and b"\x1b[?25l" in before
    assert seen.count(b"screen") <= 1 and seen.endswith(b"\x1b[?1049l")
    again.close()


def say_keys(shell: Shell, data: bytes) -> None:
    """Keys, as they are."""
    shell._remote.driver.urgent(functools.partial(_send_keys, shell, data))


def _fill(shell: Shell) -> None:
    shell.send_keys(b"k" * 2**20)


def _send_keys(shell: Shell, data: bytes) -> None:
    assert shell.send_keys(data)


def test_keys_that_nobody_reads_do_not_hold_it(running: RunningServer, host: Host) -> None:
    """They fill the window, and what asks to leave the shell would stand behind the rest of them."""
    first = connect(running.targets["unix"])
    shell = first.shell(pty=SIZE)
    thread, _, _ = in_thread(shell, "stty raw -echo; sleep 1000")
    until(lambda: shell.mode == "raw", "raw")
    shell._remote.driver.urgent(functools.partial(_fill, shell))
    leaving = threading.Thread(target=shell.detach)
    leaving.start()
    leaving.join(5)
    assert next(one for one in host.shells() if one.id == shell.job).away_ms is not None, "left"
    first.close()
    thread.join(10)
    host.attach(shell.job, pty=SIZE).close()


def test_not_too_many_are_left() -> None:
    """The one left first is ended; each lives for its time and no longer."""
    config = "[limits]\nterminals_left_max = 2\nterminals_left_time = 1.0\n"
    with server(("unix:",), config=config) as running, connect(running) as host:
        first = connect(running)
        shells = [first.shell(pty=SIZE) for _ in range(3)]
        for shell in shells:
            leave(shell)
        until(lambda: len(host.shells()) == 2, "one is ended")
        assert [one.id for one in host.shells()] == [shell.job for shell in shells[1:]], "that which was left first"
        assert not alive(shells[0].pid)
        until(lambda: not host.shells(), "and the others when their time is up")
        assert not any(alive(shell.pid) for shell in shells)
        first.close()


def test_what_exec_put_in_its_place_is_waited_for(running: RunningServer, host: Host) -> None:
    """To its end, which is the command's."""
    first = connect(running.targets["unix"])
    shell = first.shell(pty=SIZE)
    thread, _, seen = in_thread(shell, "exec bash -c 'echo in; read x; exit 7'")
    until(lambda: b"in" in seen and not shell.alive, "it was replaced")
    again = host.attach(shell.job, pty=SIZE)
    thread.join(10)
    first.close()
    thread, ends, _ = in_join(again)
    say(again, b"go")
    thread.join(10)
    assert (ends[0].returncode, ends[0].shell) == (7, "replaced")


def test_taking_one_over_ends_no_other() -> None:
    """In between nobody holds it, and yet it is not one more that was left."""
    with server(("unix:",), config="[limits]\nterminals_left_max = 1\n") as running, connect(running) as host:
        first = connect(running)
        left, held = first.shell(pty=SIZE), first.shell(pty=SIZE)
        leave(left)
        taken = host.attach(held.job, pty=SIZE)
        assert taken.run("echo mine").stdout == "mine\n"
        assert host.attach(left.job, pty=SIZE).run("echo still").stdout == "still\n"
        first.close()


def test_a_server_that_ends_leaves_none() -> None:
    """TERM drains: an idle one goes at once, one with a command gets its time."""
    with server(("unix:",), config="[limits]\ndrain_time = 0.5\n") as running:
        first = connect(running)
        idle, busy = first.shell(pty=SIZE), first.shell(pty=SIZE)
        leave(idle)
        thread, _, seen = in_thread(busy, "echo x; sleep 1000")
        until(lambda: seen, "it runs")
        busy.detach()
        thread.join(10)
        first.close()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(10) == 0
        assert not alive(idle.pid) and not alive(busy.pid)


def test_the_asyncio_front(running: RunningServer) -> None:
    async def scene() -> None:
        async with connect_async(running.targets["unix"], on_lost="keep", grace=5) as first:
            assert first.welcome.grace_ms == 5000
            shell = await first.shell(pty=SIZE)
            await shell.run("cd /usr")
            told = asyncio.Event()
            shell.on_detached = told.set
            task = asyncio.create_task(shell.run("echo $$; read x; exit $x", text=False))
            async with connect_async(running.targets["unix"]) as second:
                while True:
                    listed = [one for one in await second.shells() if one.id == shell.job]
                    if listed[0].line is not None:
                        break
                again = await second.attach(shell.job, pty=SIZE)
                with pytest.raises(DetachedError):
                    await task
                await asyncio.wait_for(told.wait(), 10)
                again.send_line(b"9")
                again.flush()
                done = await again.join()
                assert done is not None and (done.returncode, done.shell) == (9, "ended")
                with pytest.raises(UsageError):
                    await second.attach(shell.job, pty=False)

    asyncio.run(scene())


def test_what_cannot_be_asked_for(running: RunningServer) -> None:
    for bad in ({"on_lost": "ask"}, {"grace": -1}, {"grace": float("nan")}):
        with pytest.raises(UsageError):
            connect(running.targets["unix"], **bad)
