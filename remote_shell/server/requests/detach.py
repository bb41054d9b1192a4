"""request=exec with `detach`: a command that outlives its channel, its session and this server."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from typing import Any

from remote_shell.errors import CommandError, ConfigError, RemoteProtocolError
from remote_shell.jobs import orders
from remote_shell.jobs.table import JobFacts
from remote_shell.process import launch
from remote_shell.process.environment import COMMAND_ID
from remote_shell.server.claims import Claim, request_hash
from remote_shell.server.context import Context
from remote_shell.server.jobs import Started
from remote_shell.server.requests.base import Inert, Request, ServerChannel, SessionChannel, reason
from remote_shell.server.requests.deferred import Deferred
from remote_shell.wire.messages import Detached, Open, Opened, Report, from_system, to_system

_SHOWN = 1000  # characters of a command in lists


def start_detached(context: Context, channel: SessionChannel, message: Open) -> Request | None:
    """Start a job, or say why not."""
    if message.terminal is not None or message.stdin != "null":
        channel.reject("bad_request", "a job has neither a terminal nor stdin: nobody is there to use them")
        return None
    if (message.argv is None) == (message.line is None) or message.argv == [] or message.subsystem is not None:
        channel.reject("bad_request", "exec takes argv or line, and not both")
        return None
    return _refusable(channel, lambda: _asked(context, channel, message))


def _asked(context: Context, channel: SessionChannel, message: Open) -> Request | None:
    known = context.jobs.table.find(channel.principal, message.id)
    if known is not None:
        _tell_again(channel, known, message)
        return None
    if _refuses_more(context, channel):  # before the disk is asked
        return None
    return _claimed(context, channel, message)


def _claimed(context: Context, channel: SessionChannel, message: Open) -> Request | None:
    verdict, claim = context.claims.claim(channel.principal, message, context.loop.time())
    if verdict == "asking":
        return Deferred(
            context,
            channel,
            claim,
            go=lambda: _refusable(channel, lambda: _start(context, channel, message, claim.verdict, claim)),
            drop=lambda: context.claims.release(claim),
        )
    if verdict == "wait":
        return Deferred(context, channel, claim, go=lambda: start_detached(context, channel, message), drop=_nothing)
    return _start(context, channel, message, verdict, claim)


def _start(context: Context, channel: SessionChannel, message: Open, verdict: str, claim: Claim) -> Request | None:
    if verdict == "id_unknown":  # this very job, of which there is no folder
        channel.reject(verdict, "a job had this id: it was removed to make room, or the server ended before it started")
        return None
    if verdict != "new":  # a command that is no job, or a question
        code = verdict if verdict in ("id_burnt", "id_not_kept") else "id_conflict"
        channel.reject(code, claim.why or "this id was used before, and not for this job")
        return None
    try:
        if _refuses_more(context, channel):  # many may have waited for the disk together
            context.claims.release(claim)
            return None
        return Detach(context, channel, message, claim)
    except BaseException:
        context.claims.release(claim)
        raise


def _refuses_more(context: Context, channel: SessionChannel) -> bool:
    """As many jobs run as may, or as many commands as this key may run, and that was told."""
    if context.jobs.is_full(channel.principal):
        channel.reject("too_many_jobs", "too many jobs run already: wait until some have ended, or end some")
        return True
    if context.has_all_it_may(channel.principal):
        channel.reject("not_permitted", "this key runs as many commands at once as it may; wait until one has ended")
        return True
    return False


def _refusable(channel: SessionChannel, start: Callable[[], Request | None]) -> Request | None:
    """What `start` returns, or why not is told."""
    try:
        return start()
    except (CommandError, RemoteProtocolError) as error:
        channel.reject(error.code, reason(error))
    except FileExistsError:  # by another server of this account, this very moment
        channel.reject("id_conflict", "another command ran under this id")
    except (OSError, ConfigError) as error:
        channel.reject("resources", f"the job has no place in the server's state folder: {reason(error)}")
    return None


def _nothing() -> None:
    """Nothing was begun."""


def _tell_again(channel: ServerChannel, known: JobFacts, message: Open) -> None:
    if known.claim.get("request") != request_hash(message).hex():
        channel.reject("id_conflict", "another command ran under this id")
        return
    started = known.started or {}
    channel.send(Opened.of(again=True, pid=started.get("pid"), started_at_ms=started.get("started_at_ms", 0)))
    channel.send(Detached())
    channel.finish()


class Detach(Inert):
    """A job whose keeper was started and has not said its word yet. Nothing that happens to the client changes it."""

    def __init__(self, context: Context, channel: ServerChannel, message: Open, claim: Claim) -> None:
        """Raises CommandError, RemoteProtocolError, OSError: nothing was started, and the claim is still the caller's."""
        self._context = context
        super().__init__(channel)
        self._claim = claim
        self._ident = message.id
        self._cwd = context.directory(message)
        env = context.environment(message)
        if message.env is None:
            env = {**env, COMMAND_ID: context.next_token().encode()}
        if message.argv is not None:
            self._argv = [from_system(word) for word in message.argv]
        else:
            assert message.line is not None, "one of the two"
            self._argv = [context.shell, b"-c", from_system(message.line)]
        self._program = launch.program_of(self._argv, self._cwd, env)
        confined, env_behind = context.confinement.confine(self._cwd, env)
        made = orders.make(
            launch.confine(self._argv, self._program, confined, env) if confined else self._argv,
            confined[0] if confined else self._program,
            cwd=self._cwd,
            env=env_behind,
            merge_stderr=message.merge_stderr,
            timeout=None if message.timeout_ms is None else message.timeout_ms / 1000,
            limits=context.limits,
            audit=context.audit.for_job(self._ident, channel.who),
        )
        facts: dict[str, Any] = {
            "request": request_hash(message).hex(),
            "command": shown(message),
            "cwd": os.fsdecode(os.path.normpath(self._cwd)),
            "once": message.once,
        }
        context.audit.starts(channel.who, message.id, "job", terminal=False, cwd=self._cwd, argv=self._argv)
        slot = context.jobs.table.claim(channel.principal, message.id, facts)
        try:
            context.jobs.start(made, slot, (channel.principal, message.id), self._told)
        except OSError as error:
            self._forget()
            raise launch.no_resources(error) from error
        context.jobs.sweep()

    def _told(self, word: Started) -> None:
        """The keeper's word."""
        if word[:1] == ("started",):
            _, pid, at = word
            cwd = to_system(os.path.normpath(self._cwd))
            self._channel.send(Opened.of(pid=int(pid), cwd=cwd, started_at_ms=int(at)))
            self._channel.send(Detached())
            self._channel.finish()
        elif word[:1] == ("failed",):
            _, tried, number = word
            error = launch.failure_of(int(number), str(tried), self._argv, self._program, self._cwd)
            self._forget()
            self._context.claims.release(self._claim)
            self._channel.reject(error.code, reason(error))
            return
        else:
            self._channel.send(Report(state="unknown"))
            self._channel.finish()
        self._context.claims.hand_over(self._claim)

    def _forget(self) -> None:
        table = self._context.jobs.table
        facts = table.find(self._channel.principal, self._ident)
        if facts is not None:
            table.remove(facts)


def shown(message: Open) -> str:
    """The command as a person would type it."""
    if message.line is not None:
        text = launch.show(from_system(message.line))
    else:
        text = shlex.join(launch.show(from_system(word)) for word in message.argv or ())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
