"""Which lines go on on the next: compared with bash itself, for every beginning of many scripts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from remote_shell.cli.continuation import is_incomplete

SCRIPTS = Path(__file__).with_name("scripts.sh").read_text(encoding="utf-8").split("\n%%\n")
# where `bash -n` calls the end of its input another fault, an interactive one waits
WAITS = {"[[ a == b &&", "case a in a|"}


def bash_waits(text: str) -> bool:
    """Whether bash misses something at the end of `text`; `-n` runs nothing."""
    done = subprocess.run(["bash", "-n"], input=text + "\n", capture_output=True, text=True)
    missing = ("unexpected end of file", "unexpected EOF while", "delimited by end-of-file")
    # a backslash at the end escapes the newline, and then nothing is missing in a file
    escaped = (len(text) - len(text.rstrip("\\"))) % 2 == 1
    return escaped or text in WAITS or any(sign in done.stderr for sign in missing)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_beginning_of_a_script_is_judged_as_bash_does(script: str) -> None:
    lines = script.rstrip("\n").split("\n")
    for count in range(1, len(lines) + 1):
        text = "\n".join(lines[:count])
        assert is_incomplete(text) is bash_waits(text), text


@pytest.mark.parametrize(
    "text", ["", " ", "\n", "# a comment", "ls", ")", "}", "echo ;;", "done", "echo 'it''s'", "ls;"]
)
def test_what_is_whole_or_beyond_us_is_sent(text: str) -> None:
    assert not is_incomplete(text)


def test_a_long_line_takes_no_long_time() -> None:
    assert not is_incomplete("echo " + "x" * 300_000)
    assert not is_incomplete("\n".join(f"echo '{number}'" for number in range(20_000)))
    assert is_incomplete("echo '" + "x\n" * 100_000)


def test_deep_nesting_is_left_to_bash() -> None:
    assert not is_incomplete("$(" * 100_000)


def test_a_long_here_document_takes_no_long_time() -> None:
    assert is_incomplete("cat <<E\n" + "x\n" * 200_000)
    assert not is_incomplete("cat <<E\n" + "x\n" * 200_000 + "E")
