"""What a machine may do to a server: no room, no descriptors, no processes, another day, clients that stand still, SIGKILL.

Each has to bring a clear error, lose nothing, and be over by itself. Where the suite has such a test it is what is run here; kills are
more often.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _env

from remote_shell.client.blocking import connect
from remote_shell.errors import CommandRefusedError, RemoteShellError
from remote_shell.testing import RunningServer, server
from tests.cli.program import ARGV
from tests.server.conftest import children_of
from tests.server.test_jobs_survive import Mortal, torture
from torture_parts.figure import Figure, Settings, show

KILLS = 200
JOBS = 20
STOPPED = 60.0  # seconds that a client stands still
DAY = 86_400
FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"  # Debian's libfaketime
PIDS = "/sys/fs/cgroup/pids"
SPARE = 8  # processes and threads above those that an idle server has
LINES = 8000


def run(settings: Settings) -> Iterator[Figure]:
    """One after the other."""
    yield from suite("full disk", "tests/server/test_full_disk.py")
    yield from suite("no descriptors left", "tests/server/test_server.py::test_descriptors_run_out_and_come_back")
    for what, aim, act in (
        ("no processes left", "refused with a reason, all goes on afterwards", no_processes),
        ("clock jumps of a day, forth and back", "nobody notices", clock_jumps),
    ):
        show(f"disasters: {what}")
        yield judged(what, aim, act)
    show("disasters: a client stands still")
    stopped = settings.long(STOPPED, 3)
    yield judged(f"SIGSTOP of a client for {stopped:.0f} s", "every line, the status", lambda: stands_still(stopped))
    kills = settings.many(KILLS, 4)
    show(f"disasters: {kills} kills")
    yield judged(
        f"kill -9 of the server, {kills} times, while {JOBS} jobs write",
        "every line once, every end",
        lambda: killed(kills),
    )


def suite(what: str, name: str) -> Iterator[Figure]:
    """A test of the suite's."""
    show(f"disasters: {what}")
    argv = [sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", name]
    done = subprocess.run(argv, cwd=_env.ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    good = done.returncode == 0 and "skipped" not in lines[-1]
    yield Figure(f"{what} ({name})", "pass", lines[-1] if good else " / ".join(lines[-3:]), good)


def judged(what: str, aim: str, act: Callable[[], str]) -> Figure:
    """What `act` saw, or what went wrong in it."""
    try:
        return Figure(what, aim, act(), True)
    except Exception as error:
        return Figure(what, aim, f"{type(error).__name__}: {error}", False)


def expect(true: Any, what: str) -> None:
    if not true:
        raise ValueError(what)


# --- no processes left


def no_processes() -> str:
    """A control group in which the server and its commands may have few more processes and threads than it has now."""
    expect(os.path.isdir(PIDS), f"no figure: {PIDS} is not mounted, or this is not root")
    with server(("unix:",)) as running, connect(running) as host, few_processes(running) as limit:
        os.mkdir(os.path.join(running.home, "files"))
        processes: list[Any] = []
        refused = ""
        try:
            while not refused and len(processes) <= limit:
                try:
                    processes.append(host.popen(["sleep", "1000"]))
                except CommandRefusedError as error:
                    refused = str(error).splitlines()[0]
            expect(refused, "it never ran out of them")
            others = [tried(act) for act in others_that_need_one(host, running)]
            expect(running.process.poll() is None, "the server ended")
        finally:
            for process in processes:
                process.kill()
                process.wait()
        until = time.monotonic() + 10
        while children_of(running.process.pid) and time.monotonic() < until:
            time.sleep(0.05)
        expect(host.run(["echo", "up"], capture_output=True).stdout == b"up\n", "it does not run commands again")
        for act in others_that_need_one(host, running):
            act()
        expect("Traceback" not in running.read_log(), f"a traceback in the log: {running.read_log()[-600:]}")
    return f"{len(processes)} ran, then “{refused}”; {', '.join(others)}; then all again"


def others_that_need_one(host: Any, running: RunningServer) -> list[Callable[[], object]]:
    """What else takes a process or a thread."""
    here = os.path.join(running.home, "files", "here")
    Path(here).write_bytes(b"x" * 100_000)

    def shell() -> None:
        with host.shell() as live:
            live.run("true")

    return [
        lambda: host.put(here, here + ".there"),
        shell,
        lambda: host.detach(["true"]).wait(),
        lambda: host.run(["true"], command_id=f"id{time.monotonic_ns()}"),
    ]


def tried(act: Callable[[], object]) -> str:
    """One word of what came of it; an error of another kind than ours, and than the system's, escapes."""
    try:
        act()
    except (RemoteShellError, OSError) as error:
        return f"{type(error).__name__}"
    return "done"


@contextlib.contextmanager
def few_processes(running: RunningServer) -> Iterator[int]:
    """A group for the server that takes SPARE more tasks than it has; how many."""
    group = tempfile.mkdtemp(prefix="torture-", dir=PIDS)
    try:
        Path(group, "cgroup.procs").write_text(str(running.process.pid))
        tasks = len(os.listdir(f"/proc/{running.process.pid}/task"))
        Path(group, "pids.max").write_text(str(tasks + SPARE))
        yield SPARE
    finally:
        Path(group, "pids.max").write_text("max")
        Path(PIDS, "cgroup.procs").write_text(str(running.process.pid))
        until = time.monotonic() + 10
        while Path(group, "cgroup.procs").read_text() and time.monotonic() < until:
            for pid in Path(group, "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError):
                    Path(PIDS, "cgroup.procs").write_text(pid)
        os.rmdir(group)


# --- clocks


def clock_jumps() -> str:
    """The server's clock, by libfaketime: a day on, two days back, and right again, with a session, a job and ids across."""
    library = find_faketime()
    with tempfile.TemporaryDirectory() as folder:
        clock = Path(folder, "clock")
        clock.write_text("+0")
        environment = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        seen = []
        with server(("unix:", "tls:127.0.0.1:0"), environment=environment) as running, connect(running) as host:
            mark = os.path.join(folder, "mark")
            with host.popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
                job = host.detach(["sh", "-c", f"while [ ! -e {folder}/go ]; do sleep 0.05; done; exit 7"])
                for jump in ("+0", f"+{DAY}", f"-{DAY}", "+0"):
                    clock.write_text(jump)
                    seen.append(server_day(running))
                    cat.stdin.write(jump.encode() + b"\n")
                    cat.stdin.flush()
                    expect(cat.stdout.readline() == jump.encode() + b"\n", f"the open session, at {jump}")
                    began = time.monotonic()
                    done = host.run(["sh", "-c", f"echo x >> {mark}"], command_id="once", timeout=30)
                    expect(
                        done.returncode == 0 and time.monotonic() - began < 10, f"a command with a timeout, at {jump}"
                    )
                    expect(job.info().state == "running", f"the job, at {jump}")
                    with connect(running.targets["tls"], **running.options("tls")) as other:
                        expect(other.run(["true"]).returncode == 0, f"a new login, at {jump}")
            expect(Path(mark).read_text() == "x\n", "a command ran twice under one id")
            Path(folder, "go").touch()
            expect(job.wait() == 7, "the job's end")
            expect("Traceback" not in running.read_log(), "a traceback in the log")
    days = [round((day - seen[0]) / DAY) for day in seen]
    expect(days == [0, 1, -1, 0], f"the clock did not jump: {days}")
    return f"the server's log was at day {', '.join(f'{day:+d}' for day in days)}; sessions, logins, a job, ids as if nothing was"


def server_day(running: RunningServer) -> float:
    """What the server takes for the time: that of its log's next line."""
    with connect(running.targets["tls"], **running.options("tls")):
        lines = [line for line in running.read_log().splitlines() if "logged in" in line]
    return time.mktime(time.strptime(lines[-1][:19], "%Y-%m-%d %H:%M:%S"))


def find_faketime() -> str:
    found = glob.glob(FAKETIME)
    if not found and os.geteuid() == 0:
        _env.apt_install(["libfaketime"])
        found = glob.glob(FAKETIME)
    expect(found, "no figure: type: sudo apt-get install libfaketime")
    return found[0]


# --- a client that stands still


def stands_still(seconds: float) -> str:
    """The program itself, in the middle of its output."""
    line = f'i=0; while [ $i -lt {LINES} ]; do echo "line $i"; i=$((i+1)); [ $((i % 100)) = 0 ] && sleep 0.02; done; exit 9'
    expected = "".join(f"line {number}\n" for number in range(LINES)).encode()
    with server(("tls:127.0.0.1:0",)) as running:
        options = [
            word for name, value in running.options("tls").items() for word in (f"--{name.replace('_', '-')}", value)
        ]
        environment = {**os.environ, "REMOTE_SHELL_HOME": running.home}
        argv = [*ARGV, "run", *options, running.targets["tls"], "--", "sh", "-c", line]
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment) as client:
            assert client.stdout is not None
            first = client.stdout.readline()
            client.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            client.send_signal(signal.SIGCONT)
            out = first + client.stdout.read()
            status = client.wait()
        expect(status == 9, f"its status is {status}")
        expect(
            hashlib.sha256(out).digest() == hashlib.sha256(expected).digest(), f"{len(out)} bytes of {len(expected)}"
        )
        resumed = running.read_log().count("resumed")
    return f"{LINES:,} lines, status 9, {resumed} resumes"


# --- SIGKILL


def killed(kills: int) -> str:
    """tests/server/test_jobs_survive.py, more often."""
    jobs = min(JOBS, kills)
    with tempfile.TemporaryDirectory() as folder, server(("unix:",)) as running:
        mortal = Mortal(running)
        try:
            torture(mortal, Path(folder, "stop"), kills, jobs, random.Random(kills))
        finally:
            mortal.close()
    return f"{jobs} jobs whole, through {kills} servers"
