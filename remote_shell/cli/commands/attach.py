"""`remote-shell attach TARGET JOB`: be there while a detached job runs. Live shells are attached by `shell`."""

from __future__ import annotations

import argparse

from remote_shell.cli.arguments import add_allow, add_job_arguments

DESCRIPTION = """\
Shows what a job writes from now on and ends as it ends. `logs -f` shows what it
wrote before, too. Ctrl-C leaves, and the job goes on: `signal` reaches the job.
A live shell that was left is not a job: `remote-shell shell` offers it.\
"""
EXAMPLES = """\
exit status: the job's own; 128+N if signal N ended it; 124 timed out; 125 our
own failure, or what became of the job is unknown; 130 interrupted here

examples:
  remote-shell attach build-box 3f2a
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `attach` takes."""
    parser.usage = "%(prog)s [options] TARGET JOB"
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    add_allow(parser)
    add_job_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Watch it; returns its status. Raises what the client raises."""
    from remote_shell.cli.exit_status import INTERRUPTED
    from remote_shell.cli.job import connected, found, pass_on, status_of
    from remote_shell.cli.main import complain

    with connected(arguments) as host:
        job = found(host, arguments.job)
        try:
            pass_on(host, job, follow=True, from_now=True, allowed=arguments.allow)
        except KeyboardInterrupt:
            complain(f"left: the job {job.id} goes on. Again: remote-shell attach {arguments.target} {job.id}")
            return INTERRUPTED
        return status_of(job.info())
