"""No word is used before it is explained: every word of the glossary, in every lesson, in both languages."""

from __future__ import annotations

import re

import pytest

from remote_shell.demo.catalogue import LESSONS
from remote_shell.demo.words import GLOSSARY, entry
from tests.demo.playing import played, texts

pytestmark = pytest.mark.screen  # plays all lessons


def places(word: str, text: str, language: str) -> list[int]:
    """Where a word stands in a text: as a word, in English in the plural too; within other Chinese characters as it is."""
    word = re.escape(word)
    pattern = word if language == "zh" and not word.isascii() else rf"(?<![\w./`])(?:{word})(?:e?s)?(?![\w(`])"
    return [
        found.start()
        for found in re.finditer(pattern, text, 0 if language == "zh" or word.isupper() else re.IGNORECASE)
    ]


def unexplained(said: list[str], language: str) -> list[str]:
    """The words of the glossary that stand in what was said before they were explained."""
    text = re.sub(r"`[^`]*`", " ", "\n".join(said))  # code is no prose
    longer = sorted((entry(name, language)[0] for name in GLOSSARY), key=len, reverse=True)
    found = []
    for name in GLOSSARY:
        word = entry(name, language)[0]
        rest = text
        for other in longer:  # "round trip" is no "trip", 数据包 is no 数据
            if word != other and word.lower() in other.lower():
                rest = re.sub(re.escape(other), lambda match: "\0" * len(match[0]), rest, flags=re.IGNORECASE)
        at = places(word, rest, language)
        marked = [
            match.start() + 1 for match in re.finditer(r"\*" + re.escape(word) + r"(?:e?s)?\*", text, re.IGNORECASE)
        ]
        if at and (not marked or min(at) < min(marked)):
            found.append(f"{word}: …{text[max(0, min(at) - 40) : min(at) + 40]!r}")
    return found


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", LESSONS)
def test_no_word_is_used_before_it_is_explained(name: str, language: str) -> None:
    said = texts(played(name, language))
    assert unexplained(said[1:], language) == []  # the title promises, the lesson explains


def test_a_word_too_early_is_found() -> None:
    assert unexplained(["A *socket* has a port."], "en") == ["port: …'A *socket* has a port.'"]
    assert unexplained(["Sockets.", "A *socket* is an end."], "en") != []
    assert unexplained(["A *socket* is an end.", "Two sockets, `port`."], "en") == []
    assert unexplained(["一个套接字。"], "zh") != []
    assert unexplained(["*套接字*是一端。"], "zh") == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_glossary_explains_itself_in_order(language: str) -> None:
    assert (
        unexplained(
            [f"*{word}*: {meaning}" for word, meaning in (entry(name, language) for name in GLOSSARY)], language
        )
        == []
    )
