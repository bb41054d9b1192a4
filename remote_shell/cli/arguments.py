"""Parsers of the command line: argparse with our manners, and the options that several commands share.

Builds the parser of the one command that was called and of no other. Never connects and reads no file; --trace opens its own.
Neighbours: `main` calls it, `commands` fill it.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, NoReturn

from remote_shell.cli.exit_status import USAGE


class Parser(argparse.ArgumentParser):
    """argparse, with one line on stderr for what it refuses."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(USAGE)

    def _parse_optional(self, arg_string: str) -> Any:
        """`--trace` takes no next word, which is the target: its file comes behind "=" or not at all."""
        given = "--trace=" if arg_string == "--trace" and arg_string in self._option_string_actions else arg_string
        return super()._parse_optional(given)


class Layout(argparse.RawDescriptionHelpFormatter):
    """Help texts in two columns of their own width, whatever the terminal's: they are laid out by hand to fit 80."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=27, width=80)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return super()._format_action_invocation(action).replace("--trace FILE", "--trace[=FILE]")


def make_parser(name: str) -> Parser:
    """An empty parser for the command `name`. Abbreviated options are refused: a later release may make them ambiguous."""
    return Parser(prog=f"remote-shell {name}", formatter_class=Layout, allow_abbrev=False)


def add_client_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that connects."""
    group = parser.add_argument_group("connection")
    group.add_argument("--identity", metavar="FILE", help="log in with this key, and no other")
    group.add_argument("--secret-file", metavar="FILE", help="log in with the shared secret in this file")
    group.add_argument("--fingerprint", metavar="SHA256:…", help="the server's key must be this one; nobody is asked")
    group.add_argument("--known-hosts", metavar="FILE", help="the servers that are known (else known_hosts of ours)")
    group.add_argument("--connect-timeout", metavar="S", type=seconds, help="give up after S seconds (else 10)")
    group.add_argument("--insecure-tcp", action="store_true", help="allow a target tcp:…, which is not encrypted")
    add_trace(group)
    add_verbose(group)


def add_allow(parser: argparse._ActionsContainer) -> None:
    """For whatever shows output of others on a terminal."""
    parser.add_argument(
        "--allow",
        metavar="WHAT",
        type=allowed,
        help="let output set our terminal's title, clipboard, or do all (else hosts.toml's, or nothing)",
    )


def allowed(text: str) -> frozenset[str]:
    """`title`, `clipboard` and `all`, with commas between."""
    from remote_shell.config.hosts import ALLOW

    words = text.split(",")
    if unknown := next((word for word in words if word not in ALLOW), None):
        raise argparse.ArgumentTypeError(f"{unknown!a}: known are {', '.join(ALLOW)}")
    return frozenset(words)


def add_job_arguments(parser: argparse.ArgumentParser, jobs: str | None = None) -> None:
    """TARGET and JOB, or with `jobs` ("+") several; and how to connect."""
    parser.add_argument("target", metavar="TARGET", help="the server that has it")
    parser.add_argument("job", metavar="JOB", nargs=jobs, help="its id, as run --detach printed it, or how it begins")
    add_client_options(parser)


def client_options(arguments: argparse.Namespace, *, many: bool = False) -> dict[str, Any]:
    """What `connect` and `connect_async` take of them. `many`: for several hosts. Raises UsageError and OSError for --trace's file."""
    names = ("identity", "secret_file", "fingerprint", "known_hosts", "connect_timeout", "insecure_tcp")
    return {name: getattr(arguments, name) for name in names} | trace_option(arguments, many=many)


def add_trace(parser: argparse._ActionsContainer) -> None:
    """For whatever connects."""
    parser.add_argument("--trace", metavar="FILE", help="print each frame that crosses, or keep them in FILE")


def trace_option(arguments: argparse.Namespace, *, many: bool = False) -> dict[str, Any]:
    """What `connect` takes of --trace: nothing without it. Opens its file. Raises UsageError, OSError."""
    if arguments.trace is None:
        return {}
    from remote_shell.cli.tracing import opened

    return {"trace": opened(arguments.trace, named=many)}


def add_verbose(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("-v", "--verbose", action="store_true", help="say more; a traceback with an error")


def seconds(text: str) -> float:
    """A time above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:  # nan compares false
        raise argparse.ArgumentTypeError(f"{text!a}: must be a number of seconds above 0, such as 30 or 0.5")
    return value


def split_rest(parser: argparse.ArgumentParser, rest: list[str], missing: str) -> tuple[str, list[str]]:
    """TARGET and ARGV from what follows the options: `TARGET ARGV…` or `TARGET -- ARGV…`.

    Options end at TARGET: what follows is the command's, dashes and all.
    """
    words = rest[1:] if rest[:1] == ["--"] else rest
    if not words:
        parser.error(missing)
    target, argv = words[0], words[1:]
    if argv[:1] == ["--"]:
        return target, argv[1:]
    if argv and argv[0].startswith("-"):
        parser.error(
            f"options come before {target!a}, and {argv[0]!a} comes after it; to run a program of that name write -- before it"
        )
    return target, argv


def environment_pairs(parser: argparse.ArgumentParser, words: list[str]) -> dict[str, str]:
    """What `--env K=V` (that value) and `--env K` (our own value) add to the command's environment."""
    pairs = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name:
            parser.error(f"--env {word!a}: no name; write K=V, or K for the value it has here")
        if not equals:
            local = os.environ.get(name)
            if local is None:
                parser.error(f"--env {name}: it is not set here; write {name}=VALUE")
            value = local
        pairs[name] = value
    return pairs
