"""The blocking front: streams, memory, threads, interrupts, forks, ends."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from remote_shell import DEVNULL, PIPE
from remote_shell.client.blocking import Host, connect, interrupt
from remote_shell.errors import CommandRefusedError, ConnectionLostError, UsageError
from remote_shell.testing import RunningServer

Later = Callable[[float | Callable[[], object], Callable[[], object]], None]


def wait_until(ready: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.005)


def running_commands(word: str) -> list[str]:
    """Processes whose command line is `word`, with spaces between arguments."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if (
                folder.name.isdigit()
                and (folder / "cmdline").read_bytes().replace(b"\0", b" ").strip() == word.encode()
            ):
                found.append(folder.name)
        except OSError:
            continue
    return found


# --- streams


def test_output_goes_to_our_own_descriptors(host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    host.run(["sh", "-c", "echo out; echo err >&2"], stdin=DEVNULL)
    assert tuple(capfd.readouterr()) == ("out\n", "err\n")


def test_files_and_descriptors(host: Host, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"from a file")
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as sink:
        host.run(["cat"], stdin=source, stdout=sink)
    assert (tmp_path / "out").read_bytes() == b"from a file"
    with open(tmp_path / "err", "wb") as sink:
        host.run(["sh", "-c", "echo err >&2"], stdin=DEVNULL, stderr=sink.fileno())
    assert (tmp_path / "err").read_bytes() == b"err\n"


def test_stdin_is_inherited(running: RunningServer, tmp_path: Path) -> None:
    """In a process of its own, since it is about descriptor 0."""
    script = (
        "import sys, remote_shell\n"
        "with remote_shell.connect(sys.argv[1]) as host:\n"
        "    sys.exit(host.run(['wc', '-c']).returncode)\n"
    )
    argv = [sys.executable, "-c", script, running.targets["unix"]]
    done = subprocess.run(argv, input=b"x" * 1_000_000, capture_output=True, timeout=15)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"1000000", b"")
    closed = subprocess.run(["sh", "-c", '"$@" <&-', "sh", *argv], capture_output=True, timeout=15)
    assert (closed.returncode, closed.stdout.strip(), closed.stderr) == (0, b"0", b"")
    deaf = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *argv], input=b"x", capture_output=True, timeout=15)
    assert (deaf.returncode, deaf.stderr) == (0, b"")


def test_a_stdin_that_never_ends_does_not_keep_run(host: Host) -> None:
    reader, writer = os.pipe()
    try:
        started = time.monotonic()
        assert host.run(["true"], stdin=reader).returncode == 0
        assert time.monotonic() - started < 2
        os.write(writer, b"unread")
        assert os.read(reader, 100) == b"unread", "the descriptor is as it was"
    finally:
        os.close(reader)
        os.close(writer)


def test_stdin_is_read_only_as_fast_as_the_command_takes_it(host: Host) -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    sent = 0
    with ours, theirs, host.popen(["sh", "-c", "read line; echo got; sleep 60"], stdin=ours, stdout=PIPE) as process:
        theirs.send(b"line\n")
        assert process.stdout.readline() == b"got\n"
        for _ in range(200):
            try:
                sent += theirs.send(b"x" * 65536)
            except BlockingIOError:
                pass
            process.poll()
        process.kill()
    limits = host._limits
    assert sent < limits.window + limits.queue_max + 2_000_000, "windows, pipe and socket buffers bound it"


def test_two_commands_share_one_stdin(host: Host) -> None:
    """Whoever reads first gets it, as with local children; nobody hangs."""
    reader, writer = os.pipe()
    try:
        first = host.popen(["cat"], stdin=reader, stdout=PIPE)
        second = host.popen(["cat"], stdin=reader, stdout=PIPE)
        os.write(writer, b"once")
        wait_until(
            lambda: first._state.outputs[1].chunks or second._state.outputs[1].chunks or first.poll() is not None
        )
        os.close(writer)
        writer = -1
        out = first.communicate()[0] + second.communicate()[0]
        assert out == b"once"
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


def test_a_goodbye_comes_behind_the_answers_to_close(running: RunningServer) -> None:
    host = connect(running.targets["unix"])
    session = host._conversation.session
    for _ in range(3):
        host.run(["true"], stdin=DEVNULL, capture_output=True)
    host.close()
    assert session.sent_frames == 6, "an open and a close of each"


