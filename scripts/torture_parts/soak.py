"""Ten minutes of mixed load by 50 clients through a faulty proxy: every answer is compared, and the server's memory looked at.

Commands, input and output, failures, timeouts, ids, live shells, files and tunnels, each on a connection that is cut again and
again, stalls for a while, and passes slices. Clients are threads of this process, the proxy is tests/proxy.py.
"""

from __future__ import annotations

import hashlib
import os
import random
import socket
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from remote_shell import PIPE
from remote_shell.client.blocking import connect
from remote_shell.client.forward import reset
from remote_shell.testing import RunningServer, server
from tests.proxy import Proxy
from tests.server.conftest import children_of, descriptors, resident
from torture_parts.figure import Figure, Settings, at_most, none, show, told

CLIENTS = 50
# Ids of ended commands are remembered, by default 100,000, 0.7 KiB each: more than these minutes bring, so memory would grow as it should
REMEMBERED = 1000
# by default 32 transfers at once, and then a refusal
CONFIG = f"allow_tcp_forwarding = true\n[limits]\ncommands_remembered_max = {REMEMBERED}\ntransfers_max = {CLIENTS}\n"
MIB = 2**20
SECOND = 1.0


class Load:
    """What the clients do, what came of it, and the seed of their chances."""

    def __init__(self, running: RunningServer, seed: int) -> None:
        self.running = running
        self.done: Counter[str] = Counter()
        self.errors: list[str] = []
        self.ended = threading.Event()
        self._seed = seed
        self._one_at_a_time = threading.Lock()

    def client(self, target: str, number: int, ready: threading.Barrier) -> None:
        """One client's life."""
        rng = random.Random(f"{self._seed}:{number}")
        folder = os.path.join(self.running.home, f"client{number}")
        os.mkdir(folder)
        with connect(target, **self.running.options("tls")) as host:
            ready.wait()
            while not self.ended.is_set():
                kind = rng.choice(list(KINDS))
                try:
                    KINDS[kind](host, rng, folder)
                    self.note(kind, "")
                except Exception as error:
                    self.note(kind, f"client {number}, {kind}: {type(error).__name__}: {error}")

    def note(self, kind: str, error: str) -> None:
        """One thing was done, well or not."""
        with self._one_at_a_time:
            self.done[kind] += 1
            if error:
                self.errors.append(error)


def expect(found: object, wanted: object) -> None:
    """Raises ValueError where something else came."""
    if found != wanted:
        raise ValueError(f"{str(found)[:200]!r} instead of {str(wanted)[:200]!r}")


def echo(host: Any, rng: random.Random, folder: str) -> None:
    done = host.run(["sh", "-c", "echo out; echo err >&2; exit 7"], capture_output=True)
    expect((done.returncode, done.stdout, done.stderr), (7, b"out\n", b"err\n"))


def through_cat(host: Any, rng: random.Random, folder: str) -> None:
    data = rng.randbytes(rng.choice((10, 5000, 200_000)))
    done = host.run(["sha256sum"], input=data, capture_output=True)
    expect(done.stdout[:64].decode(), hashlib.sha256(data).hexdigest())


def much_output(host: Any, rng: random.Random, folder: str) -> None:
    count = rng.choice((100, 20_000, 60_000))
    done = host.run(["seq", str(count)], capture_output=True)
    expect(done.stdout, b"".join(b"%d\n" % number for number in range(1, count + 1)))


def timeout(host: Any, rng: random.Random, folder: str) -> None:
    try:
        host.run(["sleep", "1000"], timeout=0.05)
    except subprocess.TimeoutExpired:
        return
    raise ValueError("no timeout")


def once(host: Any, rng: random.Random, folder: str) -> None:
    ident, mark = f"once{rng.getrandbits(60)}", os.path.join(folder, "mark")
    for _ in range(2):
        expect(host.run(["sh", "-c", f"echo x >> {mark}"], command_id=ident).returncode, 0)
    with open(mark, encoding="ascii") as file:
        expect(file.read(), "x\n")
    os.unlink(mark)


def shell(host: Any, rng: random.Random, folder: str) -> None:
    with host.shell() as live:
        live.run(f"cd {folder}; x={rng.randrange(1000)}")
        expect(live.run("echo $PWD").stdout, f"{folder}\n")


def files(host: Any, rng: random.Random, folder: str) -> None:
    data = rng.randbytes(rng.choice((0, 3000, 1_500_000)))
    here, there, back = (os.path.join(folder, name) for name in ("here", "there", "back"))
    with open(here, "wb") as file:
        file.write(data)
    host.put(here, there)
    host.get(there, back)
    with open(back, "rb") as file:
        expect(file.read() == data, True)
    for path in (here, there, back):
        os.unlink(path)


def conversation(host: Any, rng: random.Random, folder: str) -> None:
    with host.popen(["cat"], stdin=PIPE, stdout=PIPE) as process:
        for number in range(5):
            process.stdin.write(b"%d\n" % number)
            process.stdin.flush()
            expect(process.stdout.readline(), b"%d\n" % number)


