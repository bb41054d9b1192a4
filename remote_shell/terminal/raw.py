"""The line discipline of the person's terminal: raw, cooked or without echo, and back to what it was.

Must never leave a terminal changed, never fail while it restores, and never touch it while another job has it. Knows nothing of
escape sequences: neighbours `modes` and `restore` do. The flags are those of termios(3).
"""

from __future__ import annotations

import errno
import os
import termios
from types import TracebackType
from typing import Any

_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6  # places in what tcgetattr returns
_NO_KEY = b"\0"  # _POSIX_VDISABLE
_UNKNOWN_SIZE = (24, 80)


class RawTerminal:
    """The terminal on `fd` as it was found, and ways to set it. Use as a context manager: at its end all is as it was.

    Entering raises OSError if `fd` is no terminal; so do `raw`, `cooked` and `no_echo`, if the terminal is gone.
    """

    __slots__ = ("_changed", "_found", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._found: list[Any] | None = None
        self._changed = False

    def __enter__(self) -> RawTerminal:
        try:
            self._found = termios.tcgetattr(self.fd)
        except termios.error as error:
            raise OSError(*error.args) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()

    def raw(self) -> None:
        """Every byte passes as it is, both ways: cfmakeraw(3), and no XON/XOFF, as ssh does."""
        mode = self._copy()
        mode[_IFLAG] &= ~(
            termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR
        )
        mode[_IFLAG] &= ~(termios.ICRNL | termios.IXON | termios.IXOFF | termios.IXANY)
        mode[_OFLAG] &= ~termios.OPOST
        mode[_LFLAG] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        mode[_CFLAG] = (mode[_CFLAG] & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
        mode[_CC][termios.VMIN], mode[_CC][termios.VTIME] = 1, 0
        self._set(mode)

    def cooked(self) -> None:
        """As it was found, whole lines and local echo, but the keys that send INT and TSTP end a line: see `ending_keys`."""
        self._set(self._lines())

    def no_echo(self) -> None:
        """The same, but what is typed is not shown, line ends included: for passwords."""
        mode = self._lines()
        mode[_LFLAG] &= ~(termios.ECHO | termios.ECHONL)
        self._set(mode)

    @property
    def ending_keys(self) -> tuple[bytes, bytes]:
        """The keys for INT and TSTP, which come at the end of what was typed before; empty where there is none.

        As signals they would make the kernel throw away what it holds of our output (isig in n_tty.c), in the middle of what goes on
        coming. NOFLSH keeps that, and what was typed before them too, which then is the beginning of the next line.
        """
        characters = self._copy()[_CC]
        keys = (characters[termios.VINTR], characters[termios.VSUSP])
        interrupt, suspend = (b"" if key == _NO_KEY else key for key in keys)
        return interrupt, suspend

    def _lines(self) -> list[Any]:
        mode = self._copy()
        characters = mode[_CC]
        if mode[_LFLAG] & termios.ISIG:
            characters[termios.VEOL], characters[termios.VEOL2] = characters[termios.VINTR], characters[termios.VSUSP]
            characters[termios.VINTR] = characters[termios.VSUSP] = _NO_KEY
            mode[_LFLAG] |= termios.IEXTEN  # VEOL2 is one of its keys
        return mode

    def restore(self) -> None:
        """As it was found. Again and at any time; a terminal that is gone, or that another job has by now, is left alone."""
        if self._found is None or not self._changed:
            return
        self._changed = False
        # Out of the background tcsetattr would stop us (SIGTTOU), just when we want to end; and the shell that took
        # the terminal over has set it to its own liking.
        if self._in_background():
            return
        for when in (termios.TCSADRAIN, termios.TCSANOW):  # a drain is interrupted by signals
            try:
                termios.tcsetattr(self.fd, when, self._found)
            except (termios.error, OSError, ValueError):
                continue
            return

    def _in_background(self) -> bool:
        try:
            return os.tcgetpgrp(self.fd) != os.getpgrp()
        except (OSError, ValueError):
            return False  # not our controlling terminal: no job control there

    def _copy(self) -> list[Any]:
        if self._found is None:
            raise ValueError("the terminal was not entered")
        return [*self._found[:_CC], [*self._found[_CC]]]

    def _set(self, mode: list[Any]) -> None:
        """After what was written, and what is typed ahead stays: TCSAFLUSH would lose it."""
        self._changed = True  # first: an exception may come between the two
        try:
            termios.tcsetattr(self.fd, termios.TCSADRAIN, mode)
        except termios.error as error:
            raise OSError(*error.args) from None


def is_hung_up(fd: int) -> bool:
    """The terminal on `fd` is gone: its window was closed. Each call on it fails then (tty_ioctl(4)), and reading it finds its end."""
    try:
        termios.tcgetattr(fd)
    except termios.error as error:
        return bool(error.args[0] == errno.EIO)
    return False


def window_size(fd: int) -> tuple[int, int]:
    """Rows and columns (TIOCGWINSZ, tty_ioctl(4)); 24 and 80 where they are not known, also of what is no terminal."""
    try:
        rows, columns = termios.tcgetwinsize(fd)
    except (termios.error, OSError, ValueError):
        return _UNKNOWN_SIZE
    return rows or _UNKNOWN_SIZE[0], columns or _UNKNOWN_SIZE[1]
