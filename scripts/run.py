#!/usr/bin/env python3
"""Sets up the checkout if needed, then starts `remote-shell try`: server and client in one, gone when it ends.

    python3 scripts/run.py                   the REPL
    python3 scripts/run.py -- uname -a       one command

Standard library only; the set-up is _env.py's. It replaces itself by the program, so that signals, the terminal and the exit
status are the program's own.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # not there under PYTHONSAFEPATH

import _env


def main() -> None:
    python = _env.ensure("run")
    os.execv(python, [python, "-P", "-m", "remote_shell", "try", *sys.argv[1:]])


if __name__ == "__main__":
    main()
