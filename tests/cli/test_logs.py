"""Log lines: one a record, and nothing in them that a terminal would obey."""

from __future__ import annotations

import io
import logging
import os
import sys

import pytest

from remote_shell.cli import logs


def record(text: str, *arguments: object, error: bool = False) -> str:
    info = None
    if error:
        try:
            raise ValueError("bad\x1b]0;title\x07")
        except ValueError:
            info = sys.exc_info()
    return logs.LineFormatter().format(
        logging.LogRecord("remote_shell.server", logging.WARNING, "x.py", 1, text, arguments, info)
    )


def test_a_record_is_one_line_with_time_level_and_place() -> None:
    line = record("hello %s", "you")
    assert line.endswith(" warning server: hello you")
    assert line[:2] == "20" and "\n" not in line


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "\x1b[31m", "\x9b31m", "\u202e", "\udc80", "\x00"])
def test_control_characters_are_escaped(text: str) -> None:
    line = record("name %s", text)
    assert line.isprintable() and "\\" in line


def test_a_traceback_follows_indented_and_escaped() -> None:
    first, *rest = record("oh", error=True).split("\n")
    assert first.endswith("oh")
    assert rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_only_the_level_that_was_asked_for(
    logging_restored: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.start("warning")
    logging_restored.getChild("server").info("quiet")
    logging_restored.getChild("server").warning("loud")
    shown = capsys.readouterr().err
    assert "loud" in shown and "quiet" not in shown


def test_a_stderr_that_takes_nothing_is_no_failure(
    logging_restored: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(os.open("/dev/full", os.O_WRONLY), "wb", buffering=0) as full:
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(full, write_through=True))
        logs.start("info")
        logging_restored.warning("nobody hears it")
        monkeypatch.undo()
        assert capsys.readouterr().err == ""
