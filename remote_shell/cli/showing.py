"""How output of others reaches our own streams: untouched in a file or a pipe; on a terminal filtered, or its controls shown.

A program that has a terminal over there drives ours, but for what `terminal.filter` cuts; of all else `terminal.visible` shows the
controls. `allow` of hosts.toml, or --allow, says what is let through: titles and the clipboard of programs with a terminal, and "all" is
everything, of any program, as it comes. Imported only where a stream of ours may be a terminal. Neighbours: `passing`, `raw`, `live`, `job`
and `gathered` write.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Protocol

from remote_shell.cli.screen import Screen
from remote_shell.client.remote import RemoteProcess, write_all
from remote_shell.config.hosts import NOTHING_ALLOWED, Allowed, resolve


class Passage(Protocol):
    """What a stream passes on its way."""

    def feed(self, data: bytes) -> bytes:
        """More came; what of it goes on."""

    def end(self) -> bytes:
        """Nothing more comes; what goes at the end."""


class Untouched:
    """Every byte, as it came."""

    def feed(self, data: bytes) -> bytes:
        """The same."""
        return data

    def end(self) -> bytes:
        """Nothing."""
        return b""


def passage(descriptor: int, allowed: Allowed = NOTHING_ALLOWED, *, terminal: bool = False) -> Passage:
    """For one stream of a command, which goes to `descriptor`. `terminal`: the command has one over there."""
    if "all" in allowed or not os.isatty(descriptor):
        return Untouched()
    # a locale that says nothing else is taken for UTF-8, as Python takes it: "C" is what is there where none was set
    utf8 = getattr(sys.stdout, "encoding", "utf-8").lower().replace("-", "") == "utf8"
    if terminal:
        from remote_shell.terminal.filter import Filter

        return Filter(
            title="title" in allowed,
            clipboard="clipboard" in allowed,
            utf8=utf8,
            pictures=not _is_multiplexer(os.environ),
        )
    from remote_shell.terminal.visible import Visible

    return Visible(utf8=utf8)


def _is_multiplexer(environment: Mapping[str, str]) -> bool:
    """Ours is a terminal of tmux or screen, here or where we were called from."""
    return not environment.keys().isdisjoint(("TMUX", "STY")) or environment.get("TERM", "").startswith(
        ("tmux", "screen")
    )


def allowed_for(target: str, given: Allowed | None) -> Allowed:
    """What the command line said, else hosts.toml. Raises UsageError, ConfigError."""
    if given is not None:
        return given
    host = resolve(target)[1]
    return host.allow if host is not None else NOTHING_ALLOWED


@contextlib.contextmanager
def shown(
    process: RemoteProcess, allowed: Allowed, *, terminal: bool, descriptors: tuple[int, int] = (1, 2)
) -> Iterator[None]:
    """Within, what the command writes to `descriptors` passes as they can bear it."""
    passages = [passage(descriptor, allowed, terminal=terminal) for descriptor in descriptors]
    for stream, one in enumerate(passages, 1):
        if not isinstance(one, Untouched):
            process.pass_through(stream, one.feed)
    try:
        yield
    finally:
        for descriptor, one in zip(descriptors, passages, strict=True):
            if rest := one.end():
                with contextlib.suppress(OSError):
                    write_all(descriptor, [rest])


class Streams:
    """Both streams of commands that have no terminal, one command after the other."""

    def __init__(self, screen: Screen, allowed: Allowed) -> None:
        self._screen = screen
        self._passages = {descriptor: passage(descriptor, allowed) for descriptor in (1, 2)}

    def write(self, stream: int, data: bytes) -> None:
        """What the command wrote. Raises OSError."""
        self._screen.write(stream, self._passages[stream].feed(data))

    def end(self) -> None:
        """It has ended."""
        for descriptor, one in self._passages.items():
            with contextlib.suppress(OSError):
                self._screen.write(descriptor, one.end())
