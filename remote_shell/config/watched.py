"""A checked file that is read again when it changes: authorized_keys, the server's secrets.

A look at the file's status at each question, as sshd reads its file at each login; no inotify and no timer. Never raises for
what is in the file: its fault is logged once and its holder gets the empty value, so that nobody may do anything. Neighbours:
`checked` reads, identity's `authorized` and `secrets` parse.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from remote_shell.config.checked import folder_fault, read_checked
from remote_shell.config.paths import shown
from remote_shell.errors import ConfigError

T = TypeVar("T")

_SETTLED = 2.0  # s; a file younger than this may change again within one tick of its time stamps (4 ms; FAT: 2 s)


class Watched(Generic[T]):
    """The parsed contents of `path`, always those that the file has now; `empty` while it is missing or unusable.

    `parse` turns bytes into the value and may raise ConfigError, which makes the whole file unusable. `problem` says why the
    file is not used, or is empty.
    """

    def __init__(
        self, path: str, *, what: str, limit: int, private: bool, parse: Callable[[bytes], T], empty: T, log: str
    ) -> None:
        self.path = path
        self.problem = ""
        self._what = what
        self._limit = limit
        self._private = private
        self._parse = parse
        self._empty = empty
        self._log = logging.getLogger(log)
        self._value = empty
        self._data: bytes | None = None
        self._stamp: tuple[int, ...] | None = None
        self._settled = False

    def get(self) -> T:
        """What the file says now. Raises nothing."""
        # Time stamps before contents: a change in between shows at the next question.
        stamp = _stamp(self.path)
        fault = folder_fault(self.path) if stamp else None
        if fault is not None:
            self._refuse(f"{self._what} {shown(self.path)} not used: {fault}")
        elif not (self._settled and stamp == self._stamp):
            self._load()
            self._stamp = stamp
            # Changed twice within one tick, at the same size: the second change would not show. So a young file is
            # read at every question (git's "racily clean" index entries have the same cure).
            self._settled = stamp is None or abs(time.time() - max(stamp[4], stamp[5]) / 1e9) > _SETTLED
        return self._value

    def _load(self) -> None:
        try:
            data = read_checked(self.path, what=self._what, limit=self._limit, private=self._private)
            if data is None:
                self._set(None, self._empty)
            elif data != self._data:
                self._set(data, self._parse(data))
        except ConfigError as error:
            self._refuse(str(error))

    def _set(self, data: bytes | None, value: T) -> None:
        self._data, self._value, self.problem = data, value, ""

    def _refuse(self, problem: str) -> None:
        if problem != self.problem:
            self._log.error("%s", problem)
        self._data, self._value, self.problem = None, self._empty, problem
        self._settled = False


def _stamp(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    # ctime and mode: a chmod changes whether the file may be used at all.
    return (status.st_dev, status.st_ino, status.st_size, status.st_mode, status.st_mtime_ns, status.st_ctime_ns)
