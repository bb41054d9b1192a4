"""`keys list`: who may log in here, what each may do, when they were last here; lines that are refused, and invitations that are open.

Changes nothing. Neighbours: identity's `key_lines` reads the file, the server's `guestbook` knows the last logins.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

from remote_shell.cli.columns import columns
from remote_shell.config.paths import expand_home, shown
from remote_shell.config.running import running
from remote_shell.config.server import ServerConfig
from remote_shell.errors import ConfigError
from remote_shell.identity import key_lines
from remote_shell.identity.invitations import Invitations
from remote_shell.identity.key_lines import KeyLine
from remote_shell.server.guestbook import Visit, last_visit

_SHORT = len("SHA256:") + 12  # characters of a fingerprint: enough to tell keys apart, and for `revoke`


def the_list(given: str | None) -> str:
    """The authorized_keys file that is meant: the one given, the running server's, or the default. Raises ConfigError."""
    if given is not None:
        return os.path.abspath(expand_home(given))
    lists = {one.authorized_keys for one in running()}
    if len(lists) > 1:
        raise ConfigError(
            f"the servers that run here have several lists: {', '.join(map(shown, sorted(lists)))}; "
            "name one with --authorized-keys"
        )
    return lists.pop() if lists else ServerConfig().authorized_keys


def show_list(arguments: argparse.Namespace) -> None:
    """Print it. Raises ConfigError."""
    path = the_list(arguments.authorized_keys)
    lines = key_lines.read(path)
    if arguments.json:
        for line in lines:
            print(json.dumps(_report(path, line)))
        return
    listed = [line for line in lines if line.entry is not None]
    print(f"{shown(path)}: {_counted(len(listed), 'key')} may log in")
    if listed:
        print(columns([("KEY", "LAST LOGIN", "FROM", "COMMENT", "MAY"), *(_row(line) for line in listed)]))
    for line in lines:
        if line.entry is None:
            what = " ".join(filter(None, (line.kind, line.fingerprint[:_SHORT], line.comment[:80])))
            print(f"line {line.number} lets nobody in: {what}: {line.why}")
    for record in Invitations().open_ones():
        who, ends = f" for {record.label}" if record.label else "", time.localtime(record.until)
        until = time.strftime("%H:%M" if ends[:3] == time.localtime()[:3] else "%Y-%m-%d %H:%M", ends)
        print(f"an invitation{who} is open until {until}; to take it back: remote-shell keys revoke --invitations")
    sys.stdout.flush()


def _row(line: KeyLine) -> tuple[str, ...]:
    visit = _visit(line)
    at = "never" if visit is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(visit.at))
    source = "-" if visit is None else visit.source
    return line.fingerprint[:_SHORT], at, source, line.comment or "-", _may(line)


def _may(line: KeyLine) -> str:
    """In a few words what its options say, whose values are free text."""
    words = "" if line.entry is None else str(line.entry.restrictions)
    return "".join(sign if sign.isprintable() else "?" for sign in words) or line.options or "everything"


def _report(path: str, line: KeyLine) -> dict[str, object]:
    visit = _visit(line)
    return {
        "file": path,
        "line": line.number,
        "type": line.kind or None,
        "fingerprint": line.fingerprint or None,
        "comment": line.comment,
        "options": line.options,
        "allowed": line.entry is not None,
        "why": line.why or None,
        "last_login": None if visit is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(visit.at)),
        "last_source": None if visit is None else visit.source,
    }


def _visit(line: KeyLine) -> Visit | None:
    if line.entry is None:
        return None
    visit = last_visit(line.entry.principal)
    return (
        None if visit is None else visit._replace(source="".join(s if s.isprintable() else "?" for s in visit.source))
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
