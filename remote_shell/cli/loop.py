"""The event loop of a command that a person sits at: as asyncio.run, and every signal wakes it.

Python's own handler only notes a signal, and whoever waits in a system call hears of it by EINTR. One that comes just before the call, or
to another thread, is noted and then slept on: so a Ctrl-C at a question, which a thread asks, was lost now and then on a busy machine.
Neighbours: `raw` and `commands.shell` run in it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run `main` to its end. Raises what it raises; KeyboardInterrupt after Ctrl-C, which cancels it."""
    with asyncio.Runner() as runner:
        # asyncio has signals wake it (signal.set_wakeup_fd) only while there is a handler of its own. SIGURG is ignored by default, so
        # with this one nothing else changes.
        runner.get_loop().add_signal_handler(signal.SIGURG, lambda: None)
        return runner.run(main)
