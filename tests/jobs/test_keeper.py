"""Keepers, real ones: what they keep, what they take, who may die."""

from __future__ import annotations

import contextlib
import json
import marshal
import os
import resource
import shlex
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from remote_shell.jobs import durable, orders
from remote_shell.jobs.keeper import Keeper
from remote_shell.jobs.log import STDERR, STDOUT, LogReader
from remote_shell.jobs.table import JobFacts, Table, open_folder
from remote_shell.limits import Limits

pytestmark = pytest.mark.screen  # the quick suite has two minutes for all

QUICK = Limits(kill_grace=0.3, job_retry_time=0.02)
ENV = {b"PATH": b"/usr/bin:/bin", b"LC_ALL": b"C"}


def until(true: Callable[[], Any], what: str, deadline: float = 10.0) -> Any:
    end = time.monotonic() + deadline
    while not (found := true()):
        assert time.monotonic() < end, what
        time.sleep(0.003)
    return found


class Kept:
    """A job and its keeper."""

    def __init__(self, table: Table, ident: str, argv: list[bytes], limits: Limits, **more: Any) -> None:
        self.table, self.ident = table, ident
        slot = table.claim("p", ident, {})
        more = {"cwd": b"/", "env": ENV, "merge_stderr": False, "timeout": None, **more}
        made = orders.make(argv, argv[0], limits=limits, **more)
        self.pid, heard = orders.start_keeper(made, slot.folder, slot.lock, ident)
        slot.close()
        with open(heard, "rb") as file:
            self.word = marshal.loads(file.read())  # noqa: S302

    @property
    def facts(self) -> JobFacts:
        facts = self.table.find("p", self.ident)
        assert facts is not None
        return facts

    @property
    def path(self) -> Path:
        return Path(self.table.path_of("p", self.ident))

    @property
    def status(self) -> dict[str, Any]:
        """Wait for the end."""
        until(lambda: self.facts.status is not None, "an end")
        assert self.facts.status is not None
        return self.facts.status

    @property
    def job(self) -> int:
        assert self.facts.started is not None
        return int(self.facts.started["pid"])

    def output(self, stream: int = STDOUT) -> bytes:
        with self.reading(stream) as read:
            return read()

    @contextlib.contextmanager
    def reading(self, stream: int = STDOUT) -> Iterator[Callable[[], bytes]]:
        """What gives all that was written since it was asked before."""
        folder = open_folder(str(self.path))
        assert folder is not None
        reader = LogReader(folder)

        def read() -> bytes:
            found = []
            while pieces := reader.read():
                for number, _, data, dropped in pieces:
                    if number == stream:
                        assert not dropped
                        found.append(data)
            return b"".join(found)

        try:
            yield read
        finally:
            reader.close()
            os.close(folder)

    @contextlib.contextmanager
    def talk(self) -> Iterator[tuple[socket.socket, Any]]:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            folder = os.open(self.path, os.O_RDONLY)
            try:
                sock.connect(f"/proc/self/fd/{folder}/socket")
            finally:
                os.close(folder)
            with sock.makefile("rb") as lines:
                yield sock, lines

    def say(self, line: bytes) -> bytes:
        with self.talk() as (sock, lines):
            sock.send(line)
            answer: bytes = lines.readline()
            return answer

    def gone(self) -> None:
        """Wait for the keeper's own end."""
        until(lambda: not self.facts.kept, "the keeper's end")

    def reap(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


Start = Callable[..., Kept]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    table = Table(str(tmp_path / ("deep" * 20) / ("er" * 40) / "jobs"), QUICK)
    made: list[Kept] = []

    def begin(script: str | list[bytes], limits: Limits = QUICK, **more: Any) -> Kept:
        argv = [b"/bin/sh", b"-c", script.encode()] if isinstance(script, str) else script
        made.append(Kept(table, f"j{len(made)}", argv, limits, **more))
        return made[-1]

    yield begin
    for one in made:
        if one.facts.kept:
            with contextlib.suppress(OSError):
                one.say(b"kill 0\n")
                one.gone()
        assert (one.path / "errors").read_text() == ""
        one.reap()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def descendant(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def test_output_and_end_are_on_the_disk(start: Start) -> None:
    kept = start("echo out; echo err >&2; exit 3")
    assert kept.word[0] == "started" and kept.word[1] > 0
    assert (kept.status["status"], kept.status["signal"], kept.status["timed_out"]) == (3, 0, False)
    assert (kept.output(), kept.output(STDERR)) == (b"out\n", b"err\n")
    assert (kept.status["stdout"], kept.status["stderr"]) == (4, 4)
    kept.gone()
    assert kept.facts.state == "finished" and kept.facts.started == {
        "pid": kept.word[1], "keeper": kept.pid, "started_at_ms": kept.word[2],
    }  # fmt: skip
    assert not (kept.path / "socket").exists()


def test_what_cannot_be_started(start: Start) -> None:
    assert start([b"/nope"]).word == ("failed", "program", 2)
    assert start("true", cwd=b"/nope").word == ("failed", "cwd", 2)
    assert start([b"/etc/passwd"]).word == ("failed", "program", 13)


def test_merged_streams_keep_their_order(start: Start) -> None:
    kept = start("echo 1; echo 2 >&2; echo 3", merge_stderr=True)
    assert kept.status["status"] == 0
    assert (kept.output(), kept.output(STDERR)) == (b"1\n2\n3\n", b"")


def test_the_job_sees_nothing_of_the_keeper(start: Start) -> None:
    code = "import os, signal, sys; print(sorted(os.listdir('/proc/self/fd')), dict(os.environ)); " + (
        "print(os.getsid(0) == os.getpid() == os.getpgrp(), [n for n in signal.valid_signals() "
        "if signal.getsignal(n) == signal.SIG_IGN], sys.stdin.read())"
    )
    script = f'exec {shlex.quote(sys.executable)} -I -S -c "{code}"'
    kept = start([b"/bin/sh", b"-c", script.encode()], env={b"A": b"\xff"})
    lines = kept.status["status"], kept.output().decode().splitlines()
    assert lines[0] == 0, kept.output(STDERR)
    # 3 is the listing's own; Python ignores SIGPIPE and SIGXFSZ itself
    assert lines[1][0].startswith("['0', '1', '2', '3'] ") and r"'A': '\udcff'" in lines[1][0]
    assert lines[1][1].startswith("True [<Signals.SIGPIPE: 13>, <Signals.SIGXFSZ: 25>]")


def test_memory_and_descriptors_of_a_keeper(start: Start) -> None:
    kept = start("yes | head -c 30000000; echo $$; exec sleep 100")
    with kept.reading() as read:  # each byte once: 30 MB anew at each look are too much for a busy machine
        last = b""

        def written() -> bool:
            nonlocal last
            last = (last + read())[-8:]
            return last.strip().endswith(str(kept.job).encode())

        until(written, "all written", 15)
    status = Path(f"/proc/{kept.pid}/status").read_text()
    size = int(status.partition("VmRSS:")[2].split()[0])
    assert size <= 12 * 1024, f"{size} KiB"
    mapped = Path(f"/proc/{kept.pid}/maps").read_text()
    assert "libssl" not in mapped and "pydantic" not in mapped
    assert len(os.listdir(f"/proc/{kept.pid}/fd")) <= 12


def test_long_orders_are_not_held(start: Start) -> None:
    """A keeper of a megabyte's arguments is as small as any other."""
    script = [b"/bin/sh", b"-c", b"exec sleep 100", b"z" * 100_000]
    start(script[:3])  # the first may have to compile
    small, large = start(script[:3]), start([*script, *[b"y" * 1000] * 850])

    def anonymous(kept: Kept) -> int:
        return int(Path(f"/proc/{kept.pid}/status").read_text().partition("RssAnon:")[2].split()[0])

    until(lambda: anonymous(large) - anonymous(small) < 100, "KiB more than the other's")


def test_signals_go_to_the_group(start: Start) -> None:
    kept = start("trap 'echo usr1' USR1; sleep 100 & echo $!; while :; do wait; done")
    child = int(until(lambda: kept.output().split(), "it runs")[0])
    until(
        lambda: Path(f"/proc/{child}/comm").read_text() == "sleep\n",
        "it is no copy of the shell with its trap any more",
    )
    assert kept.say(b"signal 10\n") == b"signalled\n"
    until(lambda: b"usr1" in kept.output(), "the trap ran")
    until(lambda: not alive(child), "the whole group had it")
    assert kept.say(b"signal 9\n") == b"signalled\n"
    assert kept.status["signal"] == 9 and kept.status["status"] == -1


def test_a_signal_after_the_end_is_too_late(start: Start) -> None:
    kept = start("sleep 100 & echo $!; exit 5")
    assert kept.status["status"] == 5
    assert kept.say(b"signal 15\n") == b"late\n"
    assert alive(int(kept.output())), "what a job leaves at its normal end is left alone"
    assert kept.facts.kept and kept.facts.state == "finished"


def test_a_job_that_forks_daemons(start: Start) -> None:
    """They go on writing after the job's end; killing gets them all, though they left group and session."""
    script = "(setsid sh -c 'echo $$; while :; do echo tick; sleep 0.01; done' &) ; sleep 0.05; echo main; exit 4"
    kept = start(script)
    assert kept.status["status"] == 4
    size = len(kept.output())
    until(lambda: len(kept.output()) > size, "it goes on writing")
    daemon = int(kept.output().split()[0])
    assert alive(daemon)
    assert kept.say(b"kill 100\n") == b"killing\n"
    kept.gone()
    assert not alive(daemon) and kept.status["status"] == 4


def test_a_daemon_that_holds_no_pipe_does_not_hold_the_keeper(start: Start, tmp_path: Path) -> None:
    kept = start(f"setsid sleep 100 >/dev/null 2>&1 & echo $! > {tmp_path}/pid")
    assert kept.status["status"] == 0
    kept.gone()
    daemon = int((tmp_path / "pid").read_text())
    assert alive(daemon)
    os.kill(daemon, signal.SIGKILL)


def test_the_tree_is_killed_though_it_ignores_term(start: Start) -> None:
    kept = start(
        "trap '' TERM; (trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$; sleep 100; sleep 100'); sleep 100"
    )
    inner = int(until(lambda: kept.output().split(), "it runs")[0])
    kept.say(b"kill 50\n")
    kept.gone()
    assert kept.status["signal"] == 9 and not alive(inner) and not alive(kept.job)


def test_a_timeout_ends_the_tree_and_is_told(start: Start) -> None:
    kept = start("(setsid sleep 100); echo never", timeout=0.05)
    assert kept.status["timed_out"] is True and kept.status["signal"] == signal.SIGTERM
    kept.gone()


def test_a_stopped_job_ends_too(start: Start) -> None:
    kept = start("kill -STOP $$; exit 1")
    until(lambda: Path(f"/proc/{kept.job}/stat").read_text().split()[2] == "T", "stopped")
    kept.say(b"kill 5000\n")
    assert kept.status["signal"] == signal.SIGTERM


def test_a_keeper_that_is_killed_leaves_the_end_unknown(start: Start) -> None:
    kept = start("echo before; exec sleep 100")
    until(lambda: kept.output() == b"before\n", "written")
    job = kept.job
    os.kill(kept.pid, signal.SIGKILL)
    kept.gone()
    assert kept.facts.state == "unknown" and kept.facts.started is not None
    assert kept.output() == b"before\n"
    assert alive(job), "nobody guesses, and nobody but a keeper signals"
    os.kill(job, signal.SIGKILL)


def test_signals_that_a_shutdown_sends_leave_the_keeper(start: Start) -> None:
    kept = start("trap 'sleep 0.1; echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done")
    until(kept.output, "up")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        os.kill(kept.pid, number)
    os.kill(kept.job, signal.SIGTERM)
    assert kept.status["status"] == 7 and kept.output() == b"up\nbye\n"


def test_followers_hear_of_output_and_end(start: Start) -> None:
    kept = start("while [ ! -e go ]; do sleep 0.01; done; echo x; exit 0", cwd=os.fsencode(os.getcwd()))
    with kept.talk() as (sock, lines):
        sock.send(b"follow\n")
        assert lines.readline() == b"at 0 0 0 0\n"
        kept.say(b"signal 15\n")
        assert lines.readline() == b"+\n" or kept.status
        assert kept.status["signal"] == 15
        rest = lines.read()
    assert b"ended\n" in rest or kept.facts.status


def test_nonsense_on_the_socket_is_hung_up_on(start: Start) -> None:
    kept = start("exec sleep 100")
    for line in (b"what\n", b"signal x\n", b"signal 1 2\n", b"\n", b"x" * 5000, b"kill -1\n"):
        with kept.talk() as (sock, lines):
            with contextlib.suppress(OSError):
                sock.send(line)
            with contextlib.suppress(ConnectionResetError):
                assert lines.read() == b""
    assert kept.say(b"signal 9999999999999999999999\n") == b"signalled\n"
    assert kept.say(b"signal 0\n") == b"signalled\n"
    assert (kept.path / "socket").stat().st_mode & 0o077 == 0


def test_too_many_watchers_are_refused(start: Start) -> None:
    kept = start("exec sleep 100", Limits(job_watchers_max=3))
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            sock, lines = stack.enter_context(kept.talk())
            sock.send(b"follow\n")
            assert lines.readline().startswith(b"at ")
        sock, lines = stack.enter_context(kept.talk())
        assert lines.read() == b""

    def again() -> bytes:
        try:
            return kept.say(b"signal 0\n")
        except OSError:
            return b""

    assert until(again, "there is room again") == b"signalled\n"


def test_a_watcher_that_never_reads_holds_nobody_up(start: Start) -> None:
    kept = start("while [ ! -e /nowhere ]; do head -c 65536 /dev/zero; done")
    with kept.talk() as (sock, lines):
        sock.send(b"follow\n")
        lines.readline()
        until(lambda: sum(file.stat().st_size for file in kept.path.glob("log.*")) > 10 * 2**20, "it goes on")


def test_a_log_of_bounded_size(start: Start) -> None:
    kept = start("seq 1000000", Limits(job_log_max=400_000, job_segment_max=100_000))
    assert kept.status == kept.status | {"status": 0, "stdout": 6888896}
    assert sum(file.stat().st_size for file in kept.path.glob("log.*")) <= 400_000
    folder = open_folder(str(kept.path))
    assert folder is not None
    reader = LogReader(folder)
    pieces = []
    while more := reader.read():
        pieces += more
    reader.close()
    os.close(folder)
    assert pieces[0][3] > 6_000_000 and pieces[0][3] + sum(len(piece[2]) for piece in pieces) == 6888896
    assert pieces[-1][2].endswith(b"999999\n1000000\n")


def test_a_full_disk_pauses_the_job_and_loses_nothing(start: Start) -> None:
    """A limit on the size of its files stands for the disk: it fails in the middle of a write too, and can be lifted."""
    kept = start("sleep 0.1; seq 200000; echo end >&2")
    resource.prlimit(kept.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    with kept.talk() as (sock, lines):
        sock.send(b"follow\n")
        trouble = b""
        while not trouble.startswith(b"trouble"):
            trouble = lines.readline()
        assert b"cannot be written" in trouble and b"waits" in trouble
        assert alive(kept.job) and kept.facts.state == "running"
        resource.prlimit(kept.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert b"trouble \n" in lines.read()
    assert kept.status["status"] == 0
    assert kept.output() == b"".join(b"%d\n" % number for number in range(1, 200_001))
    assert kept.output(STDERR) == b"end\n"


def test_an_end_on_a_full_disk_is_told_when_it_is_written(start: Start) -> None:
    kept = start("sleep 0.1; echo x; exit 6")
    resource.prlimit(kept.pid, resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
    with kept.talk() as (sock, lines):
        sock.send(b"follow\n")
        while not lines.readline().startswith(b"trouble"):
            pass
        until(lambda: not alive(kept.job), "it ended")
        assert kept.facts.state == "running" and kept.facts.status is None
        resource.prlimit(kept.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert b"ended\n" in lines.read()
    assert kept.status["status"] == 6 and kept.output() == b"x\n"


def test_a_job_that_waits_for_the_disk_can_be_killed(start: Start) -> None:
    kept = start("sleep 0.1; seq 1000000")
    resource.prlimit(kept.pid, resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    with kept.talk() as (sock, lines):
        sock.send(b"follow\n")
        while not lines.readline().startswith(b"trouble"):
            pass
        kept.say(b"kill 0\n")
        until(lambda: not alive(kept.job), "it is dead, and that is not written yet")
        resource.prlimit(kept.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert kept.status["signal"] == 9


class Recorder:
    """Stands for a keeper's log and for those who follow it: what was done, in order."""

    sizes = (0, 3, 4)

    def __init__(self, fault: OSError | None = None) -> None:
        self.done: list[str] = []
        self._fault = fault

    def sync(self) -> None:
        self.done.append("sync")
        if self._fault is not None:
            raise self._fault

    def write(self, folder: int, name: str, data: bytes) -> None:
        self.done.append(f"write {name} {json.loads(data)['stdout']} {json.loads(data)['stderr']}")

    def tell(self, line: bytes) -> None:
        self.done.append(line.decode().strip())


@pytest.mark.parametrize("fault", [None, OSError(28, "No space left on device")])
def test_output_is_on_the_disk_before_the_end_is_and_the_end_before_it_is_told(
    fault: OSError | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a power cut would show it otherwise."""
    kept: Any = Keeper.__new__(Keeper)
    recorder = kept._log = kept._visitors = Recorder(fault)
    kept._timed_out = kept._recorded = False
    kept._orders = SimpleNamespace(audit=None)
    monkeypatch.setattr(durable, "write", recorder.write)
    with contextlib.suppress(OSError):
        kept._record(0, 1.0)
    assert recorder.done == (["sync"] if fault else ["sync", "write status 3 4", "ended"])
    assert kept._recorded is (fault is None)


def test_the_proof_is_written_before_the_word(start: Start) -> None:
    kept = start("exec sleep 100")
    assert json.loads((kept.path / "started").read_text())["pid"] == kept.word[1]


def test_without_room_for_the_proof_nothing_runs(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = os.posix_spawn

    def on_a_full_disk(*words: Any, **more: Any) -> int:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5, before[1]))
        try:
            return spawn(*words, **more)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    monkeypatch.setattr(os, "posix_spawn", on_a_full_disk)
    kept = start(f"touch {tmp_path}/ran; exec sleep 100")
    assert kept.word[:2] == ("failed", "keeper") and kept.word[2] > 0
    kept.gone()
    assert not (tmp_path / "ran").exists() and kept.facts.state == "unknown" and kept.facts.started is None
