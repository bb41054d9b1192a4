"""Ctrl-C in a blocking call: put off while the protocol core is in the middle of a step, raised where we wait.

Python raises KeyboardInterrupt between any two instructions of the main thread; in the core that would lose a frame that
was counted, or leave a lock taken. So a call replaces Python's own SIGINT handler, and only that one, until it returns (as
asyncio.run does). A handler of the program's own stays; it should raise through `interrupt`, which waits for the right moment. If it
raises by itself in the middle of a step, `driver` gives the session up.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what `signal` wraps: 0.2 us a call instead of 4, and nothing to import
import threading
from types import FrameType
from typing import Any

_DEFAULT = _signal.default_int_handler
_SIGINT = 2  # signal(7), on every Linux


class _Interrupts:
    """The main thread's state; other threads are never interrupted, and so never counted."""

    __slots__ = ("_outer", "masked", "pending", "replaced")

    def __init__(self) -> None:
        self.masked = False  # in the middle of a step; set by plain assignment, which no signal can split
        self.pending: BaseException | None = None
        self.replaced = False
        # `masked` before each call that we are in, as (value, those before): a signal handler's call may be inside another. No list:
        # Python looks for signals after every call of a function, `append` included.
        self._outer: tuple[Any, ...] = ()

    def enter(self) -> None:
        """A call begins."""
        if threading.get_ident() != threading.main_thread().ident:
            return
        outer = self.masked
        self.masked = True
        try:
            if not self.replaced and _signal.getsignal(_SIGINT) is _DEFAULT:
                _signal.signal(_SIGINT, self._handle)
                self.replaced = True
        except BaseException:  # Ctrl-C while Python's own handler was in place
            self.masked = outer
            raise
        self._outer = outer, self._outer

    def leave(self) -> None:
        """A call ends. Raises KeyboardInterrupt if one was put off."""
        if threading.get_ident() != threading.main_thread().ident:
            return
        outer, self._outer = self._outer
        if self._outer:
            self.masked = outer
            return
        try:
            if self.replaced:
                self.replaced = False
                _signal.signal(_SIGINT, _DEFAULT)
        finally:
            self.masked = outer  # also when Ctrl-C comes right here, where Python's own handler raises it
        self.raise_pending()

    def raise_pending(self) -> None:
        """Raises what was put off."""
        error, self.pending = self.pending, None
        if error is not None:
            raise error

    def interrupt(self, error: BaseException) -> None:
        """For signal handlers: raise `error` now, or as soon as the call that it interrupts is between two steps."""
        if not self.masked:
            raise error
        if self.pending is None:
            self.pending = error

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.interrupt(KeyboardInterrupt())


INTERRUPTS = _Interrupts()
interrupt = INTERRUPTS.interrupt
