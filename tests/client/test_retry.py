"""When the next attempt is due, and when there is none."""

from __future__ import annotations

from bisect import bisect
from itertools import pairwise

import pytest

from remote_shell.client.retry import Retry
from remote_shell.limits import DEFAULT_LIMITS


def attempts(until: float, took: float = 0.0) -> list[float]:
    """The times of the attempts after a loss at 0, to the first after `until`; each comes to nothing and takes so long."""
    retry, times = Retry(DEFAULT_LIMITS, 0.0, 1000.0, "cut"), [0.0]
    while times[-1] < until:
        state = retry.failed(times[-1] + took, "no")
        assert state is not None and state.name == "retrying"
        assert abs(state.next_try - (retry.due - times[-1] - took)) < 1e-9
        times.append(retry.due)
    return times


def test_the_first_attempt_is_at_once_and_the_next_ones_wait_longer() -> None:
    every = [attempts(120.0) for _ in range(200)]
    first = [times[1] for times in every]
    assert len(set(first)) > 100 and DEFAULT_LIMITS.backoff_first / 2 <= min(first), "with chance, and never none"
    assert max(first) <= DEFAULT_LIMITS.backoff_first
    late = [then - one for times in every for one, then in pairwise(times) if one > 20]
    assert DEFAULT_LIMITS.backoff_max / 2 <= min(late) and max(late) <= DEFAULT_LIMITS.backoff_max


@pytest.mark.parametrize("cut", [0.2, 0.5, 1.0, 3.0, 8.0])
def test_a_break_is_not_much_longer_than_its_cut(cut: float) -> None:
    assert max(attempts(cut)[-1] for _ in range(500)) <= cut + max(0.25, cut / 2)


def test_an_attempt_that_took_long_does_not_make_the_next_one_wait_long() -> None:
    assert max(attempts(10.0, took=8.0)[1] for _ in range(100)) <= 8.0 + DEFAULT_LIMITS.backoff_first


@pytest.mark.parametrize(("cut", "most"), [(1.0, 400), (2.0, 250), (10.0, 80), (60.0, 80)])
def test_a_thousand_clients_do_not_come_back_in_step(cut: float, most: int) -> None:
    """So many at most within a tenth of a second; in step it would be all. And none of them asks more than eight times a second."""
    every = [attempts(cut) for _ in range(1000)]
    back = sorted(times[-1] for times in every)
    busiest = max(bisect(back, one + 0.1) - at for at, one in enumerate(back))
    assert busiest <= most
    assert all(then - one >= 0.125 for times in every for one, then in pairwise(times))


def test_it_ends_with_the_grace() -> None:
    retry = Retry(DEFAULT_LIMITS, 100.0, 2.0, "cut")
    for _ in range(50):
        state = retry.failed(101.9, "no")
        assert state is not None and retry.due <= 102.0 and abs(state.gives_up - 0.1) < 1e-9 and state.after > 1.8
    assert retry.failed(102.0, "refused") is None
    assert retry.summary(103.0, "refused") == "cut; tried for 3 s, the last time: refused"


def test_a_connection_that_was_of_no_use_is_not_repeated_at_once() -> None:
    assert max(Retry(DEFAULT_LIMITS, 0.0, 60.0, "cut", attempts=5).due for _ in range(100)) > 1


def test_how_long_an_attempt_may_take() -> None:
    assert Retry(DEFAULT_LIMITS, 0.0, 60.0, "cut").limit(0.0, 10.0) == 10.0
    assert Retry(DEFAULT_LIMITS, 0.0, 5.0, "cut").limit(0.0, 10.0) == 5.0
    assert Retry(DEFAULT_LIMITS, 0.0, 5.0, "cut").limit(4.9, 10.0) == 5.9, "a second at least"
    assert Retry(DEFAULT_LIMITS, 0.0, 0.0, "").limit(0.0, 10.0) == 10.0, "the only attempt has all its time"
