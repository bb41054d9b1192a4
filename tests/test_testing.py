"""`remote_shell.testing` as other people's tests use it: the context manager, and the fixture of pytest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from remote_shell import testing
from remote_shell.client.blocking import connect

pytestmark = pytest.mark.screen  # as a file it takes long

CONFTEST = "from remote_shell.testing import remote_shell_server\n"
TEST = """
import remote_shell

def test_mine(remote_shell_server):
    with remote_shell.connect(remote_shell_server) as host:
        assert host.run(["echo", "here"], capture_output=True, text=True).stdout == "here\\n"
    assert remote_shell_server.fingerprint.startswith("SHA256:")
    with remote_shell.connect(remote_shell_server.targets["tls"], **remote_shell_server.options("tls")) as host:
        assert host.run(["sh", "-c", "exit 3"]).returncode == 3
"""


def test_the_fixture_in_a_project_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_mine.py").write_text(TEST)
    root = Path(__file__).resolve().parent.parent
    argv = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=18)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_nothing_is_left_of_a_server() -> None:
    with testing.server() as running, connect(running) as host:
        home, pid = running.home, running.process.pid
        assert host.run(["true"]).returncode == 0
        host.detach(["sleep", "1000"])
    assert not os.path.exists(home)
    assert not os.path.exists(f"/proc/{pid}")
