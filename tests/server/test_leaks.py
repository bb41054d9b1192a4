"""Nothing is left behind, however often it is done and however it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from remote_shell.testing import RunningServer

from .conftest import Place, Starter, children_of, descriptors, resident
from .raw_client import LoginDeniedError, RawClient, Stranger, peer, until


def holdings(running: RunningServer) -> tuple[int, int, int]:
    """Descriptors, threads and children, zombies too."""
    pid = running.process.pid
    return descriptors(pid), len(os.listdir(f"/proc/{pid}/task")), len(children_of(pid))


def check(running: RunningServer, act: Callable[[int], None], times: int, memory: int = 5 * 2**20) -> None:
    """Do it some times to warm up, then `times` times: nothing more is held afterwards."""
    for number in range(max(6, times // 5)):
        act(number)
    until(lambda: holdings(running)[2] == 0, "no child is left")
    time.sleep(0.1)
    before, grown_from = holdings(running), resident(running.process.pid)
    for number in range(times):
        act(number)
    until(lambda: holdings(running) == before, f"{before} again", 5)
    grown = resident(running.process.pid) - grown_from
    assert grown < memory, f"{grown / times:.0f} bytes each"


def sessions(place: Place) -> Callable[[int], None]:
    """A login and a goodbye, now and then in other ways."""

    def act(number: int) -> None:
        client = place.connect(grace_ms=0)
        if number % 4 == 0:
            client.run(["true"])
        if number % 4 == 1:
            client.start(["sleep", "1000"])
        if number % 2:
            client.cut(rst=number % 3 == 0)
        else:
            client.bye()

    return act


@pytest.mark.slow
def test_a_few_of_everything(start: Starter) -> None:
    """The same as below on a small scale, every day: descriptors and children, exactly."""
    running = start(refusal_time=0.01, kill_grace=0.1)
    place = Place(running, "tls")
    with place.connect() as client:
        check(running, lambda number: commands(client, number), 30)
    check(running, sessions(place), 12)
    check(running, lambda number: refused(place), 5)


def commands(client: RawClient, number: int) -> None:
    """One command, each time another kind."""
    kind = number % 6
    if kind == 0:
        client.run(["true"])
    elif kind == 1:
        client.run(["no-such-program-here"])
    elif kind == 2:
        client.run(["cat"], input=b"x" * 1000)
    elif kind == 3:
        ident, _ = client.start(["yes"])
        client.close_channel(ident)
        client.finish(ident)
    elif kind == 4:
        client.run(["sh", "-c", "(exit 0) & exit 3"])
    else:
        client.run(["sleep", "1000"], timeout_ms=1)


def refused(place: Place) -> None:
    """A stranger who hangs up, one who talks nonsense, one without TLS, one who may not."""
    Stranger(place.target, tls=False).sock.close()
    talker = Stranger(place.target)
    talker.send(b"\xff" * 100)
    talker.rest()
    plain = Stranger(place.target, tls=False)
    plain.send(b"GET / HTTP/1.1\r\n\r\n")
    plain.rest()
    with pytest.raises(LoginDeniedError):
        RawClient(place.target, peer)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["unix", "tls"])
def test_2000_commands(start: Starter, kind: str) -> None:
    running = start(kill_grace=0.1)
    with Place(running, kind).connect() as client:
        check(running, lambda number: commands(client, number), 2000)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["unix", "tls", "tcp"])
def test_200_connections(start: Starter, kind: str) -> None:
    running = start(kill_grace=0.1)
    check(running, sessions(Place(running, kind)), 200)


@pytest.mark.slow
def test_200_refusals(start: Starter) -> None:
    running = start(refusal_time=0.01)
    check(running, lambda number: refused(Place(running, "tls")), 200)


@pytest.mark.slow
def test_a_crowd_leaves_no_garbage(start: Starter) -> None:
    """Many at once live long enough to escape the collector's quick turns: what refers to itself stays for long."""
    running = start(refusal_time=0.05)

    def crowd() -> None:
        strangers = [Stranger(running.targets["tls"]) for _ in range(100)]
        for stranger in strangers:
            stranger.send(b"\xff" * 100)
        for stranger in strangers:
            stranger.rest()

    for _ in range(10):
        crowd()
    before = resident(running.process.pid)
    for _ in range(10):
        crowd()
    grown = resident(running.process.pid) - before
    assert grown < 2**20, f"{grown / 1000:.0f} bytes each"


@pytest.mark.slow
def test_200_resumes(start: Starter) -> None:
    running = start()
    client = Place(running, "tls").connect()
    ident, command = client.start(["cat"], stdin="pipe")

    def again(number: int) -> None:
        client.session.send_data(ident, 0, b"x")
        client.cut(rst=number % 2 == 0)
        client.connect(client.welcome.session)
        assert client.welcome.resumed

    for number in range(30):
        again(number)
    before, memory = holdings(running), resident(running.process.pid)
    for number in range(200):
        again(number)
    until(lambda: holdings(running) == before, "the same descriptors, and the one child")
    assert resident(running.process.pid) - memory < 2 * 2**20
    client.wait(lambda: command.size == 230, "every byte once")
    client.bye()
