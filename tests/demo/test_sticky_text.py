"""docs/sticky-packets.md and its Chinese twin: pictures that exist, programs as they are, figures as they come out."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from remote_shell.demo import svg
from remote_shell.demo.elements import Blocks, Claim, Row, Table
from remote_shell.demo.stage import LANGUAGES, PROGRAMS
from tests.demo.playing import played

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import pictures_lessons  # noqa: E402

DOCS = ROOT / "docs"
TEXTS = {"en": DOCS / "sticky-packets.md", "zh": DOCS / "sticky-packets.zh.md"}
BOTH = pytest.mark.parametrize("language", LANGUAGES)


def text(language: str) -> str:
    return TEXTS[language].read_text(encoding="utf-8")


@BOTH
def test_its_pictures_are_those_that_the_script_makes(language: str) -> None:
    linked = re.findall(r"!\[[^\]]+\]\(pictures/([^)]+)\)", text(language))
    assert linked == [pictures_lessons.file_name(name, language) for name in pictures_lessons.PICTURES]
    for name in linked:
        root = ET.parse(DOCS / "pictures" / name).getroot()
        assert root.tag.endswith("svg") and root.get("aria-label")


def test_no_picture_is_left_over() -> None:
    there = {path.name for path in (DOCS / "pictures").glob("sticky-*")}
    assert there == {pictures_lessons.file_name(name, each) for name in pictures_lessons.PICTURES for each in LANGUAGES}


@BOTH
def test_its_links_lead_somewhere(language: str) -> None:
    for link in re.findall(r"[^!]\[[^\]]+\]\(([^):]+)\)", text(language)):
        assert (DOCS / link).is_file(), link


@BOTH
def test_its_programs_are_the_ones_that_run(language: str) -> None:
    folder = PROGRAMS / "zh" if language == "zh" else PROGRAMS
    programs = [path.read_text(encoding="utf-8") for path in folder.glob("*.py")]
    blocks = re.findall(r"```python\n(.*?)```", text(language), re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        for part in block.strip().split("\n\n\n"):
            assert any(part in program for program in programs), part


def test_both_languages_have_the_same_parts() -> None:
    shapes = [re.findall(r"^(#+ |!\[|```\w*|\| -)", text(language), re.MULTILINE) for language in LANGUAGES]
    assert shapes[0] == shapes[1]


@pytest.mark.screen
@pytest.mark.timeout(60)  # the whole lesson; a busy machine takes its time over 20,000 messages
@BOTH
def test_its_table_is_what_the_lesson_measures(language: str) -> None:
    costs = [each for each in played("cures", language).shown.elements if isinstance(each, Table)][-1]
    lines = [line.strip("| \n").split(" | ") for line in text(language).splitlines() if line.startswith("| ")]
    written = lines[-len(costs.rows) :]
    assert lines[-len(costs.rows) - 2] == list(costs.head)
    assert [row[:4] for row in written[1:]] == [list(row[:4]) for row in costs.rows[1:]]
    assert written[0][2:4] == list(costs.rows[0][2:4])  # how many come whole by sleeping is a matter of luck


def test_a_picture_whose_claim_was_not_shown_is_not_made() -> None:
    shown: list[Any] = [
        Blocks((Row("first", ()),)),
        Blocks((Row("second", ()),)),
        Claim("two_in_one", "so it was", True),
    ]
    wanted = pictures_lessons.PICTURES["sticky-two-in-one"]
    assert pictures_lessons.find(shown, wanted) == Blocks((Row("second", ()),), "so it was")
    assert pictures_lessons.find(shown, wanted._replace(last=2)) == Blocks((Row("first", ()),), "so it was")
    for missing in ([*shown[:2], Claim("two_in_one", "", False)], shown[:2]):
        with pytest.raises(LookupError, match="did not show two_in_one"):
            pictures_lessons.find(missing, wanted)


@BOTH
def test_its_pictures_are_of_the_lesson_as_it_is(language: str) -> None:
    """What is in the files is what a run shows now: the words and the sizes of the first three."""
    for name in ("sticky-two-in-one", "sticky-one-in-many", "sticky-rest-in-next"):
        found = pictures_lessons.find(played("sticky", language).shown.elements, pictures_lessons.PICTURES[name])
        made = (DOCS / "pictures" / pictures_lessons.file_name(name, language)).read_text(encoding="utf-8")
        assert made == svg.picture(found) + "\n", f"changed: scripts/make-pictures {name}"
