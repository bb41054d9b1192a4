"""How a shell gets a terminal and yet a pipe for its stdin, from which it takes our words.

setsid(1) makes the terminal on descriptor 0 the controlling one, so a bash stands between: it moves the pipe there and becomes the
shell that stays. It is bash for zsh too, which reads a file of the system's even where it reads none. Must never
leave a descriptor behind, whatever fails. Neighbours: `shell` starts one with it, `shell_link` types.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from remote_shell.process.shell_link import ShellLink

BASH_PATH = b"/bin/bash"


class TerminalEnds:
    """The descriptors of one start."""

    def __init__(self, link: ShellLink) -> None:
        self._link = link
        self._fds: list[int] = []
        self._ours = -1

    def wrap(self, terminal: int) -> tuple[Sequence[bytes], Sequence[int], int]:
        """For `PtyProcess.start_on_terminal`. OSError: EMFILE, ENFILE."""
        theirs, self._ours = os.pipe2(os.O_CLOEXEC)
        nowhere = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self._fds = [theirs, nowhere]
        inherited = self._link.inherit(terminal)
        # -p: no BASH_ENV; the descriptor's number is only known here
        script = b'exec "$@" 0<&%d %d<&-' % (theirs, theirs)
        return (BASH_PATH, b"-p", b"-c", script, b"bash"), (*inherited, theirs), nowhere

    def take(self) -> int:
        """The pipe's write end, which the caller owns from now on."""
        ours, self._ours = self._ours, -1
        return ours

    def close(self) -> None:
        """Close what nobody took."""
        for fd in (*self._fds, self._ours):
            if fd >= 0:
                os.close(fd)
        self._fds, self._ours = [], -1
