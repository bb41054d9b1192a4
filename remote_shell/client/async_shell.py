"""The live shell of the asyncio front. Neighbours: `shell` has what both fronts decide alike, `async_` starts it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from remote_shell.client import opening
from remote_shell.client.conversation import Conversation
from remote_shell.client.outcome import BYTES, LINES, TextMode
from remote_shell.client.process import ProcessState
from remote_shell.client.shell import Collected, OnOutput, ShellCore, ShellResult, signal_word
from remote_shell.limits import Limits
from remote_shell.wire.messages import Done, Exit


class AsyncChannel(Protocol):
    """What `AsyncShell` needs of `async_process.AsyncRemote`."""

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready()`."""

    def flush(self) -> None:
        """Something was queued."""

    def abandon(self) -> None:
        """Nobody wants it any more."""


class AsyncShell(ShellCore):
    """A live shell of the asyncio front."""

    def __init__(self, remote: AsyncChannel, conversation: Conversation, state: ProcessState, limits: Limits) -> None:
        super().__init__(conversation, state, limits)
        self._remote = remote
        self._turn = asyncio.Lock()
        self.on_mode: Callable[[str], None] | None = None  # called when its terminal's mode has changed
        self.on_unread: Callable[[], None] | None = None  # called when `take_unread` has something
        self.on_detached: Callable[[], None] | None = None  # called once, when it is not ours any more
        self._told_mode = self.mode

    async def __aenter__(self) -> AsyncShell:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def run(
        self,
        line: opening.Text,
        *,
        input: Any = None,
        timeout: float | None = None,
        check: bool = False,
        text: bool = True,
        on_output: OnOutput | None = None,
    ) -> ShellResult:
        """Run a line to its end; as `Shell.run`. Cancelling interrupts the command; the shell stays if it answers in time."""
        mode = LINES if text else BYTES
        given = mode.encoded(input) if input is not None else None
        async with self._turn:
            started = time.monotonic()
            self.check_alive()
            self.send(self.prepare(line, given, timeout), given)
            self._remote.flush()
            done, end = await self._finish(line, timeout, mode, started, on_output)
        self.raise_ends(done, end, timeout, check)
        return done

    async def join(self, *, text: bool = True, on_output: OnOutput | None = None) -> ShellResult | None:
        """Wait for the command that ran when the shell was attached. None if none did: what was missed has been passed on."""
        mode = LINES if text else BYTES
        async with self._turn:
            line = self.joined()
            if line is not None:
                return (await self._finish(line, None, mode, time.monotonic(), on_output))[0]
            output = Collected(on_output)
            while self._missed > 0:
                await self._remote.until(self._has_output)
                output.add(1, self._take_missed())
                self._remote.flush()
            self._check_lost()
            return None

    async def _finish(
        self, line: opening.Text, timeout: float | None, mode: TextMode, started: float, on_output: OnOutput | None
    ) -> tuple[ShellResult, Done | Exit]:
        output = Collected(on_output)
        try:
            in_time = await self._move(output, None if timeout is None else self.patience(timeout))
        except BaseException:
            await self._stop()
            raise
        out, err = output.whole()
        if not in_time:
            assert timeout is not None, "only a timeout ends so"
            self._remote.abandon()
            raise self.expired(line, timeout, out, err)
        end = self.check_ran(self.end())
        return self.make_result(line, end, out, err, mode, started), end

    def interrupt(self) -> None:
        """SIGINT for the command that runs now."""
        self.signal("SIGINT")

    def signal(self, name: str | int) -> None:
        """Another signal for it, by name or number."""
        self.signal_current(signal_word(name))
        self._remote.flush()

    def look(self) -> None:
        """For `async_`: something came."""
        if not self.is_ours and self.on_detached is not None:
            told, self.on_detached = self.on_detached, None
            told()
        if self._state.unread and self.on_unread is not None:
            self.on_unread()
        if self.mode != self._told_mode:
            self._told_mode = self.mode
            if self.on_mode is not None:
                self.on_mode(self.mode)

    def flush(self) -> None:
        """Send what was queued for its terminal."""
        self._remote.flush()

    async def room(self) -> None:
        """Wait until there is room for more keys."""
        await self._remote.until(lambda: self.writable)

    async def detach(self) -> None:
        """Leave it to itself; as `Shell.detach`."""
        self.send_detach()
        self._remote.flush()
        await self._remote.until(self._is_left)

    async def close(self) -> None:
        """End the shell and what runs in it. Safe to repeat."""
        self._abandoned = True
        self._remote.abandon()

    async def _move(self, output: Collected, seconds: float | None) -> bool:
        outputs, conversation, state = self._state.outputs, self._conversation, self._state

        def ready() -> bool:
            return bool(outputs[1].chunks or outputs[2].chunks or state.done) or state.ended

        try:
            async with asyncio.timeout(seconds):
                while True:
                    await self._remote.until(ready)
                    over = self.is_over()
                    for stream in (1, 2):
                        chunks = conversation.take(state, stream)
                        if chunks:
                            self._remote.flush()
                            output.add(stream, chunks)
                    if over:
                        return True
        except TimeoutError:
            return False

    async def _stop(self) -> None:
        """We were cancelled: see `Shell._stop`. Shielded by nothing: a second cancellation gives the shell up."""
        self.interrupt()
        silent = Collected(lambda stream, data: None)
        try:
            answered = await self._move(silent, self._limits.interrupt_grace + self._limits.kill_grace)
        except BaseException:
            await self.close()
            raise
        if answered:
            self.end()
        else:
            await self.close()
