"""The guestbook: when each principal last logged in, and from where. A small file each in the state folder, for `keys list`.

Written by a thread, so that no login waits for a disk, and without an fsync: who loses it in a power cut knows a time less. Many logins of
one principal within a write are one write. Bounded: above `guests_max` the oldest are forgotten. Neighbour: `arrival` tells of logins.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from remote_shell.config.checked import read_checked
from remote_shell.config.paths import state_dir
from remote_shell.errors import ConfigError
from remote_shell.limits import Limits

log = logging.getLogger("remote_shell.server")

FOLDER = "guests"
ENTRY_MAX = 4096  # bytes
_LATEST = 253402300800.0  # the year 10000, which no calendar of ours has


class Visit(NamedTuple):
    """A principal's last login."""

    principal: str  # "key:SHA256:…", "secret:NAME" or "uid:N"
    at: float  # seconds since 1970
    source: str  # an address, or a process of this machine


class Guestbook:
    """One life of a server's."""

    def __init__(self, limits: Limits, folder: Callable[[], str] = lambda: os.path.join(state_dir(), FOLDER)) -> None:
        self._limits = limits
        self._folder = folder
        self._pending: dict[str, Visit] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._count = -1  # files, at most; not known yet
        self._failed = False  # told once

    def note(self, principal: str, source: str) -> None:
        """Somebody logged in. Never waits."""
        visit = Visit(principal, time.time(), source)
        with self._changed:
            if self._closed:
                return
            self._pending[principal] = visit
            if self._thread is None:
                # A daemon: a disk that hangs must not keep the server from its end.
                self._thread = threading.Thread(target=self._run, name="guestbook", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """What was noted is written, if that takes no more than `end_time`."""
        with self._changed:
            self._closed = True
            thread, self._thread = self._thread, None
            self._changed.notify()
        if thread is not None:
            thread.join(self._limits.end_time)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closed)
                visits, self._pending = self._pending, {}
            if not visits:
                return
            try:
                self._write(list(visits.values()))
            except (OSError, ConfigError) as error:
                if not self._failed:
                    log.warning("the guestbook: %s; `keys list` will not know who was here last", error)
                self._failed = True

    def _write(self, visits: list[Visit]) -> None:
        folder = self._folder()
        os.makedirs(folder, 0o700, exist_ok=True)
        if self._count < 0:
            self._count = len(os.listdir(folder))
        for visit in visits:
            place = os.path.join(folder, _file_of(visit.principal))
            draft = f"{place}.{os.getpid()}.new"
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                json.dump(visit._asdict(), file)
            os.rename(draft, place)
        self._count += len(visits)
        if self._count > self._limits.guests_max:
            self._forget(folder)

    def _forget(self, folder: str) -> None:
        """Down to nine tenths, so that the folder is not looked through at each login. It may hold others' drafts, which are old, too."""
        with os.scandir(folder) as entries:
            found = sorted((entry.stat().st_mtime, entry.path) for entry in entries)
        most = self._limits.guests_max
        kept = most * 9 // 10 if len(found) > most else len(found)
        for _, path in found[: len(found) - kept]:
            os.unlink(path)
        self._count = kept


def last_visit(principal: str, folder: str | None = None) -> Visit | None:
    """When a principal last logged in to a server of this account; None if that is not known, or a power cut damaged it.

    Raises ConfigError for a file that is not ours alone.
    """
    path = os.path.join(folder or os.path.join(state_dir(), FOLDER), _file_of(principal))
    data = read_checked(path, what="guestbook's entry", limit=ENTRY_MAX, private=True)
    if data is None:
        return None
    try:
        values = json.loads(data)
        visit = Visit(str(values["principal"]), float(values["at"]), str(values["source"]))
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None  # the next login writes it anew
    return visit if visit.principal == principal and 0 <= visit.at < _LATEST else None


def _file_of(principal: str) -> str:
    return hashlib.sha256(principal.encode("utf-8", "replace")).hexdigest()
