"""What a program's terminal over there may not do to the person's own: titles, the clipboard, files, keys, and answers that others chose.

For output of programs that have a terminal, on its way to a real one. All else passes byte for byte and at once: held is only the beginning
of what may be cut, until the byte that decides. What is cut, and nothing of it goes through:

  titles          OSC 0, 1, 2, 30, 31, 176, l, L and I, ESC k, APC (tmux takes it for one), CSI 22 t and 23 t, XTSMTITLE; unless allowed
  the clipboard   OSC 52, unless writing is allowed; reading it is cut in any case
  answers         reports of titles (CSI 20 t, 21 t), DECRQSS, DECRQCRA, fonts (OSC 50)
  files, programs xterm's log (OSC 46) and properties (OSC 3), OSC 9 but 9;4, 20, 51, 1337, 5113, 5522, kitty's commands, printing (CSI i)
  notifications   OSC 9, 99, 777: they stand beside those of the person's own programs
  keys, macros    DECUDK, DECDMAC; and every DCS but pictures (sixel, ReGIS), fonts, XTGETTCAP, DECRSPS and synchronized output
  ways around     ESC % @ (out of UTF-8), DCS that tmux and screen pass on, numbers that overflow, sequences without end, and ESC and CSI
                  of a sequence with bytes from 0x80 up: tmux reads on as if these were not there, xterm without their highest bit

Sources: xterm's ctlseqs, the VT510 manual, and the pages of kitty, iTerm2, ConEmu, VTE, foot, mintty, rxvt-unicode, tmux and screen. A
string ends at BEL, ST, CAN, SUB, and where a sequence begins, as terminals have it; one that is cut ends with its line too (but for the
base64 of files), and at a bound, so that a beginning without an end takes no more with it. That is safe: its beginning was never seen. Of a
string that passes no state is kept, since what would be cut is cut within it as well.

Must never change what passes, nor wait for what can't be cut. Neighbours: `modes` reads what passed, `visible` is for output of programs
without a terminal, cli's `showing` chooses.
"""

from __future__ import annotations

import functools
import re
from typing import Literal, NamedTuple

from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.terminal.modes import CONTROLS, CONTROLS_WITHIN

_TITLES = (0, 1, 2, 30, 31, 176)
_CUT = (3, 9, 20, 46, 50, 51, 52, 99, 777, 1337, 5113, 5522)
_PAYLOADS = (52, 1337, 5113, 5522)  # base64, perhaps in lines
_NUMBER_MAX = 65535  # none is higher; modulo 2^16 or 2^32 it would be another
_OPERATION_MAX = 9999  # CSI t, likewise
_DCS = (b"q", b"+q", b"p", b"{", b"$t", b"=s")  # prefix, intermediates and final byte of those that pass
# ST ends what the beginning of the cut sequence would have ended; else what follows would be the rest of what came before it:
# ESC, OSC 0 ; x BEL, ]0;y BEL without the one in the middle is a title. Alone it does nothing.
_IN_ITS_PLACE = b"\x1b\\"
_HEADER_MAX = 256  # bytes that decide about a string

# No possessive quantifiers and no atomic groups: Python 3.11.2, Debian's, gets them wrong. C are the controls that are obeyed within.
_SUSPECT = (
    rb"\x1b[C]{0,63}(?:(?P<string>[\]P_k])|\[(?P<long>[C -?]{256})|\[(?P<csi>[C -?]{0,255}[tiy])|(?P<charset>%[C]{0,63}[@/]))"
    rb"|\x1b(?P<controls>[C]{64})|\x1b(?P<high>[C]{0,63}(?:\[[C -?]{0,255}|%[C]{0,63})?[\x80-\xff])"
    rb"|C1(?:(?P<string1>[\x90\x9d\x9f])|\x9b(?:(?P<long1>[C -?]{256})|(?P<csi1>[C -?]{0,255}[tiy])|(?P<high1>[C -?]{0,255}[\x80-\xff])))"
)
_PART = rb"\x1b[C]{0,63}(?:\[[C -?]{0,255}|%[C]{0,63})?|C1(?:\x9b[C -?]{0,255})?"
_STRINGS = {b"\x90": b"P", b"\x9d": b"]", b"\x9f": b"_"}
# Of what ends a string that is cut, the first is cut with it, the second may be that or the third, and before that it ends.
_LINE_END = rb"(?P<its>[\x07\x18\x1a]|\x1b\\|C1\x9c)|(?P<part>[\x1bC1]\Z)|[\n\r\x1b]|C1[\x90-\x9f]"
_PAYLOAD_END = _LINE_END.replace(rb"[\n\r\x1b]", rb"\x1b")
_CSI_END = re.compile(rb"(?P<its>[@-~\x18\x1a])|(?P<part>(?!))|[\x1b\x80-\xff]")

