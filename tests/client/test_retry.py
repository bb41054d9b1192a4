"""When the next attempt is due, and when there is none."""

from __future__ import annotations

from remote_shell.client.retry import Retry
from remote_shell.limits import DEFAULT_LIMITS


def test_the_first_attempt_is_at_once_and_the_next_ones_wait_longer() -> None:
    longest = []
    for attempt in range(10):
        delays = []
        for _ in range(200):
            retry = Retry(DEFAULT_LIMITS, 100.0, 1000.0, "cut")
            assert retry.due == 100.0
            for _ in range(attempt + 1):
                state = retry.failed(100.0, "no")
            assert state is not None and state.name == "retrying" and state.next_try == retry.due - 100.0
            delays.append(state.next_try)
        assert min(delays) >= 0 and len(set(delays)) > 100, "full jitter"
        longest.append(max(delays))
    first, most = DEFAULT_LIMITS.backoff_first, DEFAULT_LIMITS.backoff_max
    assert first < longest[0] <= 2 * first and longest[1] > longest[0] and most * 0.8 < longest[-1] <= most


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
