"""The event loop that a person's signals wake."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from remote_shell.cli import loop


def press() -> None:
    """Ctrl-C, as the loop has it that is just about to wait: noted, and no system call of its own is interrupted."""
    main = Path(f"/proc/self/task/{os.getpid()}/stat")
    seen = 0
    while seen < 20:
        seen = seen + 1 if main.read_text().rpartition(")")[2].split()[0] == "S" else 0
        time.sleep(0.001)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)


def test_ctrl_c_is_heard_by_a_loop_that_sleeps() -> None:
    thread = threading.Thread(target=press)
    late: list[bool] = []

    async def main() -> None:
        asyncio.get_running_loop().call_later(10, late.append, True)  # wakes it too
        thread.start()
        await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        loop.run(main())
    thread.join()
    assert not late


def test_what_it_ran_comes_out() -> None:
    async def main(number: int) -> int:
        if number == 0:
            raise EOFError
        return number

    assert loop.run(main(3)) == 3
    with pytest.raises(EOFError):
        loop.run(main(0))
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1
