"""Log lines on stderr, safe to look at in a terminal: one line a record, control characters escaped.

Names, addresses and texts of strangers end up in a server's log; an escape sequence among them must not reach the terminal of
whoever reads it. Imports logging (10 ms): only servers, and clients under -v, come here. Neighbour: `commands.serve`.
"""

from __future__ import annotations

import logging
import sys


class LineFormatter(logging.Formatter):
    """`2026-01-31 12:00:00.123 warning server: text`; a traceback follows, indented."""

    def __init__(self) -> None:
        super().__init__("{asctime}.{msecs:03.0f} {levelname} {name}: {message}", "%Y-%m-%d %H:%M:%S", style="{")

    def format(self, record: logging.LogRecord) -> str:
        """One record as text without a control character, but for the line ends of a traceback."""
        head = escape(
            f"{self.formatTime(record, self.datefmt)}.{record.msecs:03.0f} {record.levelname.lower()} "
            f"{record.name.removeprefix('remote_shell.')}: {record.getMessage()}"
        )
        if not record.exc_info:
            return head
        trace = self.formatException(record.exc_info)
        return "\n    ".join([head, *(escape(line) for line in trace.splitlines())])


def escape(text: str) -> str:
    """`text` with everything escaped that is not printable: C0, C1, line ends, bidirectional controls, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def start(level: str) -> None:
    """Send what `remote_shell` logs at `level` ("debug" to "error") and above to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logger = logging.getLogger("remote_shell")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    logging.captureWarnings(False)
    logging.raiseExceptions = (
        False  # a stderr that is closed or full must not stop the server, or fill it with tracebacks
    )
