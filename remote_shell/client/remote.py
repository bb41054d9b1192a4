"""A remote process of the blocking front, shaped like `subprocess.Popen`.

Its bytes move only while some call on its host waits. What goes to descriptors of ours is written by the thread that waits for
this process, with no lock taken, so a slow terminal stops this command alone. Neighbours: `blocking` starts it, `streams` are
its files, `feeding` reads descriptors for its stdin.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from remote_shell.blocking.driver import Driver
from remote_shell.client import opening
from remote_shell.client.conversation import Conversation
from remote_shell.client.feeding import Feed
from remote_shell.client.process import Described, Mode, ProcessState
from remote_shell.client.redirect import Redirect
from remote_shell.errors import ConnectionLostError
from remote_shell.limits import Limits

_IOV_MAX = 512
_SLACK = 1.5  # seconds beyond the server's own ladder before our clock ends a timed-out command
_PIPES = {1: "stdout", 2: "stderr"}


class _Doubled:
    """A copy of a descriptor of ours, closed at the latest when nobody waits for its command any more.

    By itself, since Python swallows a Ctrl-C that comes in `__del__`: a command without such descriptors has none.
    """

    descriptor = -1  # also where Ctrl-C came before it was doubled

    def __init__(self, descriptor: int) -> None:
        self.descriptor = os.dup(descriptor)

    def close(self) -> None:
        """Safe to repeat."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


