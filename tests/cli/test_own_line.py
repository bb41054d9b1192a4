"""Which lines at the prompt are ours."""

from __future__ import annotations

import pytest

from remote_shell.cli.own_line import for_shell, is_own, sign, words_of


@pytest.mark.parametrize("line", [":help", ":?", "?", "? ", ":x", ":bg echo 1", ":Jobs"])
def test_ours(line: str) -> None:
    assert is_own(line)


@pytest.mark.parametrize(
    "line", [":", ": ${x:=1}", ":>file", ":(){ :|:& };:", " :help", "::help", "echo :help", "?x", "", ":;", ":é", ":1"]
)
def test_the_shells(line: str) -> None:
    assert not is_own(line)


def test_two_of_them_send_one_to_the_shell() -> None:
    assert for_shell("::help me") == ":help me"
    assert for_shell(":") == ":" and for_shell(": x") == ": x" and for_shell("a::b") == "a::b"


def test_the_prefix_can_be_another() -> None:
    assert is_own("%jobs", "%") and not is_own(":jobs", "%") and is_own("?", "%")
    assert for_shell("%%x", "%") == "%x" and for_shell("::x", "%") == "::x"
    assert words_of("%out 3", "%") == ("out", "3")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (":help", ("help", "")),
        (":bg  make -j8 | tee x ", ("bg", "make -j8 | tee x")),
        (":bg echo a\necho b", ("bg", "echo a\necho b")),
        (":bg\necho b", ("bg", "\necho b")),
        (":?bg", ("?", "bg")),
        ("?", ("?", "")),
        (":out[3]", ("out", "[3]")),
    ],
)
def test_name_and_rest(line: str, expected: tuple[str, str]) -> None:
    assert words_of(line) == expected


@pytest.mark.parametrize("text", ["", "ab", "a", "1", " ", "?", "é", "\t"])
def test_what_can_not_be_a_prefix(text: str) -> None:
    with pytest.raises(ValueError):
        sign(text)


def test_what_can() -> None:
    assert sign(",") == ","
