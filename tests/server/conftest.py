"""Servers for the tests of this folder: one for most, as a process of its own, and others with settings of their own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from remote_shell.identity.secrets import load_secret
from remote_shell.testing import RunningServer, server

from . import raw_client
from .raw_client import Prove, RawClient, by_key, by_secret, peer, until

ALL = ("unix:", "tls:127.0.0.1:0", "tcp:127.0.0.1:0")
KINDS = ("unix", "tls", "tcp")
QUICK = "[limits]\nrefusal_time = 0.05\nkill_grace = 0.5\n"


class Place(NamedTuple):
    """A server, and how to get in on one of its transports."""

    running: RunningServer
    kind: str

    @property
    def target(self) -> str:
        """Its address on this transport."""
        return self.running.targets[self.kind]

    @property
    def prove(self) -> Prove:
        """What is proved there: the user id, or the key."""
        return peer if self.kind == "unix" else by_key(self.running.identity)

    def connect(self, **options: object) -> RawClient:
        """Log in."""
        return RawClient(self.target, self.prove, **options)  # type: ignore[arg-type]

    def connect_by_secret(self) -> RawClient:
        """Log in by the shared secret."""
        return RawClient(self.target, by_secret(load_secret(self.running.secret_file)))


def children_of(pid: int) -> list[int]:
    """A process's children, zombies too."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(number) for number in file.read().split()]


def resident(pid: int) -> int:
    """A process's memory in bytes: proc_pid_statm(5)."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.fixture(scope="package")
def served() -> Iterator[RunningServer]:
    """The server of most tests."""
    with server(ALL, config=QUICK) as running:
        yield running
        assert "Traceback" not in running.read_log()


@pytest.fixture(autouse=True)
def hang_up() -> Iterator[None]:
    """Closes what a failed test left open, so that it fails alone."""
    yield
    for sock in raw_client.made:
        sock.close()
    raw_client.made.clear()


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, served: RunningServer) -> Place:
    """The same server on each transport in turn."""
    return Place(served, request.param)


@pytest.fixture
def local(served: RunningServer) -> Place:
    """The same server on its Unix socket: where the transport does not matter."""
    return Place(served, "unix")


@pytest.fixture
def unharmed(served: RunningServer) -> Iterator[RunningServer]:
    """The server, which after the test has run nothing, made no file, grown by nothing and still lets a good login in."""
    pid, files = served.process.pid, set(os.listdir(served.home))
    with Place(served, "unix").connect() as client:
        client.run(["true"])
    until(lambda: not children_of(pid), "no command of an earlier test is left")
    memory, open_before = resident(pid), descriptors(pid)
    yield served
    assert served.process.poll() is None
    assert set(os.listdir(served.home)) == files
    until(lambda: not children_of(pid), "nothing was run")
    until(lambda: descriptors(pid) <= open_before, "no connection is kept")
    assert resident(pid) - memory < 3 * 2**20
    for kind in KINDS:
        with Place(served, kind).connect() as client:
            assert client.run(["echo", "up"]).text() == b"up\n"


Starter = Callable[..., RunningServer]


@pytest.fixture
def start() -> Iterator[Starter]:
    """Starts servers with `[limits]` of the test's own; `start(refusal_time=0.3, listen=…)`."""
    running: list[RunningServer] = []
    with contextlib.ExitStack() as stack:

        def begin(listen: tuple[str, ...] = ALL, config: str = "", **limits: float) -> RunningServer:
            lines = [config, "[limits]", *(f"{name} = {figure}" for name, figure in limits.items())]
            running.append(stack.enter_context(server(listen, config="\n".join(lines) + "\n")))
            return running[-1]

        yield begin
        for one in running:
            assert "Traceback" not in one.read_log()