class Remote:
    """One command on the server, without files: what `run` needs. `RemoteProcess` below adds them."""

    def __init__(
        self, driver: Driver, conversation: Conversation, state: ProcessState, redirect: Redirect, limits: Limits
    ) -> None:
        self.driver = driver
        self._conversation = conversation
        self._state = state
        self._limits = limits
        self._relays: list[tuple[int, _Doubled]] = []
        if redirect.stdout >= 0 or redirect.stderr >= 0:
            for stream, descriptor in ((1, redirect.stdout), (2, redirect.stderr)):
                if descriptor >= 0:  # doubled, as a local child's are: the caller may close its own at once
                    self._relays.append((stream, _Doubled(descriptor)))
        self._passages: dict[int, Callable[[bytes], bytes]] = {}
        self._feed = Feed(driver, conversation, state, redirect.stdin) if redirect.stdin >= 0 else None

    def begin(self, given: memoryview | None) -> None:
        """Under the lock, after the channel was opened: stdin that is known from the start."""
        if given is not None:
            if given:
                self._conversation.write(self._state, given)
            self._conversation.end_stdin(self._state)
        elif self._feed is not None:
            self._feed.start()

    # --- waiting

    def serve(
        self,
        ready: Callable[[], bool],
        deadline: float | None = None,
        *,
        first: Callable[[], None] | None = None,
        soon: Callable[[], bool] | None = None,
    ) -> bool:
        """Wait until `ready()`, passing on what goes to descriptors of ours. False at the deadline (monotonic).

        `first` is done under the lock before: what queues the question whose answer is waited for. `soon` is `Driver.wait`'s.
        """
        driver = self.driver
        if not self._relays:
            with driver:
                if first is not None:
                    first()
                    driver.flush()  # the server begins while we prepare to wait
                return driver.wait(ready, deadline, soon)
        outputs = self._state.outputs

        def anything() -> bool:
            return any(outputs[stream].chunks for stream, _ in self._relays) or ready()

        while True:
            with driver:
                if first is not None:
                    first()
                    first = None
                driver.wait(anything, deadline, soon)
                done = ready()
                work = [
                    (stream, sink, self._conversation.take(self._state, stream))
                    for stream, sink in self._relays
                    if outputs[stream].chunks
                ]
                if work:
                    driver.flush()  # the credit goes now: the server sends on while we write
            for stream, sink, chunks in work:
                self._pass_on(stream, sink.descriptor, chunks)
            if not work:
                return done
            if not done and deadline is not None and time.monotonic() >= deadline:
                return False

    def pass_through(self, stream: int, passage: Callable[[bytes], bytes]) -> None:
        """From now on what goes to a descriptor of ours is what `passage` makes of it; called by the thread that waits."""
        self._passages[stream] = passage

    def _pass_on(self, stream: int, descriptor: int, chunks: list[bytes | memoryview]) -> None:
        if stream in self._passages:
            chunks = [self._passages[stream](b"".join(chunks))]
        try:
            write_all(descriptor, chunks)
        except OSError:
            self.shut(stream)
            raise

    def shut(self, stream: int) -> None:
        """Nobody reads this stream any more: what comes is dropped, and the command gets SIGPIPE if it goes on writing."""
        self._close_relays(stream)

        def drop() -> None:
            output = self._state.outputs[stream]
            if output.mode is not Mode.DROP and not self._state.closed:
                output.broken = not output.ended
                self._conversation.set_mode(self._state, stream, Mode.DROP)

        # a file that is garbage closes itself in the middle of anything, under the lock too
        self.driver.urgent(drop)

    def discard(self) -> None:
        """What goes to descriptors of ours goes nowhere from here on. Whoever waits hears of the output's end all the same."""
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        for _, sink in self._relays:
            os.dup2(nowhere, sink.descriptor, inheritable=False)
        os.close(nowhere)

    def _close_relays(self, only: int | None = None) -> None:
        for relay in list(self._relays):
            if only is None or relay[0] == only:
                self._relays.remove(relay)
                relay[1].close()

    def finish(self, start: Callable[[], None], timeout: float | None) -> bool:
        """Start it and wait for the end of everything.

        False if `timeout` seconds went by since the start, and the server did not end the command either. Raises ConnectionLostError if
        there is no connection: whether it ended in time is not known.
        """
        state = self._state
        if timeout is None:
            return self.serve(self._finished, first=start, soon=self._started)
        with self.driver:
            start()  # which may have to connect: that is not the command's time
            self.driver.flush()
        expires = time.monotonic() + timeout
        if self.serve(self._finished, expires, soon=self._started):
            return True
        if state.ends_later:
            return False
        # The server's own clock ends it, and says so, over a new connection too; ours only stands in for a server that can't.
        if self.serve(self._finished, expires + self._limits.kill_grace + _SLACK):
            return state.exit is not None
        if self.driver.link is None:
            raise self._conversation.out_of_contact(state, timeout)
        return False

    def abandon_soon(self, error: BaseException) -> None:
        """End the command's tree and have whoever waits for it raise `error`. Never waits: for signal handlers and threads."""

        def abandon() -> None:
            if not self._state.closed:
                self._conversation.close(self._state)
                self._state.lose(error)

        self.driver.urgent(abandon)

    def _finished(self) -> bool:
        return self._state.finished

    def _started(self) -> bool:
        """Before that, whoever spins takes a CPU from the server and the process that it starts."""
        return self._state.opened is not None

    def release(self) -> None:
        """Everything that was asked for is here."""
        self._close_relays()
        if self._state.closed and self._feed is None:
            return
        with self.driver:
            if self._feed is not None:
                self._feed.stop()
            if not self._state.closed:
                self._conversation.forget(self._state)

    def abandon(self) -> None:
        """Nobody wants it any more: the server ends its tree. Waits briefly for the word to leave."""
        self._close_relays()
        if self.driver.forked:
            return
        with self.driver:
            if self._feed is not None:
                self._feed.stop()
            if not self._state.closed:
                self._conversation.close(self._state)
                self.driver.send_all(time.monotonic() + self._limits.bye_time)


