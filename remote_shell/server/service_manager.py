"""What systemd hears of a server that it started with Type=notify: one datagram each to the socket that it named, as sd_notify(3).

Without such a socket nothing is said, and a fault is no reason not to serve. Neighbour: `server.serve` knows when.
"""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger("remote_shell.server")


class Manager:
    """Who started us, if it wants to hear of us. Takes the name out of the environment: it is not for commands."""

    def __init__(self) -> None:
        name = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = f"\0{name[1:]}" if name.startswith("@") else name if os.path.isabs(name) else ""

    def tell(self, state: str) -> None:
        """READY=1 or STOPPING=1. Raises nothing, and never waits."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sock:
                sock.sendto(state.encode("ascii"), self._address)
        except OSError as error:
            log.warning("systemd was not told %s: %s", state, error.strerror)
