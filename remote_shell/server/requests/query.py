"""request=query: what became of a command's id. Asking about an unknown id burns it."""

from __future__ import annotations

from remote_shell.server.claims import Claim
from remote_shell.server.context import Context
from remote_shell.server.requests.base import Request, SessionChannel
from remote_shell.server.requests.deferred import Deferred
from remote_shell.server.requests.jobs import told
from remote_shell.wire.messages import Open, Report


def start_query(context: Context, channel: SessionChannel, message: Open) -> Request | None:
    """Answer at once, or when the disk has answered."""
    job = context.jobs.find(channel.principal, message.id)
    if job is not None:
        job_end = told(job)
        channel.send(Report.of(state=job.state, status=job_end.status, signal=job_end.signal))
        channel.finish()
        return None
    state, claim = context.claims.ask(channel.principal, message.id, context.loop.time())
    if state == "asking":
        return Deferred(context, channel, claim, go=lambda: _answer(channel, claim, claim.verdict), drop=_nothing)
    if state == "wait":
        return Deferred(context, channel, claim, go=lambda: start_query(context, channel, message), drop=_nothing)
    return _answer(channel, claim, state)


def _answer(channel: SessionChannel, claim: Claim, state: str) -> Request | None:
    end = claim.exit
    if end is not None:
        channel.send(Report(state="finished", status=end.status, signal=end.signal, timed_out=end.timed_out))
    else:
        channel.send(Report.of(state=state))
    channel.finish()
    return None


def _nothing() -> None:
    """A question leaves nothing to take back."""
