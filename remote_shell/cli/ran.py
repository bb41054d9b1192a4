"""The commands of a session at the prompt: each has a number and is kept with its end and what it wrote last.

Only keeps: never runs, prints or forgets to say what it dropped. All of it is bounded. Neighbours: `repl` and `background` fill
it, `own_commands` shows it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

OUTPUT_MAX = 256 * 1024  # bytes of one command's output, its last
TOTAL_MAX = 16 * 1024 * 1024  # bytes of all together; beyond, the oldest commands' outputs go
COMMANDS_MAX = 1000  # commands, above which the oldest that ended go
TEXT_MAX = (
    32 * 1024 + 1
)  # characters of a line that is kept: one more than the history takes, which so refuses what was cut


class Kept:
    """The end of what a command wrote."""

    __slots__ = ("_data", "dropped")

    def __init__(self) -> None:
        self._data = bytearray()
        self.dropped = 0  # bytes that were written earlier and are not kept

    def __len__(self) -> int:
        return len(self._data)

    @property
    def data(self) -> bytes:
        """What is kept."""
        return bytes(self._data)

    def add(self, data: bytes) -> None:
        """More of it came."""
        self._data += data[-OUTPUT_MAX:]
        self.dropped += max(0, len(data) - OUTPUT_MAX)
        beyond = len(self._data) - OUTPUT_MAX
        if beyond > 0:
            del self._data[:beyond]
            self.dropped += beyond

    def drop(self) -> None:
        """Keep nothing of it."""
        self.dropped += len(self._data)
        self._data = bytearray()


class Ran:
    """One command. `started` in Unix seconds; `status` is None while it runs, and for ever if nobody knows it: then `lost` says why."""

    __slots__ = (
        *("background", "directory", "duration", "lost", "number", "output", "running", "signal", "started"),
        *("status", "statuses", "text", "watcher", "_began"),
    )

    def __init__(self, number: int, text: str, directory: str, background: bool) -> None:
        self.number = number
        self.text = text[:TEXT_MAX]
        self.directory = directory  # before it ran
        self.background = background
        self.started = time.time()
        self._began = time.monotonic()
        self.running = True
        self.status: int | None = None
        self.signal: str | None = None
        self.statuses: tuple[int, ...] = ()  # of a pipeline's commands, where there are several
        self.duration = 0.0  # seconds
        self.lost = ""
        self.output = Kept()
        self.watcher: Callable[[bytes], None] | None = None  # who is attached

    @property
    def seconds(self) -> float:
        """How long it ran, or runs."""
        return time.monotonic() - self._began if self.running else self.duration

    def end(
        self,
        status: int | None,
        signal: str | None = None,
        statuses: tuple[int, ...] = (),
        duration: float | None = None,
        lost: str = "",
    ) -> None:
        """It ended, or nobody will know."""
        self.duration = self.seconds if duration is None else duration
        self.running = False
        self.status, self.signal, self.statuses, self.lost = status, signal, statuses, lost


class Commands:
    """All of a session, by number."""

    def __init__(self) -> None:
        self._by_number: dict[int, Ran] = {}
        self._count = 0
        self._held = 0  # bytes of output

    def begin(self, text: str, directory: str, *, background: bool = False) -> Ran:
        """One that starts now."""
        self._count += 1
        ran = self._by_number[self._count] = Ran(self._count, text, directory, background)
        if len(self._by_number) > COMMANDS_MAX:
            oldest = next((other for other in self._by_number.values() if not other.running), None)
            if oldest is not None:
                self._held -= len(oldest.output)
                del self._by_number[oldest.number]
        return ran

    def wrote(self, ran: Ran, data: bytes) -> None:
        """Output of it."""
        before = len(ran.output)
        ran.output.add(data)
        self._held += len(ran.output) - before
        if self._held > TOTAL_MAX:
            self._make_room()
        if ran.watcher is not None:
            ran.watcher(data)

    def get(self, number: int) -> Ran | None:
        """The one of that number."""
        return self._by_number.get(number)

    @property
    def last(self) -> Ran | None:
        """The one that began last."""
        return next(reversed(self._by_number.values()), None)

    def listed(self) -> list[Ran]:
        """Those that run, as they began; then the others, newest first."""
        every = list(self._by_number.values())
        return [ran for ran in every if ran.running] + [ran for ran in reversed(every) if not ran.running]

    @property
    def in_background(self) -> list[Ran]:
        """Those that run beside the shell."""
        return [ran for ran in self._by_number.values() if ran.background and ran.running]

    def _make_room(self) -> None:
        for ended in (True, False):  # what has ended first
            for ran in self._by_number.values():
                if self._held <= TOTAL_MAX:
                    return
                if ran.running is not ended:
                    self._held -= len(ran.output)
                    ran.output.drop()
