"""What the REPL adds to the terminal: marks, fresh lines, the prompt's directory."""

from __future__ import annotations

import os

import pytest

from remote_shell.cli.screen import Screen, directory_text, duration_text, printable


def plain() -> Screen:
    return Screen({"TERM": "xterm", "NO_COLOR": "1"})


@pytest.mark.parametrize(
    ("status", "signal", "duration", "timed_out", "expected"),
    [
        (0, None, 0.2, False, ""),
        (0, None, 1.24, False, "✓ 1.2s\n"),
        (42, None, 0.1, False, "✗ 42\n"),
        (42, None, 61.0, False, "✗ 42  1m 01s\n"),
        (-9, "SIGKILL", 0.1, False, "✗ SIGKILL\n"),
        (-15, "SIGTERM", 2.0, True, "✗ SIGTERM  timed out  2.0s\n"),
    ],
)
def test_the_mark_after_a_command(
    status: int, signal: str | None, duration: float, timed_out: bool, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plain().ended(status, signal, duration, timed_out=timed_out)
    assert capsys.readouterr().err == expected


def test_a_terminal_that_is_not_utf_8_gets_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen({"NO_COLOR": "1"}, encoding="iso8859-1")
    screen.ended(0, None, 1.2)
    screen.ended(3, None, 0.0)
    assert capsys.readouterr().err == "ok 1.2s\nx 3\n"


@pytest.mark.parametrize(
    ("environment", "colour"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),  # no-color.org: empty counts as not set
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_colour_is_only_where_it_is_wanted(environment: dict[str, str], colour: bool) -> None:
    screen = Screen(environment)
    assert screen.colour is colour
    assert ("\x1b" in screen.paint("x", "red")) is colour
    assert not Screen(environment, terminal=False).colour


def test_an_unended_line_is_ended_with_a_mark_and_an_echo_without(capfd: pytest.CaptureFixture[str]) -> None:
    screen = plain()
    screen.fresh_line()
    screen.write(1, b"no end")
    screen.fresh_line()
    screen.fresh_line()
    screen.write(1, b"end\n")
    screen.write(2, b"")
    screen.fresh_line()
    screen.echoed()
    screen.fresh_line()
    assert capfd.readouterr() == ("no endend\n", "⏎\n\n")


def test_bytes_pass_unchanged(capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    saved = os.dup(1)
    os.dup2(writer, 1)
    data = bytes(range(256))
    try:
        plain().write(1, data)
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(writer)
    assert os.read(reader, 1000) == data
    os.close(reader)


@pytest.mark.parametrize(
    ("cwd", "home", "expected"),
    [
        ("/root", "/root", "~"),
        ("/root/src", "/root", "~/src"),
        ("/rootless", "/root", "/rootless"),
        ("/root/src", "/", "/root/src"),
        ("/", "/", "/"),
        ("/a/" + "b" * 50, "/x", "…/" + "b" * 38),
        ("/one/two/three/four/five/six/seven/eight/nine", "/x", "…/three/four/five/six/seven/eight/nine"),
        ("/bad\x1b[31m\nname", "/x", "/bad?[31m?name"),
    ],
)
def test_the_directory_in_the_prompt(cwd: str, home: str, expected: str) -> None:
    text = directory_text(cwd, home)
    assert text == expected
    assert len(text) <= 40


@pytest.mark.parametrize(
    ("seconds", "expected"), [(1.25, "1.2s"), (59.94, "59.9s"), (60, "1m 00s"), (3599, "59m 59s"), (7384, "2h 03m")]
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration_text(seconds) == expected


def test_nothing_from_the_other_side_moves_the_cursor() -> None:
    assert printable("ho\x1bst\r\u202e") == "ho?st??"
    assert printable("höst") == "höst"


def test_plain_says_it_in_words_and_shows_no_signs(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen({"TERM": "xterm"}, plain=True)
    screen.ended(0, None, 1.2)
    screen.ended(3, None, 0.0)
    screen.ended(143, "SIGTERM", 2.0)
    screen.echoed()
    screen._last = b"x"
    screen.fresh_line()
    assert capsys.readouterr().err == "done 1.2s\nfailed with 3\nended by SIGTERM  2.0s\n\n"
    assert not screen.colour


def test_lines_that_were_asked_for_are_not_dim(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen({"TERM": "xterm"})
    screen.lines(["one", "two"])
    screen.note("said")
    assert capsys.readouterr().err == "one\ntwo\n\x1b[2msaid\x1b[0m\n"
