"""The blocking front: `connect` and `Host`. Plain calls, any thread, no event loop and no thread inside.

    with remote_shell.connect("build-box") as host:
        host.run(["make"], check=True)

Decides little: `login`, `conversation`, `opening`, `redirect` and `outcome` are shared with the asyncio front. A start-up that needs
neither keys nor TLS imports neither. Neighbours: `blocking.driver` moves bytes, `remote` is a process, `shell` the live shell.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

from remote_shell.blocking.driver import Driver
from remote_shell.blocking.interrupts import interrupt as interrupt
from remote_shell.client import faults, opening
from remote_shell.client.conversation import Conversation
from remote_shell.client.dialing import log_in
from remote_shell.client.login import Login
from remote_shell.client.outcome import TextMode, completed, expired, failed
from remote_shell.client.plan import Ask, Confirm, Path, Plan
from remote_shell.client.process import Mode, ProcessState
from remote_shell.client.redirect import DEVNULL, NOWHERE, PIPE, check_run, is_captured, resolve
from remote_shell.client.remote import Remote, RemoteProcess
from remote_shell.client.results import CompletedProcess
from remote_shell.client.retry import Retry, State
from remote_shell.client.shell import Shell
from remote_shell.config.targets import Target
from remote_shell.errors import (
    ConnectError,
    LocalProtocolError,
    RemoteShellError,
    UsageError,
)
from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.wire.frames import CONTROL, encode
from remote_shell.wire.messages import Disconnect, Hello, Open, Report, Welcome

_LAST_LOOK = 1.0  # seconds that an attempt to reconnect may take at least, though its caller's own time is up


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
    limits: Limits = DEFAULT_LIMITS,
) -> Host:
    """Connect and log in.

    `target` as on the command line, or a name of hosts.toml. `ask(prompt)` gets a passphrase, `confirm(question)` decides about an
    unknown server; without them nobody is ever asked. `on_state` hears of the connection's fate (`retry.State`). Raises UsageError,
    ConfigError, ConnectError, ServerIdentityError, AccessDeniedError, IdentityError.
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
        limits=limits,
    )
    return Host(plan, on_state)


