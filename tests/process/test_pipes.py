from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from remote_shell.errors import CommandError, CommandRefusedError
from remote_shell.process import children
from remote_shell.process.base import Exit, signal_name
from remote_shell.process.environment import COMMAND_ID
from remote_shell.process.poller import Poller
from tests.process.recorder import (
    ENV,
    FAST,
    Recorder,
    eventually,
    is_alive,
    python_in_fresh_process,
    run,
    start,
)


async def test_output_exit_and_ends() -> None:
    sink = await run(["sh", "-c", "printf out; printf err >&2; exit 7"])
    assert (sink.out, sink.err, sink.exit) == (b"out", b"err", Exit(7, None))
    assert sorted(sink.ended) == [1, 2]


async def test_nothing_is_told_before_start_returns() -> None:
    process, sink = start(["echo", "x"])
    await eventually(lambda: not is_alive(process.pid))
    time.sleep(0)
    fresh, late = start(["echo", "x"])
    assert late.log == []
    await late.finished()
    await sink.finished()
    assert fresh.pid != process.pid


async def test_what_is_closed_is_gone_without_a_collection() -> None:
    gc.collect()
    gc.disable()
    try:
        process, sink = start(["sh", "-c", "echo out; echo err >&2"])
        await sink.finished()
        process.close()
        kinds = (type(process), subprocess.Popen)
        del process, sink
        assert not [found for found in gc.get_objects() if isinstance(found, kinds)]
    finally:
        gc.enable()


async def test_every_status_is_exact() -> None:
    for status in range(256):
        assert (await run(["sh", "-c", f"exit {status}"])).exit == Exit(status, None)


async def test_every_deadly_signal_is_exact() -> None:
    harmless = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}
    stops = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
    for number in sorted(signal.valid_signals() - harmless - stops):
        process, sink = start(["sleep", "1000"])
        assert process.signal(signal_name(number))
        assert await sink.finished() == Exit(None, signal_name(number))


async def test_signals_reach_the_whole_group() -> None:
    process, sink = start(["sh", "-c", "sleep 1000 & echo $!; sleep 1000 & echo $!; wait"])
    await sink.until(lambda: sink.out.count(b"\n") == 2)
    assert process.signal("TERM")
    await sink.finished()
    await eventually(lambda: not [pid for pid in sink.out.split() if is_alive(int(pid))])


async def test_after_the_end_signals_are_dropped() -> None:
    process, sink = start(["true"])
    await sink.finished()
    assert process.signal("SIGTERM") is False


async def test_an_unknown_signal_is_refused_even_after_the_end() -> None:
    process, sink = start(["true"])
    with pytest.raises(CommandError):
        process.signal("SIGNONE")
    await sink.finished()
    with pytest.raises(CommandError):
        process.signal("SIGNONE")


# --- environment, directory


async def test_the_environment_is_exact() -> None:
    sink = await run(["env"], env={b"A": b"1", b"B\xff": b"\xfe", b"PATH": ENV[b"PATH"]})
    assert sorted(sink.out.split(b"\n")) == sorted([b"", b"A=1", b"B\xff=\xfe", b"PATH=" + ENV[b"PATH"]])


async def test_the_id_is_a_variable() -> None:
    sink = await run(["env"], env={b"PATH": ENV[b"PATH"]}, command_id="an-id")
    assert COMMAND_ID + b"=an-id\n" in sink.out


