"""Detached jobs in the asyncio front: `AsyncHost.detach`, `jobs` and `job` are made of this. The verbs of `blocking_jobs`, awaited."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

from remote_shell.client import jobs
from remote_shell.client.async_process import AsyncRemote
from remote_shell.client.conversation import Conversation
from remote_shell.client.jobs import JobInfo, LogPiece, Reading
from remote_shell.client.outcome import returncode_of, sent_signal
from remote_shell.client.process import ProcessState
from remote_shell.client.results import TimeoutExpired
from remote_shell.errors import ConnectError, ConnectionLostError
from remote_shell.limits import Limits
from remote_shell.wire.messages import Job as JobMessage
from remote_shell.wire.messages import Open


class AsyncRequests:
    """What a host lends to its jobs."""

    def __init__(
        self,
        name: str,
        conversation: Conversation,
        limits: Limits,
        start: Callable[[ProcessState, Open], Awaitable[AsyncRemote]],
        raise_refusal: Callable[[ProcessState, Open], None],
    ) -> None:
        self.name = name
        self.limits = limits
        self._conversation = conversation
        self._start = start
        self._raise_refusal = raise_refusal

    async def ask(self, message: Open, *, again: bool = True) -> ProcessState:
        """Send it and wait for the whole answer; `again`: over a new session if need be. Raises CommandError, ConnectionLostError."""
        patience = self._patience()
        while True:
            state = jobs.noting(message)
            try:
                remote = await self._start(state, message)
                await remote.until(lambda: state.closed)  # noqa: B023  # called before the loop goes on
                if state.opened is None or state.lost is None:
                    self._raise_refusal(state, message)
                return state
            except (ConnectionLostError, ConnectError) as error:
                await self._recover(error, patience if again else jobs.Patience(0.0))

    async def pieces(self, reading: Reading, *, only_end: bool = False) -> AsyncIterator[LogPiece]:
        """All that a reading gets, until it ends. Raises CommandError, ConnectionLostError."""
        patience = self._patience()
        while True:
            message = jobs.request("job_wait", reading.ident, self.limits) if only_end else reading.message(self.limits)
            state, remote = jobs.noting(message), None
            try:
                remote = await self._start(state, message)
                while True:
                    await remote.until(lambda: bool(state.noted) or state.closed)  # noqa: B023
                    noted = self._conversation.take_noted(state)
                    remote.flush()
                    if noted:
                        patience = self._patience()
                        for piece in reading.take(noted):
                            yield piece
                    elif state.closed:
                        self._raise_refusal(state, message)
                        return
            except (ConnectionLostError, ConnectError) as error:
                await self._recover(error, patience)
            finally:
                if remote is not None and not state.closed:
                    remote.abandon()  # of the watching; the job goes on

    def _patience(self) -> jobs.Patience:
        """As long as the server keeps a session."""
        welcome = self._conversation.welcome
        return jobs.Patience(welcome.grace_ms / 1000 if welcome is not None else 0.0)

    async def _recover(self, error: ConnectionLostError | ConnectError, patience: jobs.Patience) -> None:
        delay = patience.next_delay()
        if delay is None:
            raise error
        await asyncio.sleep(delay)


class AsyncJob:
    """One detached job, by its id; as `Job`, awaited."""

    def __init__(self, requests: AsyncRequests, ident: str) -> None:
        self._requests = requests
        self._id = ident

    def __repr__(self) -> str:
        return f"<AsyncJob {self._id} on {self._requests.name}>"

    @property
    def id(self) -> str:
        """Its id, for `AsyncHost.job` and the command line."""
        return self._id

    async def info(self) -> JobInfo:
        """What is known of it now. Raises CommandRefusedError (`no_such_job`), ConnectionLostError, as all methods do."""
        return _infos(await self._requests.ask(jobs.facts_request(self._id, self._requests.limits)))[-1]

    def logs(
        self, *, follow: bool = False, from_now: bool = False, stdout_from: int = 0, stderr_from: int = 0
    ) -> AsyncIterator[LogPiece]:
        """What it wrote, in order: `async for`; as `Job.logs`."""
        reading = Reading(self._id, follow=follow, from_now=from_now, stdout_from=stdout_from, stderr_from=stderr_from)
        return self._requests.pieces(reading)

    async def wait(self, timeout: float | None = None) -> int:
        """Wait for its end: the status, or -N for signal N. Raises TimeoutExpired, which leaves the job alone, and JobUnknownError."""
        reading = Reading(self._id, follow=True, from_now=False, stdout_from=0, stderr_from=0)
        try:
            async with asyncio.timeout(timeout):
                async for _ in self._requests.pieces(reading, only_end=True):
                    pass
        except TimeoutError:
            assert timeout is not None, "without one there is no TimeoutError"
            raise TimeoutExpired(self._id, timeout, job=self._id) from None
        if reading.exit is None:
            raise jobs.unknown(self._requests.name, self._id)
        return returncode_of(reading.exit)

    async def send_signal(self, number: int) -> None:
        """Signal its process group; nothing happens after its end, nor with 0. Raises JobUnknownError, and OSError as Popen does."""
        name = sent_signal(number, False)
        if name is None:
            return
        message = jobs.request("job_signal", self._id, self._requests.limits, signal=name)
        answer = await self._requests.ask(message, again=False)
        jobs.check_report(answer.report, self._requests.name, self._id)

    async def terminate(self) -> None:
        """SIGTERM."""
        await self.send_signal(signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL, to the process group; `remove(force=True)` ends all its processes."""
        await self.send_signal(signal.SIGKILL)

    async def remove(self, *, force: bool = False) -> None:
        """Forget it and its log. One that runs is refused (`job_running`), or with `force` ended first."""
        await self._requests.ask(jobs.removal(self._id, self._requests.limits, force), again=False)


async def list_jobs(requests: AsyncRequests) -> list[JobInfo]:
    """All jobs of the same key, the oldest first."""
    return _infos(await requests.ask(jobs.list_request(requests.limits)))


async def detach(requests: AsyncRequests, message: Open) -> AsyncJob:
    """Start a job."""
    return AsyncJob(requests, jobs.started(await requests.ask(message), message, requests.name))


def _infos(state: ProcessState) -> list[JobInfo]:
    return [jobs.info_of(one) for one in state.noted or () if isinstance(one, JobMessage)]
