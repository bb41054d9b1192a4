"""Orders: what a keeper is started with, and its start, of which a server's loop waits for nothing.

posix_spawn and not Popen, which would have to be waited for by whom the server may not outlive: a keeper that ends before its server
is reaped as the orphans are. Python starts with -I -S, which takes 10 ms and not 60, and half the memory.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import sys
from collections.abc import Mapping, Sequence

from remote_shell.limits import Limits
from remote_shell.process import children

_ABOVE = 10  # numbers below are given out in the child
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from remote_shell.jobs.keeper import main; main()"


def make(
    argv: Sequence[bytes],
    program: bytes,
    *,
    cwd: bytes,
    env: Mapping[bytes, bytes],
    merge_stderr: bool,
    timeout: float | None,
    limits: Limits,
    audit: tuple[str, bytes] | None = None,
) -> bytes:
    """Orders for a command. `program` is the file, `cwd` is absolute, `timeout` is in seconds.

    `audit`: a file, and of the line that tells it of the end what comes between its time and how it ended.
    """
    return marshal.dumps(
        {
            "argv": list(argv),
            "program": program,
            "cwd": cwd,
            "env": dict(env),
            "merge": merge_stderr,
            "timeout": timeout,
            "kill_grace": limits.kill_grace,
            "kill_give_up": limits.kill_give_up,
            "retry": limits.job_retry_time,
            "clients_max": limits.job_watchers_max,
            "segment": limits.job_segment_max,
            "total": limits.job_log_max,
            "audit": audit,
            "audit_tries": limits.audit_job_tries,
        }
    )


def start_keeper(orders: bytes, folder: int, lock: int, name: str) -> tuple[int, int]:
    """Start a keeper on a job's folder and its lock, which stay the caller's.

    Returns its pid, and the read end of a pipe, where `marshal` finds ("started", pid, Unix time in ms), or ("failed", "keeper", "cwd" or
    "program", errno); nothing, if the keeper died. Raises OSError.
    """
    opened: list[int] = []
    try:
        opened.append(os.memfd_create("orders", os.MFD_CLOEXEC))
        heard, told = os.pipe2(os.O_CLOEXEC)
        opened.append(told)
    except OSError:
        for fd in opened:
            os.close(fd)
        raise
    try:
        opened.append(os.open("errors", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600, dir_fd=folder))
        with open(opened[0], "wb", closefd=False) as file:
            file.write(orders)
        given = []
        for fd in (*opened[:3], folder, lock):
            given.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE))
            opened.append(given[-1])
        python = sys.executable
        with children.starting:
            pid = os.posix_spawn(
                python,
                [python, "-I", "-S", "-c", _PROGRAM, _ROOT, f"keeper of {name}"],
                {},
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(given)],
                setsid=True,
            )
    except BaseException:
        os.close(heard)
        raise
    finally:
        for fd in opened:
            os.close(fd)
    return pid, heard
