"""Our terminal while a command of the live shell runs: set as the command's own terminal is, over there.

Cooked: our kernel edits and shows the line, without any lag, and whole lines go; so do ends of file. No echo: the same, unseen. Raw: every
key goes (`keys` finds escapes). ^C and ^Z become signals there. What programs leave on in our terminal is undone
when the command has ended. Must never keep keys for a program in raw mode when the person sees that there is no contact: it would get them
blindly. Those of the moment before wait. Neighbours: `repl` owns one, `terminal` sets modes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import signal
import time
from collections.abc import Callable

from remote_shell.cli.keys import HELP, Keys
from remote_shell.cli.screen import Screen
from remote_shell.cli.showing import passage
from remote_shell.client.async_shell import AsyncShell
from remote_shell.client.remote import write_all
from remote_shell.config.hosts import NOTHING_ALLOWED, Allowed
from remote_shell.terminal.modes import ModeTracker
from remote_shell.terminal.raw import RawTerminal, is_hung_up, window_size
from remote_shell.terminal.restore import Leaver

_READ = 64 * 1024
_HELD_MAX = 4096  # bytes of keys that wait for the connection
_TAIL = 128  # bytes of output that are looked at for a program's leave-taking
_MEANING = re.compile(rb"[\n\x03\x04\x1a\x1c]")  # keys that are more than text to a terminal that reads lines
_SIGNALS = {b"\x03": signal.SIGINT, b"\x1a": signal.SIGTSTP, b"\x1c": signal.SIGQUIT}
# The alternate screen is left and nothing but controls follows, or the cursor goes home (clear) and nothing moves it.
_AT_MARGIN = re.compile(
    rb"\x1b\[\?(?:1049|1047|47)l(?:\x1b\[[0-?]*[ -/]*[@-~]|\x1b[=>78]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\r)*\Z"
    rb"|\x1b\[[01]?(?:;[01]?)?[Hf](?:\x1b\[[0-?]*[JKmhl]|\r)*\Z"
)


class LiveTerminal:
    """Descriptors 0 and 1, for one command after the other.

    `away` says whether there is no connection, `brief` whether that is not worth a word yet; `leave` ends the REPL. `allowed` is what
    commands may do to it besides drawing.
    """

    def __init__(
        self,
        screen: Screen,
        away: Callable[[], bool],
        leave: Callable[[], None],
        brief: Callable[[], bool] = lambda: False,
        allowed: Allowed = NOTHING_ALLOWED,
    ) -> None:
        self._screen = screen
        self._away = away
        self._brief = brief
        self._leave = leave
        self._tracker = ModeTracker()
        self._passage = passage(1, allowed, terminal=True)
        self._keys = Keys()
        self._shell: AsyncShell | None = None
        self._terminal: RawTerminal | None = None
        self._reading = False
        self._tail = b""  # of what was written last
        self.typed_at = 0.0  # monotonic: somebody is there
        self._full: asyncio.Task[None] | None = None
        self._held = b""  # keys that wait for the connection
        self._hidden: set[bytes] = set()  # lines that were not to be seen, since the command began
        self._unended = b""  # typed ahead: the beginning of a line that our kernel does not know of

    def begin(self, shell: AsyncShell, ahead: bytes = b"") -> None:
        """A command is about to run. `ahead` was typed for it while the prompt's editor still read the terminal."""
        self._shell = shell
        self._tail = self._held = b""
        self._unended = ahead
        self._hidden.clear()
        self._keys = Keys()
        self._terminal = RawTerminal(0)
        self._terminal.__enter__()
        shell.on_mode = self._set
        self._resized()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGWINCH, self._resized)
        self._set(shell.mode)
        loop.call_soon(self._type_ahead, shell)  # behind the command, which is about to be sent

    def end(self) -> bytes:
        """It has ended: our terminal is as it was. Returns the beginning of a line that was typed and is nobody's yet."""
        if self._shell is None:
            return b""
        self._read(False)
        if self._full is not None:
            self._full.cancel()
            self._full = None
        asyncio.get_running_loop().remove_signal_handler(signal.SIGWINCH)
        self._shell.on_mode = None
        self._shell = None
        with contextlib.suppress(OSError):  # hung up
            self._write(self._passage.end())
        if self._tracker.on_alternate_screen:
            self._screen.returned()  # where the cursor was before the program took the screen
        Leaver(1, self._tracker, self._terminal).leave()
        return self._unended.replace(b"\r", b"\n")

    def write(self, stream: int, data: bytes) -> None:
        """What the command wrote."""
        data = self._passage.feed(data)
        try:
            self._write(data)
        except OSError:
            if not is_hung_up(0):
                raise
            self._hung_up()
            return
        self._tail = (self._tail + data)[-_TAIL:]
        if _AT_MARGIN.search(self._tail):
            self._screen.returned()

    def _write(self, data: bytes) -> None:
        self._tracker.feed(data)
        self._screen.write(1, data)

    @property
    def is_raw(self) -> bool:
        """A program has the screen for itself."""
        return self._shell is not None and self._shell.mode == "raw"

    def on_contact(self) -> None:
        """The connection's state changed."""
        if self._held and not self._away() and self._shell is not None:
            held, self._held = self._held, b""
            self._send_keys(self._shell, held)
            self._shell.flush()

    def show_status(self, text: str) -> None:
        """In the last line of a screen that a program has for itself, in reverse; with "" the program paints it anew."""
        if not self.is_raw:
            return
        rows, columns = window_size(0)
        if text and self._held and not self._brief():
            self._held = b""
            write_all(1, [b"\a"])
        if text:
            shown = text[: columns - 1].encode("utf-8", "replace")
            write_all(1, [b"\x1b7\x1b[%d;1H\x1b[0;7m%b\x1b[0m\x1b[K\x1b8" % (rows, shown)])
        else:
            self._repaint()

    def repaint(self) -> None:
        """A program that has the screen for itself shall paint it anew: it was attached."""
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

    def _type_ahead(self, shell: AsyncShell) -> None:
        """Keys that came while the prompt's editor had our terminal: nothing was shown, Enter is a CR, and ^C no signal.

        Some were read by the editor. The others are what the terminal gives first: without a line end, or with a CR in it.
        """
        if shell is not self._shell:
            return  # it has ended already
        self._read(True)
        first = b""
        if select.select([0], [], [], 0)[0]:
            with contextlib.suppress(OSError):  # hung up, which reading will tell
                first = os.read(0, _READ)
        if first.endswith(b"\n") and b"\r" not in first:
            cooked, first = first, b""
        else:
            cooked = b""
        data = (self._unended + first).replace(b"\r", b"\n")
        self._unended = b""
        while data:
            self.typed_at = time.monotonic()
            meaning = _MEANING.search(data)
            if meaning is None:
                self._unended = _erased(data)
                self._screen.write(1, _echo_of(self._unended))
                break
            text, key, data = _erased(data[: meaning.start()]), meaning[0], data[meaning.end() :]
            if key in _SIGNALS:
                os.kill(os.getpid(), _SIGNALS[key])
            else:
                self._screen.write(1, _echo_of(text) + (b"\r\n" if key == b"\n" else b""))
                self._pass_line(shell, text + (key if key == b"\n" else b""))
        if cooked:
            self._pass_line(shell, cooked)
        shell.flush()

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
            self._hung_up()
            return
        if not data and is_hung_up(0):  # no end of input that somebody typed: the command must not hear of it
            self._hung_up()
            return
        if shell.mode == "raw":
            self._typed_raw(shell, data)
        else:
            self._pass_line(shell, data)
        shell.flush()

    def _pass_line(self, shell: AsyncShell, data: bytes) -> None:
        """A line as our kernel gives it: without a line end ^D ended it, or a key that is a signal for the command."""
        data, self._unended = self._unended + data, b""
        assert self._terminal is not None, "begun"
        interrupt, suspend = self._terminal.ending_keys
        if data[-1:] and data[-1:] in (interrupt, suspend):  # what was typed before is forgotten, as by any terminal
            os.kill(os.getpid(), signal.SIGINT if data[-1:] == interrupt else signal.SIGTSTP)
            return
        if shell.mode == "no_echo":
            self._hidden.add(data.removesuffix(b"\n"))
        if data.endswith(b"\n"):
            if shell.mode == "cooked":
                self._screen.returned()
            shell.send_line(data[:-1])
        else:
            shell.send_line(data, end="eof")

    def without_hidden(self, given: bytes) -> bytes:
        """Input that came back, but for what was typed unseen: a password must be neither shown, nor run, nor kept."""
        return b"\n".join(line for line in given.split(b"\n") if not line or line not in self._hidden)

    def _hung_up(self) -> None:
        """The window was closed. Its signal may come later, or to the shell alone that started us."""
        self._read(False)
        os.kill(os.getpid(), signal.SIGHUP)

    def _typed_raw(self, shell: AsyncShell, data: bytes) -> None:
        passed, escapes = self._keys.feed(data)
        if passed and self._away():
            if self._brief() and len(self._held) + len(passed) <= _HELD_MAX:
                self._held += passed
            else:
                write_all(1, [b"\a"])
        elif passed:
            self._send_keys(shell, passed)
        for escape in escapes:
            if escape == "leave":
                self._leave()
            elif escape == "help":
                self._screen.note(HELP)
            else:
                self._suspend()

    def _send_keys(self, shell: AsyncShell, data: bytes) -> None:
        if not shell.send_keys(data) and self._full is None:
            self._read(False)
            self._full = asyncio.get_running_loop().create_task(self._wait_for_room(shell))

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


def _erased(line: bytes) -> bytes:
    """What is left of keys, of which some erased the one before."""
    kept: list[str] = []
    for key in line.decode("utf-8", "surrogateescape"):
        if key != "\x7f":
            kept.append(key)
        elif kept:
            kept.pop()
    return "".join(kept).encode("utf-8", "surrogateescape")


def _echo_of(text: bytes) -> bytes:
    """As a terminal echoes it (ECHOCTL): what would move the cursor is shown as ^X."""
    return re.sub(rb"[\x00-\x1f]", lambda found: b"^" + bytes([found[0][0] ^ 0x40]), text)
