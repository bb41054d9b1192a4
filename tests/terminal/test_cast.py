"""Reading recordings, those of others too: what can be read is, whatever is around it, and nothing is believed but text and time."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from remote_shell.errors import UsageError
from remote_shell.terminal.cast import DamagedError, Head, Moment, read_head, read_moments

HEAD = b'{"version": 2, "width": 100, "height": 30}\n'


def moments(data: bytes, most: int = 1000) -> list[Moment | str]:
    """What follows the header; damages as their texts."""
    return [one if isinstance(one, Moment) else str(one) for one in read_moments(io.BytesIO(data), most)]


@pytest.mark.parametrize(
    ("more", "head"),
    [
        ({"width": 100, "height": 30}, Head(100, 30)),
        ({}, Head(80, 24)),
        ({"width": 0, "height": -1}, Head(80, 24)),
        ({"width": 10**9, "height": 10_001}, Head(80, 24)),
        ({"width": True, "height": "24"}, Head(80, 24)),
        ({"width": 1e3, "height": None}, Head(80, 24)),
        ({"width": 10_000, "height": 1, "env": [1], "title": "\x1b]0;x\x07"}, Head(10_000, 1)),
    ],
)
def test_heads(more: dict[str, Any], head: Head) -> None:
    assert read_head(io.BytesIO(json.dumps({"version": 2, **more}).encode() + b"\n"), "x") == head


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "no header"),
        (b"root:x:0:0:root\n", "no header"),
        (b'[0.1, "o", "x"]\n', "no header"),
        (b"[" * 100_000 + b"\n", "no header"),
        (b'{"version": 2, "title": "' + b"x" * 2_000_000 + b'"}\n', "no header"),
        (b'{"version": ' + b"9" * 10_000 + b"}\n", "no header"),
        (b'{"version": 1, "stdout": []}', "not of version 2"),
        (b'{"version": 3}\n', "not of version 2"),
        (b"{}\n", "not of version 2"),
        (b"\x80\xff{}\n", "no header"),
    ],
)
def test_what_is_no_recording(line: bytes, why: str) -> None:
    with pytest.raises(UsageError, match=f"^x is .*{why}"):
        read_head(io.BytesIO(line), "x")


def test_events() -> None:
    data = b'[0, "o", "a"]\n[1.5, "i", "typed"]\n[2, "m", ""]\n[2.25, "r", "80x24"]\n'
    assert moments(data) == [(0.0, "o", "a"), (2.0, "m", ""), (2.25, "r", "80x24")]


def test_time_never_goes_back() -> None:
    assert [one[0] for one in moments(b'[5, "o", "a"]\n[3, "o", "b"]\n[6, "o", "c"]\n')] == [5.0, 5.0, 6.0]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nonsense",
        b"{}",
        b'[1, "o"]',
        b'[1, "o", "a", 1]',
        b'["1", "o", "a"]',
        b'[true, "o", "a"]',
        b'[NaN, "o", "a"]',
        b'[Infinity, "o", "a"]',
        b'[-1, "o", "a"]',
        b'[1e300, "o", "a"]',
        b'[1, 2, "a"]',
        b'[1, "o", ["a"]]',
        b'[1, "o", "\xff"]',
        b"[" * 900,
        b'[1, "o", "' + b"9" * 900 + b"",
    ],
)
def test_a_line_that_is_none_is_passed_over(line: bytes) -> None:
    assert moments(line + b'\n[2, "o", "b"]\n') == ["line 2 is no event", (2.0, "o", "b")]


@pytest.mark.parametrize("length", [1001, 1002, 2001, 5000])
def test_a_line_that_is_too_long_is_passed_over_and_never_held(length: int) -> None:
    data = b"x" * (length - 1) + b"\n" + b'[2, "o", "b"]\n'
    assert moments(data) == ["line 2 is longer than 1000 bytes", (2.0, "o", "b")]


def test_the_longest_line_is_read() -> None:
    line = b'[1, "o", "' + b"x" * 987 + b'"]\n'
    assert len(line) == 1000 and len(moments(line)) == 1 and isinstance(moments(line)[0], Moment)


@pytest.mark.parametrize("cut", range(1, 13))
def test_the_end_of_a_recorder_that_was_killed(cut: int) -> None:
    line = b'[2, "o", "b"]\n'
    assert moments(b'[1, "o", "a"]\n' + line[:cut]) == [
        (1.0, "o", "a"),
        "line 3 has no end: whoever wrote it was stopped there",
    ]


@given(
    st.lists(
        st.one_of(st.binary(max_size=20), st.sampled_from([b"\n", b'[1,"o","x"]', b'[1,"o","', b"["])), max_size=12
    )
)
@example([b'[1,"o","\\ud800"]\n'])
@example([b'[NaN,"o","x"]\n'])
@example([b'[1e999,"o","x"]\n'])
def test_any_bytes_are_read_to_their_end(parts: list[bytes]) -> None:
    last = 0.0
    for one in read_moments(io.BytesIO(b"".join(parts)), 100):
        if isinstance(one, DamagedError):
            continue
        assert last <= one.at and math.isfinite(one.at)
        last = one.at
