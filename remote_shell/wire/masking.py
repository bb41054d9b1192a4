"""What of a frame may be shown to somebody who looks on: secrets and unseen input are replaced, byte for byte.

One `Mask` sees all frames of a session, on all its connections: whether a line was typed unseen is known only to who saw its terminal's
modes, and a frame that is sent again must be hidden again. The rule: what the person's own screen showed may be shown, what it hid
may not, and what can't be known is hidden. Must never judge by a name that it does not know. Neighbour: client's `tracing` owns one.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from remote_shell.wire.frames import CONTROL, HEADER, HEADER_SIZE, STDIN, Frame
from remote_shell.wire.messages import MODELS

FILLER = b"*"
Range = tuple[int, int]  # where it begins in the payload, and its length
Way = tuple[str | int, ...]  # the keys and numbers that lead to a value

# Variables that say how to show things, or what everybody may know of an account; LC_… too. The value of any other may be a secret.
OPEN_NAMES = frozenset(
    (
        *("TERM", "COLORTERM", "NO_COLOR", "LANG", "LANGUAGE", "TZ", "COLUMNS", "LINES"),
        *("PATH", "HOME", "PWD", "SHELL", "USER", "LOGNAME", "EDITOR", "VISUAL", "PAGER"),
    )
)
_ENVIRONMENTS = ("env", "env_add", "env_offer")
_SECRETS = {
    "auth": ("proof", "session"),
    "welcome": ("proof", "session"),
    "enrolled": ("proof",),
}  # who has them resumes a session, or is nearer to it
_MODES_KEPT = 64  # of a terminal; a line of an older mode is hidden
_KEPT = 4096  # lines, and channels that are closed: as many frames as can be sent again
_TOKEN = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+")|([{}\[\],:])', re.DOTALL)

SECRET, VARIABLE = "secret", "variable"
UNSEEN, TERMINAL = "typed unseen", "typed into a terminal"
UNKNOWN, UNFINISHED = "not understood", "cut off before it could be understood"


class Masked(NamedTuple):
    """A payload of the same length, with FILLER where `hidden` says."""

    payload: bytes
    hidden: tuple[Range, ...] = ()
    why: str = ""
    again: bool = False  # it was sent before: the peer had not acknowledged it when the connection was cut


class _Typed:
    """A terminal that keys and lines go to."""

    __slots__ = ("doubt", "modes")

    def __init__(self) -> None:
        self.modes = deque(
            [(0, "cooked")], _MODES_KEPT
        )  # as long as no mode was told, our own terminal shows what is typed
        self.doubt = False  # the next line may have been begun while nothing was shown


class Mask:
    """The client's end of one session after the other."""

    def __init__(self) -> None:
        self.logged_in = False  # on this connection
        self._typed: dict[int, _Typed] = {}
        self._plain: set[int] = set()  # channels whose input is not typed into a terminal
        self._closing: set[int] = set()  # closed by one side
        self._closed: deque[int] = deque()  # by both: what was sent on them may be sent again
        self._next = 0  # the number of the session's frame that we send next
        self._most = 0  # and the highest so far
        self._lines: deque[tuple[int, bool]] = deque(maxlen=_KEPT)  # frame with a `line`, and whether it was hidden

    def connected(self) -> None:
        """A new connection begins."""
        self.logged_in = False

    def sent(self, frame: Frame) -> Masked:
        """A frame of ours."""
        again = False
        number = self._next
        if frame.channel:
            again = number < self._most
            self._next += 1
            self._most = max(self._most, self._next)
        if frame.type == CONTROL:
            masked = self._control(frame, number if again else None)
        elif frame.type == STDIN and frame.channel in self._plain:
            masked = Masked(frame.payload)
        else:
            masked = _whole(frame.payload, TERMINAL)
        return masked._replace(again=again)

    def received(self, frame: Frame) -> Masked:
        """A frame of the server's."""
        return self._control(frame, None) if frame.type == CONTROL else Masked(frame.payload)

    def part(self, raw: bytes, *, sent: bool) -> Masked:
        """The beginning of a frame whose rest never came, header included. Of JSON nothing can be told."""
        if len(raw) <= HEADER_SIZE:
            return Masked(raw)
        _, kind, channel = HEADER.unpack_from(raw)
        if kind != CONTROL and (not sent or channel in self._plain):
            return Masked(raw)
        masked = _whole(raw[HEADER_SIZE:], UNFINISHED if kind == CONTROL else TERMINAL)
        return Masked(raw[:HEADER_SIZE] + masked.payload, ((HEADER_SIZE, len(masked.payload)),), masked.why)

    def stray(self, data: bytes) -> Masked:
        """Bytes that are no frames. Before the login they are a stranger's greeting, afterwards anybody's guess."""
        return _whole(data, UNKNOWN) if self.logged_in else Masked(data)

    # --- messages

    def _control(self, frame: Frame, repeated: int | None) -> Masked:
        try:
            message = json.loads(frame.payload)
        except (ValueError, RecursionError):
            return _whole(frame.payload, UNKNOWN)
        tag = message.get("type") if isinstance(message, dict) else None
        if not isinstance(tag, str) or tag not in MODELS:
            return _some(frame.payload, (place for way, *place in _strings(frame.payload) if way != ("type",)), UNKNOWN)
        if repeated is None:
            self._learn(frame.channel, tag, message)
        if tag in _SECRETS:
            names = _SECRETS[tag]
            return _some(
                frame.payload,
                (at for way, *at in _strings(frame.payload) if way[0] in names or way[-1] == "proof"),
                SECRET,
            )
        if tag == "open":
            return _some(frame.payload, _values(frame.payload), VARIABLE)
        if tag == "unread" or (tag == "line" and self._is_unseen(frame.channel, message, repeated)):
            return _some(frame.payload, (at for way, *at in _strings(frame.payload) if way[0] == "text"), UNSEEN)
        return Masked(frame.payload)

    def _learn(self, channel: int, tag: str, message: dict[str, object]) -> None:
        if tag == "welcome":
            self.logged_in = True
            count = message.get("received")
            if message.get("resumed") is True and isinstance(count, int):
                self._next = count
            else:
                self._next = self._most = 0
                self._typed.clear()
                self._plain.clear()
                self._closing.clear()
                self._closed.clear()
                self._lines.clear()
        elif tag == "open":
            if message.get("terminal") is not None or message.get("request") == "attach":
                self._typed.setdefault(channel, _Typed())
            else:
                self._plain.add(channel)
        elif tag == "close":
            self._close(channel)
        elif tag == "mode" and channel in self._typed:
            typed, mode = self._typed[channel], message.get("mode")
            number = message.get("number")
            if isinstance(number, int) and isinstance(mode, str):
                typed.modes.append((number, mode))
                typed.doubt = typed.doubt or mode != "cooked"

    def _close(self, channel: int) -> None:
        if channel not in self._closing:
            self._closing.add(channel)
            return
        self._closing.discard(channel)
        self._closed.append(channel)
        if len(self._closed) > _KEPT:
            old = self._closed.popleft()
            self._plain.discard(old)
            self._typed.pop(old, None)

    def _is_unseen(self, channel: int, message: dict[str, object], repeated: int | None) -> bool:
        number = self._next - 1  # `sent` has counted it
        if repeated is not None:
            return dict(self._lines).get(repeated, True)
        typed = self._typed.get(channel)
        unseen = typed is None or (message.get("mode"), "cooked") not in typed.modes
        if typed is not None and not unseen:
            # the mode may have changed between its first key and Enter: a password that sudo gave up waiting for
            unseen, typed.doubt = typed.doubt, False
        self._lines.append((number, unseen))
        return unseen


