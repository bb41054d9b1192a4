"""`remote-shell map [options] TARGET,…/@GROUP [--] ARGV…`: one command on many hosts.

Neighbours: `cli.mapping` runs it, `config.selection` says which hosts.
"""

from __future__ import annotations

import argparse

from remote_shell.cli.arguments import add_client_options, client_options, environment_pairs, seconds, split_rest
from remote_shell.cli.commands.run import command_id

DESCRIPTION = """\
Runs one command on many hosts at once and shows what they wrote, once for all
that wrote the same. TARGETS is a list with commas of targets, names and groups
of hosts.toml (@ci; @all is every host there) and ranges (node[1-9]). No host is
ever left out: a closing summary names each that failed, and how.\
"""
EXAMPLES = """\
exit status: 0 if the command ended with 0 on every host; 1 if not; 125 if it
ran nowhere: no host was reached, or one that was named, or a group, is not
known; 128+N if signal N ended us (Ctrl-C: 130; it ends the command everywhere)

examples:
  remote-shell map @ci uptime
  remote-shell map web1,web2,db[1-3] -- systemctl is-active nginx
  remote-shell map -l --parallel 8 -x @lab @all ./update
  remote-shell map --max-failures 1 --parallel 1 @web ./deploy    one by one
  remote-shell map --json @ci cat /etc/os-release | jq .target
  remote-shell map --stdin @all -- tee .tmux.conf < .tmux.conf\
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `map` takes."""
    parser.usage = "%(prog)s [options] TARGETS [--] ARGV…\n       %(prog)s [options] -c LINE TARGETS"
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    group = parser.add_argument_group("the hosts")
    group.add_argument("-x", "--exclude", metavar="LIST", action="append", default=[], help="but not these")
    group.add_argument("--parallel", metavar="N", type=count, help="so many hosts at once (else 64)")
    group.add_argument("--max-failures", metavar="N", type=count, help="start no other host once N have failed")
    group = parser.add_argument_group("the command")
    group.add_argument("-c", dest="line", metavar="LINE", help="a line for the account's shell there, instead of ARGV")
    group.add_argument("--cwd", metavar="DIR", help="start there; from HOME if it does not begin with /")
    group.add_argument(
        "--env", metavar="K=V", action="append", default=[], help="add to its environment; K alone has its value here"
    )
    group.add_argument("--timeout", metavar="S", type=seconds, help="end all its processes after S seconds")
    stdin = group.add_mutually_exclusive_group()
    stdin.add_argument("--stdin", action="store_true", help="every host gets a copy of our stdin (at most 16 MiB)")
    stdin.add_argument("-n", dest="no_stdin", action="store_true", help="its stdin is empty, as it is without --stdin")
    group.add_argument("--id", metavar="ID", type=command_id, help="run it at most once on each host, in 7 days")
    group = parser.add_argument_group("the output")
    manner = group.add_mutually_exclusive_group()
    manner.add_argument("-l", "--label", action="store_true", help="each line as it comes, after its host's name")
    manner.add_argument("--json", action="store_true", help="one JSON object for each host, on a line, as it ends")
    add_client_options(parser)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit status. Raises UsageError and ConfigError, before anything is run."""
    parser: argparse.ArgumentParser = arguments.parser
    targets, argv = split_rest(parser, arguments.rest, "no TARGETS and no command")
    if arguments.line is not None and argv:
        parser.error(f"-c {arguments.line!a} is the command; what is {argv[0]!a} after {targets!a} for?")
    if arguments.line is None and not argv:
        parser.error(f"no command after {targets!a}")
    environment = environment_pairs(parser, arguments.env)

    from remote_shell.cli.asking import answers
    from remote_shell.cli.mapping import Mapping, raise_descriptors, read_input
    from remote_shell.cli.passing import Errand
    from remote_shell.client.many import Plans, Turns, check_names
    from remote_shell.config.selection import select
    from remote_shell.limits import DEFAULT_LIMITS

    chosen = select([targets], arguments.exclude)
    parallel = min(arguments.parallel or DEFAULT_LIMITS.many_parallel, len(chosen))
    # a passphrase is asked once for all; whether a server is the right one can't be asked a hundred times
    plans = Plans(chosen, **client_options(arguments, many=True), ask=answers()["ask"])
    raise_descriptors(parallel)
    check_names(chosen, arguments.connect_timeout or DEFAULT_LIMITS.connect_time)
    errand = Errand(
        argv,
        line=arguments.line,
        cwd=arguments.cwd,
        env=environment or None,
        timeout=arguments.timeout,
        command_id=arguments.id,
    )
    manner = "label" if arguments.label else "json" if arguments.json else "gather"
    given = read_input() if arguments.stdin else None
    turns = Turns(plans.names, arguments.max_failures)
    return Mapping(plans, errand, turns, parallel, manner=manner, input=given).perform()


def count(text: str) -> int:
    """A number of 1 or more."""
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!a}: must be a whole number of 1 or more")
    return int(text)
