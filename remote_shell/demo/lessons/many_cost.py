"""The lesson "many", what a thread a client costs: a server in a process of its own, and its figures before and after many clients.

As a program (`python -m … KIND CLIENTS`) it is that server: it writes a line of JSON when it listens, and one when all clients are
there. It ends when its stdin does, should nobody end it before. The figures are the kernel's, from /proc/self/status. Neighbour:
`many_run` has the servers.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from typing import NamedTuple

from remote_shell.demo.lessons import many_run

_SETTLED = 10.0  # seconds that clients may take to be served all


class Figures(NamedTuple):
    """Of a process: its threads, the memory that it asked for and the memory that it really has, in KiB."""

    threads: int
    asked: int
    used: int


class Cost(NamedTuple):
    """Figures of a server without clients, and with so many that are connected and say nothing."""

    clients: int
    before: Figures
    after: Figures

    @property
    def threads(self) -> int:
        return self.after.threads - self.before.threads


def figures() -> Figures:
    """Of this process. Raises OSError where there is no /proc."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        lines = dict(line.split(":", 1) for line in file)
    threads, asked, used = (int(lines[name].split()[0]) for name in ("Threads", "VmSize", "VmRSS"))
    return Figures(threads, asked, used)


def measure(kind: str, clients: int) -> Cost:
    """A server of this kind, as `many_run.serving` takes it, in a process of its own, and so many clients from here."""
    argv = [sys.executable, "-m", __spec__.name, kind, str(clients)]
    with (
        # a session of its own: Ctrl-C is ours alone, and we end it
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process,
        ExitStack() as connections,
    ):
        connections.callback(process.kill)  # last, after the clients have left
        assert process.stdout is not None
        port, before = json.loads(process.stdout.readline())
        for _ in range(clients):
            connections.enter_context(socket.create_connection(("127.0.0.1", port), _SETTLED))
        after = json.loads(process.stdout.readline())
        return Cost(clients, Figures(*before), Figures(*after))


def main(kind: str, clients: int) -> None:
    """The server's side of `measure`."""
    # whoever measures may be interrupted at any time, and is no more there to be told
    with suppress(BrokenPipeError), many_run.serving(kind) as server:
        _tell([server.address[1], figures()])
        until = time.monotonic() + _SETTLED
        threads = clients if kind == "threads" else 0
        while len(server.accepted) < clients or threading.active_count() <= threads:
            if time.monotonic() > until:
                break
            time.sleep(0.005)
        _tell(_quiet())
        sys.stdin.read()


def _tell(what: object) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")  # and not print(), which would try again at exit


def _quiet() -> Figures:
    """The figures when they have come to rest: a thread that has just begun has not used its memory yet."""
    found = figures()
    for _ in range(50):
        time.sleep(0.02)
        last, found = found, figures()
        if found == last:
            break
    return found


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
