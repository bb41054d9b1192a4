"""A plan: where to connect, how to prove who we are, how the server proves itself. Both fronts begin with one.

Reads hosts.toml and names files, opens no connection, asks nobody. Neighbours: `login` carries it out.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from remote_shell.config.fingerprints import parse_fingerprint
from remote_shell.config.hosts import Host as Entry
from remote_shell.config.hosts import resolve
from remote_shell.config.paths import expand_home
from remote_shell.config.targets import Target
from remote_shell.errors import UsageError
from remote_shell.limits import DEFAULT_LIMITS, Limits

Path = str | os.PathLike[str]
Ask = Callable[[str], str]  # a prompt -> what was typed, unseen; EOFError when nobody answers
Confirm = Callable[[str], bool]  # a question -> yes or no
Trace = Callable[[Any], None]  # hears of each `tracing.TraceEvent`: a module that only who is traced has to import
OnLost = Literal["kill", "keep"]  # what becomes of live shells on terminals when the session's grace is over

_LONGEST = 1e9  # seconds, 31 years: a socket's timeout can't be much longer, nor the number in a message


class Trip(NamedTuple):
    """Where ssh goes. `again`: a connection was lost before, so nobody is asked anything; nor without a terminal (`asks`)."""

    name: str
    target: Target
    remote_command: str | None
    identity: str | None
    asks: bool
    again: bool


class Plan:
    """What `connect` was asked for, after hosts.toml had its say. An argument wins over the file."""

    __slots__ = (
        *("ask", "confirm", "connect_time", "fingerprint", "identity", "known_hosts", "limits", "name"),
        *("grace", "on_lost", "remote_command", "secret_file", "target", "trace"),
    )

    def __init__(
        self,
        target: str | Target,
        *,
        identity: str | os.PathLike[str] | None = None,
        secret_file: str | os.PathLike[str] | None = None,
        fingerprint: str | None = None,
        known_hosts: str | os.PathLike[str] | None = None,
        connect_timeout: float | None = None,
        insecure_tcp: bool = False,
        ask: Ask | None = None,
        confirm: Confirm | None = None,
        on_lost: OnLost = "kill",
        grace: float | None = None,
        trace: Trace | None = None,
        limits: Limits = DEFAULT_LIMITS,
        found: tuple[Target, Entry | None] | None = None,
    ) -> None:
        """`found` is what hosts.toml says of `target`, for who has read it.

        Raises UsageError for the arguments, ConfigError for the file.
        """
        entry = None
        if found is not None:
            self.name = str(target)
            self.target, entry = found
        elif isinstance(target, str):
            self.name = target  # what errors call the server
            self.target, entry = resolve(target)
        else:
            self.name, self.target = str(target), target
        if self.target.kind == "tcp" and not insecure_tcp:
            raise UsageError(
                f"{self.name} is unencrypted tcp; for exercises on this machine add --insecure-tcp (insecure_tcp=True) "
                "on both sides, otherwise use tls: or unix:"
            )
        if self.target.kind == "ssh":
            self._check_ssh(secret_file, fingerprint, known_hosts)
        if connect_timeout is not None and not connect_timeout > 0:
            raise UsageError("connect_timeout is a number of seconds above 0")
        self.identity = expand_home(os.fspath(identity)) if identity is not None else None
        self.secret_file = expand_home(os.fspath(secret_file)) if secret_file is not None else None
        if entry is not None and self.identity is None and self.secret_file is None:
            self.identity, self.secret_file = entry.identity, entry.secret_file
        self.remote_command = entry.remote_command if entry is not None else None
        pinned = fingerprint if fingerprint is not None else entry.fingerprint if entry is not None else None
        self.fingerprint = parse_fingerprint(pinned) if pinned is not None else None
        self.known_hosts = expand_home(os.fspath(known_hosts)) if known_hosts is not None else None
        if on_lost not in ("kill", "keep"):
            raise UsageError(f'on_lost is "kill" or "keep", not {on_lost!a}')
        if grace is not None and not 0 <= grace < math.inf:
            raise UsageError("grace is a number of seconds, 0 or above")
        self.on_lost = on_lost
        self.grace = None if grace is None else min(grace, _LONGEST)
        self.trace = trace
        self.connect_time = min(connect_timeout, _LONGEST) if connect_timeout is not None else limits.connect_time
        self.ask = ask
        self.confirm = confirm
        self.limits = limits

    @property
    def method(self) -> str:
        """How we prove who we are: "peer", "secret" or "key"."""
        return "peer" if self.target.kind in ("unix", "ssh") else "secret" if self.secret_file else "key"

    def _check_ssh(self, *ours: object) -> None:
        """What proves who is who between us has no meaning where ssh does that. Raises UsageError."""
        names = ("secret_file", "fingerprint", "known_hosts")
        for name, value in zip(names, ours, strict=True):
            if value is not None:
                raise UsageError(
                    f"{self.name} is reached through ssh, which says who is who: leave --{name.replace('_', '-')} ({name}=) away; "
                    "what ssh goes by is in ~/.ssh/config and ~/.ssh/known_hosts"
                )
