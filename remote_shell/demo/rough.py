"""A socket on a bad day: it cuts what it sends at random places, pauses in between, and returns less than it was asked for.

TCP may do all of this at any time; on loopback it seldom does. A neighbour of `recorder`.
"""

from __future__ import annotations

import random
import socket
import time
from typing import Any

PAUSE = 0.001  # seconds at most
PAUSE_CHANCE = 0.003  # of pieces that are followed by a pause


class RoughSocket(socket.socket):
    """Takes over a socket (the old object is detached).

    Args:
        sock: the socket.
        seed: the same seed cuts in the same places.
    """

    def __init__(self, sock: socket.socket, seed: int) -> None:
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self.pieces = 0  # that went out, or came in
        self._random = random.Random(seed)

    def sendall(self, data: Any, flags: int = 0) -> None:
        left = memoryview(data)
        while left:
            sent = super().send(left[: self._some(len(left))], flags)
            self.pieces += 1
            left = left[sent:]
            if self._random.random() < PAUSE_CHANCE:
                time.sleep(self._random.uniform(0, PAUSE))

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = super().recv(self._some(size), flags)
        self.pieces += 1
        return data

    def _some(self, most: int) -> int:
        """All of it one time in two, else 1 to `most`, small ones as often as large ones: headers get cut as well as bodies."""
        if not most or self._random.random() < 0.5:
            return most
        return min(most, 1 << self._random.randrange(most.bit_length()))
