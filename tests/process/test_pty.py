"""Commands on real pseudo-terminals."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from remote_shell.errors import (
    CommandNotExecutableError,
    CommandNotFoundError,
    WorkingDirectoryError,
)
from remote_shell.process import pty
from remote_shell.process.base import Exit
from remote_shell.process.pty import Mode, PtyProcess, Size
from remote_shell.process.reads import Reads
from tests.process.recorder import ENV, FAST, Recorder, eventually, is_alive

TERMINAL = {**ENV, b"TERM": b"xterm"}
GATED = [b"bash", b"-c", b"trap 'go=1' USR1; echo ready; while [[ -z $go ]]; do sleep 0.005; done; cat; echo end"]


def start(
    line: str, sink: Recorder | None = None, *, on_mode: Callable[[Mode], None] | None = None, **options: Any
) -> tuple[PtyProcess, Recorder]:
    sink = sink or Recorder()
    options.setdefault("argv", [b"sh", b"-c", line.encode()])
    process = PtyProcess.start_on_terminal(
        cwd=b"/",
        env=TERMINAL,
        command_id=None,
        sink=sink,
        loop=asyncio.get_running_loop(),
        limits=FAST,
        size=Size(24, 80),
        on_mode=on_mode,
        **options,
    )
    return process, sink


async def ended(process: PtyProcess, sink: Recorder) -> Exit:
    exit = await sink.exited()
    process.close()
    return exit


async def test_a_terminal_on_all_three_descriptors() -> None:
    process, sink = start(
        "tty; test -t 0 -a -t 1 -a -t 2 && stty size; echo err >&2; ls -l /proc/self/fd | wc -l; exit 7"
    )
    assert await ended(process, sink) == Exit(7, None)
    name = process.slave_path.decode()
    assert sink.out.decode().split("\r\n") == [name, "24 80", "err", "5", ""]  # 0, 1, 2, the listing's own, "total"


async def test_it_is_the_controlling_terminal() -> None:
    process, sink = start("ps -o tty=,pid=,sid=,tpgid= -p $$; echo x >/dev/tty")
    assert await ended(process, sink) == Exit(0, None)
    first, second = sink.out.decode().splitlines()
    tty, pid, sid, group = first.split()
    assert tty == process.slave_path.decode().removeprefix("/dev/") and pid == sid == group == str(process.pid)
    assert second == "x"


async def test_raw_mode_is_mended_and_nothing_else() -> None:
    line = "read -r x; for mode in '-icanon -echo' 'icanon -echo'; do stty $mode; read -r x </dev/tty; done; stty -a"
    process, sink = start(line)
    process.mend()  # nothing was remembered
    process.remember()
    process.write_stdin(b"\n")  # only now: what is remembered is the mode before
    await eventually(lambda: process.mode == "raw")
    process.mend()
    assert str(process.mode) == "cooked"
    process.write_stdin(b"\n")
    await eventually(lambda: process.mode == "no_echo")
    process.mend()
    assert str(process.mode) == "no_echo"
    process.write_stdin(b"\n")
    await ended(process, sink)
    process.remember()
    process.mend()  # the terminal is gone


async def test_every_byte_passes_both_ways() -> None:
    """8-bit clean once the program asks for it: 256 values in, 256 values out."""
    process, sink = start("stty raw -echo; echo ready; head -c 512 | od -An -v -tx1 -w1 | tr -d ' \\r\\n'")
    await sink.until(lambda: b"ready" in sink.out)
    process.write_stdin(bytes(range(256)) * 2)
    assert await ended(process, sink) == Exit(0, None)
    assert sink.out.partition(b"ready")[2].strip() == (bytes(range(256)) * 2).hex().encode()


async def test_the_kernel_echoes_edits_and_signals() -> None:
    process, sink = start("read line; echo got:$line; exec sleep 1000")
    process.write_stdin(b"abX\x7fc\n")
    await sink.until(lambda: b"got:" in sink.out)
    assert sink.out == b"abX\b \bc\r\ngot:abc\r\n"
    process.write_stdin(b"\x03")
    assert await ended(process, sink) == Exit(None, "SIGINT")
    assert sink.out.endswith(b"^C")


async def test_the_end_of_stdin_is_read_as_an_end_of_file() -> None:
    process, sink = start("stty -echo; cat; echo end")
    process.write_stdin(b"a line\nand a part")
    process.close_stdin()
    assert await ended(process, sink) == Exit(0, None)
    assert sink.out.replace(b"^D\b\b", b"").endswith(b"a line\r\nand a partend\r\n")


async def test_the_window_changes() -> None:
    process, sink = start("trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.01; done")
    await sink.until(lambda: b"ready" in sink.out)
    process.resize(Size(50, 132))
    assert await ended(process, sink) == Exit(0, None)
    assert b"50 132" in sink.out


async def test_what_it_wrote_last_comes_before_its_end() -> None:
    """A megabyte and the exit at once: none of it is lost, however the kernel moves it."""
    for _ in range(5):
        process, sink = start("head -c 1000000 /dev/zero | tr '\\0' x; echo; echo last")
        assert await ended(process, sink) == Exit(0, None)
        assert len(sink.out) == 1_000_000 + 2 + 6 and sink.out.endswith(b"last\r\n")
        assert sink.log[-1] == "exit" or "exit" in sink.log[-2:]


async def test_survivors_hear_of_the_hang_up() -> None:
    process, sink = start("trap : HUP; sh -c 'echo $$; exec sleep 1000' & wait $!; wait")
    await sink.until(lambda: b"\n" in sink.out)
    survivor = int(sink.out)
    os.kill(process.pid, signal.SIGKILL)
    assert await ended(process, sink) == Exit(None, "SIGKILL")
    await eventually(lambda: not is_alive(survivor))


async def test_paused_output_stops_it_and_loses_nothing() -> None:
    process, sink = start("i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done")
    process.pause_output()
    await asyncio.sleep(0)
    await eventually(lambda: os.path.exists(f"/proc/{process.pid}"))
    assert sink.exit is None
    process.resume_output()
    assert await ended(process, sink) == Exit(0, None)
    assert sink.out.split() == [b"%d" % i for i in range(20000)]


async def test_a_pause_in_the_middle_of_the_end_delays_it() -> None:
    sink = Recorder()
    process, _ = start("head -c 300000 /dev/zero | tr '\\0' x", sink)

    def once() -> None:
        if len(sink.out) > 1000:
            sink.when_output = lambda: None
            process.pause_output()
            asyncio.get_running_loop().call_later(0.05, process.resume_output)

    sink.when_output = once
    await sink.exited()
    assert len(sink.out) == 300_000
    process.close()


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        ([b"no-such-program"], CommandNotFoundError),
        ([b"/no/such/program"], CommandNotFoundError),
        ([b"/etc/passwd"], CommandNotExecutableError),
        ([b"/"], CommandNotExecutableError),
    ],
)
async def test_what_can_not_be_started_is_said_at_once(argv: list[bytes], error: type[Exception]) -> None:
    with pytest.raises(error):
        start("", argv=argv)


async def test_a_missing_directory_is_named() -> None:
    with pytest.raises(WorkingDirectoryError, match="/no/where"):
        PtyProcess.start_on_terminal(
            [b"true"],
            cwd=b"/no/where",
            env=TERMINAL,
            command_id=None,
            sink=Recorder(),
            loop=asyncio.get_running_loop(),
            limits=FAST,
            size=Size(24, 80),
        )


async def test_a_kill_ends_the_tree() -> None:
    process, sink = start("trap '' TERM HUP; sleep 1000 & echo $!; while :; do sleep 1; done")
    await sink.until(lambda: b"\n" in sink.out)
    child = int(sink.out)
    process.kill(0.05)
    assert await ended(process, sink) == Exit(None, "SIGKILL")
    await eventually(lambda: not is_alive(child))


# --- line mode


async def test_modes_are_told_before_the_output_that_follows_them() -> None:
    sink = Recorder()
    modes: list[tuple[Mode, bytes]] = []
    line = (
        "read x; stty -echo; echo one; read x; stty echo; echo two; read x; stty raw; echo three; head -c 1; "
        "stty -raw; echo four"
    )
    process, _ = start(line, sink, on_mode=lambda mode: modes.append((mode, sink.out)))
    process.write_line(b"\n")
    for word in (b"one", b"two", b"three"):
        await sink.until(lambda word=word: word in sink.out)  # type: ignore[misc]
        process.write_line(b"\n") if word != b"three" else process.write_stdin(b"x")
    assert await ended(process, sink) == Exit(0, None)
    assert [mode for mode, _ in modes] == ["cooked", "no_echo", "cooked", "raw", "cooked"]
    for (_, before), word in zip(modes[1:], (b"one", b"two", b"three", b"four"), strict=True):
        assert word not in before


async def test_a_line_is_edited_elsewhere_and_not_echoed() -> None:
    process, sink = start('read line; echo "got:$line"', on_mode=lambda mode: None)
    process.write_line(b"a \x03 b\x7f\n")
    assert await ended(process, sink) == Exit(0, None)
    assert sink.out == b"got:a \x03 b\x7f\r\n"


async def test_the_end_of_a_line_mode_input() -> None:
    process, sink = start("cat; echo end; read x; echo $x", on_mode=lambda mode: None)
    process.write_line(b"one\n")
    await sink.until(lambda: b"one" in sink.out)
    process.write_line(b"")
    await sink.until(lambda: b"end" in sink.out)
    process.write_line(b"two\n")
    assert await ended(process, sink) == Exit(0, None)
    assert sink.out == b"one\r\nend\r\ntwo\r\n"


async def test_an_end_waits_until_what_came_before_was_read() -> None:
    process, sink = start("", on_mode=lambda mode: None, argv=GATED)
    await sink.until(lambda: b"ready" in sink.out)
    process.write_line(b"one\ntwo\n")
    process.write_line(b"")
    process.write_line(b"three\n")
    os.kill(process.pid, signal.SIGUSR1)
    await sink.until(lambda: b"end" in sink.out)
    assert await ended(process, sink) == Exit(0, None)
    assert sink.out == b"ready\r\none\r\ntwo\r\nend\r\n"


async def test_a_read_gets_one_line_at_a_time() -> None:
    """As of any terminal: bash's `read` takes what one read(2) gives, and drops what follows the line in it."""
    process, sink = start(
        "", on_mode=lambda mode: None, argv=[b"bash", b"-c", b'for i in 1 2 3; do read x; echo "[$x]"; done']
    )
    for line in (b"one\n", b"two\n", b"three\n"):
        process.write_line(line)
    assert await ended(process, sink) == Exit(0, None)
    assert sink.out == b"[one]\r\n[two]\r\n[three]\r\n"


