"""`RemoteProcess` against `subprocess.Popen`."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from remote_shell import DEVNULL, PIPE, STDOUT
from remote_shell.client.blocking import Host, connect
from remote_shell.client.remote import RemoteProcess
from remote_shell.errors import CommandNotFoundError, CommandRefusedError, ConnectionLostError, WorkingDirectoryError
from remote_shell.testing import RunningServer

from .test_blocking import running_commands, wait_until


def test_a_dialogue(host: Host) -> None:
    with host.popen(["cat"], stdin=PIPE, stdout=PIPE) as process:
        assert process.args == ["cat"] and process.pid and process.poll() is None and process.returncode is None
        for word in (b"one\n", b"two\n"):
            process.stdin.write(word)
            process.stdin.flush()
            assert process.stdout.readline() == word
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait() == process.returncode == process.poll() == 0
    assert process.stdout.closed and process.stdin.closed
    assert process.result is not None and process.result.status == 0
    assert process.opened is not None and process.opened.cwd


def test_text_and_lines(host: Host) -> None:
    with host.popen(["cat"], stdin=PIPE, stdout=PIPE, text=True, bufsize=1) as process:
        process.stdin.write("zeile é\n")  # line buffered: it goes without a flush
        assert process.stdout.readline() == "zeile é\n"
    with host.popen("printf 'a\\r\\nb\\n'", shell=True, stdout=PIPE, text=True) as process:
        assert list(process.stdout) == ["a\n", "b\n"]


def test_unbuffered(host: Host) -> None:
    with host.popen(["cat"], bufsize=0, stdin=PIPE, stdout=PIPE) as process:
        assert isinstance(process.stdin, io.RawIOBase) and isinstance(process.stdout, io.RawIOBase)
        assert process.stdin.write(b"abc") == 3
        assert process.stdout.read(1) + process.stdout.read(1) + process.stdout.read(1) == b"abc"


def test_streams_can_not_be_selected(host: Host) -> None:
    with host.popen(["true"], stdout=PIPE) as process, pytest.raises(io.UnsupportedOperation):
        process.stdout.fileno()


def told_at_a_timeout(process: RemoteProcess, given: bytes | None = None) -> object:
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        process.communicate(given, timeout=0.05)
    return caught.value.output


def test_communicate_and_its_timeout(host: Host, tmp_path: Path) -> None:
    line = f"cat; until [ -e {tmp_path}/go ]; do sleep 0.01; done; echo end"
    process = host.popen(line, shell=True, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    told_at_a_timeout(process, b"early ")
    wait_until(lambda: told_at_a_timeout(process) == b"early ")  # all of it, however often it is asked
    assert told_at_a_timeout(process) == b"early "
    (tmp_path / "go").touch()
    assert process.communicate() == (b"early end\n", b"")
    assert process.returncode == 0
    with host.popen(["sh", "-c", "echo o; echo e >&2"], stdout=PIPE, stderr=STDOUT, text=True) as process:
        assert process.communicate() == ("o\ne\n", None)


@pytest.mark.filterwarnings("ignore:line buffering:RuntimeWarning")  # as from Popen
@pytest.mark.parametrize("bufsize", [-1, 0, 1, 100])
@pytest.mark.parametrize("stderr", [PIPE, None])
def test_communicate_gives_what_was_read_ahead(host: Host, bufsize: int, stderr: int | None) -> None:
    empty = b"" if stderr is PIPE else None
    process = host.popen(["printf", "a\\nb\\n"], bufsize, stdout=PIPE, stderr=stderr)
    assert (process.stdout.readline(), process.communicate()) == (b"a\n", (b"b\n", empty))
    assert process.communicate() == (b"b\n", empty), "again, the same"
    process = host.popen(["printf", "a\\nb\\n"], bufsize, stdout=PIPE, stderr=stderr)
    assert (process.stdout.read(1), process.communicate()) == (b"a", (b"\nb\n", empty))
    process = host.popen(["printf", "a\\r\\né\\r\\nb"], bufsize, stdout=PIPE, text=True)
    assert (process.stdout.readline(), process.communicate()[0]) == ("a\n", "é\nb")
    process = host.popen(["printf", "é\\r\\nb"], bufsize, stdout=PIPE, text=True)
    assert (process.stdout.read(1), process.communicate()[0]) == ("é", "\nb")


def test_a_character_whose_half_was_read_ahead(host: Host) -> None:
    line = r"printf 'a\nb\303'; read x; printf '\251\nc'"
    process = host.popen(line, shell=True, stdin=PIPE, stdout=PIPE, text=True)
    assert process.stdout.readline() == "a\n"
    assert process.communicate("\n") == ("bé\nc", None)


@pytest.mark.parametrize("text", [False, True])
def test_a_timeout_tells_what_was_read_ahead_and_loses_nothing(host: Host, tmp_path: Path, text: bool) -> None:
    line = f"printf 'a\\nb\\n'; until [ -e {tmp_path}/go ]; do sleep 0.01; done; echo c"
    process = host.popen(line, shell=True, stdout=PIPE, text=text)
    assert process.stdout.readline() == ("a\n" if text else b"a\n")
    for _ in range(2):
        assert told_at_a_timeout(process) == b"b\n"
    (tmp_path / "go").touch()
    assert process.communicate()[0] == ("b\nc\n" if text else b"b\nc\n")


@pytest.mark.filterwarnings("ignore:line buffering:RuntimeWarning")
@pytest.mark.parametrize("bufsize", [-1, 0, 1, 100, 1_000_000])
def test_input_comes_behind_what_was_written_before(host: Host, bufsize: int) -> None:
    process = host.popen(["cat"], bufsize, stdin=PIPE, stdout=PIPE)
    process.stdin.write(b"x")
    assert process.communicate(b"y") == (b"xy", None)
    process = host.popen(["cat"], bufsize, stdin=PIPE, stdout=PIPE, text=True)
    process.stdin.write("x\né")
    assert process.communicate("y\n") == ("x\néy\n", None)
    process = host.popen(["true"], bufsize, stdin=PIPE, stdout=PIPE)
    process.wait()
    try:
        process.stdin.write(b"x")
    except BrokenPipeError:
        assert bufsize in (0, 1)
    assert process.communicate(b"y") == (b"", None)


def test_what_was_written_before_does_not_hold_communicate_up(host: Host) -> None:
    """Neither the command that reads nothing, nor the one that must be read from so that it reads on."""
    much = bytes(3_000_000)
    process = host.popen(["sleep", "60"], len(much) + 1, stdin=PIPE)
    process.stdin.write(much)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(b"y", timeout=0.05)
    process.abandon()
    process = host.popen(["cat"], len(much) + 1, stdin=PIPE, stdout=PIPE)
    process.stdin.write(much)
    assert process.communicate(b"y") == (much + b"y", None)


@pytest.mark.slow
def test_communicate_moves_100_mb_behind_what_was_written_before(host: Host) -> None:
    process = host.popen(["cat"], stdin=PIPE, stdout=PIPE)
    process.stdin.write(b"x")
    data = bytes(100_000_000)
    assert process.communicate(data)[0] == b"x" + data


def test_communicate_moves_much_both_ways(host: Host) -> None:
    process = host.popen(["tee", "/dev/stderr"], stdin=PIPE, stdout=PIPE, stderr=PIPE)
    data = os.urandom(5_000_000)
    assert process.communicate(data) == (data, data)


def test_wait_ends_at_the_exit_and_the_output_can_follow(host: Host, tmp_path: Path) -> None:
    line = f"(until [ -e {tmp_path}/go ]; do sleep 0.01; done; echo late)& echo soon"
    with host.popen(line, shell=True, stdout=PIPE) as process:
        assert process.wait(15) == 0
        (tmp_path / "go").touch()  # nothing else ends what holds the output
        assert process.stdout.read() == b"soon\nlate\n"


def test_wait_has_a_timeout(host: Host) -> None:
    process = host.popen(["sleep", "60"])
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.05)
    assert process.poll() is None
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.send_signal(signal.SIGTERM)  # too late, and no error, as in subprocess
    process.release()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1, signal.SIGRTMIN + 2])
def test_signals(host: Host, number: int) -> None:
    with host.popen(["sleep", "60"]) as process:
        process.send_signal(number)
        assert process.wait() == -number


def test_signal_0_is_none_and_no_error_either(host: Host) -> None:
    with host.popen(["cat"], stdin=PIPE, stdout=PIPE) as process:
        process.send_signal(0)
        assert process.communicate(b"alive") == (b"alive", None)
        process.send_signal(0)
    process.send_signal(0)
    assert process.returncode == 0


def test_a_signal_that_is_none(host: Host) -> None:
    with host.popen(["sleep", "60"]) as process:
        with pytest.raises(OSError, match="Invalid argument"):
            process.send_signal(999)
        process.kill()


def test_what_can_not_start(host: Host) -> None:
    with pytest.raises(CommandNotFoundError) as caught:
        host.popen(["no-such-program"])
    assert caught.value.filename == "no-such-program" and isinstance(caught.value, FileNotFoundError)
    with pytest.raises(WorkingDirectoryError, match="no/such"):
        host.popen(["true"], cwd="/no/such")
    assert not host._conversation.states


def test_too_long_a_word_is_told_with_what_helps_alone(host: Host) -> None:
    with pytest.raises(CommandRefusedError) as caught:
        host.popen(["true", "x" * 130 * 1024])
    text = caught.value.__notes__[-1]
    assert text.endswith("cannot start true: Argument list too long; shorten it, or send the data on stdin")
    assert caught.value.code == "refused"


def test_a_reader_that_leaves_ends_the_writer(host: Host) -> None:
    with host.popen(["yes"], stdout=PIPE) as process:
        assert process.stdout.readline() == b"y\n"
    assert process.returncode == -signal.SIGPIPE


def test_writing_to_what_ended(host: Host) -> None:
    process = host.popen(["true"], stdin=PIPE)
    process.wait()
    with pytest.raises(BrokenPipeError):
        process.stdin.write(b"x")
        process.stdin.flush()
    with pytest.raises(BrokenPipeError), process:  # what was written is still there, and can't go: as with Popen
        pass


def test_who_does_not_read_stops_the_command(host: Host) -> None:
    """At the window, and what is in the pipe; and nothing is lost."""
    line = "for n in $(seq 200); do head -c 65536 /dev/zero; echo $n >&2; done"
    with host.popen(line, shell=True, stdout=PIPE, stderr=PIPE) as process:
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            process.poll()
        held = sum(map(len, process._state.outputs[1].chunks))
        assert held <= host._limits.window
        assert process.poll() is None
        out, err = process.communicate()
    assert len(out) == 200 * 65536 and err.split()[-1] == b"200"


def test_an_exception_in_the_block_waits_and_one_of_the_person_does_not(host: Host) -> None:
    name = f"1010.{os.getpid()}"
    with pytest.raises(KeyboardInterrupt), host.popen(["sleep", name]):
        raise KeyboardInterrupt
    wait_until(lambda: not running_commands(f"sleep {name}"))


def test_ending_from_a_handler(host: Host) -> None:
    name = f"1011.{os.getpid()}"
    process = host.popen(["sh", "-c", f"sleep {name} & sleep {name}"])
    process.abandon_soon(RuntimeError("enough"))
    with pytest.raises(RuntimeError, match="enough"):
        process.wait()
    wait_until(lambda: not running_commands(f"sleep {name}"))


def test_a_process_whose_host_was_closed(running: RunningServer) -> None:
    with connect(running.targets["unix"]) as host:
        process = host.popen(["cat"], stdin=PIPE, stdout=PIPE)
    for action in (process.wait, process.poll, process.stdout.read, lambda: process.stdin.raw.write(b"x")):
        with pytest.raises(ConnectionLostError):
            action()


def test_a_file_may_be_closed_after_the_start(host: Host, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"data")
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as sink:
        process = host.popen(["cat"], stdin=source, stdout=sink)
    with process:
        assert process.wait() == 0
    assert (tmp_path / "out").read_bytes() == b"data"


def test_many_open_at_once(host: Host) -> None:
    processes = [host.popen(["cat"], stdin=PIPE, stdout=PIPE) for _ in range(40)]
    for number, process in enumerate(processes):
        process.stdin.write(str(number).encode())
        process.stdin.close()
    for number, process in reversed(list(enumerate(processes))):
        assert process.stdout.read() == str(number).encode()
        with process:
            pass
    assert host.run(["true"], stdin=DEVNULL).returncode == 0


def test_one_look_sees_an_end_that_came_behind_others(host: Host) -> None:
    processes = [host.popen(["sleep", "0.3"], stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL) for _ in range(4)]
    time.sleep(1.5)  # and nobody looks meanwhile
    assert processes[-1].poll() == 0
    assert [process.wait(0) for process in processes] == [0] * 4