class Host:
    """One session with a server. Threads may share it; a forked process may not."""

    def __init__(self, plan: Plan, on_state: Callable[[State], None] | None = None) -> None:
        self._plan = plan
        self._limits = plan.limits
        self._login = Login(plan)
        self._on_state = on_state
        self._closed = False
        self._offer = opening.offered_environment()
        self._conversation = Conversation(plan.name, plan.limits)
        link, login = log_in(self._login, time.monotonic() + plan.connect_time)
        self._driver = Driver(
            plan.limits,
            on_event=self._conversation.on_event,
            on_lost=self._lost,
            on_damage=self._damaged,
            recover=self._recover,
        )
        with self._driver:
            self._tell(self._conversation.welcomed(login, time.monotonic()))
            self._driver.attach(link, self._conversation.session)

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- what is known

    @property
    def name(self) -> str:
        """The target, as it was named."""
        return self._plan.name

    @property
    def target(self) -> Target:
        """Where that is."""
        return self._plan.target

    @property
    def welcome(self) -> Welcome:
        """What the server said at the login: principal, account, host, grace_ms."""
        assert self._conversation.welcome is not None, "connected"
        return self._conversation.welcome

    @property
    def server(self) -> Hello:
        """What the server said of itself: software, version, limits."""
        assert self._conversation.server is not None, "connected"
        return self._conversation.server

    # --- commands

    def run(
        self,
        args: opening.Args,
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
    ) -> CompletedProcess:
        """Run a command to its end, as `subprocess.run`.

        With `stdin=None` the command gets our own descriptor 0, read ahead as ssh reads it: a script that reads its own stdin gives
        DEVNULL. `env` is the whole environment, `env_add` adds to the server's base. `shell="account"` gives a line to the account's own
        shell. `command_id` makes it run at most once. With `pty` it has a terminal, like ours or as given, and all its
        output is stdout. Raises as subprocess.run does, and CommandRefusedError, ConnectionLostError.
        """
        terminal = opening.Pty.of(pty)
        stdin, stdout, stderr = check_run(stdin, input, stdout, stderr, capture_output)
        mode = TextMode(text, encoding, errors)
        given = mode.encoded(input) if input is not None else memoryview(b"") if stdin == PIPE else None
        redirect = resolve(DEVNULL if given is not None else stdin, stdout, DEVNULL if terminal else stderr, Mode.KEEP)
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
        )
        remote = Remote(self._driver, self._conversation, state, redirect, self._limits)
        try:
            self._start(state, message, remote, given)
            in_time = remote.finish(timeout)
            end = state.exit
            out, err = (state.outputs[n].collected() if is_captured(redirect, n) else None for n in (1, 2))
            if not in_time or (end is not None and end.timed_out):
                assert timeout is not None, "only a timeout ends so"
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
    ) -> RemoteProcess:
        """Start a command, as `subprocess.Popen`; returns when the server says that it runs.

        `timeout`: the server ends its tree after so many seconds (`process.result.timed_out`). With `pty` it has a terminal, and
        `args=None` is a login shell. Raises as Popen does.
        """
        terminal = opening.Pty.of(pty)
        redirect = resolve(stdin, stdout, DEVNULL if terminal else stderr, Mode.HOLD)
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
        )
        process = RemoteProcess(self._driver, self._conversation, state, redirect, self._limits)
        process.args = args
        process.open_files(redirect, TextMode(text, encoding, errors), bufsize)
        try:
            self._start(state, message, process, None)
            process.serve(lambda: state.started)
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

        Raises CommandError, ConnectionLostError.
        """
        terminal = opening.Pty.of(pty)
        message = opening.shell_message(
            self._conversation, self._offer, cwd=cwd, env=env, env_add=env_add, pty=terminal
        )
        state = ProcessState("shell", message.id, Mode.HOLD, Mode.HOLD)
        remote = Remote(self._driver, self._conversation, state, NOWHERE, self._limits)
        try:
            self._start(state, message, remote, None)
            remote.serve(lambda: state.started)
            self._raise_refusal(state, message)
        except BaseException:
            remote.abandon()
            raise
        shell = Shell(remote, self._conversation, state, self._limits)
        shell.opened_at()
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

    # --- signs of life

    @property
    def in_contact(self) -> bool:
        """There is a connection; whether the server answers over it, `heard` asks."""
        return self._driver.link is not None

    def heard(self, within: float) -> bool:
        """Whether the server acknowledges, within so many seconds, all that was sent so far."""
        driver, conversation = self._driver, self._conversation

        def known() -> bool:
            session = conversation.session
            return driver.link is None or not (session.has_unsent or session.unacknowledged[0])

        with driver:
            conversation.session.measure(time.monotonic())
            driver.flush()
            return driver.wait(known, time.monotonic() + within) and driver.link is not None

    # --- the end

    def close(self) -> None:
        """Say goodbye: the server ends at once what still runs. Safe to repeat; in a forked copy it only lets go."""
        if self._closed:
            return
        self._closed = True
        driver = self._driver
        if driver.forked:
            driver.close()
            return
        with driver:
            try:
                self._conversation.session.disconnect("bye")
                driver.send_all(time.monotonic() + self._limits.bye_time)
            finally:
                self._conversation.end("it was closed here")
                driver.close()

    # --- starting

    def _start(self, state: ProcessState, message: Open, remote: Remote, given: memoryview | None) -> None:
        with self._driver:
            self._ready()
            try:
                self._conversation.start(state, message)
            except LocalProtocolError as error:
                raise faults.unsendable(error) from None
            remote.begin(given)
            self._driver.flush()

    def _ready(self) -> None:
        """Under the lock: there is a connection, or an error that says why not."""
        if self._closed:
            raise UsageError("this connection was closed; connect again")
        driver, conversation = self._driver, self._conversation
        if not conversation.states:
            driver.look()  # a server that went away between calls: begin anew, with nothing to lose
        if driver.link is None:
            if conversation.over is not None:
                conversation.try_again(time.monotonic())
            driver.wait(lambda: driver.link is not None or conversation.over is not None)
            if conversation.over is not None:
                raise conversation.over.with_traceback(None)

    def _raise_refusal(self, state: ProcessState, message: Open) -> None:
        if state.rejected is not None:
            raise faults.refused(message, state.rejected, self._plan.name)
        if state.lost is not None:
            raise state.lost.with_traceback(None)

    # --- the connection's fate; all under the lock

    def _tell(self, news: State) -> None:
        """Pass on news, once the lock is free."""
        if self._on_state is not None:
            self._driver.later.append(partial(self._on_state, news))

    def _lost(self, reason: str) -> None:
        if self._conversation.over is None and not self._closed:
            self._tell(self._conversation.disconnected(time.monotonic(), reason, self._plan.connect_time))
        elif self._conversation.over is not None:
            self._tell(State("gave_up", reason=str(self._conversation.over)))

    def _give_up(self, reason: str, error: RemoteShellError | None = None) -> None:
        self._conversation.end(reason, error=error)
        self._tell(State("gave_up", reason=reason))

    def _recover(self, deadline: float | None) -> None:
        """The pump has no link: one attempt at a new one, or a nap until it is time."""
        driver, conversation = self._driver, self._conversation
        if driver.later:
            driver.unlocked(driver.do_later)
        retry, now = conversation.retry, time.monotonic()
        if retry is None:
            if conversation.over is None:
                self._give_up("it was closed here")
            return
        if now < retry.due:
            driver.nap(retry.due if deadline is None else min(retry.due, deadline))
            return
        limit = retry.limit(now, self._plan.connect_time)
        if deadline is not None:
            limit = min(limit, max(deadline, now + _LAST_LOOK))
        session = conversation.session
        attempt = partial(log_in, self._login, limit, conversation.resumable, session.received)
        try:
            link, login = driver.unlocked(attempt)
        except ConnectError as error:
            self._attempt_failed(retry, error)
        except RemoteShellError as error:  # refused, or not the server that was meant: waiting mends neither
            self._give_up(str(error), error)
        else:
            if self._closed:
                link.close()
                return
            self._tell(conversation.welcomed(login, time.monotonic()))
            driver.attach(link, conversation.session)
            if driver.later:
                driver.unlocked(driver.do_later)  # tell of the return now, not when the call ends

    def _attempt_failed(self, retry: Retry, error: ConnectError) -> None:
        news = retry.failed(time.monotonic(), str(error))
        if news is not None:
            self._tell(news)
        else:
            why = retry.summary(time.monotonic(), str(error))
            self._give_up(why, None if self._conversation.in_flight else error)

    def _damaged(self) -> None:
        """A signal handler's exception cut through the core: end the session here, and tell the server over a new connection."""
        driver, conversation = self._driver, self._conversation
        link = driver.detach()
        if link is not None:
            link.close()
        session, received = conversation.resumable, conversation.session.received
        self._give_up("a signal handler raised an exception in the middle of a step")

        def say_bye() -> None:
            try:
                link, _ = log_in(self._login, time.monotonic() + self._limits.bye_time, session, received)
            except RemoteShellError:
                return  # the grace will end it
            try:
                link.send([encode(CONTROL, 0, Disconnect(code="bye").encode())])
                link.flush()
            finally:
                link.close()

        if session is not None:
            driver.unlocked(say_bye)
