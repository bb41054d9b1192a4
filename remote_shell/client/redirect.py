"""Redirections: what `stdin=`, `stdout=` and `stderr=` mean, as subprocess means it. Opens nothing, reads nothing.

Neighbours: `process.Mode` says what becomes of a stream, the fronts do it.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any, NamedTuple

import remote_shell
from remote_shell.client.process import Mode

PIPE, STDOUT, DEVNULL = remote_shell.PIPE, remote_shell.STDOUT, remote_shell.DEVNULL

_NULL = (1, 3)  # /dev/null: null(4)


class Redirect(NamedTuple):
    """Where a command's streams go. Descriptors are ours; -1 where there is none."""

    stdin_pipe: bool  # the caller writes it
    stdin: int  # read this one and send it
    stdout_mode: Mode
    stdout: int  # write it there
    stderr_mode: Mode
    stderr: int
    merge: bool  # descriptor 2 is a copy of descriptor 1 over there

    @property
    def piped(self) -> bool:
        """The caller gets at least one stream."""
        return (
            self.stdin_pipe
            or (self.stdout < 0 and self.stdout_mode is not Mode.DROP)
            or (self.stderr < 0 and self.stderr_mode is not Mode.DROP)
        )


NOWHERE = Redirect(
    False, -1, Mode.HOLD, -1, Mode.HOLD, -1, False
)  # a live shell's: both outputs are read by the caller


def resolve(stdin: Any, stdout: Any, stderr: Any, captured: Mode) -> Redirect:
    """`captured` is the mode of a PIPE. Raises ValueError, and what a file object's `fileno` raises."""
    if stdout == STDOUT:
        raise ValueError("STDOUT can only be used for stderr")
    pipe, source = _input(stdin)
    if stdout is PIPE and stderr is PIPE:  # as most scripts ask
        return Redirect(pipe, source, captured, -1, captured, -1, False)
    out_mode, out = _output(stdout, 1, captured)
    merge = type(stderr) is int and stderr == STDOUT
    err_mode, err = (Mode.DROP, -1) if merge else _output(stderr, 2, captured)
    if err >= 0 and err == out:  # one file for both: merged over there, or the order of what was written would be lost
        merge, err_mode, err = True, Mode.DROP, -1
    return Redirect(pipe, source, out_mode, out, err_mode, err, merge)


def check_run(stdin: Any, input: Any, stdout: Any, stderr: Any, capture_output: bool) -> tuple[Any, Any, Any]:
    """The combinations that subprocess.run refuses, and what the others become. Raises ValueError."""
    if input is not None and stdin is not None:
        raise ValueError("stdin and input arguments may not both be used.")
    if capture_output:
        if stdout is not None or stderr is not None:
            raise ValueError("stdout and stderr arguments may not be used with capture_output.")
        stdout = stderr = PIPE
    return stdin, stdout, stderr


def is_captured(redirect: Redirect, stream: int) -> bool:
    """`run` returns this stream's output."""
    return (redirect.stdout_mode if stream == 1 else redirect.stderr_mode) is Mode.KEEP


def _output(value: Any, inherited: int, captured: Mode) -> tuple[Mode, int]:
    if value is None:
        return (Mode.HOLD, inherited) if _is_open(inherited) else (Mode.DROP, -1)
    if type(value) is int:
        if value == PIPE:
            return captured, -1
        if value == DEVNULL:
            return Mode.DROP, -1
    return Mode.HOLD, _descriptor(value)


def _input(value: Any) -> tuple[bool, int]:
    if value is None:
        return False, 0 if _is_worth_reading(0) else -1
    if type(value) is int:
        if value == PIPE:
            return True, -1
        if value == DEVNULL:
            return False, -1
        if value == STDOUT:
            raise ValueError("STDOUT can only be used for stderr")
    return False, _descriptor(value)


def _descriptor(value: Any) -> int:
    if isinstance(value, int):
        if value < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return value
    descriptor: int = value.fileno()
    return descriptor


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def is_end_of_input(descriptor: int, error: OSError, *, inherited: bool, begun: bool) -> bool:
    """Whether a failed read means no more than that nothing comes. Else a part would pass for the whole, and the command would succeed.

    A terminal that hung up says EIO; an inherited descriptor that can't be read at all (nohup leaves such ones) matters to commands that
    read it only.
    """
    if error.errno == errno.EIO and stat.S_ISCHR(os.fstat(descriptor).st_mode):
        return True
    return inherited and not begun


def _is_worth_reading(descriptor: int) -> bool:
    """False for a descriptor that is closed or /dev/null: then the command's stdin is empty from the start."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return not (stat.S_ISCHR(status.st_mode) and (os.major(status.st_rdev), os.minor(status.st_rdev)) == _NULL)
