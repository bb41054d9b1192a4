"""A thousand silent strangers, and a flood of hostile connections: whether those who may get in do, and what those who are in notice.

Honest logins come from an address of their own, from one of the flood's, and through a proxy of 100 ms round trip. All of it shares one
machine with the server, so a rate that is too high for its processors is told as it was reached.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import _env
from bench_servers import Place

from remote_shell.testing import RunningServer, server
from remote_shell.wire.messages import Eof
from tests.server.conftest import resident
from tests.server.raw_client import Command, LoginDeniedError, RawClient, by_key, made
from torture_parts.figure import Figure, Settings, at_most, show, told

SOURCES = [f"127.0.1.{number}" for number in range(1, 101)]
SILENT = 1000
RATE = 5000.0  # hostile connections a second
FLOODS = 2  # processes that make them
MIB = 2**20
PAUSE = 0.02  # seconds between two logins, and between two questions
ANSWER = 0.05  # seconds
QUESTION = b"are you there?\n"


@dataclass(frozen=True, slots=True)
class Guest:
    """Who tries to get in, and from where."""

    name: str
    target: str
    source: str | None
    judged: bool = True


@dataclass(frozen=True, slots=True)
class Logins:
    """First tries."""

    tries: int
    good: int
    seconds: list[float]


def run(settings: Settings) -> Iterator[Figure]:
    """Silence alone, then a flood of cheap connections, then one in which some say what is dear."""
    seconds = settings.long(30, 4)
    with server(("tls:127.0.0.1:0",)) as running, Place() as place:
        port = int(running.targets["tls"].rpartition(":")[2])
        guests = [
            Guest("an address of their own", running.targets["tls"], "127.0.0.1"),
            Guest("an address of the flood's", running.targets["tls"], SOURCES[0]),
            Guest("their own, 100 ms round trip", f"tls:127.0.0.1:{place.delayed(port, 0.05)}", None),
        ]
        Trial(running, guests, 3.0).make(0.0, 0, 0)  # what the first logins leave is no stranger's
        before = resident(running.process.pid)
        for title, rate, hellos in (
            (f"{SILENT:,} silent", 0.0, 0),
            (f"and {RATE:,.0f}/s that say little", RATE, 0),
            (f"and {RATE:,.0f}/s, each 20th a TLS hello", RATE, 20),
        ):
            show(f"strangers: {title}")
            yield from Trial(running, guests, seconds).figures(title, rate, hellos, before)


class Trial:
    """One flood, and everybody else meanwhile."""

    def __init__(self, running: RunningServer, guests: list[Guest], seconds: float) -> None:
        self._running = running
        self._guests = guests
        self._seconds = seconds
        self.most = 0  # memory of the server meanwhile

    def figures(self, title: str, rate: float, hellos: int, before: int) -> Iterator[Figure]:
        """Make it, and tell what came of it."""
        floods, logins, answers = self.make(rate, SILENT, hellos)
        reached = sum(told["made"] / told["seconds"] for told in floods)
        again = sum(told["again"] / told["seconds"] for told in floods)
        if rate:
            yield told(f"{title}: reached, with {again:,.0f}/s of the silent who came again", f"{reached:,.0f}/s")
        for guest, found in zip(self._guests, logins, strict=True):
            share = 100 * found.good / max(1, found.tries)
            middle = statistics.median(found.seconds) if found.seconds else float("nan")
            measured = f"{share:.1f} % of {found.tries}, {middle:.2f} s"
            yield Figure(f"{title}: logins, {guest.name}", "≥ 95 %", measured, share >= 95)
        late = sorted(answers)[int(len(answers) * 0.99)] * 1000 if answers else float("inf")
        yield at_most(f"{title}: an open session's answer, p99 of {len(answers):,}", ANSWER * 1000, late, " ms", 1)
        yield at_most(f"{title}: memory meanwhile, above before", 5, (self.most - before) / MIB, " MiB", 1)
        after = settled(self._running.process.pid)
        yield at_most(f"{title}: memory afterwards, above before", 5, (after - before) / MIB, " MiB", 1)

    def make(self, rate: float, silent: int, hellos: int) -> tuple[list[dict[str, float]], list[Logins], list[float]]:
        """What the floods told, the logins of each guest, the answers' times."""
        running = self._running
        ready = os.path.join(running.home, f"ready{time.monotonic_ns()}")
        with ProcessPoolExecutor(len(self._guests) + 1, multiprocessing.get_context("spawn")) as pool:
            asked = pool.submit(ask, running.targets["tls"], running.identity, self._seconds, ready)
            while not os.path.exists(ready) and not asked.done():
                time.sleep(0.01)
            until = time.time() + self._seconds + 1
            tried = [pool.submit(log_in, guest.target, running.identity, guest.source, until) for guest in self._guests]
            floods = [self._flood(rate / FLOODS, silent // FLOODS, hellos, part) for part in range(FLOODS)]
            try:
                self.most = 0
                while not (asked.done() and all(one.done() for one in tried)):
                    self.most = max(self.most, resident(running.process.pid))
                    time.sleep(0.1)
                told_by = [json.loads(process.communicate()[0]) for process in floods]
            finally:
                for process in floods:
                    process.kill()
                    process.communicate()
            return told_by, [one.result() for one in tried], asked.result()

    def _flood(self, rate: float, silent: int, hellos: int, part: int) -> subprocess.Popen[bytes]:
        orders = {
            "port": int(self._running.targets["tls"].rpartition(":")[2]),
            "sources": SOURCES[part::FLOODS],
            "rate": rate,
            "seconds": self._seconds,
            "silent": silent,
            "hellos": hellos,
        }
        script = os.path.join(_env.ROOT, "scripts", "torture_parts", "flood.py")
        argv = [sys.executable, "-P", script, json.dumps(orders)]
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def settled(pid: int) -> int:
    """The server's memory when the strangers' last seconds are over."""
    until = time.monotonic() + 12  # `login_time` and a little
    least = resident(pid)
    while time.monotonic() < until:
        least = min(least, resident(pid))
        time.sleep(0.2)
    return least


def log_in(target: str, identity: str, source: str | None, until: float) -> Logins:
    """One login after the other, each at the first try or not at all."""
    prove, tries, seconds = by_key(identity), 0, []
    while time.time() < until:
        began = time.monotonic()
        tries += 1
        try:
            RawClient(target, prove, source=source).bye()
            seconds.append(time.monotonic() - began)
        except (LoginDeniedError, OSError, AssertionError):
            time.sleep(PAUSE)
        made.clear()
        time.sleep(PAUSE)
    return Logins(tries, len(seconds), seconds)


def has(command: Command, size: int) -> bool:
    return command.size == size


def ask(target: str, identity: str, seconds: float, ready: str) -> list[float]:
    """How long a line takes through `cat` and back, on a session that is open; the file `ready` is made when it is."""
    times = []
    with RawClient(target, by_key(identity), source="127.0.0.1") as client:
        ident, command = client.start(["cat"], stdin="pipe")
        with open(ready, "xb"):
            until = time.monotonic() + seconds + 1
        while time.monotonic() < until:
            expected, began = command.size + len(QUESTION), time.monotonic()
            client.session.send_data(ident, 0, QUESTION)
            client.flush()
            client.wait(partial(has, command, expected), "an answer")
            times.append(time.monotonic() - began)
            time.sleep(PAUSE)
        client.session.send_message(ident, Eof(stream=0))
        client.finish(ident)
    return times
