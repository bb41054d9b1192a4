"""Questions to whoever sits at the terminal: whether a server's key is the right one.

They go to the controlling terminal and never through stdin or stdout, which belong to the command. Without a terminal there is
nobody to ask, and the answer is None. Imports nothing heavy. Neighbours: client's `login` asks, identity's `signers` asks for
passphrases.
"""

from __future__ import annotations

import os
from collections.abc import Callable

_TERMINAL = "/dev/tty"


def confirmation() -> Callable[[str], bool] | None:
    """A function that shows a question and returns whether it was answered with yes; None without a terminal."""
    try:
        os.close(os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return None
    return _confirm


def _confirm(question: str) -> bool:
    with (
        open(_TERMINAL, encoding="utf-8", errors="replace") as answers,
        open(_TERMINAL, "w", encoding="utf-8") as shown,
    ):
        prompt = f"{question} [yes/no] "
        while True:
            shown.write(prompt)
            shown.flush()
            line = answers.readline()
            if not line:  # Ctrl-D
                shown.write("\n")
                return False
            answer = line.strip().lower()
            if answer in ("yes", "no"):
                return answer == "yes"
            prompt = "Please type yes or no: "
