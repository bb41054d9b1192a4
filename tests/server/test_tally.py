"""A tally: a window in two halves, bounded."""

from __future__ import annotations

import pytest

from remote_shell.server.tally import Tally

pytestmark = pytest.mark.screen  # as a file it takes long


def test_what_is_old_is_forgotten_by_halves() -> None:
    tally = Tally(60.0, 10)
    tally.add("a", 100.0)
    tally.add("a", 129.0)
    assert tally.count("a") == 2 and tally.count("b") == 0
    tally.add("b", 131.0)
    assert tally.count("a") == 2 and tally.count("b") == 1
    tally.add("b", 162.0)
    assert tally.count("a") == 0 and tally.count("b") == 2
    tally.add("c", 1000.0)
    assert tally.count("b") == 0


def test_sources_are_bounded() -> None:
    tally = Tally(60.0, 2)
    for source in "abcab":
        tally.add(source, 1.0)
    assert [tally.count(source) for source in "abc"] == [2, 2, 0]
