"""What must not make anybody wait: a fault of the server's own, and a shell that does nothing."""

from __future__ import annotations

import signal
import subprocess
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import remote_shell
from remote_shell import errors, testing


def test_a_fault_of_ours_ends_the_session_and_is_logged(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent("""
            import remote_shell.server.claims as claims

            def fail(self, principal, message, now):
                raise ZeroDivisionError("on purpose")

            claims.Claims.claim = fail
        """)
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{Path(remote_shell.__file__).parent.parent}"}
    with testing.server(("unix:",), environment=environment) as running, remote_shell.connect(running) as host:
        with pytest.raises(errors.RemoteShellError, match="internal_error"):
            host.run(["true"], stdin=remote_shell.DEVNULL)
        assert "ZeroDivisionError: on purpose" in running.read_log()


def test_without_a_thread_what_needs_one_is_refused_and_the_session_goes_on(tmp_path: Path) -> None:
    """pthread_create(3) fails with EAGAIN where the account, or the machine, has as many tasks as it may."""
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent(f"""
            import os, threading

            start = threading.Thread.start

            def start_or_fail(self):
                if os.path.exists({str(tmp_path / "full")!r}):
                    raise RuntimeError("can't start new thread")
                start(self)

            threading.Thread.start = start_or_fail
        """)
    )
    (tmp_path / "file").write_text("content")
    environment = {"PYTHONPATH": f"{tmp_path}:{Path(remote_shell.__file__).parent.parent}"}
    with testing.server(("unix:",), environment=environment) as running, remote_shell.connect(running) as host:

        def needs() -> list[Callable[[], object]]:
            there = f"{tmp_path}/there"
            return [
                lambda: host.put(f"{tmp_path}/file", there),
                lambda: host.get(f"{tmp_path}/file", there),
                lambda: host.run(["true"], command_id="one"),
                host.jobs,
            ]

        with host.popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
            (tmp_path / "full").touch()
            for act in needs():
                with pytest.raises(errors.CommandRefusedError, match="try again when some have ended"):
                    act()
            (tmp_path / "full").unlink()
            for act in needs():
                act()
            assert cat.communicate(b"still here")[0] == b"still here"
        assert "Traceback" not in running.read_log()


def test_an_idle_shell_does_not_hold_up_a_shutdown() -> None:
    with testing.server(("unix:",)) as running, remote_shell.connect(running) as host, host.shell() as shell:
        shell.run("true")
        started = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(10)
        assert time.monotonic() - started < 3, "drain_time is 5 s"
