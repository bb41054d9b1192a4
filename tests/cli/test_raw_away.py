"""A raw terminal while the connection is away: what the person sees, what becomes of keys, and how it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_shell import testing
from tests.cli.person import FULL_SCREEN, PAINTER, Person, at_program, pid_of, stands_still, wait_dead, wait_until
from tests.proxy import Proxy

pytestmark = pytest.mark.screen

COUNTER = "stty -echo; i=0; while [ $i -lt 1500 ]; do i=$((i+1)); echo $i; done; read x; echo got $x"


@pytest.fixture(scope="module")
def forgetful() -> Iterator[testing.RunningServer]:
    """A server that soon ends what a lost client left, and so does its client's patience."""
    with testing.server(["unix:"], config="grace = 0.4\n") as server:
        yield server


def wait_lost(proxy: Proxy) -> None:
    """The client knows: a proxy that is away turned it down."""
    accepted = proxy.accepted
    wait_until(lambda: proxy.accepted > accepted, "an attempt")


@contextlib.contextmanager
def at_painter(home: Path, proxy: Proxy, *options: str) -> Iterator[Person]:
    with at_program(home, proxy.target, sys.executable, "-c", PAINTER, options=options) as person:
        person.wait_for("painted 30 x 100 keys .")
        yield person


@pytest.fixture
def proxy(target: str) -> Iterator[Proxy]:
    with Proxy(target) as proxy:
        yield proxy


def test_short_cuts_lose_nothing_and_are_not_told(target: str, tmp_path: Path) -> None:
    budgets = iter([8_000, 5_000, 6_000])
    with Proxy(target, cut_after=lambda number: next(budgets, None)) as proxy:
        with at_program(tmp_path, proxy.target, "sh", "-c", COUNTER) as person:
            person.wait_for("1500")
            assert proxy.cuts, "no cut"
            person.type("it\r")
            person.wait_for("got it")
            assert person.left_with() == 0
        numbers = b"".join(b"%d\r\n" % number for number in range(1, 1501))
        assert person.output == numbers + b"got it\r\n"


def test_by_tls_too(running: testing.RunningServer, tmp_path: Path) -> None:
    with Proxy(running.targets["tls"], cut_after=lambda number: 9_000 if number == 1 else None) as proxy:
        options = ["--identity", running.identity, "--fingerprint", str(running.fingerprint)]
        with at_program(tmp_path, proxy.target, "sh", "-c", COUNTER, options=options) as person:
            person.wait_for("1500")
            assert proxy.cuts == 1
            person.type("it\r")
            person.wait_for("got it")
            assert person.left_with() == 0


def test_keys_typed_in_a_cut_that_nobody_notices_wait_for_its_end(proxy: Proxy, tmp_path: Path) -> None:
    with at_painter(tmp_path, proxy) as person:
        for count, key in enumerate("abcdefgh", start=1):
            proxy.go_away()
            wait_lost(proxy)
            person.type(key)
            proxy.go_away(False)
            person.wait_for(f"keys {'abcdefgh'[:count].encode().hex()}.")
        assert b"\a" not in person.output and "contact" not in person.text
        person.type("q")
        assert person.left_with() == 0


def test_keys_typed_while_away_are_told_of_and_never_sent(proxy: Proxy, tmp_path: Path) -> None:
    with at_painter(tmp_path, proxy) as person:
        person.type("a")
        person.wait_for("keys 61.")
        proxy.go_away()
        wait_lost(proxy)
        person.type("bcd")
        person.wait_for(f"no contact with {proxy.target} for")
        assert re.search(r"for [01]\.\d s: ", person.text), "sooner than without keys"
        assert person.screen.display[29].startswith("no contact"), "in the last line"
        assert person.screen.display[0].startswith("painted"), "the rest is the program's"
        person.wait_until(lambda: b"\a" in person.output, "bell")
        before = len(person.output)
        proxy.go_away(False)
        person.wait_until(lambda: b"painted 30 x 99 " in person.output[before:], "another size")
        person.wait_for("painted 30 x 100 keys 61.")
        assert b"nothing is lost" in person.output[before:]
        assert "no contact" not in person.text
        person.type("q")
        assert person.left_with() == 0
        assert b"keys 6171." in person.output


