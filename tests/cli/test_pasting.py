"""Pastes without brackets: what one read brought, as keys or as a paste; and on a terminal that knows no brackets."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys

from remote_shell.cli.pasting import JoinedInput, Joiner


class Clock:
    """By hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def read(text: str) -> list[KeyPress]:
    """The keys of one read."""
    keys: list[KeyPress] = []
    parser = Vt100Parser(keys.append)
    parser.feed_and_flush(text)
    return keys


def pastes(joiner: Joiner, text: str) -> list[str] | None:
    """The texts of the pastes that one read became; None if it stayed as it was."""
    keys = read(text)
    joined = joiner.joined(keys)
    return None if joined == keys else [press.data for press in joined if press.key == Keys.BracketedPaste]


@pytest.mark.parametrize(
    ("text", "paste"),
    [
        ("one\rtwo\r", "one\ntwo"),
        ("one\rtwo\rthree", "one\ntwo\nthree"),
        ("one\ntwo\n", "one\ntwo"),
        ("if true\r\tthen :\rfi\r", "if true\n\tthen :\nfi"),
        ("é\r\r漢\r", "é\n\n漢"),
        ("\rone\rtwo\r", "\none\ntwo"),
    ],
)
def test_several_lines_of_one_read_are_a_paste(text: str, paste: str) -> None:
    assert pastes(Joiner(), text) == [paste]


@pytest.mark.parametrize(
    "text",
    [
        "one",
        "one\r",
        "\r\r",
        "\rone",
        "one\rtwo",
        "\rone\rtwo",
        "o\x1b\rtwo\r",  # Alt-Enter
        "one\r\x1b[Atwo\r",  # with keys that no paste has
        "\x12one\rtwo\r",
        "\x1b[200~one\rtwo\r\x1b[201~",
        "\x1b[200~one\rtwo\x1b[201~\rthree",
        "",
    ],
)
def test_what_is_typed_stays_as_it_is(text: str) -> None:
    assert pastes(Joiner(), text) is None


def test_a_long_paste_is_one_text_and_its_end_is_no_enter() -> None:
    clock = Clock()
    joiner = Joiner(clock)
    assert pastes(joiner, "one\rtwo\r") == ["one\ntwo"]
    clock.now += 0.01
    assert pastes(joiner, "three\r\r") == ["\nthree"]
    clock.now += 0.01
    assert pastes(joiner, "\r") == [], "held back"
    clock.now += 0.01
    assert pastes(joiner, "four") == ["\n\n\nfour"]
    clock.now += 0.2
    assert pastes(joiner, "\r") is None, "a person's Enter"


def test_what_the_terminal_says_in_between_gets_through() -> None:
    keys = Joiner().joined(read("one\r\x1b[5;1Rtwo\r"))
    assert [press.key for press in keys] == [Keys.CPRResponse, Keys.BracketedPaste]
    assert keys[1].data == "one\ntwo"


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, JoinedInput]]:
    """The other end of one, and what reads it."""
    leader, follower = os.openpty()
    try:
        with open(follower, encoding="utf-8") as stdin:
            reads = JoinedInput(stdin)
            with reads.raw_mode():
                yield leader, reads
    finally:
        os.close(leader)


def test_it_reads_a_terminal() -> None:
    with terminal() as (leader, reads):
        os.write(leader, b"one\rtwo\r")
        assert [(press.key, press.data) for press in reads.read_keys()] == [(Keys.BracketedPaste, "one\ntwo")]
