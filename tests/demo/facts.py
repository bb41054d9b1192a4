"""What a played lesson showed, for tests to look at."""

from __future__ import annotations

from typing import TypeVar

from remote_shell.demo.elements import Claim
from remote_shell.demo.stage import Stage

Kind = TypeVar("Kind")


def of_kind(stage: Stage, kind: type[Kind]) -> list[Kind]:
    """The elements of one kind, in order."""
    return [each for each in stage.shown.elements if isinstance(each, kind)]


def claims(stage: Stage) -> list[str]:
    """The names of what it claimed, in order."""
    return [claim.name for claim in of_kind(stage, Claim)]
