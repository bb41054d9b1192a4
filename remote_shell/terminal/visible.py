"""Text of others for a person's terminal: what would control the terminal is shown, and not obeyed.

For what no terminal over there has formed: commands on pipes, logs, replies of many hosts, errors in a server's words. What passes as it
is: text, tabs, line ends, and colours (SGR, ECMA-48 8.3.117) that are whole and of known codes. Control characters are shown as `^[` (as
`cat -v` does), C1 and bidi controls as `\\u009b`, bytes that are no UTF-8 as `\\x9b`. Nothing that was shown is written over: a carriage
return begins a new line, so that each state of a progress bar has one, and nothing can be hidden by what follows it.

Must never wait for the end of anything: what it holds between two calls is less than a character, or the beginning of a colour. Neighbours:
`filter` is for output of programs that have a terminal, cli's `showing` chooses.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

# Colours, weights, lines and blinking, and their ends. Not 8, which hides what follows, our own words among it; not fonts.
_COLOUR = (
    r"[34]8;5;[0-9]{1,3}|[345]8:5:[0-9]{1,3}|[34]8;2(?:;[0-9]{1,3}){3}|[345]8:2(?::[0-9]{0,3}){3,5}|58;5;[0-9]{1,3}"
)
_CODE = rf"(?:{_COLOUR}|0?[0-79]|2[1-57-9]|3[0-79]|4[0-79]|5[359]|9[0-7]|10[0-7]|4:[0-5])?"
_SGR = rf"\x1b\[{_CODE}(?:;{_CODE}){{0,15}}m"
_PARAMETERS_MAX = 400  # characters, more than sixteen of the longest codes
# grep and GCC write EL with each colour; to the right of what was written last there is nothing that it could erase
_ERASE = r"\x1b\[0?K"
_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # Bidi_Control in the Unicode Character Database
_CONTROL = (
    rf"[\x00-\x08\x0b-\x1f\x7f-\x9f{_BIDI}\udc80-\udcff]"  # the last are what "surrogateescape" makes of bad bytes
)
# No possessive quantifiers and no atomic groups: Python 3.11.2, Debian's, gets them wrong.
SPECIAL = re.compile(_CONTROL)
_TOKEN = re.compile(rf"(?P<sgr>{_SGR})|(?P<erase>{_ERASE})|\r+(?P<end>\n?)|{_CONTROL}")
_PART = re.compile(rf"\x1b(?:\[[0-9;:]{{0,{_PARAMETERS_MAX}}})?")
_COLOURS_AT_END = re.compile(rb"(?:\x1b\[[0-9;:]*m)+\Z")
_RESETS = ("\x1b[m", "\x1b[0m")
_RESET = b"\x1b[m"


class Visible:
    """One stream of bytes, as it comes. `utf8` is False where the terminal has a character set of single bytes.

    What comes out does not depend on how the stream is cut, and shown again it is the same.
    """

    __slots__ = ("_coloured", "_decoder", "_encoding", "_fresh", "_held")

    def __init__(self, *, utf8: bool = True) -> None:
        self._encoding = "utf-8" if utf8 else "latin-1"
        self._decoder = codecs.getincrementaldecoder(self._encoding)("surrogateescape")
        self._held = ""  # the beginning of a colour, or a carriage return
        self._fresh = True  # nothing stands in the line yet
        self._coloured = False

    def feed(self, data: bytes) -> bytes:
        """More came; what of it can be shown."""
        return self._shown(self._decoder.decode(data))

    def end(self) -> bytes:
        """Nothing more comes: what was held, and an end of its colours. Then it begins anew."""
        text = self._shown(self._decoder.decode(b"", final=True))
        held, self._held = self._held, ""
        text += self._encoded(held)
        text += _RESET if self._coloured else b""
        self._fresh, self._coloured = True, False
        return text

    def _shown(self, text: str) -> bytes:
        text = self._held + text
        whole = text.rstrip("\r")
        self._held = "\r" if len(whole) < len(text) else ""
        last = whole.rfind("\x1b", -_PARAMETERS_MAX - 2)
        if last >= 0 and not self._held and _PART.fullmatch(whole, last):
            whole, self._held = whole[:last], whole[last:]
        return self._encoded(whole)

    def _encoded(self, text: str) -> bytes:
        return "".join(self._pieces(text)).encode(self._encoding)

    def _pieces(self, text: str) -> Iterator[str]:
        at = 0
        while special := SPECIAL.search(text, at):
            if special.start() > at:
                self._fresh = text[special.start() - 1] == "\n"
                yield text[at : special.start()]
            token = _TOKEN.match(text, special.start())
            assert token is not None, "it matches the same, and more"
            yield self._token(token)
            at = token.end()
        if at < len(text):
            self._fresh = text[-1] == "\n"
            yield text[at:]

    def _token(self, token: re.Match[str]) -> str:
        sign = token[0]
        if sign[0] == "\r":
            made = "\r\n" if token["end"] else "" if self._fresh else "\n"
            self._fresh = True
        elif token["sgr"]:
            made = sign
            self._coloured = sign not in _RESETS
        elif token["erase"]:
            made = ""
        else:
            made = _name(sign)
            self._fresh = False
        return made


def shown(text: str) -> str:
    """A line of text, in which nothing but colours is obeyed; lone surrogates are what `os.fsdecode` made of bad bytes."""
    if text.isprintable():
        return text
    line = Visible()
    made = line.feed(text.encode("utf-8", "surrogateescape"))
    return (made + line.end()).decode("utf-8")


def last_sign(data: bytes) -> bytes:
    """The last byte that moved the cursor: what a colour stands behind; empty if there is none."""
    return _COLOURS_AT_END.sub(b"", data[-_PARAMETERS_MAX:])[-1:] if data.endswith(b"m") else data[-1:]


def _name(sign: str) -> str:
    number = ord(sign)
    if number < 0x20 or number == 0x7F:
        return f"^{chr(number ^ 0x40)}"
    if number >= 0xDC80:
        return f"\\x{number - 0xDC00:02x}"
    return f"\\u{number:04x}"