def test_a_closed_stdout_ends_the_command(host: Host) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with pytest.raises(BrokenPipeError):
            host.run(["bash", "-c", "exec -a gone-reader yes"], stdin=DEVNULL, stdout=writer)
    finally:
        os.close(writer)
    wait_until(lambda: not running_commands("gone-reader"))


def test_a_full_disk_is_told(host: Host) -> None:
    with open("/dev/full", "wb") as full, pytest.raises(OSError, match="No space left"):
        host.run(["echo", "x"], stdin=DEVNULL, stdout=full)
    assert host.run(["true"]).returncode == 0


def test_late_output_of_a_background_child_is_read(host: Host) -> None:
    done = host.run("(sleep 0.3; echo late)& echo soon", shell=True, capture_output=True, text=True)
    assert done.stdout == "soon\nlate\n"


def test_without_pipes_run_ends_with_the_command(host: Host) -> None:
    started = time.monotonic()
    name = f"1000.{os.getpid()}"
    host.run(f"sleep {name} & exit 0", shell=True, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    assert time.monotonic() - started < 2
    wait_until(lambda: running_commands(f"sleep {name}"))
    assert host.run(["true"]).returncode == 0
    assert running_commands(f"sleep {name}"), "a daemon is left alone"
    host.run(["pkill", "-f", f"sleep {name}"])


# --- much data


def test_everything_at_once_does_not_hang(host: Host) -> None:
    size = 20_000_000
    line = f"head -c {size} /dev/zero & head -c {size} /dev/zero >&2; wait; cat"
    done = host.run(line, shell=True, input=b"x" * size, capture_output=True)
    assert (len(done.stdout), len(done.stderr)) == (2 * size, size)


@pytest.mark.slow
def test_a_hundred_megabytes_each_way_within_the_windows(running: RunningServer, tmp_path: Path) -> None:
    """Not captured: memory stays where it was."""
    script = (
        "import resource, sys, remote_shell\n"
        "with remote_shell.connect(sys.argv[1]) as host:\n"
        "    host.run(['true'], stdin=remote_shell.DEVNULL)\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    host.run('head -c 100M /dev/zero & head -c 100M /dev/zero >&2; wait; cat', shell=True)\n"
        "    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    open(sys.argv[2], 'w').write(str(after - before))\n"
    )
    grew = tmp_path / "grew"
    (tmp_path / "in").write_bytes(b"x" * 100_000_000)
    with (
        open(tmp_path / "in", "rb") as source,
        open(tmp_path / "out", "wb") as out,
        open(tmp_path / "err", "wb") as err,
    ):
        argv = [sys.executable, "-c", script, running.targets["unix"], str(grew)]
        assert subprocess.run(argv, stdin=source, stdout=out, stderr=err, timeout=120).returncode == 0
    assert (tmp_path / "out").stat().st_size == 100 * 2**20 + 100_000_000
    assert (tmp_path / "err").stat().st_size == 100 * 2**20
    assert int(grew.read_text()) < 40 * 1024, "KiB: replay, windows and buffers"


# --- timeouts


def test_a_timeout_ends_the_whole_tree(host: Host) -> None:
    name = f"1001.{os.getpid()}"
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        host.run(["sh", "-c", f"echo out; sleep {name} & sleep {name}"], timeout=0.5, capture_output=True)
    assert (caught.value.output, caught.value.timeout) == (b"out\n", 0.5)
    wait_until(lambda: not running_commands(f"sleep {name}"))


def test_popen_with_a_timeout(host: Host) -> None:
    with host.popen(["sleep", "60"], timeout=0.1) as process:
        assert process.wait() == -signal.SIGTERM
        assert process.result is not None and process.result.timed_out


# --- threads, forks, loops


def test_eight_threads_on_one_host(host: Host) -> None:
    faults: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(12):
                text = f"{number}-{turn}"
                done = host.run(["cat"], input=text * 1000, capture_output=True, text=True)
                assert done.stdout == text * 1000
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_a_slow_thread_stops_its_own_command_only(host: Host) -> None:
    with host.popen(["yes"], stdout=PIPE) as slow:
        assert slow.stdout.read(2) == b"y\n"
        waiting = threading.Thread(target=lambda: host.run(["sleep", "0.3"]))
        waiting.start()
        for _ in range(20):
            assert host.run(["echo", "quick"], capture_output=True).stdout == b"quick\n"
        waiting.join()
        assert slow.poll() is None
        slow.kill()


def test_a_signal_from_another_thread(host: Host) -> None:
    process = host.popen(["sleep", "60"])
    timer = threading.Timer(0.1, process.terminate)
    timer.start()
    assert process.wait() == -signal.SIGTERM
    timer.join()
    process.release()


def test_a_forked_copy_refuses_and_harms_nothing(running: RunningServer) -> None:
    with connect(running.targets["tls"], **running.options("tls")) as host:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                try:
                    host.run(["true"])
                except UsageError as error:
                    host.close()
                    os.write(writer, str(error).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            text = file.read().decode()
        os.waitpid(child, 0)
        assert "forked copy" in text and "connect" in text
        assert host.run(["true"]).returncode == 0, "the stream is unharmed"


async def test_inside_a_running_loop(running: RunningServer) -> None:
    with connect(running.targets["unix"]) as host:
        assert host.run(["echo", "x"], capture_output=True).stdout == b"x\n"


# --- interrupts


def test_ctrl_c_ends_the_remote_tree(host: Host, after: Later) -> None:
    name = f"1002.{os.getpid()}"
    with pytest.raises(KeyboardInterrupt):
        after(lambda: len(running_commands(f"sleep {name}")) == 2, lambda: os.kill(os.getpid(), signal.SIGINT))
        host.run(["sh", "-c", f"sleep {name} & sleep {name}"], stdin=DEVNULL)
    wait_until(lambda: not running_commands(f"sleep {name}"))
    assert host.run(["true"]).returncode == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_a_flood_leaves_the_session_whole(host: Host, after: Later) -> None:
    """It comes between two steps of the core, wherever the signal hit: other commands lose nothing."""
    with host.popen(["cat"], stdin=PIPE, stdout=PIPE) as other:
        for turn in range(12):
            with pytest.raises(KeyboardInterrupt):
                after(0.02 + turn * 0.003, lambda: os.kill(os.getpid(), signal.SIGINT))
                host.run("yes", shell=True, stdin=DEVNULL, stdout=DEVNULL)
        other.stdin.write(b"still there\n")
        other.stdin.flush()
        assert other.stdout.readline() == b"still there\n"
    assert host._conversation.reconnects == 0


class StopError(Exception):
    """Raised by handlers."""


def test_a_handler_that_raises_through_interrupt(host: Host, after: Later) -> None:
    with host.popen(["cat"], stdin=PIPE, stdout=PIPE) as other:
        with pytest.raises(StopError):
            after(0.05, lambda: interrupt(StopError()))
            host.run("yes", shell=True, stdin=DEVNULL, stdout=DEVNULL)
        other.stdin.write(b"still there\n")
        other.stdin.flush()
        assert other.stdout.readline() == b"still there\n"


@pytest.mark.slow
def test_a_handler_that_raises_by_itself_costs_at_most_the_session(running: RunningServer, after: Later) -> None:
    """Wherever it hits: the call raises it, the tree is ended, and the host can be used again."""
    name = f"1003.{os.getpid()}"

    def stop() -> None:
        raise StopError

    with connect(running.targets["unix"]) as host:
        for turn in range(15):
            with pytest.raises(StopError):
                after(0.02 + turn * 0.0007, stop)
                host.run(f"exec -a {name} yes", shell="account", stdin=DEVNULL, stdout=DEVNULL)
            assert host.run(["echo", "x"], capture_output=True).stdout == b"x\n"
        wait_until(lambda: not running_commands(name))


def test_a_cut_step_ends_the_session_and_its_commands(running: RunningServer) -> None:
    """The guard for handlers that raise: the session can't be trusted, so nothing goes on in it."""
    name = f"1004.{os.getpid()}"
    states: list[str] = []
    with connect(running.targets["unix"], on_state=lambda state: states.append(state.name)) as host:
        process = host.popen(["sleep", name])
        host._driver._damaged = True  # as after an exception in the middle
        with pytest.raises(ConnectionLostError, match="signal handler"):
            process.wait()
        wait_until(lambda: not running_commands(f"sleep {name}"))
        assert host.run(["echo", "x"], capture_output=True).stdout == b"x\n"
    assert states[:2] == ["connected", "gave_up"]


# --- ids, limits, the end


def test_an_id_runs_once(host: Host, tmp_path: Path) -> None:
    ident = f"once-{os.getpid()}"
    line = f"echo ran >> {tmp_path}/runs; exit 5"
    for _ in range(2):
        assert host.run(line, shell=True, command_id=ident).returncode == 5
    assert (tmp_path / "runs").read_text() == "ran\n"
    with pytest.raises(CommandRefusedError, match="another one") as caught:
        host.run(["true"], command_id=ident)
    assert caught.value.code == "id_conflict"
    assert host.query(ident).state == "finished"
    assert host.query(f"never-{os.getpid()}").state == "never_received"
    with pytest.raises(CommandRefusedError, match="never runs"):
        host.run(["true"], command_id=f"never-{os.getpid()}")


@pytest.mark.parametrize("ident", ["a b", "", "x" * 65, "é"])
def test_what_can_not_be_an_id(host: Host, ident: str) -> None:
    with pytest.raises(UsageError, match="no id"):
        host.run(["true"], command_id=ident)
    with pytest.raises(UsageError, match="no id"):
        host.query(ident)


def test_what_is_too_long_to_send(host: Host) -> None:
    with pytest.raises(UsageError, match="too long"):
        host.run(["echo", "x" * 2_000_000])
    assert host.run(["true"]).returncode == 0


def test_an_environment_that_is_added(host: Host) -> None:
    out = host.run("echo $ADDED $HOME", shell=True, capture_output=True, text=True, env_add={"ADDED": "yes"}).stdout
    assert out.startswith("yes /")


def test_the_accounts_own_shell(host: Host) -> None:
    out = host.run("echo $0", shell="account", capture_output=True, text=True).stdout
    assert out.strip().startswith("/")


def test_closing_ends_what_runs(running: RunningServer) -> None:
    name = f"1005.{os.getpid()}"
    host = connect(running.targets["unix"])
    process = host.popen(["sh", "-c", f"sleep {name} & sleep {name}"])
    host.close()
    host.close()
    started = time.monotonic()
    wait_until(lambda: not running_commands(f"sleep {name}"))
    assert time.monotonic() - started < 1
    with pytest.raises(ConnectionLostError, match="closed here"):
        process.wait()
    with pytest.raises(UsageError, match="closed"):
        host.run(["true"])


@pytest.mark.slow
def test_a_limit_that_is_no_number_leaves_the_connection_alone(host: Host) -> None:
    most: Any
    with host.popen(["cat"], stdin=PIPE, stdout=PIPE) as process:
        for most in ("3", [1], 1.5):
            with pytest.raises(TypeError):
                host.run(["echo", "x"], stdout=PIPE, most=most)
            with pytest.raises(TypeError):
                process.communicate(b"x", most=most)
        assert process.communicate(b"x", most=3) == (b"x", None)


def test_a_time_that_is_no_number_leaves_the_connection_alone(host: Host) -> None:
    within: Any
    with host.popen(["cat"], stdin=PIPE) as process:
        for within in ("3", None, [1], 1j):
            with pytest.raises(TypeError):
                host.heard(within)
            if within is not None:
                with pytest.raises(TypeError):
                    process.wait(within)
                with pytest.raises(TypeError):
                    process.communicate(timeout=within)
        assert host.heard(10) and process.poll() is None


def test_times_without_end_are_taken(running: RunningServer) -> None:
    for seconds in (1e300, 2**60):
        with connect(running.targets["unix"], connect_timeout=seconds, grace=seconds) as host:
            assert host.run(["true"]).returncode == 0


def test_nothing_stays_behind_of_many_commands(host: Host) -> None:
    for _ in range(150):
        host.run(["true"], capture_output=True)
    session = host._conversation.session
    assert len(session.channels) <= 1 and not host._conversation.states
    assert session.unacknowledged[0] < 200
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0


def test_a_quick_command_needs_few_system_calls(host: Host) -> None:
    """One send; one wait and one read for each word of the server, `opened` and the rest."""
    calls: dict[str, int] = {"send": 0, "recv": 0, "poll": 0}
    driver = host._driver
    link: Any = driver.link

    class Counting:
        transport = "unix"

        def send(self, buffers: Any) -> int:
            calls["send"] += 1
            return int(link.send(buffers))

        def recv(self) -> bytes | None:
            calls["recv"] += 1
            data: bytes | None = link.recv()
            return data

        def __getattr__(self, name: str) -> Any:
            return getattr(link, name)

    driver.link = Counting()
    for _ in range(20):
        host.run(["true"], stdin=DEVNULL, capture_output=True)
    assert calls["send"] <= 21
    assert calls["recv"] <= 20 * 4
