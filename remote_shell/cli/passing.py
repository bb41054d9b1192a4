"""One command over there with our own streams: what `run`, `try` and a script given to `shell` have in common.

Bytes pass as they are, signals of ours become the command's, and its end becomes ours. The streams themselves are moved by the
blocking client; every start of `run` passes here, so what is not always needed is imported where it is. Neighbours:
`commands.run` has the options, `report` the object of --json.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import Any

from remote_shell import DEVNULL, PIPE
from remote_shell.cli import exit_status
from remote_shell.cli.asking import answers
from remote_shell.cli.main import complain
from remote_shell.cli.notices import Notices
from remote_shell.cli.waking import woken_by_signals
from remote_shell.client.blocking import Host, connect, interrupt
from remote_shell.client.outcome import cut_short
from remote_shell.client.remote import RemoteProcess
from remote_shell.client.results import TimeoutExpired
from remote_shell.errors import RemoteShellError
from remote_shell.limits import DEFAULT_LIMITS

# Signals that a person or a supervisor sends to a program: they mean the command. The rest stay ours.
_PASSED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_INSISTING = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)  # the second of these ends the tree
_SLACK = 1.5  # seconds for the server's word on a timeout to arrive


class Errand:
    """What should run, and how."""

    def __init__(
        self,
        argv: list[str],
        *,
        line: str | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        timeout: float | None = None,
        no_stdin: bool = False,
        command_id: str | None = None,
        pty: bool = False,
    ) -> None:
        """`argv`, or `line` for the account's shell. `env` adds to the server's base; `timeout` is in seconds."""
        self.argv = argv
        self.line = line
        self.timeout = timeout
        self.no_stdin = no_stdin
        self.command_id = command_id
        self.pty = pty
        # The server ends it in time and tells; our own clock only stands in for a server that can't be reached.
        self.patience = None if timeout is None else timeout + DEFAULT_LIMITS.kill_grace + _SLACK
        self._more: dict[str, Any] = {
            "cwd": cwd,
            "env_add": env,
            "timeout": timeout,
            "command_id": command_id,
            "pty": pty,
        }

    def start(self, host: Host, *, captured: bool) -> RemoteProcess:
        """Start it. Raises CommandError, ConnectionLostError."""
        return host.popen(
            **self.arguments(),
            stdin=DEVNULL if self.no_stdin else None,
            stdout=PIPE if captured else None,
            stderr=PIPE if captured else None,
        )

    def arguments(self) -> dict[str, Any]:
        """What `popen` of either client is called with, but for the streams."""
        line = self.line
        what = {"args": self.argv, "shell": False} if line is None else {"args": line, "shell": "account"}
        return what | self._more


class EndedHereError(BaseException):
    """A second Ctrl-C or TERM: the command's whole tree is to end. Not an Exception, as KeyboardInterrupt is none."""


