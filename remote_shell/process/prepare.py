"""What a server does to itself once, before its first command.

Must never run in a library's caller unasked: it changes the whole process. Neighbours: the server calls it at its start;
`children` reaps what the subreaper adopts.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

from remote_shell.errors import RemoteShellError

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_RESET_BY_POPEN = frozenset((signal.SIGPIPE, signal.SIGXFSZ))  # Python ignores them, Popen resets them in the child


def prepare_process() -> None:
    """Make this process a fit parent: subreaper, clean signals for its children, no descriptor inherited by accident.

    Dispositions can be set on the main thread only (signal(7)); elsewhere this raises RuntimeError before it changes
    anything. RemoteShellError if the kernel refuses.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("prepare_process() must run on the main thread, before the server starts")
    _become_subreaper()
    _clean_signals()
    _close_on_exec()


def _become_subreaper() -> None:
    """Orphans of commands become our children, so what left its group by setsid can still be found: prctl(2)."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise RemoteShellError(f"cannot become a subreaper: {os.strerror(number)}; Linux 3.4 or newer is needed")


def _clean_signals() -> None:
    """Let children start with default dispositions and an empty mask.

    execve(2) keeps ignored signals ignored and resets caught ones. A server started by nohup or with `&` ignores SIGHUP
    or SIGINT, so would its commands: catching them with a function that does nothing is the same for us, and the
    default for them. Popen offers no other way that keeps vfork.
    """
    for number in signal.valid_signals():
        if number in _RESET_BY_POPEN or signal.getsignal(number) is not signal.SIG_IGN:
            continue
        # An ignored SIGCHLD would make the kernel throw away exit statuses: sigaction(2).
        signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else _do_nothing)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Stands for SIG_IGN."""


def _close_on_exec() -> None:
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number > 2:
            try:
                os.set_inheritable(number, False)
            except OSError:  # the descriptor of the listing itself is closed by now
                continue
