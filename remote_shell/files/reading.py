"""Reading: walks what is to be sent, and opens it. Folders by descriptor and names below them, so that nothing is swapped meanwhile.

A symlink within is sent as one and never followed; what can't be sent (a FIFO, a device, a socket, what may not be read) is a `Missed`
with the reason, and the walk goes on. Neighbours: `contents` reads on.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from remote_shell.files import names
from remote_shell.limits import Limits

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a FIFO must not hold us up
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Found(NamedTuple):
    """Something to send. `descriptor` is of a file, open for reading; who takes it closes it."""

    source: int
    path: bytes  # below the source; empty: the source itself
    status: os.stat_result
    descriptor: int = -1
    target: bytes = b""  # of a symlink


class Missed(NamedTuple):
    """Something that is not sent, and why."""

    source: int
    path: bytes
    error: OSError


class Walk:
    """All that the sources have, folders before what is in them, by name. Iterate; `close` closes what is left open."""

    def __init__(
        self, sources: Sequence[bytes], base: bytes, recursive: bool, limits: Limits, within: bytes = b""
    ) -> None:
        """`base`: the folder from which relative sources count. `within`: the real path of one outside of which nothing is read."""
        self._within = within
        self._sources = sources
        self._base = base
        self._recursive = recursive
        self._limits = limits
        self._open: list[int] = []  # folders that we are in

    def __iter__(self) -> Iterator[Found | Missed]:
        for index, source in enumerate(self._sources):
            yield from self._source(index, os.path.join(self._base, source) if source else source)

    def close(self) -> None:
        """Close folders."""
        while self._open:
            os.close(self._open.pop())

    def _source(self, index: int, path: bytes) -> Iterator[Found | Missed]:
        try:
            # what a person names is followed, as cp does it: without -r always, with -r where the name ends in a slash
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode) and not self._recursive:
                path = os.path.realpath(path)
                status = os.lstat(path)
            if stat.S_ISDIR(status.st_mode):
                if not self._recursive:
                    raise names.refusal(errno.EISDIR, "it is a folder; to copy it with all that is in it, add -r")
                descriptor = self._checked(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
                yield Found(index, b"", os.fstat(descriptor))
                yield from self._folder(index, b"", descriptor)
            else:
                yield self._one(index, b"", path, None, status)
        except OSError as error:
            yield Missed(index, b"", error)

    def _folder(self, index: int, path: bytes, descriptor: int) -> Iterator[Found | Missed]:
        """All below an open folder, which is closed then."""
        depth = len(self._open)
        self._open.append(descriptor)
        stack = [(path, self._listed(descriptor))]
        while stack:
            path, rest = stack[-1]
            name = next(rest, None)
            if name is None:
                stack.pop()
                os.close(self._open.pop())
                continue
            below = path + b"/" + name if path else name
            try:
                status = os.stat(name, dir_fd=self._open[-1], follow_symlinks=False)
                if not stat.S_ISDIR(status.st_mode):
                    yield self._one(index, below, name, self._open[-1], status)
                    continue
                # what the receiver would refuse is told here
                names.components(below, self._limits.files_depth_max, self._limits.files_path_max)
                inner = os.open(name, _FOLDER, dir_fd=self._open[-1])
                self._open.append(inner)
                listed = self._listed(inner)
            except OSError as error:
                while len(self._open) > depth + len(stack):
                    os.close(self._open.pop())
                yield Missed(index, below, error)
                continue
            yield Found(index, below, status)
            stack.append((below, listed))

    def _checked(self, descriptor: int) -> int:
        """It, if it may be read; else it is closed. Raises OSError."""
        try:
            names.check_within(descriptor, self._within)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    @staticmethod
    def _listed(descriptor: int) -> Iterator[bytes]:
        return iter(sorted(os.fsencode(name) for name in os.listdir(descriptor)))

    def _one(self, index: int, below: bytes, name: bytes, folder: int | None, status: os.stat_result) -> Found:
        """What is no folder. Raises OSError."""
        if len(below) > self._limits.files_path_max:
            raise names.refusal(errno.ENAMETOOLONG, f"its path has more than {self._limits.files_path_max:,} bytes")
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(name, dir_fd=folder)
            return Found(index, below, status, target=target)
        special = names.special(status.st_mode)
        if special is not None:
            raise names.refusal(errno.EINVAL, f"it is {special}, which has no content to copy")
        descriptor = self._checked(os.open(name, _READ, dir_fd=folder))
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):  # swapped since we looked
            os.close(descriptor)
            raise names.refusal(errno.EINVAL, "it changed into something that is no file while it was opened")
        return Found(index, below, status, descriptor)