_NUMBER = re.compile(rb"([0-9]{1,8})([;\x07\x1b\x9c\xc2])")
_PALETTE = (b"P", b"R")  # OSC of the Linux console, which have no end
_OLD_TITLES = (b"l", b"L", b"I", b";")  # Sun's; kitty takes no number for 0
_WRITING = re.compile(rb"0{0,5}52;[a-zA-Z0-9]{0,16};[A-Za-z0-9+/=!\x07\x1b\x9c\xc2-]")
_WRITING_PART = re.compile(rb"0{0,5}52;[a-zA-Z0-9]{0,16};?")
_PROGRESS = b"9;4;"
_HEADER = re.compile(rb"([<-?]?)[0-9;:]*([ -/]*)([@-~])")
_HEADER_PART = re.compile(rb"[<-?]?[0-9;:]*[ -/]*")
_PICTURE = re.compile(rb"G[a-zA-Z]=(?:-?[0-9]+|[a-zA-Z])(?:,[a-zA-Z]=(?:-?[0-9]+|[a-zA-Z]))*[;\x1b\xc2\x9c]")
_PICTURE_PART = re.compile(rb"(?:G[a-zA-Z0-9=,-]*)?")
_FROM_HERE = re.compile(
    rb"[G,]t=[^d]"
)  # kitty would take the picture from a file or the memory of the person's machine
_CSI = re.compile(rb"([<-?]?)([0-9]*)[0-9;:]*([ -/]*)([tiy])")


Verdict = Literal["pass", "wait", "cut"]


class _Forms(NamedTuple):
    """What is looked for, and how what is cut ends."""

    first: bytes  # stands in each C1 control
    second: bytes  # begins what of them may not be whole
    suspect: re.Pattern[bytes]
    part: re.Pattern[bytes]
    line: re.Pattern[bytes]
    payload: re.Pattern[bytes]


@functools.cache
def _forms(utf8: bool) -> _Forms:
    """Made when they are needed: compiling them takes some milliseconds."""
    c1 = rb"\xc2" if utf8 else b""  # in UTF-8 they are characters, which xterm and others obey too
    texts = (
        text.replace(b"C1", c1).replace(b"C", CONTROLS_WITHIN) for text in (_SUSPECT, _PART, _LINE_END, _PAYLOAD_END)
    )
    first, second = (b"\xc2", b"\xc2") if utf8 else (b"", b"\x9b")
    return _Forms(first, second, *map(re.compile, texts))


