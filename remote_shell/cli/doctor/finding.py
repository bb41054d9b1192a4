"""What a check says, what it is given, and how a table of checks is gone through. Neighbours: the modules with the checks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

from remote_shell.config.paths import places, quoted
from remote_shell.errors import CommandRefusedError, RemoteShellError

Level = Literal["ok", "warning", "fault"]
# Our errors end with what to type. What they say in prose has no line in it.
_LINE = re.compile(r": ((?:chmod|sed|ssh-keygen|ssh-add|puttygen|mkdir|ping|export|remote-shell) .+)$")


class Finding(NamedTuple):
    """One line. `fix` is what to type, empty where nothing is wrong."""

    level: Level
    text: str
    fix: str = ""


class Told(NamedTuple):
    """A finding, and whose it is."""

    group: str
    check: str
    finding: Finding


class Case:
    """What checks look at. `shared` is for what one check learns and a later one needs."""

    def __init__(self, **options: Any) -> None:
        self.identity: str | None = options.get("identity")
        self.secret_file: str | None = options.get("secret_file")
        self.fingerprint: str | None = options.get("fingerprint")
        self.config: str | None = options.get("config")
        self.connect_timeout: float | None = options.get("connect_timeout")
        self.insecure_tcp: bool = options.get("insecure_tcp") or False
        self.target: str | None = options.get("target")
        self.trace: Any = options.get("trace")
        self.folders = places()
        self.hosts_file = os.path.join(self.folders["config"], "hosts.toml")
        self.known_hosts: str = options.get("known_hosts") or os.path.join(self.folders["config"], "known_hosts")
        self.shared: dict[str, Any] = {}


Check = Callable[[Case], Iterable[Finding]]
Table = tuple[tuple[str, Check], ...]


def ok(text: str) -> Finding:
    return Finding("ok", text)


def warning(text: str, fix: str) -> Finding:
    return Finding("warning", text, fix)


def fault(text: str, fix: str) -> Finding:
    return Finding("fault", text, fix)


def of_error(error: BaseException, fix: str = "") -> Finding:
    """A fault from an error of ours: its text, with the line that it ends with taken as the fix, else `fix`."""
    text = str(error)
    found = _LINE.search(text)
    if found is None:
        return fault(text, fix or "remote-shell --help")
    return fault(text[: found.start()].removesuffix("; type").removesuffix(" type"), found[1])


def edit(path: str, line: int | None = None) -> str:
    """The line that opens a file in the person's editor."""
    at = f"+{line} " if line is not None else ""
    return f"${{EDITOR:-vi}} {at}{quoted(path)}"


def examine(group: str, table: Table, case: Case) -> Iterator[Told]:
    """Go through `table`. An error that a check lets out is its finding, and the next one runs all the same."""
    for name, check in table:
        try:
            for finding in check(case):
                yield Told(group, name, finding)
        except CommandRefusedError as error:  # a key that may not do all may well be meant so
            allowed = error.code != "not_permitted"
            yield Told(group, name, of_error(error) if allowed else ok(f"not looked at: {error.reason}"))
        except RemoteShellError as error:
            yield Told(group, name, of_error(error))
        except OSError as error:
            where = f"{error.filename}: " if isinstance(error.filename, str) else ""
            yield Told(group, name, fault(f"{where}{error.strerror or error}", "remote-shell doctor"))
