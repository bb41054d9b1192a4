"""A client that is killed leaves nothing behind: what ran for it ends with the server's grace, and not before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_shell import testing
from remote_shell.process import tree
from tests.cli.program import ARGV, environment
from tests.terminal import Terminal

pytestmark = pytest.mark.screen

GRACE = 1.0  # seconds
# A child in a session of its own, one that ignores what it can, and one in the background.
STUBBORN = (
    "setsid sh -c 'trap \"\" HUP TERM INT; echo apart; while :; do sleep 0.1; done' & "
    "(trap '' HUP TERM INT; sleep 1000) & echo begun; sleep 1000"
)


@pytest.fixture(scope="module")
def forgetful() -> Iterator[testing.RunningServer]:
    """A server with a short grace."""
    with testing.server(("unix:",), config=f"grace = {GRACE}\n") as server:
        yield server


def start(kind: str, target: str, file: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """The client's words; then, in turn, what is waited for and what is typed."""
    vim = f"vim.tiny -u NONE {file}"
    starts: dict[str, tuple[list[str], list[tuple[str, str]]]] = {
        "REPL with a command": (
            ["shell", target],
            [("Ctrl-D leaves.", f"{STUBBORN}\r"), ("\nbegun", ""), ("apart", "")],
        ),
        "REPL with vim": (["shell", target], [("Ctrl-D leaves.", f"{vim}\r"), ("~\n~", "ihere"), ("here", "")]),
        "shell --raw": (["shell", "--raw", target], [("", f"{STUBBORN}\r"), ("\nbegun", ""), ("apart", "")]),
        "shell --raw with vim": (["shell", "--raw", target], [("", f"{vim}\r"), ("~\n~", "ihere"), ("here", "")]),
        "run --pty": (["run", "--pty", target, "bash", "-c", STUBBORN], [("begun", ""), ("apart", "")]),
        "run --pty with vim": (["run", "--pty", target, *vim.split()], [("~\n~", "ihere"), ("here", "")]),
    }
    return starts[kind]


@pytest.mark.parametrize(
    "kind",
    ["REPL with a command", "shell --raw", "run --pty"]
    + [pytest.param(f"{kind} with vim", marks=pytest.mark.slow) for kind in ("REPL", "shell --raw", "run --pty")],
)
def test_a_killed_client_leaves_no_process_behind(kind: str, forgetful: testing.RunningServer, tmp_path: Path) -> None:
    words, steps = start(kind, str(forgetful), tmp_path / "file")
    server = forgetful.process.pid
    with Terminal([*ARGV, *words], environment=environment(tmp_path)) as terminal:
        for shown, typed in steps:
            terminal.wait_until(lambda: shown in terminal.text, shown)  # noqa: B023
            terminal.type(typed)
        running = tree.descendants(server)
        assert len(running) >= (1 if "vim" in kind else 4), running
        terminal.process.kill()
        killed = time.monotonic()
        terminal.process.wait()
        while left := tree.descendants(server):
            if time.monotonic() - killed < GRACE / 2:
                assert set(left) >= {pid for pid, stat in running.items() if stat.parent == server}, "before the grace"
            assert time.monotonic() - killed < GRACE + 10, {pid: name_of(pid) for pid in left}
            time.sleep(0.02)
        assert time.monotonic() - killed >= GRACE / 2


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
