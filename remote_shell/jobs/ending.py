"""Ending every job below a table's folder: for who made the table and will delete it. Waits; a server must not."""

from __future__ import annotations

import contextlib
import os
import socket
import time

from remote_shell.jobs.table import is_kept, open_folder

_PATIENCE = 10.0  # seconds for all


def end_all(root: str) -> None:
    """KILL all processes of all jobs, and wait until their keepers are gone."""
    deadline = time.monotonic() + _PATIENCE
    for principal in _names(root):
        for name in _names(os.path.join(root, principal)):
            folder = open_folder(os.path.join(root, principal, name))
            if folder is None:
                continue
            try:
                while is_kept(folder) and time.monotonic() < deadline:
                    _kill(folder)
            finally:
                os.close(folder)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _kill(folder: int) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(1.0)
        try:
            sock.connect(f"/proc/self/fd/{folder}/socket")
        except OSError:  # it begins, or it ends
            time.sleep(0.01)
            return
        with contextlib.suppress(OSError):
            sock.sendall(b"follow\nkill 0\n")
            while sock.recv(4096):
                continue
