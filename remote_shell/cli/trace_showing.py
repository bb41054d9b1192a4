"""`remote-shell trace`: a file's events, those that are wanted, on stdout.

What can be read is shown, whatever comes before or after it. Neighbours: `trace_file` reads, `trace_lines` has the manners of showing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import IO

from remote_shell.cli import trace_lines
from remote_shell.cli.main import complain
from remote_shell.cli.trace_file import DamagedError, Head, read_events, read_head
from remote_shell.cli.trace_lines import TYPES, Style, channel_of, message_of, type_of
from remote_shell.cli.tracing import style
from remote_shell.client.remote import write_all
from remote_shell.client.tracing import WITHOUT_BYTES, TraceEvent
from remote_shell.wire.messages import MODELS

NOT_ALL = 1  # exit status


def show(file: IO[bytes], name: str, arguments: argparse.Namespace) -> int:
    """Print; returns the exit status. `arguments` as `commands.trace` has them. Raises UsageError for what is no trace, BrokenPipeError."""
    head = read_head(file, name)
    manner = style(1, sys.stdout.encoding, named=head.named)
    status, shown = 0, 0
    for event in read_events(file):
        if isinstance(event, DamagedError):
            complain(f"{name}: {event}")
            status = NOT_ALL
        elif is_wanted(event, arguments):
            text = "".join(f"{one}\n" for one in _lines(event, head, manner, arguments))
            write_all(1, [text.encode(sys.stdout.encoding or "ascii", "backslashreplace")])
            shown += 1
    if not shown and arguments.type not in (None, *TYPES, *MODELS):
        known = f"{', '.join(TYPES)}, and of messages those of docs/protocol.md"
        complain(f"{name}: nothing has the type {arguments.type!a}; they are {known}")
    return status


def _lines(event: TraceEvent, head: Head, manner: Style, arguments: argparse.Namespace) -> Iterator[str]:
    if arguments.json:
        yield trace_lines.as_json(event, head.began)
    elif arguments.hex:
        yield from trace_lines.hex_lines(event, 0.0, manner)
    else:
        yield trace_lines.line(event, 0.0, manner)


def is_wanted(event: TraceEvent, arguments: argparse.Namespace) -> bool:
    """It passes all filters. Where a connection begins and ends belongs to no channel, type or direction."""
    if arguments.connection is not None and event.connection != arguments.connection:
        return False
    if arguments.host is not None and event.host != arguments.host:
        return False
    crossed = event.kind not in WITHOUT_BYTES
    if (arguments.sent or arguments.received) and not (crossed and event.sent == arguments.sent):
        return False
    if arguments.channel is not None and not (crossed and channel_of(event) == arguments.channel):
        return False
    if arguments.type is None:
        return True
    if arguments.type in TYPES:
        return crossed and type_of(event) == arguments.type
    message = message_of(event)
    return message is not None and message.get("type") == arguments.type
