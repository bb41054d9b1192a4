"""A server that programs reach as `box`, and an environment in which `remote-shell` and `remote-shell-ssh` are on PATH."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from remote_shell import testing


class Around:
    """What a program is started in."""

    def __init__(self, home: Path, running: testing.RunningServer) -> None:
        self.home = home
        self.running = running
        programs = home / "bin"
        programs.mkdir()
        for name in ("remote-shell", "remote-shell-ssh"):  # as installed; the checkout's own path may have a space
            (programs / name).symlink_to(Path(sys.executable).with_name(name))
        kept = ("PYTHONDONTWRITEBYTECODE", "SHELL", "TMPDIR", "USER")
        self.environment = {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "REMOTE_SHELL_HOME": str(home / "rs"),
            "LANG": "C.UTF-8",
        }
        self.point_at(running.targets["tls"])

    def point_at(self, target: str) -> None:
        """`box` is there from now on."""
        folder = self.home / "rs"
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "hosts.toml").write_text(
            f'[hosts.box]\ntarget = "{target}"\nidentity = "{self.running.identity}"\n'
            f'fingerprint = "{self.running.fingerprint}"\n'
        )

    def run(self, *words: str | os.PathLike[str], status: int = 0, **more: Any) -> str:
        """To its end, which has to be this; the output, as text."""
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        environment = self.environment | more.pop("added", {})
        done = subprocess.run(
            [os.fspath(word) for word in words], env=environment, text=True, errors="replace", **options, **more
        )
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout[-5000:]}"
        return str(done.stdout)

    def popen(self, words: Sequence[str], **more: Any) -> subprocess.Popen[bytes]:
        """In a process group of its own."""
        return subprocess.Popen(words, env=self.environment, stdin=subprocess.DEVNULL, start_new_session=True, **more)


@pytest.fixture
def around(tmp_path: Path, running: testing.RunningServer) -> Around:
    home = tmp_path / "home"
    home.mkdir()
    return Around(home, running)


@pytest.fixture(scope="package")
def running() -> Iterator[testing.RunningServer]:
    with testing.server(("unix:", "tls:127.0.0.1:0")) as server:
        yield server
        assert "Traceback" not in server.read_log()