async def test_the_directory_may_have_any_name(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/new\nline \xff"
    os.mkdir(folder)
    assert (await run(["pwd"], cwd=folder)).out == folder + b"\n"


async def test_arguments_may_hold_any_bytes() -> None:
    assert (await run(["printf", "%s|", b"\xff\xfe", "", "a b", "*", "new\nline"])).out == b"\xff\xfe||a b|*|new\nline|"


async def test_children_get_blocking_ends() -> None:
    """O_NONBLOCK in a child breaks programs that write much."""
    flags = "import fcntl, os; print([fcntl.fcntl(n, fcntl.F_GETFL) & os.O_NONBLOCK for n in (0, 1, 2)])"
    process, sink = start(["python3", "-c", flags], stdin="pipe")
    await sink.finished()
    assert sink.out == b"[0, 0, 0]\n"
    assert process.exit == Exit(0, None)


@pytest.mark.parametrize("ignore_sigint", [False, True])
def test_commands_end_the_same_when_the_server_ignores_sigint(ignore_sigint: bool) -> None:
    code = """
import asyncio
from remote_shell.process.prepare import prepare_process
from tests.process.recorder import start
prepare_process()
async def main():
    process, sink = start(["sh", "-c", "echo; exec sleep 1000"])
    await sink.until(lambda: sink.out)
    process.signal("SIGINT")
    print(await sink.finished())
asyncio.run(main())
"""
    assert python_in_fresh_process(code, ignore_sigint=ignore_sigint) == "Exit(status=None, signal='SIGINT')\n"


# --- the exit and those who hold the pipes


async def test_the_exit_is_told_although_a_grandchild_holds_the_pipes() -> None:
    began = time.monotonic()
    process, sink = start(["sh", "-c", "sleep 1000 & echo $!; echo mine"])
    await sink.exited()
    assert time.monotonic() - began < 5
    assert sink.ended == []
    survivor = int(sink.out.split()[0])
    assert is_alive(survivor)
    os.kill(survivor, signal.SIGKILL)
    await sink.finished()
    assert process.exit == Exit(0, None)


async def test_late_output_is_still_read() -> None:
    process, sink = start(["sh", "-c", "exec 3<&0; (read x <&3; echo late) & echo early"], stdin="pipe")
    await sink.exited()
    assert (sink.out, sink.ended) == (b"early\n", [])
    process.write_stdin(b"go\n")
    await sink.finished()
    assert sink.out == b"early\nlate\n"
    assert sink.log.index("exit") < sink.log.index("end 1")


async def test_a_flooding_survivor_does_not_delay_the_exit() -> None:
    process, sink = start(["sh", "-c", "yes & echo $!"], command_id="flood")
    await sink.exited()
    pid = int(sink.out.replace(b"y\n", b"").split()[0])
    os.kill(pid, signal.SIGKILL)
    await sink.finished()
    assert process.exit == Exit(0, None)


async def test_the_exit_never_overtakes_what_the_command_wrote() -> None:
    for _ in range(20):
        sink = await run(["sh", "-c", "head -c 100000 /dev/zero; head -c 50000 /dev/zero >&2"])
        assert sink.log.index("exit") > max(i for i, word in enumerate(sink.log) if word.startswith("output"))
        assert (len(sink.out), len(sink.err)) == (100000, 50000)


@pytest.mark.parametrize("stream", [1, 2])
async def test_a_paused_stream_holds_the_exit_back_behind_its_bytes(stream: int) -> None:
    process, sink = start(["sh", "-c", f"printf abc >&{stream}"])
    process.pause_output()
    await eventually(lambda: not is_alive(process.pid))
    await asyncio.sleep(0.02)
    assert sink.log == []
    process.resume_output(3 - stream)
    await asyncio.sleep(0.01)
    assert sink.exit is None
    process.resume_output()
    await sink.finished()
    assert sink.log.index(f"output {stream}") < sink.log.index("exit")


async def test_a_paused_stream_without_bytes_does_not() -> None:
    process, sink = start(["true"])
    process.pause_output()
    await sink.exited()
    assert sink.ended == []
    process.resume_output()
    await sink.finished()


async def test_a_command_that_closes_its_streams_lives_on() -> None:
    process, sink = start(["sh", "-c", "exec >&- 2>&-; read x; exit 5"], stdin="pipe")
    await sink.until(lambda: len(sink.ended) == 2)
    assert sink.exit is None
    process.write_stdin(b"go\n")
    assert await sink.exited() == Exit(5, None)


async def test_merged_stderr_keeps_the_order_and_has_no_end_of_its_own() -> None:
    _, sink = start(["sh", "-c", "echo 1; echo 2 >&2; echo 3"], merge_stderr=True)
    await sink.until(lambda: sink.exit is not None and sink.ended == [1])
    assert (sink.out, sink.err) == (b"1\n2\n3\n", b"")


# --- backpressure


async def test_a_pause_stops_the_child() -> None:
    process, sink = start(
        ["sh", "-c", "head -c 1000000 /dev/zero; echo done >&2"], limits=replace(FAST, pipes_grown_max=0)
    )
    process.pause_output(1)
    await asyncio.sleep(0.05)
    assert (sink.out, sink.err) == (b"", b"")
    process.resume_output(1)
    await sink.finished()
    assert len(sink.out) == 1_000_000
    assert sink.err == b"done\n"


async def test_a_sink_may_pause_and_resume_at_each_chunk() -> None:
    process, sink = start(["head", "-c", "3000000", "/dev/zero"])
    loop = asyncio.get_running_loop()

    def one_at_a_time() -> None:
        process.pause_output()
        loop.call_soon(process.resume_output)

    sink.when_output = one_at_a_time
    await sink.finished()
    assert len(sink.out) == 3_000_000


# --- stdin


async def test_stdin_goes_in_order_and_every_byte_is_credited() -> None:
    data = os.urandom(1_000_000)
    process, sink = start(["cat"], stdin="pipe")
    for at in range(0, len(data), 10_000):
        process.write_stdin(data[at : at + 10_000])
    process.close_stdin()
    await sink.finished()
    assert sink.out == data
    assert sink.credit == len(data)


async def test_without_a_pipe_stdin_is_empty_and_what_comes_is_credited() -> None:
    process, sink = start(["cat"])
    process.write_stdin(b"abc")
    process.close_stdin()
    await sink.finished()
    assert (sink.out, sink.credit) == (b"", 3)


async def test_stdin_that_nobody_reads_is_thrown_away_and_credited() -> None:
    process, sink = start(["sh", "-c", "exec 0<&-; echo closed; sleep 1000"], stdin="pipe")
    process.write_stdin(bytes(1_000_000))
    await sink.until(lambda: sink.credit == 1_000_000)
    process.kill_now()
    await sink.finished()


async def test_stdin_for_a_dead_command_is_credited() -> None:
    process, sink = start(["true"], stdin="pipe")
    process.write_stdin(bytes(200_000))
    await sink.finished()
    await sink.until(lambda: sink.credit == 200_000)
    process.write_stdin(b"more")
    assert sink.credit == 200_004


# --- closing


async def test_closed_it_tells_nothing_and_is_still_reaped() -> None:
    process, sink = start(["sh", "-c", "read x; echo never"], stdin="pipe")
    process.write_stdin(bytes(300_000).replace(b"\0", b"x"))
    credit = sink.credit
    process.close()
    process.close()
    await eventually(lambda: process.exit is not None)
    assert sink.log.count("stdin") == 1
    assert sink.credit == credit
    assert children.children_of(os.getpid()) == []


async def test_a_kill_goes_on_after_close() -> None:
    process, sink = start(["sh", "-c", "trap '' TERM; echo; while :; do sleep 0.01; done"])
    await sink.until(lambda: sink.out)
    process.kill(0.05)
    process.close()
    await eventually(lambda: not process.killing)
    assert not is_alive(process.pid)


async def test_a_sink_may_close_within_any_call() -> None:
    process, sink = start(["sh", "-c", "echo a; echo b >&2; exit 3"])
    sink.when_output = process.close
    await eventually(lambda: process.exit is not None)
    assert len([word for word in sink.log if word != "output 1" and word != "output 2"]) == 0
    assert process.exit in (Exit(3, None), Exit(None, "SIGPIPE"))


async def test_when_it_cannot_be_watched_nothing_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    await run(["true"])
    real = Poller.add
    for refused in range(3):
        left = [refused]

        def add(poll: Poller, fd: int, events: int, callback: object, left: list[int] = left) -> None:
            if not left[0]:
                raise OSError(28, "No space left on device")
            left[0] -= 1
            real(poll, fd, events, callback)  # type: ignore[arg-type]

        monkeypatch.setattr(Poller, "add", add)
        with pytest.raises(CommandRefusedError) as caught:
            start(["sleep", "1000"], stdin="pipe")
        assert caught.value.code == "resources"
        monkeypatch.undo()
    assert children.children_of(os.getpid()) == []


# --- many


@pytest.mark.slow
async def test_two_thousand_commands_leave_nothing() -> None:
    async def one(i: int) -> None:
        sink = await run(["sh", "-c", "cat; exit $((RANDOM % 7 + 1))" if i % 3 else "true"], command_id=str(i))
        assert sink.exit is not None

    for i in range(20):
        await one(i)
    gc.collect()
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    memory = int(Path("/proc/self/statm").read_text().split()[1])
    for i in range(0, 2000, 16):
        await asyncio.gather(*[one(i + j) for j in range(16)])
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert threading.active_count() == threads
    assert children.children_of(os.getpid()) == []
    assert int(Path("/proc/self/statm").read_text().split()[1]) - memory < 1280  # pages: 5 MiB


class Digest(Recorder):
    """Keeps sums instead of bytes, and gives the next piece of stdin for what was credited."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = hashlib.sha256()
        self.length = 0

    def on_output(self, stream: int, data: bytes) -> None:
        self.sum.update(data)
        self.length += len(data)


@pytest.mark.slow
async def test_100_mb_through_cat() -> None:
    sink = Digest()
    process, _ = start(["cat"], sink, stdin="pipe")
    block = os.urandom(1_000_000)
    sent = hashlib.sha256()
    for i in range(100):
        sent.update(block)
        process.write_stdin(block)
        await sink.until(lambda i=i: sink.credit >= (i - 1) * len(block))  # type: ignore[misc]
    process.close_stdin()
    await sink.finished()
    assert sink.length == 100_000_000
    assert sink.sum.digest() == sent.digest()


@pytest.mark.slow
async def test_100_mb_on_both_streams_at_once() -> None:
    script = "head -c 100000000 /dev/zero & head -c 100000000 /dev/zero >&2; wait"
    sink = Digest()
    start(["sh", "-c", script], sink)
    await sink.finished()
    assert sink.length == 200_000_000
