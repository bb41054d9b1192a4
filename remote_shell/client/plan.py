"""A plan: where to connect, how to prove who we are, how the server proves itself. Both fronts begin with one.

Reads hosts.toml and names files, opens no connection, asks nobody. Neighbours: `login` carries it out.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from remote_shell.config.fingerprints import parse_fingerprint
from remote_shell.config.hosts import resolve
from remote_shell.config.paths import expand_home
from remote_shell.config.targets import Target
from remote_shell.errors import UsageError
from remote_shell.limits import DEFAULT_LIMITS, Limits

Path = str | os.PathLike[str]
Ask = Callable[[str], str]  # a prompt -> what was typed, unseen; EOFError when nobody answers
Confirm = Callable[[str], bool]  # a question -> yes or no


class Plan:
    """What `connect` was asked for, after hosts.toml had its say. An argument wins over the file."""

    __slots__ = (
        *("ask", "confirm", "connect_time", "fingerprint", "identity", "known_hosts", "limits", "name"),
        *("secret_file", "target"),
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
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Raises UsageError for the arguments, ConfigError for hosts.toml."""
        entry = None
        if isinstance(target, str):
            self.name = target  # what errors call the server
            self.target, entry = resolve(target)
        else:
            self.name, self.target = str(target), target
        if self.target.kind == "tcp" and not insecure_tcp:
            raise UsageError(
                f"{self.name} is unencrypted tcp; for exercises on this machine add --insecure-tcp (insecure_tcp=True) "
                "on both sides, otherwise use tls: or unix:"
            )
        if connect_timeout is not None and not connect_timeout > 0:
            raise UsageError("connect_timeout is a number of seconds above 0")
        self.identity = expand_home(os.fspath(identity)) if identity is not None else None
        self.secret_file = expand_home(os.fspath(secret_file)) if secret_file is not None else None
        if entry is not None and self.identity is None and self.secret_file is None:
            self.identity, self.secret_file = entry.identity, entry.secret_file
        pinned = fingerprint if fingerprint is not None else entry.fingerprint if entry is not None else None
        self.fingerprint = parse_fingerprint(pinned) if pinned is not None else None
        self.known_hosts = expand_home(os.fspath(known_hosts)) if known_hosts is not None else None
        self.connect_time = connect_timeout if connect_timeout is not None else limits.connect_time
        self.ask = ask
        self.confirm = confirm
        self.limits = limits
