"""The live shell whose commands have a terminal."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from remote_shell.process import tree
from remote_shell.process.base import Exit
from remote_shell.process.pty import Size
from remote_shell.process.shell import LiveShell
from tests.process.recorder import ENV, Recorder, eventually, is_alive, start_shell

pytestmark = pytest.mark.screen  # as a file it takes long


@asynccontextmanager
async def shell(home: Path | None = None) -> AsyncIterator[tuple[LiveShell, Recorder]]:
    """With `home` it reads the profile there."""
    env = {**ENV, b"TERM": b"xterm", b"HOME": os.fsencode(home) if home is not None else b"/nonexistent"}
    made, sink = start_shell(size=Size(24, 80), env=env, startup_files=home is not None)
    try:
        yield made, sink
    finally:
        made.kill_now()
        await sink.exited()
        made.close()
        await eventually(lambda: not made.killing)


async def run(made: LiveShell, sink: Recorder, line: str) -> tuple[int | None, str]:
    """Run one line; its status and what was shown meanwhile."""
    number, before = len(sink.dones) + 1, len(sink.out)
    made.run(number, line.encode())
    return (await sink.done(number)).status, sink.out[before:].decode()


async def test_commands_have_a_terminal_and_the_shell_keeps_its_state() -> None:
    async with shell() as (made, sink):
        assert await run(made, sink, "tty -s && test -t 0 -a -t 1 -a -t 2; echo $?; stty size") == (0, "0\r\n24 80\r\n")
        assert await run(made, sink, "x=5; cd /usr") == (0, "")
        assert await run(made, sink, "echo $x; pwd; tty") == (0, f"5\r\n/usr\r\n{(await run(made, sink, 'tty'))[1]}")
        assert made.cwd == b"/usr" and sink.err == b""


async def test_children_hold_the_terminal_and_nothing_else() -> None:
    async with shell() as (made, sink):
        status, shown = await run(made, sink, "sh -c 'ls /proc/$$/fd'")
        assert (status, shown.split()) == (0, ["0", "1", "2"])


@pytest.mark.parametrize(
    ("line", "status", "shown"),
    [
        ("false", 1, ""),
        ("(exit 42)", 42, ""),
        ("sh -c 'kill -TERM $$'", 143, ""),
        ("if", 2, "syntax error"),
        ("no-such-command-here", 127, "not found"),
        ("echo $((6*7))", 0, "42"),
        ("printf '\\033]6973;1;2\\a'; (exit 3)", 3, "\x1b]6973;1;2\x07"),
    ],
)
async def test_statuses(line: str, status: int, shown: str) -> None:
    async with shell() as (made, sink):
        got, text = await run(made, sink, line)
        assert got == status and shown in text
        assert await run(made, sink, "echo $?") == (0, f"{status}\r\n")


async def test_the_statuses_of_a_pipeline() -> None:
    async with shell() as (made, sink):
        for line, status, several in [
            ("false | true", 0, (1, 0)),
            ("true | (exit 3) | (exit 4) # why", 4, (0, 3, 4)),
            ("true", 0, ()),
            ("IFS=x; set -u; false | false", 1, (1, 1)),
            ("cat <<E | wc -l\nx\nE", 0, ()),
        ]:
            assert (await run(made, sink, line))[0] == status
            assert sink.dones[-1].statuses == several


async def test_three_megabytes_come_before_the_end() -> None:
    async with shell() as (made, sink):
        status, text = await run(made, sink, "head -c 3000000 /dev/zero | tr '\\0' x; (exit 9)")
        assert status == 9 and text.count("x") == 3_000_000


async def test_a_background_job_prints_later() -> None:
    async with shell() as (made, sink):
        assert (await run(made, sink, "(sleep 0.05; echo late) &"))[0] == 0
        await sink.until(lambda: b"late" in sink.out)
        assert (await run(made, sink, "echo on"))[1].startswith("on\r\n")


async def test_ctrl_c_ends_the_command_and_not_the_shell() -> None:
    async with shell() as (made, sink):
        for line in ("sleep 1000; echo no", "while :; do :; done", "x=7; cat", "sleep 1000 | sleep 1000"):
            number = len(sink.dones) + 1
            made.run(number, line.encode())
            await eventually(lambda number=number: made._current is not None and not made._typed.unread())  # type: ignore[misc]
            assert made.signal(number, "SIGINT")
            done = await sink.done(number)
            assert (done.status, done.shell) == (130, "alive")
        assert await run(made, sink, "echo $x") == (0, "7\r\n")
        assert b"no" not in sink.out


async def test_ctrl_c_is_sent_once_to_who_hears_it() -> None:
    """What a program starts then, to clean up for instance, is left alone."""
    async with shell() as (made, sink):
        made.run(
            1,
            b"sh -c 'trap \"echo got; sleep 0.3 && echo cleaned; exit 7\" INT; echo begun; while :; do sleep 0.01; done'",
        )
        await sink.until(lambda: b"begun" in sink.out)
        assert made.signal(1, "SIGINT")
        assert (await sink.done(1)).status == 7
        assert sink.out.count(b"got") == 1 and b"cleaned" in sink.out


async def test_ctrl_c_that_meets_a_program_before_it_began_ends_it() -> None:
    async with shell() as (made, sink):
        for number in range(1, 41):
            made.run(number, b"echo begun; sleep 1000")
            await sink.until(lambda: sink.out.endswith(b"begun\r\n"))
            assert made.signal(number, "SIGINT")
            async with asyncio.timeout(15):
                assert (await sink.done(number)).status == 130
            sink.out = b""
        assert await run(made, sink, "echo alive") == (0, "alive\r\n")


async def test_ctrl_c_waits_while_the_shell_starts_a_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Else the shell hears it, and the program a second one, and bash writes a line end for each of them."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with shell() as (made, sink):
        # a child in a group of its own that is the shell's own program still, while the terminal is the shell's
        made.run(1, f"echo begun; (read y <{fifo}) & disown; while :; do :; done".encode())
        await sink.until(lambda: sink.out == b"begun\r\n")
        await eventually(lambda: tree.descendants(made.pid))
        looks = 0
        starting = made._is_starting

        def look(_: LiveShell, *of: Any) -> bool:
            nonlocal looks
            looks += 1
            assert made._interrupts == 0, "not sent"
            return starting(*of)

        monkeypatch.setattr(LiveShell, "_is_starting", look)
        assert made.signal(1, "SIGINT")
        await eventually(lambda: looks > 5)
        fifo.write_text("\n")
        assert (await sink.done(1)).status == 130
        assert sink.out == b"begun\r\n\r\n"


async def test_ctrl_c_waits_while_the_shell_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """bash blocks SIGINT then, and hears it when it has forked."""
    looks: list[int] = []
    async with shell() as (made, sink):
        made.run(1, b"echo begun; while :; do :; done")
        await sink.until(lambda: sink.out == b"begun\r\n")

        def blocks(pid: int, number: int) -> bool:
            assert (pid, number) == (made.pid, signal.SIGINT)
            looks.append(made._interrupts)
            return len(looks) < 5

        monkeypatch.setattr(tree, "blocks", blocks)
        assert made.signal(1, "SIGINT")
        assert (await sink.done(1)).status == 130
        assert looks == [0] * 5
        assert sink.out == b"begun\r\n\r\n"


@pytest.mark.parametrize(
    "line",
    ["sleep 1000 & disown; while :; do :; done", "x=$(while :; do :; done)", "(while :; do :; done)"],
    ids=["another program", "the shell's group", "the child's terminal"],
)
async def test_ctrl_c_waits_for_no_child_that_hears_it_or_need_not(line: str) -> None:
    async with shell() as (made, sink):
        made.run(1, b"echo begun; " + line.encode())
        await sink.until(lambda: sink.out == b"begun\r\n")
        await eventually(lambda: tree.descendants(made.pid))
        command = made._current
        assert command is not None

        def starting() -> bool:
            return made._is_starting(command, *command.look(made.pid))

        await eventually(lambda: not starting())
        assert made.signal(1, "SIGINT")
        assert (await sink.done(1)).status == 130


async def test_a_child_that_came_since_the_look_at_the_processes_is_noticed() -> None:
    async with shell() as (made, sink):
        made.run(1, b"sleep 1000 & disown; echo begun; while :; do :; done")
        await sink.until(lambda: sink.out == b"begun\r\n")
        command = made._current
        assert command is not None
        await eventually(lambda: not tree.blocks(made.pid, signal.SIGINT))
        assert made._is_starting(command, {}, set())
        assert made.signal(1, "SIGINT")
        assert (await sink.done(1)).status == 130


async def test_ctrl_c_does_not_wait_for_ever_for_what_goes_on_as_the_shell_itself() -> None:
    async with shell() as (made, sink):
        made.run(1, b"echo begun; (while :; do :; done) & disown; while :; do :; done")
        await sink.until(lambda: sink.out == b"begun\r\n")
        await eventually(lambda: tree.descendants(made.pid))
        assert made.signal(1, "SIGINT")
        async with asyncio.timeout(15):
            assert (await sink.done(1)).status == 130


async def test_ctrl_z_stops_it_and_fg_goes_on() -> None:
    async with shell() as (made, sink):
        made.run(1, b"sh -c 'echo begun; read x; echo got $x'")
        await sink.until(lambda: b"begun" in sink.out)
        assert made.signal(1, "SIGTSTP")
        assert (await sink.done(1)).status == 148
        _, text = await run(made, sink, "jobs")
        assert "Stopped" in text
        made.run(3, b"fg")
        await eventually(lambda: made.write_line(b"it\n"))
        assert (await sink.done(3)).status == 0
        assert b"got it" in sink.out


async def test_input_goes_to_the_command_and_what_is_left_comes_back() -> None:
    async with shell() as (made, sink):
        made.run(1, b'read a; echo "[$a]"')
        await eventually(lambda: all(map(made.write_line, (b"one\n", b"two\n", b"thr"))))
        await sink.done(1)
        assert sink.unread == [b"two\nthr"] and sink.log.index("unread") < sink.log.index("done 1")
        assert b"[one]" in sink.out
        assert not made.write_line(b"nobody reads\n")
        assert await run(made, sink, "echo clean") == (0, "clean\r\n"), "bash has not seen it"


async def test_an_end_of_file() -> None:
    async with shell() as (made, sink):
        made.run(1, b"cat; echo end")
        await eventually(lambda: made.write_line(b"x\n"))
        made.write_line(b"")
        assert (await sink.done(1)).status == 0
        assert sink.out == b"x\r\nend\r\n"


async def test_modes() -> None:
    async with shell() as (made, sink):
        await sink.until(lambda: sink.modes == ["cooked"])
        made.run(1, b'read -s x; echo; echo "[$x]"')
        await sink.until(lambda: sink.modes[-1] == "no_echo")
        made.write_line(b"secret\n")
        await sink.done(1)
        assert sink.modes == ["cooked", "no_echo", "cooked"] and sink.out.count(b"secret") == 1
        made.run(2, b"stty raw -echo; head -c 1 | od -An -tx1; stty sane")
        await sink.until(lambda: sink.modes[-1] == "raw")
        made.write_stdin(b"\xe4")
        await sink.done(2)
        assert sink.modes[-1] == "cooked" and b"e4" in sink.out


async def test_stty_finds_what_it_set() -> None:
    """It looks at once, and calls a difference a failure: EXTPROC, in our case."""
    async with shell() as (made, sink):
        for _ in range(10):
            assert await run(made, sink, "stty raw; stty sane; stty cbreak && stty -cbreak; stty sane") == (0, "")
        assert await run(made, sink, "sleep 0.1; stty -a | grep -c ' extproc'") == (0, "1\r\n")


async def test_keys_that_come_when_lines_are_read_again_are_the_kernels() -> None:
    """They were typed while the other side did not know yet: ^C interrupts, Enter ends a line."""
    async with shell() as (made, sink):
        for number, (keys, status, shown) in enumerate(
            (
                (b"\x03", 130, b"^C"),
                (b"late\r\x04", 0, b"late\r\nlate\r\n"),
                (b"lx\x7fate\r\x04", 0, b"late\r\nlate\r\n"),
            ),
            start=1,
        ):
            begin = len(sink.out)
            made.run(number, b"sh -c 'stty raw; head -c 1 >/dev/null; stty sane; echo ready; exec cat'")
            await sink.until(lambda: sink.modes[-1] == "raw")
            made.write_stdin(b"x")
            await sink.until(lambda: b"ready" in sink.out[begin:] and sink.modes[-1] == "cooked")  # noqa: B023
            made.write_stdin(keys)
            assert (await sink.done(number)).status == status
            assert shown in sink.out[begin:].replace(b"\x08 \x08", b"").replace(b"lxa", b"la")


async def test_a_program_killed_in_raw_mode_by_ctrl_c_is_noticed() -> None:
    async with shell() as (made, sink):
        made.run(1, b"sh -c 'stty -icanon -echo; echo ready; exec sleep 1000'")
        await sink.until(lambda: b"ready" in sink.out)
        made.write_stdin(b"\x03")
        assert (await sink.done(1)).status == 130
        assert (await run(made, sink, "stty -a | tr ' ' '\\n' | grep icanon"))[1] == "icanon\r\n", "bash puts it right"


async def test_resize_reaches_the_foreground() -> None:
    async with shell() as (made, sink):
        made.run(1, b"sh -c 'trap \"stty size; exit 0\" WINCH; echo ready; while :; do sleep 0.01; done'")
        await sink.until(lambda: b"ready" in sink.out)
        made.resize(Size(33, 99))
        await sink.done(1)
        assert b"33 99" in sink.out


async def test_exec_is_told_and_the_end_too() -> None:
    async with shell() as (made, sink):
        made.run(1, b"exec sh -c 'echo other; read x; exit 6'")
        done = await sink.done(1)
        assert (done.shell, done.status) == ("replaced", None)
        await sink.until(lambda: b"other" in sink.out)
        assert made.write_line(b"\n")
        assert await sink.exited() == Exit(6, None)


@pytest.mark.parametrize("line", ["exit 5", "set -e; (exit 5)"])
async def test_what_ends_the_shell(line: str) -> None:
    async with shell() as (made, sink):
        made.run(1, line.encode())
        done = await sink.done(1)
        assert (done.shell, done.status) == ("ended", 5)


async def test_a_timeout_climbs_the_ladder() -> None:
    async with shell() as (made, sink):
        made.run(1, b"trap '' INT; sh -c 'trap \"\" INT; echo $$; sleep 1000'", timeout=0.1)
        await sink.until(lambda: b"\n" in sink.out)
        pid = int(sink.out)
        done = await sink.done(1)
        assert done.timed_out and done.shell == "alive"
        await eventually(lambda: not is_alive(pid))


async def test_it_is_a_login_shell_with_the_persons_own_settings(tmp_path: Path) -> None:
    (tmp_path / ".bash_profile").write_text("alias greet='echo hello'\nPROMPT_COMMAND='echo prompt'\nPS1='mine> '\n")
    async with shell(tmp_path) as (made, sink):
        status, text = await run(made, sink, "greet; shopt -q login_shell && echo login; sleep 0")
        assert status == 0 and text.endswith("hello\r\nlogin\r\n")
        await run(made, sink, "true")
        assert b"mine>" not in sink.out and sink.out.count(b"prompt") == 1, "before our first word, and no more"


async def test_a_profile_that_asks_is_answered(tmp_path: Path) -> None:
    (tmp_path / ".bash_profile").write_text('printf ready; read -r name </dev/tty; echo "$name."\n')
    async with shell(tmp_path) as (made, sink):
        made.run(1, b"echo on")
        await sink.until(lambda: b"ready" in sink.out)
        assert made.write_line(b"me\n")
        assert (await sink.done(1)).status == 0
        assert sink.out.endswith(b"me.\r\non\r\n")
        assert sink.unread == []


async def test_a_profile_that_ends_or_replaces_the_shell(tmp_path: Path) -> None:
    (tmp_path / ".bash_profile").write_text("exit 3\n")
    made, sink = start_shell(size=Size(24, 80), env={**ENV, b"HOME": os.fsencode(tmp_path)}, startup_files=True)
    made.run(1, b"echo never")
    assert await sink.exited() == Exit(3, None)
    assert sink.dones[-1].shell == "ended" and b"never" not in sink.out
    made.close()
    await asyncio.sleep(0)
