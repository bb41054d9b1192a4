"""What `:info` tells: who and where, how that is protected, how far, since when, and what becomes of it when the link is lost.

Facts in, lines out; waits for nothing. Neighbours: `own_commands` asks for it and has the round trip measured before.
"""

from __future__ import annotations

import time

from remote_shell import __version__
from remote_shell.cli.nameplate import PRODUCTION, Nameplate
from remote_shell.cli.screen import duration_text, printable
from remote_shell.client.async_ import AsyncHost
from remote_shell.config.shell import OnLost

_WAYS = {
    "tls": "TLS 1.3: all of it is encrypted, both ways",
    "ssh": "ssh: it encrypts all, both ways, and says who is who; over there a Unix socket",
    "unix": "Unix socket: not encrypted, and nothing leaves this machine",
    "tcp": "plain TCP, NOT encrypted: whoever is between sees and can change everything",
}
_KNOWN = {"new": "new at this login", "known": "the one known here", "pinned": "the one that was asked for"}


def facts(
    host: AsyncHost,
    plate: Nameplate,
    *,
    began: float,
    connected: float,
    pid: int | None,
    directory: str,
    on_lost: OnLost,
    history: str,
) -> list[str]:
    """The lines. `began` and `connected` are when the session and the connection did, monotonic."""
    welcome, server, session = host.welcome, host.server, host.conversation.session
    now = time.monotonic()
    resumed = host.conversation.reconnects
    named = plate.text if plate.text != printable(welcome.host) else ""
    told = [
        ("host", f"{welcome.host}, as {welcome.account}"),
        ("named", f"{f'{PRODUCTION} ' if plate.production else ''}{named}" if named or plate.production else ""),
        ("target", str(host.target)),
        ("way", _WAYS[host.target.kind]),
        ("key", f"{host.server_key[0]}, {_KNOWN[host.server_key[1]]}" if host.server_key else host.fingerprint or ""),
        ("server", f"{server.software}, protocol {server.version}; this client {__version__}"),
        ("you are", welcome.principal),
        ("trip", f"{session.round_trip * 1000:.1f} ms" if session.round_trip is not None else "no answer"),
        ("session", f"for {duration_text(now - began)}" + (f", resumed {_times(resumed)}" if resumed else "")),
        ("connected", f"for {duration_text(now - connected)}" if host.conversation.retry is None else "not now"),
        ("if lost", _if_lost(welcome.grace_ms / 1000, on_lost)),
        ("shell", f"{f'pid {pid}, ' if pid is not None else ''}in {directory}"),
        ("history", history),
    ]
    return [f"{name:<10} {printable(text)}" for name, text in told if text]


def _if_lost(grace: float, on_lost: OnLost) -> str:
    """What becomes of the session without a connection."""
    if not grace:
        return "the session ends at once with its connection"
    then = "then what runs is ended" if on_lost == "kill" else "then the shell stays, to be attached again"
    return f"the session is kept for {grace:g} s, {then}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
