"""Which modes a remote program switched on in the person's terminal, and the bytes that undo them.

A program that is cut off never says goodbye: the mouse goes on reporting, the cursor stays hidden, the alternate screen stays.
The tracker reads along and knows what is left, so that whoever leaves the terminal can put it right.

It must never change, delay or judge a byte, and never answers the terminal. It is no terminal either: it knows no text and no
cursor position. Names are those of xterm's ctlseqs and of the VT510 manual; cutting into sequences follows the parser of
vt100.net/emu/dec_ansi_parser, which most terminals follow. Neighbours: `restore` writes what `undo` gives; whoever copies
output to the terminal feeds it.

Not tracked, since the plain state is not known here: colours and titles set by OSC, XTSAVE and XTRESTORE (CSI ? Pm s and r),
8-bit controls (in UTF-8 they are parts of characters).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from remote_shell.limits import DEFAULT_LIMITS, Limits

# C0 controls within a sequence are obeyed and the sequence goes on; ESC, CAN and SUB end it, and so do bytes from 0x80 up.
CONTROLS_WITHIN = rb"\x00-\x17\x19\x1c-\x1f\x7f"
CONTROLS = bytes(number for number in (*range(0x20), 0x7F) if number not in (0x18, 0x1A, 0x1B))
_ESC, _SO, _SI = b"\x1b", b"\x0e", b"\x0f"
_NEXT = re.compile(rb"[\x0e\x0f\x1b]")
_WHOLE = re.compile(rb"\x1b[C]*(?:\[[C -?]*[@-~]|[ -/][C -/]*[0-~]|[0-Z\\-~])".replace(b"C", CONTROLS_WITHIN))
_PART = re.compile(rb"\x1b[C]*(?:\[[C -?]*|[ -/][C -/]*)?".replace(b"C", CONTROLS_WITHIN))
_CSI = re.compile(rb"\x1b\[([<-?]?)([0-9:;]*)([ -/]*)([@-~])")

# What opens a string, and what ends it. ST is ESC \: any ESC ends a string and begins a sequence, so that a string whose
# program was killed does not make us deaf. (kitty alone reads on to ST; then we undo too much, which is harmless.)
_STRING_END = re.compile(rb"[\x18\x1a\x1b]")
_STRINGS = {b"]": re.compile(rb"[\x07\x18\x1a\x1b]"), b"P": _STRING_END, b"X": _STRING_END}
_STRINGS |= {b"^": _STRING_END, b"_": _STRING_END}
_ABANDON = b"\x18\x1b\\"  # CAN drops a string unread where it is obeyed, ST ends it elsewhere


def _modes(form: bytes, *numbers: int) -> dict[int, bytes]:
    return {number: form % number for number in numbers}


# What is left is remembered as the bytes that undo it; these tables say which bytes belong to which mode.
# First what makes the terminal hold back its screen (2026) or send bytes by itself: mouse, focus, colours, size, pastes.
_SENDING = _modes(b"\x1b[?%dl", 2026, 1003, 1002, 1001, 1000, 9, 1004, 1006, 1015, 1016, 1005, 2031, 2048, 2004)
_PRIVATE = {**_SENDING, **_modes(b"\x1b[?%dl", 1, 66, 5, 6, 69), **_modes(b"\x1b[?%dh", 7, 25)}
_ANSI = {**_modes(b"\x1b[%dl", 2, 4, 20), **_modes(b"\x1b[%dh", 12)}
_KEYPAD = b"\x1b>"
_OTHER_KEYS = b"\x1b[>4m"
_SHAPE = b"\x1b[0 q"
_ORIGIN = _PRIVATE[6]
_SIDES = _PRIVATE[69]
_MARGINS = b"\x1b[r"
_ASCII = b"\x1b(B"
_SGR = b"\x1b[m"
_SAVE, _RESTORE = b"\x1b7", b"\x1b8"
_LAST_LINE = b"\x1b[999;1H"

# SGR: a code -> those that it takes back
_TAKES_BACK: dict[int, tuple[int, ...]] = {
    10: (*range(11, 20),),
    22: (1, 2),
    23: (3, 20),
    24: (4, 21),
    25: (5, 6),
    27: (7,),
    28: (8,),
    29: (9,),
    50: (26,),
    39: (*range(30, 39), *range(90, 98)),
    49: (*range(40, 49), *range(100, 108)),
    54: (51, 52),
    55: (53,),
    59: (58,),
    75: (73, 74),
}
_TAKEN_BACK = {code: back for back, codes in _TAKES_BACK.items() for code in codes}
_ATTRIBUTES = _modes(b"\x1b[%dm", *_TAKES_BACK)
_COLOURS = (38, 48, 58)  # with parameters of their own: 5;n or 2;r;g;b

_WITH_CURSOR = frozenset({*_ATTRIBUTES.values(), _SI, _ASCII, _ORIGIN})  # DECSC saves these too
# DECSTR's list in the VT510 manual. It leaves the alternate screen, mouse and pastes as they are, in xterm too; where a
# terminal does more, we undo what is off already.
_SOFT = _WITH_CURSOR | {_PRIVATE[1], _PRIVATE[25], _PRIVATE[66], _KEYPAD, _ANSI[2], _ANSI[4], _MARGINS}
_THEN = (*_PRIVATE.values(), *_ANSI.values(), _KEYPAD, _OTHER_KEYS, _SHAPE)
# A terminal that does not know `>` takes modifyOtherKeys for an SGR that underlines.
_STYLED = frozenset({_OTHER_KEYS, *_ATTRIBUTES.values()})
_PAINTING = {_PRIVATE[2026], _ORIGIN, _SIDES}
_APART = {*_SENDING.values(), _ORIGIN, _SIDES}  # of these, what is undone at another place


class ModeTracker:
    """Fed with all that goes to one terminal. `rows` is its height, 0 if unknown: keep it up to date.

    With `rows` a scroll region of the whole height counts as none, which is what vim leaves behind.
    """

    __slots__ = ("_alternate", "_flagged", "_held", "_left", "_limits", "_pushed", "_saved", "_string", "rows")

    def __init__(self, limits: Limits = DEFAULT_LIMITS, *, rows: int = 0) -> None:
        self.rows = rows
        self._limits = limits
        self._clear()

    def _clear(self) -> None:
        self._left: set[bytes] = set()
        self._alternate = 0  # the number of the mode that entered the alternate screen
        # for the main and the alternate screen, each of which has its own:
        self._pushed = [0, 0]  # kitty keyboard flags pushed
        self._flagged = [False, False]  # kitty keyboard flags set without a push
        self._saved: list[frozenset[bytes] | None] = [None, None]  # what DECSC saved of _WITH_CURSOR
        self._held = b""  # a sequence whose end has not come yet
        self._string: re.Pattern[bytes] | None = None  # what ends the string that we are in

    def feed(self, data: bytes) -> None:
        """Read along. Chunks may end anywhere."""
        if not self._held and self._string is None and _ESC not in data and _SO not in data and _SI not in data:
            return  # most chunks; three memchr cost 40 microseconds a MiB
        data = self._held + data
        self._held = b""
        at = 0
        while True:
            if self._string is not None:
                end = self._string.search(data, at)
                if end is None:
                    return
                self._string = None
                at = end.start()
            found = _NEXT.search(data, at)
            if found is None:
                return
            at = found.start()
            if found[0] != _ESC:
                self._shift(found[0])
                at += 1
            elif whole := _WHOLE.match(data, at):
                at = whole.end()
                self._sequence(self._bare(whole[0]))
            elif _PART.fullmatch(data, at):
                self._hold(self._bare(data[at:]))
                return
            else:
                at += 1

    @property
    def on_alternate_screen(self) -> bool:
        """A program has the screen for itself."""
        return bool(self._alternate)

    def undo(self) -> bytes:
        """The bytes that bring the terminal back to its plain state, empty if nothing is left on; then all is forgotten."""
        out = [_ABANDON] if self._held or self._string is not None else []
        styled = bool(
            self._left & _STYLED
        )  # 1049 restores these with the cursor, but not where it is unknown (Linux's console)
        out += self._take(_SENDING.values())
        if self._alternate:
            out += self._kitty()
            out += self._leave()
        out += self._kitty()
        plain = [_SGR] if styled or self._left & _STYLED else []
        out += self._take(undo for undo in _THEN if undo not in _APART)
        out += self._margins()
        out += self._take((_SI, _ASCII))
        out += plain
        self._clear()
        return b"".join(out)

    def again(self) -> bytes:
        """The bytes that switch on again what `undo` is about to undo, for a program that goes on later and will paint its screen anew.

        Only what is not part of painting: the alternate screen, and modes that are on or off. Shapes and attributes, margins and the
        origin in them, and kitty's flags are not brought back.
        """
        out = [b"\x1b[?%dh" % self._alternate] if self._alternate else []
        undone = (undo for undo in self._take((*_PRIVATE.values(), *_ANSI.values())) if undo not in _PAINTING)
        out += [undo[:-1] + (b"h" if undo.endswith(b"l") else b"l") for undo in undone]
        return b"".join(out + ([b"\x1b="] if _KEYPAD in self._left else []))

    # --- undoing

    def _take(self, undoing: Iterable[bytes]) -> list[bytes]:
        """Those that are left, in the order given."""
        return [undo for undo in undoing if undo in self._left]

    def _kitty(self) -> list[bytes]:
        """Pop what was pushed on the present screen; who called us may have pushed before."""
        screen = self._screen
        popped = [b"\x1b[<%du" % self._pushed[screen]] if self._pushed[screen] else []
        return [*popped, b"\x1b[=0u"] if self._flagged[screen] else popped

    def _leave(self) -> list[bytes]:
        """Leave the alternate screen the way it was entered: 1049 has saved the cursor, before 47 and 1047 programs do it."""
        number, self._alternate = self._alternate, 0
        # tmux brings back the cursor's place and attributes with 1049, and neither character sets nor the origin
        before = self._take((_ORIGIN, _SI, _ASCII)) if number == 1049 else []
        self._restore()
        return [*before, b"\x1b[?%dl" % number, *([_RESTORE] if number != 1049 and self._saved[0] is not None else [])]

    def _margins(self) -> list[bytes]:
        """DECSTBM homes the cursor, so it is saved before. DECRC would bring origin mode back: then rather the last line."""
        margins = self._take((_SIDES, _MARGINS))
        if _ORIGIN in self._left:
            return [_ORIGIN, *margins, _LAST_LINE]
        return [_SAVE, *margins, _RESTORE] if margins else []

    # --- reading

    @property
    def _screen(self) -> int:
        return 1 if self._alternate else 0

    def _bare(self, sequence: bytes) -> bytes:
        """The sequence without the controls in it, which are obeyed first."""
        bare = sequence.translate(None, CONTROLS)
        if len(bare) != len(sequence):
            for control in _NEXT.findall(sequence, 1):
                self._shift(control)
        return bare

    def _hold(self, part: bytes) -> None:
        if len(part) > self._limits.escape_sequence_max:  # its rest will come: a short one instead that nobody knows
            part = b"\x1b[!!" if part.startswith(b"\x1b[") else b"\x1b!!"
        self._held = part

    def _shift(self, control: bytes) -> None:
        self._mark(_SI, control == _SO)

    def _mark(self, undo: bytes, on: bool) -> None:
        if on:
            self._left.add(undo)
        else:
            self._left.discard(undo)

    def _sequence(self, text: bytes) -> None:
        if len(text) > self._limits.escape_sequence_max:
            return
        if csi := _CSI.fullmatch(text):
            self._control(csi[1] + csi[3] + csi[4], csi[2])
            return
        match text[1:]:
            case b"]" | b"P" | b"X" | b"^" | b"_":  # OSC, DCS, SOS, PM, APC
                self._string = _STRINGS[text[1:]]
            case b"7":
                self._save()
            case b"8":
                self._restore()
            case b"=" | b">":
                self._mark(_KEYPAD, text == b"\x1b=")
            case b"n" | b"o":  # LS2, LS3: as SO they take G0's place, and SI brings it back
                self._mark(_SI, True)
            case b"c":
                self._clear()
            case designation if designation.startswith(b"("):
                self._mark(_ASCII, text != _ASCII)

    def _control(self, kind: bytes, text: bytes) -> None:
        """A CSI: its prefix, intermediates and final byte, and its parameters."""
        if kind == b"m":
            self._attributes(text)
            return
        numbers = [_number(part) for part in text.split(b";")]
        first, second = (*numbers, 0)[:2]
        match kind:
            case b"?h" | b"?l":
                for number in numbers:
                    self._private(number, kind == b"?h")
            case b"h" | b"l":
                for number in numbers:
                    if undo := _ANSI.get(number):
                        self._mark(undo, not undo.endswith(kind))
            case b"r":
                full = first <= 1 and (second == 0 or 0 < self.rows <= second)
                self._mark(_MARGINS, not full)
            case b" q":
                self._mark(_SHAPE, first != 0)
            case b">m" if first == 4 or not text:  # without parameters it resets all keys
                self._mark(_OTHER_KEYS, first == 4 and second != 0)
            case b">n" if first == 4:
                self._mark(_OTHER_KEYS, False)
            case b">u":
                self._pushed[self._screen] += 1
            case b"<u":
                self._pushed[self._screen] = max(0, self._pushed[self._screen] - max(1, first))
            case b"=u" if not self._pushed[self._screen] and second != 3:  # 2 adds flags, 3 takes some away
                self._flagged[self._screen] = first != 0 or (second == 2 and self._flagged[self._screen])
            case b"s" if not text:  # SCOSC; with parameters DECSLRM
                self._save()
            case b"u" if not text:
                self._restore()
            case b"!p":
                self._left -= _SOFT
                self._saved[self._screen] = frozenset()

    def _private(self, number: int, on: bool) -> None:
        if number == 1048 or (number == 1049 and on):
            self._save() if on else self._restore()
        if number in (47, 1047, 1049):
            self._alternate = (self._alternate or number) if on else 0
            if number == 1049 and not on:
                sets = self._left & {_SI, _ASCII}  # tmux does not bring them back
                self._restore()
                self._left |= sets
        elif undo := _PRIVATE.get(number):
            self._mark(undo, on is undo.endswith(b"l"))

    def _attributes(self, text: bytes) -> None:
        """SGR. Each attribute by itself: many programs end with the code that takes one back, and not with 0."""
        codes = iter(text.split(b";"))
        for code in codes:
            number = _number(code)
            if number == 0:
                self._left.difference_update(_ATTRIBUTES.values())
            elif number in _ATTRIBUTES or code == b"4:0":
                self._left.discard(_ATTRIBUTES[24 if number == 4 else number])
            elif number in _TAKEN_BACK:
                self._left.add(_ATTRIBUTES[_TAKEN_BACK[number]])
                if number in _COLOURS and b":" not in code:
                    for _ in range({5: 1, 2: 3}.get(_number(next(codes, b"")), 0)):
                        next(codes, b"")

    def _save(self) -> None:
        self._saved[self._screen] = frozenset(self._left & _WITH_CURSOR)

    def _restore(self) -> None:
        """What was saved before we came is not known; then all stays as it is."""
        saved = self._saved[self._screen]
        if saved is not None:
            self._left = (self._left - _WITH_CURSOR) | saved


def _number(parameter: bytes) -> int:
    """The parameter without its sub-parameters; left out it is 0."""
    return int(parameter.partition(b":")[0] or 0)
