"""Audit lines: any bytes are one line, nothing is lost, and the page says what the code does."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.audit import events
from remote_shell.audit.events import Command, Event, KeyChange, LoginRefused, Who, encode, text
from remote_shell.limits import DEFAULT_LIMITS

PAGE = Path(__file__).parents[2] / "docs" / "audit.md"
MOST = DEFAULT_LIMITS.audit_line_max
WHO = Who("0123456789ab", "uid:1000", "unix process 1 on box")


def command(argv: tuple[str, ...] | None, line: str | None = None, cwd: str | None = "/") -> Command:
    return Command("id", "exec", None, argv, line, cwd, terminal=False)


def read(line: bytes) -> dict[str, Any]:
    """One line, and no control character in it."""
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    value: dict[str, Any] = json.loads(line)
    return value


@given(st.lists(st.binary(max_size=40), max_size=5), st.binary(max_size=40))
def test_any_bytes_are_one_line_and_come_back(argv: list[bytes], cwd: bytes) -> None:
    value = read(encode(command(tuple(map(text, argv)), None, text(cwd)), WHO, 0.0, MOST))
    assert [word.encode("utf-8", "surrogateescape") for word in value["argv"]] == argv
    assert value["cwd"].encode("utf-8", "surrogateescape") == cwd


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_any_words_of_a_stranger_are_one_line(words: str) -> None:
    """Names of secrets, comments of keys, what a client calls itself."""
    value = read(encode(LoginRefused("tls 192.0.2.1:5", words), None, 0.0, MOST))
    assert json.dumps(value["reason"]) == json.dumps(words)
    assert read(encode(KeyChange("/a", ("SHA256:x",), (), (words,), None), None, 0.0, MOST))["event"] == "key_change"


@pytest.mark.parametrize("field", ["argv", "line", "cwd"])
@pytest.mark.parametrize("sign", ["x", "\U0001f600", "\udcff", "\n"])
def test_a_long_line_is_cut_and_says_so(field: str, sign: str) -> None:
    long = sign * MOST
    event = command((long, *(["w"] * 100_000)) if field == "argv" else None)
    if field != "argv":
        event = dataclasses.replace(event, **{field: long})  # type: ignore[arg-type]
    line = encode(event, WHO, 0.0, MOST)
    value = read(line)
    whole = encode(event, WHO, 0.0, 1 << 40)
    assert len(line) <= MOST < len(whole)
    assert value["cut"] == {"bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
    assert value["session"] == WHO.session and value["command"] == "id"


def test_just_short_enough_is_whole() -> None:
    line = encode(command(("x" * 1000,)), WHO, 0.0, MOST)
    assert encode(command(("x" * 1000,)), WHO, 0.0, len(line)) == line
    assert "cut" in read(encode(command(("x" * 1000,)), WHO, 0.0, len(line) - 1))


def test_a_field_that_means_nothing_is_not_there() -> None:
    assert read(encode(command(None), WHO, 1795938857.9999, MOST)) == {
        "time": "2026-11-29T07:54:17.999Z",
        "event": "command",
        "session": WHO.session,
        "principal": WHO.principal,
        "source": WHO.source,
        "command": "id",
        "kind": "exec",
        "cwd": "/",
        "terminal": False,
    }


def described(page: str) -> dict[str, list[str]]:
    """The page's table of events."""
    part = page.partition("## The events")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in part.splitlines() if line.startswith("| `")]
    return {row[1].strip().strip("`"): re.findall(r"`(\w+)`", row[2]) for row in rows}


def test_page_and_code_agree() -> None:
    code = {one.event: [field.name for field in dataclasses.fields(one)] for one in events.EVENTS}
    assert described(PAGE.read_text(encoding="utf-8")) == code
    assert {one for one in vars(events).values() if isinstance(one, type) and issubclass(one, Event)} == {
        Event,
        *events.EVENTS,
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        command(()).cwd = "/etc"  # type: ignore[misc]


def test_the_page_names_the_common_fields_and_the_figures() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in ("time", "event", *Who._fields, "cut"):
        assert f"| `{name}` |" in page
    assert f"longer than {MOST // 1024} KiB" in page
    assert f"beyond {DEFAULT_LIMITS.audit_refusals_max} in a minute" in page
    assert DEFAULT_LIMITS.audit_refusals_window == 60.0
    assert f"seen within {DEFAULT_LIMITS.audit_keys_time:.0f} s" in page
    assert f"ends at {DEFAULT_LIMITS.recording_max >> 20} MiB" in page
