"""Lessons as tests play them: each once for each language, however many tests look at it."""

from __future__ import annotations

import functools

from remote_shell.demo import elements
from remote_shell.demo.catalogue import LESSONS
from remote_shell.demo.stage import Stage


@functools.cache
def played(name: str, language: str) -> Stage:
    """The stage after the lesson, with all that it showed."""
    stage = Stage(LESSONS[name].title, language)
    LESSONS[name].play(stage)
    return stage


def texts(stage: Stage) -> list[str]:
    """All that the lesson said in words, in order; its pictures' texts too, but no program and no output."""
    found = [stage.shown.title]
    for element in stage.shown.elements:
        match element:
            case elements.Heading() | elements.Paragraph() | elements.Claim():
                found.append(element.text)
            case elements.Words():
                found += [f"*{word}*: {meaning}" for word, meaning in element.entries]
            case elements.Table():
                found += [element.caption, *element.head, *(cell for row in element.rows for cell in row)]
            case elements.Exchange():
                found += [element.caption, *element.actors, *(arrow.text for arrow in element.arrows)]
            case elements.Blocks():
                found += [element.caption, *(row.label for row in element.rows)]
            case elements.Timeline():
                found += [element.caption, *(lane.label for lane in element.lanes)]
                found += [bar.text for lane in element.lanes for bar in lane.bars]
            case elements.Dump() | elements.Output():
                found.append(element.caption)
    return found
