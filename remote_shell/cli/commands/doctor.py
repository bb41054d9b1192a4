"""`remote-shell doctor [TARGET]`: what is wrong, and the line that mends it.

Only looks: makes no key and no folder, pins no server, asks nobody. Neighbours: `cli.doctor` has the checks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

DESCRIPTION = """\
Looks at this account's files, keys, sockets, versions and clock; with TARGET at
the way to that server, its key, the login, and what it can do. Below each fault
stands the line to type. Changes nothing, asks nothing, shows no secret.\
"""
EXAMPLES = """\
examples:
  remote-shell doctor
  remote-shell doctor --config /etc/remote-shell.toml     as a server with it
  remote-shell doctor build-box
  remote-shell doctor --json build-box

✓ is as it should be, ! may be wanted so, ✗ is wrong. Exit status: 0 without
any ✗, else 1.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `doctor` takes."""
    from remote_shell.cli.arguments import add_trace, seconds

    parser.usage = "%(prog)s [options] [TARGET]"
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.add_argument("target", metavar="TARGET", nargs="?", help="a server to look at from here")
    parser.add_argument("--json", action="store_true", help="all of it as one JSON object")
    parser.add_argument("--config", metavar="FILE", help="the settings that serve is given")
    parser.add_argument("--identity", metavar="FILE", help="look at this key, and log in with it")
    parser.add_argument("--secret-file", metavar="FILE", help="log in with the shared secret in this file")
    parser.add_argument("--fingerprint", metavar="SHA256:…", help="the server's key must be this one")
    parser.add_argument("--known-hosts", metavar="FILE", help="the servers that are known (else known_hosts of ours)")
    parser.add_argument("--connect-timeout", metavar="S", type=seconds, help="give up after S seconds (else 10)")
    parser.add_argument("--insecure-tcp", action="store_true", help="allow a target tcp:…, which is not encrypted")
    add_trace(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="a traceback with an error of ours")


def run(arguments: argparse.Namespace) -> int:
    """Print to stdout; 1 if anything is wrong. Raises ConfigError where no home folder is known."""
    import shutil

    from remote_shell.cli.arguments import trace_option
    from remote_shell.cli.doctor.finding import Case
    from remote_shell.cli.doctor.showing import Showing, summary
    from remote_shell.cli.screen import Screen

    case = Case(**{**vars(arguments), "trace": None, **trace_option(arguments)})
    told = []
    if arguments.json:
        told = list(_all(case))
        _print_json(told)
    else:
        encoding = sys.stdout.encoding or "ascii"
        screen = Screen(terminal=sys.stdout.isatty(), encoding=encoding)
        showing = Showing(screen, shutil.get_terminal_size().columns)
        for one in _all(case):
            told.append(one)
            for line in showing.lines(one):
                sys.stdout.buffer.write(f"{line}\n".encode(encoding, "replace"))
            sys.stdout.buffer.flush()
        print(f"\n{summary(told)}")
    return 1 if any(one.finding.level == "fault" for one in told) else 0


def _all(case: Any) -> Iterator[Any]:
    from remote_shell.cli.doctor import client_side, machine
    from remote_shell.cli.doctor.finding import examine

    yield from examine("as a client", client_side.CHECKS, case)
    if case.target is not None:
        from remote_shell.cli.doctor import other_side

        yield from other_side.go(case)
        return
    from remote_shell.cli.doctor import server_side

    yield from examine("as a server", server_side.CHECKS, case)
    yield from examine("this machine", machine.CHECKS, case)


def _print_json(told: list[Any]) -> None:
    import json

    findings = [{"group": one.group, "check": one.check, **one.finding._asdict()} for one in told]
    wrong = any(one.finding.level == "fault" for one in told)
    print(json.dumps({"ok": not wrong, "findings": findings}, ensure_ascii=False))
