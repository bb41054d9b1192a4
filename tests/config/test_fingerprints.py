"""Fingerprints: one canonical text for each digest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.config.fingerprints import format_fingerprint, parse_fingerprint
from remote_shell.errors import UsageError


@given(st.binary(min_size=32, max_size=32))
def test_round_trip(digest: bytes) -> None:
    text = format_fingerprint(digest)
    assert len(text) == 50
    assert parse_fingerprint(text) == parse_fingerprint(f" {text}=\n") == text


@given(st.text() | st.text(alphabet="SHA256:abcdefghij+/=", max_size=60))
def test_garbage_is_refused_by_our_error(text: str) -> None:
    try:
        assert parse_fingerprint(text).startswith("SHA256:")
    except UsageError as error:
        assert str(error).isprintable()


def test_a_second_spelling_is_refused() -> None:
    good = format_fingerprint(bytes(32))
    assert good.endswith("A")
    with pytest.raises(UsageError, match="not a fingerprint"):
        parse_fingerprint(good[:-1] + "B")


@pytest.mark.parametrize("size", [0, 29, 31, 33, 35])
def test_other_lengths_are_refused(size: int) -> None:
    with pytest.raises(UsageError, match="not a fingerprint"):
        parse_fingerprint(format_fingerprint(bytes(size)))


def test_a_missing_prefix_is_named() -> None:
    good = format_fingerprint(bytes(32))
    with pytest.raises(UsageError, match="write SHA256:AAAA"):
        parse_fingerprint(good.removeprefix("SHA256:"))
    with pytest.raises(UsageError):
        parse_fingerprint("MD5:00:11")
