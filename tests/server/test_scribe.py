"""The scribe: the loop never waits, answers come in order, many share one transaction."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from remote_shell.errors import LedgerError
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.server.ledger import Ledger
from remote_shell.server.scribe import Scribe


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(tmp_path))


async def test_answers_come_in_order_in_the_loops_thread() -> None:
    scribe = Scribe(asyncio.get_running_loop(), DEFAULT_LIMITS)
    told: list[Any] = []
    done = asyncio.Event()
    for number in range(10):
        scribe.submit(lambda ledger, n=number: (n, threading.current_thread().name), told.append)  # type: ignore[misc]

    def last(result: int) -> None:
        told.append(threading.get_ident())
        assert result != told[-1]
        done.set()

    scribe.submit(lambda ledger: threading.get_ident(), last)
    await done.wait()
    assert told == [*((number, "ledger") for number in range(10)), threading.get_ident()]
    scribe.close()


async def test_what_comes_meanwhile_shares_a_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    carry_out = Ledger.carry_out

    def counted(ledger: Ledger, works: Any) -> Any:
        sizes.append(len(works))
        return carry_out(ledger, works)

    monkeypatch.setattr(Ledger, "carry_out", counted)
    scribe = Scribe(asyncio.get_running_loop(), DEFAULT_LIMITS)
    held, done = threading.Event(), asyncio.Event()
    scribe.submit(lambda ledger: held.wait(10), lambda result: None)
    for number in range(600):
        scribe.submit(lambda ledger, n=number: ledger.claim("me", f"n{n}", b"h"), lambda result: None)  # type: ignore[misc]
    scribe.submit(lambda ledger: None, lambda result: done.set())
    held.set()
    await done.wait()
    scribe.close()
    assert sum(sizes) == 602 and len(sizes) <= 5, sizes


async def test_what_is_in_no_hurry_waits_for_company_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    carry_out = Ledger.carry_out

    def counted(ledger: Ledger, works: Any) -> Any:
        sizes.append(len(works))
        return carry_out(ledger, works)

    monkeypatch.setattr(Ledger, "carry_out", counted)
    scribe = Scribe(asyncio.get_running_loop(), DEFAULT_LIMITS)
    told: asyncio.Queue[int] = asyncio.Queue()
    scribe.submit(lambda ledger: 1, told.put_nowait, hurried=False)
    scribe.submit(lambda ledger: 2, told.put_nowait)
    assert [await told.get(), await told.get()] == [1, 2] and sizes == [2]
    scribe.submit(lambda ledger: 3, told.put_nowait, hurried=False)
    assert await told.get() == 3
    scribe.submit(lambda ledger: 4, told.put_nowait, hurried=False)
    scribe.close()
    assert await told.get() == 4, "the end does not wait"


async def test_a_fault_of_ours_is_an_answer_and_the_next_one_is_served(caplog: pytest.LogCaptureFixture) -> None:
    scribe = Scribe(asyncio.get_running_loop(), DEFAULT_LIMITS)
    told: asyncio.Queue[Any] = asyncio.Queue()
    scribe.submit(lambda ledger: 1 // 0, told.put_nowait)
    answer = await told.get()
    assert isinstance(answer, LedgerError) and "ZeroDivisionError" in str(answer) and "internal error" in caplog.text
    scribe.submit(lambda ledger: 5, told.put_nowait)
    assert await told.get() == 5
    scribe.close()


async def test_the_end_writes_what_was_asked_for_and_takes_nothing_more() -> None:
    scribe = Scribe(asyncio.get_running_loop(), DEFAULT_LIMITS)
    scribe.submit(lambda ledger: ledger.claim("me", "last", b"h"), lambda result: None)
    scribe.close()
    told: list[Any] = []
    scribe.submit(lambda ledger: None, told.append)
    assert isinstance(told[0], LedgerError)
    ledger = Ledger(DEFAULT_LIMITS)
    assert ledger.carry_out([lambda ledger: ledger.ask("me", "last", False)])[0] is not None
    ledger.close()


def test_a_loop_that_is_gone_is_no_fault() -> None:
    loop = asyncio.new_event_loop()
    scribe = Scribe(loop, DEFAULT_LIMITS)
    held = threading.Event()
    scribe.submit(lambda ledger: held.wait(10), lambda result: None)
    loop.close()
    held.set()
    scribe.close()
