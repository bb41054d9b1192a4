"""`remote-shell jobs [--json] TARGET`: the detached jobs there that are ours."""

from __future__ import annotations

import argparse

from remote_shell.cli.arguments import add_client_options

DESCRIPTION = """\
Lists the jobs that `run --detach` started on TARGET with the same key, the
oldest first: those that run, and those that ended within the last week.\
"""
EXAMPLES = """\
examples:
  remote-shell jobs build-box
  remote-shell jobs --json build-box | jq -r 'select(.state=="running").job'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `jobs` takes."""
    parser.usage = "%(prog)s [options] TARGET"
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.add_argument("target", metavar="TARGET", help="the server that has them")
    parser.add_argument("--json", action="store_true", help="one JSON object a line for each")
    add_client_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """List them. Raises what the client raises."""
    from remote_shell.cli.job import connected, put, report, table

    with connected(arguments) as host:
        jobs = host.jobs()
    if arguments.json:
        for info in jobs:
            put(report(info))
    elif jobs:
        put(table(jobs))
    return 0
