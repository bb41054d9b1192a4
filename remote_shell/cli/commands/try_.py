"""`remote-shell try [-- ARGV…]`: a server of our own on a private Unix socket, and the client, gone together.

Neighbours: `cli.trial` is the server, `commands.shell` and `cli.passing` are the client.
"""

from __future__ import annotations

import argparse

from remote_shell.cli.arguments import add_allow, add_trace, add_verbose, trace_option
from remote_shell.cli.commands.shell import add_prompt_options, person_or_script
from remote_shell.config.shell import ShellDefaults

DESCRIPTION = """\
Starts a server for you alone, on a Unix socket in a folder of its own, and
connects to it: to work in its shell, or to run ARGV with the exit status of
`run`. Both are gone when it ends, and with them what was left running in
the background. Nothing to set up.\
"""
EXAMPLES = """\
examples:
  remote-shell try
  remote-shell try -- uname -a
  echo 'for i in 1 2 3; do echo $i; done' | remote-shell try
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `try` takes."""
    parser.usage = "%(prog)s [options] [--] [ARGV…]"
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.add_argument("--noprofile", action="store_true", help="its shell reads none of the account's files")
    add_prompt_options(parser)
    add_allow(parser)
    add_trace(parser)
    add_verbose(parser)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Returns the exit status of the command or of the shell. Raises what server and client raise."""
    argv: list[str] = arguments.rest
    if argv[:1] == ["--"]:
        argv = argv[1:]
    elif argv and argv[0].startswith("-"):
        arguments.parser.error(f"unknown option {argv[0]!a}; to run a program of that name write -- before it")

    from remote_shell.cli.trial import Trial

    with Trial(
        verbose=arguments.verbose, startup_files=not arguments.noprofile
    ) as trial:  # forks: before anything is imported that minds
        if argv:
            from remote_shell.cli.passing import Errand, perform

            return perform(trial.target(), trace_option(arguments), Errand(argv), arguments.allow)
        given = ShellDefaults(arguments.prefix, "kill")  # there will be no server to keep a shell
        return person_or_script(
            trial.target(),
            trace_option(arguments),
            trial=True,
            plain=arguments.plain,
            given=given,
            allowed=arguments.allow,
        )
