"""Ending jobs from outside of any session: all below a table's folder, for who made it and will delete it, or a principal's. Waits; a
server must not.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

from remote_shell.jobs.table import Table, is_kept, open_folder

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


def end_jobs(table: Table, principal: str, grace: float) -> tuple[list[str], list[str]]:
    """TERM to all processes of all its jobs, KILL after `grace` seconds: the ids of those that ended, and of those that would not.

    Also what jobs left behind. Raises OSError where the table can't be read.
    """
    deadline = time.monotonic() + grace + _PATIENCE
    with contextlib.ExitStack() as stack:
        folders: dict[str, int] = {}
        for job in table.of(principal):
            folder = open_folder(table.path_of(principal, job.id)) if job.kept else None
            if folder is not None:
                stack.callback(os.close, folder)
                folders[job.id] = folder
        told: set[str] = set()
        while True:
            left = [ident for ident, folder in folders.items() if is_kept(folder)]
            if not left or time.monotonic() >= deadline:
                return [ident for ident in folders if ident not in left], left
            for ident in left:
                if ident not in told:
                    with contextlib.suppress(OSError):  # it begins, or it ends
                        keeper = stack.enter_context(socket.socket(socket.AF_UNIX))
                        keeper.settimeout(1.0)
                        keeper.connect(_socket_in(folders[ident]))
                        keeper.sendall(b"kill %d\n" % round(grace * 1000))
                        told.add(ident)
            time.sleep(0.01)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _socket_in(folder: int) -> str:
    return f"/proc/self/fd/{folder}/socket"  # of any length


def _kill(folder: int) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(1.0)
        try:
            sock.connect(_socket_in(folder))
        except OSError:  # it begins, or it ends
            time.sleep(0.01)
            return
        with contextlib.suppress(OSError):
            sock.sendall(b"follow\nkill 0\n")
            while sock.recv(4096):
                continue
