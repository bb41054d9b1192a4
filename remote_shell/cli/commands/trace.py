"""`remote-shell trace FILE`: what `--trace=FILE` kept.

Neighbour: `cli.trace_showing` does it.
"""

from __future__ import annotations

import argparse
import sys

DESCRIPTION = """\
Shows what --trace=FILE of a client's command kept: one line for each frame,
with the seconds since the start, the connection's number, which way it went
(→ from here to there), channel, type, length, and the message or the data.
`masked` stands for what was never written down: secrets, values of variables,
and what was typed unseen or into a terminal. FILE may be - for stdin.\
"""
EXAMPLES = """\
exit status: 0; 1 if a part of FILE could not be read: what could be is shown

examples:
  remote-shell run --trace box true               no file: to stderr, at once
  remote-shell shell --trace=/tmp/t box           a terminal needs a file
  remote-shell trace /tmp/t | less
  remote-shell trace -x --type hello /tmp/t       each byte of the greetings
  remote-shell trace --json /tmp/t | jq .message
  tail -fn +1 /tmp/t | remote-shell trace -       from a second window
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `trace` takes."""
    parser.usage = "%(prog)s [options] FILE"
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.add_argument("file", metavar="FILE", help=argparse.SUPPRESS)
    manner = parser.add_mutually_exclusive_group()
    manner.add_argument("-x", "--hex", action="store_true", help="each frame's bytes too, its header by itself")
    manner.add_argument("--json", action="store_true", help="one JSON object a line, messages decoded, data whole")
    group = parser.add_argument_group("only some of the frames")
    group.add_argument("--channel", metavar="N", type=int, help="of this channel; 0 is the connection itself")
    group.add_argument(
        "--type", metavar="WORD", help="stdin, stdout, stderr, control; or of a message: hello, open, window…"
    )
    group.add_argument("--connection", metavar="N", type=int, help="that crossed on this one")
    group.add_argument("--host", metavar="NAME", help="of this one, in a trace of map")
    way = group.add_mutually_exclusive_group()
    way.add_argument("--sent", action="store_true", help="from here to there")
    way.add_argument("--received", action="store_true", help="from there to here")
    parser.add_argument("-v", "--verbose", action="store_true", help="a traceback with an error")


def run(arguments: argparse.Namespace) -> int:
    """Print to stdout; returns the exit status. Raises UsageError for what is no trace, OSError."""
    from remote_shell.cli.trace_showing import show

    if arguments.file == "-":
        return show(sys.stdin.buffer, "stdin", arguments)
    with open(arguments.file, "rb") as file:
        return show(file, arguments.file, arguments)
