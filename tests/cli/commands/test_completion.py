"""`remote-shell completion`: what a person gets who presses Tab in a real bash, zsh or fish."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from remote_shell.cli.commands import completion
from remote_shell.cli.main import COMMANDS
from tests.cli.program import WITHIN, call, environment, one_line
from tests.terminal import Terminal

pytestmark = pytest.mark.screen  # as a file it takes long

TAB = "\t"
# where each looks for its completions, below HOME, and how it is started so that it reads nothing else
SHELLS = {
    "bash": ("bash", ["bash", "--norc", "--noprofile"], ". ~/bash; PS1='at: '; bind 'set bell-style none'; clear\r"),
    "zsh": (
        "zsh/_remote-shell",
        ["zsh", "-f"],
        "fpath=(~/zsh $fpath); autoload -U compinit; compinit -u; PS1='at: '; clear\r",
    ),
    "fish": (
        ".config/fish/completions/remote-shell.fish",
        ["fish", "--private"],
        "function fish_prompt; printf 'at: '; end; clear\r",
    ),
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "hosts.toml").write_text('[hosts.build-box]\ntarget = "10.0.0.7"\n[hosts.other]\ntarget = "10.0.0.8"\n')
    (tmp_path / "a-key-file").write_text("")
    return tmp_path


@pytest.fixture(
    params=["bash", pytest.param("zsh", marks=pytest.mark.slow), pytest.param("fish", marks=pytest.mark.slow)]
)
def shell(request: pytest.FixtureRequest, home: Path) -> Iterator[Terminal]:
    name: str = request.param
    file, argv, setup = SHELLS[name]
    assert shutil.which(name)
    done = call("completion", name, home=home)
    assert done.returncode == 0 and done.stderr == b""
    (home / file).parent.mkdir(parents=True, exist_ok=True)
    (home / file).write_bytes(done.stdout)
    path = f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"  # the command that the set-up makes
    with Terminal(argv, environment=environment(home, {"PATH": path, "SHELL": shutil.which(name) or name})) as terminal:
        terminal.type(f" cd; {setup}")
        terminal.wait_until(lambda: terminal.text.strip() == "at:", "prompt")
        yield terminal


def ends(terminal: Terminal, shown: str) -> bool:
    return terminal.text.rstrip().endswith(shown)


@pytest.mark.screen
def test_tab(shell: Terminal) -> None:
    for typed, shown in (
        ("remote-shell ser", "serve"),
        ("remote-shell run --connect-t", "remote-shell run --connect-timeout"),
        ("remote-shell shell bui", "remote-shell shell build-box"),
        ("remote-shell run oth", "remote-shell run other"),
        ("remote-shell run other a-k", "remote-shell run other a-key-file"),
        ("remote-shell run --identity a-k", "remote-shell run --identity a-key-file"),
    ):
        shell.type(typed + TAB)
        shell.wait_until(partial(ends, shell, shown), shown)
        shell.type("\x15")
        shell.wait_until(lambda: shell.text.strip() == "at:", "an empty line")


@pytest.mark.parametrize("name", completion.SHELLS)
def test_every_command_is_in_the_script(name: str, home: Path) -> None:
    script = call("completion", name, home=home).stdout.decode()
    assert all(command in script for command in COMMANDS)


def test_targets(home: Path) -> None:
    assert call("completion", "--targets", home=home).stdout == b"build-box\nother\n"
    (home / "hosts.toml").unlink()
    assert call("completion", "--targets", home=home).stdout == b""


def test_what_makes_no_sense(home: Path) -> None:
    for words in ((), ("tcsh",), ("bash", "--targets")):
        done = call("completion", *words, home=home)
        assert done.returncode == 2 and done.stdout == b""
        one_line(done.stderr)


def test_without_shtab_it_says_what_to_type(home: Path) -> None:
    code = "import sys; sys.modules['shtab'] = None; from remote_shell.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "completion", "bash"], capture_output=True, env=environment(home), timeout=WITHIN
    )
    assert done.returncode == 125
    assert one_line(done.stderr).endswith(f"type: {sys.executable} -m pip install shtab")
