"""The replay buffer: nothing acknowledged is kept, nothing else is forgotten."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.errors import RemoteProtocolError
from remote_shell.wire.replay import ReplayBuffer


def test_an_empty_one() -> None:
    replay = ReplayBuffer()
    assert (replay.sent, replay.acknowledged, replay.size, len(replay)) == (0, 0, 0, 0)
    replay.acknowledge(0)
    assert list(replay.after(0)) == []


def test_counts() -> None:
    replay = ReplayBuffer()
    for frame in (b"a", b"bb", b"ccc"):
        replay.append(frame)
    assert (replay.sent, replay.size) == (3, 6)
    assert list(replay.after(0)) == [b"a", b"bb", b"ccc"]
    replay.acknowledge(2)
    assert (replay.sent, replay.acknowledged, replay.size, len(replay)) == (3, 2, 3, 1)
    assert list(replay.after(2)) == [b"ccc"] and list(replay.after(3)) == []
    replay.acknowledge(2)  # the same again is no news
    replay.acknowledge(3)
    assert (replay.sent, replay.size, len(replay)) == (3, 0, 0)


@pytest.mark.parametrize("count", [0, 1, 4, 2**53])
def test_a_count_out_of_range(count: int) -> None:
    replay = ReplayBuffer()
    for _ in range(3):
        replay.append(b"x")
    replay.acknowledge(2)
    with pytest.raises(RemoteProtocolError) as caught:
        replay.acknowledge(count)
    assert caught.value.code == "bad_count" and "[2, 3]" in str(caught.value)
    assert (replay.sent, replay.acknowledged, replay.size) == (3, 2, 1), "a refused count changes nothing"


def test_what_follows_a_count_is_fixed_when_asked() -> None:
    """The session goes on numbering while the replay is on its way out."""
    replay = ReplayBuffer()
    replay.append(b"a")
    after = replay.after(0)
    replay.append(b"b")
    assert list(after) == [b"a"]


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=9), st.integers(0, 5)), max_size=60))
def test_against_a_plain_list(steps: list[bytes | int]) -> None:
    """Frames are appended, integers acknowledge so many more."""
    replay, every, known = ReplayBuffer(), list[bytes](), 0
    for step in steps:
        if isinstance(step, bytes):
            replay.append(step)
            every.append(step)
        else:
            known = min(known + step, len(every))
            replay.acknowledge(known)
        assert deque(replay.after(known)) == deque(every[known:])
        assert replay.size == sum(map(len, every[known:])) and replay.sent == len(every)
