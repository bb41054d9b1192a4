"""Folding names and unfolding them, as ClusterShell's nodeset does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.config.names import expand, fold, split
from remote_shell.errors import UsageError


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["node1"], "node1"),
        (["node3", "node1", "node2", "node7"], "node[1-3,7]"),
        (["node9", "node10"], "node[9-10]"),
        (["node08", "node09", "node10", "node11"], "node[08-11]"),
        (["node1", "node01"], "node1,node01"),
        (["web", "db1", "db2"], "web,db[1-2]"),
        (["da2c1", "da2c2", "da3c1", "da3c2"], "da[2-3]c[1-2]"),
        (["a1b1", "a1b2", "a2b9"], "a1b[1-2],a2b9"),
        (["10.0.0.1:8822", "10.0.0.2:8822"], "10.0.0.[1-2]:8822"),
        (["[::1]:8822", "[::2]:8822"], "[::1]:8822,[::2]:8822"),
        (["n1", "n1", "n2"], "n[1-2]"),
        (["n0", "n1"], "n[0-1]"),
        (["1", "2", "3"], "[1-3]"),
        (["x12345678901", "x12345678902"], "x12345678901,x12345678902"),
    ],
)
def test_fold(names: list[str], text: str) -> None:
    assert fold(names) == text


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("web", ["web"]),
        ("node[1-3,7]", ["node1", "node2", "node3", "node7"]),
        ("node[08-10]", ["node08", "node09", "node10"]),
        ("r[1-2]n[3-4]", ["r1n3", "r1n4", "r2n3", "r2n4"]),
        ("[::1]:8822", ["[::1]:8822"]),
        ("tls:[fe80::1-2]:1", ["tls:[fe80::1-2]:1"]),
        ("a[x]", ["a[x]"]),
    ],
)
def test_expand(word: str, names: list[str]) -> None:
    assert expand(word) == names


def test_a_list_is_split_at_commas_outside_of_brackets() -> None:
    assert split("a,node[1-3,7],@ci,[::1]:8822") == ["a", "node[1-3,7]", "@ci", "[::1]:8822"]


@pytest.mark.parametrize("text", ["", ",a", "a,", "a,,b"])
def test_a_missing_name_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match="a name is missing"):
        split(text)


def test_a_range_that_runs_backwards_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"write 3-9"):
        expand("node[9-3]")


@pytest.mark.parametrize("word", ["n[0-999999999]", "n[1-200]x[1-200]", "n[1-5,1-5000,6]"])
def test_no_word_is_more_names_than_may_be(word: str) -> None:
    with pytest.raises(UsageError, match="more than 4000 names"):
        expand(word, most=4000)


_NAMES = st.lists(st.from_regex(r"\A(node|r)?[0-9]{1,3}(-|n)?[0-9]{0,3}\Z"), max_size=30)


@given(_NAMES)
def test_what_was_folded_unfolds_to_the_same_names(names: list[str]) -> None:
    folded = fold(names)
    again = [name for word in split(folded) for name in expand(word)] if names else []
    assert sorted(again) == sorted(set(names))
