"""A password typed at a program's prompt: it is on no screen, in no history, in no log, and in nothing that can be shown again."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_shell import testing
from tests.cli.program import ARGV, environment
from tests.cli.test_repl import GREETING, run, wait_prompt
from tests.proxy import Proxy
from tests.terminal import Terminal

pytestmark = pytest.mark.screen

SECRET = "hunter2-correct-horse"
IN_BASH = "read -rs -p 'Password: ' word; echo; echo got ${#word}"
# as sudo does: it opens the terminal itself, and throws away what was typed before
IN_PYTHON = shlex.join([sys.executable, "-c", "import getpass; print('got', len(getpass.getpass('Password: ')))"])


@pytest.fixture(scope="module")
def talkative() -> Iterator[testing.RunningServer]:
    """A server that logs all it can."""
    with testing.server(("unix:",), config='log_level = "debug"\n') as server:
        yield server


def places(server: testing.RunningServer, home: Path) -> Iterator[Path]:
    """Every file of either side, the databases' logs among them, and where shells and line editors keep their history."""
    for folder in (home, Path(server.home)):
        yield from (path for path in folder.rglob("*") if path.is_file())
    yield from (path for path in Path.home().glob(".*history") if path.is_file())


def check_nowhere(server: testing.RunningServer, home: Path) -> None:
    found = [path for path in places(server, home) if SECRET.encode() in path.read_bytes()]
    assert not found
    assert (home / "state" / "history.sqlite3").exists() and "session" in server.read_log()


@pytest.mark.parametrize("line", [IN_BASH, IN_PYTHON])
def test_a_password_is_kept_nowhere(line: str, talkative: testing.RunningServer, tmp_path: Path) -> None:
    words = [*ARGV, "shell", "-v", str(talkative)]
    with Terminal(words, environment=environment(tmp_path), columns=200) as terminal:
        terminal.wait_for(GREETING)
        run(terminal, "HISTFILE=$HOME/.bash_history")
        wait_prompt(terminal)
        terminal.type(line + "\r")
        terminal.wait_until(lambda: terminal.text.endswith("\nPassword:"), "question")
        terminal.type(SECRET + "\r")
        terminal.wait_for(f"got {len(SECRET)}")
        wait_prompt(terminal)
        for shown_again in (":out", ":jobs", ":hist", "history"):
            run(terminal, shown_again)
        terminal.press("up", "up", "up", "up", "up")
        terminal.type(SECRET[:3])  # nothing is suggested for it
        terminal.wait_until(lambda: terminal.text.endswith(SECRET[:3]), "what was typed")
        check_nowhere(talkative, tmp_path)
        terminal.press("ctrl-c", "ctrl-d")
        terminal.wait_end()
        assert SECRET.encode() not in terminal.output
    check_nowhere(talkative, tmp_path)


def test_a_password_that_comes_too_late_is_neither_run_nor_shown(
    talkative: testing.RunningServer, tmp_path: Path
) -> None:
    """The program has given up when it gets there. A line that was visible would be the next to run."""
    gate = tmp_path / "gate"
    line = f"stty -echo; printf 'Password: '; until test -e {gate}; do sleep 0.02; done; stty echo"
    with Proxy(str(talkative)) as proxy:
        words = [*ARGV, "shell", "-v", proxy.target]
        with Terminal(words, environment=environment(tmp_path), columns=200) as terminal:
            terminal.wait_for(GREETING)
            wait_prompt(terminal)
            terminal.type(line + "\r")
            terminal.wait_until(lambda: terminal.text.endswith("\nPassword:"), "question")
            terminal.type(SECRET + "\r")
            gate.touch()
            terminal.wait_for("it is forgotten")
            wait_prompt(terminal)
            assert run(terminal, "echo on").strip().splitlines()[-1] == "on"
            terminal.press("ctrl-d")
            assert terminal.wait_end() == 0
            assert SECRET.encode() not in terminal.output
    check_nowhere(talkative, tmp_path)
