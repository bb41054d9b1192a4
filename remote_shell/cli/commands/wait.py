"""`remote-shell wait TARGET JOB`: wait for a detached job's end, and end as it did."""

from __future__ import annotations

import argparse

from remote_shell.cli.arguments import add_job_arguments, seconds

DESCRIPTION = """\
Waits until a job has ended and ends with its status. What it wrote, and how it
ended, is on the server's disk by then. Goes on over lost connections, and when
the server is started anew.\
"""
EXAMPLES = """\
exit status: the job's own; 128+N if signal N ended it; 124 timed out; 125 our
own failure, or what became of the job is unknown; 130 interrupted here

examples:
  remote-shell wait build-box 3f2a && echo done
  remote-shell wait --json --timeout 60 build-box 3f2a
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `wait` takes."""
    parser.usage = "%(prog)s [options] TARGET JOB"
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.add_argument("--timeout", metavar="S", type=seconds, help="wait no longer; the job goes on, and it is 124")
    parser.add_argument("--json", action="store_true", help="say how it is in one JSON object")
    add_job_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Wait; returns its status. Raises what the client raises."""
    from remote_shell.cli.exit_status import TIMED_OUT
    from remote_shell.cli.job import connected, found, put, report, status_of
    from remote_shell.cli.main import complain
    from remote_shell.client.results import TimeoutExpired

    with connected(arguments) as host:
        job = found(host, arguments.job)
        try:
            job.wait(arguments.timeout)
        except TimeoutExpired:
            if arguments.json:
                put(report(job.info()))
            complain(f"the job {job.id} did not end within {arguments.timeout:g} s, and goes on")
            return TIMED_OUT
        info = job.info()
    if arguments.json:
        put(report(info))
    return status_of(info)
