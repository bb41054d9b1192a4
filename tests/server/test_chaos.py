"""Commands with ids through a link that is cut all the time, by clients that ask again: each ran exactly once."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from remote_shell.client.blocking import connect
from remote_shell.errors import ConnectError, ConnectionLostError
from tests.proxy import Proxy

from .lives import life
from .raw_client import LoginDeniedError, Prove, RawClient, by_key, peer

pytestmark = pytest.mark.screen  # as a file it takes long

LIMITS = "[limits]\nsessions_per_principal_max = 10000\nrefusal_time = 0.05\n"
DATA = os.urandom(2000)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def argv(home: Path, number: int) -> list[str]:
    """Appends to a file of its own, takes its time, says something, ends in a way of its own."""
    return [
        "sh",
        "-c",
        f"cat > /dev/null; echo x >> {home}/{number}; sleep 0.0{number % 3}; seq 200; exit {number % 200}",
    ]


def ask_until_told(proxy: Proxy, prove: Prove, home: Path, number: int) -> tuple[int | None, bool]:
    """One connection after the other, each with the same `open`, until one brings the end. The status, and whether it ran before.

    None of them resumes the session before, in which the command goes on for its grace.
    """
    while True:
        try:
            client = RawClient(proxy.target, prove, grace_ms=10_000)
        except (LoginDeniedError, OSError):
            continue
        try:
            command = client.commands[client.open(argv(home, number), id=f"n{number}", once=True)]
        except OSError:
            client.cut()
            continue
        while not client.ended and not command.closed:
            client.pump()
        assert command.rejected is None, command.rejected
        if command.exit is not None and command.opened is not None:
            client.cut()
            return command.exit.status, command.opened.again


def ask_again_and_again(home: Path, kind: str, cuts: int, commands: int, seed: int) -> None:
    rng = random.Random(seed)
    with life(home, listen=("unix:", "tls:127.0.0.1:0"), config=LIMITS) as running:
        prove = peer if kind == "unix" else by_key(running.identity)
        with Proxy(running.targets[kind], cut_after=lambda number: rng.randrange(100, 8000)) as proxy:
            for number in range(commands):
                wanted = cuts * (number + 1) // commands
                told: list[tuple[int | None, bool]] = []
                while not told or proxy.cuts < wanted:
                    told.append(ask_until_told(proxy, prove, home, number))
                assert {status for status, _ in told} == {number % 200}
                assert all(again for _, again in told[1:])
            assert proxy.cuts >= cuts
        assert {number: (home / str(number)).read_text() for number in range(commands)} == dict.fromkeys(
            range(commands), "x\n"
        )
        assert "Traceback" not in running.read_log()


def test_asking_again_after_some_cuts(home: Path) -> None:
    ask_again_and_again(home, "unix", cuts=200, commands=40, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["unix", "tls"])
def test_asking_again_after_a_thousand_cuts(home: Path, kind: str) -> None:
    ask_again_and_again(home, kind, cuts=1000, commands=200, seed=2)


def our_own_client(home: Path, cuts: int, commands: int, seed: int) -> None:
    """The client of the program: it resumes by itself, and where it can't, the same call is made again."""
    rng = random.Random(seed)
    with (
        life(home, config=LIMITS) as running,
        Proxy(running, cut_after=lambda number: rng.randrange(800, 9000)) as proxy,
    ):
        host: Any = None
        for number in range(commands):
            wanted = cuts * (number + 1) // commands
            calls = 0
            while not calls or proxy.cuts < wanted:
                try:
                    if host is None:
                        host = connect(proxy.target)
                    done = host.run(argv(home, number), command_id=f"n{number}", input=DATA, capture_output=True)
                except ConnectError:
                    host = None
                    continue
                except ConnectionLostError as error:
                    assert error.command_id == f"n{number}" and error.command_state != "never_received"
                    continue
                assert done.returncode == number % 200
                assert calls or len(done.stdout) == len("".join(f"{line}\n" for line in range(1, 201)))
                calls += 1
        assert {(home / str(number)).read_text() for number in range(commands)} == {"x\n"}
        assert proxy.cuts >= cuts
        proxy.cut_after = None
        host.close()


@pytest.mark.screen
def test_our_own_client_through_some_cuts(home: Path) -> None:
    our_own_client(home, cuts=100, commands=40, seed=3)


@pytest.mark.slow
def test_our_own_client_through_a_thousand_cuts(home: Path) -> None:
    our_own_client(home, cuts=1000, commands=200, seed=4)
