"""Our terminal while a command of the live shell runs: set as the command's own terminal is, over there.

Cooked: our kernel edits and shows the line, without any lag, and whole lines go; so do ends of file. No echo: the same, unseen. Raw: every
key goes (`keys` finds escapes). ^C and ^Z are signals here and become signals there. What programs leave on in our terminal is undone
when the command has ended. Must never send keys while there is no contact: a program in raw mode would get them blindly. Neighbours: `repl`
owns one, `terminal` sets modes.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Callable

from remote_shell.cli.keys import HELP, Keys
from remote_shell.cli.screen import Screen
from remote_shell.client.remote import write_all
from remote_shell.client.shell import AsyncShell
from remote_shell.terminal.modes import ModeTracker
from remote_shell.terminal.raw import RawTerminal, window_size
from remote_shell.terminal.restore import Leaver

_READ = 64 * 1024
_TAIL = 128  # bytes of output that are looked at for a program's leave-taking
# The alternate screen is left, and nothing but controls follows.
_LEFT_SCREEN = re.compile(
    rb"\x1b\[\?(?:1049|1047|47)l(?:\x1b\[[0-?]*[ -/]*[@-~]|\x1b[=>78]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\r)*\Z"
)


class LiveTerminal:
    """Descriptors 0 and 1, for one command after the other. `away` says whether there is no connection, `leave` ends the REPL."""

    def __init__(self, screen: Screen, away: Callable[[], bool], leave: Callable[[], None]) -> None:
        self._screen = screen
        self._away = away
        self._leave = leave
        self._tracker = ModeTracker()
        self._keys = Keys()
        self._shell: AsyncShell | None = None
        self._terminal: RawTerminal | None = None
        self._reading = False
        self._tail = b""  # of what was written last
        self.typed_at = 0.0  # monotonic: somebody is there
        self._full: asyncio.Task[None] | None = None

    def begin(self, shell: AsyncShell) -> None:
        """A command is about to run."""
        self._shell = shell
        self._tail = b""
        self._keys = Keys()
        self._terminal = RawTerminal(0)
        self._terminal.__enter__()
        shell.on_mode = self._set
        self._resized()
        asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, self._resized)
        self._set(shell.mode)
        self._read(True)

    def end(self) -> None:
        """It has ended: our terminal is as it was."""
        if self._shell is None:
            return
        self._read(False)
        if self._full is not None:
            self._full.cancel()
            self._full = None
        asyncio.get_running_loop().remove_signal_handler(signal.SIGWINCH)
        self._shell.on_mode = None
        self._shell = None
        Leaver(1, self._tracker, self._terminal).leave()

    def write(self, stream: int, data: bytes) -> None:
        """What the command wrote."""
        self._tracker.feed(data)
        self._screen.write(1, data)
        self._tail = (self._tail + data)[-_TAIL:]
        if _LEFT_SCREEN.search(self._tail):
            self._screen.returned()  # the cursor is where it was before the program took the screen

    @property
    def is_raw(self) -> bool:
        """A program has the screen for itself."""
        return self._shell is not None and self._shell.mode == "raw"

    def show_status(self, text: str) -> None:
        """In the last line of a screen that a program has for itself, in reverse; with "" the program paints it anew."""
        if not self.is_raw:
            return
        rows, columns = window_size(0)
        if text:
            shown = text[: columns - 1].encode("utf-8", "replace")
            write_all(1, [b"\x1b7\x1b[%d;1H\x1b[0;7m%b\x1b[0m\x1b[K\x1b8" % (rows, shown)])
        else:
            self._repaint()

    def _repaint(self) -> None:
        rows, columns = window_size(0)
        if self._shell is not None:
            self._shell.send_size(rows, max(1, columns - 1))
            self._shell.flush()
            asyncio.get_running_loop().call_later(0.05, self._resized)

    def _set(self, mode: str) -> None:
        assert self._terminal is not None, "begun"
        try:
            {"cooked": self._terminal.cooked, "no_echo": self._terminal.no_echo, "raw": self._terminal.raw}[mode]()
        except OSError:  # our terminal is gone, which reading tells
            return

    def _read(self, on: bool) -> None:
        loop = asyncio.get_running_loop()
        if on and not self._reading:
            loop.add_reader(0, self._typed)
        elif self._reading and not on:
            loop.remove_reader(0)
        self._reading = on

    def _typed(self) -> None:
        shell = self._shell
        self.typed_at = time.monotonic()
        if shell is None:
            return
        try:
            data = os.read(0, _READ)
        except BlockingIOError:
            return
        except OSError:  # EIO: hung up
            self._read(False)
            self._leave()
            return
        if shell.mode == "raw":
            self._typed_raw(shell, data)
        elif data.endswith(b"\n"):
            if shell.mode == "cooked":
                self._screen.returned()
            shell.send_line(data[:-1])
        else:
            shell.send_line(data, end="eof")
        shell.flush()

    def _typed_raw(self, shell: AsyncShell, data: bytes) -> None:
        passed, escapes = self._keys.feed(data)
        if passed and self._away():
            write_all(1, [b"\a"])
        elif passed and not shell.send_keys(passed):
            self._read(False)
            self._full = asyncio.get_running_loop().create_task(self._wait_for_room(shell))
        for escape in escapes:
            if escape == "leave":
                self._leave()
            elif escape == "help":
                self._screen.note(HELP)
            else:
                self._suspend()

    async def _wait_for_room(self, shell: AsyncShell) -> None:
        await shell.room()
        self._full = None
        self._read(True)

    def _suspend(self) -> None:
        """~^Z: the client itself stops; our own shell gets its terminal as it was."""
        self._read(False)
        Leaver(1, self._tracker, self._terminal).leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        if self._shell is not None:
            self._set(self._shell.mode)
            self._read(True)
            self._repaint()

    def _resized(self) -> None:
        rows, columns = window_size(0)
        self._tracker.rows = rows
        if self._shell is not None:
            self._shell.send_size(rows, columns)
            self._shell.flush()
