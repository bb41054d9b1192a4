"""Outcomes: from what the server said of a command's end to what `run` returns or raises. Shared by both fronts; no I/O."""

from __future__ import annotations

import signal
from typing import Any

from remote_shell.client.process import ProcessState
from remote_shell.client.results import CalledProcessError, CompletedProcess, TimeoutExpired
from remote_shell.wire.messages import Done, Exit

_UNKNOWN = 255  # for a signal that this system does not have: a death is never a success


def signal_number(name: str) -> int:
    """The number here of a signal's name; "SIGRTMIN+3" too. 0 for a name that this system does not know."""
    base, plus, offset = name.partition("+")
    if base.startswith("SIG") and base[3:].isdigit() and not plus:
        return int(base[3:])  # SIG32 and SIG33, which have no other name
    number = getattr(signal, base, None)
    if not isinstance(number, int) or not base.startswith("SIG") or (plus and not offset.isdigit()):
        return 0
    return int(number) + (int(offset) if plus else 0)


def signal_name(number: int) -> str:
    """The name of a signal's number, as messages carry it. Raises ValueError."""
    try:
        return signal.Signals(number).name
    except ValueError:
        if signal.SIGRTMIN < number < signal.SIGRTMAX:
            return f"SIGRTMIN+{number - signal.SIGRTMIN}"
        raise ValueError(f"{number} is not a signal") from None


def returncode_of(end: Exit | Done) -> int:
    """The status, or -N for signal N."""
    if end.signal is not None:
        return -(signal_number(end.signal) or _UNKNOWN)
    return end.status if end.status is not None else 0


class TextMode:
    """How bytes become text and back, as subprocess does it; bytes stay bytes when no text was asked for."""

    __slots__ = ("encoding", "errors", "text")

    def __init__(self, text: bool | None, encoding: str | None, errors: str | None) -> None:
        self.text = bool(text or encoding or errors)
        self.encoding = encoding or (_default_encoding() if self.text else "")
        self.errors = errors or "strict"

    def decoded(self, data: bytes) -> Any:
        """Text with universal newlines, or the bytes."""
        if not self.text:
            return data
        return data.decode(self.encoding, self.errors).replace("\r\n", "\n").replace("\r", "\n")

    def encoded(self, data: Any) -> Any:
        """Bytes for stdin. Raises TypeError for the other kind."""
        if self.text:
            if not isinstance(data, str):
                raise TypeError(f"in text mode the input is str, not {type(data).__name__}")
            return data.encode(self.encoding, self.errors)
        if isinstance(data, str):
            raise TypeError("the input is bytes, not str; add text=True for text")
        return memoryview(data).cast("B")


def _default_encoding() -> str:
    import locale

    return locale.getpreferredencoding(False)


def completed(state: ProcessState, stdout: Any, stderr: Any) -> CompletedProcess:
    """What `run` returns."""
    end = state.exit
    assert end is not None, "it ended"
    return CompletedProcess(
        state.args,
        returncode_of(end),
        stdout,
        stderr,
        signal=end.signal,
        duration=end.duration_us / 1_000_000,
        job=state.command_id,
    )


def failed(done: CompletedProcess) -> CalledProcessError:
    """What `check` raises."""
    return CalledProcessError(
        done.returncode, done.args, done.stdout, done.stderr, signal=done.signal, duration=done.duration, job=done.job
    )


def expired(state: ProcessState, timeout: float, stdout: bytes | None, stderr: bytes | None) -> TimeoutExpired:
    """What a timeout raises, with bytes, and None where nothing came, as subprocess has them."""
    end = state.exit
    return TimeoutExpired(
        state.args,
        timeout,
        stdout or None,
        stderr or None,
        signal=end.signal if end is not None else None,
        duration=end.duration_us / 1_000_000 if end is not None else timeout,
        job=state.command_id,
    )
