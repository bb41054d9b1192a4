"""`remote-shell run [options] TARGET [--] ARGV…`: one command over there, as if it ran here.

Neighbours: `cli.passing` runs it with our own streams, `cli.report` for --json.
"""

from __future__ import annotations

import argparse
import os
import re

from remote_shell import PIPE
from remote_shell.cli.arguments import (
    add_allow,
    add_client_options,
    client_options,
    environment_pairs,
    seconds,
    split_rest,
)

DESCRIPTION = """\
Runs one command on TARGET. Its stdin, stdout and stderr are ours, byte for
byte, and its exit status is ours. Options end at TARGET: the words after it are
the program and its arguments, and no shell looks at them, unless with -c.
Ctrl-C and TERM reach the command as what they are; a second one ends its tree.\
"""
EXAMPLES = """\
exit status: the command's own; 128+N if signal N ended it; 124 timed out;
125 our own failure (the message says what is known of the command);
126 it can't be run; 127 it was not found; 130 interrupted here

examples:
  remote-shell run build-box make -j8
  remote-shell run -c 'cd /src && git log | head -3' build-box
  tar c . | remote-shell run build-box -- tar x -C /tmp/here
  remote-shell run -t build-box htop
  remote-shell run --json --timeout 60 build-box ./test.sh
  job=$(remote-shell run --detach build-box ./nightly)
  remote-shell run --id backup-7 build-box ./backup.sh      as often as you like
"""
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `run` takes."""
    parser.usage = "%(prog)s [options] TARGET [--] ARGV…\n       %(prog)s [options] -c LINE TARGET"
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    group = parser.add_argument_group("the command")
    group.add_argument("-c", dest="line", metavar="LINE", help="a line for the account's shell there, instead of ARGV")
    group.add_argument("--cwd", metavar="DIR", help="start there; from HOME if it does not begin with /")
    group.add_argument(
        "--env", metavar="K=V", action="append", default=[], help="add to its environment; K alone has its value here"
    )
    group.add_argument("--timeout", metavar="S", type=seconds, help="end all its processes after S seconds")
    group.add_argument(
        "-n", dest="no_stdin", action="store_true", help="its stdin is empty: for loops that read their own"
    )
    group.add_argument(
        "-t", "--pty", action="store_true", help="give it a terminal: for vim, top, sudo; its output is one stream then"
    )
    add_allow(group)
    group.add_argument("--json", action="store_true", help="say how it ended, and what it wrote, in one JSON object")
    group.add_argument(
        "--id",
        metavar="ID",
        type=command_id,
        help="run it at most once within 7 days: again, it only says how it ended",
    )
    group.add_argument(
        "-d",
        "--detach",
        action="store_true",
        help="start it, print its id, and go: it outlives us",
    )
    add_client_options(parser)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit status. Raises what the client raises."""
    parser: argparse.ArgumentParser = arguments.parser
    target, argv = split_rest(parser, arguments.rest, "no TARGET and no command")
    if arguments.line is not None and argv:
        parser.error(f"-c {arguments.line!a} is the command; what is {argv[0]!a} after {target!a} for?")
    if arguments.line is None and not argv:
        parser.error(f"no command after {target!a}; for a shell there: remote-shell shell {target}")
    environment = environment_pairs(parser, arguments.env)
    if arguments.detach:
        if arguments.pty:
            parser.error("--detach and --pty: a job has no terminal, since nobody is there to use it")
        return _detach(target, argv, arguments, environment)

    from remote_shell.cli.passing import Errand, perform

    errand = Errand(
        argv,
        line=arguments.line,
        cwd=arguments.cwd,
        env=environment or None,
        timeout=arguments.timeout,
        no_stdin=arguments.no_stdin,
        command_id=arguments.id,
        pty=arguments.pty,
    )
    options = client_options(arguments)
    if arguments.pty and not arguments.json and not arguments.no_stdin and os.isatty(0):
        from remote_shell.cli.raw import perform_on_terminal
        from remote_shell.cli.showing import allowed_for

        given = errand.arguments()
        return perform_on_terminal(
            target,
            options,
            lambda host: host.popen(**given, stdin=PIPE, stdout=PIPE),
            allowed=allowed_for(target, arguments.allow),
            timeout=arguments.timeout,
        )
    if arguments.json:
        from remote_shell.cli.report import perform_for_report

        return perform_for_report(target, options, errand)
    return perform(target, options, errand, arguments.allow)


def _detach(target: str, argv: list[str], arguments: argparse.Namespace, environment: dict[str, str]) -> int:
    from remote_shell.cli.job import connected, put, report

    arguments.target = target
    with connected(arguments) as host:
        job = host.detach(
            argv if arguments.line is None else arguments.line,
            shell=False if arguments.line is None else "account",
            cwd=arguments.cwd,
            env_add=environment or None,
            timeout=arguments.timeout,
            job_id=arguments.id,
        )
        put(report(job.info()) if arguments.json else job.id)
    return 0


def command_id(text: str) -> str:
    """An id as the protocol takes it."""
    if not _ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!a}: an id has 1 to 64 letters, digits, '.', '_' or '-'")
    return text
