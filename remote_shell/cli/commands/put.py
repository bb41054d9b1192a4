"""`remote-shell put [-r] TARGET LOCAL… REMOTE`: files and folders, from here to there."""

from __future__ import annotations

import argparse

DESCRIPTION = """\
Copies LOCAL to REMOTE on TARGET, as cp does: into a folder that exists there,
or to a new name. REMOTE counts from HOME. Modes, times, symlinks and holes are
kept. Each file is checked by its SHA-256 and put in its place in one step.
What was cut off, by Ctrl-C or a lost connection, is gone on with next time.\
"""
EXAMPLES = """\
exit status: 0; 1 if something was not copied (it is named, the rest is copied);
125 no connection, or a lost one; 130 interrupted here

examples:
  remote-shell put build-box notes.txt .
  remote-shell put -r build-box src tests /srv/project/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `put` takes."""
    from remote_shell.cli import copying

    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    copying.add_arguments(parser, "LOCAL", "REMOTE")


def run(arguments: argparse.Namespace) -> int:
    """Copy. Raises what the client raises."""
    from remote_shell.cli import copying

    return copying.copy("put", arguments)
