"""What a command's end looks like: subprocess's own classes, with what a remote command has besides.

Scripts that catch subprocess's exceptions keep working, since ours are subclasses. Nothing here does I/O. Neighbours:
`outcome` builds these.
"""

from __future__ import annotations

import subprocess
from typing import Any

UNKNOWN = 255  # for a signal that this system does not have: a death is never a success


class CompletedProcess(subprocess.CompletedProcess[Any]):
    """A command that ended.

    `returncode` is the status, or -N for signal N, as subprocess has it. `signal` is the signal's name or None, `duration` how long it ran
    on the server in seconds, `job` the command's id. `again`: it ran before under that id, and what it wrote then was not kept.
    """

    again = False

    def __init__(
        self,
        args: Any,
        returncode: int,
        stdout: Any = None,
        stderr: Any = None,
        *,
        signal: str | None = None,
        duration: float = 0.0,
        job: str = "",
    ) -> None:
        super().__init__(args, returncode, stdout, stderr)
        self.signal = signal
        self.duration = duration
        self.job = job

    def check_returncode(self) -> None:
        """Raises CalledProcessError unless the command ended with 0."""
        if self.returncode:
            raise CalledProcessError(
                self.returncode,
                self.args,
                self.stdout,
                self.stderr,
                signal=self.signal,
                duration=self.duration,
                job=self.job,
            )


class CalledProcessError(subprocess.CalledProcessError):
    """A command ended with another status than 0 and `check` was asked for. Fields as in `CompletedProcess`."""

    def __init__(
        self,
        returncode: int,
        cmd: Any,
        output: Any = None,
        stderr: Any = None,
        *,
        signal: str | None = None,
        duration: float = 0.0,
        job: str = "",
    ) -> None:
        super().__init__(returncode, cmd, output, stderr)
        self.signal = signal
        self.duration = duration
        self.job = job

    def __str__(self) -> str:
        if self.returncode == -UNKNOWN and self.signal is not None:
            return f"Command {self.cmd!r} died with {self.signal}, which has no number here."
        return super().__str__()


class TimeoutExpired(subprocess.TimeoutExpired):
    """A command ran, or was waited for, longer than `timeout` seconds. `output` and `stderr` hold what came until then."""

    def __init__(
        self,
        cmd: Any,
        timeout: float,
        output: Any = None,
        stderr: Any = None,
        *,
        signal: str | None = None,
        duration: float = 0.0,
        job: str = "",
    ) -> None:
        super().__init__(cmd, timeout, output, stderr)
        self.signal = signal
        self.duration = duration
        self.job = job
