"""`remote-shell get [-r] TARGET REMOTE… LOCAL`: files and folders, from there to here."""

from __future__ import annotations

import argparse

DESCRIPTION = """\
Copies REMOTE from TARGET to LOCAL, as cp does: into a folder that exists here,
or to a new name. REMOTE counts from HOME. Modes and times are kept, symlinks
and holes too. Each file is checked by its SHA-256 and put in its place in one
step; nothing that the server says gets outside of LOCAL.
What was cut off, by Ctrl-C or a lost connection, is gone on with next time.\
"""
EXAMPLES = """\
exit status: 0; 1 if something was not copied (it is named, the rest is copied);
125 no connection, or a lost one; 130 interrupted here

examples:
  remote-shell get build-box /var/log/syslog .
  remote-shell get -r build-box results ./results-of-today
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `get` takes."""
    from remote_shell.cli import copying

    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    copying.add_arguments(parser, "REMOTE", "LOCAL")


def run(arguments: argparse.Namespace) -> int:
    """Copy. Raises what the client raises."""
    from remote_shell.cli import copying

    return copying.copy("get", arguments)
