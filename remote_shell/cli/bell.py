"""The bell for what took long: BEL, and a notification with a text where the terminal is one that shows them (OSC 9).

Never rings without a terminal. Which terminals understand OSC 9 is known by name only: elsewhere it could be shown as text, or
mean something else (ConEmu's OSC 9;4 is a progress bar, so the text never begins with a number and a semicolon).
Neighbour: `repl` says when.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from remote_shell.cli.screen import duration_text

LONG = 10.0  # seconds that a command in the foreground takes before its end rings
_TEXT_MAX = 120  # characters
_TERMS = ("xterm-kitty", "xterm-ghostty", "wezterm")
_PROGRAMS = ("WezTerm", "iTerm.app", "ghostty")  # TERM_PROGRAM; tmux sets its own there, screen leaves it


def after(text: str, duration: float, alone: float) -> None:
    """Ring for a command's end if it took long and the person was not there: `alone` is how long no key came."""
    if min(duration, alone) >= LONG:
        ring(f"{text} ({duration_text(duration)})")


def ring(text: str, *, quietly: bool = False, environment: Mapping[str, str] | None = None) -> None:
    """Ring. `quietly`: a program has the terminal, so BEL alone, which harms no sequence that it is about to write."""
    try:
        if not sys.stderr.isatty():
            return
        sys.stderr.write(signal_of(text if not quietly else "", os.environ if environment is None else environment))
        sys.stderr.flush()
    except (OSError, ValueError):
        return


def signal_of(text: str, environment: Mapping[str, str]) -> str:
    """What is written."""
    term = environment.get("TERM", "")
    known = term in _TERMS or (
        environment.get("TERM_PROGRAM", "") in _PROGRAMS and not term.startswith(("screen", "tmux"))
    )
    if not known or not text:
        return "\a"
    shown = "".join(sign if sign.isprintable() else "?" for sign in text[:_TEXT_MAX])
    return f"\a\x1b]9;remote-shell: {shown}\x1b\\"
