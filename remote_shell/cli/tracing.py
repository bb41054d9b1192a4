"""`--trace` of the client's commands: who hears of the frames. Imported by who asked for a trace only.

Neighbours: `arguments` has the option, `trace_lines` the lines, `trace_file` the file.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from remote_shell.cli.trace_file import TraceWriter
from remote_shell.cli.trace_lines import Style, line
from remote_shell.client.remote import write_all
from remote_shell.client.tracing import TraceEvent
from remote_shell.errors import UsageError


class TracePrinter:
    """Called with each event: a line on stderr. One that is closed or full is no reason to fail."""

    def __init__(self, *, named: bool = False) -> None:
        self._began = time.monotonic()
        self._descriptor = sys.stderr.fileno()  # not 2: `ssh -E` has our words go to a file
        self._encoding = sys.stderr.encoding
        self.on_terminal = os.isatty(self._descriptor)
        self._style = style(self._descriptor, self._encoding, named=named)

    def __call__(self, event: TraceEvent) -> None:
        """One more line."""
        if self.on_terminal:
            self._style = self._style._replace(width=width(self._descriptor))
        text = f"{line(event, self._began, self._style)}\n"
        try:
            write_all(self._descriptor, [text.encode(self._encoding, "backslashreplace")])
        except OSError:
            return


def style(descriptor: int, encoding: str | None, *, named: bool = False) -> Style:
    """What suits a descriptor."""
    environ = os.environ
    colour = os.isatty(descriptor) and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"
    unicode = (encoding or "ascii").lower().replace("-", "") == "utf8"
    return Style(width(descriptor), colour, unicode, named)


def width(descriptor: int) -> int:
    """Columns of the terminal; 0 for none."""
    try:
        return os.get_terminal_size(descriptor).columns
    except OSError:
        return 0


def opened(word: str, *, named: bool = False) -> Callable[[TraceEvent], None]:
    """Who is told, by what `--trace` said: a file, or with "" or "-" stderr. Raises UsageError, OSError."""
    if word in ("", "-"):
        return TracePrinter(named=named)
    return TraceWriter(os.path.expanduser(word), named=named)


def keep_off_screen(options: Mapping[str, Any]) -> None:
    """Where a person's screen is not ours to print on. Raises UsageError."""
    trace = options.get("trace")
    if isinstance(trace, TracePrinter) and trace.on_terminal:
        raise UsageError(
            "--trace alone would print into the screen that you work on: write --trace=FILE, and read it with remote-shell trace FILE; "
            "or 2>FILE"
        )
