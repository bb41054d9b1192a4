"""`remote-shell signal [-s NAME] TARGET JOB`: signal a detached job, as kill(1) does."""

from __future__ import annotations

import argparse

from remote_shell.cli.arguments import add_job_arguments

DESCRIPTION = """\
Signals the process group of a job. One that has ended is left as it is. To end
all processes of a job, those that left its group too: `rm --force`.\
"""
EXAMPLES = """\
examples:
  remote-shell signal build-box 3f2a
  remote-shell signal -s USR1 build-box 3f2a
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `signal` takes."""
    parser.usage = "%(prog)s [options] TARGET JOB"
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.add_argument(
        "-s", dest="signal", metavar="NAME", type=number, default="TERM", help="TERM, SIGINT, 9, RTMIN+1 … (else TERM)"
    )
    add_job_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Send it. Raises what the client raises."""
    from remote_shell.cli.job import connected, found

    with connected(arguments) as host:
        found(host, arguments.job).send_signal(arguments.signal)
    return 0


def number(text: str) -> int:
    """The number here of a signal, from its name with or without SIG, or its number."""
    from remote_shell.client.outcome import signal_name, signal_number

    try:
        if text.isascii() and text.isdigit():
            signal_name(int(text))
            return int(text)
        name = text.upper()
        found = signal_number(name if name.startswith("SIG") else f"SIG{name}")
        signal_name(found)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!a} is no signal; `kill -l` lists the names") from None
    return found
