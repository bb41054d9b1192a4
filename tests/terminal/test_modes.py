"""The bytes a program sends, and the bytes that undo them; screens kept by pyte see whether they do."""

from __future__ import annotations

import copy
import random
import re
from dataclasses import replace
from typing import Any

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.terminal.modes import ModeTracker

CUT = b"\x18\x1b\\"  # leaves a sequence or a string that was cut off

# What vim 9 writes at its start with TERM=xterm-256color, shortened, and at its end.
VIM = (
    b"\x1b[?1049h\x1b[22;0;0t\x1b[22;0t\x1b[>4;2m\x1b[?1h\x1b=\x1b[?2004h\x1b[?1004h\x1b[1;24r\x1b[?12h\x1b[?12l\x1b[22;2t"
    b"\x1b[22;1t\x1b[27m\x1b[23m\x1b[29m\x1b[m\x1b[H\x1b[2J\x1b[?25l\x1b[24;1H\x1b]11;?\x07\x1b[2;1H\x1b[94m~\x1b[3;1H~\x1b[0m"
    b"\x1bP+q436f\x1b\\\x1b[?1000h\x1b[?1002h\x1b[?1006h\x1b[2 q"
)
VIM_ENDS = (
    b"\x1b[?1006l\x1b[?1002l\x1b[?1000l\x1b[0 q\x1b[?2004l\x1b[>4;m\x1b[23;2t\x1b[23;1t\x1b[24;1H\x1b[K\x1b[24;1H\x1b[?1004l"
    b"\x1b[?2004l\x1b[?1l\x1b>\x1b[?1049l\x1b[23;0;0t\x1b[?25h\x1b[>4;m"
)


def left(*chunks: bytes, rows: int = 0) -> bytes:
    """What undoes the chunks."""
    tracker = ModeTracker(rows=rows)
    for chunk in chunks:
        tracker.feed(chunk)
    undo = tracker.undo()
    assert tracker.undo() == b"", "not clean after undo"
    return undo


# --- one mode after the other

MODES = [
    *((b"\x1b[?%dh" % n, b"\x1b[?%dl" % n) for n in (1, 5, 9, 66, 47, 1047, 1049, 2004, 2026, 2031, 2048)),
    *((b"\x1b[?%dh" % n, b"\x1b[?%dl" % n) for n in (1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016)),
    *((b"\x1b[?%dl" % n, b"\x1b[?%dh" % n) for n in (7, 25)),
    *((b"\x1b[%dh" % n, b"\x1b[%dl" % n) for n in (2, 4, 20)),
    (b"\x1b[12l", b"\x1b[12h"),
    (b"\x1b=", b"\x1b>"),
    (b"\x1b[>1u", b"\x1b[<1u"),
    (b"\x1b[=5u", b"\x1b[=0u"),
    (b"\x1b[3 q", b"\x1b[0 q"),
    (b"\x0e", b"\x0f"),
    (b"\x1bn", b"\x0f"),
    (b"\x1b(0", b"\x1b(B"),
    (b"\x1b[31m", b"\x1b[m"),
]


@pytest.mark.parametrize(("on", "off"), MODES)
def test_a_mode_is_undone_unless_the_program_did_it(on: bytes, off: bytes) -> None:
    assert left(on) == off
    assert left(on, off) == b""
    assert left(off, on) == off
    assert left(off) == b""


@pytest.mark.parametrize(
    "data", [b"", b"plain text\r\n", b"\x1b[2J\x1b[H\x1b[10;20H\x1b[K\x1b#8\x1bM\x1bD", b"\x1b[c\x1b[6n\x1b[?u"]
)
def test_what_sets_no_mode_leaves_nothing(data: bytes) -> None:
    assert left(data) == b""


def test_several_modes_in_one_sequence() -> None:
    assert left(b"\x1b[?1000;1006;25h") == b"\x1b[?1000l\x1b[?1006l"
    assert left(b"\x1b[?1000;1006h", b"\x1b[?1006;1000l") == b""
    assert left(b"\x1b[?;1h") == b"\x1b[?1l"


