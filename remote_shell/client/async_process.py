"""A remote process of the asyncio front: shaped like `asyncio.subprocess.Process`, with Popen's attributes besides.

Output is received in the background up to the channel's window; what nobody reads stops the command there. Neighbours: `async_`
starts it, `async_passing` joins it to descriptors.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Any

from remote_shell.client import opening
from remote_shell.client.async_passing import Feed, Relay
from remote_shell.client.async_streams import AsyncReader, AsyncTextReader, AsyncWriter, Owner, Watch
from remote_shell.client.outcome import TextMode, expired, sent_signal
from remote_shell.client.process import Described, Mode, ProcessState
from remote_shell.client.redirect import Redirect


class AsyncRemote(Described):
    """One command on the server, without files: what `run` needs."""

    def __init__(self, owner: Owner, state: ProcessState) -> None:
        self._owner = owner
        self._state = state
        self._watch = Watch(owner.loop)
        self._relays: list[Relay] = []
        self._feed: Feed | None = None
        state.changed = self._watch.changed

    def begin(self, redirect: Redirect, given: memoryview | None) -> None:
        """After the channel was opened: join descriptors, send stdin that is known."""
        owner, state = self._owner, self._state
        for stream, descriptor in ((1, redirect.stdout), (2, redirect.stderr)):
            if descriptor >= 0:
                relay = Relay(owner.loop, owner.conversation, state, stream, descriptor, owner.flush)
                self._relays.append(relay)
                self._watch.moves.append(relay.move)
        if given is not None:
            if given:
                owner.conversation.write(state, given)
            owner.conversation.end_stdin(state)
        elif redirect.stdin >= 0:
            self._feed = Feed(owner.loop, owner.conversation, state, redirect.stdin, owner.flush)
            self._watch.moves.append(self._feed.move)
            self._feed.move()

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready()` and all that came is written. Raises the OSError of a descriptor that can't be written."""

        def all_there() -> bool:
            return any(relay.error for relay in self._relays) or (
                ready() and not any(relay.busy for relay in self._relays)
            )

        await self._watch.until(all_there if self._relays else ready)
        for relay in self._relays:
            if relay.error is not None:
                error, relay.error = relay.error, None
                raise error

    def flush(self) -> None:
        """Something was queued."""
        self._owner.flush()

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` after each event."""
        self._watch.moves.append(changed)

    def release(self) -> None:
        """Everything that was asked for is here."""
        self._let_go()
        if not self._state.closed:
            self._owner.conversation.forget(self._state)

    def abandon(self) -> None:
        """Nobody wants it any more: the server ends its tree."""
        self._let_go()
        if not self._state.closed:
            self._owner.conversation.close(self._state)
            self._owner.flush_now()

    def _let_go(self) -> None:
        for relay in self._relays:
            relay.close()
        if self._feed is not None:
            self._feed.close()
        self._watch.moves.clear()


class AsyncProcess(AsyncRemote):
    """Names and meanings are subprocess's; what waits is awaited. Its end by `async with` waits, and a cancelled task ends the tree."""

    args: Any = None
    stdin: AsyncWriter | None = None
    stdout: AsyncReader | AsyncTextReader | None = None
    stderr: AsyncReader | AsyncTextReader | None = None
    _communicating = False
    _communicated: tuple[Any, ...] | None = None

    async def __aenter__(self) -> AsyncProcess:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None and not issubclass(kind, Exception):
                self.abandon()
                return
            if self.stdin is not None:
                self.stdin.close()
            for stream in (1, 2):
                self._shut(stream)
            await self.wait()
            self.release()
        except BaseException:
            self.abandon()
            raise

    def open_files(self, redirect: Redirect, text: TextMode) -> None:
        """Make the stream objects of pipes."""
        self.text = text
        if redirect.stdin_pipe:
            self.stdin = AsyncWriter(self, text)
        if redirect.stdout_mode is Mode.HOLD and redirect.stdout < 0:
            self.stdout = self._reader(1)
        if redirect.stderr_mode is Mode.HOLD and redirect.stderr < 0:
            self.stderr = self._reader(2)

    def _reader(self, stream: int) -> AsyncReader | AsyncTextReader:
        return AsyncTextReader(self, stream, self.text) if self.text.text else AsyncReader(self, stream)

    def poll(self) -> int | None:
        """`returncode`, or what is known of it. Raises ConnectionLostError."""
        self._check_lost()
        return self.returncode

    async def wait(self, timeout: float | None = None) -> int:
        """Wait for the command's end (not its output's). Raises TimeoutExpired, ConnectionLostError; the command goes on."""
        try:
            async with asyncio.timeout(timeout):
                await self.until(lambda: self._state.ended)
        except TimeoutError:
            assert timeout is not None, "without one there is no TimeoutError"
            raise expired(self._state, timeout, None, None) from None
        self._check_lost()
        code = self.returncode
        assert code is not None, "it ended"
        return code

    async def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, ...]:
        """Send `input`, read everything to the end. After TimeoutExpired it may be called again; nothing is lost."""
        state, conversation = self._state, self._owner.conversation
        if self._communicating and input:
            raise ValueError("Cannot send input after starting communication")
        self._communicating = True
        if self.stdin is not None and not self.stdin.is_closing():
            if input and not state.ended:
                conversation.write(state, self.text.encoded(input))
            self.stdin.close()
        files = {1: self.stdout, 2: self.stderr}
        for stream, file in files.items():
            if file is not None and state.outputs[stream].mode is Mode.HOLD:
                conversation.set_mode(state, stream, Mode.KEEP)
        self._owner.flush()
        try:
            async with asyncio.timeout(timeout):
                await self.until(lambda: state.finished)
        except TimeoutError:
            assert timeout is not None, "without one there is no TimeoutError"
            out, err = (None if file is None else file.so_far() for file in files.values())
            raise expired(state, timeout, out, err) from None
        self._check_lost()
        self.release()
        if self._communicated is None:
            self._communicated = tuple(None if file is None else file.remainder() for file in files.values())
        return self._communicated

    def send_signal(self, number: int) -> None:
        """Signal the command's process group; 0 signals nothing."""
        name = sent_signal(number, self._state.ended)
        if name is not None:
            self._owner.conversation.signal(self._state, name)
            self._owner.flush()

    def resize(self, rows: int, columns: int) -> None:
        """Its terminal has another size, in characters. Raises UsageError."""
        self._owner.conversation.resize(self._state, *opening.size_of(rows, columns))
        self._owner.flush()

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, to the process group; `abandon` ends the whole tree."""
        self.send_signal(signal.SIGKILL)

    def _shut(self, stream: int) -> None:
        """Nobody reads on: what comes is dropped, and the command gets SIGPIPE if it goes on writing."""
        output = self._state.outputs[stream]
        if output.mode is Mode.HOLD and not any(relay.busy for relay in self._relays):
            output.broken = not output.ended
            self._owner.conversation.set_mode(self._state, stream, Mode.DROP)
            self._owner.flush()
