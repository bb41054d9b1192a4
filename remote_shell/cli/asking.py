"""Questions to whoever sits at the terminal: a passphrase, or whether a server's key is the right one.

They go to the controlling terminal and never through stdin or stdout, which belong to the command. Without a terminal there is
nobody to ask. A question can be taken back from another thread, since asyncio asks in one and would wait for it for ever after
Ctrl-C; that is why getpass is not used. Imports nothing heavy. Neighbour: client's `login` asks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

_TERMINAL = "/dev/tty"
_NAP = 0.1  # s between two looks at a terminal that another job reads


def answers(left: int = -1) -> dict[str, Any]:
    """`ask` and `confirm` for `connect`, each None without a terminal.

    Both raise EOFError when the descriptor `left` becomes readable: the person has left.
    """
    try:
        os.close(os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return {"ask": None, "confirm": None}
    return {"ask": lambda prompt: _ask(prompt, left), "confirm": lambda question: _confirm(question, left)}


def read_line(prompt: str, left: int = -1) -> str:
    """The line that is typed, with its end; empty on Ctrl-D. Raises EOFError as above, OSError without a terminal."""
    terminal = os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        line = _question(terminal, prompt, left)
        if not line:
            os.write(terminal, b"\n")
        return line
    finally:
        os.close(terminal)


async def ask_line(prompt: str, left: int = -1, above: Callable[[], None] = lambda: None) -> str:
    """`read_line` in a thread. After Ctrl-Z and `fg` the question is asked again, below what `above` shows."""
    import asyncio
    import signal

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCONT, _show_again, prompt, above)  # the terminal has forgotten what was typed
    try:
        return await asyncio.to_thread(read_line, prompt, left)
    finally:
        loop.remove_signal_handler(signal.SIGCONT)


def _show_again(prompt: str, above: Callable[[], None]) -> None:
    try:
        terminal = os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # hung up meanwhile, which reading tells
        return
    try:
        if _is_ours(terminal):  # not after `bg`
            above()
            os.write(terminal, prompt.encode("utf-8", "replace"))
    except OSError:
        return
    finally:
        os.close(terminal)


def read_unseen(prompt: str, goes_on: Callable[[str], bool]) -> str:
    """The line that is typed, unseen; further ones too as long as `goes_on` says so of all that came, until an empty one.

    Raises EOFError on Ctrl-D, OSError without a terminal.
    """
    return _ask(prompt, -1, goes_on)


def _ask(prompt: str, left: int, goes_on: Callable[[str], bool] = lambda _: False) -> str:
    """What is typed, unseen. Raises EOFError on Ctrl-D."""
    import termios

    terminal = os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        before = termios.tcgetattr(terminal)
        silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
        try:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)  # what was typed before the prompt is no passphrase
            line = more = _question(terminal, prompt, left)
            while more.strip() and goes_on(line):
                more = _question(terminal, "", left)
                line += more
        finally:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
            os.write(terminal, b"\n")
    finally:
        os.close(terminal)
    if not line:
        raise EOFError
    return line.rstrip("\n")


def _confirm(question: str, left: int) -> bool:
    """Whether the answer was yes; Ctrl-D is no."""
    terminal = os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        prompt = f"{question} [yes/no] "
        while True:
            line = _question(terminal, prompt, left)
            if not line:
                os.write(terminal, b"\n")
                return False
            answer = line.strip().lower()
            if answer in ("yes", "no"):
                return answer == "yes"
            prompt = "Please type yes or no: "
    finally:
        os.close(terminal)


def _question(terminal: int, prompt: str, left: int) -> str:
    """Show `prompt`; the line that is typed, with its end, or an empty text on Ctrl-D."""
    import select

    os.write(terminal, prompt.encode("utf-8", "replace"))
    others = [] if left < 0 else [left]
    while True:
        if left in select.select([terminal, *others], [], [])[0]:
            raise EOFError
        if _is_ours(terminal):
            return os.fsdecode(os.read(terminal, 4096))  # a whole line: termios(3), canonical mode
        select.select(others, [], [], _NAP)  # after `bg` the line is another's, and to read it would stop us


def _is_ours(terminal: int) -> bool:
    """We are in the foreground, or there is no job control."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return True
