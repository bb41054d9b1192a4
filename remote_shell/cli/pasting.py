"""A paste into a terminal that puts no brackets around it: its lines come as keys, and would run one after the other.

Several lines within one read, each with its end, are no person's typing. They become what a paste in brackets is: one key, with the text.
What follows at once belongs to it, since a long paste comes in several reads. A line with its Enter and what was typed ahead for it
can't be told from a quick hand, and stays what it is. Neighbour: `editor` reads from this.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TextIO

from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys

_AT_ONCE = 0.05  # seconds between two reads of one paste
_LINE_ENDS = (Keys.ControlM, Keys.ControlJ)
_ASIDE = (Keys.CPRResponse, Keys.Ignore, Keys.Vt100MouseEvent)  # what the terminal itself says may come in between


class Joiner:
    """Reads in, reads out. Holds back the line ends at a paste's end, which would stand between it and what follows."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0  # what comes earlier than this belongs to the paste before
        self._ends = ""

    def joined(self, keys: Sequence[KeyPress]) -> list[KeyPress]:
        """The keys of one read, as they are or as one paste."""
        aside = [press for press in keys if press.key in _ASIDE]
        text = _text([press for press in keys if press.key not in _ASIDE])
        now = self._clock()
        goes_on = now < self._until
        if not text or not (goes_on or text.strip("\n").count("\n") + text.endswith("\n") > 1):
            return list(keys)
        self._until = now + _AT_ONCE
        whole = (self._ends if goes_on else "") + text
        rest = whole.rstrip("\n")
        self._ends = whole[len(rest) :]
        return [*aside, KeyPress(Keys.BracketedPaste, rest)] if rest else aside


class JoinedInput(Vt100Input):
    """The person's terminal."""

    def __init__(self, stdin: TextIO) -> None:
        super().__init__(stdin)
        self._joiner = Joiner()

    def read_keys(self) -> list[KeyPress]:
        """What one read brought."""
        return self._joiner.joined(super().read_keys())

    def cooked_mode(self) -> AbstractContextManager[None]:
        """None for what is written above the prompt: keys typed at that moment would be the line discipline's, and ^D be lost."""
        return nullcontext()

    def stop(self) -> None:
        """Stop the process group, as ^Z does: who has the terminal then finds it as it was."""
        with super().cooked_mode():
            os.kill(0, signal.SIGTSTP)


def _text(keys: Sequence[KeyPress]) -> str:
    """What the keys are if they are nothing but text; otherwise "", since then a person or a program typed."""
    signs = []
    for press in keys:
        if press.key in _LINE_ENDS:
            signs.append("\n")
        elif press.key == Keys.ControlI:
            signs.append("\t")
        elif isinstance(press.key, Keys) or len(press.data) != 1:
            return ""
        else:
            signs.append(press.data)
    return "".join(signs)
