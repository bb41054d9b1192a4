"""A trace for people: one line a frame, or its bytes in hex; and as JSON, decoded.

What crossed was written by others, so no byte of it reaches the terminal as an order. On a terminal a line is cut to its width. Neighbours:
`trace_file` keeps the same events, `commands.trace` and `tracing` print these lines.
"""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any, NamedTuple

from remote_shell.client.tracing import TraceEvent
from remote_shell.wire.frames import CONTROL, HEADER, HEADER_SIZE

TYPES = ("stdin", "stdout", "stderr", "control")
_BODY_MAX = 512  # characters of one line where no terminal cuts it
_LAST = frozenset(
    ("id", "window", "version", "features", "nonce", "frame_max", "unacked_bytes_max", "unacked_frames_max")
)  # of little news
_WORDS = {"connected": "connected to ", "failed": "no connection: ", "closed": "closed: "}
_NARROW = 60  # columns below which nothing is padded
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\e", '"': '\\"', "\\": "\\\\"}
_TURNS = re.compile(
    "[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)  # would change the order of what stands around them


class Style(NamedTuple):
    """How lines are written. `width` 0: nothing is cut to it."""

    width: int = 0
    colour: bool = False
    unicode: bool = True
    named: bool = False  # lines name their host

    def arrow(self, sent: bool) -> str:
        """Which way."""
        return ("→" if sent else "←") if self.unicode else ("->" if sent else "<-")


def type_of(event: TraceEvent) -> str:
    """Of a frame, by its header; empty where there is none."""
    if event.kind == "stray" or len(event.raw) < HEADER_SIZE:
        return ""
    kind = HEADER.unpack_from(event.raw)[1]
    return TYPES[kind] if kind <= CONTROL else str(kind)


def channel_of(event: TraceEvent) -> int | None:
    """Of a frame; None where there is none."""
    if event.kind == "stray" or len(event.raw) < HEADER_SIZE:
        return None
    channel: int = HEADER.unpack_from(event.raw)[2]
    return channel


def message_of(event: TraceEvent) -> dict[str, Any] | None:
    """The message of a control frame, with "<N masked>" where something is hidden; None if it is none that can be read."""
    if event.kind != "frame" or type_of(event) != "control":
        return None
    text, at = b"", HEADER_SIZE
    for begin, count in event.hidden:
        text += event.raw[at:begin] + b"<%d masked>" % count
        at = begin + count
    try:
        message = json.loads(text + event.raw[at:])
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def line(event: TraceEvent, began: float, style: Style) -> str:
    """One line, without its end."""
    narrow = 0 < style.width < _NARROW
    seconds = f"{event.at - began:.4f}" if narrow else f"{event.at - began:8.4f}"
    who = f"{shown(event.host)}#{event.connection}" if style.named else f"#{event.connection}"
    paint = _Paint(style)
    paint.add(f"{seconds} ", "2")
    paint.add(f"{who} ", "")
    if event.kind in _WORDS:
        paint.add(f"{_WORDS[event.kind]}{shown(event.text)}", "1")
        return paint.text()
    paint.add(f"{style.arrow(event.sent)} ", "36" if event.sent else "32")
    kind, channel = type_of(event), channel_of(event)
    if event.kind == "frame":
        size = len(event.raw) - HEADER_SIZE
        paint.add(f"{channel} {kind} {size} " if narrow else f"{channel:<2} {kind:<7} {size:>5} ", "")
    elif event.kind == "part":
        paint.add(f"{channel} {kind} " if kind else "", "")
        paint.add(f"cut off: {_progress(event)} ", "33")
    else:
        paint.add(f"no frame: {len(event.raw)} bytes ", "33")
    if event.again:
        paint.add("again ", "33")
    _body(event, paint)
    return paint.text()


def _progress(event: TraceEvent) -> str:
    if len(event.raw) < HEADER_SIZE:
        return f"{len(event.raw)} of the header's {HEADER_SIZE} bytes"
    return f"{len(event.raw) - HEADER_SIZE} of {HEADER.unpack_from(event.raw)[0]} bytes"


def _body(event: TraceEvent, paint: _Paint) -> None:
    message = message_of(event)
    if message is not None:
        name = message.pop("type", "")
        message = dict(sorted(message.items(), key=lambda item: item[0] in _LAST))
        paint.add(shown(str(name)), "1")
        rest = json.dumps(message, separators=(",", ":"), ensure_ascii=not paint.style.unicode) if message else ""
        if rest:
            paint.add(f" {shown(rest[: 4 * _BODY_MAX], quoted=True)}", "")
        return
    begin = min(len(event.raw), 0 if event.kind == "stray" else HEADER_SIZE)
    payload = event.raw[begin:]
    if event.hidden and event.hidden[0] == (begin, len(payload)):
        paint.add(f"masked: {len(payload)} bytes {shown(event.why)}", "33")
    elif payload:
        text = payload[:_BODY_MAX].decode("utf-8" if paint.style.unicode else "ascii", "surrogateescape")
        paint.add(f'"{shown(text)}"', "")


def hex_lines(event: TraceEvent, began: float, style: Style) -> Iterator[str]:
    """The line, and below it every byte: the header by itself, then the payload; `**` is masked."""
    yield line(event, began, style)
    if not event.raw:
        return
    hidden = {at for begin, count in event.hidden for at in range(begin, begin + count)}
    step = 16 if style.width == 0 or style.width >= 78 else 8
    split = 0 if event.kind == "stray" else min(HEADER_SIZE, len(event.raw))
    if split:
        cells = [f"{byte:02x}" for byte in event.raw[:split]]
        yield f"  header {''.join(cells[:4])} {''.join(cells[4:5])} {''.join(cells[5:])}".rstrip()
    for row in range(split, len(event.raw), step):
        places = range(row, min(row + step, len(event.raw)))
        cells = ["**" if at in hidden else f"{event.raw[at]:02x}" for at in places]
        signs = "".join(
            "*" if at in hidden else chr(event.raw[at]) if 32 <= event.raw[at] < 127 else "." for at in places
        )
        yield f"  {row - split:04x}  {' '.join(cells):<{step * 3 - 1}}  {signs}"


def as_json(event: TraceEvent, began: float) -> str:
    """One object with what is known; `time` is Unix time if `began` is."""
    facts: dict[str, Any] = {
        "time": round(began + event.at, 6),
        "t": round(event.at, 6),
        "host": event.host,
        "connection": event.connection,
        "event": event.kind,
    }
    if event.kind in _WORDS:
        return json.dumps(facts | {"text": event.text})
    facts["direction"] = "sent" if event.sent else "received"
    begin = 0
    if (channel := channel_of(event)) is not None:
        facts |= {"type": type_of(event), "channel": channel, "length": HEADER.unpack_from(event.raw)[0]}
        begin = HEADER_SIZE
    if event.again:
        facts["again"] = True
    message, payload = message_of(event), event.raw[begin:]
    if message is not None:
        facts["message"] = message
    elif not event.hidden:
        try:
            facts["data"] = payload.decode()
        except UnicodeDecodeError:
            facts["data_base64"] = base64.b64encode(payload).decode()
    if event.hidden:
        facts |= {"masked": sum(count for _, count in event.hidden), "why": event.why}
    return json.dumps(facts)


class _Paint:
    """A line under way: its parts, which are cut where there is no more room."""

    def __init__(self, style: Style) -> None:
        self.style = style
        self._parts: list[tuple[str, str]] = []

    def add(self, text: str, colour: str) -> None:
        """One more."""
        self._parts.append((text, colour))

    def text(self) -> str:
        room = self.style.width or _BODY_MAX
        last, colour = self._parts[-1]
        self._parts[-1] = (last.rstrip(" "), colour)
        if sum(cells(part) for part, _ in self._parts) <= room:
            return "".join(self._painted(*part) for part in self._parts)
        done, room = [], room - 1
        for part, colour in self._parts:
            kept = _fitting(part, room)
            done.append(self._painted(kept, colour))
            room -= cells(kept)
            if kept != part:
                break
        return "".join(done) + ("…" if self.style.unicode else "~")

    def _painted(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[m" if self.style.colour and colour and text else text


def cells(text: str) -> int:
    """How many columns a terminal needs for it."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )


def _fitting(text: str, room: int) -> str:
    """The beginning that takes `room` columns at most."""
    if text.isascii():
        return text[:room]
    used = 0
    for at, sign in enumerate(text):
        used += cells(sign)
        if used > room:
            return text[:at]
    return text


def shown(text: str, *, quoted: bool = False) -> str:
    """Without a character that a terminal could obey. `quoted`: its quotes and backslashes are JSON's already."""
    if text.isascii() and text.isprintable() and (quoted or not ('"' in text or "\\" in text)):
        return text
    return "".join(_sign(sign, quoted) for sign in text)


def _sign(sign: str, quoted: bool) -> str:
    if sign in _SHORT and not (quoted and sign in '"\\'):
        return _SHORT[sign]
    if sign.isprintable() and not _TURNS.match(sign):
        return sign
    code = ord(sign)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no text, by surrogateescape
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
