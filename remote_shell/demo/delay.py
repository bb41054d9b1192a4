"""The delay of a far-away computer, brought to loopback: bytes are handed on some time after they came. A neighbour of `ends`."""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from contextlib import suppress


def carry(source: socket.socket, sink: socket.socket, seconds: float) -> None:
    """Hands on what comes from `source` to `sink`, each byte `seconds` later, in order, and the end as well. Returns after the end.

    Unlike `sleep` after each `recv` it delays, and does not slow down: what comes together goes on together.
    """
    waiting: deque[tuple[float, bytes]] = deque()  # when due, what; empty bytes are the end
    poll = select.poll()
    poll.register(source, select.POLLIN)
    ended = False
    with suppress(OSError):  # one of the two is gone
        while waiting or not ended:
            # rounded up to whole milliseconds: rounded down it would turn in circles for the last of them
            wait = max(0, int((waiting[0][0] - time.monotonic()) * 1000) + 1) if waiting else None
            if poll.poll(wait):
                data = source.recv(65536)
                waiting.append((time.monotonic() + seconds, data))
                if not data:
                    ended = True
                    poll.unregister(source)
            while waiting and waiting[0][0] <= time.monotonic():
                _, data = waiting.popleft()
                if data:
                    sink.sendall(data)
                else:
                    sink.shutdown(socket.SHUT_WR)
