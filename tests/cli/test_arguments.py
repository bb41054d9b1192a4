"""Options: what a command line means before anything is tried."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from remote_shell.cli import arguments, exit_status
from remote_shell.cli.main import COMMANDS
from remote_shell.errors import CommandNotExecutableError, CommandNotFoundError, ConnectError, WorkingDirectoryError
from tests.cli.program import call, one_line


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (["host", "ls", "-l"], ("host", ["ls", "-l"])),
        (["host", "--", "ls", "--", "-l"], ("host", ["ls", "--", "-l"])),
        (["--", "host", "ls"], ("host", ["ls"])),
        (["host", "--", "-c"], ("host", ["-c"])),
        (["host", ""], ("host", [""])),
        (["host"], ("host", [])),
        (["host", "--"], ("host", [])),
    ],
)
def test_target_and_argv(rest: list[str], expected: tuple[str, list[str]]) -> None:
    assert arguments.split_rest(arguments.make_parser("run"), rest, "nothing") == expected


@pytest.mark.parametrize("rest", [[], ["--"], ["host", "-n"], ["host", "--json", "ls"]])
def test_what_makes_no_sense_ends_with_2(rest: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        arguments.split_rest(arguments.make_parser("run"), rest, "nothing")
    assert left.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_environment_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "mine")
    pairs = arguments.environment_pairs(arguments.make_parser("run"), ["A=1=2", "HERE", "A=", "B= "])
    assert pairs == {"A": "", "HERE": "mine", "B": " "}


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x", "", "1e10"])
def test_seconds_are_above_zero(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="a number of seconds above 0"):
        arguments.seconds(text)
    assert arguments.seconds("0.5") == 0.5


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        ("run --timeout 0 box true", "a number of seconds above 0, such as 30"),
        ("serve --idle-exit never", "a number of seconds above 0, such as 30"),
        ("map --parallel 0 box true", "a whole number of 1 or more"),
        ("map --max-failures 1.5 box true", "a whole number of 1 or more"),
        ("shell --prefix ab box", "one sign, such as ','"),
        ("keys invite --minutes ten", "a number of minutes above 0, and at most 10080"),
    ],
)
def test_a_value_that_is_none_is_told_what_would_be_one(words: str, cure: str, tmp_path: Path) -> None:
    done = call(*words.split(), home=tmp_path)
    assert done.returncode == 2 and cure in one_line(done.stderr)


@pytest.mark.parametrize("name", COMMANDS)
def test_no_usage_says_that_trace_takes_a_word(name: str, tmp_path: Path) -> None:
    """Its file comes behind "="; a word behind a blank is the target."""
    said = call(name, "--help", home=tmp_path).stdout.decode()
    assert "--trace FILE" not in " ".join(said.split())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CommandNotFoundError("x"), 127),
        (CommandNotExecutableError("x"), 126),
        (WorkingDirectoryError("x"), 125),
        (ConnectError("x"), 125),
        (FileNotFoundError(2, "x"), 125),
        (ValueError("x"), 125),
    ],
)
def test_exit_statuses_of_failures(error: Exception, status: int) -> None:
    assert exit_status.of_error(error) == status


def test_exit_statuses_of_signals() -> None:
    assert exit_status.of_signal("SIGTERM") == 143
    assert exit_status.of_signal("SIGRTMIN+3") == 128 + 34 + 3
    assert exit_status.of_signal("SIGNONSENSE") == 128
