"""The exit statuses of the command line, and how a program ends by a signal. Imports nothing heavy: every start passes here."""

from __future__ import annotations

import os

from remote_shell.errors import CommandNotExecutableError, CommandNotFoundError

USAGE = 2  # the command line made no sense; nothing was tried (argparse's own figure)
TIMED_OUT = 124  # 124 to 127 as timeout(1) and env(1) have them
FAILED = 125  # our own failure
NOT_EXECUTABLE = 126
NOT_FOUND = 127
SIGNALLED = 128  # plus the signal's number, as sh has it
INTERRUPTED = 130


def of_error(error: BaseException) -> int:
    """What a failure of ours ends with."""
    if isinstance(error, CommandNotFoundError):
        return NOT_FOUND
    return NOT_EXECUTABLE if isinstance(error, CommandNotExecutableError) else FAILED


def of_signal(name: str) -> int:
    """What a shell makes of the signal's name, "SIGTERM" or "SIGRTMIN+3". One that is unknown here counts as number 0."""
    return SIGNALLED + _number(name)


def leave_by_signal(name: str) -> int:
    """End this process by a signal, as a program that had no handler would, so that a caller sees the reason itself.

    Returns 128 and its number, should the signal be blocked.
    """
    import signal

    number = _number(name)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return SIGNALLED + number


def _number(name: str) -> int:
    import signal  # its enums take 3 ms, which --help need not wait for

    base, _, offset = name.partition("+")
    if base.startswith("SIG") and base[3:].isdigit():
        return int(base[3:])  # SIG32 and SIG33 have no other name
    known = signal.Signals.__members__.get(base)
    return 0 if known is None else int(known) + (int(offset) if offset.isdigit() else 0)