class Signals:
    """While in use, signals to us go to the command; those that come before it runs wait for it.

    In use before the start is asked for: what the command wrote may be on our stdout before we hear that it runs.
    """

    def __init__(self) -> None:
        self._process: RemoteProcess | None = None
        self._early: list[int] = []
        self._insisted = False
        self._ending = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for number in _PASSED:
            if (
                signal.getsignal(number) is not signal.SIG_IGN
            ):  # nohup, or `&` in a script: the command need not hear of it
                self._before[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def pass_to(self, process: RemoteProcess) -> None:
        """It runs."""
        self._process = process
        for number in self._early:
            process.send_signal(number)

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if number in _INSISTING:
            if self._ending:
                return  # what is done about the second one is bounded
            if self._insisted:
                self._ending = True
                # raised in the middle of a step it could be swallowed where Python can't pass it on, and the session be given up
                interrupt(EndedHereError())
                return
            self._insisted = True
        if self._process is None:
            self._early.append(number)
        else:
            self._process.send_signal(number)


def perform(target: str, options: dict[str, Any], errand: Errand, allowed: frozenset[str] | None = None) -> int:
    """Run it with our own streams; returns the exit status. Raises what the client raises, and BrokenPipeError.

    `allowed` is what its output may do to our terminal; None: what hosts.toml says.
    """
    notices = Notices(target, complain, timer)
    on_state = notices.on_state if os.isatty(2) else None
    with (
        connect(target, on_state=on_state, **answers(), **options) as host,
        woken_by_signals(host),
        Signals() as signals,
    ):
        try:
            process = errand.start(host, captured=False)
            signals.pass_to(process)
            with ended_on_error(process), _shown(process, target, errand, allowed):
                to_the_end(process, errand)
        except EndedHereError:
            unsure = left_unsure(host, target)
            if unsure is not None:
                complain(unsure)
                return exit_status.INTERRUPTED
            return exit_status.of_signal("SIGKILL")
        except TimeoutExpired:
            complain(out_of_time(host, process, errand)[1])
            return exit_status.TIMED_OUT
        if process.opened is not None and process.opened.again:
            complain("it ran before under this id: this is how it ended then; its output was not kept")
        if short := cut_short(process.result, errand.timeout):
            complain(short)
        return status_of(process)


def _shown(
    process: RemoteProcess, target: str, errand: Errand, allowed: frozenset[str] | None
) -> AbstractContextManager[None]:
    if not (os.isatty(1) or os.isatty(2)):
        return nullcontext()
    from remote_shell.cli import showing

    return showing.shown(process, showing.allowed_for(target, allowed), terminal=errand.pty)


def to_the_end(process: RemoteProcess, errand: Errand, **more: Any) -> tuple[Any, Any]:
    """As `communicate`. Raises TimeoutExpired by our own clock: the server is silent, or what the command left holds its output."""
    if errand.timeout is None or errand.patience is None:
        found: tuple[Any, Any] = process.communicate(**more)
        return found
    try:
        return process.communicate(timeout=errand.timeout, **more)
    except TimeoutExpired:
        if process.ends_later:
            raise
    return process.communicate(timeout=errand.patience - errand.timeout, **more)


def out_of_time(host: Host, process: RemoteProcess, errand: Errand) -> tuple[str, str]:
    """After a timeout by our own clock: a code and a text. Raises ConnectionLostError where it may have ended in time."""
    assert errand.timeout is not None, "only a timeout ends so"
    if process.ends_later:
        how = "processes that the command left held its output, and are ended"
        return "output_held", f"timed out after {errand.timeout:g} s: {how}"
    if not host.in_contact:
        raise process.out_of_contact(errand.timeout)
    return (
        "no_answer",
        f"timed out after {errand.timeout:g} s, and {host.name} can't be asked; it ends the command by itself",
    )


def left_unsure(host: Host, target: str) -> str | None:
    """After a command was abandoned: what is known of its end, unless the server has heard that it is to end it."""
    if host.in_contact and host.heard(DEFAULT_LIMITS.bye_time):
        return None
    if host.in_contact:
        return f"left without an answer from {target}: the command there ends when the server goes on, or its grace is over"
    return f"left without contact with {target}: the command there ends when the server's grace is over"


@contextmanager
def ended_on_error(process: RemoteProcess) -> Iterator[None]:
    """Nobody waits for the command any more if an exception passes: the server ends its tree."""
    try:
        yield
    except (RemoteShellError, BrokenPipeError, TimeoutExpired):
        process.abandon()
        raise
    except (
        OSError
    ) as error:  # ENOSPC, EIO: of our streams, since the link's own faults are mended or told as ConnectionLostError
        process.abandon()
        raise OSError(error.errno, f"can't pass on the command's output: {error.strerror}") from None
    except BaseException:
        process.abandon()
        raise


def status_of(process: RemoteProcess) -> int:
    """The exit status for the end of a command."""
    end = process.result
    assert end is not None, "it ended"
    if end.timed_out:
        return exit_status.TIMED_OUT
    if end.signal is not None:
        return exit_status.of_signal(end.signal)
    return end.status or 0


def timer(seconds: float, what: Callable[[], None] | None) -> None:
    """A timer by SIGALRM: there is no loop and no thread that could wait."""
    if what is None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        return
    action = what
    signal.signal(signal.SIGALRM, lambda number, frame: action())
    signal.setitimer(signal.ITIMER_REAL, max(0.001, seconds))