def test_the_same_numbers_with_another_prefix_are_other_things() -> None:
    assert left(b"\x1b[1000h\x1b[>1000h\x1b[?4h\x1b[?1004m\x1b[?1004s\x1b[?1004r\x1b[?1004$p\x1b[>31m\x1b[?4m") == b""


def test_all_is_undone_in_one_order_whatever_the_order_it_came_in() -> None:
    on = [b"\x1b[31m", b"\x1b[2 q", b"\x1b[?25l", b"\x1b=", b"\x1b[?1h", b"\x1b[?2004h", b"\x1b[?1000h", b"\x1b[?2026h"]
    undone = b"\x1b[?2026l\x1b[?1000l\x1b[?2004l\x1b[?1l\x1b[?25h\x1b>\x1b[0 q\x1b[m"
    assert left(*on) == left(*reversed(on)) == undone


# --- the alternate screen


def test_the_alternate_screen_is_left_the_way_it_was_entered() -> None:
    assert left(b"\x1b[?1047h\x1b[?1049h") == b"\x1b[?1047l"
    assert left(b"\x1b[?1049h\x1b[?47l") == b""
    assert left(b"\x1b[?1049h\x1b[?47l\x1b[?1047h") == b"\x1b[?1047l\x1b8"


def test_before_47_programs_save_the_cursor_themselves() -> None:
    assert left(b"\x1b7\x1b[?47h") == b"\x1b[?47l\x1b8"
    assert left(b"\x1b[?1048h\x1b[?1047h") == b"\x1b[?1047l\x1b8"
    assert left(b"\x1b[?47h\x1b7") == b"\x1b[?47l"  # saved on the other screen


def test_leaving_brings_the_attributes_of_the_entry_back_and_they_are_undone() -> None:
    assert left(b"\x1b[31m\x1b[?1049h\x1b[m") == b"\x1b[?1049l\x1b[m"
    assert left(b"\x1b[31m\x1b[?1049h\x1b[m\x1b[?1049l") == b"\x1b[m"
    assert left(b"\x1b[?1049h\x1b[31m\x1b[?1049l") == b""
    assert left(b"\x1b[31m\x1b[?47h\x1b[m\x1b[?47l") == b""


@pytest.mark.parametrize(
    ("save", "restore"), [(b"\x1b7", b"\x1b8"), (b"\x1b[s", b"\x1b[u"), (b"\x1b[?1048h", b"\x1b[?1048l")]
)
def test_a_saved_cursor_carries_attributes_and_character_set(save: bytes, restore: bytes) -> None:
    assert left(b"\x1b[31m\x1b(0\x0e", save, b"\x1b[m\x1b(B\x0f", restore) == b"\x0f\x1b(B\x1b[m"
    assert left(save, b"\x1b[31m\x1b(0\x0e", restore) == b""
    assert left(b"\x1b[31m", restore) == b"\x1b[m"  # saved before we came: not known
    assert left(save, b"\x1b[?25l", restore) == b"\x1b[?25h"  # not saved


def test_with_parameters_csi_s_and_u_have_nothing_to_do_with_the_cursor() -> None:
    assert left(b"\x1b[31m\x1b[3;20s\x1b[m\x1b[u") == b""  # DECSLRM
    assert left(b"\x1b[31m\x1b[s\x1b[m\x1b[97u") == b""  # a key, echoed


def test_what_the_terminal_sends_by_itself_ends_first_then_the_screen_changes() -> None:
    assert left(b"\x1b[?25l\x1b[?1049h\x1b[?1003h\x1b[?2004h") == b"\x1b[?1003l\x1b[?2004l\x1b[?1049l\x1b[?25h"


# --- keys


def test_as_many_kitty_flags_are_popped_as_were_pushed() -> None:
    assert left(b"\x1b[>1u\x1b[>u\x1b[>5u\x1b[<u") == b"\x1b[<2u"
    assert left(b"\x1b[>1u\x1b[>1u\x1b[<2u") == b""
    assert left(b"\x1b[<9u\x1b[>1u") == b"\x1b[<1u"  # who called us may have pushed: no pop below the start


