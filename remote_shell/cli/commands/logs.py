"""`remote-shell logs [-f] TARGET JOB`: what a detached job wrote, on the streams on which it wrote it."""

from __future__ import annotations

import argparse

from remote_shell.cli.arguments import add_allow, add_job_arguments

DESCRIPTION = """\
Prints what a job wrote: its stdout on ours, its stderr on ours, byte for byte.
The server keeps the last 64 MiB of a job; what is gone is told on stderr.
Reading never holds a job up. Ctrl-C ends the reading and leaves the job alone.\
"""
EXAMPLES = """\
exit status: 0, or 125 if what became of the job is unknown; `wait` has the
job's own

examples:
  remote-shell logs build-box 3f2a9c81d0e4 2>/dev/null | tail -20
  remote-shell logs -f build-box 3f2a
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `logs` takes."""
    parser.usage = "%(prog)s [options] TARGET JOB"
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on until nobody holds its output; over lost connections too"
    )
    add_allow(parser)
    add_job_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print it. Raises what the client raises."""
    from remote_shell.cli.job import connected, found, pass_on

    with connected(arguments) as host:
        pass_on(host, found(host, arguments.job), follow=arguments.follow, from_now=False, allowed=arguments.allow)
    return 0
