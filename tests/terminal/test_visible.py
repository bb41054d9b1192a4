"""What others wrote, as it is shown: controls are seen and not obeyed, whatever the bytes and the chunks."""

from __future__ import annotations

import re
from typing import Any

import pyte
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from remote_shell.terminal.visible import Visible, last_sign, shown

pytestmark = pytest.mark.screen  # as a file it takes long


def visible(*chunks: bytes, **given: Any) -> bytes:
    """The chunks, shown."""
    one = Visible(**given)
    return b"".join(map(one.feed, chunks)) + one.end()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("plain é漢🐧\u00a0\t\n".encode(), "plain é漢🐧\u00a0\t\n"),
        (b"\x1b[2J\x1b]0;t\x07", "^[[2J^[]0;t^G"),
        (b"\x00\x08\x0b\x0c\x0e\x7f\x1b", "^@^H^K^L^N^?^["),
        ("\x9b2J\x85".encode(), r"\u009b2J\u0085"),  # CSI and NEL as one character each
        ("a\u202eb\u2066c\u200fd".encode(), r"a\u202eb\u2066c\u200fd"),  # what turns text around
        ("👩\u200d💻 می\u200cخواهم".encode(), "👩\u200d💻 می\u200cخواهم"),  # joiners are part of words
        (b"\xff\xc3(\xe2\x82", r"\xff\xc3(\xe2\x82"),
        (
            b"\xed\xa0\x80\xf4\x90\x80\x80\xc0\x80",
            r"\xed\xa0\x80\xf4\x90\x80\x80\xc0\x80",
        ),  # surrogates, too large, too long
    ],
)
def test_what_would_control_is_shown(data: bytes, text: str) -> None:
    assert visible(data).decode() == text
    assert visible(*(bytes([byte]) for byte in data)).decode() == text


COLOURS = [
    b"",
    b"0",
    b"00",
    b"1",
    b"01;34",
    b"31",
    b"38;5;208",
    b"48;5;8",
    b"38;2;1;22;255",
    b"38:5:1",
    b"48:2::1:2:3",
    b"4:3",
    b"58;5;1",
    b"97;100;7",
]
NO_COLOURS = [
    b"8",
    b"1;8",
    b"?1",
    b">4;2",
    b"10",
    b"38",
    b"38;5",
    b"38;2;1;2",
    b"38;2;1;2;3;8",
    b"999",
    b"1;" * 16 + b"1",
    b"4:9",
    b" ",
    b"=1",
    b"1\x00",
]


@pytest.mark.parametrize("codes", COLOURS)
def test_colours_stay_and_end(codes: bytes) -> None:
    reset = b"\x1b[m" if codes not in (b"", b"0") else b""
    for end in (b"", b"\n"):
        data = b"\x1b[%bmtext%b" % (codes, end)
        assert visible(data) == visible(*(bytes([byte]) for byte in data)) == data + reset
    assert visible(b"\x1b[31mred\x1b[mplain\n") == b"\x1b[31mred\x1b[mplain\n"


@pytest.mark.parametrize("codes", NO_COLOURS)
def test_what_hides_or_is_no_colour_is_shown(codes: bytes) -> None:
    assert visible(b"\x1b[%bmx" % codes) == b"^[[%bmx" % codes.replace(b"\x00", b"^@")


def test_what_grep_and_gcc_write_with_each_colour_is_left_out() -> None:
    assert visible(b"\x1b[01;31m\x1b[Kx\x1b[m\x1b[K\x1b[0K\x1b[1K\n") == b"\x1b[01;31mx\x1b[m^[[1K\n"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\r\nb\r\r\nc\n\r\nd", b"a\r\nb\r\nc\n\r\nd"),  # ends of lines
        (b"\r10%\r20%\rdone\n", b"10%\n20%\ndone\n"),  # curl's, dd's and rsync's progress
        (b"\r\x1b[K10%\r\x1b[K20%\r", b"10%\n20%\n"),
        (b"rm -rf ~ #\rls          \n", b"rm -rf ~ #\nls          \n"),
        (b"\r" * 1000 + b"a" + b"\r" * 1000 + b"\n" + b"\r" * 1000, b"a\r\n"),
        (b"a\x1b[31m\rb", b"a\x1b[31m\nb\x1b[m"),
    ],
)
def test_nothing_is_written_over(data: bytes, text: bytes) -> None:
    assert visible(data) == text
    assert visible(*(bytes([byte]) for byte in data)) == text


