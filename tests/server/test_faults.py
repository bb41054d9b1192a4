"""What must not make anybody wait: a fault of the server's own, and a shell that does nothing."""

from __future__ import annotations

import signal
import textwrap
import time
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


def test_an_idle_shell_does_not_hold_up_a_shutdown() -> None:
    with testing.server(("unix:",)) as running, remote_shell.connect(running) as host, host.shell() as shell:
        shell.run("true")
        started = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(10)
        assert time.monotonic() - started < 3, "drain_time is 5 s"
