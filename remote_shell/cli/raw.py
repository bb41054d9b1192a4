"""A person's terminal joined to a program's over there: every byte passes, as with ssh -t.

Modes that the program leaves on are undone at the end, however it comes. Keys typed while there is no contact are dropped: the program
would get them blindly, minutes later; but those of the first moment, in which nobody can know, wait for it. Never waits for the
terminal while it reads the connection, nor the other way round. Neighbours:
`keys` finds escapes, `outlet` writes, `terminal` knows modes, `commands.run` and `commands.shell` start it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from remote_shell.cli import exit_status, loop
from remote_shell.cli.asking import answers
from remote_shell.cli.keys import ESCAPE, HELP, Escape, Keys, help_for
from remote_shell.cli.main import complain
from remote_shell.cli.notices import Notices
from remote_shell.cli.outlet import Outlet
from remote_shell.cli.showing import passage
from remote_shell.client.async_ import AsyncHost, connect_async
from remote_shell.client.async_process import AsyncProcess
from remote_shell.client.outcome import cut_short
from remote_shell.client.retry import State
from remote_shell.config.hosts import NOTHING_ALLOWED, Allowed
from remote_shell.config.targets import Target
from remote_shell.errors import ConnectionLostError
from remote_shell.terminal.modes import ModeTracker
from remote_shell.terminal.raw import RawTerminal, window_size
from remote_shell.terminal.restore import Leaver

Start = Callable[[AsyncHost], Awaitable[AsyncProcess]]

_READ = 64 * 1024
_HELD_MAX = 4096  # bytes of keys that wait for the connection
_ENDING = (signal.SIGTERM, signal.SIGHUP)
_LEFT = 255  # as ssh has it after ~.


def perform_on_terminal(
    target: str | Target,
    options: dict[str, Any],
    start: Start,
    *,
    allowed: Allowed = NOTHING_ALLOWED,
    escape: int | None = ESCAPE,
    signalled: Callable[[str], int] = exit_status.of_signal,
    timeout: float | None = None,
) -> int:
    """Connect, start, join the two terminals; returns the exit status. Raises what the client raises.

    `allowed` is what the program may do to our terminal besides drawing, `escape` is the key that begins one, `signalled` makes a status
    of the signal that ended the program. `timeout`: seconds that the command was to have at most.
    """
    if "trace" in options:
        from remote_shell.cli.tracing import keep_off_screen

        keep_off_screen(options)
    gone = os.eventfd(0, os.EFD_CLOEXEC)  # takes back a question that a thread still asks
    try:
        terminals = RawTerminals(str(target), allowed, escape, signalled)
        return loop.run(_perform(terminals, target, options, start, gone, timeout))
    except LeftError as left:
        return _LEFT if left.signal is None else exit_status.leave_by_signal(left.signal)
    finally:
        os.close(gone)


async def _perform(
    joined: RawTerminals, target: str | Target, options: dict[str, Any], start: Start, gone: int, timeout: float | None
) -> int:
    try:
        host = await connect_async(target, on_state=joined.on_state, **(answers(gone) | options))
    except BaseException:
        os.eventfd_write(gone, 1)
        raise
    async with host:
        process = await start(host)
        if process.opened is not None and process.opened.term is not None:
            complain(
                f"{target} does not know the terminal {os.environ.get('TERM', '')!a}: TERM is {process.opened.term} there"
            )
        status = await joined.run(process)
        if process.opened is not None and process.opened.again:
            complain("it ran before under this id: this is how it ended then; its output was not kept")
        if short := cut_short(process.result, timeout):
            complain(short)
        return status


class LeftError(Exception):
    """The person, or a signal to the client, left. `signal` is its name or None."""

    def __init__(self, number: int | None = None) -> None:
        super().__init__("left")
        self.signal = signal.Signals(number).name if number is not None else None


class RawTerminals:
    """Our terminal, and one program's. Made before the connection, which tells it of its states."""

    def __init__(
        self,
        name: str,
        allowed: Allowed = NOTHING_ALLOWED,
        escape: int | None = ESCAPE,
        signalled: Callable[[str], int] = exit_status.of_signal,
    ) -> None:
        self._name = name
        self._passage = passage(1, allowed, terminal=True)
        self._help = HELP if escape is None else help_for(escape)
        self._signalled = signalled
        self._keys = Keys(escape)
        self._notices = Notices(name, self._say, self._later, status=self._on_status)
        self._held = b""  # keys that wait for the connection
        self._timer: asyncio.TimerHandle | None = None
        self._tracker = ModeTracker()
        self._shown = os.isatty(1)  # else the output goes to a file or a pipe, and nothing of ours belongs there
        self._outlet: Outlet | None = None
        self._raw = False  # our terminal is raw now
        self._banner = False  # the last line shows a notice of ours
        self._process: AsyncProcess | None = None
        self._full: asyncio.Task[None] | None = None
        self._task: asyncio.Task[int] | None = None
        self._left: LeftError | None = None
        self._terminal: RawTerminal | None = None

    def on_state(self, state: State) -> None:
        """For the client: the connection's state changed."""
        self._notices.on_state(state)
        if self._held and not self._notices.away:
            held, self._held = self._held, b""
            self._send(held)
        if self._banner and not self._notices.away:
            self._repaint()

    async def run(self, process: AsyncProcess) -> int:
        """Pass bytes until the program ends; returns the exit status. Raises LeftError, ConnectionLostError, OSError."""
        self._process = process
        self._outlet = Outlet(1, self._tracker.feed if self._shown else lambda data: None)
        self._task = asyncio.create_task(self._output(process, self._outlet))
        with RawTerminal(0) as terminal:
            self._terminal = terminal
            leaver = Leaver(1, self._tracker, terminal)
            handlers: dict[int, Callable[[], None]] = {number: self._leaver(number) for number in _ENDING}
            handlers[signal.SIGWINCH] = self._resized
            loop = asyncio.get_running_loop()
            try:
                for number, handler in handlers.items():
                    loop.add_signal_handler(number, handler)
                self._enter()
                return await self._task
            except asyncio.CancelledError:
                if self._left is None:
                    raise
                process.abandon()
                raise self._left from None
            finally:
                self._stop_reading()
                for number in handlers:
                    loop.remove_signal_handler(number)
                self._later(0.0, None)
                self._raw = False
                self._outlet.close()
                leaver.leave()

    # --- from there to here

    async def _output(self, process: AsyncProcess, outlet: Outlet) -> int:
        assert process.stdout is not None, "a pipe"
        while data := await process.stdout.read(_READ):
            outlet.put(self._passage.feed(data))
            await outlet.drained()
        outlet.put(self._passage.end())
        await outlet.drained()
        await process.wait()
        end = process.result
        assert end is not None, "it ended"
        if end.timed_out:
            return exit_status.TIMED_OUT
        return self._signalled(end.signal) if end.signal is not None else end.status or 0

    # --- from here to there

    def _enter(self) -> None:
        assert self._terminal is not None, "entered"
        self._terminal.raw()
        self._raw = True
        self._resized()
        asyncio.get_running_loop().add_reader(0, self._typed)

    def _stop_reading(self) -> None:
        asyncio.get_running_loop().remove_reader(0)
        if self._full is not None:
            self._full.cancel()

    def _typed(self) -> None:
        try:
            data = os.read(0, _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        process = self._process
        if not data or process is None or process.stdin is None:
            self._leave(None)  # the terminal is gone
            return
        passed, escapes = self._keys.feed(data)
        if passed and self._notices.is_brief and len(self._held) + len(passed) <= _HELD_MAX:
            self._held += passed
        elif passed and self._notices.away:
            self._not_sent()
        elif passed and not self._send(passed):
            return
        for escape in escapes:
            self._escape(escape)

    def _send(self, keys: bytes) -> bool:
        """False: it has ended, and its last output is on its way."""
        process = self._process
        assert process is not None and process.stdin is not None, "a pipe"
        try:
            process.stdin.write(keys)
        except (BrokenPipeError, ConnectionLostError):
            return False
        if process.stdin.is_full() and self._full is None:
            asyncio.get_running_loop().remove_reader(0)
            self._full = asyncio.create_task(self._wait_for_room(process))
        return True

    def _on_status(self, text: str) -> None:
        if text and self._held:
            self._held = b""
            self._not_sent()

    def _not_sent(self) -> None:
        """Keys are dropped, see above, and that is told."""
        self._notices.tell_now()
        self._ring()

    async def _wait_for_room(self, process: AsyncProcess) -> None:
        assert process.stdin is not None, "a pipe"
        try:
            await process.stdin.drain()
        except ConnectionLostError:  # as above, and it is told there
            return
        self._full = None
        asyncio.get_running_loop().add_reader(0, self._typed)

    def _escape(self, escape: Escape) -> None:
        if escape == "leave":
            self._leave(None)
        elif escape == "help":
            self._say(self._help)
        else:
            self._suspend()

    def _suspend(self) -> None:
        """Ctrl-Z for the client itself: our own shell gets its terminal as it was, and back again."""
        assert self._terminal is not None, "entered"
        asyncio.get_running_loop().remove_reader(0)
        again = self._tracker.again()
        Leaver(1, self._tracker, self._terminal).leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._enter()
        if self._outlet is not None:
            self._outlet.put(again)  # the program, which knows of nothing, would paint on our shell's screen
        self._repaint()

    def _resized(self) -> None:
        rows, columns = window_size(0)
        self._tracker.rows = rows
        if self._process is not None:
            self._process.resize(rows, columns)

    def _repaint(self) -> None:
        """Have the program draw its screen anew: most do when the size changes, and none when it does not."""
        self._banner = False
        rows, columns = window_size(0)
        if self._process is not None:
            self._process.resize(rows, max(1, columns - 1))
            asyncio.get_running_loop().call_later(0.05, self._resized)

    def _leaver(self, number: int) -> Callable[[], None]:
        return lambda: self._leave(number)

    def _leave(self, number: int | None) -> None:
        self._left = LeftError(number)
        if self._task is not None:
            self._task.cancel()

    # --- notices

    def _say(self, text: str) -> None:
        """In the last line, in reverse, with the cursor where it was: the screen is the program's."""
        if not self._raw or not self._shown or self._outlet is None:
            complain(text)
            if self._raw and os.isatty(2):
                os.write(2, b"\r")  # raw, a line feed goes down only
            return
        rows, columns = window_size(0)
        shown = text[: columns - 1].encode("utf-8", "replace")
        self._outlet.put(b"\x1b7\x1b[%d;1H\x1b[0;7m%b\x1b[0m\x1b[K\x1b8" % (rows, shown))
        self._banner = True

    def _ring(self) -> None:
        if self._shown and self._outlet is not None and not self._outlet.is_busy:
            self._outlet.put(b"\a")

    def _later(self, seconds: float, what: Callable[[], None] | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, what) if what is not None else None