LINES = [b"line %d\n" % number for number in range(200)]


async def copied(lines: list[bytes]) -> bytes:
    """What `cat` on a terminal makes of the lines and an end of file."""
    process, sink = start("stty -opost; exec cat", on_mode=lambda mode: None)
    for line in (*lines, b""):
        process.write_line(line)
    assert await ended(process, sink) == Exit(0, None)
    assert process._reads is None, "only watched while lines wait"
    return sink.out


async def test_the_next_line_goes_when_the_one_before_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pty, "_LINE_AGAIN", 1000.0)  # no look by the clock
    assert await copied(LINES) == b"".join(LINES)


async def test_lines_follow_each_other_without_inotify_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(loop: asyncio.AbstractEventLoop) -> Reads:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Reads, "of", none_left)
    assert await copied(LINES[:20]) == b"".join(LINES[:20])


async def test_a_line_read_before_the_watch_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pty, "_LINE_AGAIN", 1000.0)
    watch = PtyProcess._watch_reads

    def late(process: PtyProcess) -> bool:
        while process._waiting():
            time.sleep(0.001)
        return watch(process)

    monkeypatch.setattr(PtyProcess, "_watch_reads", late)
    assert await copied(LINES[:2]) == b"".join(LINES[:2])


async def test_a_line_that_was_flushed_is_not_waited_for() -> None:
    program = (
        "import select, sys, termios; print('ready', flush=True); select.select([0], [], []); "
        "termios.tcflush(0, termios.TCIFLUSH); print('got', sys.stdin.readline())"
    )
    process, sink = start("", on_mode=lambda mode: None, argv=[os.fsencode(sys.executable), b"-c", program.encode()])
    await sink.until(lambda: b"ready" in sink.out)
    process.write_line(b"one\n")
    process.write_line(b"two\n")
    assert await ended(process, sink) == Exit(0, None)
    assert b"got two" in sink.out


