"""The entry point: help, mistyped words, and every failure as one line."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from remote_shell.cli import main
from remote_shell.errors import CommandNotFoundError, ConfigError
from tests.cli.program import ARGV, call, environment, one_line


def test_help_fits_one_screen_and_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name}" in text for name in main.COMMANDS)
    lines = text.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", main.COMMANDS)
def test_each_command_has_a_help_of_one_screen_with_examples(name: str, tmp_path: Path) -> None:
    done = call(name, "--help", home=tmp_path)
    text = done.stdout.decode()
    assert done.returncode == 0 and not done.stderr
    assert "examples:" in text
    assert len(text.splitlines()) <= 50 and max(map(len, text.splitlines())) <= 80
    assert call("help", name, home=tmp_path).stdout == done.stdout


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("remote-shell ")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["rnu"], "unknown command 'rnu'; did you mean 'run'?"),
        (
            ["xyzzy"],
            "commands are try, run, map, shell, put, get, jobs, logs, attach, wait, signal, rm, ssh, mux, trace, serve, keys",
        ),
        (["--frob"], "unknown option '--frob'"),
        (["run", "--frob", "host", "ls"], "--frob"),
        (["run"], "TARGET"),
        (["run", "host"], "no command"),
        (["run", "--time", "3", "host", "ls"], "--time"),
        (["run", "--timeout", "nan", "host", "ls"], "--timeout"),
        (["run", "--env", "=x", "host", "ls"], "no name"),
        (["run", "--env", "SURELY_NOT_SET_HERE", "host", "ls"], "not set here"),
        (["run", "host", "-c", "ls"], "options come before"),
        (["\x1b[31m"], "unknown command"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_2_and_one_line(words: list[str], expected: str, tmp_path: Path) -> None:
    done = call(*words, home=tmp_path)
    assert done.returncode == 2
    assert expected in one_line(done.stderr)
    assert b"\x1b" not in done.stderr
    assert done.stdout == b""


def test_without_a_word_the_help_goes_to_stderr_with_status_2(tmp_path: Path) -> None:
    done = call(home=tmp_path)
    assert done.returncode == 2
    assert b"usage:" in done.stderr and not done.stdout


def test_our_errors_are_one_line_and_125(tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_text("nonsense = 1\n")
    done = call("run", "box", "true", home=tmp_path)
    assert done.returncode == 125
    assert one_line(done.stderr).startswith("remote-shell: ") and "unknown key 'nonsense'" in one_line(done.stderr)


def test_a_traceback_comes_with_v_only(tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_text("nonsense = 1\n")
    done = call("run", "-v", "box", "true", home=tmp_path)
    assert done.returncode == 125
    assert b"Traceback" in done.stderr


def test_a_fault_of_ours_is_told_as_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from remote_shell.cli.commands import keys

    def fail(arguments: object) -> int:
        raise ZeroDivisionError("by\x1bzero")

    monkeypatch.setattr(keys, "run", fail)
    assert main.main(["keys", "show"]) == 125
    error = capsys.readouterr().err
    assert "a fault of ours: ZeroDivisionError" in error and "\x1b" not in error and error.count("\n") == 1


def test_the_text_of_an_error_never_begins_with_an_errno() -> None:
    assert main.describe(CommandNotFoundError("no such program: x", "x")) == "no such program: x"
    assert main.describe(FileNotFoundError(2, "No such file or directory", "/x")) == "/x: No such file or directory"
    assert main.describe(ConfigError("a\nb")) == "a\nb"


def test_a_reader_that_leaves_early_is_no_failure_worth_a_word(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*ARGV, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(tmp_path)
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == -13  # as any program that was not there to hear of it


def test_closed_standard_descriptors_do_no_harm(tmp_path: Path) -> None:
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {closed}', "sh", *ARGV, "--version"],
            env=environment(tmp_path),
            capture_output=True,
        )
        assert done.returncode == 0
        assert b"Traceback" not in done.stderr


@pytest.mark.usefixtures("unmeasured")
def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "remote_shell", "--help"],
        capture_output=True,
        env=environment(tmp_path),
        text=True,
    )
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    heavy = {
        "argparse",
        "asyncio",
        "pydantic",
        "ssl",
        "subprocess",
        "logging",
        "socket",
        "dataclasses",
        "re",
        "json",
        "signal",
    }
    assert not names & heavy
    assert "remote_shell.cli.main" in names


@pytest.mark.slow
def test_help_costs_at_most_four_bare_starts(tmp_path: Path) -> None:
    def best(argv: list[str]) -> float:
        times = []
        for _ in range(10):
            begin = time.perf_counter()
            subprocess.run(argv, stdout=subprocess.DEVNULL, env=environment(tmp_path))
            times.append(time.perf_counter() - begin)
        return min(times)

    assert best([*ARGV, "--help"]) <= 4 * best([sys.executable, "-c", "pass"])