def test_each_screen_has_its_own_kitty_stack() -> None:
    assert left(b"\x1b[>1u\x1b[?1049h\x1b[>1u\x1b[>1u") == b"\x1b[<2u\x1b[?1049l\x1b[<1u"
    assert left(b"\x1b[?1049h\x1b[=1u") == b"\x1b[=0u\x1b[?1049l"
    assert left(b"\x1b[?1049h\x1b[>1u\x1b[<u\x1b[?1049l") == b""


def test_kitty_flags_set_without_a_push() -> None:
    assert left(b"\x1b[=1u\x1b[>1u") == b"\x1b[<1u\x1b[=0u"
    assert left(b"\x1b[>1u\x1b[=5u") == b"\x1b[<1u"  # those of the entry that is popped
    assert left(b"\x1b[=1;2u\x1b[=0;2u") == b"\x1b[=0u"  # 2 adds
    assert left(b"\x1b[=3;1u\x1b[=1;3u") == b"\x1b[=0u"  # 3 takes some away
    assert left(b"\x1b[=1;3u") == b""


def test_modify_other_keys_and_a_terminal_that_takes_it_for_an_underline() -> None:
    assert left(b"\x1b[>4;2m") == b"\x1b[>4m\x1b[m"
    for off in (b"\x1b[>4;0m", b"\x1b[>4;m", b"\x1b[>4m", b"\x1b[>m", b"\x1b[>4n"):
        assert left(b"\x1b[>4;1m", off) == b""
    for other in (b"\x1b[>1;2m", b"\x1b[>0;1m", b"\x1b[>2n"):
        assert left(b"\x1b[>4;1m", other) == b"\x1b[>4m\x1b[m"
        assert left(other) == b""


# --- attributes


@pytest.mark.parametrize(
    "codes",
    b"0||31;0|1;22|2;1;22|4:3;4:0|4;24|38;5;1;39|48;2;1;2;3;49|38:2::1:2:3;39|91;101;39;49|58;5;3;59|53;55|7;27|12;10|31;|999".split(
        b"|"
    ),
)
def test_attributes_that_were_taken_back(codes: bytes) -> None:
    assert left(b"\x1b[%bm" % codes) == b""


@pytest.mark.parametrize(
    "codes",
    [
        b"0;1",
        b"38;5;0",
        b"48;2;0;0;0",
        b"38:5:0",
        b"58;5;0",
        b"4:3",
        b"1;3;22",
        b"31;49",
        b"38;5;0;1;39",
        b"38;2;0;0;0;7;39",
    ],
)
def test_attributes_that_stay(codes: bytes) -> None:
    assert left(b"\x1b[%bm" % codes) == b"\x1b[m"


# --- margins


def test_a_scroll_region_goes_and_the_cursor_stays() -> None:
    assert left(b"\x1b[2;20r") == b"\x1b7\x1b[r\x1b8"
    assert left(b"\x1b[?69h\x1b[3;20s") == b"\x1b7\x1b[?69l\x1b8"
    for whole in (b"\x1b[r", b"\x1b[1r", b"\x1b[;r", b"\x1b[0;0r"):
        assert left(b"\x1b[2;20r", whole) == b""


def test_a_region_of_the_whole_height_is_none() -> None:
    assert left(b"\x1b[1;24r", rows=24) == left(b"\x1b[1;30r", rows=24) == b""
    assert left(b"\x1b[1;24r") == left(b"\x1b[1;23r", rows=24) == left(b"\x1b[2;24r", rows=24) == b"\x1b7\x1b[r\x1b8"


def test_origin_mode_homes_the_cursor_so_it_goes_to_the_last_line() -> None:
    assert left(b"\x1b[?6h") == b"\x1b[?6l\x1b[999;1H"
    assert left(b"\x1b[5;9r\x1b[?6h") == b"\x1b[?6l\x1b[r\x1b[999;1H"
    assert left(b"\x1b[?1049h\x1b[?6h") == b"\x1b[?6l\x1b[?1049l"  # which brings the entry's back, but not in tmux
    assert left(b"\x1b[?6h\x1b[?1049h") == b"\x1b[?6l\x1b[?1049l\x1b[?6l\x1b[999;1H"


