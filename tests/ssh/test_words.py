"""Lines of ssh_config(5): quotes, comments, the one equals sign; patterns."""

from __future__ import annotations

import pytest

from remote_shell.errors import UsageError
from remote_shell.ssh.words import matches, matches_list, split_line, split_words


@pytest.mark.parametrize(
    ("text", "keyword", "words"),
    [
        ("User me", "user", ["me"]),
        ("User=me", "user", ["me"]),
        (" \tUSER =\tme  ", "user", ["me"]),
        ("User = me # who", "user", ["me"]),
        ("Host a b  !c", "host", ["a", "b", "!c"]),
        ('IdentityFile "a b"', "identityfile", ["a b"]),
        ('IdentityFile="a b"', "identityfile", ["a b"]),
        ("IdentityFile 'a \"b'", "identityfile", ['a "b']),
        (r"IdentityFile a\ b", "identityfile", ["a b"]),
        (r'IdentityFile "a\"b\\"', "identityfile", ['a"b\\']),
        (r"IdentityFile a\nb", "identityfile", [r"a\nb"]),
        ('"User" me', "user", ["me"]),
        ("SetEnv A=b C='d e'", "setenv", ["A=b", "C=d e"]),
        ("User me#x", "user", ["me#x"]),
        ("User==me", "user", ["=me"]),
        ("User", "user", []),
        ("User #x", "user", []),
        ('User ""', "user", [""]),
        ("User me\r", "user", ["me"]),
    ],
)
def test_a_line(text: str, keyword: str, words: list[str]) -> None:
    line = split_line(text)
    assert line is not None and (line.keyword, line.words) == (keyword, words)


@pytest.mark.parametrize("text", ["", "   ", "# User me", "  #", "\n"])
def test_nothing(text: str) -> None:
    assert split_line(text) is None


def test_a_command_is_kept_as_it_stands() -> None:
    line = split_line("RemoteCommand  echo \"a  b\" 'c' # no comment  ")
    assert line is not None and line.text == "echo \"a  b\" 'c' # no comment"


@pytest.mark.parametrize("text", ['User "me', "User 'me", '"User me', 'User me "x'])
def test_a_quote_that_is_not_closed(text: str) -> None:
    with pytest.raises(UsageError, match="not closed"):
        split_line(text)


def test_words_may_be_empty() -> None:
    assert split_words("a '' b") == ["a", "", "b"]


@pytest.mark.parametrize(
    ("pattern", "text", "whether"),
    [
        ("*", "", True),
        ("*", "a.b", True),
        ("a*", "a", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("10.0.0.?", "10.0.0.12", False),
        ("*.example", "b.example", True),
        ("*.example", "example", False),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("a.c", "abc", False),
        ("A", "a", False),
    ],
)
def test_patterns(pattern: str, text: str, whether: bool) -> None:
    assert matches(pattern, text) is whether


def test_one_that_is_negated_wins() -> None:
    assert matches_list(["*.example", "!b.example"], "a.example")
    assert not matches_list(["*.example", "!b.example"], "b.example")
    assert not matches_list(["!b.example"], "a.example"), "something has to match"
