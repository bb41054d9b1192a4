"""A terminal that does all that any terminal does, and tells what harmful things it was made to do: for tests of `terminal.filter`.

Written after the parser of vt100.net/emu/dec_ansi_parser and the manuals that the filter names, byte by byte, and without a look at it.
Where terminals differ it does the worse: a string counts however it ends, a control within one is passed over, numbers overflow.
"""

from __future__ import annotations

import re

_STRINGS = {"]": "OSC", "P": "DCS", "_": "APC", "^": "PM", "X": "SOS", "k": "TITLE"}
_TITLES = {0, 1, 2, 30, 31, 176}
_OTHERS = {3, 20, 46, 50, 51, 99, 777, 1337, 5113, 5522}


class Obedient:
    """`harm` is what was done to the person; `drawn` what was printed."""

    def __init__(self, *, utf8: bool = True) -> None:
        self.harm: list[str] = []
        self.drawn = ""
        self._utf8 = utf8
        self._state = "ground"
        self._text = ""  # of a sequence

    def obey(self, data: bytes) -> Obedient:
        """All of it, to its end."""
        for sign in data.decode("utf-8", "replace") if self._utf8 else data.decode("latin-1"):
            self._take(sign)
        return self

    def _take(self, sign: str) -> None:
        if sign in "\x18\x1a\x1b" or "\x80" <= sign <= "\x9f":
            if self._state in _STRINGS.values():
                self._string()
            self._text, self._state = "", "escape" if sign == "\x1b" else "ground"
            if sign >= "\x80":
                self._escape(chr(ord(sign) - 0x40))
            return
        if self._state == "ground":
            self.drawn += sign
        elif sign == "\x07" and self._state in _STRINGS.values():
            self._string()
            self._state = "ground"
        elif sign < " " or sign == "\x7f" or (sign >= "\x80" and self._state in ("escape", "CSI", "intermediate")):
            self.drawn += sign
        elif self._state == "escape":
            self._escape(sign)
        elif self._state == "CSI":
            self._text += sign
            if sign >= "@":
                self._state = "ground"
                self._control(self._text)
        elif self._state == "intermediate":
            self._text += sign
            if sign >= "0":
                self._state = "ground"
                if self._text in ("%@", "%/"):
                    self.harm.append("charset")
        else:
            self._text += sign

    def _escape(self, sign: str) -> None:
        self._text, self._state = "", "ground"
        if sign == "[":
            self._state = "CSI"
        elif sign in _STRINGS:
            self._state = _STRINGS[sign]
        elif " " <= sign <= "/":
            self._text, self._state = sign, "intermediate"

    def _control(self, text: str) -> None:
        parts = re.fullmatch(r"([<-?]?)([0-9]*)[0-9;:]*([ -/]*)([@-~])", text)
        if parts is None:
            return
        prefix, first, between, final = parts.groups()
        kind, number = prefix + between + final, int(first or 0)
        if kind == "t" and {number, number % 2**16, number % 2**32} & {20, 21}:
            self.harm.append("report of a title")
        if kind == ">t" or (kind == "t" and {number, number % 2**16, number % 2**32} & {22, 23}):
            self.harm.append("title")
        if kind in ("i", "?i"):
            self.harm.append("printer")
        if kind == "*y":
            self.harm.append("checksum")

    def _string(self) -> None:
        kind, text = self._state, self._text
        if kind == "TITLE":
            self.harm.append("title")
        elif kind == "APC":
            if not re.match(r"G[a-zA-Z]=[a-zA-Z0-9-]+(,[a-zA-Z]=[a-zA-Z0-9-]+)*(;|$)", text):
                self.harm.append("title")
            elif re.match(r"[^;]*[G,]t=[^d]", text):
                self.harm.append("file")
        elif kind == "DCS":
            self._device(text)
        elif kind == "OSC":
            self._operating(text)

    def _device(self, text: str) -> None:
        if text.startswith(("tmux;", "@kitty")) or re.match(r"[0-9;]*(\||!z)", text):
            self.harm.append("keys, macros, commands")
        if re.match(r"[0-9;]*\$q", text):
            self.harm.append("report of a setting")

    def _operating(self, text: str) -> None:
        digits = re.match(r"[0-9]*", text)
        assert digits is not None, "it may be empty"
        rest = text[digits.end() :]
        if not digits[0] and rest[:1] in ("l", "L", "I", ";"):
            self.harm.append("title")
        if rest[:1] not in ("", ";") or not digits[0]:
            return
        number = int(digits[0])
        for value in {number, number % 2**16, number % 2**32}:
            if value in _TITLES:
                self.harm.append("title")
            elif value == 52:
                self.harm.append("clipboard is read" if re.fullmatch(r";[^;]*;\?", rest) else "clipboard")
            elif value in _OTHERS or (value == 9 and not re.match(r";4(;|$)", rest)):
                self.harm.append(f"OSC {value}")