def test_a_terminal_of_single_bytes() -> None:
    assert visible("Ü".encode(), utf8=False) == b"\xc3\\u009c", "the second of its bytes would end a string there"
    assert visible(b"gr\xfc\xdfe\x1b[2J\n", utf8=False) == b"gr\xfc\xdfe^[[2J\n"


def test_text_is_shown_at_once() -> None:
    one = Visible()
    assert one.feed(b"Password: ") == b"Password: "
    assert one.feed("né".encode()[:-1]) == b"n"
    assert one.feed("é".encode()[1:] + b"\x1b[3") == "é".encode()
    assert one.feed(b"1mred") == b"\x1b[31mred"
    assert one.feed(b"50%\r") == b"50%"
    assert one.end() == b"\n\x1b[m"
    assert one.feed(b"\rnew") + one.end() == b"new", "nothing is left of what was before"


FRAGMENTS = [
    *(
        b"\x1b",
        b"[",
        b"31",
        b"8",
        b";",
        b":",
        b"m",
        b"K",
        b"\r",
        b"\n",
        b"\t",
        b"text",
        b"\x1b[m",
        b"\x1b[1;31m",
        b"\x1b[K",
        b"38;2;1;2;3",
        b"0",
    ),
    *(b"\xc2", b"\x9b", b"\xe2\x80", b"\xae", b"\xf0\x9f", b"\x90\xa7", b"\xed\xa0", b"\xff"),
    *("é漢🐧\u202e\x9b\x85".encode(), b"\x00", b"\x07", b"\x7f", b"\x1b]0;t\x07", b"\x1bP", b"\x1b[2J", b"\r\n"),
]
STREAMS = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=3)), max_size=20).map(b"".join)
SAFE = re.compile(r"(?:\x1b\[[0-9;:]*m|\r\n|[\n\t]|[^\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069])*")


@given(STREAMS, st.booleans(), st.data())
@example(bytes(range(256)), True, None)
@example(bytes(range(256)), False, None)
@example(b"\x1b[" + b"1;" * 300 + b"1m", True, None)
def test_any_bytes_in_any_pieces(stream: bytes, utf8: bool, data: st.DataObject | None) -> None:
    whole = visible(stream, utf8=utf8)
    assert SAFE.fullmatch(whole.decode("utf-8" if utf8 else "latin-1"))
    assert visible(whole, utf8=utf8) == whole, "shown once more it is the same"
    if data is not None:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
        pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert visible(*pieces, utf8=utf8) == whole


@given(STREAMS)
def test_a_line_before_it_is_not_touched_and_the_terminal_is_as_it_was(stream: bytes) -> None:
    screen = pyte.Screen(80, 300)
    feed = pyte.ByteStream(screen).feed
    modes = set(screen.mode)
    feed(b"the line before\r\n")
    feed(visible(stream).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))  # the second is what the kernel does
    assert screen.display[0].rstrip() == "the line before"
    assert screen.mode == modes and screen.margins is None and screen.title == "" and not screen.cursor.hidden
    assert screen.cursor.attrs == pyte.screens.Char(" "), "no colour is left on"


@pytest.mark.parametrize("start", [b"\x1b", b"\x1b[", b"\r", b"\xf0\x9f"])
@pytest.mark.parametrize("more", [b"1", b";", b"\r", b"\x1b", b"\x9f"])
def test_nothing_makes_it_hold_much(start: bytes, more: bytes) -> None:
    one = Visible()
    one.feed(start)
    for _ in range(2000):
        one.feed(more)
        assert len(one._held) <= 402


def test_a_line_of_text() -> None:
    assert shown("plain é") == "plain é"
    assert shown("\x1b[31mred\x1b[0m \x1b[2J\x9b\u202e\udc9b") == "\x1b[31mred\x1b[0m ^[[2J\\u009b\\u202e\\x9b"


def test_what_a_colour_stands_behind() -> None:
    assert [last_sign(data) for data in (b"a\n\x1b[m", b"a\x1b[1m\x1b[m", b"am", b"\x1b[m", b"")] == [
        b"\n",
        b"a",
        b"m",
        b"",
        b"",
    ]
