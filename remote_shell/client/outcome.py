"""Outcomes: from what the server said of a command's end to what `run` returns or raises. Shared by both fronts; no I/O."""

from __future__ import annotations

import errno
import operator
import os
import signal
from typing import Any

from remote_shell.client.process import ProcessState
from remote_shell.client.results import UNKNOWN, CalledProcessError, CompletedProcess, TimeoutExpired
from remote_shell.wire.messages import Done, Exit


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


def sent_signal(number: int, ended: bool) -> str | None:
    """What `send_signal` sends; None: nothing, for 0 is a test for life. Raises what kill(2) says, as subprocess does, before the end."""
    number = operator.index(number)
    if number == 0 or ended:
        return None
    try:
        return signal_name(number)
    except ValueError:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from None


def returncode_of(end: Exit | Done) -> int:
    """The status, or -N for signal N."""
    if end.signal is not None:
        return -(signal_number(end.signal) or UNKNOWN)
    return end.status if end.status is not None else 0


class TextMode:
    """How bytes become text and back, as subprocess does it; bytes stay bytes when no text was asked for."""

    __slots__ = ("encoding", "errors", "given", "text")

    def __init__(
        self, text: bool | None, encoding: str | None, errors: str | None, universal_newlines: bool | None = None
    ) -> None:
        if text is not None and universal_newlines is not None and bool(universal_newlines) != bool(text):
            import subprocess

            raise subprocess.SubprocessError(
                "Cannot disambiguate when both text and universal_newlines are supplied but different. Pass one or the other."
            )
        asked = text or universal_newlines
        self.text = bool(asked or encoding or errors)
        self.encoding = encoding or (_default_encoding() if self.text else "")
        self.errors = errors or "strict"
        self.given = encoding, errors, asked

    @classmethod
    def of(
        cls, text: bool | None, encoding: str | None, errors: str | None, universal_newlines: bool | None = None
    ) -> TextMode:
        """As a call has it; mostly nothing was said, and one serves all of those. Raises SubprocessError."""
        if text is None and encoding is None and errors is None and universal_newlines is None:
            return BYTES
        return cls(text, encoding, errors, universal_newlines)

    def check(self) -> TextMode:
        """Raise now what Python's text files raise for an encoding that is none, and not when the command has run."""
        if self.text and (self.encoding != _default_encoding() or type(self.errors) is not str):
            import io

            self.encoding = io.TextIOWrapper(
                io.BytesIO(), self.encoding, self.errors
            ).encoding  # "locale" has another name
        return self

    def decoded(self, data: bytes) -> Any:
        """Text with universal newlines, or the bytes."""
        if not self.text:
            return data
        if not data:
            return ""
        return data.decode(self.encoding, self.errors).replace("\r\n", "\n").replace("\r", "\n")

    def encoded(self, data: Any) -> Any:
        """Bytes for stdin. Raises TypeError for the other kind."""
        if self.text:
            if not isinstance(data, str):
                raise TypeError(f"in text mode the input is str, not {type(data).__name__}")
            return data.encode(self.encoding, self.errors)
        if isinstance(data, str):
            if not data:
                return memoryview(b"")  # subprocess looks no further either
            raise TypeError("the input is bytes, not str; add text=True for text")
        return memoryview(data).cast("B")


BYTES = TextMode(None, None, None)
LINES = TextMode(True, "utf-8", "replace")  # of a live shell


def _default_encoding() -> str:
    import locale

    return locale.getpreferredencoding(False)


def completed(state: ProcessState, stdout: Any, stderr: Any) -> CompletedProcess:
    """What `run` returns."""
    end = state.exit
    assert end is not None, "it ended"
    done = CompletedProcess(
        state.args,
        returncode_of(end),
        stdout,
        stderr,
        signal=end.signal,
        duration=end.duration_us / 1_000_000,
        job=state.command_id,
    )
    if state.opened is not None and state.opened.again:
        done.again = True
    return done


def failed(done: CompletedProcess) -> CalledProcessError:
    """What `check` raises."""
    return CalledProcessError(
        done.returncode,
        done.args,
        output=done.stdout,
        stderr=done.stderr,
        signal=done.signal,
        duration=done.duration,
        job=done.job,
    )


def time_allowed(end: Exit | Done, timeout: float | None) -> float:
    """The seconds after which the server's clock ended a command: `timeout`, or less where the key's line says so (timeout=)."""
    took = end.duration_us / 1_000_000
    return took if timeout is None or took < timeout else timeout


def cut_short(end: Exit | None, timeout: float | None) -> str:
    """What a person is told of a command that had less time than was asked for; empty for any other."""
    if end is None or not end.timed_out or time_allowed(end, timeout) == timeout:
        return ""
    return f"ended by the server after {end.duration_us / 1_000_000:.3g} s: this key may run nothing for longer"


def expired(state: ProcessState, timeout: float | None, stdout: bytes | None, stderr: bytes | None) -> TimeoutExpired:
    """What a timeout raises, with bytes, and None where nothing came, as subprocess has them."""
    end = state.exit
    if end is not None and end.timed_out:
        timeout = time_allowed(end, timeout)
    assert timeout is not None, "one of the two clocks ended it"
    return TimeoutExpired(
        state.args,
        timeout,
        output=stdout or None,
        stderr=stderr or None,
        signal=end.signal if end is not None else None,
        duration=end.duration_us / 1_000_000 if end is not None else timeout,
        job=state.command_id,
    )
