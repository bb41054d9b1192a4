"""request=query: what became of a command's id. Asking about an unknown id burns it."""

from __future__ import annotations

from remote_shell.server.context import Context
from remote_shell.server.requests.base import ServerChannel
from remote_shell.wire.messages import Open, Report


def start_query(context: Context, channel: ServerChannel, message: Open) -> None:
    """Answer at once."""
    claim = context.claims.ask(channel.principal, message.id, context.loop.time())
    if claim is None:
        report = Report(state="never_received")
    elif claim.exit is None:
        report = Report(state="running")
    else:
        report = Report(state="finished", status=claim.exit.status, signal=claim.exit.signal)
    channel.send(report)
    channel.finish()
