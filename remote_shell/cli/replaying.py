"""Playing a recording in the person's terminal, at the pace at which it came about.

Its output passes `showing` on the way to a terminal, which is left as it was found however it ends. Keys are ours, and the terminal's own
answers to what is played are no keys. Time and keys come from outside, so that tests wait for nothing. Neighbours: `terminal.cast`
reads, `commands.replay` has the options.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import termios
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from remote_shell.cli.exit_status import INTERRUPTED, leave_by_signal
from remote_shell.cli.main import complain
from remote_shell.cli.showing import passage
from remote_shell.client.remote import write_all
from remote_shell.terminal.cast import DamagedError, Head, Moment, read_head, read_moments
from remote_shell.terminal.modes import ModeTracker
from remote_shell.terminal.raw import RawTerminal, window_size
from remote_shell.terminal.restore import Leaver

NOT_ALL = 1  # exit status: a part could not be read
_PAUSE, _STEP, _LEAVE, _INTERRUPT = 0x20, ord("."), ord("q"), 0x03
_ESC = 0x1B
_ENDING = (signal.SIGTERM, signal.SIGHUP)
_KEYS = 64  # bytes read at once
_WAIT = 3600.0  # s at once: select(2) takes no century, and a recording may ask for ten


class LeftError(Exception):
    """Who watches has seen enough."""

    def __init__(self, status: int) -> None:
        super().__init__("left")
        self.status = status


class SignalledError(Exception):
    """A signal ends us."""


class Player:
    """Shows moments one after the other. `wait` gives the keys that come within so many seconds, None is for ever."""

    def __init__(
        self,
        show: Callable[[str], None],
        wait: Callable[[float | None], bytes],
        clock: Callable[[], float] = time.monotonic,
        *,
        speed: float = 1.0,
        idle_limit: float = math.inf,
    ) -> None:
        self._show = show
        self._wait = wait
        self._clock = clock
        self._speed = speed
        self._idle_limit = idle_limit
        self._due = 0.0  # of what comes next
        self._paused = False

    def play(self, moments: Iterable[Moment]) -> None:
        """Until the last. Raises LeftError."""
        last = 0.0
        self._due = self._clock()
        for moment in moments:
            self._due += min(moment.at - last, self._idle_limit) / self._speed
            last = moment.at
            self._until_due()
            if moment.kind == "o":
                self._show(moment.text)

    def _until_due(self) -> None:
        """Wait, and look for keys even where there is nothing to wait for."""
        while True:
            left = self._due - self._clock()
            began = self._clock()
            keys = self._wait(None if self._paused else max(0.0, left))
            if self._paused:
                self._due += self._clock() - began
            if self._take(keys):
                return
            if not self._paused and self._due <= self._clock():
                return

    def _take(self, keys: bytes) -> bool:
        """What was typed. True: the next moment is due now."""
        if keys[:1] == bytes([_ESC]):  # an arrow, or what the terminal answers to the recording
            return False
        for key in keys:
            if key == _INTERRUPT:
                raise LeftError(INTERRUPTED)
            if key == _LEAVE:
                raise LeftError(0)
            if key == _PAUSE:
                self._paused = not self._paused
            elif key == _STEP and self._paused:
                self._due = self._clock()
                return True
        return False


def replay(file: IO[bytes], name: str, *, speed: float, idle_limit: float, wait: bool) -> int:
    """Play `file`; returns the exit status. Without `wait`, or where stdout is no terminal, all at once. Raises UsageError, OSError."""
    head = read_head(file, name)
    damages: list[DamagedError] = []
    moments = _readable(read_moments(file), damages)
    status = 0
    try:
        if not os.isatty(1):
            for moment in moments:
                if moment.kind == "o":
                    write_all(1, [moment.text.encode("utf-8", "replace")])
        else:
            status = _on_terminal(moments, head, speed=speed, idle_limit=idle_limit, wait=wait)
    finally:
        for damage in damages:
            complain(f"{name}: {damage}")
    return status or (NOT_ALL if damages else 0)


def _readable(moments: Iterable[Moment | DamagedError], damages: list[DamagedError]) -> Iterator[Moment]:
    for one in moments:
        if isinstance(one, Moment):
            yield one
        elif len(damages) < 10:  # whoever has more of them knows enough
            damages.append(one)


def _on_terminal(moments: Iterable[Moment], head: Head, *, speed: float, idle_limit: float, wait: bool) -> int:
    rows, columns = window_size(1)
    if head.rows > rows or head.columns > columns:
        complain(f"recorded at {head.columns}x{head.rows}, and this terminal has {columns}x{rows}: lines may break")
    tracker, passing = ModeTracker(), passage(1, terminal=True)

    def pass_on(data: bytes) -> None:
        tracker.feed(data)
        write_all(1, [data])

    def show(text: str) -> None:
        pass_on(passing.feed(text.encode("utf-8", "replace")))

    keys = 0 if os.isatty(0) and wait else -1
    with _Ending() as ending:
        terminal = RawTerminal(keys) if keys >= 0 else None
        leaver = Leaver(1, tracker, terminal)
        try:
            if terminal is not None:
                terminal.__enter__()
                terminal.raw()
            if wait:
                Player(show, _Keys(keys).wait, speed=speed, idle_limit=idle_limit).play(moments)
            else:
                for moment in moments:
                    if moment.kind == "o":
                        show(moment.text)
        except LeftError as left:
            return left.status
        except SignalledError:
            pass
        finally:
            with contextlib.suppress(OSError):
                pass_on(passing.end())
            _leave(leaver, keys)
    return leave_by_signal(ending.signal) if ending.signal is not None else 0


def _leave(leaver: Leaver, keys: int) -> None:
    """As it was. What lies there to be read is thrown away: answers to the recording must not become a shell's input."""
    if keys >= 0:
        try:
            termios.tcflush(keys, termios.TCIFLUSH)
        except termios.error:  # it is gone
            pass
    leaver.leave()


class _Ending:
    """TERM and HUP raise SignalledError, so that the terminal is left as it was found."""

    def __init__(self) -> None:
        self.signal: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Ending:
        self._before = {number: signal.signal(number, self._end) for number in _ENDING}
        return self

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _end(self, number: int, frame: object) -> None:
        if self.signal is None:
            self.signal = signal.Signals(number).name
            raise SignalledError


class _Keys:
    """The keyboard; a descriptor below zero is none."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def wait(self, seconds: float | None) -> bytes:
        """What is typed within; nothing at the end of that time, or after an hour."""
        if seconds is not None:
            seconds = min(seconds, _WAIT)
        ready, _, _ = select.select([self._fd] if self._fd >= 0 else [], [], [], seconds)
        if not ready:
            return b""
        try:
            keys = os.read(self._fd, _KEYS)
        except OSError:  # the window was closed
            keys = b""
        if not keys:
            raise LeftError(0)
        return keys
