"""`python -m remote_shell`: the same as the command `remote-shell`. Does nothing else. Neighbour: `cli.main`."""

from __future__ import annotations

import sys

from remote_shell.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
