"""The asyncio front: `connect_async` and `AsyncHost`. The verbs of `blocking`, awaited.

    async with remote_shell.connect_async("build-box") as host:
        await host.run(["make"], check=True)

Everything belongs to the loop in which it was connected. Neighbours: `async_connection` is what a host is before its verbs;
`conversation`, `opening`, `redirect` and `outcome` decide, as for the blocking front.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, Unpack

from remote_shell.client import async_forward, async_jobs, opening
from remote_shell.client import forward as tunnels
from remote_shell.client.async_connection import AsyncConnection
from remote_shell.client.async_jobs import AsyncJob, AsyncRequests
from remote_shell.client.async_process import AsyncProcess, AsyncRemote
from remote_shell.client.async_shell import AsyncShell
from remote_shell.client.jobs import JobInfo, detach_message
from remote_shell.client.outcome import BYTES, TextMode, completed, expired, failed
from remote_shell.client.plan import Ask, Confirm, OnLost, Path, Plan, Trace
from remote_shell.client.popen_arguments import PopenArguments, check_arguments
from remote_shell.client.process import Mode, ProcessState
from remote_shell.client.redirect import DEVNULL, PIPE, Redirect, check_run, is_captured, resolve
from remote_shell.client.results import CompletedProcess
from remote_shell.client.retry import State
from remote_shell.config.targets import Target
from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.transfer.progress import LocalPath, LocalPaths, OnFault, OnProgress, Transferred
from remote_shell.wire.messages import Accepted, LeftShell, Open, Report

_SLACK = 1.5  # seconds beyond the server's own ladder before our clock ends a timed-out command


class connect_async:  # noqa: N801  # called and awaited like a function
    """Connect and log in: `async with connect_async(target) as host`, or `host = await connect_async(target)`.

    Arguments and errors as for `connect`; `ask` and `confirm` are called in a thread of their own.
    """

    def __init__(
        self,
        target: str | Target,
        *,
        identity: Path | None = None,
        secret_file: Path | None = None,
        fingerprint: str | None = None,
        known_hosts: Path | None = None,
        connect_timeout: float | None = None,
        insecure_tcp: bool = False,
        ask: Ask | None = None,
        confirm: Confirm | None = None,
        on_state: Callable[[State], None] | None = None,
        on_lost: OnLost = "kill",
        grace: float | None = None,
        trace: Trace | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._plan = Plan(
            target,
            identity=identity,
            secret_file=secret_file,
            fingerprint=fingerprint,
            known_hosts=known_hosts,
            connect_timeout=connect_timeout,
            insecure_tcp=insecure_tcp,
            ask=ask,
            confirm=confirm,
            on_lost=on_lost,
            grace=grace,
            trace=trace,
            limits=limits,
        )
        self._on_state = on_state
        self._host: AsyncHost | None = None

    def __await__(self) -> Generator[Any, None, AsyncHost]:
        return self._connect().__await__()

    async def __aenter__(self) -> AsyncHost:
        self._host = await self._connect()
        return self._host

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._host is not None:
            await self._host.close()

    async def _connect(self) -> AsyncHost:
        host = AsyncHost(self._plan, self._on_state)
        await host.open()
        return host


class AsyncHost(AsyncConnection):
    """One session with a server. All its methods are for the loop that connected it."""

    # --- commands

    async def run(
        self,
        args: opening.Args,
        bufsize: int = -1,
        *,
        stdin: Any = None,
        input: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        capture_output: bool = False,
        shell: opening.Shell = False,
        cwd: opening.Text | None = None,
        timeout: float | None = None,
        check: bool = False,
        encoding: str | None = None,
        errors: str | None = None,
        text: bool | None = None,
        env: opening.Environment | None = None,
        env_add: opening.Environment | None = None,
        command_id: str | None = None,
        pty: opening.Pty | bool | None = None,
        most: int | None = None,
        **others: Unpack[PopenArguments],
    ) -> CompletedProcess:
        """Run a command to its end; arguments, result and errors as for `Host.run`. Cancelling ends its whole tree."""
        check_arguments("run", bufsize, others)
        terminal = opening.Pty.of(pty)
        stdin, stdout, stderr = check_run(stdin, input, stdout, stderr, capture_output)
        mode = TextMode.of(text, encoding, errors, others.get("universal_newlines"))
        sends = input is not None or stdin == PIPE
        redirect = resolve(DEVNULL if sends else stdin, stdout, DEVNULL if terminal else stderr, Mode.KEEP)
        if sends or redirect.piped:
            mode.check()
        given = None if not sends else mode.encoded(input) if input is not None else memoryview(b"")
        state, message = opening.prepare(
            args,
            redirect,
            self.conversation,
            self._offer,
            shell=shell,
            cwd=cwd,
            env=env,
            env_add=env_add,
            timeout=timeout,
            command_id=command_id,
            written=given is not None,
            pty=terminal,
            executable=others.get("executable"),
        )
        state.outputs[1].most = state.outputs[2].most = opening.most_of(most)
        await self._ready()
        remote = AsyncRemote(self, state)
        try:
            self._start(state, message)
            remote.begin(redirect, given)
            in_time = await self._finish(remote, state, timeout)
            end = state.exit
            out, err = (state.outputs[n].collected() if is_captured(redirect, n) else None for n in (1, 2))
            if not in_time or (end is not None and end.timed_out):
                raise expired(state, timeout, out, err)
            self._raise_refusal(state, message)
            remote.release()
        except BaseException:
            remote.abandon()
            raise
        done = completed(
            state, mode.decoded(out) if out is not None else None, mode.decoded(err) if err is not None else None
        )
        if check and done.returncode:
            raise failed(done)
        return done

    async def _finish(self, remote: AsyncRemote, state: ProcessState, timeout: float | None) -> bool:
        if timeout is None:
            await remote.until(lambda: state.finished)
            return True
        try:
            async with asyncio.timeout(timeout):
                await remote.until(lambda: state.finished)
            return True
        except TimeoutError:
            if state.ends_later:
                return False
        try:  # the server's own clock ends it, and says so, over a new connection too; ours only stands in for a server that can't
            async with asyncio.timeout(self._limits.kill_grace + _SLACK):
                await remote.until(lambda: state.finished)
            return state.exit is not None
        except TimeoutError:
            if self._driver is None:
                raise self.conversation.out_of_contact(state, timeout) from None
            return False

    async def popen(
        self,
        args: opening.Args | None,
        bufsize: int = -1,
        *,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        shell: opening.Shell = False,
        cwd: opening.Text | None = None,
        timeout: float | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        text: bool | None = None,
        env: opening.Environment | None = None,
        env_add: opening.Environment | None = None,
        command_id: str | None = None,
        pty: opening.Pty | bool | None = None,
        **others: Unpack[PopenArguments],
    ) -> AsyncProcess:
        """Start a command; returns when the server says that it runs. Arguments and errors as for `Host.popen`."""
        check_arguments("popen", bufsize, others)
        terminal = opening.Pty.of(pty)
        mode = TextMode.of(text, encoding, errors, others.get("universal_newlines"))
        redirect = resolve(stdin, stdout, DEVNULL if terminal else stderr, Mode.HOLD)
        if redirect.piped:
            mode.check()
        state, message = opening.prepare(
            args,
            redirect,
            self.conversation,
            self._offer,
            shell=shell,
            cwd=cwd,
            env=env,
            env_add=env_add,
            timeout=timeout,
            command_id=command_id,
            written=redirect.stdin_pipe,
            pty=terminal,
            executable=others.get("executable"),
        )
        await self._ready()
        process = AsyncProcess(self, state)
        process.args = args
        process.open_files(redirect, mode)
        try:
            self._start(state, message)
            process.begin(redirect, None)
            await process.until(lambda: state.started)
            self._raise_refusal(state, message)
        except BaseException:
            process.abandon()
            raise
        return process

    async def shell(
        self,
        *,
        cwd: opening.Text | None = None,
        env: opening.Environment | None = None,
        env_add: opening.Environment | None = None,
        pty: opening.Pty | bool | None = None,
    ) -> AsyncShell:
        """Start a live shell; as `Host.shell`."""
        message = opening.shell_message(
            self.conversation, self._offer, cwd=cwd, env=env, env_add=env_add, pty=opening.Pty.of(pty)
        )
        return await self._open_shell(message)

    async def attach(self, shell_id: str, *, pty: opening.Pty | bool = True) -> AsyncShell:
        """Take over a live shell on a terminal; as `Host.attach`."""
        return await self._open_shell(opening.attach_message(shell_id, self._limits, opening.Pty.needed(pty)))

    async def shells(self) -> list[LeftShell]:
        """The live shells that the same key has outside this connection; as `Host.shells`."""
        message = opening.shells_message(self.conversation)
        state = ProcessState("shells", message.id, Mode.DROP, Mode.DROP)
        await self._ready()
        remote = AsyncRemote(self, state)
        self._start(state, message)
        await remote.until(lambda: state.shells is not None or state.ended)
        self._raise_refusal(state, message)
        assert state.shells is not None, "answered or refused"
        return state.shells.shells

    async def _open_shell(self, message: Open) -> AsyncShell:
        state = ProcessState("shell", message.id, Mode.HOLD, Mode.HOLD)
        await self._ready()
        remote = AsyncRemote(self, state)
        try:
            self._start(state, message)
            await remote.until(lambda: state.started)
            self._raise_refusal(state, message)
        except BaseException:
            remote.abandon()
            raise
        shell = AsyncShell(remote, self.conversation, state, self._limits)
        shell.opened_at()
        remote.watch(shell.look)
        return shell

    async def forward(
        self,
        listen: tunnels.Address,
        to: tunnels.Address,
        *,
        reverse: bool = False,
        on_error: Callable[[str], None] | None = None,
    ) -> async_forward.AsyncForward:
        """A tunnel: as `Host.forward`, with tasks of its own, which its `close` ends."""
        there = tunnels.address_of(to, least=1)
        host, port = tunnels.address_of(listen, least=0)
        if not reverse:
            listener = tunnels.listener_on(host, port)
            return self._noted(async_forward.AsyncLocalForward(listener, there, self._connect, on_error))
        await self._ready()
        message = tunnels.tunnel_message(self.conversation, "listen", host, port)
        state = tunnels.state_of(message)
        remote = AsyncRemote(self, state)
        try:
            self._start(state, message)
            await remote.until(lambda: state.started)
            self._raise_refusal(state, message)
        except BaseException:
            remote.abandon()
            raise
        assert state.opened is not None, "answered or refused"

        async def take(accepted: Accepted) -> AsyncProcess:
            return await self._open_tunnel(tunnels.accept_message(self.conversation, accepted))

        address = host, state.opened.port or port
        return self._noted(
            async_forward.AsyncRemoteForward(remote, state, self.conversation, address, there, take, on_error)
        )

    def _noted(self, tunnel: async_forward.AsyncForward) -> async_forward.AsyncForward:
        self._forwards.append(tunnel)
        return tunnel

    async def open_connection(self, to: tunnels.Address, *, stdin: Any = PIPE, stdout: Any = PIPE) -> AsyncProcess:
        """A connection to `to` as the server reaches it, shaped like a process; as `Host.open_connection`."""
        return await self._connect(*tunnels.address_of(to, least=1), resolve(stdin, stdout, DEVNULL, Mode.HOLD))

    async def _connect(self, host: str, port: int, redirect: Redirect = tunnels.JOINED) -> AsyncProcess:
        return await self._open_tunnel(tunnels.tunnel_message(self.conversation, "connect", host, port), redirect)

    async def _open_tunnel(self, message: Open, redirect: Redirect = tunnels.JOINED) -> AsyncProcess:
        await self._ready()
        state = tunnels.state_of(message)
        process = AsyncProcess(self, state)
        process.open_files(redirect, BYTES)
        try:
            self._start(state, message)
            process.begin(redirect, None)
            await process.until(lambda: state.started)
            self._raise_refusal(state, message)
        except BaseException:
            process.abandon()
            raise
        return process

    async def query(self, command_id: str) -> Report:
        """What became of a command; as `Host.query`."""
        message = opening.query_message(command_id, self._limits)
        state = ProcessState(command_id, command_id, Mode.DROP, Mode.DROP)
        await self._ready()
        remote = AsyncRemote(self, state)
        self._start(state, message)
        await remote.until(lambda: state.report is not None or state.ended)
        self._raise_refusal(state, message)
        assert state.report is not None, "a query is answered or refused"
        return state.report

    # --- detached jobs

    async def detach(
        self,
        args: opening.Args,
        *,
        shell: opening.Shell = False,
        cwd: opening.Text | None = None,
        env: opening.Environment | None = None,
        env_add: opening.Environment | None = None,
        stderr: int | None = None,
        timeout: float | None = None,
        job_id: str | None = None,
    ) -> AsyncJob:
        """Start a command that outlives this connection and the server; as `Host.detach`."""
        message = detach_message(
            args,
            self._offer,
            self._limits,
            shell=shell,
            cwd=cwd,
            env=env,
            env_add=env_add,
            stderr=stderr,
            timeout=timeout,
            job_id=job_id,
        )
        return await async_jobs.detach(self._requests(), message)

    async def jobs(self) -> list[JobInfo]:
        """The detached jobs of the same key, the oldest first: those that run, and those that ended and are still kept."""
        return await async_jobs.list_jobs(self._requests())

    def job(self, job_id: str) -> AsyncJob:
        """A detached job by its id; whether there is one shows at the first question. Raises UsageError."""
        return AsyncJob(self._requests(), opening.checked_id(job_id))

    def _requests(self) -> AsyncRequests:
        return AsyncRequests(self.name, self.conversation, self._limits, self._begin, self._raise_refusal)

    async def _begin(self, state: ProcessState, message: Open) -> AsyncRemote:
        await self._ready()
        remote = AsyncRemote(self, state)
        self._start(state, message)
        return remote

    # --- files

    async def put(
        self,
        local: LocalPaths,
        remote: LocalPath,
        *,
        recursive: bool = False,
        progress: OnProgress | None = None,
        on_fault: OnFault | None = None,
    ) -> Transferred:
        """Copy files from here to there; as `Host.put`. Cancelling leaves what the next attempt goes on with."""
        from remote_shell.client.async_files import AsyncTransfers, Watching, paths_of

        await self._ready()
        transfers = AsyncTransfers(self.loop, self.conversation, self._limits, self._begin)
        return await transfers.put(paths_of(local), paths_of(remote)[0], recursive, Watching(progress, on_fault))

    async def get(
        self,
        remote: LocalPaths,
        local: LocalPath,
        *,
        recursive: bool = False,
        progress: OnProgress | None = None,
        on_fault: OnFault | None = None,
    ) -> Transferred:
        """Copy files from there to here; as `Host.get`."""
        from remote_shell.client.async_files import AsyncTransfers, Watching, paths_of

        await self._ready()
        transfers = AsyncTransfers(self.loop, self.conversation, self._limits, self._begin)
        return await transfers.get(paths_of(remote), paths_of(local)[0], recursive, Watching(progress, on_fault))
