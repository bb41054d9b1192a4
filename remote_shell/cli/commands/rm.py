"""`remote-shell rm [--force] TARGET JOB…`: forget detached jobs, and what they wrote."""

from __future__ import annotations

import argparse

from remote_shell.cli.arguments import add_job_arguments

DESCRIPTION = """\
Forgets jobs and their logs. One that runs is refused; with --force all its
processes are ended first, wherever they went: TERM, and 2 s later KILL. Jobs
that ended go by themselves after a week.\
"""
EXAMPLES = """\
exit status: 0, or 125 if one of them was not removed

examples:
  remote-shell rm build-box 3f2a
  remote-shell rm --force build-box 3f2a 91bc
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `rm` takes."""
    parser.usage = "%(prog)s [options] TARGET JOB…"
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.add_argument("-f", "--force", action="store_true", help="end those that run")
    add_job_arguments(parser, "+")


def run(arguments: argparse.Namespace) -> int:
    """Remove them, and go on after a failure. Raises what the client raises."""
    from remote_shell.cli.exit_status import FAILED
    from remote_shell.cli.job import connected, found
    from remote_shell.cli.main import complain
    from remote_shell.errors import CommandRefusedError

    status = 0
    with connected(arguments) as host:
        for word in arguments.job:
            try:
                found(host, word).remove(force=arguments.force)
            except CommandRefusedError as error:
                complain(str(error))
                status = FAILED
    return status
