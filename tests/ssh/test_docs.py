"""docs/ssh.md and --help against the tables: every option and keyword, with what becomes of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from remote_shell.cli.commands.ssh import HELP
from remote_shell.ssh.keywords import KEYWORDS
from remote_shell.ssh.options import OPTIONS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "ssh.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[str]:
    """The rows of the table below a heading."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None
    return re.findall(r"^\| `.*$", section[1], re.MULTILINE)


def test_every_option_has_its_row() -> None:
    assert rows("Every option") == [
        f"| `-{letter}{f' {option.takes}' if option.takes else ''}` | {option.fate} | {option.why} |"
        for letter, option in OPTIONS.items()
    ]


def test_every_keyword_has_its_row() -> None:
    assert rows("Every keyword") == [
        f"| `{entry.name}` | {entry.fate}{', in a file too' if entry.in_file == 'refused' else ''} | {entry.why} |"
        for entry in KEYWORDS.values()
    ]


@pytest.mark.parametrize("fate", ["served", "ignored", "refused"])
def test_the_help_has_every_option(fate: str) -> None:
    line = re.search(rf"^  {fate} +(.*)$", HELP, re.MULTILINE)
    assert line is not None
    assert sorted(line[1].split()) == sorted(f"-{letter}" for letter, option in OPTIONS.items() if option.fate == fate)