async def test_in_raw_mode_the_kernel_sees_what_is_typed() -> None:
    modes: list[Mode] = []
    process, sink = start("read x; stty -icanon; echo ready; exec sleep 1000", on_mode=modes.append)
    process.write_line(b"\n")
    await sink.until(lambda: b"ready" in sink.out)
    assert modes == ["cooked", "raw"]
    process.write_stdin(b"x")
    await sink.until(lambda: sink.out.endswith(b"x"))
    process.write_stdin(b"\x03")
    assert await ended(process, sink) == Exit(None, "SIGINT")
    assert sink.out.endswith(b"x^C"), "echoed as -icanon alone has it"


async def test_sane_does_not_end_line_mode() -> None:
    modes: list[Mode] = []
    process, sink = start("stty sane; echo ready; read x; stty -echo; echo again; read x", on_mode=modes.append)
    await sink.until(lambda: b"ready" in sink.out)
    process.write_line(b"1\n")
    await sink.until(lambda: b"again" in sink.out)
    process.write_line(b"2\n")
    assert await ended(process, sink) == Exit(0, None)
    assert modes == ["cooked", "no_echo"] and b"1" not in sink.out


async def test_what_nobody_read_can_be_taken_back() -> None:
    process, sink = start("echo ready; exec sleep 1000", on_mode=lambda mode: None)
    await sink.until(lambda: b"ready" in sink.out)
    assert process.unread() == b""
    process.write_line(b"typed\n")
    process.write_line(b"ahead and")
    assert process.unread() == b"typed\nahead and" and process.unread() == b""
    process.kill_now()
    await ended(process, sink)
    assert process.unread() == b"" and process.mode == "raw" and process.foreground() is None


async def test_a_signal_at_once_is_not_lost() -> None:
    """Before setsid(1) has made the group there is only the process."""
    for _ in range(20):
        process, sink = start("exec sleep 1000")
        assert process.signal("SIGTERM")
        assert await ended(process, sink) == Exit(None, "SIGTERM")


async def test_the_foreground_group() -> None:
    process, sink = start("echo ready; exec sleep 1000", on_mode=lambda mode: None)
    await sink.until(lambda: b"ready" in sink.out)
    assert process.foreground() == process.pid
    process.kill_now()
    await ended(process, sink)
