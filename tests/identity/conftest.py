"""Real keys by ssh-keygen, a real ssh-agent, and an environment in which no key of the person who tests is touched."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remote_shell.identity.agent import agent_signers

KeyMaker = Callable[..., Path]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """HOME and all folders of ours below `tmp_path`; no agent."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(folder / "remote-shell"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return folder


@pytest.fixture
def keygen(tmp_path: Path) -> KeyMaker:
    """Makes a key file by ssh-keygen: `keygen("name", "-t", "rsa", passphrase="x")`."""

    def make(name: str, *options: str, passphrase: str = "", comment: str = "a comment") -> Path:
        path = tmp_path / name
        kind = () if "-t" in options else ("-t", "ed25519")
        if "rsa" in options:
            kind = ("-b", "1024")  # the smallest: 3072 bits take a second to be found
        line = ["ssh-keygen", "-q", *kind, *options, "-N", passphrase, "-C", comment, "-f", str(path)]
        subprocess.run(line, check=True, capture_output=True, timeout=20)
        return path

    return make


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A running ssh-agent without keys; its socket is in $SSH_AUTH_SOCK."""
    socket = str(tmp_path / "agent")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.readline()  # it says the socket's name when the socket is there
    monkeypatch.setenv("SSH_AUTH_SOCK", socket)
    yield socket
    process.kill()
    process.communicate(timeout=10)


def ssh_add(*arguments: str) -> None:
    """Load keys into the agent of $SSH_AUTH_SOCK."""
    done = subprocess.run(["ssh-add", *arguments], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr


def keys_of_agent() -> list[str]:
    return [signer.comment for signer in agent_signers(os.environ["SSH_AUTH_SOCK"])]
