"""uint32 and string: round trip, and no reading past the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.identity.ssh_strings import Reader, TruncatedError, pack_string, pack_u32


@given(st.lists(st.binary(max_size=50)), st.binary(max_size=9))
def test_round_trip(strings: list[bytes], rest: bytes) -> None:
    reader = Reader(b"".join(map(pack_string, strings)) + pack_u32(7) + rest)
    assert [reader.string() for _ in strings] == strings
    assert reader.u32() == 7
    assert reader.rest() == rest
    assert reader.rest() == b""


@given(st.binary(max_size=40), st.data())
def test_every_cut_is_told(string: bytes, data: st.DataObject) -> None:
    whole = pack_string(string)
    with pytest.raises(TruncatedError):
        Reader(whole[: data.draw(st.integers(0, len(whole) - 1))]).string()


def test_a_length_that_is_not_there_costs_nothing() -> None:
    with pytest.raises(TruncatedError):
        Reader(b"\xff\xff\xff\xff").string()
