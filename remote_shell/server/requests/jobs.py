"""request=jobs, job_logs, job_wait, job_signal, job_remove: what clients ask of detached jobs, each of its own principal's.

Must never hold a job up: logs are read from the disk at the client's pace. Neighbours: `detach` starts jobs, `server.jobs` has the links.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Literal

from remote_shell.errors import CommandError, ConfigError
from remote_shell.jobs.log import STDERR, STDOUT, LogReader
from remote_shell.jobs.table import JobFacts, open_folder, read_facts
from remote_shell.process.base import signal_name, signal_number
from remote_shell.server.context import Context
from remote_shell.server.jobs import KeeperLink
from remote_shell.server.requests.base import Inert, Request, ServerChannel, SessionChannel, reason
from remote_shell.wire.messages import Detached, Exit, Gap, Job, Jobs, Open, Rejected, Report, to_system

_TOLD_AT_ONCE = 50  # jobs of a list
_AGAIN = 0.05  # seconds until a keeper that begins, ends, or has too many watchers is asked again
_NO_JOB = "no job of yours has this id: it never was, was removed, or is older than jobs are kept"


def start_jobs(context: Context, channel: SessionChannel, message: Open) -> Request | None:
    """List them."""
    if channel.count(Listing) >= context.limits.jobs_listings_max:
        channel.reject(
            "resources", f"{context.limits.jobs_listings_max} such lists are being made; ask again when one is there"
        )
        return None
    try:
        listing = context.jobs.listing(channel.principal)
    except ConfigError as error:
        channel.reject("resources", reason(error))
        return None
    context.jobs.sweep()
    return Listing(context, channel, listing)


def start_job_logs(context: Context, channel: ServerChannel, message: Open) -> Request | None:
    """Send a log, and what is added to it."""
    return _with_folder(context, channel, message, "logs")


def start_job_wait(context: Context, channel: ServerChannel, message: Open) -> Request | None:
    """Tell the end."""
    return _with_folder(context, channel, message, "wait")


def start_job_signal(context: Context, channel: ServerChannel, message: Open) -> Request | None:
    """Have the keeper signal it."""
    if message.signal is None:
        channel.reject("bad_request", "job_signal needs a signal")
        return None
    try:
        number = signal_number(message.signal)
    except CommandError as error:
        channel.reject("bad_request", str(error))
        return None
    return _with_folder(context, channel, message, "signal", number)


def start_job_remove(context: Context, channel: ServerChannel, message: Open) -> Request | None:
    """Forget it."""
    return _with_folder(context, channel, message, "remove")


def _with_folder(
    context: Context,
    channel: ServerChannel,
    message: Open,
    what: Literal["logs", "wait", "signal", "remove"],
    number: int = 0,
) -> Request | None:
    try:
        folder = open_folder(context.jobs.table.path_of(channel.principal, message.id))
    except (OSError, ConfigError) as error:
        channel.reject("resources", reason(error))
        return None
    try:
        facts = None if folder is None else read_facts(folder)
    except OSError as error:
        if folder is not None:
            os.close(folder)
        channel.reject("resources", reason(error))
        return None
    if folder is None or facts is None:
        if folder is not None:
            os.close(folder)
        channel.reject("no_such_job", _NO_JOB)
        return None
    if what in ("logs", "wait"):
        return Watch(context, channel, message, folder, facts)
    if what == "signal":
        return Asking(context, channel, folder, facts, b"signal %d\n" % number)
    if facts.state == "running" and not message.force:
        os.close(folder)
        channel.reject("job_running", "it runs; end it first, or force it")
        return None
    if not message.force:  # its keeper is about to go, unless somebody holds its output
        return Asking(context, channel, folder, facts, b"follow\n", remove=True, patience=context.limits.job_leave_time)
    return Asking(context, channel, folder, facts, b"kill %d\n" % int(context.limits.kill_grace * 1000), remove=True)


def told(facts: JobFacts, **more: Any) -> Job:
    """A job as messages carry it."""
    started, status = facts.started or {}, facts.status or {}
    values: dict[str, Any] = {
        "id": facts.id,
        "state": facts.state,
        "command": str(facts.claim.get("command", ""))[:1000],
        "cwd": to_system(os.fsencode(str(facts.claim.get("cwd", "")))) if facts.claim.get("cwd") else None,
        "pid": started.get("pid"),
        "started_at_ms": started.get("started_at_ms"),
    }
    if status:
        values |= {"ended_at_ms": status["ended_at_ms"], **_end_of(status)}
    return Job.of(**values, **more)


def _end_of(status: dict[str, Any]) -> dict[str, Any]:
    died = status["signal"] > 0
    return {
        "status": None if died else status["status"],
        "signal": signal_name(status["signal"]) if died else None,
        "timed_out": status["timed_out"],
        "duration_us": status["duration_us"],
    }


class _Passive(Inert):
    """What all these requests have in common: a job goes on anyway."""

    idle = True  # a server that ends need not wait for it


class Listing(_Passive):
    """All jobs, read by a thread: a thousand folders take a tenth of a second. To tell of them takes as long, and is done in parts."""

    def __init__(self, context: Context, channel: ServerChannel, reading: asyncio.Future[list[JobFacts]]) -> None:
        super().__init__(channel)
        self._loop = context.loop
        reading.add_done_callback(self._read)

    def _read(self, reading: asyncio.Future[list[JobFacts]]) -> None:
        if reading.cancelled():
            return
        error = reading.exception()
        if error is not None:
            self._channel.reject("resources", str(error))
            return
        self._tell(reading.result(), 0)

    def _tell(self, jobs: list[JobFacts], at: int) -> None:
        for facts in jobs[at : at + _TOLD_AT_ONCE]:
            self._channel.send(told(facts))
        if at + _TOLD_AT_ONCE < len(jobs):
            self._loop.call_soon(self._tell, jobs, at + _TOLD_AT_ONCE)  # after the others' turns
            return
        self._channel.send(Jobs(count=len(jobs)))
        self._channel.finish()


class _Asked(_Passive):
    """A request about one job."""

    def __init__(self, context: Context, channel: ServerChannel, folder: int, facts: JobFacts) -> None:
        super().__init__(channel)
        self._context = context
        self._folder = folder  # ours
        self._facts = facts
        self._link: KeeperLink | None = None
        self._over = False

    def _read_again(self) -> None:
        try:
            self._facts = read_facts(self._folder) or self._facts
        except OSError:  # no descriptor is left: as far as is known it is as it was, and is looked at again
            return

    def _finish(self) -> None:
        if self._over:
            return
        self._over = True
        if self._link is not None:
            self._link.close()
        os.close(self._folder)
        self._channel.finish()


class Asking(_Asked):
    """One request to the keeper: a signal, or the end of all, after which the job is removed. Answered by `report`."""

    def __init__(
        self,
        context: Context,
        channel: ServerChannel,
        folder: int,
        facts: JobFacts,
        line: bytes,
        *,
        remove: bool = False,
        patience: float | None = None,
    ) -> None:
        """`patience`: seconds for a keeper that goes by itself."""
        super().__init__(context, channel, folder, facts)
        self._remove = remove
        self._line = line
        limits = context.limits
        self._forced = patience is None
        if patience is None:
            patience = limits.kill_grace + limits.kill_give_up + limits.end_time
        self._timer = context.loop.call_later(patience, self._too_slow)
        if facts.kept:
            self._ask()
        else:
            self._gone()

    def _ask(self) -> None:
        if not self._over:
            self._link = KeeperLink(self._context.loop, self._folder, self._line, self._heard, self._gone)

    def _heard(self, line: bytes) -> None:
        if self._remove:
            return  # until it is gone
        if line == b"late":
            self._read_again()
        self._report()

    def _gone(self) -> None:
        before = self._facts
        self._read_again()
        if self._facts.kept:
            self._context.loop.call_later(_AGAIN, self._ask)
            return
        if self._remove:
            try:
                self._context.jobs.table.remove(self._facts)
            except OSError as error:
                self._reject("refused", f"it could not be removed: {reason(error)}")
                return
            if before.claim.get("once"):
                self._context.claims.free(before.principal, before.id)
            if before.state != "running":
                self._facts = before
        self._report()

    def _report(self) -> None:
        end = _end_of(self._facts.status) if self._facts.status is not None else {}
        state = self._facts.state
        self._channel.send(Report.of(state=state, status=end.get("status"), signal=end.get("signal")))
        self._timer.cancel()
        self._finish()

    def _too_slow(self) -> None:
        if self._forced:
            self._reject("refused", "its keeper does not answer: it hangs, or its log cannot be written")
        else:
            self._reject("job_running", "processes that it left hold its output; end them first, or force it")

    def _reject(self, code: str, text: str) -> None:
        if not self._over:
            self._channel.send(Rejected(code=code, detail=text))
            self._timer.cancel()
            self._finish()


class Watch(_Asked):
    """A job's log or its end, told as far as it is known and then as it comes."""

    def __init__(self, context: Context, channel: ServerChannel, message: Open, folder: int, facts: JobFacts) -> None:
        super().__init__(context, channel, folder, facts)
        self._only_end = message.request == "job_wait"
        self._follow = message.follow or self._only_end
        self._from_now = message.from_now
        self._reader = LogReader(folder, message.stdout_from, message.stderr_from)
        self._begun = False
        self._full = False  # the channel's queue
        self._exit_told = False
        self._kept = facts.kept  # as far as we know
        self._trouble = ""
        self._timer: asyncio.TimerHandle | None = None
        if self._kept:
            self._ask()
            if not self._from_now:  # that only a keeper knows
                self._timer = context.loop.call_later(context.limits.job_answer_time, self._begin)
        else:
            self._begin()

    def _ask(self) -> None:
        if not self._over:
            self._link = KeeperLink(self._context.loop, self._folder, b"follow\n", self._heard, self._gone)

    def writable(self) -> None:
        """Read on."""
        self._full = False
        self._pump()

    def kill(self, grace: float) -> None:
        """The client is gone; the job is not."""
        if not self._over:
            if not self._begun:
                self._channel.send(told(self._facts))
            self._stop()

    # --- from the keeper

    def _heard(self, line: bytes) -> None:
        words = line.split(b" ", 1)
        if words[0] == b"at":
            self._read_again()
            if not self._begun:
                if self._from_now:
                    self._reader.start_at(*map(int, words[1].split()))
                self._begin()
                return
        if words[0] == b"trouble":
            self._trouble = words[1].decode("utf-8", "replace")
            if not self._begun:
                return  # it is said with the first word
            self._channel.send(told(self._facts, trouble=self._trouble))
        elif words[0] == b"ended":
            self._read_again()
        self._pump()  # `+`: there is more

    def _gone(self) -> None:
        self._read_again()
        if self._facts.kept:
            self._context.loop.call_later(_AGAIN, self._ask)
            return
        self._kept = False
        if not self._begun:
            self._begin()
            return
        if self._facts.state == "unknown":
            self._channel.send(told(self._facts))
        self._pump()

    # --- to the client

    def _begin(self) -> None:
        if self._over or self._begun:
            return
        self._begun = True
        if self._from_now and not self._kept:
            status = self._facts.status or {}
            self._reader.wanted = [0, status.get("stdout", 2**53 - 1), status.get("stderr", 2**53 - 1)]
        if self._only_end:
            self._channel.send(told(self._facts, trouble=self._trouble))
        else:
            _, stdout, stderr = self._reader.wanted
            self._channel.send(told(self._facts, stdout_at=stdout, stderr_at=stderr, trouble=self._trouble))
        self._pump()

    def _pump(self) -> None:
        """Send what there is, as far as the client takes it."""
        if self._over or self._full or not self._begun:
            return
        if not self._only_end:
            try:
                pieces = self._reader.read()
            except OSError as error:
                self._channel.send(told(self._facts, trouble=f"its log cannot be read: {reason(error)}"))
                self._stop()
                return
            for stream, _, data, dropped in pieces:
                if dropped:
                    self._channel.send(Gap.of(stream=stream, dropped=dropped))
                elif not self._channel.send_data(stream, data):
                    self._full = True
            if pieces:
                if not self._full:
                    self._context.loop.call_soon(self._pump)  # after the others' turns
                return
        self._at_end()

    def _at_end(self) -> None:
        """Nothing more is there now."""
        status = self._facts.status
        if status is not None and not self._exit_told:
            self._exit_told = True
            self._say_lost(status)
            self._channel.send(Exit.of(**_end_of(status)))
            if not self._only_end and self._follow and self._kept:
                return
        if (self._only_end and self._exit_told) or not (self._follow and self._kept):
            self._stop()

    def _say_lost(self, status: dict[str, Any]) -> None:
        """What its end counted and its log does not have: a disk that lost it."""
        if self._only_end:
            return
        for stream, name in ((STDOUT, "stdout"), (STDERR, "stderr")):
            lost = status[name] - self._reader.wanted[stream]
            if lost > 0:
                self._channel.send(Gap.of(stream=stream, dropped=lost))
                self._reader.wanted[stream] = status[name]

    def _stop(self) -> None:
        if self._over:
            return
        if not self._exit_told:
            self._channel.send(Detached())
        if self._timer is not None:
            self._timer.cancel()
        self._reader.close()
        self._finish()
