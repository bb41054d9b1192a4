"""The player: pace, keys and pauses, on a clock that the test moves."""

from __future__ import annotations

import pytest

from remote_shell.cli.replaying import LeftError, Player
from remote_shell.terminal.cast import Moment

pytestmark = pytest.mark.screen  # as a file it takes long


class Watcher:
    """Who watches: keys at given times, and what was shown when."""

    def __init__(self, keys: list[tuple[float, bytes]]) -> None:
        self.now = 1000.0
        self.keys = [(1000.0 + at, key) for at, key in keys]
        self.shown: list[tuple[float, str]] = []

    def clock(self) -> float:
        return self.now

    def show(self, text: str) -> None:
        self.shown.append((round(self.now - 1000.0, 6), text))

    def wait(self, seconds: float | None) -> bytes:
        """Time goes on to the next key, or to the end."""
        until = None if seconds is None else self.now + seconds
        if self.keys and (until is None or self.keys[0][0] <= until):
            at, key = self.keys.pop(0)
            self.now = max(self.now, at)
            return key
        assert until is not None, "paused for ever"
        self.now = until
        return b""


MOMENTS = [Moment(0.0, "o", "a"), Moment(1.0, "o", "b"), Moment(2.0, "r", "1x1"), Moment(10.0, "o", "c")]


def play(*keys: tuple[float, bytes], speed: float = 1.0, idle_limit: float = 1e9) -> list[tuple[float, str]]:
    watcher = Watcher(list(keys))
    Player(watcher.show, watcher.wait, watcher.clock, speed=speed, idle_limit=idle_limit).play(MOMENTS)
    return watcher.shown


def test_at_its_own_pace() -> None:
    assert play() == [(0.0, "a"), (1.0, "b"), (10.0, "c")]


@pytest.mark.parametrize(("speed", "times"), [(2.0, [0.0, 0.5, 5.0]), (0.5, [0.0, 2.0, 20.0])])
def test_faster_and_slower(speed: float, times: list[float]) -> None:
    assert [at for at, _ in play(speed=speed)] == times


def test_long_pauses_are_shortened_before_the_speed_is_applied() -> None:
    assert [at for at, _ in play(idle_limit=1.5)] == [0.0, 1.0, 3.5]
    assert [at for at, _ in play(idle_limit=1.5, speed=0.5)] == [0.0, 2.0, 7.0]


def test_space_stops_the_time() -> None:
    assert play((0.5, b" "), (100.5, b" ")) == [(0.0, "a"), (101.0, "b"), (110.0, "c")]
    assert play((0.5, b" "), (2.5, b"x"), (100.5, b" ")) == [(0.0, "a"), (101.0, "b"), (110.0, "c")]


def test_a_dot_goes_on_by_one_step() -> None:
    shown = play((0.5, b" "), (5.0, b"."), (6.0, b"."), (7.0, b"."))
    assert shown == [(0.0, "a"), (5.0, "b"), (7.0, "c")]
    assert play((0.5, b".")) == play(), "where nothing is paused it does nothing"


@pytest.mark.parametrize(("key", "status"), [(b"q", 0), (b"\x03", 130)])
@pytest.mark.parametrize("before", [(), ((0.2, b" "),)])
def test_leaving(key: bytes, status: int, before: tuple[tuple[float, bytes], ...]) -> None:
    with pytest.raises(LeftError) as left:
        play(*before, (0.5, key))
    assert left.value.status == status


def test_a_flood_can_be_left() -> None:
    watcher = Watcher([(0.0, b"")] * 5 + [(0.0, b"q")])
    flood = (Moment(0.0, "o", "x") for _ in range(10**6))
    with pytest.raises(LeftError):
        Player(watcher.show, watcher.wait, watcher.clock).play(flood)
    assert len(watcher.shown) <= 6


@pytest.mark.parametrize("answer", [b"\x1b[?64;1;2c", b"\x1bP1$r2 q\x1b\\", b"\x1b[A", b"\x1b[24;80R q"])
def test_what_a_terminal_answers_is_no_key(answer: bytes) -> None:
    assert play((0.5, answer)) == play()


def test_who_was_stopped_for_long_sees_the_rest_at_once() -> None:
    """SIGSTOP: the time went on."""
    watcher = Watcher([])

    def stopped(text: str) -> None:
        watcher.show(text)
        if text == "a":
            watcher.now += 60

    Player(stopped, watcher.wait, watcher.clock).play(MOMENTS)
    assert [at for at, _ in watcher.shown] == [0.0, 60.0, 60.0]
