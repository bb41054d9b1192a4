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
                if ident not in told and _tell(folders[ident], b"kill %d\n" % round(grace * 1000)):
                    told.add(ident)
            time.sleep(0.01)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _kill(folder: int) -> None:
    if not _tell(folder, b"follow\nkill 0\n", until_gone=True):
        time.sleep(0.01)


def _tell(folder: int, words: bytes, *, until_gone: bool = False) -> bool:
    """Say that to its keeper, and wait for its answer, or until it is gone. False: there is none to hear it, since it begins or ends."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(1.0)
        try:
            sock.connect(f"/proc/self/fd/{folder}/socket")  # a path of any length
        except OSError:
            return False
        with contextlib.suppress(OSError):
            sock.sendall(words)
            while sock.recv(4096) and until_gone:
                continue
    return True
