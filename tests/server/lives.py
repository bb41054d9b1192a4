"""A server's lives: servers one after the other on the same state, and faults that end one at a chosen step."""

from __future__ import annotations

import contextlib
import os
import signal
import textwrap
from collections.abc import Iterator
from pathlib import Path

import remote_shell
from remote_shell.testing import RunningServer, server

# where a life ends: the method at whose call it does
STEPS = {
    "received": "remote_shell.server.scribe:Scribe.submit",
    "claimed": "remote_shell.server.claims:Claims._claimed",
    "started": "remote_shell.server.claims:Claims.started",
    "ended": "remote_shell.server.claims:Claims.ended",
    "written": "remote_shell.server.requests.exec:Exec._tell",
}

_DIES = """
import importlib.abc, importlib.util, os, signal, sys

MODULE, NAME = {module!r}, {name!r}

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            kind, method = NAME.split(".")
            setattr(getattr(module, kind), method, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


@contextlib.contextmanager
def life(
    home: Path, *, dies: str | None = None, config: str = "", listen: tuple[str, ...] = ("unix:",)
) -> Iterator[RunningServer]:
    """A server on the state in `home`; killed by SIGKILL when it comes to the step that `dies` names."""
    environment = {"REMOTE_SHELL_HOME": str(home)}
    if dies is not None:
        module, _, name = STEPS[dies].partition(":")
        folder = home / "dies"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(textwrap.dedent(_DIES.format(module=module, name=name)))
        environment["PYTHONPATH"] = f"{folder}:{Path(remote_shell.__file__).parent.parent}"
    with server(listen, environment=environment, config=config) as running:
        yield running


def kill(running: RunningServer) -> list[int]:
    """SIGKILL for the server; the commands that it leaves behind."""
    pid = running.process.pid
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        left = [int(number) for number in file.read().split()]
    running.process.kill()
    running.process.wait(10)
    return left


def end(pids: list[int]) -> None:
    """A killed server can't end its commands."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
