"""What the REPL puts on the terminal besides what commands write: the prompt, quiet marks, notes.

Commands' bytes pass unchanged, since `showing` has seen to them; ours are told from them by being dim, and never by colour alone. Imports
no prompt_toolkit, so that all of it can be tested as text. Neighbour: `repl`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from remote_shell.client.remote import write_all
from remote_shell.terminal.visible import last_sign, shown

SLOW = 1.0  # seconds above which a command's time is shown
_COLOURS = {
    name: 30 + number
    for number, name in enumerate(("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"))
}
_DIRECTORY_MAX = 40  # characters of the directory in the prompt


class Screen:
    """The terminal that stdout and stderr go to. `colour` is off under NO_COLOR, on a dumb terminal, on none, and if `plain`."""

    def __init__(
        self,
        environment: dict[str, str] | None = None,
        *,
        terminal: bool = True,
        encoding: str = "utf-8",
        plain: bool = False,
    ) -> None:
        environment = dict(os.environ) if environment is None else environment
        self.plain = plain  # words instead of marks, and nothing but text
        self.colour = (
            terminal and not plain and not environment.get("NO_COLOR") and environment.get("TERM", "dumb") != "dumb"
        )
        self.unicode = encoding.lower().replace("-", "") == "utf8"
        self._last = b"\n"

    # --- what commands write

    def write(self, stream: int, data: bytes) -> None:
        """Bytes of a command, to our own descriptor 1 or 2, unchanged. Raises OSError."""
        if data:
            self._last = last_sign(data) or self._last
            write_all(stream, [data])

    def echoed(self) -> None:
        """The terminal itself showed something, ^C for one, and the cursor stands after it."""
        self._last = b""

    def returned(self) -> None:
        """The terminal itself showed a line that ended: the cursor stands before the next."""
        self._last = b"\n"

    def fresh_line(self) -> None:
        """Go to a line of our own; a mark says that the command did not end its last one."""
        if self._last != b"\n":
            self.note(self._sign("⏎", "\\") if self._last and not self.plain else "")

    # --- what we say

    def note(self, text: str, colour: str = "dim") -> None:
        """A line of ours, to stderr: what commands write to stdout stays theirs alone."""
        self._last = b"\n"
        text = shown(text)  # there may be words of the server's in it
        try:
            sys.stderr.write(f"{self.paint(text, colour) if text else ''}\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            return

    def lines(self, texts: Iterable[str]) -> None:
        """Lines that somebody asked for: not dim, since they are to be read."""
        for text in texts:
            self.note(text, "")

    def paint(self, text: str, colour: str) -> str:
        """`text` in a colour by name, or "dim", or "bold"; unchanged where there are none, or for ""."""
        if not self.colour or not colour:
            return text
        code = {"dim": 2, "bold": 1}.get(colour) or _COLOURS[colour]
        return f"\x1b[{code}m{text}\x1b[0m"

    def ended(self, status: int, signal: str | None, duration: float, *, timed_out: bool = False) -> None:
        """The mark after a command: none if it succeeded quickly, as most do."""
        parts = []
        if signal is not None or status:
            parts.append(self.mark(status, signal))
        if timed_out:
            parts.append("timed out")
        if duration >= SLOW:
            parts.append(f"{'' if parts else self.mark(0, None) + ' '}{duration_text(duration)}")
        if parts:
            self.note("  ".join(parts), "red" if status or signal else "dim")

    def mark(self, status: int, signal: str | None) -> str:
        """How a command ended: `✓`, `✗ 42`, `✗ SIGTERM`."""
        if signal is None and not status:
            return "done" if self.plain else self._sign("✓", "ok")
        end = signal if signal is not None else str(status)
        if self.plain:
            return f"ended by {end}" if signal is not None else f"failed with {end}"
        return f"{self._sign('✗', 'x')} {end}"

    def _sign(self, sign: str, plain: str) -> str:
        return sign if self.unicode else plain


def duration_text(seconds: float) -> str:
    """`1.2s`, `2m 05s`, `3h 04m`."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m"


def size_text(count: int) -> str:
    """`512 bytes`, `3.4 KiB`, `12 MiB`."""
    if count < 1024:
        return f"{count} byte{'' if count == 1 else 's'}"
    size, unit = count / 1024, "KiB"
    if size >= 1024:
        size, unit = size / 1024, "MiB"
    return f"{size:.1f} {unit}" if size < 10 else f"{size:.0f} {unit}"


def printable(text: str) -> str:
    """`text` from the other side, as we may show it: nothing in it can move the cursor."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "?" for sign in text)


def directory_text(cwd: str, home: str, most: int = _DIRECTORY_MAX) -> str:
    """`cwd` for the prompt: `~` for the home folder, its last parts where it is long."""
    text = cwd
    if home not in ("", "/") and (cwd == home or cwd.startswith(home.rstrip("/") + "/")):
        text = "~" + cwd[len(home.rstrip("/")) :]
    text = printable(text)
    if len(text) <= most:
        return text
    kept = text[-most + 2 :]
    return "…/" + (kept.partition("/")[2] or kept)