def test_1049_does_not_bring_character_sets_back_everywhere() -> None:
    assert left(b"\x1b[?1049h\x1b(0\x0e") == b"\x0f\x1b(B\x1b[?1049l"
    assert left(b"\x1b[?1049h\x0e\x1b[?1049l") == b"\x0f"
    assert left(b"\x1b[?6h\x1b[?6l") == b""


# --- resets

EVERYTHING = b"".join(on for on, _ in MODES) + b"\x1b[2;9r\x1b[>4;1m\x1b[?6h"


def test_a_full_reset_leaves_nothing() -> None:
    assert left(EVERYTHING, b"\x1bc") == b""
    assert left(b"\x1b[31m\x1b7\x1bc\x1b8") == b""


def test_a_soft_reset_leaves_what_the_vt510_manual_does_not_list() -> None:
    """In xterm the mouse goes on reporting after DECSTR, and the alternate screen stays."""
    assert left(b"\x1b[?1;66h\x1b[?25l\x1b[4h\x1b[2h\x1b=\x1b[31m\x1b[2;9r\x1b[?6h\x0e\x1b(0\x1b[!p") == b""
    assert left(b"\x1b[?1049;1000;2004h\x1b[>1u\x1b[!p") == b"\x1b[?1000l\x1b[?2004l\x1b[<1u\x1b[?1049l"
    assert left(b"\x1b[31m\x1b7\x1b[!p\x1b8") == b""


# --- strings, and sequences that are cut


@pytest.mark.parametrize("opening", [b"\x1b]0;", b"\x1bP", b"\x1b_G", b"\x1b^", b"\x1bX"])
@pytest.mark.parametrize("end", [b"\x1b\\", b"\x18", b"\x1a"])
def test_what_is_within_a_string_is_no_control(opening: bytes, end: bytes) -> None:
    assert left(opening, b"[?1000h \x0e (0 \x0e", end) == b""
    assert left(opening, b"\x0e", end, b"\x1b[?1000h\x0e") == b"\x1b[?1000l\x0f"


def test_bel_ends_osc_and_no_other_string() -> None:
    assert left(b"\x1b]0;title\x07\x0e") == b"\x0f"
    assert left(b"\x1bPq\x07\x0e\x1b\\") == b""


def test_an_escape_ends_a_string_whose_end_never_came() -> None:
    assert left(b"\x1b]0;killed here", b"\r\n$ vim\r\n\x1b[?1049h") == b"\x1b[?1049l"


@pytest.mark.parametrize(
    "part", [b"\x1b", b"\x1b[", b"\x1b[?10", b"\x1b(", b"\x1b]0;tit", b"\x1bP", b"\x1b[ ", b"\x1b]8;;x\x1b"]
)
def test_a_terminal_in_the_middle_of_a_sequence_is_brought_out_of_it(part: bytes) -> None:
    assert left(part) == CUT
    assert left(b"\x1b[?25l", part) == CUT + b"\x1b[?25h"


@pytest.mark.parametrize("breaker", [b"\x18", b"\x1a", b"\xc3", b"\x1b", b"\x1b[1"])
def test_a_broken_sequence_is_none(breaker: bytes) -> None:
    assert left(b"\x1b[?1000", breaker, b"h") in (b"", left(b"\x1bh"))
    assert left(b"\x1b[?1000", breaker, b"\x1b[?25l") == b"\x1b[?25h"


def test_controls_within_a_sequence_are_obeyed_and_it_goes_on() -> None:
    assert left(b"\x1b\r[?10\n00\x07h") == b"\x1b[?1000l"
    assert left(b"\x1b[?10\x0e00h") == left(b"\x1b[?10\x0e", b"00h") == b"\x1b[?1000l\x0f"
    assert left(b"\x1b[?10\x0e00\x18") == b"\x0f"


def test_nonsense_is_survived() -> None:
    assert (
        left(
            b"\x1b[1?h\x1b[?1 000h\x1b[??1000h\x1b[:::m\x1b[38m\x1b[38;5m\x1b[38;2;1m\x1b[;;;r\x1b[<<u\x1b[m\x1b(!0\x1b(B"
        )
        == b""
    )


# --- bounds


