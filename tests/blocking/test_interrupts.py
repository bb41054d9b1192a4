"""Ctrl-C: put off in a step, raised between two."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from remote_shell.blocking import interrupts
from remote_shell.blocking.interrupts import INTERRUPTS, interrupt


def press() -> None:
    """Ctrl-C; the handler has run when this returns."""
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(100):
        pass


def test_it_waits_for_the_end_of_the_call() -> None:
    INTERRUPTS.enter()
    press()
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        INTERRUPTS.leave()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    INTERRUPTS.enter()
    INTERRUPTS.leave()  # it is told once


def test_it_comes_where_we_wait() -> None:
    INTERRUPTS.enter()
    INTERRUPTS.masked = False
    with pytest.raises(KeyboardInterrupt):
        press()
    INTERRUPTS.masked = True
    INTERRUPTS.leave()


def test_a_call_in_a_handler_in_a_call() -> None:
    INTERRUPTS.enter()
    INTERRUPTS.masked = False  # the outer one waits
    INTERRUPTS.enter()
    press()
    INTERRUPTS.leave()
    assert not INTERRUPTS.masked and INTERRUPTS.pending is not None
    with pytest.raises(KeyboardInterrupt):
        INTERRUPTS.leave()


def test_a_handler_of_the_program_stays() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        INTERRUPTS.enter()
        press()
        INTERRUPTS.leave()
        assert seen == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_that_raises_through_interrupt() -> None:
    before = signal.signal(signal.SIGINT, lambda number, frame: interrupt(RuntimeError("enough")))
    try:
        INTERRUPTS.enter()
        press()
        press()
        with pytest.raises(RuntimeError, match="enough"):
            INTERRUPTS.leave()
        with pytest.raises(RuntimeError, match="enough"):
            press()  # outside of a call: at once
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_have_nothing_to_put_off() -> None:
    def work() -> None:
        INTERRUPTS.enter()
        INTERRUPTS.leave()

    INTERRUPTS.enter()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert INTERRUPTS.masked
    INTERRUPTS.leave()
    assert not INTERRUPTS.masked


@pytest.mark.parametrize("moment", ["enter", "leave"])
def test_ctrl_c_while_the_handler_is_changed_leaves_all_as_it_was(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own handler is in place for a moment on both sides, and raises."""

    class Pressed:
        getsignal = staticmethod(signal.getsignal)

        @staticmethod
        def signal(number: int, handler: object) -> None:
            if (moment == "enter") == (handler is not signal.default_int_handler):
                if moment == "leave":
                    signal.signal(number, handler)  # type: ignore[arg-type]
                raise KeyboardInterrupt
            signal.signal(number, handler)  # type: ignore[arg-type]

    monkeypatch.setattr(interrupts, "_signal", Pressed)
    with pytest.raises(KeyboardInterrupt):
        INTERRUPTS.enter()
        INTERRUPTS.leave()
    monkeypatch.undo()
    assert not INTERRUPTS.masked and not INTERRUPTS.replaced and not INTERRUPTS._outer
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        press()
