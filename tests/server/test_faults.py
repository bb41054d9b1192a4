"""What must not make anybody wait: a fault of the server's own, and a shell that does nothing."""

from __future__ import annotations

import signal
import subprocess
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import remote_shell
from remote_shell import errors, testing
from remote_shell.identity.invitations import Invitations

from .conftest import QUICK
from .test_enrolment import ask as enrol
from .test_enrolment import by_invitation


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


def without_threads(tmp_path: Path) -> dict[str, str]:
    """The environment of a server that gets no thread as long as there is a file `full`."""
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
    return {"PYTHONPATH": f"{tmp_path}:{Path(remote_shell.__file__).parent.parent}"}


def test_without_a_thread_what_needs_one_is_refused_and_the_session_goes_on(tmp_path: Path) -> None:
    """pthread_create(3) fails with EAGAIN where the account, or the machine, has as many tasks as it may."""
    (tmp_path / "file").write_text("content")
    environment = without_threads(tmp_path)
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


def test_without_a_thread_an_invitation_is_refused_and_not_lost(tmp_path: Path) -> None:
    environment = without_threads(tmp_path)
    with testing.server(("tls:127.0.0.1:0",), environment=environment, config=QUICK) as running:
        code = Invitations(f"{running.home}/state/invitations").make(600)[1]
        prove = by_invitation(code, Ed25519PrivateKey.generate())
        (tmp_path / "full").touch()
        assert enrol(running, prove) is None
        (tmp_path / "full").unlink()
        assert enrol(running, prove) is not None
        assert "Traceback" not in running.read_log()


def test_an_idle_shell_does_not_hold_up_a_shutdown() -> None:
    with testing.server(("unix:",)) as running, remote_shell.connect(running) as host, host.shell() as shell:
        shell.run("true")
        started = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(10)
        assert time.monotonic() - started < 3, "drain_time is 5 s"