def test_no_more_of_a_sequence_is_held_than_the_bound() -> None:
    tracker = ModeTracker(replace(DEFAULT_LIMITS, escape_sequence_max=20))
    for start in (b"\x1b[", b"\x1b("):
        tracker.feed(start)
        for _ in range(100):
            tracker.feed(b"   \r\n")
            assert len(tracker._held) <= 20
        tracker.feed(b"m")
    tracker.feed(b"\x1b]0;")
    for _ in range(100):
        tracker.feed(b"title")
        assert tracker._held == b""
    assert tracker.undo() == CUT


def test_a_longer_sequence_is_not_understood_in_one_piece_either() -> None:
    for length, known in ((20, True), (21, False)):
        sequence = b"\x1b[?" + b"0" * (length - 8) + b"1000h"
        assert len(sequence) == length
        for cut in range(length):
            tracker = ModeTracker(replace(DEFAULT_LIMITS, escape_sequence_max=20))
            tracker.feed(sequence[:cut])
            tracker.feed(sequence[cut:])
            assert tracker.undo() == (b"\x1b[?1000l" if known else b""), (length, cut)


def test_a_chunk_without_escapes_is_not_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[bytes] = []

    class Spy:
        def search(self, data: bytes, at: int) -> None:
            looks.append(data)

    monkeypatch.setattr("remote_shell.terminal.modes._NEXT", Spy())
    tracker = ModeTracker()
    tracker.feed(b"x" * 100_000)
    assert looks == []
    tracker.feed(b"x\x0e")
    tracker.feed(b"x\x1b")
    assert len(looks) == 2


# --- any chunking

PIECES = [on for on, _ in MODES] + [off for _, off in MODES]
PIECES += [
    b"\x1b[2;9r",
    b"\x1b[?6h",
    b"\x1b[!p",
    b"\x1bc",
    b"\x1b7",
    b"\x1b8",
    b"\x1b]0;",
    b"\x07",
    b"\x1b\\",
    b"\x1bP",
    b"\x18",
]
PIECES += [
    b"text",
    b"\xc3\xa9",
    b"\x1b[38;5;",
    b"\x1b",
    b"[",
    b"?1000",
    b"h",
    b";",
    b"1",
    b"(",
    b" ",
    b"m",
    b"\r\n",
    b"!",
    b"\x0f",
]


def state(tracker: ModeTracker) -> dict[str, Any]:
    return {name: copy.copy(getattr(tracker, name)) for name in ModeTracker.__slots__}


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=3)), max_size=25), st.randoms())
def test_any_chunking_gives_the_same_state(pieces: list[bytes], sizes: random.Random) -> None:
    data = b"".join(pieces)
    limits = replace(DEFAULT_LIMITS, escape_sequence_max=12)
    whole, bytewise, chunked = (ModeTracker(limits) for _ in range(3))
    whole.feed(data)
    for number in data:
        bytewise.feed(bytes([number]))
    at = 0
    while at < len(data):
        size = sizes.randint(0, 9)
        chunked.feed(data[at : at + size])
        at += size
    assert state(whole) == state(bytewise) == state(chunked)
    assert whole.undo() == bytewise.undo()


@given(st.lists(st.sampled_from(PIECES), max_size=25))
def test_what_undoes_it_leaves_nothing_by_the_trackers_own_reading(pieces: list[bytes]) -> None:
    first, second = ModeTracker(), ModeTracker()
    first.feed(b"".join(pieces))
    second.feed(b"".join(pieces))
    second.feed(first.undo())
    assert second.undo() == b""


# --- as a screen sees it

NOT_PYTES = re.compile(rb"\x1b\[[<=]\d*u|\x1b\[!p|\x1b\[22;\d(;\d)?t|\x1bP[^\x1b]*\x1b\\")  # it would print them


