"""The scribe: a thread that keeps the ledger, so that the event loop never waits for a disk.

What is asked for while it writes goes into its next transaction: a hundred commands with ids share one fsync. Answers come back in the
order of the questions, in the loop's thread. The thread begins with the first question; most servers never have it. Neighbours:
`ledger` has the file, `claims` asks.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from remote_shell.errors import LedgerError
from remote_shell.limits import Limits
from remote_shell.transfer.threads import no_thread

log = logging.getLogger("remote_shell.server")

TOGETHER = 256  # works in one transaction: the first of them waits for the last
UNHURRIED = 0.005  # seconds that what nobody waits for may lie, so that it shares somebody's fsync: a short command's start its end's
_Tell = Callable[[Any], None]


class _Order(NamedTuple):
    work: Callable[[Any], Any]
    tell: _Tell
    hurried: bool


class Scribe:
    """One life of a server's ledger."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self._loop = loop
        self._limits = limits
        self._thread: threading.Thread | None = None
        self._closed = False
        # Not more than there are channels: each has one question under way.
        self._works: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()

    def submit(self, work: Callable[[Any], Any], tell: _Tell, *, hurried: bool = True) -> None:
        """Have `work(ledger)` done durably, then call `tell` with its result, or with a LedgerError. Always in order."""
        if self._closed:
            tell(LedgerError("the server has ended"))
            return
        if self._thread is None:
            # A daemon: a disk that hangs must not keep the server from its end.
            thread = threading.Thread(target=self._run, name="ledger", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                tell(LedgerError(no_thread().strerror))
                return
            self._thread = thread
        self._works.put(_Order(work, tell, hurried))

    def close(self) -> None:
        """What was submitted is written, if that takes no more than `end_time`; its answers are for nobody."""
        self._closed = True
        thread, self._thread = self._thread, None
        if thread is not None:
            self._works.put(None)
            thread.join(self._limits.end_time)
            if thread.is_alive():
                log.warning("the disk does not answer: the ends of some commands with ids may not be kept")

    # --- the thread

    def _run(self) -> None:
        from remote_shell.server.ledger import Ledger  # with it sqlite3, which takes 5 ms

        ledger = Ledger(self._limits)
        batch = self._next_batch()
        while batch:
            orders = [one for one in batch if one is not None]
            works = [one.work for one in orders]
            try:
                results = ledger.carry_out(works)
            except Exception as error:  # a fault of ours: whoever waits must not wait for ever
                log.exception("the ledger: internal error")
                results = [LedgerError(f"a fault of the server: {type(error).__name__}")] * len(works)
            answers = [(one.tell, result) for one, result in zip(orders, results, strict=True)]
            try:
                self._loop.call_soon_threadsafe(_tell, answers)
            except RuntimeError:  # the loop is closed: nobody asks any more
                break
            batch = [] if batch[-1] is None else self._next_batch()
        ledger.close()

    def _next_batch(self) -> list[_Order | None]:
        """At least one; ends with None when there will be no more, and is empty if that is all."""
        batch = [self._works.get()]
        hurried = False
        while (last := batch[-1]) is not None and len(batch) < TOGETHER:
            hurried |= last.hurried
            try:
                batch.append(self._works.get(timeout=0.0 if hurried else UNHURRIED))
            except queue.Empty:
                break
        return [] if batch == [None] else batch


def _tell(answers: list[tuple[_Tell, Any]]) -> None:
    for tell, result in answers:
        tell(result)
