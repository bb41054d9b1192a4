"""Runs a program's function beside the lesson, and ends it with the lesson, whatever happens (Ctrl-C included)."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any


@contextlib.contextmanager
def beside(
    function: Callable[..., Any],
    *arguments: Any,
    stop: Callable[[], object] = lambda: None,
    abandon: Callable[[], object] = lambda: None,
) -> Iterator[Future[Any]]:
    """Runs a function in a thread; gives what it returns or raises as a future.

    Args:
        stop: called at the end, finished or not; must make the function return.
        abandon: called before it if the lesson was interrupted: the function may be in the middle of something.
    """
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # the future carries it to whoever asks for the result
            future.set_exception(error)

    # a daemon, for a second Ctrl-C during the join below: the process ends then
    thread = threading.Thread(target=run, daemon=True)
    try:
        thread.start()
        yield future
    except BaseException:
        abandon()
        raise
    finally:
        stop()
        if thread.ident is not None:
            thread.join()


class _Listener(socket.socket):
    """Keeps what it accepted, so that it can be hung up on."""

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(listener.family, listener.type, listener.proto, fileno=listener.detach())
        self.accepted: list[socket.socket] = []

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        self.accepted.append(connection)
        return connection, address


@contextlib.contextmanager
def serving(function: Callable[..., Any], *arguments: Any) -> Iterator[tuple[tuple[str, int], Future[Any]]]:
    """A listener on loopback at which `function(listener, *arguments)` serves: gives its address, and the function's future."""
    with _Listener(socket.create_server(("127.0.0.1", 0))) as listener:

        def stop() -> None:  # wakes an `accept` that still waits
            _hang_up(listener)

        def abandon() -> (
            None
        ):  # a client that Ctrl-C tore out of `create_connection` is open until the traceback is gone
            stop()
            for connection in listener.accepted:
                _hang_up(connection)

        with beside(function, listener, *arguments, stop=stop, abandon=abandon) as future:
            yield listener.getsockname(), future


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether a condition came true within some seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