class Screen(pyte.Screen):
    """pyte, with what the manuals say and it leaves out: DECSTBM homes the cursor, and 1049 is another screen."""

    def __init__(self) -> None:
        super().__init__(80, 24)
        self.main: Any = None
        self.stream = pyte.ByteStream(self)

    def feed(self, data: bytes) -> None:
        self.stream.feed(NOT_PYTES.sub(b"", data))

    def set_margins(self, top: int | None = None, bottom: int | None = None, **_: Any) -> None:
        super().set_margins(top, bottom)
        self.cursor_position()

    def set_mode(self, *modes: int, **private: Any) -> None:
        super().set_mode(*modes, **private)
        if 1049 in modes and self.main is None:
            self.main = (copy.deepcopy(dict(self.buffer)), copy.copy(self.cursor))
            self.erase_in_display(2)

    def reset_mode(self, *modes: int, **private: Any) -> None:
        super().reset_mode(*modes, **private)
        if 1049 in modes and self.main is not None:
            buffer, hidden = self.main[0], self.cursor.hidden
            self.buffer.clear()
            self.buffer.update(buffer)
            self.cursor, self.main = self.main[1], None
            self.cursor.hidden = hidden

    def state(self) -> tuple[Any, ...]:
        cursor = self.cursor
        where = (cursor.x, cursor.y, cursor.hidden, cursor.attrs)
        return (list(self.display), where, self.mode, self.margins, self.main is None)


@pytest.mark.parametrize(
    "program",
    [
        VIM,
        VIM[:-3],
        VIM + VIM_ENDS,
        b"\x1b[1;31m\x1b[?25l\x1b[?7l\x1b[?5h\x1b[4h\x1b[?1003h",
        b"\x1b7\x1b[?1049h\x1b[?6h\x1b[3;9r",
    ],
)
def test_a_screen_is_what_it_was_before_the_program(program: bytes) -> None:
    screen, tracker = Screen(), ModeTracker()
    screen.feed(b"$ ls\r\none two\r\n$ vim")
    before = screen.state()
    screen.feed(program)
    tracker.feed(program)
    screen.feed(tracker.undo())
    assert screen.state() == before


def test_apt_with_its_progress_bar_cut_off() -> None:
    """It works on the main screen, in a scroll region above the bar."""
    screen, tracker = Screen(), ModeTracker(rows=24)
    program = b"\x1b7\x1b[0;23r\x1b8\x1b[1AUnpacking...\r\n\x1b7\x1b[24;0f\x1b[42m\x1b[30mProgress: [ 20%]\x1b[49m\x1b[39m [##..] \x1b8"
    screen.feed(b"$ apt\r\n\r\n" + program)
    tracker.feed(program)
    place = (screen.cursor.x, screen.cursor.y)
    assert screen.margins is not None and place != (0, 0)
    screen.feed(tracker.undo())
    assert screen.margins is None and (screen.cursor.x, screen.cursor.y) == place


def test_vim_that_ends_by_itself_leaves_nothing() -> None:
    assert left(VIM, VIM_ENDS, rows=24) == b""
    assert left(VIM, rows=24).startswith(b"\x1b[?1002l\x1b[?1000l\x1b[?1004l\x1b[?1006l\x1b[?2004l\x1b[?1049l")


def test_attributes_end_also_where_there_is_no_alternate_screen() -> None:
    """Linux's console does not know 1049, and restores nothing by it; so does pyte."""
    assert left(b"\x1b[?1049h\x1b[7;31m").endswith(b"\x1b[m")
    assert left(b"\x1b[?1049h\x1b[7;31m\x1b[m") == b"\x1b[?1049l"


@pytest.mark.parametrize(("on", "off"), [pair for pair in MODES if pair[0][-1:] in b"hl=" and b"2026" not in pair[0]])
def test_a_mode_is_switched_on_again(on: bytes, off: bytes) -> None:
    tracker = ModeTracker()
    assert tracker.again() == b""
    tracker.feed(on)
    assert tracker.again() == on
    tracker.feed(off)
    assert tracker.again() == b""


def test_a_screen_is_there_again_before_its_modes_and_nothing_of_the_painting() -> None:
    tracker = ModeTracker()
    tracker.feed(VIM + b"\x1b[?2026h\x1b[?6h\x1b[?69h\x1b[7m\x1b[3;9r\x1b[4h")
    again = tracker.again()
    assert again.startswith(b"\x1b[?1049h") and again.endswith(b"\x1b[4h\x1b=")
    tracker.undo()
    tracker.feed(again)
    assert tracker.again() == again
    for painting in (b"2026", b"?6h", b"?69h", b"m", b"r"):
        assert painting not in again
