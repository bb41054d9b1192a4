"""Detached jobs as a program sees them: what both fronts' `Job` have in common. No I/O.

Names are those that people know: `detach` is docker's option, `jobs` the shell's word, `logs(follow=…)` and `remove(force=…)` are docker's,
`wait`, `send_signal`, `terminate`, `kill` and `returncode` are Popen's. `run(…, detach=True)` was rejected: a call should return one type.

Asking for a log, an end or a list changes nothing, and the same detached start is only told again: such calls go on over a new session,
also with another life of the server. Neighbours: `blocking_jobs` and `async_jobs` move the bytes.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

from remote_shell.client import opening
from remote_shell.client.outcome import returncode_of
from remote_shell.client.process import Mode, Noted, ProcessState
from remote_shell.client.redirect import STDOUT
from remote_shell.errors import CommandRefusedError, JobUnknownError, UsageError
from remote_shell.limits import Limits
from remote_shell.wire.messages import INTEGER_MAX, Exit, Gap, Job, Open, Report, from_system

_FIRST_DELAY, _DELAY_MAX = 0.1, 2.0  # seconds between attempts to reach a server that ended


class JobInfo(NamedTuple):
    """What is known of a job. Times are Unix times in seconds.

    `state`: "running"; "finished"; "unknown": its keeper died, and nobody can tell what became of it.
    """

    id: str
    state: Literal["running", "finished", "unknown"]
    command: str  # for people: as a shell would take it, as far as 1,000 characters
    cwd: str
    pid: int | None
    started_at: float | None
    ended_at: float | None
    returncode: int | None  # as Popen's: -N for signal N
    signal: str | None
    timed_out: bool
    duration: float | None  # seconds, of one that has ended
    trouble: str  # why it waits: its log cannot be written


class LogPiece(NamedTuple):
    """Some output of a job. `stream` is 1 or 2, `offset` where in it `data` begins; `dropped` bytes before that are gone for ever."""

    stream: int
    offset: int
    data: bytes
    dropped: int = 0


def info_of(job: Job) -> JobInfo:
    """From the server's word."""
    finished = job.state == "finished"
    end = Exit(status=job.status, signal=job.signal) if finished else None
    return JobInfo(
        job.id,
        job.state,
        job.command,
        os.fsdecode(from_system(job.cwd)) if job.cwd is not None else "",
        job.pid,
        job.started_at_ms / 1000 if job.started_at_ms is not None else None,
        job.ended_at_ms / 1000 if job.ended_at_ms is not None else None,
        returncode_of(end) if end is not None else None,
        job.signal,
        job.timed_out,
        job.duration_us / 1e6 if finished else None,
        job.trouble,
    )


class Reading:
    """Turns what came on a channel of `job_logs` or `job_wait` into pieces, and remembers where to go on after a loss."""

    def __init__(self, ident: str, *, follow: bool, from_now: bool, stdout_from: int, stderr_from: int) -> None:
        """Raises UsageError for an offset that there is not, TypeError for what is no whole number."""
        self.ident = ident
        self.job: Job | None = None
        self.exit: Exit | None = None
        self.on_job: Callable[[Job], None] | None = None  # hears of the job at once, though no output comes with it
        self._follow = bool(follow)  # the server ends the session for 1
        self._from_now = bool(from_now)
        self._at = [0, _offset(stdout_from), _offset(stderr_from)]

    @property
    def place(self) -> tuple[int, int]:
        """Offsets of what comes next."""
        return self._at[1], self._at[2]

    def message(self, limits: Limits) -> Open:
        """The `open` that begins, or goes on."""
        return request(
            "job_logs",
            self.ident,
            limits,
            follow=self._follow,
            from_now=self._from_now,
            stdout_from=self._at[1],
            stderr_from=self._at[2],
        )

    def take(self, noted: Iterable[Noted]) -> list[LogPiece]:
        """What came, in order."""
        pieces = []
        for one in noted:
            if isinstance(one, tuple):
                stream, data = one
                pieces.append(LogPiece(stream, self._at[stream], bytes(data)))
                self._at[stream] += len(data)
            elif isinstance(one, Gap):
                self._at[one.stream] += one.dropped
                pieces.append(LogPiece(one.stream, self._at[one.stream], b"", one.dropped))
            elif isinstance(one, Job):
                self.job = one
                if one.stdout_at is not None and one.stderr_at is not None:
                    self._at = [0, one.stdout_at, one.stderr_at]
                    self._from_now = False
                if self.on_job is not None:
                    self.on_job(one)
            elif isinstance(one, Exit):
                self.exit = one
        return pieces


