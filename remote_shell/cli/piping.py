"""`pipe` itself: the server of this account, found or started, and our stdin and stdout joined to it.

Each connection through ssh begins with it, so it imports neither argparse nor `limits`, which would double its start. Never writes to
stdout what the server did not say, but for the preamble. Neighbours: `starting`, `joining`; `commands.pipe` has its options.
"""

from __future__ import annotations

import os

from remote_shell.errors import UsageError

IDLE_TIME = 900.0  # seconds without anybody after which a server that was started so ends


def pipe(idle_exit: float = IDLE_TIME) -> int:
    """Join them until one side ends. Raises ConnectError, ConfigError, UsageError."""
    if os.isatty(0) or os.isatty(1):
        raise UsageError(
            "pipe carries a protocol, and here is a terminal; from the other machine: remote-shell shell ssh:HOST. "
            "If ssh gave it the terminal: without -t"
        )
    from remote_shell.cli.joining import join
    from remote_shell.cli.starting import reach_server
    from remote_shell.wire.preamble import PREAMBLE

    sock = reach_server(idle_exit)
    os.write(1, PREAMBLE)  # into an empty pipe: it goes whole
    join(sock)
    return 0
