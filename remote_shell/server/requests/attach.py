"""request=shells, request=attach: the shells with a terminal that the same principal has, and taking one over."""

from __future__ import annotations

from remote_shell.server.context import Context
from remote_shell.server.requests.base import Request, SessionChannel
from remote_shell.wire.messages import Open, Shells

_MOST = 32  # in one list, those that were left and the newest of the others: with the longest of directories it still fits a frame


def start_shells(context: Context, channel: SessionChannel, message: Open) -> None:
    """Answer at once."""
    mine = context.terminals.of(channel.principal, lambda held: not (channel.holds(held) or held.is_told))
    if len(mine) > _MOST:  # the oldest of those in use are left out first: somebody has them
        mine.sort(key=lambda held: not held.is_held)
    channel.send(Shells(shells=[held.listed() for held in mine[-_MOST:]]))
    channel.finish()


def start_attach(context: Context, channel: SessionChannel, message: Open) -> Request | None:
    """Take the shell over, or say why not."""
    held = context.terminals.find(channel.principal, message.id)
    if held is None:
        unknown = "no shell of yours has this id: it ended long ago, or before the server was started anew"
        channel.reject("no_such_shell", context.terminals.end_of(channel.principal, message.id) or unknown)
        return None
    if held.restrictions != context.restrictions_of(channel.principal):  # `revocation` is about to end it
        channel.reject(
            "not_permitted", "what this key may do has changed since this shell began; it ends, start another"
        )
        return None
    if message.terminal is None:
        channel.reject("bad_request", "a shell on a terminal is attached to a terminal: say which")
        return None
    return held.hand_over(channel, message)
