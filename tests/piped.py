"""`remote-shell pipe` in tests: the server that it started, found by its socket, and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import time
from pathlib import Path

from tests.cli.program import WITHIN


def server_pid(home: Path) -> int:
    """Whose process listens on the default socket below `home`; 0 if none does."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(home / "run" / "server.sock"))
        except (FileNotFoundError, ConnectionRefusedError):
            return 0
        pid: int = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        return pid


def reap_orphans() -> None:
    """Tests of processes make ours a subreaper, so a server whose `pipe` has ended may be our child."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def end_server(home: Path) -> None:
    """End it, if there is one, wait until it is gone, and reap what was left to us."""
    pid = server_pid(home)
    if pid:
        descriptor = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            wait_gone(descriptor)
        finally:
            os.close(descriptor)
    reap_orphans()


def wait_gone(descriptor: int) -> None:
    """Until the process of a pidfd has ended."""
    deadline = time.monotonic() + WITHIN
    while not _ended(descriptor):
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.005)


def _ended(descriptor: int) -> bool:
    # a zombie has ended too, and in a container nobody may reap orphans
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, 0)
        for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines():
            if line.startswith("Pid:"):
                pid = line.split()[1]
                with contextlib.suppress(FileNotFoundError):
                    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    return True