@pytest.mark.slow
def test_a_longer_cut_is_told_by_itself_and_the_program_paints_anew(proxy: Proxy, tmp_path: Path) -> None:
    with at_painter(tmp_path, proxy) as person:
        proxy.go_away()
        person.wait_for(f"no contact with {proxy.target} for 3.0 s: ")
        person.resize(20, 70)  # known there when it is back
        before = len(person.output)
        proxy.go_away(False)
        person.wait_until(lambda: b"painted 20 x 70 keys ." in person.output[before:], "right size")
        person.type("q")
        assert person.left_with() == 0


@pytest.mark.parametrize("how", ["escape", "signal"])
def test_leaving_without_contact(how: str, forgetful: testing.RunningServer, tmp_path: Path) -> None:
    """At once; what runs there ends with the server's grace."""
    with Proxy(forgetful) as proxy, at_program(tmp_path, proxy.target, "sh", "-c", FULL_SCREEN) as person:
        pid = pid_of(person)
        proxy.go_away()
        wait_lost(proxy)
        if how == "escape":
            person.type("\r~.")
            assert person.left_with() == 255
        else:
            person.process.terminate()
            assert person.left_with() == -signal.SIGTERM
        wait_dead(pid)


def test_a_server_that_does_not_come_back(forgetful: testing.RunningServer, tmp_path: Path) -> None:
    """The line comes after the modes were undone, so that it is not on a screen that goes."""
    with Proxy(forgetful) as proxy, at_painter(tmp_path, proxy) as person:
        proxy.go_away()
        assert person.left_with() == 125
        check_one_line(person, "tried for")
        assert person.output.index(b"\x1b[?1049l") < person.output.index(b"remote-shell: ")


def test_keys_that_wait_for_room_when_the_server_does_not_come_back(
    forgetful: testing.RunningServer, tmp_path: Path
) -> None:
    line = "stty raw -echo; echo ready; exec sleep 1000"
    with Proxy(forgetful) as proxy, at_program(tmp_path, proxy.target, "sh", "-c", line) as person:
        person.wait_for("ready")
        still = stands_still(person.process.pid)

        def full() -> bool:
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(person.master, b"x" * 4096)
            return still()

        wait_until(full, "full input")
        proxy.go_away()
        assert person.left_with() == 125
        check_one_line(person, "tried for")


def test_keys_typed_after_the_loss_while_the_terminal_takes_no_output(
    forgetful: testing.RunningServer, tmp_path: Path
) -> None:
    """What came before the loss is still to be shown, so the end waits for the terminal, and nobody takes the keys."""
    line = "head -c 100000 /dev/zero | tr '\\0' x; sleep 1000"
    with Proxy(forgetful) as proxy, at_program(tmp_path, proxy.target, "sh", "-c", line) as person:
        person.wait_raw()
        wait_until(stands_still(person.process.pid), "full terminal")
        proxy.go_away()
        until = time.monotonic() + 0.8  # twice the server's grace

        def given_up() -> bool:
            os.write(person.master, b"x")
            return time.monotonic() > until

        wait_until(given_up, "end of patience")
        assert person.left_with() == 125
        check_one_line(person, "tried for")


def test_a_server_that_comes_back_without_the_session(
    target: str, forgetful: testing.RunningServer, tmp_path: Path
) -> None:
    with Proxy(forgetful) as proxy, at_painter(tmp_path, proxy) as person:
        proxy._upstream = target.partition(":")[2]
        proxy.cut()
        assert person.left_with() == 125
        check_one_line(person, proxy.target)


def check_one_line(person: Person, text: str) -> None:
    """One line of ours is all that is told of the end."""
    shown = person.output.decode(errors="replace")
    assert shown.count("remote-shell: ") == 1 and text in shown, person.text
    assert "Traceback" not in shown and "never retrieved" not in shown, person.text
