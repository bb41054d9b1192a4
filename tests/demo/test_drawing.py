"""How elements are drawn: within the width, aligned, the same without colours; and as a page that is whole in itself."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from remote_shell.demo import elements, grid, layout, svg
from remote_shell.demo.elements import Block, Blocks, Element, Piece, Row, Shown
from remote_shell.demo.on_terminal import OnTerminal, styled, wrapped
from remote_shell.demo.page import page
from tests.demo.samples import ALL, COMMANDS, DUMP, HANDSHAKE, LARGE, MANY, RELAY, TIMELINE

pytestmark = pytest.mark.screen  # as a file it takes long

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def drawn(element: Element, width: int, *, colour: bool = False, language: str = "en") -> str:
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        highlight=False,
        force_terminal=colour,
        no_color=not colour,
        color_system="truecolor" if colour else None,
        legacy_windows=False,
    )
    OnTerminal(console, language)(element)
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 59, 60, 80, 100, 200])
@pytest.mark.parametrize("element", ALL, ids=lambda each: type(each).__name__)
def test_no_line_is_wider_than_the_terminal(element: Element, width: int) -> None:
    plain = drawn(element, width)
    assert all(cell_len(line) <= min(width, 100) for line in plain.split("\n"))
    assert not [char for char in plain if char != "\n" and (char < " " or "\x7f" <= char < "\xa0")]
    assert ESCAPE.sub("", drawn(element, width, colour=True)) == plain  # colours only colour


def test_a_line_of_chinese_does_not_begin_with_a_closing_sign() -> None:
    for width in range(12, 50):
        for line in wrapped(
            styled("一二三，四五六。七八九（十）：“甲乙丙”、丁戊己；庚辛！`recv` 返回，`send`。" * 3), width
        ):
            assert line.plain[:1] not in "，。、；：？！）》”" or not line.plain
            assert line.plain[-1:] not in ("（", "“")
            assert line.cell_len <= width


def test_wrapping_loses_nothing() -> None:
    text = (
        "127.0.0.1 and ::1, by name; 一,a 二 ,b A stream has no borders: `recv(1024)` returns 一个字节流没有边界，最多一千个。 "
        * 4
    )
    for width in (10, 33, 80):
        joined = "".join(line.plain for line in wrapped(styled(text), width))
        assert re.sub(r"\s", "", joined) == re.sub(r"[\s`]", "", text)


rows = st.lists(
    st.lists(st.lists(st.integers(1, 3000), min_size=1, max_size=3), min_size=1, max_size=6), min_size=1, max_size=3
)


@given(rows, st.integers(60, 120))
def test_borders_at_the_same_byte_stand_in_the_same_column(found: list[list[list[int]]], width: int) -> None:
    whole = max(sum(map(sum, row)) for row in found) + 1
    filled = [
        [*row, [whole - sum(map(sum, row))]] for row in found
    ]  # of one length, so that each has its part of each band
    blocks = Blocks(
        tuple(Row("r", tuple(Block(tuple(Piece("x", size) for size in block)) for block in row)) for row in filled)
    )
    lines = [line.plain for line in grid.lines(blocks, width)]
    assert all(len(line) <= width for line in lines)
    where: dict[int, int] = {}
    for index, row in enumerate(blocks.rows):
        strip = "".join(line[2:] for line in lines[index :: len(filled) + 1])
        columns = [column for column, char in enumerate(strip) if char == "│"]
        assert len(columns) == len(layout.borders(row))  # each border is there, and no other
        for offset, column in zip(layout.borders(row), columns, strict=True):
            assert where.setdefault(offset, column) == column


def test_each_byte_has_its_cell_where_there_is_room() -> None:
    sent, received = (line.plain for line in grid.lines(COMMANDS, 80))
    assert sent == "sent │ls -l│pw d│whoami│"
    assert received == "recv │ls -l╎pw│d╎whoami│"


def test_a_small_block_beside_a_large_one_is_seen() -> None:
    for width in (40, 80, 100):
        assert "6 B" in drawn(LARGE, width)


def test_what_was_inferred_or_lost_is_dashed() -> None:
    plain = drawn(HANDSHAKE, 80)
    assert "◀╌╌╌" in plain and "───▶" in plain and "✗╌╌" in plain
    assert 'stroke-dasharray="5 4"' in svg.picture(HANDSHAKE)


@pytest.mark.parametrize(
    "element", [COMMANDS, LARGE, MANY, HANDSHAKE, RELAY, TIMELINE], ids=lambda each: str(each.caption)
)
def test_a_picture_is_xml_and_stays_within_its_frame(element: Blocks) -> None:
    root = ET.fromstring(svg.picture(element))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for node in root.iter():
        for name in ("x", "x1", "x2"):
            if name in node.attrib:
                assert -0.5 <= float(node.attrib[name]) <= width + 0.5
        for name in ("y", "y1", "y2"):
            if name in node.attrib:
                assert -0.5 <= float(node.attrib[name]) <= height + 0.5


def test_a_state_after_a_note_stands_below_it() -> None:
    noted = elements.Exchange(
        ("a", "b"), (elements.Arrow(0, 0, "close()"), elements.Arrow(0, 0, "exit()")), ((0, 0, "GONE"),)
    )
    found = {
        each.text: float(each.attrib["y"]) for each in ET.fromstring(svg.picture(noted)).iter() if "y" in each.attrib
    }
    assert found["close()"] + 12 <= found["GONE"] <= found["exit()"] - 12


def test_a_page_is_whole_in_itself() -> None:
    text = page(Shown("A <title> & more", "zh", list(ALL)))
    assert '<html lang="zh-CN">' in text and "A &lt;title&gt; &amp; more" in text
    assert "default-src 'none'" in text
    assert "<script" not in text
    assert not re.findall(r'(?:src|href)="(?!data:,")', text)
    assert set(re.findall(r"https?://[^\"' <]+", text)) == {
        "http://www.w3.org/2000/svg"
    }  # a name, which nobody fetches
    assert "\x1b" not in text and "\\x1b[31mred" in text
    assert "&lt;b&gt;" in text
    for picture in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(picture)


def test_a_claim_that_was_not_shown_says_so() -> None:
    claim = elements.Claim("x", "It is `so`.", False)
    assert drawn(claim, 80).startswith("✗ This run did not show it: It is so.")
    assert drawn(claim, 80, language="zh").startswith("✗ 这一次没有出现：It is so.")
    assert "✗ This run did not show it" in page(Shown("t", "en", [claim]))


def test_a_dump_shows_where_recv_returned() -> None:
    assert "00 00┃00 01" in drawn(DUMP, 80)
    assert page(Shown("t", "en", [DUMP])).count("<i></i>") == 2
