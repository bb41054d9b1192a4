#!/usr/bin/env python3
"""Sets up the checkout with what tests need, then runs pytest from its top.

    python3 scripts/test.py [pytest's arguments]          the quick suite
    python3 scripts/test.py --all [pytest's arguments]    the slow tests too, with real programs from Debian

Standard library only; the set-up is _env.py's. It replaces itself by pytest, so the exit status is pytest's own.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # not there under PYTHONSAFEPATH

import _env

# program that the slow tests start -> Debian package that brings it
PROGRAMS = {
    "ansible-playbook": "ansible-core",
    "bash": "bash",
    "borg": "borgbackup",
    "bwrap": "bubblewrap",
    "chromium": "chromium",
    "debootstrap": "debootstrap",
    "fish": "fish",
    "git": "git",
    "less": "less",
    "ps": "procps",  # and top
    "rsync": "rsync",
    "script": "bsdutils",
    "setpriv": "util-linux",
    "sftp-server": "openssh-sftp-server",
    "ss": "iproute2",
    "ssh": "openssh-client",
    "sshd": "openssh-server",
    "systemd-analyze": "systemd",
    "tmux": "tmux",
    "tshark": "tshark",  # and dumpcap
    "vim.tiny": "vim-tiny",
    "zsh": "zsh",
}


def missing_packages() -> list[str]:
    """The Debian packages whose program is not to be found; searched too is what users' PATH leaves out."""
    import shutil

    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/lib/openssh"
    return [package for program, package in PROGRAMS.items() if shutil.which(program, path=path) is None]


def install_programs() -> None:
    missing = missing_packages()
    if missing and os.geteuid() != 0:
        raise _env.fail(f"--all needs more programs; type: sudo apt-get install -y {' '.join(missing)}")
    if missing:
        print(f"remote_shell: installing {' '.join(missing)}…", file=sys.stderr, flush=True)
        _env.apt_install(missing)
        if missing_packages():
            raise _env.fail(f"still missing after apt-get: {' '.join(missing_packages())}")


def main() -> None:
    arguments = sys.argv[1:]
    run_all = "--all" in arguments
    if run_all:
        arguments.remove("--all")
        install_programs()
    python = _env.ensure("test")
    # Without compiled files collecting takes five times as long, and each of the many programs that tests start half as long again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.chdir(_env.ROOT)
    os.execv(python, [python, "-m", "pytest", *([] if run_all else ["-m", "not slow and not screen"]), *arguments])


if __name__ == "__main__":
    main()