def _offset(number: int) -> int:
    number = int(operator.index(number))
    if not 0 <= number <= INTEGER_MAX:
        raise UsageError(f"{number} is no place in a log: they go from 0 on")
    return number


def request(name: Any, ident: str, limits: Limits, **fields: Any) -> Open:
    """The `open` of a question about a job. Raises UsageError."""
    return Open.of(request=name, id=opening.checked_id(ident), window=limits.window, **fields)


def removal(ident: str, limits: Limits, force: bool) -> Open:
    """The `open` that has a job forgotten. Raises UsageError."""
    return request("job_remove", ident, limits, force=bool(force))  # the server ends the session for 1


def list_request(limits: Limits) -> Open:
    """The `open` of the question which jobs there are."""
    return request("jobs", os.urandom(8).hex(), limits)


def facts_request(ident: str, limits: Limits) -> Open:
    """The `open` that is answered by what is known of a job, and by none of its output."""
    return request("job_logs", ident, limits, stdout_from=INTEGER_MAX, stderr_from=INTEGER_MAX)


def noting(message: Open) -> ProcessState:
    """The state of such a request: what comes is kept in order."""
    state = ProcessState(message.id, message.id, Mode.HOLD, Mode.HOLD)
    state.noted = []
    return state


def detach_message(
    args: opening.Args,
    offer: list[Any] | None,
    limits: Limits,
    *,
    shell: opening.Shell,
    cwd: opening.Text | None,
    env: opening.Environment | None,
    env_add: opening.Environment | None,
    stderr: int | None,
    timeout: float | None,
    job_id: str | None,
) -> Open:
    """The `open` of a job. Raises what `popen` raises for arguments that make no sense."""
    if stderr not in (None, STDOUT):
        raise ValueError("a job's stderr is kept in its log: stderr is None, or STDOUT to join the two")
    argv, line = opening.argv_of(args, shell)
    return Open.of(
        request="exec",
        id=opening.checked_id(job_id) if job_id is not None else os.urandom(6).hex(),
        window=limits.window,
        argv=argv,
        line=line,
        cwd=None if cwd is None else opening.system_string(cwd),
        env=opening.pairs_of(env),
        env_add=opening.pairs_of(env_add),
        env_offer=offer if env is None else None,
        stdin="null",
        merge_stderr=stderr == STDOUT,
        timeout_ms=opening.milliseconds(timeout),
        once=job_id is not None,
        detach=True,
    )


def started(state: ProcessState, message: Open, name: str) -> str:
    """The id of the job that was asked for. Raises JobUnknownError."""
    if state.opened is None:
        raise JobUnknownError(
            f"{name} does not know whether the job {message.id} started: its keeper says nothing; ask again later",
            message.id,
        )
    return message.id


def unknown(name: str, ident: str) -> JobUnknownError:
    """What the end of a job is when nobody knows."""
    return JobUnknownError(
        f"{name}: what became of the job {ident} is unknown: its keeper was killed, or the machine went down. "
        "Its processes may still run; what it wrote until then is in its log",
        ident,
    )


def check_report(report: Report | None, name: str, ident: str) -> None:
    """After a signal. Raises JobUnknownError."""
    if report is not None and report.state == "unknown":
        raise unknown(name, ident)


def is_gone(error: CommandRefusedError) -> bool:
    """There is no such job."""
    return error.code == "no_such_job"


class Patience:
    """How long a call that changes nothing goes on trying after its connection was lost."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._delay = _FIRST_DELAY

    def next_delay(self) -> float | None:
        """Seconds to wait before the next attempt; None: it was long enough."""
        if self._left <= 0:
            return None
        delay = min(self._delay, self._left)
        self._left -= delay
        self._delay = min(self._delay * 2, _DELAY_MAX)
        return delay
