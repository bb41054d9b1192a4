"""In processes of their own: what `prepare_process` changes can't be taken back."""

from __future__ import annotations

import threading

import pytest

from remote_shell.process.prepare import prepare_process
from tests.process.recorder import python_in_fresh_process

SHOW_CHILD = """
import asyncio, signal, sys
from remote_shell.process.prepare import prepare_process
from tests.process.recorder import run
{before}
async def main():
    sink = await run(["grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"])
    print(sink.out.decode(), end="")
asyncio.run(main())
"""


def child_signals(before: str, *, ignore_sigint: bool) -> dict[str, int]:
    text = python_in_fresh_process(SHOW_CHILD.format(before=before), ignore_sigint=ignore_sigint)
    return {line.split(":")[0]: int(line.split()[1], 16) for line in text.splitlines()}


@pytest.mark.parametrize("ignore_sigint", [False, True])
def test_children_start_with_default_signals_and_an_empty_mask(ignore_sigint: bool) -> None:
    before = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\nprepare_process()"
    assert child_signals(before, ignore_sigint=ignore_sigint) == {"SigIgn": 0, "SigBlk": 0}


def test_without_it_children_of_a_background_server_ignore_sigint() -> None:
    """The guard of the test above: it would go red."""
    assert child_signals("", ignore_sigint=True)["SigIgn"] & 1 << 1


def test_an_ignored_signal_still_does_nothing_to_the_server() -> None:
    code = """
import os, signal
from remote_shell.process.prepare import prepare_process
prepare_process()
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    os.kill(os.getpid(), number)
print("alive")
"""
    assert python_in_fresh_process(code, ignore_sigint=True) == "alive\n"


def test_an_ignored_sigchld_loses_no_status() -> None:
    code = """
import asyncio, signal
from remote_shell.process.prepare import prepare_process
from tests.process.recorder import run
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
prepare_process()
async def main():
    print((await run(["sh", "-c", "exit 7"])).exit)
asyncio.run(main())
"""
    assert python_in_fresh_process(code) == "Exit(status=7, signal=None)\n"


def test_the_process_is_a_subreaper_and_its_descriptors_stay_its_own() -> None:
    code = """
import ctypes, os
from remote_shell.process.prepare import prepare_process
left = os.open("/dev/null", os.O_RDONLY)
os.set_inheritable(left, True)
prepare_process()
answer = ctypes.c_int()
assert ctypes.CDLL(None).prctl(37, ctypes.byref(answer), 0, 0, 0) == 0  # PR_GET_CHILD_SUBREAPER
print(answer.value, os.get_inheritable(left), os.get_inheritable(1))
"""
    assert python_in_fresh_process(code) == "1 False True\n"


def test_off_the_main_thread_it_refuses_and_changes_nothing() -> None:
    errors: list[BaseException] = []

    def other() -> None:
        try:
            prepare_process()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])
