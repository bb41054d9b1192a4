"""`remote-shell replay FILE`: what a terminal showed, as the server recorded it.

Neighbour: `cli.replaying` does it.
"""

from __future__ import annotations

import argparse
import math
import sys

from remote_shell.cli.arguments import seconds

DESCRIPTION = """\
Plays a recording (asciicast v2) that `serve --record` or asciinema made, at its
own pace. Space pauses, . goes on by one step while it is paused, q or Ctrl-C
leaves. Titles, clipboard and their like stay untouched, as they do by `run -t`.
Where stdout is no terminal, all of its output is written at once and as it is.
FILE may be - for stdin.\
"""
EXAMPLES = """\
exit status: 0; 1 if a part of FILE could not be read; 130 Ctrl-C

examples:
  remote-shell replay /var/lib/rec/20261128T175937.123Z-61825951c117-1.cast
  remote-shell replay --speed 4 --idle-limit 1 FILE      the long ones
  remote-shell replay --cat FILE                         how it ended, at once
  remote-shell replay FILE | grep -a passwd
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `replay` takes."""
    parser.usage = "%(prog)s [options] FILE"
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.add_argument("file", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--speed", metavar="N", type=_speed, default=1.0, help="N times as fast (default 1)")
    parser.add_argument(
        "--idle-limit",
        metavar="S",
        type=seconds,
        default=math.inf,
        help="no pause is longer than S seconds (else as it was)",
    )
    parser.add_argument("--cat", "--no-wait", dest="cat", action="store_true", help="all at once")
    parser.add_argument("-v", "--verbose", action="store_true", help="a traceback with an error")


def run(arguments: argparse.Namespace) -> int:
    """Play it; returns the exit status. Raises UsageError for what is no recording, OSError."""
    from remote_shell.cli.replaying import replay

    options = {"speed": arguments.speed, "idle_limit": arguments.idle_limit, "wait": not arguments.cat}
    if arguments.file == "-":
        return replay(sys.stdin.buffer, "stdin", **options)
    with open(arguments.file, "rb") as file:
        return replay(file, arguments.file, **options)


def _speed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.01 <= value <= 1000:
        raise argparse.ArgumentTypeError("must be a number from 0.01 to 1000")
    return value
