"""What is typed at a raw terminal: all of it is the program's, but for escapes, which are ssh's: `~`, or another key, first on a line.

Pure: bytes in, bytes and words out. Never holds back more than the one key. Neighbour: `raw` reads the terminal.
"""

from __future__ import annotations

from typing import Literal

Escape = Literal["leave", "suspend", "help"]

_ESCAPES: dict[int, Escape] = {ord("."): "leave", 0x1A: "suspend", ord("?"): "help"}
ESCAPE = ord("~")
_LINE_ENDS = b"\r\n"

HELP = "~. leaves and ends what runs   ~^Z suspends the client   ~~ sends a ~   (~ counts after Enter only)"


def help_for(begins: int) -> str:
    """HELP where escapes begin with another key."""
    return HELP.replace("~", chr(begins) if begins >= 32 else f"^{chr(begins + 64)}")


class Keys:
    """A stream of keys. Chunks may end anywhere. `begins` is the key that begins an escape; None: there are no escapes."""

    def __init__(self, begins: int | None = ESCAPE) -> None:
        self._begins = -1 if begins is None else begins
        self._fresh = True  # at the beginning of a line
        self._escaping = False  # `~` came, and was held back

    def feed(self, data: bytes) -> tuple[bytes, list[Escape]]:
        """What goes to the program, and which escapes were typed, in order."""
        if not self._escaping and (self._begins < 0 or self._begins not in data):  # most keys
            if data:
                self._fresh = data[-1] in _LINE_ENDS
            return data, []
        passed = bytearray()
        escapes: list[Escape] = []
        for key in data:
            if self._escaping:
                self._escaping = False
                escape = _ESCAPES.get(key)
                if escape is not None:
                    escapes.append(escape)
                    self._fresh = True
                    continue
                passed.append(self._begins)
                if key == self._begins:
                    self._fresh = False
                    continue
            elif key == self._begins and self._fresh:
                self._escaping = True
                continue
            passed.append(key)
            self._fresh = key in _LINE_ENDS
        return bytes(passed), escapes
