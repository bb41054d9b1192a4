"""The live shell of the blocking front. Neighbours: `shell` has what both fronts decide alike, `blocking` starts it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

from remote_shell.client import opening
from remote_shell.client.conversation import Conversation
from remote_shell.client.outcome import BYTES, LINES, TextMode
from remote_shell.client.process import ProcessState
from remote_shell.client.remote import Remote
from remote_shell.client.shell import Collected, OnOutput, ShellCore, ShellResult, signal_word
from remote_shell.limits import Limits
from remote_shell.wire.messages import Command, Done, Exit


class Shell(ShellCore):
    """A live shell of the blocking front."""

    def __init__(self, remote: Remote, conversation: Conversation, state: ProcessState, limits: Limits) -> None:
        super().__init__(conversation, state, limits)
        self._remote = remote
        self._driver = remote.driver
        self._turn = threading.Lock()

    def __enter__(self) -> Shell:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(
        self,
        line: opening.Text,
        *,
        input: Any = None,
        timeout: float | None = None,
        check: bool = False,
        text: bool = True,
        on_output: OnOutput | None = None,
    ) -> ShellResult:
        """Run a line, of any length and number of lines, to its end.

        Its stdin is `input`, otherwise empty. With `on_output(stream, data)` the output is passed on as bytes and not
        returned. A timeout, or KeyboardInterrupt, ends the command and not the shell, if the command lets it. Raises
        CalledProcessError, TimeoutExpired, ShellEndedError, ConnectionLostError.
        """
        mode = LINES if text else BYTES
        given = mode.encoded(input) if input is not None else None
        with self._turn:
            started = time.monotonic()
            message = self.prepare(line, given, timeout)
            first = partial(self._begin, message, given)
            done, end = self._finish(line, timeout, mode, started, on_output, first)
        self.raise_ends(done, end, timeout, check)
        return done

    def join(self, *, text: bool = True, on_output: OnOutput | None = None) -> ShellResult | None:
        """Wait for the command that ran when the shell was attached. None if none did: what was missed has been passed on."""
        mode = LINES if text else BYTES
        with self._turn:
            line = self.joined()
            if line is not None:
                return self._finish(line, None, mode, time.monotonic(), on_output)[0]
            output = Collected(on_output)
            while self._missed > 0:
                with self._driver:
                    self._driver.wait(self._has_output, None)
                    missed = self._take_missed()
                    self._driver.flush()
                output.add(1, missed)
            self._check_lost()
            return None

    def _finish(
        self,
        line: opening.Text,
        timeout: float | None,
        mode: TextMode,
        started: float,
        on_output: OnOutput | None,
        first: Callable[[], None] | None = None,
    ) -> tuple[ShellResult, Done | Exit]:
        """Wait for the end of the command that runs, or that `first` starts."""
        output = Collected(on_output)
        deadline = None if timeout is None else started + self.patience(timeout)
        number = self._number
        try:
            in_time = self._move(output, deadline, first)
        except BaseException:
            if first is None or self._number > number:
                self._stop(output)
            raise
        out, err = output.whole()
        if not in_time:
            assert timeout is not None, "only a timeout ends so"
            self._remote.abandon()
            raise self.expired(line, timeout, out, err)
        end = self.check_ran(self.end())
        return self.make_result(line, end, out, err, mode, started), end

    def interrupt(self) -> None:
        """SIGINT for the command that runs now. Never waits: for signal handlers and other threads."""
        self.signal("SIGINT")

    def signal(self, name: str | int) -> None:
        """Another signal for it, by name or number."""
        word = signal_word(name)
        self._driver.urgent(lambda: self.signal_current(word))

    def detach(self) -> None:
        """Leave it to itself: it goes on, and `Host.attach` takes it up again. Then every call raises DetachedError."""
        self._driver.urgent(self.send_detach)
        with self._driver:
            self._driver.wait(self._is_left, None)

    def close(self) -> None:
        """End the shell and what runs in it. Safe to repeat."""
        self._abandoned = True
        self._remote.abandon()

    def _begin(self, message: Command, given: Any) -> None:
        """Under the lock: queue the command; who waits then sends it."""
        self.check_alive()
        self.send(message, given)

    def _move(self, output: Collected, deadline: float | None, first: Callable[[], None] | None = None) -> bool:
        """Pass on output until the command is over. False at the deadline. `first` is done under the lock before."""
        outputs, conversation, state = self._state.outputs, self._conversation, self._state

        def ready() -> bool:
            return bool(outputs[1].chunks or outputs[2].chunks or state.done) or state.ended

        while True:
            with self._driver:
                if first is not None:
                    first()
                    first = None
                    self._driver.flush()  # the shell begins while we prepare to wait
                in_time = self._driver.wait(ready, deadline)
                over = self.is_over()
                work = [(stream, conversation.take(state, stream)) for stream in (1, 2) if outputs[stream].chunks]
                if work:
                    self._driver.flush()
            for stream, chunks in work:
                output.add(stream, chunks)
            if over or not in_time:
                return over

    def _stop(self, output: Collected) -> None:
        """We were interrupted: so is the command; the shell stays if it answers in time, and is given up if not."""
        self.interrupt()
        limits = self._limits
        silent = Collected(lambda stream, data: None)
        if self._move(silent, time.monotonic() + limits.interrupt_grace + limits.kill_grace):
            self.end()
        else:
            self.close()
