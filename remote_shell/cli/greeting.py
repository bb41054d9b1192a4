"""What a person reads before the first prompt: who is there, as whom, how far that can be believed, how to go on.

About six lines; one after three visits, since who comes daily knows the rest. Counting visits is never a reason to fail.
Neighbours: `commands.shell` shows it, `screen` has the words' colours.
"""

from __future__ import annotations

import os

from remote_shell.cli.nameplate import PRODUCTION, Nameplate
from remote_shell.cli.own_line import PREFIX
from remote_shell.cli.screen import printable

ALL_OF_IT = 3  # visits that get all lines
_COUNT_MAX = 16  # bytes of the file that counts


def greeting(
    plate: Nameplate,
    account: str,
    kind: str,
    key: tuple[str, str] | None,
    grace: float,
    *,
    trial: bool,
    visits: int,
    keeps: bool = False,
    prefix: str = PREFIX,
) -> list[str]:
    """The lines; what a production host means is said each time.

    `key` is the server's fingerprint and how we know it: "new", "known" or "pinned"; None without TLS.
    """
    warning = (
        [f"This is a {PRODUCTION} host: several pasted lines, and {prefix}bg, ask first."] if plate.production else []
    )
    if visits >= ALL_OF_IT:
        way = {"tls": "TLS 1.3", "ssh": "through ssh", "unix": "Unix socket", "tcp": "NOT encrypted"}[kind]
        return [*warning, f"{printable(account)} on {plate.text}, {way}. ? for help, Ctrl-D leaves."]
    way = {
        "tls": "Encrypted by TLS 1.3, both ways.",
        "ssh": "Through ssh, which encrypts it and knows the host by its own known_hosts.",
        "unix": "Through a Unix socket: nothing leaves this machine.",
        "tcp": "Over plain TCP, NOT encrypted: whoever is between sees and can change everything.",
    }[kind]
    known = {
        "new": "new, and remembered from now on",
        "known": "the one known here",
        "pinned": "the one that was asked for",
    }
    lines = [f"Connected to {plate.text} as {printable(account)}.", *warning]
    if key is not None:
        lines.append(f"Its key is {key[0]}: {known[key[1]]}.")
    lines.append(way)
    if trial:
        lines.append("This server runs for you alone and is gone when you leave.")
    elif grace >= 1:
        after = "the shell stays, to be attached again" if keeps else "what runs is ended"
        lines.append(f"The session outlives a cut link by {grace:.0f} s; after that {after}.")
    lines.append("One live shell: its directory, variables and functions stay from line to line.")
    lines.append("Ctrl-C interrupts, Tab completes, Ctrl-R searches the history; ? for help, Ctrl-D leaves.")
    return lines


def visits(path: str) -> int:
    """How often a REPL was opened before, by the file at `path`; this one is counted. 0 where that can't be known."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError:
        return 0
    try:
        text = os.read(descriptor, _COUNT_MAX)
        count = int(text) if text.isdigit() else 0
        if count <= ALL_OF_IT:  # no write at each start for ever
            os.pwrite(descriptor, b"%d" % (count + 1), 0)
        return count
    except OSError:
        return 0
    finally:
        os.close(descriptor)
