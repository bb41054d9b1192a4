"""What a program may do to the person's terminal: all but what is cut, however it is cut up; a terminal that obeys everything judges."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.terminal.filter import Filter
from tests.terminal.obedient import Obedient
from tests.terminal.test_modes import VIM, VIM_ENDS

ST = b"\x1b\\"


def filtered(*chunks: bytes, **given: Any) -> bytes:
    """What of the chunks goes to the terminal."""
    one = Filter(**given)
    return b"".join(map(one.feed, chunks)) + one.end()


# --- what is cut: something invisible stands in its place

TITLES = [
    *(b"\x1b]%d;evil\x07" % number for number in (0, 1, 2, 30, 31, 176)),
    *(b"\x1b]0;evil" + end for end in (ST, b"\x18", b"\x1a", b"\xc2\x9c")),
    *(b"\x1b]" + head + b"evil\x07" for head in (b"l", b"L", b"I", b";", b"002;", b"2;\xc3\xa9")),
    *(b"\x1bkevil\x1b\\", b"\x1b_evil\x1b\\", b"\x1b_Gevil\x1b\\", b"\xc2\x9d2;evil\xc2\x9c", b"\xc2\x9fevil\x1b\\"),
    *(b"\x1b[22;0;0t", b"\x1b[23t", b"\x1b[023t", b"\xc2\x9b22t", b"\x1b[>1;3t"),
    *(b"\x1b\x00]0;evil\x07", b"\x1b\r\n[22t", b"\x1b[2\x002t", b"\x1b]2\x07"),
]
CLIPBOARD = [
    b"\x1b]52;c;aGk=\x07",
    b"\x1b]52;;aGk=\x1b\\",
    b"\x1b]52;c;aG\r\nk=\x07",
    b"\x1b]052;cs0;!\x07",
    b"\x1b]52;c;\x07",
]
OTHERS = [
    *(b"\x1b[21t", b"\x1b[20t", b"\x1b[000021t", b"\x1b[2\x001t", b"\x1b[4294967317t", b"\x1b[" + b"0" * 300 + b"21t"),
    *(b"\x1b[1;1;1;1;24;80*y", b"\x1b[5i", b"\x1b[?11i", b"\x1b[i", b"\xc2\x9b21t", b"\x1b%@", b"\x1b%\x00@"),
    *(b"\x1b]52;c;?\x07", b"\x1b]52;c;?\x1b\\", b"\x1b]52;;?\x07", b"\x1b]52;c;\x00?\x07", b"\x1b]52;x-y;aGk=\x07"),
    *(b"\x1b]%d;x\x07" % number for number in (3, 9, 20, 46, 50, 51, 99, 777, 1337, 5113, 5522, 65538, 4294967298)),
    *(
        b"\x1b]9;4x\x07",
        b"\x1b]9;7;cmd\x07",
        b"\x1b]" + b"0" * 300 + b"2;x\x07",
        b"\x1b]\x002;x\x07",
        b"\x1b]x\x07",
        b"\x1b]\x07",
    ),
    *(
        b"\x1bP$qm\x1b\\",
        b"\x1bP0;1|17/6c730d\x1b\\",
        b"\x1bP1;0;1!z1b5d\x1b\\",
        b"\x1bP@kitty-cmd{}\x1b\\",
        b"\x1bP$\x00qm\x1b\\",
    ),
    *(b"\x90$qm\x9c".replace(b"\x90", b"\xc2\x90").replace(b"\x9c", b"\xc2\x9c"), b"\x1bP" + b"0;" * 200 + b"q\x1b\\"),
    *(b"\x1b_Ga=T,f=100,t=f;L2V0Yw==\x1b\\", b"\x1b_Gt=t,a=q;L3g=\x1b\\"),
    *(b"\x1b]1337;File=name=eA==;size=2:\r\naGk=\x07", b"\x1bPtmux;a\x1b\\"),
]


@pytest.mark.parametrize("sequence", [*TITLES, *CLIPBOARD, *OTHERS])
def test_it_is_cut(sequence: bytes) -> None:
    assert filtered(b"before" + sequence + b"after") == b"before" + ST + b"after"
    assert filtered(*(bytes([byte]) for byte in b"before" + sequence + b"after")) == b"before" + ST + b"after"
    assert Obedient().obey(b"before" + sequence + b"after").harm or sequence in OTHERS, "a test of nothing"


@pytest.mark.parametrize("sequence", TITLES)
def test_titles_that_are_allowed_pass(sequence: bytes) -> None:
    assert filtered(b"before" + sequence + b"after", title=True) == b"before" + sequence + b"after"


@pytest.mark.parametrize("sequence", CLIPBOARD)
def test_the_clipboard_that_is_allowed_passes(sequence: bytes) -> None:
    assert filtered(*(bytes([byte]) for byte in b"x" + sequence + b"y"), clipboard=True) == b"x" + sequence + b"y"


@pytest.mark.parametrize("sequence", OTHERS)
def test_no_permission_for_those_covers_the_rest(sequence: bytes) -> None:
    assert filtered(sequence, title=True, clipboard=True) == ST


@pytest.mark.parametrize(
    ("allowed", "sequence"), [("title", CLIPBOARD[0]), ("clipboard", TITLES[0]), ("clipboard", b"\x1bkevil\x1b\\")]
)
def test_one_permission_is_not_the_other(allowed: str, sequence: bytes) -> None:
    assert filtered(sequence, **{allowed: True}) == ST


def test_eight_bit_controls_where_utf_8_is_off() -> None:
    for sequence in (b"\x9d0;evil\x9c", b"\x9d0;evil\x07", b"\x9b21t", b"\x90$qm\x9c", b"\x9fevil\x9c"):
        assert filtered(*(bytes([byte]) for byte in b"x" + sequence + b"y"), utf8=False) == b"x" + ST + b"y"
        assert filtered(b"x" + sequence + b"y") == b"x" + sequence + b"y", "parts of characters, where it is on"
    assert filtered("„“”ÜÝ".encode()) == "„“”ÜÝ".encode()


@pytest.mark.parametrize("high", [b"\xff", b"\x80", b"\xc3\xa9", "漢".encode()])
@pytest.mark.parametrize("rest", [b"]2;evil\x07", b"kevil\x1b\\", b"[22t", b"%@"])
def test_no_escape_reaches_what_stands_behind_high_bytes(high: bytes, rest: bytes) -> None:
    """tmux passes them over within a sequence."""
    assert filtered(b"\x1b" + high + rest) == ST + high + rest
    assert filtered(*(bytes([byte]) for byte in b"\x1b" + high + rest)) == ST + high + rest
    assert Obedient().obey(b"\x1b" + high + rest).harm
    assert not Obedient().obey(filtered(b"\x1b" + high + rest)).harm


def test_no_control_sequence_has_high_bytes() -> None:
    assert filtered(b"\x1b[\xff21t") == ST + b"[\xff21t"
    assert filtered(b"\x1b[21\xc3\xb4") == ST + "[21ô".encode()
    assert filtered(b"\xc2\x9b21\xc3\xb4") == ST + "21ô".encode()
    assert filtered(b"\x9b21\xf4", utf8=False) == ST + b"21\xf4"
    assert filtered(b"\x1b\xc2\x9d2;evil\x07") == ST * 2
    assert filtered("\x1b[31mé\x1b[mé\x1bMé".encode()) == "\x1b[31mé\x1b[mé\x1bMé".encode()


def test_no_pictures_where_they_are_titles() -> None:
    picture = b"\x1b_Ga=T,f=100;iVBORw0KGgo=\x1b\\"
    assert filtered(picture) == picture
    assert filtered(picture, pictures=False) == ST
    assert filtered(picture, pictures=False, title=True) == picture


# --- what passes

QUESTIONS = [  # vim, tmux, neovim and others ask them at their start
    *(
        b"\x1b[c",
        b"\x1b[>c",
        b"\x1b[=c",
        b"\x1b[6n",
        b"\x1b[?6n",
        b"\x1b[5n",
        b"\x1b[?2026$p",
        b"\x1b[?u",
        b"\x1b[>q",
        b"\x1b[14t",
    ),
    *(
        b"\x1b]10;?\x07",
        b"\x1b]11;?\x1b\\",
        b"\x1b]4;1;?\x07",
        b"\x1bP+q544e\x1b\\",
        b"\x1bP+q436f;6b75\x1b\\",
        b"\x1b[16t",
        b"\x1b[18t",
    ),
    *(b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\", b"\x1b]60\x1b\\", b"\x1b[?1;1;0S", b"\x1b[?996n", b"\x05"),
]
HARMLESS = [
    *QUESTIONS,
    *(
        b"text ",
        b"\n",
        b"\r\n",
        b"\t",
        b"\b",
        b"\x07",
        "grüße °C\u00a0漢字🐧".encode(),
        b"\xff\xfe",
        b"\x9d0;x\x9c",
        b"\xc2 ",
    ),
    *(
        b"\x1b[m",
        b"\x1b[38;2;1;2;3;48;5;7m",
        b"\x1b[H",
        b"\x1b[2J",
        b"\x1b[10;20H",
        b"\x1b[?1049h",
        b"\x1b[?25l",
        b"\x1b[1;24r",
        b"\x1b[K",
    ),
    *(
        b"\x1b7",
        b"\x1b8",
        b"\x1b(0",
        b"\x1b)B",
        b"\x1b=",
        b"\x1bM",
        b"\x1bc",
        b"\x1b#8",
        b"\x1b%G",
        b"\x1b[3 q",
        b"\x1b[!p",
        b"\x1b\x1bM",
    ),
    *(
        b"\x1b]8;;https://x.example/a?b=c\x1b\\",
        b"\x1b]8;;\x07",
        b"\x1b]4;1;rgb:0/0/0\x07",
        b"\x1b]104\x07",
        b"\x1b]112\x1b\\",
        b"\x1b]7;file://h/\x07",
    ),
    *(
        b"\x1b]133;A\x07",
        b"\x1b]9;4;1;50\x07",
        b"\x1b]22;pointer\x07",
        b"\x1b]12;red\x07",
        b"\x1b]P0123456",
        b"\x1b]R",
        b"\x1b]77\x07",
    ),
    *(
        b'\x1bPq"1;1;9;9#0;2;0;0;0~-\x1b\\',
        b"\x1bP0;1;0q#0~\x1b\\",
        b"\x1bP=1s\x1b\\",
        b"\x1b_Ga=T,f=100,m=1;iVBORw0KGgo=\x1b\\",
    ),
    *(
        b"\x1b^private\x1b\\",
        b"\x1bXstring\x1b\\",
        b"\x1b[8;24;80t",
        b"\x1b[1;2;3;4$t",
        b"\x1b[>4;2m",
        b"\x1b[>1u",
        b"\x1b[4;0y",
        b"\x1b[2 t",
    ),
]


@given(st.lists(st.sampled_from(HARMLESS), max_size=12), st.data())
@example([b"\x1b]8;;", b"\x07"], None)
def test_all_else_passes_byte_for_byte(parts: list[bytes], data: st.DataObject | None) -> None:
    whole = b"".join(parts)
    assert filtered(whole + b".") == whole + b"."
    assert filtered(*(cut_anyhow(whole + b".", data) if data else [])) == (whole + b"." if data else b"")


def test_vim_passes_but_for_its_titles() -> None:
    kept = (VIM + VIM_ENDS).replace(b"\x1b[22;0;0t\x1b[22;0t", ST * 2)
    for number in (b"22;2", b"22;1", b"23;2", b"23;1", b"23;0;0"):
        kept = kept.replace(b"\x1b[%bt" % number, ST)
    assert filtered(VIM, VIM_ENDS) == kept
    assert filtered(VIM, VIM_ENDS, title=True) == VIM + VIM_ENDS


def cut_anyhow(whole: bytes, data: st.DataObject) -> list[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    return [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


# --- no delay


@pytest.mark.parametrize(
    "whole",
    [b"$ ", b"\x1b[31mred\x1b[m", b"\x1b]8;;http://x", b"\x1bPq#0~~", b"caf\xc3\xa9", b"\xc3", b"\x1b(", b"\x1b]11;?"],
)
def test_what_can_not_be_cut_is_not_held(whole: bytes) -> None:
    assert Filter().feed(whole) == whole


def test_what_may_be_cut_is_held_until_the_byte_that_decides() -> None:
    for start, passed in (
        (b"\x1b", b"c"),
        (b"\x1b[", b"H"),
        (b"\x1b[21", b"H"),
        (b"\x1b]1", b"1;?\x07"),
        (b"\x1b]9;", b"4;0\x07"),
        (b"\xc2", b"\xa0"),
    ):
        one = Filter()
        assert one.feed(b"x" + start) == b"x"
        assert one.feed(passed) == start + passed


def test_a_lone_escape_is_held_for_one_byte_and_not_beyond_the_end() -> None:
    """Alone it draws nothing, so nobody sees that it is held; at the end it would take our own next word for its rest."""
    one = Filter()
    assert one.feed(b"\x1b") == b""
    assert one.feed(b"\n") == b"", "terminals obey this within, and wait on"
    assert one.feed(b"x") == b"\x1b\nx"
    assert one.feed(b"\x1b") + one.end() == ST
    assert one.feed(b"]0;no title any more\x07") == b"]0;no title any more\x07"
    assert one.feed(b"\x1b[1") + one.end() == ST
    assert one.feed(b"\xc2") + one.end() == b"\xc2"


# --- beginnings without an end


def test_what_has_no_end_takes_a_line_with_it_at_most() -> None:
    assert filtered(b"a\x1b]0;some title\nnext line\n") == b"a" + ST + b"\nnext line\n"
    assert filtered(b"a\x1b]0;title\x1b[31mred") == b"a" + ST + b"\x1b[31mred"
    assert filtered(b"a\x1b]0;title\xc2\x9d2;another\x07b") == b"a" + ST + ST + b"b"


@pytest.mark.parametrize(
    ("start", "bound"),
    [(b"\x1b]0;", 8), (b"\x1bk", 8), (b"\x1bP$q", 8), (b"\x1b]52;c;", 16), (b"\x1b[" + b"1" * 256, 8)],
)
def test_what_has_no_end_is_bounded(start: bytes, bound: int) -> None:
    limits = replace(DEFAULT_LIMITS, terminal_cut_max=8, terminal_payload_max=16)
    letters = b"123456789" if start.startswith(b"\x1b[") else b"abcdefghij"
    whole = filtered(start + letters * 9, limits=limits)
    rest = whole.removeprefix(ST)
    assert 0 < len(letters * 9) - len(rest) <= bound and letters * 9 == (start + letters * 9)[-len(letters * 9) :]
    assert (letters * 9).endswith(rest)
    assert filtered(*(bytes([byte]) for byte in start + letters * 9), limits=limits) == whole
    assert filtered(start + letters * 9 + b"\x1b]2;x\x07.", limits=limits) == whole + ST + b"."


@pytest.mark.parametrize(
    "start", [b"\x1b", b"\x1b[", b"\x1b]", b"\x1bP", b"\x1b_", b"\x1b_G", b"\x1b%", b"\x1b]0;", b"\x1b]52;"]
)
@pytest.mark.parametrize("more", [b"\x00", b"0", b";", b"1;", b"a=1,", b"\n", b" "])
def test_nothing_makes_it_hold_much(start: bytes, more: bytes) -> None:
    one = Filter(title=True, clipboard=True)
    one.feed(start)
    for _ in range(3000):
        one.feed(more)
        assert len(one._held) <= 600


# --- the judge

FRAGMENTS = [
    *(
        b"\x1b",
        b"[",
        b"]",
        b"P",
        b"_",
        b"k",
        b"^",
        b"\\",
        b"%",
        b"@",
        b"(",
        b"\x07",
        b"\x18",
        b"\x1a",
        b"\n",
        b"\r",
        b"\x00",
        b"\x7f",
    ),
    *(
        b"0",
        b"2",
        b"5",
        b"52",
        b"21",
        b";",
        b"9;4;",
        b"c;",
        b"?",
        b"t",
        b"i",
        b"*",
        b"y",
        b"m",
        b"q",
        b"$",
        b"+",
        b"G",
        b"a=1",
        b",",
        b"t=f",
    ),
    *(
        b"\xc2",
        b"\x9b",
        b"\x9c",
        b"\x9d",
        b"\x90",
        b"\x9f",
        b"\xe2",
        b"text",
        b"tmux;",
        b"l",
        b":",
        b"4294967296",
        b"65536",
        b">",
        b"|",
        b"!z",
    ),
    *(b"\x1b]0;t\x07", b"\x1b]52;c;aGk=\x07", b"\x1b[21t", b"\x1b]8;;", b"\x1b]5", b"\x1b]", b"\x1b[", b"\xc2\x9d"),
]
STREAMS = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=2)), max_size=20).map(b"".join)


@given(STREAMS, st.booleans(), st.data())
@example(b"\x1b\x1b]0;x\x07]0;evil\x07", True, None)  # without the one in the middle, the rest would be a title
@example(b"\x1b]5\x1b]0;x\x072;c;aGk=\x07", True, None)
@example(b"\xc2\x1b]0;x\x07\x9d0;evil\x07", True, None)
@example(b"\x1b[2\x1b[21t1t", True, None)
@example(b"\x1b\n" + b"\n" * 70 + b"]0;evil\x07", True, None)
def test_a_terminal_that_obeys_everything_does_nothing_harmful(
    stream: bytes, utf8: bool, data: st.DataObject | None
) -> None:
    whole = filtered(stream, utf8=utf8)
    assert Obedient(utf8=utf8).obey(whole + ST).harm == []
    assert filtered(whole, utf8=utf8) == whole, "filtered once more it is the same"
    if data is not None:
        assert filtered(*cut_anyhow(stream, data), utf8=utf8) == whole


@given(STREAMS, st.data())
def test_permissions_change_nothing_about_cuts(stream: bytes, data: st.DataObject) -> None:
    given = {"title": data.draw(st.booleans()), "clipboard": data.draw(st.booleans())}
    assert filtered(*cut_anyhow(stream, data), **given) == filtered(stream, **given)
    harm = Obedient().obey(filtered(stream, **given) + ST).harm
    assert set(harm) <= {kind for kind, allowed in given.items() if allowed}


def test_the_judge_sees_what_the_filter_cuts() -> None:
    """The control: it is no judge of nothing."""
    rng = random.Random(1)
    streams = [b"".join(rng.choices(FRAGMENTS, k=12)) for _ in range(2000)]
    assert sum(bool(Obedient().obey(stream).harm) for stream in streams) > 200


# --- speed


def test_it_is_fast_where_there_is_nothing_to_cut() -> None:
    """In processor time, and far from the figure that is usual: gigabytes a second for text, 200 MB/s with a sequence here and there."""
    for line, most in ((b"a line of text without any sequence\n", 0.1), (b"a line\n" * 300 + b"\x1b[m", 1.0)):
        data = (line * 8000)[: 64 * 1024]
        one, begin = Filter(), time.process_time()
        for _ in range(160):  # 10 MiB
            one.feed(data)
        assert time.process_time() - begin < most
