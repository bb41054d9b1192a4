"""Which shell a live shell is: bash on pipes, the account's own on a terminal where that is zsh."""

from __future__ import annotations

from pathlib import Path

import pytest

from remote_shell.wire.messages import Terminal

from ..conftest import Place, Starter
from .test_shell import LiveShell

ON_TERMINAL = Terminal(term="xterm", rows=24, columns=80)
NAMES = "echo ${ZSH_VERSION:+zsh}${BASH_VERSION:+bash}"


def opened(shell: LiveShell) -> str | None:
    """The language that the server told."""
    message = shell.command.opened
    assert message is not None
    return message.shell


def test_it_is_bash_and_says_so(local: Place) -> None:
    with local.connect() as client:
        for terminal in (None, ON_TERMINAL):
            shell = LiveShell(client, terminal=terminal)
            assert shell.run(NAMES)[1].strip() == b"bash"
            assert opened(shell) == "bash"


@pytest.mark.slow
def test_on_a_terminal_it_is_zsh_where_the_account_has_that(start: Starter) -> None:
    running = start(("unix:",), 'shell = "/usr/bin/zsh"')
    with Place(running, "unix").connect() as client:
        shell = LiveShell(client, terminal=ON_TERMINAL)
        assert shell.run(f"{NAMES}; echo $SHELL; cd /usr") == (0, b"zsh\r\n/usr/bin/zsh\r\n")
        assert opened(shell) == "zsh"
        done = shell.wait(shell.send("false | (exit 3)"))
        assert (done.status, done.statuses, done.cwd) == (3, [1, 3], "/usr")
        number = shell.send("echo begun; sleep 1000")
        client.wait(lambda: shell.command.text().endswith(b"begun\r\n"), "begun")
        shell.signal("SIGINT", number)
        assert shell.wait(number).status == 130
        assert shell.wait(shell.send("exec bash")).shell == "replaced"
        pipes = LiveShell(client)
        assert pipes.run(NAMES) == (0, b"bash\n"), "a program finds the same language everywhere"
        assert opened(pipes) == "bash"


@pytest.mark.parametrize("exists", [False, True])
def test_where_zsh_cannot_be_started_it_is_bash_and_a_person_is_told(
    exists: bool, tmp_path: Path, start: Starter
) -> None:
    path = str(tmp_path / "zsh")
    if exists:
        Path(path).write_text("no program")
    running = start(("unix:",), f'shell = "{path}"')
    with Place(running, "unix").connect() as client:
        shell = LiveShell(client, terminal=ON_TERMINAL)
        status, shown = shell.run(NAMES)
        assert (status, opened(shell)) == (0, "bash")
        assert shell.command.text().startswith(b"remote-shell: this shell is bash, not zsh: " + path.encode())
        assert shown.endswith(b"bash\r\n")
    assert "is bash, not zsh" in running.read_log()
