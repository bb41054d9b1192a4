"""Windows: credit follows consumption, and never more of it than the stated window."""

from __future__ import annotations

import random

import pytest

from remote_shell.errors import RemoteProtocolError
from remote_shell.wire.windows import ReceiveWindow, SendWindow


def test_spending_and_credit() -> None:
    window = SendWindow(100)
    window.spend(100)
    assert window.credit == 0
    window.grant(60, 100)
    assert (window.credit, window.window) == (60, 100)
    window.grant(0, 100)  # harmless
    window.grant(140, 200)  # a larger window and its credit come in one
    assert (window.credit, window.window) == (200, 200)


def test_a_window_that_shrinks() -> None:
    send = SendWindow(100)
    send.spend(50)
    with pytest.raises(RemoteProtocolError, match="bad_credit"):
        send.grant(0, 60)


@pytest.mark.parametrize(("credit", "window"), [(1, 100), (11, 100), (2**53 - 1, 100), (0, 99), (10, 0), (111, 200)])
def test_too_much_credit(credit: int, window: int) -> None:
    """More than the window that is stated, or a window that shrinks."""
    send = SendWindow(100)
    if credit > 1:
        send.spend(10)
    with pytest.raises(RemoteProtocolError) as caught:
        send.grant(credit, window)
    assert caught.value.code == "bad_credit"
    assert send.window == 100, "a refused message changes nothing"


def test_data_beyond_the_window() -> None:
    window = ReceiveWindow(100)
    window.receive(99)
    with pytest.raises(RemoteProtocolError) as caught:
        window.receive(2)
    assert caught.value.code == "window_exceeded"
    window.receive(1)
    with pytest.raises(RemoteProtocolError):
        window.receive(1)


def test_credit_is_due_at_half_a_window() -> None:
    window = ReceiveWindow(100)
    window.receive(60)
    assert not window.consume(49)
    assert window.consume(1)
    assert window.give_back(0.0) == 50
    assert (window.left, window.unread, window.returned) == (90, 10, 0)


def test_credit_is_due_at_once_when_little_is_left() -> None:
    """Or unread stderr, which holds three quarters of the window, would starve stdout."""
    window = ReceiveWindow(100)
    window.receive(75)
    assert not window.consume(1)  # 25 left: a quarter
    window.receive(1)
    assert window.consume(1)
    assert window.give_back(0.0) == 2


def test_nothing_is_due_for_nothing() -> None:
    window = ReceiveWindow(100)
    assert not window.consume(0)
    window.receive(100)
    assert not window.consume(0)


def test_more_consumed_than_received_is_our_own_fault() -> None:
    window = ReceiveWindow(100)
    window.receive(5)
    with pytest.raises(AssertionError):
        window.consume(6)


def test_growth() -> None:
    """Half a window within two round trips: then the window was the bound. The first half proves nothing."""
    window = ReceiveWindow(100)
    assert not window.grows(5.0, 1e9)
    window.receive(50)
    window.consume(50)
    window.give_back(5.0)
    assert window.grows(6.9, 1.0)
    assert not window.grows(7.0, 1.0)
    window.receive(100)
    window.consume(50)
    assert window.give_back(6.0, growth=100) == 150
    assert (window.window, window.left, window.first) == (200, 150, 100)


def test_books_balance() -> None:
    """left + unread + returned = window; what the sender may send is never more than what the receiver takes."""
    rng = random.Random(5)
    for _ in range(100):
        send, receive, under_way = SendWindow(1000), ReceiveWindow(1000), list[tuple[int, int]]()
        for _ in range(200):
            match rng.randrange(4):
                case 0:
                    count = rng.randint(0, send.credit)
                    send.spend(count)
                    receive.receive(count)
                case 1:
                    if receive.consume(rng.randint(0, receive.unread)):
                        growth = rng.choice((0, receive.window)) if receive.window < 8000 else 0
                        under_way.append((receive.give_back(0.0, growth), receive.window))
                case _ if under_way:
                    send.grant(*under_way.pop(0))
            assert receive.left + receive.unread + receive.returned == receive.window
            assert 0 <= send.credit <= receive.left
