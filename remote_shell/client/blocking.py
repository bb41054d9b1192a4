"""The blocking front: `connect` and `Host`. Plain calls, any thread, no event loop and no thread inside.

    with remote_shell.connect("build-box") as host:
        host.run(["make"], check=True)

Decides little: `login`, `conversation`, `opening`, `redirect` and `outcome` are shared with the asyncio front. A start-up that needs
neither keys nor TLS imports neither. Neighbours: `blocking_connection` is what a host is before its verbs, `remote` a process,
`blocking_shell` the live shell.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Unpack

from remote_shell.blocking.interrupts import interrupt as interrupt
from remote_shell.client import blocking_jobs, opening
from remote_shell.client import forward as tunnels
from remote_shell.client.blocking_connection import BlockingConnection
from remote_shell.client.blocking_jobs import Job, Requests
from remote_shell.client.blocking_shell import Shell
from remote_shell.client.jobs import JobInfo, detach_message
from remote_shell.client.outcome import BYTES, TextMode, completed, expired, failed
from remote_shell.client.plan import Ask, Confirm, OnLost, Path, Plan, Trace
from remote_shell.client.popen_arguments import PopenArguments, check_arguments
from remote_shell.client.process import Mode, ProcessState
from remote_shell.client.redirect import DEVNULL, NOWHERE, PIPE, Redirect, check_run, is_captured, resolve
from remote_shell.client.remote import Remote, RemoteProcess
from remote_shell.client.results import CompletedProcess
from remote_shell.client.retry import State
from remote_shell.config.targets import Target
from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.transfer.progress import LocalPath, LocalPaths, OnFault, OnProgress, Transferred
from remote_shell.wire.messages import Accepted, LeftShell, Open, Report


def _never() -> bool:
    return False


def connect(
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
) -> Host:
    """Connect and log in.

    `target` as on the command line, or a name of hosts.toml. `ask(prompt)` gets a passphrase, `confirm(question)` decides about an
    unknown server; without them nobody is ever asked. Through ssh it is ssh that asks, on the terminal, at the first login, if there is an
    `ask`. `on_state` hears of the connection's fate (`retry.State`). `grace` is how many seconds the server keeps the session without a
    connection (else what it is set to); with `on_lost="keep"` live shells on terminals stay there after that, to be attached again.
    `trace` hears of every frame as it crosses (`TraceEvent`), secrets and unseen input hidden; it must be quick, and not raise.
    Raises UsageError, ConfigError, ConnectError, ServerIdentityError, AccessDeniedError, IdentityError.
    """
    plan = Plan(
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
    return Host(plan, on_state)


class Host(BlockingConnection):
    """One session with a server. Threads may share it; a forked process may not."""

    # --- commands

    def run(
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
        """Run a command to its end, as `subprocess.run`.

        With `stdin=None` the command gets our own descriptor 0, read ahead as ssh reads it: a script that reads its own stdin gives
        DEVNULL. `env` is the whole environment, `env_add` adds to the server's base. `shell="account"` gives a line to the account's own
        shell. `command_id` makes it run at most once. With `pty` it has a terminal, like ours or as given, and all its
        output is stdout. `most` bytes are held of each stream, more ends the
        command with OutputTooLargeError. Raises as subprocess.run does, and CommandRefusedError, ConnectionLostError.
        """
        check_arguments("run", bufsize, others)
        terminal = None if pty is None else opening.Pty.of(pty)
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
            self._conversation,
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
        remote = Remote(self._driver, self._conversation, state, redirect, self._limits)
        try:
            in_time = remote.finish(partial(self._start, state, message, remote, given), timeout)
            end = state.exit
            out = state.outputs[1].collected() if is_captured(redirect, 1) else None
            err = state.outputs[2].collected() if is_captured(redirect, 2) else None
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

    def popen(
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
    ) -> RemoteProcess:
        """Start a command, as `subprocess.Popen`; returns when the server says that it runs.

        `timeout`: the server ends its tree after so many seconds (`process.result.timed_out`). With `pty` it has a terminal, and
        `args=None` is a login shell. Raises as Popen does.
        """
        check_arguments("popen", bufsize, others)
        terminal = opening.Pty.of(pty)
        mode = TextMode.of(text, encoding, errors, others.get("universal_newlines"))
        redirect = resolve(stdin, stdout, DEVNULL if terminal else stderr, Mode.HOLD)
        if redirect.piped:
            mode.check()
        state, message = opening.prepare(
            args,
            redirect,
            self._conversation,
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
        process = RemoteProcess(self._driver, self._conversation, state, redirect, self._limits)
        process.args = args
        try:
            process.open_files(redirect, mode, bufsize)
            with (
                self._driver
            ):  # and not `serve`: what it writes is passed on once the caller has it, and can take leave of it
                self._start(state, message, process, None)
                self._driver.wait(lambda: state.started, soon=_never)  # as `Remote._started`
            self._raise_refusal(state, message)
        except BaseException:
            process.abandon()
            raise
        return process

    def shell(
        self,
        *,
        cwd: opening.Text | None = None,
        env: opening.Environment | None = None,
        env_add: opening.Environment | None = None,
        pty: opening.Pty | bool | None = None,
    ) -> Shell:
        """Start a live shell, which keeps directory, variables and functions. With `pty` its commands have a terminal.

        It is bash, whatever the account's shell, so that a program finds the same language everywhere; only with `pty` it is zsh where
        the account has that, and `name` says which.

        Raises CommandError, ConnectionLostError.
        """
        message = opening.shell_message(
            self._conversation, self._offer, cwd=cwd, env=env, env_add=env_add, pty=opening.Pty.of(pty)
        )
        return self._open_shell(message)

    def attach(self, shell_id: str, *, pty: opening.Pty | bool = True) -> Shell:
        """Take over a live shell on a terminal that the same key has left, or holds elsewhere: who holds it there is told.

        If a command runs in it, `Shell.join` waits for its end. Raises CommandError (`no_such_shell`), ConnectionLostError.
        """
        return self._open_shell(opening.attach_message(shell_id, self._limits, opening.Pty.needed(pty)))

    def shells(self) -> list[LeftShell]:
        """The live shells on terminals that the same key has outside this connection: left, or held by others.

        `id` is for `attach`; `away_ms` is None where a connected client holds it. Raises ConnectionLostError.
        """
        message = opening.shells_message(self._conversation)
        state = ProcessState("shells", message.id, Mode.DROP, Mode.DROP)
        remote = Remote(self._driver, self._conversation, state, NOWHERE, self._limits)
        first = partial(self._start, state, message, remote, None)
        remote.serve(lambda: state.shells is not None or state.ended, first=first)
        self._raise_refusal(state, message)
        assert state.shells is not None, "answered or refused"
        return state.shells.shells

    def _open_shell(self, message: Open) -> Shell:
        state = ProcessState("shell", message.id, Mode.HOLD, Mode.HOLD)
        remote = Remote(self._driver, self._conversation, state, NOWHERE, self._limits)
        try:
            remote.serve(lambda: state.started, first=partial(self._start, state, message, remote, None))
            self._raise_refusal(state, message)
            shell = Shell(remote, self._conversation, state, self._limits)
            shell.opened_at()
        except BaseException:
            remote.abandon()
            raise
        return shell

    def query(self, command_id: str) -> Report:
        """What became of a command: `state` is "never_received" (and now it never will run), "running", "finished" or "unknown".

        Raises UsageError, ConnectionLostError.
        """
        message = opening.query_message(command_id, self._limits)
        state = ProcessState(command_id, command_id, Mode.DROP, Mode.DROP)
        with self._driver:
            self._ready()
            self._conversation.start(state, message)
            self._driver.wait(lambda: state.report is not None or state.closed or state.rejected is not None)
        self._raise_refusal(state, message)
        assert state.report is not None, "a query is answered or refused"
        return state.report

    # --- detached jobs

    def detach(
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
    ) -> Job:
        """Start a command that outlives this connection and the server. Its stdin is empty, its output goes to a log there.

        Returns when the start is on the server's disk. `stderr=STDOUT` joins the two streams; `timeout` ends all its processes after
        so many seconds; with a `job_id` of the caller's the same start is done once. Raises as `popen` does, and JobUnknownError.
        """
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
        return blocking_jobs.detach(self._requests(), message)

    def jobs(self) -> list[JobInfo]:
        """The detached jobs of the same key, the oldest first: those that run, and those that ended and are still kept."""
        return blocking_jobs.list_jobs(self._requests())

    def job(self, job_id: str) -> Job:
        """A detached job by its id; whether there is one shows at the first question. Raises UsageError."""
        return Job(self._requests(), opening.checked_id(job_id))

    # --- files

    def put(
        self,
        local: LocalPaths,
        remote: LocalPath,
        *,
        recursive: bool = False,
        progress: OnProgress | None = None,
        on_fault: OnFault | None = None,
    ) -> Transferred:
        """Copy files from here to there, as cp: into a folder that exists, or to a new name. `remote` counts from HOME.

        Each is checked by its SHA-256 and put in its place in one step, with its mode and time; a large one that was cut off is gone on
        with. Symlinks within folders stay symlinks. `progress` is called often. What can't be copied raises OSError (FileNotFoundError,
        PermissionError, …) with `filename` after all others were, several of them TransferError; with `on_fault` they are told there.
        """
        return self._transfer("put", local, remote, recursive, progress, on_fault)

    def get(
        self,
        remote: LocalPaths,
        local: LocalPath,
        *,
        recursive: bool = False,
        progress: OnProgress | None = None,
        on_fault: OnFault | None = None,
    ) -> Transferred:
        """Copy files from there to here; otherwise as `put`. Nothing that the server says gets outside of `local`."""
        return self._transfer("get", remote, local, recursive, progress, on_fault)

    def _transfer(
        self,
        verb: Literal["put", "get"],
        sources: LocalPaths,
        to: LocalPath,
        recursive: bool,
        progress: OnProgress | None,
        on_fault: OnFault | None,
    ) -> Transferred:
        from remote_shell.client.blocking_files import Transfers, Watching, paths_of  # no plain command needs them

        with self._driver:
            self._ready()
        transfers = Transfers(
            self._driver,
            self._conversation,
            self._limits,
            lambda state, message, remote: self._start(state, message, remote, None),
        )
        move = transfers.put if verb == "put" else transfers.get
        return move(paths_of(sources), paths_of(to)[0], recursive, Watching(progress, on_fault))

    def _requests(self) -> Requests:
        return Requests(self.name, self._driver, self._conversation, self._limits, self._start, self._raise_refusal)

    # --- tunnels

    def forward(
        self,
        listen: tunnels.Address,
        to: tunnels.Address,
        *,
        reverse: bool = False,
        on_error: Callable[[str], None] | None = None,
    ) -> tunnels.Forward:
        """A tunnel: whoever connects to `listen` here reaches `to` as the server does; with `reverse`, there and as we do (ssh -L, -R).

        An address is a port on loopback, "HOST:PORT" or (HOST, PORT); port 0 listens on any, and `address` of what is returned says
        which. `on_error` hears, in a thread of the tunnel's, of connections that came to nothing, also since the key may not have them:
        without `reverse` the server is asked at each, and not before. The tunnel ends with its `close`, or with this host. Raises
        UsageError, OSError for what can't listen here, and with `reverse` CommandRefusedError where the key may not.
        """
        there = tunnels.address_of(to, least=1)
        host, port = tunnels.address_of(listen, least=0)
        if not reverse:
            listener = tunnels.listener_on(host, port)
            return self._noted(tunnels.LocalForward(listener, there, self._connect, on_error))
        message = tunnels.tunnel_message(self._conversation, "listen", host, port)
        state = tunnels.state_of(message)
        remote = Remote(self._driver, self._conversation, state, NOWHERE, self._limits)
        try:
            remote.serve(lambda: state.started, first=partial(self._start, state, message, remote, None))
            self._raise_refusal(state, message)
        except BaseException:
            remote.abandon()
            raise
        assert state.opened is not None, "answered or refused"
        address = host, state.opened.port or port

        def take(accepted: Accepted) -> RemoteProcess:
            return self._open_tunnel(tunnels.accept_message(self._conversation, accepted))

        def unlisten() -> None:
            """The end of its input ends the listener; its end is waited for, so that nothing listens afterwards."""
            if not self._closed and not self._driver.forked:
                with self._driver:
                    self._conversation.end_stdin(state)
                    self._driver.wait(lambda: state.ended, time.monotonic() + self._limits.bye_time)
                remote.abandon()

        return self._noted(tunnels.RemoteForward(remote, state, address, there, take, unlisten, on_error))

    def _noted(self, tunnel: tunnels.Forward) -> tunnels.Forward:
        self._forwards.append(tunnel)
        return tunnel

    def open_connection(self, to: tunnels.Address, *, stdin: Any = PIPE, stdout: Any = PIPE) -> RemoteProcess:
        """A connection to `to` as the server reaches it, shaped like a process: `stdin` goes there, `stdout` comes from there.

        No port is opened here. With None, or a descriptor or file, they are ours, as in `popen` (ssh -W). It ends when both sides have
        ended: with 0, or with another status if it broke there. Raises UsageError, CommandRefusedError where the key may not or nobody
        listens, ConnectionLostError.
        """
        return self._connect(*tunnels.address_of(to, least=1), resolve(stdin, stdout, DEVNULL, Mode.HOLD))

    def _connect(self, host: str, port: int, redirect: Redirect = tunnels.JOINED) -> RemoteProcess:
        return self._open_tunnel(tunnels.tunnel_message(self._conversation, "connect", host, port), redirect)

    def _open_tunnel(self, message: Open, redirect: Redirect = tunnels.JOINED) -> RemoteProcess:
        state = tunnels.state_of(message)
        process = RemoteProcess(self._driver, self._conversation, state, redirect, self._limits)
        try:
            process.open_files(redirect, BYTES, 0)
            process.serve(lambda: state.started, first=partial(self._start, state, message, process, None))
            self._raise_refusal(state, message)
        except BaseException:
            process.abandon()
            raise
        return process
