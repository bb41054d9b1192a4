"""`remote-shell pipe`: our stdin and stdout joined to the server of this account, which is started if there is none.

What a target `ssh:HOST` runs over there. Without options `main` calls `cli.piping` at once and does not come here.
"""

from __future__ import annotations

import argparse

from remote_shell.cli.arguments import seconds
from remote_shell.cli.piping import IDLE_TIME, pipe

DESCRIPTION = """\
Joins stdin and stdout to the server of this account: that on its default Unix
socket, or else a new one, in the background, on that socket alone. It is what
a target ssh:HOST runs on HOST; nobody needs to type it. The server that it
starts outlives it, logs to ~/.local/state/remote-shell/server.log, and ends
when nobody was there for a quarter of an hour; detached jobs go on. Its
settings are in ~/.config/remote-shell/server.toml, if there is such a file.\
"""
EXAMPLES = """\
examples:
  remote-shell shell ssh:build-box     runs `remote-shell pipe` on build-box
  command="remote-shell pipe",restrict ssh-ed25519 AAAA…
                                       in authorized_keys: a key for this alone
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `pipe` takes."""
    parser.usage = "%(prog)s [options]"
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--idle-exit",
        metavar="S",
        type=seconds,
        default=IDLE_TIME,
        help="a server that this starts ends after S seconds without a client (else 900)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Join them until one side ends. Raises ConnectError, ConfigError, UsageError."""
    return pipe(arguments.idle_exit)