class RemoteProcess(Remote, Described):
    """As `subprocess.Popen`: same attributes, same methods, same exceptions.

    Besides: `job` is the command's id, `result` the server's word on its end, `wait` and the others raise ConnectionLostError when the
    session is gone. `pid` is the server's. With `stdout=None` the output goes to our own descriptor 1 while a call on the process waits.
    """

    args: Any
    stdin: Any = None
    stdout: Any = None
    stderr: Any = None
    _communicating = False  # `communicate` was called before
    _communicated: tuple[Any, Any] | None = None
    _patient = True  # a write to stdin waits for room; not in `communicate`, which reads only after it has written

    def __enter__(self) -> RemoteProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the streams and waits, as subprocess does; a KeyboardInterrupt ends the command instead."""
        try:
            if kind is not None and not issubclass(kind, Exception):
                self.abandon()
                return
            try:
                for file in (self.stdout, self.stderr, self.stdin):
                    if file is not None:
                        file.close()
            finally:
                if not self.driver.forked:
                    self.wait()
                    self.release()
        except BaseException:
            self.abandon()
            raise

    # --- Popen's verbs

    def poll(self) -> int | None:
        """`returncode` after one look, without waiting for the command. Raises ConnectionLostError."""
        self.serve(lambda: self._state.ended, 0.0)
        self._check_lost()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the command's end (not its output's). Raises TimeoutExpired, ConnectionLostError; the command goes on."""
        deadline = opening.deadline_in(timeout)
        if not self.serve(lambda: self._state.ended, deadline):
            from remote_shell.client.outcome import expired

            assert timeout is not None, "without a deadline it waits"
            raise expired(self._state, timeout, None, None)
        self._check_lost()
        code = self.returncode
        assert code is not None, "it ended"
        return code

    def communicate(
        self, input: Any = None, timeout: float | None = None, *, most: int | None = None
    ) -> tuple[Any, Any]:
        """Send `input`, read everything to the end. After TimeoutExpired it may be called again; nothing is lost.

        `most` bytes are held of each stream; more ends the command with OutputTooLargeError. By default all is held, as locally.
        """
        from remote_shell.client.outcome import expired

        state, conversation = self._state, self._conversation
        most = opening.most_of(most)
        if self._communicating and input:
            raise ValueError("Cannot send input after starting communication")
        self._communicating = True
        deadline = opening.deadline_in(timeout)
        if self.stdin is not None and not self.stdin.closed:
            data = self.text.encoded(input) if input else None
            self._patient = False
            try:
                self.stdin.flush()  # what the caller wrote before, so that `input` comes behind it
                if data is not None and not state.ended:
                    with self.driver:
                        conversation.write(state, data)
                        self.driver.flush()
            except BrokenPipeError:
                pass
            try:
                self.stdin.close()
            except BrokenPipeError:
                pass
        files = {1: self.stdout, 2: self.stderr}
        with self.driver:
            for stream, file in files.items():
                if file is not None and not file.closed and state.outputs[stream].mode is Mode.HOLD:
                    state.outputs[stream].most = most
                    conversation.set_mode(state, stream, Mode.KEEP)
        if not self.serve(lambda: state.finished, deadline):
            assert timeout is not None, "without a deadline it waits"
            raise expired(state, timeout, self._so_far(1), self._so_far(2))
        self._check_lost()
        self.release()
        if self._communicated is None:
            self._communicated = self._rest(1), self._rest(2)
        return self._communicated

    def out_of_contact(self, timeout: float) -> ConnectionLostError:
        """What to raise if its time was over while there was no connection."""
        return self._conversation.out_of_contact(self._state, timeout)

    def _so_far(self, stream: int) -> bytes | None:
        """What came and was not read, for an exception: bytes, as subprocess has them, in text mode too."""
        from remote_shell.client.streams import ahead

        file = getattr(self, _PIPES[stream])
        if file is None:
            return None
        collected = self._state.outputs[stream].collected()
        if file.closed:
            return collected
        held = ahead(file)
        if isinstance(held, str):
            held = self._ahead[stream] = self._ahead.get(stream, "") + held
            return held.encode(file.encoding, file.errors) + collected
        return bytes(held) + collected

    def _rest(self, stream: int) -> Any:
        """All that was not read: what its file has read ahead, and what was collected."""
        file = getattr(self, _PIPES[stream])
        if file is None:
            return None
        if file.closed:
            return self.text.decoded(b"")
        rest = file.read()  # and not joined from both: its decoder may hold half a character
        file.close()
        return self._ahead.pop(stream) + rest if stream in self._ahead else rest

    def send_signal(self, number: int) -> None:
        """Signal the command's process group; 0 signals nothing. Never waits, so that signal handlers and other threads may call it."""
        from remote_shell.client.outcome import sent_signal

        name = sent_signal(number, self._state.ended)
        if name is None:
            return
        self.driver.urgent(lambda: self._conversation.signal(self._state, name))

    def resize(self, rows: int, columns: int) -> None:
        """Its terminal has another size, in characters. Never waits, so that a signal handler may call it. Raises UsageError."""
        rows, columns = opening.size_of(rows, columns)  # not under the lock, which would stay taken
        self.driver.urgent(lambda: self._conversation.resize(self._state, rows, columns))

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, to the process group; `abandon` ends the whole tree."""
        self.send_signal(signal.SIGKILL)

    # --- for `blocking` and the files

    def open_files(self, redirect: Redirect, text: Any, bufsize: int | None) -> None:
        """Make the file objects of pipes."""
        from remote_shell.client import streams

        bufsize = -1 if bufsize is None else bufsize
        if bufsize == 1 and not text.text and redirect.piped:
            import warnings

            warnings.warn(streams.NO_LINES, RuntimeWarning, stacklevel=3)  # Popen's, in the same words

        self.text = text
        self._ahead: dict[int, str] = {}  # text that an expired `communicate` took out of a stream's file
        if redirect.stdin_pipe:
            self.stdin = streams.writer(streams.RawInput(self._send, self._end_stdin), text, bufsize)
        for stream, mode, descriptor in (
            (1, redirect.stdout_mode, redirect.stdout),
            (2, redirect.stderr_mode, redirect.stderr),
        ):
            if mode is Mode.HOLD and descriptor < 0:
                raw = streams.RawOutput(self._reader(stream), self._shutter(stream))
                setattr(self, _PIPES[stream], streams.reader(raw, text, bufsize))

    def _reader(self, stream: int) -> Callable[[int], list[Any]]:
        output = self._state.outputs[stream]

        def read(size: int) -> list[Any]:
            self.serve(lambda: bool(output.chunks) or output.ended)
            with self.driver:
                chunks = self._conversation.take(self._state, stream, size)
                if chunks:
                    self.driver.flush()
            if not chunks:
                self._check_lost()
            return chunks

        return read

    def _shutter(self, stream: int) -> Callable[[], None]:
        return lambda: self.shut(stream)

    def _send(self, data: bytes) -> None:
        state = self._state
        if self._patient and not state.writable:
            self.serve(lambda: state.writable or state.ended)
        self._check_lost()
        if state.ended:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        with self.driver:
            self._conversation.write(state, data)
            self.driver.flush()

    def _end_stdin(self) -> None:
        self.driver.urgent(lambda: self._conversation.end_stdin(self._state))


def write_all(descriptor: int, chunks: list[bytes | memoryview]) -> None:
    """Write everything, also to a descriptor that was set non-blocking. Raises OSError."""
    at = 0
    while at < len(chunks):
        if not chunks[at]:  # a filter may have left nothing
            at += 1
            continue
        try:
            count = os.writev(descriptor, chunks[at : at + _IOV_MAX])
        except BlockingIOError:
            poll = select.poll()
            poll.register(descriptor, 4)  # POLLOUT
            poll.poll()
            continue
        while count and count >= len(chunks[at]):
            count -= len(chunks[at])
            at += 1
        if count:
            chunks[at] = memoryview(chunks[at])[count:]
