"""A new host for hosts.toml, as `pair --name` adds it: a table at the end; what people wrote stays byte for byte. `hosts` reads."""

from __future__ import annotations

import os
import re

from remote_shell.config.edited import edit
from remote_shell.config.hosts import load_hosts, parse_toml
from remote_shell.config.paths import config_dir, expand_home, shown
from remote_shell.config.targets import Target
from remote_shell.errors import ConfigError, UsageError

_NEW_NAME = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]{0,63}", re.ASCII)


class NewHost:
    """A host that is to be added to the file. Made before the host is known, so that a name that is taken is told at once."""

    def __init__(self, name: str, identity: str | None, fingerprint: str, path: str | None = None) -> None:
        """Raises UsageError for a name that is none, or is another server's; ConfigError for the file, or a path that it can't hold."""
        if not _NEW_NAME.fullmatch(name):
            raise UsageError(
                f"{name[:80]!a} is no name for a host: letters, digits, '.', '_' and '-', the first no '-'"
            )
        self._name = name
        self._identity = os.path.abspath(expand_home(identity)) if identity is not None else None
        if self._identity is not None and not self._identity.isprintable():
            raise ConfigError(f"the path {shown(self._identity)} can't be written into hosts.toml; rename the file")
        self._fingerprint = fingerprint
        self._path = path or os.path.join(config_dir(), "hosts.toml")
        there = load_hosts(self._path).get(name)
        if there is not None and there.fingerprint != fingerprint:
            raise UsageError(f"{shown(self._path)} has a host {name} already; choose another name")

    def add(self, target: Target) -> None:
        """Append its table, unless there is one. Raises ConfigError."""
        key = f'"{self._name}"' if "." in self._name else self._name
        lines = [f"[hosts.{key}]", f'target = "{target.address}"', f'fingerprint = "{self._fingerprint}"']
        if self._identity is not None:
            hidden = self._identity.replace("\\", r"\\").replace('"', r"\"")
            lines.append(f'identity = "{hidden}"')
        table = "\n".join(lines)

        def appended(data: bytes) -> bytes:
            text = data.decode("utf-8", "surrogateescape")
            if self._name in load_hosts(self._path):
                return data
            text += ("\n" if text and not text.endswith("\n") else "") + ("\n" if text else "") + table + "\n"
            try:
                parse_toml(text, self._path)
            except ConfigError:  # `hosts` is an inline table, which nothing can be added to from below
                by_hand = "; ".join(lines)
                raise ConfigError(
                    f"{shown(self._path)} is written in another way; add this by hand: {by_hand}"
                ) from None
            return text.encode("utf-8", "surrogateescape")

        edit(self._path, appended, what="hosts file", guarded=False)
