"""What is found by a few characters, and which of two lines answers better."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.cli import fuzzy

TEXT = st.text("abc -/A", max_size=12)


@pytest.mark.parametrize(
    ("words", "better", "worse"),
    [
        ("git", "git log", "get it"),  # whole before scattered
        ("log", "git log", "catalog"),  # at a word's start
        ("git", "git log", "cd git"),  # at the line's start
        ("gcm", "git commit main", "egacam"),  # the initials
        ("abd", "xabxd", "xaxbxxxd"),  # side by side, less apart
        ("git push", "git push", "push git"),  # the words together
        ("ab", "a…a b".replace("…", "x" * 9), "axxxxxxxxxxxb"),  # from the second a on
    ],
)
def test_which_is_better(words: str, better: str, worse: str) -> None:
    good, bad = fuzzy.score(words.split(), better), fuzzy.score(words.split(), worse)
    assert good is not None and bad is not None and good > bad


def test_every_word_must_be_there_in_any_order_and_case() -> None:
    assert fuzzy.score(["push", "git"], "GIT Push") is not None
    assert fuzzy.score(["push", "gitx"], "git push") is None
    assert fuzzy.score(["ba"], "ab") is None


@given(TEXT.filter(str.strip), TEXT)
def test_found_is_what_has_each_word_as_a_subsequence(query: str, text: str) -> None:
    words = query.lower().split()

    def has(word: str) -> bool:
        left = iter(text.lower())
        return all(sign in left for sign in word)

    assert (fuzzy.score(words, text) is not None) == all(map(has, words))


@given(st.text("abc", min_size=1, max_size=6), TEXT)
def test_whole_is_always_better_than_scattered(word: str, text: str) -> None:
    points = fuzzy.score([word], text)
    if points is not None:
        assert (points >= fuzzy.WHOLE * len(word)) == (word in text.lower())
