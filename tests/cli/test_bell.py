"""The bell: when it rings, and on which terminals it says why."""

from __future__ import annotations

import sys

import pytest

from remote_shell.cli import bell


@pytest.mark.parametrize(
    "environment",
    [{"TERM": "xterm-kitty"}, {"TERM": "xterm-ghostty"}, {"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"},
     {"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}],
)  # fmt: skip
def test_a_notification_where_it_is_understood(environment: dict[str, str]) -> None:
    assert bell.signal_of("make", environment) == "\a\x1b]9;remote-shell: make\x1b\\"


@pytest.mark.parametrize(
    "environment", [{}, {"TERM": "xterm-256color"}, {"TERM": "screen-256color", "TERM_PROGRAM": "iTerm.app"}]
)
def test_bel_alone_elsewhere(environment: dict[str, str]) -> None:
    assert bell.signal_of("make", environment) == "\a"


def test_a_command_can_not_end_the_notification_or_swell_it() -> None:
    said = bell.signal_of("a\x1b\\b\x07" + "x" * 1000, {"TERM": "xterm-kitty"})
    assert said.startswith("\a\x1b]9;remote-shell: a?\\b?xxx") and len(said) < 200


def test_it_rings_for_what_took_long_while_nobody_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    bell.after("make", 9.9, 100)
    bell.after("vim", 100, 9.9)
    assert capsys.readouterr().err == ""
    bell.after("make", 10, 10)
    assert capsys.readouterr().err == "\a"


def test_while_a_program_has_the_terminal_there_is_no_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bell.ring("make", quietly=True, environment={"TERM": "xterm-kitty"})
    assert capsys.readouterr().err == "\a"


def test_never_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    bell.ring("make", environment={"TERM": "xterm"})
    assert capsys.readouterr().err == ""
