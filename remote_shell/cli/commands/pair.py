"""`remote-shell pair`: the other end of `keys invite`. One key of ours is enrolled there, and the server is known from then on.

The line is read from the terminal, unseen, or from stdin, and never from the words of the command, which `ps` and histories show.
Neighbour: client's `pairing` does it.
"""

from __future__ import annotations

import argparse
import sys

from remote_shell.cli.arguments import add_trace, add_verbose, seconds, trace_option

DESCRIPTION = """\
Reads the line that `remote-shell keys invite` printed over there, from the
terminal or from stdin, and adds a key of yours to that server's list. The
server is known from then on: its key is in the line, and nobody has to compare
it. You need no key before: one is made.\
"""
EXAMPLES = """\
examples:
  remote-shell pair                     then paste the line, and Enter
  remote-shell pair --name box          from then on: remote-shell shell box
  xclip -o | remote-shell pair
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `pair` takes."""
    parser.usage = "%(prog)s [options]"
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.add_argument("--name", metavar="NAME", help="what you will call the server: goes into hosts.toml")
    parser.add_argument("--identity", metavar="FILE", help="enrol this key (else the first that logs in anyway)")
    parser.add_argument("--known-hosts", metavar="FILE", help="remember the server there (else in known_hosts of ours)")
    parser.add_argument(
        "--connect-timeout", metavar="S", type=seconds, help="give an address up after S seconds (else 10)"
    )
    add_trace(parser)
    add_verbose(parser)


def run(arguments: argparse.Namespace) -> int:
    """Pair. Raises UsageError and what `client.pairing.pair` raises."""
    from remote_shell.cli.asking import answers, read_unseen
    from remote_shell.client.pairing import pair
    from remote_shell.config.new_host import NewHost
    from remote_shell.identity.invitation import LINE_MAX, goes_on, parse_line

    ask = answers()["ask"]
    if sys.stdin.isatty() and ask is not None:
        print("Paste the invitation and press Enter; it is not shown.", file=sys.stderr)
        try:
            text = read_unseen("invitation: ", goes_on)
        except EOFError:
            text = ""
    else:
        text = sys.stdin.buffer.read(LINE_MAX + 1).decode("utf-8", "replace")
    invited = parse_line(text)
    # before anything is used up: the name is free
    named = NewHost(arguments.name, arguments.identity, invited.fingerprint) if arguments.name is not None else None
    done = pair(
        invited,
        identity=arguments.identity,
        known_hosts=arguments.known_hosts,
        connect_timeout=arguments.connect_timeout,
        ask=ask,
        **trace_option(arguments),
    )
    place = done.target.address
    how = "may log in there already" if done.again else "may log in there from now on"
    print(f"{place} is {_printable(done.host)}; commands run as {_printable(done.account)}.")
    print(_printable(f"Your key {done.key.fingerprint} {done.key.comment}".rstrip()) + f" {how}.")
    if named is not None:
        named.add(done.target)
        print(f"Next: remote-shell shell {arguments.name}", flush=True)
        return 0
    options = "".join(
        f" {option} {value}"
        for option, value in (("--identity", arguments.identity), ("--known-hosts", arguments.known_hosts))
        if value is not None
    )
    print(f"Next: remote-shell shell{options} {place}", flush=True)
    return 0


def _printable(text: str) -> str:
    """What the other side said."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
