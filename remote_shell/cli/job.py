"""What the commands about detached jobs share: the connection, which job is meant, how it is shown, its output on our streams.

Imports the client: the commands import it when they run, so that their help costs nothing. Neighbours: `commands.jobs`, `logs`, `attach`,
`wait`, `signal` and `rm` are each a few lines above this.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from remote_shell.cli import exit_status
from remote_shell.cli.arguments import client_options
from remote_shell.cli.asking import answers
from remote_shell.cli.columns import columns
from remote_shell.cli.main import complain
from remote_shell.cli.notices import Notices
from remote_shell.cli.passing import timer
from remote_shell.cli.report import json_text
from remote_shell.cli.showing import Passage, allowed_for, passage
from remote_shell.client.blocking import Host, connect
from remote_shell.client.blocking_jobs import Job
from remote_shell.client.jobs import JobInfo, Reading
from remote_shell.client.remote import write_all
from remote_shell.client.retry import State
from remote_shell.config.hosts import Allowed
from remote_shell.errors import CommandRefusedError, JobUnknownError
from remote_shell.wire.messages import Job as JobMessage

_STREAMS = {1: "stdout", 2: "stderr"}


@contextmanager
def connected(arguments: argparse.Namespace) -> Iterator[Host]:
    """A host of the blocking client; what becomes of the connection is told on a terminal."""
    target = arguments.target
    notices = Notices(target, complain, timer)

    def on_state(state: State) -> None:
        if state.name == "new_session":  # of which a job was no part
            notices.on_state(state._replace(name="connected"))
            complain(f"{target} is back with a new session; of a job nothing is lost")
        else:
            notices.on_state(state)

    with connect(target, on_state=on_state if os.isatty(2) else None, **answers(), **client_options(arguments)) as host:
        yield host


def found(host: Host, word: str) -> Job:
    """The job that a word means: its id, or the beginning of one id only. Raises CommandRefusedError, UsageError."""
    try:
        host.job(word).info()
        return host.job(word)
    except CommandRefusedError as error:
        if error.code != "no_such_job":
            raise
    matches = [one.id for one in host.jobs() if one.id.startswith(word)]
    if len(matches) > 1:
        text = f"{host.name}: {len(matches)} jobs begin with {word!a}: {', '.join(matches[:5])}; write more of it"
        raise CommandRefusedError(text, "ambiguous_job")
    if not matches:
        text = (
            f"{host.name} has no job {word!a} of yours: it never was, was removed, or is older than jobs are kept. "
            f"See: remote-shell jobs {host.name}"
        )
        raise CommandRefusedError(text, "no_such_job")
    return host.job(matches[0])


def pass_on(host: Host, job: Job, *, follow: bool, from_now: bool, allowed: Allowed | None) -> Reading:
    """Write a job's output to our own streams. Raises BrokenPipeError, and what the client raises.

    `allowed` is what it may do to our terminal; None: what hosts.toml says.
    """
    passages = [passage(stream, allowed_for(host.name, allowed)) for stream in _STREAMS]
    try:
        return _pass_on(host, job, follow, from_now, dict(zip(_STREAMS, passages, strict=True)))
    finally:
        for stream, one in zip(_STREAMS, passages, strict=True):
            with suppress(OSError):
                write_all(stream, [one.end()])


def _pass_on(host: Host, job: Job, follow: bool, from_now: bool, passages: dict[int, Passage]) -> Reading:
    reading = Reading(job.id, follow=follow, from_now=from_now, stdout_from=0, stderr_from=0)
    told = ""

    def tell(news: JobMessage) -> None:
        nonlocal told
        if news.trouble and news.trouble != told:
            complain(f"the job {job.id}: {news.trouble}")
        told = news.trouble

    reading.on_job = tell
    for piece in job.read(reading):
        if piece.dropped:
            complain(f"{piece.dropped:,} bytes of {_STREAMS[piece.stream]} are gone: the log keeps the last of it only")
        elif piece.data:
            write_all(piece.stream, [passages[piece.stream].feed(piece.data)])
    if reading.job is not None and reading.job.state == "unknown":
        raise JobUnknownError(
            f"{host.name}: what became of the job {job.id} is unknown: its keeper was killed, or the machine went down. "
            "This is what it wrote until then",
            job.id,
        )
    return reading


def status_of(info: JobInfo) -> int:
    """The exit status that tells of a job's end."""
    if info.timed_out:
        return exit_status.TIMED_OUT
    if info.signal is not None:
        return exit_status.of_signal(info.signal)
    return info.returncode if info.returncode is not None else exit_status.FAILED


def state_text(info: JobInfo) -> str:
    """One word or two."""
    if info.state != "finished":
        return info.state
    if info.timed_out:
        return "timed out"
    return info.signal if info.signal is not None else f"exit {info.returncode}"


def table(jobs: list[JobInfo]) -> str:
    """Them all, for people: a line each, below a heading."""
    rows = [("JOB", "STATE", "STARTED", "COMMAND")]
    for info in jobs:
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(info.started_at)) if info.started_at else "-"
        command = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in info.command)
        rows.append((info.id, state_text(info), started, command))
    return columns(rows)


def report(info: JobInfo) -> str:
    """One JSON object, with the names that `run --json` has."""
    facts = {
        "job": info.id,
        "state": info.state,
        "command": info.command,
        "cwd": info.cwd,
        "pid": info.pid,
        "started_at": time_text(info.started_at),
        "ended_at": time_text(info.ended_at),
        "exit_status": info.returncode if info.signal is None else None,
        "signal": info.signal,
        "timed_out": info.timed_out,
        "duration_s": info.duration,
        **({"trouble": info.trouble} if info.trouble else {}),
    }
    return json_text(facts)


def put(text: str) -> None:
    """A line on stdout, whatever its characters."""
    write_all(1, [f"{text}\n".encode("utf-8", "backslashreplace")])


def time_text(seconds: float | None) -> str | None:
    """RFC 3339, UTC, to the millisecond."""
    if seconds is None:
        return None
    whole, rest = divmod(round(seconds * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{rest:03}Z"
