"""Places before login: bounded, the newest always admitted, the noisiest source pays."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial

from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.server.strangers import Strangers, source_of

LIMITS = replace(DEFAULT_LIMITS, strangers_max=10)


def test_a_source_is_an_ipv4_address_or_a_64() -> None:
    assert source_of(("192.0.2.7", 4000)) == "192.0.2.7"
    assert source_of(("::ffff:192.0.2.7", 4000, 0, 0)) == "192.0.2.7"
    assert source_of(("2001:db8:1:2:3::4", 1, 0, 0)) == source_of(("2001:db8:1:2:ffff::", 2, 0, 0))
    assert source_of(("2001:db8:1:2::1", 1, 0, 0)) != source_of(("2001:db8:1:3::1", 1, 0, 0))
    assert source_of(("fe80::1%eth0", 1, 0, 2)) == source_of(("fe80::2", 1, 0, 2))
    assert source_of("") == source_of(b"") == "local"


def test_the_noisiest_source_loses_its_oldest() -> None:
    strangers = Strangers(LIMITS)
    evicted: list[str] = []
    strangers.admit("honest", lambda: evicted.append("honest"), 0)
    for number in range(30):
        strangers.admit("noisy", lambda number=number: evicted.append(f"noisy {number}"), 1)  # type: ignore[misc]
    assert len(strangers) == 10
    assert evicted == [f"noisy {number}" for number in range(21)], "its own, oldest first, and nobody else's"


def test_a_flood_from_many_sources_does_not_evict_who_comes_seldom() -> None:
    strangers = Strangers(LIMITS)
    evicted: list[str] = []
    for turn in range(100):
        for source in ("a", "b", "c"):
            strangers.admit(source, lambda source=source: evicted.append(source), turn / 100)  # type: ignore[misc]
        if turn == 50:
            strangers.admit("honest", lambda: evicted.append("honest"), turn / 100)
    assert "honest" not in evicted


def test_arrivals_are_forgotten_after_a_minute() -> None:
    strangers = Strangers(LIMITS)
    evicted: list[str] = []
    for _ in range(50):
        strangers.leave("was noisy", strangers.admit("was noisy", lambda: None, 0))
    strangers.admit("was noisy", lambda: evicted.append("was noisy"), 200)
    for _ in range(12):
        strangers.admit("is noisy", lambda: evicted.append("is noisy"), 200)
    assert "was noisy" not in evicted


def test_logins_do_not_make_a_source_noisy() -> None:
    """A script logs in a hundred times; others, who never do, come but a few times each. They pay."""
    strangers = Strangers(LIMITS)
    evicted: list[str] = []
    for turn in range(100):
        place = strangers.admit("script", lambda: evicted.append("script"), turn / 10)
        if turn % 10 == 0:
            for number in range(5):
                source = f"stranger {number}"
                strangers.admit(source, lambda source=source: evicted.append(source), turn / 10)  # type: ignore[misc]
        strangers.welcome("script", place)
    assert evicted and "script" not in evicted
    for _ in range(200):
        strangers.welcome("script", 0)  # safe to repeat
    strangers.admit("script", lambda: None, 11)
    assert strangers._arrived.count("script") == 1


def test_the_noisiest_keeps_some_places() -> None:
    """An address of which twice as many come as of the others: who comes from there last is not evicted at once."""
    strangers = Strangers(replace(LIMITS, strangers_max=100))
    evicted: list[int] = [0]
    for turn in range(2000):
        for source in ("a", "b", "c", "d"):
            strangers.admit(source, lambda: None, 1)
        for _ in range(2):
            strangers.admit("noisy", partial(evicted.append, turn), 1)
        assert turn < 100 or evicted[-1] < turn - 2
    assert len(strangers._places["noisy"]) > 5


class Compared(Strangers):
    """Looks at all sources before each eviction: whoever is evicted must be as noisy as the noisiest."""

    evictions = 0

    def _evict_one(self) -> None:
        def noise(source: str) -> int:
            return self._arrived.count(source) * len(self._places[source])

        noises = {source: noise(source) for source in self._places}
        places = {source: len(of) for source, of in self._places.items()}
        super()._evict_one()
        (evicted,) = (source for source, count in places.items() if len(self._places.get(source, ())) != count)
        assert noises[evicted] == max(noises.values())
        self.evictions += 1


def test_the_noisiest_is_found_whatever_came_and_went() -> None:
    rng = random.Random(1)
    strangers = Compared(LIMITS)
    now = 0.0
    for _ in range(5000):
        now += rng.choice((0.01, 1.0, 20.0)) if rng.random() < 0.1 else 0.0
        source = f"s{min(rng.randrange(12), rng.randrange(12))}"
        place = strangers.admit(source, lambda: None, now)
        if rng.random() < 0.2:
            strangers.welcome(source, place)
        for other, places in list(strangers._places.items()):
            if rng.random() < 0.05:
                strangers.leave(other, next(iter(places)))
    assert strangers.evictions > 500 and len(strangers._queue) <= 8 * LIMITS.strangers_max


def test_leaving_twice_is_one_place() -> None:
    strangers = Strangers(LIMITS)
    place = strangers.admit("a", lambda: None, 0)
    strangers.leave("a", place)
    strangers.leave("a", place)
    assert len(strangers) == 0


def test_counting_is_bounded() -> None:
    strangers = Strangers(replace(LIMITS, arrivals_sources_max=100))
    for number in range(10_000):
        strangers.leave(str(number), strangers.admit(str(number), lambda: None, 0))
    assert len(strangers._arrived._recent) <= 100
    assert not strangers._places
