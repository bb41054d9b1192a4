"""As many idle TLS sessions on one server as half its descriptors: what each costs in memory, and what they all cost a command."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import _env

from remote_shell.testing import RunningServer, server
from tests.server.raw_client import RawClient, by_key
from torture_parts.figure import Figure, Settings, TortureError, at_most, show, told

MOST = 10_000
COMMANDS = 300  # in a row, for a median
SETTLE = 40.0  # seconds: each session is asked for a sign of life at least twice
KIB = 1024


def run(settings: Settings) -> Iterator[Figure]:
    """Two servers, one with the crowd; a command on each in turn, so that what else this machine does meets both."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the servers inherit it
    count = min(settings.many(MOST, 300), most // 2)
    config = f"[limits]\nsessions_max = {count + 10}\nsessions_per_principal_max = {count + 10}\n"
    try:
        with server(("tls:127.0.0.1:0",), config=config) as full, server(("tls:127.0.0.1:0",), config=config) as empty:
            yield from measured(full, empty, count, settings.long(SETTLE, 2), most)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))


def measured(
    full: RunningServer, empty: RunningServer, count: int, settle: float, descriptors: int
) -> Iterator[Figure]:
    """The figures."""
    pid = full.process.pid
    with log_in(full) as client, log_in(empty) as other:
        commands(client, other)
        before = memory(pid)
        began = time.monotonic()
        crowd = gather(full, count)
        took = time.monotonic() - began
        try:
            until = time.monotonic() + settle
            while time.monotonic() < until:
                client.pump(0.25)
                other.pump(0.25)
            held = memory(pid) - before
            with_them, alone = commands(client, other)
        finally:
            assert crowd.stdin is not None and crowd.stdout is not None
            crowd.stdin.close()
            crowd.stdout.close()
            crowd.wait()
        control, reference = commands(client, other)
    yield told(f"sessions at {descriptors:,} descriptors, logged in within {took:.0f} s", f"{count:,}")
    yield at_most("memory of the server, each", 64, held / count / KIB, " KiB", 1)
    times = f"{with_them * 1000:.2f} and {alone * 1000:.2f} ms"
    ratio = with_them / alone
    yield Figure(
        "a command's time with them, to that of a server without", "≤ 1.2", f"{ratio:.2f} ({times})", ratio <= 1.2
    )
    yield told("the same when they are gone", f"{control / reference:.2f}")


def log_in(running: RunningServer) -> RawClient:
    return RawClient(
        running.targets["tls"], by_key(running.identity)
    )  # not prompt: it says nothing while the crowd gathers


def gather(running: RunningServer, count: int) -> subprocess.Popen[bytes]:
    """The crowd, once all of it is in."""
    script = os.path.join(_env.ROOT, "scripts", "torture_parts", "crowd.py")
    argv = [sys.executable, "-P", script, running.targets["tls"], running.identity, str(count)]
    crowd = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert crowd.stdout is not None
    for line in crowd.stdout:
        show(f"idle: {int(line):,} of {count:,} sessions")
        if int(line) == count:
            return crowd
    raise TortureError(f"the crowd ended with {crowd.wait()}; the server's log: {running.read_log()[-500:]}")


def commands(*clients: RawClient) -> list[float]:
    """Seconds that a command takes through each, the median; they take turns."""
    times: list[list[float]] = [[] for _ in clients]
    for _ in range(COMMANDS):
        for client, of_it in zip(clients, times, strict=True):
            began = time.monotonic()
            client.run(["true"])
            of_it.append(time.monotonic() - began)
    return [statistics.median(of_it) for of_it in times]


def memory(pid: int) -> int:
    """Its own and its share of what it has with others: proc_pid_smaps(5), Pss."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) * KIB for line in file if line.startswith("Pss:"))
