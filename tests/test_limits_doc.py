"""docs/limits.md: its figures are those of limits.py, its tests exist, and what a client can take of a server is in it."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from remote_shell.config.confining import RLIMIT_NAMES, SandboxConfig
from remote_shell.limits import DEFAULT_LIMITS, Limits

from .test_security_doc import missing

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
# What the issue of this page asked for, and what was found beside it: whoever adds to one of these families adds a row.
FAMILIES = re.compile(
    r"(sessions?|commands|strangers|arrivals|terminals_left|jobs|tunnel_\w+|transfers|channels|unacked|shell_waiting|sandbox|grace)_\w+|grace"
    r"|frame_max\w*|json_depth_max|login_time|refusal_time"
)
NO_BOUNDS = {"commands_remembered_time", "jobs_kept_time", "tunnel_connect_time", "tunnel_queue_max"}  # in protocol.md


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that writes figures."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import _protocol_page

    return _protocol_page


def rows() -> list[list[str]]:
    """The table of limits, without its head and titles."""
    lines = [line for line in TEXT.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.count("|") == 7]


def test_every_figure_is_that_of_the_code(made: Any) -> None:
    assert len(rows()) > 30
    for name, value, unit, *_ in rows():
        figure = made.shown(name.strip("`"), getattr(DEFAULT_LIMITS, name.strip("`")))
        assert figure in (value, f"{value} {unit}"), name


def test_every_row_is_whole_and_names_a_test() -> None:
    for row in rows():
        assert all(row), row
        assert re.fullmatch(r"(`tests/[a-z_/]+\.py::test_[a-z0-9_]+`(, )?)+", row[-1]), row
    assert missing(TEXT) == []


def test_no_limit_is_twice_and_none_of_these_is_missing() -> None:
    names = [row[0].strip("`") for row in rows()]
    assert len(names) == len(set(names))
    of_servers = {field.name for field in fields(Limits) if FAMILIES.fullmatch(field.name)}
    assert of_servers - NO_BOUNDS - set(names) == set()


def test_every_setting_is_named() -> None:
    for name in RLIMIT_NAMES:
        assert f"`{name}`" in TEXT
    for name in SandboxConfig.model_fields:
        assert f"{name} = " in TEXT
