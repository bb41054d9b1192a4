"""What every kind of process tells: its exit, its output, its credit; and the names of signals.

Must never start or watch anything. Neighbours: `pipes` and `shell` raise these calls, the server implements `Sink`.
"""

from __future__ import annotations

import os
import signal
from typing import NamedTuple, Protocol

from remote_shell.errors import CommandError

STDOUT = 1
STDERR = 2


class Exit(NamedTuple):
    """How a process ended: exactly one of `status` (0 to 255) and `signal` ("SIGKILL", "SIGRTMIN+3") is set."""

    status: int | None
    signal: str | None

    @classmethod
    def from_returncode(cls, returncode: int) -> Exit:
        """From `subprocess.Popen.returncode`: a negative one is the number of the signal that killed the process."""
        if returncode < 0:
            return cls(None, signal_name(-returncode))
        return cls(returncode, None)

    @classmethod
    def from_waitid(cls, result: os.waitid_result) -> Exit:
        """From waitid(2): `si_status` is a status or a signal, as `si_code` says."""
        if result.si_code == os.CLD_EXITED:
            return cls(result.si_status, None)
        return cls(None, signal_name(result.si_status))


class Sink(Protocol):
    """Who is told of a process. Called on the loop's thread; a call may pause, kill or close the process at once."""

    def on_output(self, stream: int, data: bytes) -> None:
        """The process wrote `data` (never empty) on stream 1 or 2."""

    def on_output_end(self, stream: int) -> None:
        """Nobody holds the stream any more. Once a stream, before or after `on_exit`."""

    def on_exit(self, exit: Exit) -> None:
        """The process ended. Once; everything that it wrote itself was passed on before."""

    def on_stdin(self, n: int) -> None:
        """`n` more bytes of stdin were taken by the pipe, or thrown away because nobody can read them."""


def signal_name(number: int) -> str:
    """The name of a signal: "SIGTERM", "SIGRTMIN+3"; "SIG32" for the two that the C library keeps to itself."""
    if signal.SIGRTMIN < number <= signal.SIGRTMAX:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def signal_number(name: str) -> int:
    """The number of a signal, from "SIGTERM", "TERM", "SIGRTMIN+3" or "SIGRTMAX". Raises CommandError."""
    full = name if name.startswith("SIG") else f"SIG{name}"
    base, plus, offset = full.partition("+")
    found = signal.Signals.__members__.get(base)
    if found is not None and not plus:
        return int(found)
    if base == "SIGRTMIN" and offset.isascii() and offset.isdigit() and len(offset) <= 2:
        number = signal.SIGRTMIN + int(offset)
        if number <= signal.SIGRTMAX:
            return number
    raise CommandError(f"no such signal: {name!r}; `kill -l` lists the names")