def _whole(payload: bytes, why: str) -> Masked:
    return Masked(FILLER * len(payload), ((0, len(payload)),), why)


def _some(payload: bytes, places: Iterator[list[int]], why: str) -> Masked:
    """With these places hidden, each given by its begin and end."""
    shown = bytearray(payload)
    hidden = []
    for begin, end in places:
        if end > begin:
            shown[begin:end] = FILLER * (end - begin)
            hidden.append((begin, end - begin))
    return Masked(bytes(shown), tuple(hidden), why) if hidden else Masked(payload)


def _values(payload: bytes) -> Iterator[list[int]]:
    """The values in an environment, but for names that are known to be harmless."""
    name = ""
    for way, begin, end in _strings(payload):
        if way[0] not in _ENVIRONMENTS or len(way) < 3:
            continue
        if way[2] == 0:
            name = (
                json.loads(payload[begin - 1 : end + 1]) if len(way) == 3 else ""
            )  # in base64 it is none that we know
        elif name not in OPEN_NAMES and not name.startswith("LC_"):
            yield [begin, end]


def _strings(payload: bytes) -> Iterator[tuple[Way, int, int]]:
    """Every string that is a value in a text that is JSON: the way to it, and where it lies, without its quotes."""
    way: list[str | int] = []
    in_object: list[bool] = []
    is_key = False
    for token in _TOKEN.finditer(payload):
        mark = token[2]
        if mark in (b"{", b"["):
            way.append(0)
            in_object.append(mark == b"{")
            is_key = mark == b"{"
        elif mark in (b"}", b"]"):
            way.pop()
            in_object.pop()
        elif mark == b",":
            is_key = in_object[-1]
            if not is_key:
                way[-1] = int(way[-1]) + 1
        elif mark == b":":
            is_key = False
        elif is_key:
            way[-1] = str(json.loads(token[1]))
        else:
            yield tuple(way), token.start(1) + 1, token.end(1) - 1