def tunnel(host: Any, rng: random.Random, folder: str) -> None:
    """A connection from there, which ends in order, or breaks at a chosen moment: the session has to go on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = host.open_connection(listening.getsockname()[1])
        far, _ = listening.accept()
    with far:
        how = rng.choice(("in order", "broken there", "broken there while our half ends", "given up here"))
        if how == "in order":
            data = rng.randbytes(rng.choice((1, 100_000)))
            answering = threading.Thread(target=answer, args=(far,))
            answering.start()
            expect(near.communicate(data)[0], hashlib.sha256(data).digest())
            expect(near.returncode, 0)
            answering.join()
        elif how == "given up here":
            near.abandon()
        else:
            if how == "broken there":
                far.sendall(b"x")
                near.stdout.read(1)
            reset(far)
            near.communicate()
            expect(near.returncode, 1)
    expect(host.run(["true"]).returncode, 0)


def answer(far: socket.socket) -> None:
    digest = hashlib.sha256()
    while data := far.recv(65536):
        digest.update(data)
    far.sendall(digest.digest())
    far.shutdown(socket.SHUT_WR)


KINDS: dict[str, Callable[[Any, random.Random, str], None]] = {
    "echo": echo,
    "input": through_cat,
    "output": much_output,
    "timeout": timeout,
    "id": once,
    "shell": shell,
    "files": files,
    "conversation": conversation,
    "tunnel": tunnel,
}


def run(settings: Settings) -> Iterator[Figure]:
    """All of it."""
    seconds, clients = settings.long(600, 10), CLIENTS if not settings.quick else 8
    rng = random.Random(settings.seed)
    with server(("tls:127.0.0.1:0",), config=CONFIG) as running, Proxy(running.targets["tls"], latency=0.002) as proxy:
        load = Load(running, settings.seed)
        before = warmed(running)
        ready = threading.Barrier(clients + 1)
        threads = [threading.Thread(target=load.client, args=(proxy.target, n, ready)) for n in range(clients)]
        for thread in threads:
            thread.start()
        ready.wait()
        sizes = faults(running, proxy, rng, seconds)
        load.ended.set()
        for thread in threads:
            thread.join()
        after = held(running, before)
        cuts = proxy.cuts
        broken = "Traceback" in running.read_log()
    yield told(
        f"within {seconds:.0f} s by {clients} clients", ", ".join(f"{n:,} × {kind}" for kind, n in load.done.items())
    )
    yield told("links cut meanwhile", f"{cuts:,}")
    yield none("errors", len(load.errors), f": {load.errors[0]}" if load.errors else "")
    yield none("tracebacks in the server's log", int(broken))
    fifth = max(1, len(sizes) // 5)
    early, late = statistics.median(sizes[fifth : 2 * fifth] or sizes), statistics.median(sizes[-fifth:])
    yield told("ended commands that the server remembers here (100,000 by default, 0.7 KiB each)", f"{REMEMBERED:,}")
    what = f"memory, from the second fifth ({early / MIB:.0f} MiB) to the last"
    yield at_most(what, 5, (late - early) / MIB, " MiB", 1)
    yield Figure("descriptors and children afterwards", f"{before}", f"{after}", after == before)


def warmed(running: RunningServer) -> tuple[int, int]:
    """Descriptors and children after one of each kind: some are made at the first use, and stay."""
    with connect(running.targets["tls"], **running.options("tls")) as host:
        for act in KINDS.values():
            act(host, random.Random(0), running.home)
    sizes: list[tuple[int, int]] = []
    while sizes[-20:].count(found := now(running)) < 20:  # for a second, when the last has been let go of
        sizes.append(found)
        time.sleep(SECOND / 20)
    return found


def now(running: RunningServer) -> tuple[int, int]:
    return descriptors(running.process.pid), len(children_of(running.process.pid))


def faults(running: RunningServer, proxy: Proxy, rng: random.Random, seconds: float) -> list[int]:
    """Cut, stall and slice, until the time is over; then let everything through. The server's memory, once a second."""
    sizes: list[int] = []
    proxy.cut_after = lambda number: rng.randrange(5_000, 3_000_000)
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        show(f"soak: {left:.0f} s left, {proxy.cuts:,} cuts")
        proxy.cut_in(rng.randrange(1000, 300_000))
        proxy.piece = rng.choice((0, 0, 1000))
        if rng.random() < 0.1:
            proxy.stall()
            time.sleep(SECOND / 2)
            proxy.stall(False)
        time.sleep(SECOND)
        sizes.append(resident(running.process.pid))
    proxy.cut_after, proxy.piece = None, 0
    proxy.cut_in(2**62)
    return sizes


def held(running: RunningServer, before: tuple[int, int]) -> tuple[int, int]:
    """Descriptors and children, once they are what they were or after the time that the ends of sessions take."""
    until = time.monotonic() + 75
    while (found := now(running)) != before:
        if time.monotonic() > until:
            break
        time.sleep(0.1)
    return found