class Filter:
    """One program's output. `title` and `clipboard` let it set those; `utf8` is False where the terminal has a set of single bytes.

    `pictures` is False where kitty's would be titles.
    """

    __slots__ = ("_clipboard", "_end", "_forms", "_held", "_left", "_limits", "_pictures", "_title")

    def __init__(
        self,
        *,
        title: bool = False,
        clipboard: bool = False,
        utf8: bool = True,
        pictures: bool = True,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._title = title
        self._pictures = pictures
        self._clipboard = clipboard
        self._forms = _forms(utf8)
        self._limits = limits
        self._held = b""  # the beginning of what may be cut
        self._end: re.Pattern[bytes] | None = None  # of the string that is being cut
        self._left = 0  # bytes of it that still may be cut

    def feed(self, data: bytes) -> bytes:
        """More came; what of it goes to the terminal."""
        if not self._held and self._end is None and b"\x1b" not in data and self._forms.first not in data:
            return data  # most chunks of most programs
        data = self._held + data
        self._held = b""
        passed: list[bytes] = []
        at = look = 0
        while True:
            if self._end is not None:
                at = look = self._cut(self._end, data, at)
                if self._end is not None:
                    break
            found = self._forms.suspect.search(data, look)
            if found is None:
                start = self._unfinished(data, look)
                passed.append(data[at:start])
                self._held = data[start:]
                break
            verdict = self._judge(found)
            if verdict == "wait":
                passed.append(data[at : found.start()])
                self._held = data[found.start() :]
                break
            look = found.end()
            if verdict == "cut":
                passed += (data[at : found.start()], _IN_ITS_PLACE)
                at = look = self._rest(found)
        return b"".join(passed)

    def end(self) -> bytes:
        """Nothing more comes. A sequence that is not whole is cut: it would take what is shown next for its rest."""
        held = b"" if self._end is not None else self._held
        self._held, self._end = b"", None
        return held if held in (b"", b"\xc2") else _IN_ITS_PLACE

    def _unfinished(self, data: bytes, at: int) -> int:
        """Where the beginning of what may be cut begins, or the end of `data`."""
        for first in (b"\x1b", self._forms.second):
            start = data.rfind(first, at)
            if start >= 0 and self._forms.part.fullmatch(data, start):
                return start
        return len(data)

    # --- cutting

    def _rest(self, found: re.Match[bytes]) -> int:
        """Where that begins which goes on, as text if there is no sense in it."""
        if found["controls"] or found["high"]:
            return found.start() + 1
        return found.start() + len(self._forms.first) + 1 if found["high1"] else found.end()

    def _begin(self, end: re.Pattern[bytes], most: int) -> Verdict:
        self._end, self._left = end, most
        return "cut"

    def _cut(self, end: re.Pattern[bytes], data: bytes, at: int) -> int:
        """Where that which is cut ends; then `_end` is None."""
        most = min(len(data), at + self._left)
        found = end.search(data, at, most)
        if found is None:
            self._left -= most - at
            self._end = end if self._left else None
            return most
        if found["part"] and found.end() == len(data):
            self._left -= found.start() - at
            self._held = found[0]
            return len(data)
        self._end = None
        return found.end() if found["its"] else found.start()

    # --- judging

    def _judge(self, found: re.Match[bytes]) -> Verdict:
        kind = found["string"] or _STRINGS.get(found["string1"])
        if kind == b"]":
            return self._operating_system(found.string, found.end())
        if kind == b"P":
            return self._device(found.string, found.end())
        if kind == b"_":
            return self._application(found.string, found.end())
        if kind == b"k":
            return self._titled()
        if found["long"] or found["long1"]:
            return self._begin(_CSI_END, self._limits.terminal_cut_max)
        sequence = found["csi"] or found["csi1"]
        return self._control(sequence.translate(None, CONTROLS)) if sequence else "cut"

    def _titled(self) -> Verdict:
        return "pass" if self._title else self._begin(self._forms.line, self._limits.terminal_cut_max)

    def _operating_system(self, data: bytes, at: int) -> Verdict:
        """OSC, from its number on."""
        number = _NUMBER.match(data, at)
        if number is None:
            head = data[at : at + 9]
            if head[:1] in _PALETTE:
                return "pass"
            if head[:1] in _OLD_TITLES:
                return self._titled()
            if not head or (head.isdigit() and len(head) < 9):
                return "wait"
            return self._begin(self._forms.line, self._limits.terminal_cut_max)
        value = int(number[1])
        if value in _TITLES:
            return self._titled()
        if value == 9 and data.startswith(_PROGRESS, at):
            return "pass"
        if value == 9 and _PROGRESS.startswith(data[at:]):
            return "wait"
        if value == 52 and self._clipboard:
            if _WRITING.match(data, at):
                return "pass"
            if _WRITING_PART.fullmatch(data, at):
                return "wait"
        if value in _PAYLOADS:
            return self._begin(self._forms.payload, self._limits.terminal_payload_max)
        if value in _CUT or value > _NUMBER_MAX:
            return self._begin(self._forms.line, self._limits.terminal_cut_max)
        return "pass"

    def _device(self, data: bytes, at: int) -> Verdict:
        """DCS, from its parameters on."""
        text = data[at : at + _HEADER_MAX].translate(None, CONTROLS)
        header = _HEADER.match(text)
        if header is not None and b"".join(header.groups()) in _DCS:
            return "pass"
        if header is None and len(data) - at < _HEADER_MAX and _HEADER_PART.fullmatch(text):
            return "wait"
        return self._begin(self._forms.line, self._limits.terminal_cut_max)

    def _application(self, data: bytes, at: int) -> Verdict:
        """APC. Pictures are kitty's; to tmux and screen all of it is a title."""
        if not self._pictures:
            return self._titled()
        text = data[at : at + _HEADER_MAX]
        picture = _PICTURE.match(text)
        if picture is not None and not _FROM_HERE.search(picture[0]):
            return "pass"
        if picture is None and len(text) < _HEADER_MAX and _PICTURE_PART.fullmatch(text):
            return "wait"
        if picture is not None:
            return self._begin(self._forms.line, self._limits.terminal_cut_max)
        return self._titled()

    def _control(self, text: bytes) -> Verdict:
        """A CSI, from its parameters on."""
        parts = _CSI.fullmatch(text)
        if parts is None:
            return "cut"
        prefix, first, intermediates, final = parts.groups()
        number = int(first or 0)
        if final == b"y":
            harmful = b"*" in intermediates
        elif intermediates:
            harmful = False
        elif final == b"i":
            harmful = prefix in (b"", b"?")
        elif prefix == b">" or (not prefix and number in (22, 23)):
            harmful = not self._title
        else:
            harmful = not prefix and (number in (20, 21) or number > _OPERATION_MAX)
        return "cut" if harmful else "pass"
