"""Detached jobs in the blocking front: `Host.detach`, `jobs` and `job` are made of this.

Must never send what is not the same when it is sent again, but for signals and removals, which are sent once. Neighbours: `jobs` decides.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from remote_shell.blocking.driver import Driver
from remote_shell.client import jobs, opening
from remote_shell.client.conversation import Conversation
from remote_shell.client.jobs import JobInfo, LogPiece, Reading
from remote_shell.client.outcome import returncode_of, sent_signal
from remote_shell.client.process import ProcessState
from remote_shell.client.redirect import NOWHERE
from remote_shell.client.remote import Remote
from remote_shell.client.results import TimeoutExpired
from remote_shell.errors import ConnectError, ConnectionLostError
from remote_shell.limits import Limits
from remote_shell.wire.messages import Job as JobMessage
from remote_shell.wire.messages import Open


class Requests:
    """What a host lends to its jobs."""

    def __init__(
        self,
        name: str,
        driver: Driver,
        conversation: Conversation,
        limits: Limits,
        start: Callable[[ProcessState, Open, Remote, memoryview | None], None],
        raise_refusal: Callable[[ProcessState, Open], None],
    ) -> None:
        self.name = name
        self.limits = limits
        self._driver = driver
        self._conversation = conversation
        self._start = start
        self._raise_refusal = raise_refusal

    def begin(self, message: Open) -> tuple[ProcessState, Remote]:
        """Send it. Raises ConnectionLostError, ConnectError."""
        state = jobs.noting(message)
        remote = Remote(self._driver, self._conversation, state, NOWHERE, self.limits)
        with self._driver:
            self._start(state, message, remote, None)
            self._driver.flush()
        return state, remote

    def ask(self, message: Open, *, again: bool = True) -> ProcessState:
        """Send it and wait for the whole answer; `again`: over a new session if need be. Raises CommandError, ConnectionLostError."""
        patience = self.patience()
        while True:
            try:
                state, remote = self.begin(message)
                remote.serve(lambda: state.closed)  # noqa: B023  # called before the loop goes on
                if state.opened is None or state.lost is None:
                    self._raise_refusal(state, message)
                return state
            except (ConnectionLostError, ConnectError) as error:
                self.recover(error, patience if again else jobs.Patience(0.0))

    def patience(self) -> jobs.Patience:
        """As long as the server keeps a session."""
        welcome = self._conversation.welcome
        return jobs.Patience(welcome.grace_ms / 1000 if welcome is not None else 0.0)

    def recover(self, error: ConnectionLostError | ConnectError, patience: jobs.Patience) -> None:
        """Wait before the next attempt, or raise `error`."""
        delay = patience.next_delay()
        if delay is None or self._driver.forked:
            raise error
        time.sleep(delay)

    def pieces(self, reading: Reading, deadline: float | None = None, *, only_end: bool = False) -> Iterator[LogPiece]:
        """All that a reading gets, until it ends. Raises CommandError, ConnectionLostError, TimeoutError at the deadline."""
        patience = self.patience()
        while True:
            message = jobs.request("job_wait", reading.ident, self.limits) if only_end else reading.message(self.limits)
            try:
                state, remote = self.begin(message)
            except (ConnectionLostError, ConnectError) as error:
                self.recover(error, patience)
                continue
            try:
                while True:
                    if not remote.serve(lambda: bool(state.noted) or state.closed, deadline):  # noqa: B023
                        raise TimeoutError
                    with self._driver:
                        noted = self._conversation.take_noted(state)
                        self._driver.flush()
                    if noted:
                        patience = self.patience()
                        yield from reading.take(noted)
                    elif state.closed:
                        self._raise_refusal(state, message)
                        return
            except (ConnectionLostError, ConnectError) as error:
                self.recover(error, patience)
            finally:
                if not state.closed:
                    with suppress(ConnectionLostError):
                        remote.abandon()  # of the watching; the job goes on


class Job:
    """One detached job, by its id. Nothing is asked before a method is called, and the job need not be one of this connection."""

    def __init__(self, requests: Requests, ident: str) -> None:
        self._requests = requests
        self._id = ident

    def __repr__(self) -> str:
        return f"<Job {self._id} on {self._requests.name}>"

    @property
    def id(self) -> str:
        """Its id, for `Host.job` and the command line."""
        return self._id

    def info(self) -> JobInfo:
        """What is known of it now. Raises CommandRefusedError (`no_such_job`), ConnectionLostError, as all methods do."""
        state = self._requests.ask(jobs.facts_request(self._id, self._requests.limits))
        return _infos(state)[-1]

    def logs(
        self, *, follow: bool = False, from_now: bool = False, stdout_from: int = 0, stderr_from: int = 0
    ) -> Iterator[LogPiece]:
        """What it wrote, in the order in which it came; with `follow` until nobody holds its output any more.

        `from_now` leaves out what was written before; the offsets say where to begin in each stream. A piece with `dropped` says how much
        is gone: older than the log is long. Closing the iterator leaves the job alone. Goes on over a lost connection where it was.
        """
        reading = Reading(self._id, follow=follow, from_now=from_now, stdout_from=stdout_from, stderr_from=stderr_from)
        return self._requests.pieces(reading)

    def read(self, reading: Reading) -> Iterator[LogPiece]:
        """As `logs`, with a `Reading` of the caller's: it knows the end, and where it is."""
        return self._requests.pieces(reading)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, as `Popen.wait`: the status, or -N for signal N. It is on the disk there by then.

        Raises subprocess's TimeoutExpired, which leaves the job alone, and JobUnknownError.
        """
        reading = Reading(self._id, follow=True, from_now=False, stdout_from=0, stderr_from=0)
        deadline = opening.deadline_in(timeout)
        try:
            for _ in self._requests.pieces(reading, deadline, only_end=True):
                pass
        except TimeoutError:
            assert timeout is not None, "without a deadline it waits"
            raise TimeoutExpired(self._id, timeout, job=self._id) from None
        if reading.exit is None:
            raise jobs.unknown(self._requests.name, self._id)
        return returncode_of(reading.exit)

    def send_signal(self, number: int) -> None:
        """Signal its process group; nothing happens after its end, nor with 0. Raises JobUnknownError, and OSError as Popen does."""
        name = sent_signal(number, False)
        if name is None:
            return
        message = jobs.request("job_signal", self._id, self._requests.limits, signal=name)
        jobs.check_report(self._requests.ask(message, again=False).report, self._requests.name, self._id)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, to the process group; `remove(force=True)` ends all its processes."""
        self.send_signal(signal.SIGKILL)

    def remove(self, *, force: bool = False) -> None:
        """Forget it and its log. One that runs is refused (`job_running`), or with `force` ended first."""
        self._requests.ask(jobs.removal(self._id, self._requests.limits, force), again=False)


def list_jobs(requests: Requests) -> list[JobInfo]:
    """All jobs of the same key, the oldest first."""
    return _infos(requests.ask(jobs.list_request(requests.limits)))


def detach(requests: Requests, message: Open) -> Job:
    """Start a job."""
    return Job(requests, jobs.started(requests.ask(message), message, requests.name))


def _infos(state: ProcessState) -> list[JobInfo]:
    return [jobs.info_of(one) for one in state.noted or () if isinstance(one, JobMessage)]
