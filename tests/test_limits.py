"""What a `Limits` takes: figures, and nothing that would be refused later, by the peer or the kernel."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from remote_shell.limits import DEFAULT_LIMITS, Limits


@pytest.mark.parametrize("value", [1.5, True, "3", None, 1j])
def test_a_count_is_a_whole_number(value: Any) -> None:
    with pytest.raises(TypeError, match="limits: window=.* is no whole number"):
        Limits(window=value)
    with pytest.raises(TypeError, match="window"):
        replace(DEFAULT_LIMITS, window=value)


@pytest.mark.parametrize("value", [True, "3", None, 1j])
def test_a_time_is_a_number(value: Any) -> None:
    with pytest.raises(TypeError, match="limits: grace=.* is no number"):
        Limits(grace=value)
    assert Limits(grace=3).grace == 3 and Limits(grace=0.5).grace == 0.5


def test_every_limit_is_one_of_the_two() -> None:
    assert {field.type for field in fields(Limits)} == {"int", "float"}


def test_it_shows_what_is_not_as_ever() -> None:
    """It is the default of an argument, and so in what `help` shows of `connect`."""
    assert repr(DEFAULT_LIMITS) == "Limits()"
    other = replace(DEFAULT_LIMITS, grace=5.0, window=70000)
    assert repr(other) == "Limits(window=70000, grace=5.0)"
