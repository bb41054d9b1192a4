"""The pictures of docs/sticky-packets.md and its Chinese twin: what the lessons `sticky` and `cures` showed in a real run.

Run by `scripts/make-pictures`. A picture is the one that its lesson shows before a claim; one whose claim the run did not show is
not written. Their rows have names, so there is one in each language: docs/pictures/sticky-NAME.svg and sticky-NAME.zh.svg.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

from remote_shell.demo import svg
from remote_shell.demo.catalogue import LESSONS
from remote_shell.demo.elements import Blocks, Claim, Element, Exchange
from remote_shell.demo.stage import LANGUAGES, Stage


class Picture(NamedTuple):
    """Where a picture comes from: the `last`-th but none before a claim of a lesson."""

    lesson: str
    claim: str
    last: int = 1


PICTURES = {
    "sticky-two-in-one": Picture("sticky", "two_in_one"),
    "sticky-one-in-many": Picture("sticky", "one_in_many"),
    "sticky-rest-in-next": Picture("sticky", "rest_in_next"),
    "sticky-nagle": Picture("sticky", "nagle_merges"),
    "sticky-sleep": Picture("cures", "sleep_lucky"),
    "sticky-delimiter": Picture("cures", "delimiter_works"),
    "sticky-length-first": Picture("cures", "length_first_works"),
    "sticky-header": Picture("cures", "header_works", 2),
    "sticky-header-cut": Picture("cures", "header_cut"),
}


def file_name(name: str, language: str) -> str:
    """The file of a picture in a language."""
    return f"{name}.svg" if language == "en" else f"{name}.{language}.svg"


def find(shown: list[Element], picture: Picture) -> Blocks | Exchange:
    """The picture among what a lesson showed. Raises LookupError if the run did not show what the picture is to prove."""
    found: list[Blocks | Exchange] = []
    for element in shown:
        if isinstance(element, Blocks | Exchange):
            found.append(element)
        elif isinstance(element, Claim) and element.name == picture.claim:
            if not element.shown:
                break
            return dataclasses.replace(
                found[-picture.last], caption=element.text
            )  # its label, for those who do not see it
    raise LookupError(f"this run of {picture.lesson} did not show {picture.claim}; play it again on a quiet machine")


def make(names: list[str], folder: Path) -> list[str]:
    """Plays the lessons of these pictures and writes them.

    Args:
        names: of `PICTURES`.
        folder: where to.

    Returns: the names of the files.
    """
    written = []
    for lesson in dict.fromkeys(PICTURES[name].lesson for name in names):
        for language in LANGUAGES:
            stage = Stage(LESSONS[lesson].title, language)
            LESSONS[lesson].play(stage)
            for name in names:
                if PICTURES[name].lesson == lesson:
                    written.append(file_name(name, language))
                    text = svg.picture(find(stage.shown.elements, PICTURES[name]))
                    (folder / written[-1]).write_text(text + "\n", encoding="utf-8")
    return written
