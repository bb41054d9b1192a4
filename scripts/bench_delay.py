"""A TCP proxy that delivers every byte a fixed time after it came: a long line, without its losses.

    python bench_delay.py SECONDS HOST PORT [BYTES_PER_SECOND]

Prints the port that it listens on (127.0.0.1). When its stdin ends, since who started it is gone, it carries what is open to its end, for a
few seconds: a client that lost its link would wait for a server that does not come back. Without a rate it
must never be the bottleneck: it reads at once whatever comes, and its queues hold far more than any window of ssh's or ours. With
one it takes no more than that each way and holds little, so that what is sent faster waits where it would: at the sender's.
Two threads a direction instead of one loop: each spends its time in recv, sleep or send, all without the interpreter's
lock. Standard library only. Neighbour: `bench_servers` starts it.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import sys
import threading
import time

READ_SIZE = 256 * 1024
RATED_SIZE = 8 * 1024  # bytes at once where there is a rate: some packets
RATED_BUFFER = 64 * 1024  # bytes that the kernel holds for us then
QUEUE_MAX = 4096  # pieces under way in one direction; above that the sender waits, as on a full line
CONNECT_TIME = 10.0  # seconds
LAST_TIME = 10.0  # seconds


class Direction:
    """One way of one connection."""

    def __init__(self, source: socket.socket, sink: socket.socket, seconds: float, rate: float) -> None:
        self._rate = rate
        self._source = source
        self._sink = sink
        self._seconds = seconds
        self._under_way: queue.Queue[tuple[float, bytes]] = queue.Queue(QUEUE_MAX)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._write)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _read(self) -> None:
        data = b"-"
        free = 0.0  # when the line takes more
        while data:
            try:
                data = self._source.recv(RATED_SIZE if self._rate else READ_SIZE)
            except OSError:
                data = b""
            if self._rate:
                free = max(free, time.monotonic()) + len(data) / self._rate
                time.sleep(max(0.0, free - time.monotonic()))
            self._under_way.put((time.monotonic() + self._seconds, data))

    def _write(self) -> None:
        open_ = True
        while True:
            due, data = self._under_way.get()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if not data:
                    self._sink.shutdown(socket.SHUT_WR)
                elif open_:
                    self._sink.sendall(data)
            except OSError:
                open_ = False  # go on emptying the queue, so that the reader ends
                with contextlib.suppress(OSError):
                    self._source.shutdown(socket.SHUT_RD)
            if not data:
                return


def serve(
    listener: socket.socket, address: tuple[str, int], seconds: float, rate: float, carriers: list[threading.Thread]
) -> None:
    """Accept for ever; both directions of each connection are delayed by `seconds`, and carry `rate` bytes a second unless it is 0."""
    while True:
        near, _ = listener.accept()
        carrier = threading.Thread(target=_carry, args=(near, address, seconds, rate), daemon=True)
        carriers.append(carrier)
        carrier.start()


def _carry(near: socket.socket, address: tuple[str, int], seconds: float, rate: float) -> None:
    with near, socket.socket() as far:
        if rate:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RATED_BUFFER)  # before connecting: tcp(7)
        far.settimeout(CONNECT_TIME)
        try:
            far.connect(address)
        except OSError:
            return  # the client sees an end of stream, as from a server that is down behind a balancer
        else:
            far.settimeout(None)
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            directions = (Direction(near, far, seconds, rate), Direction(far, near, seconds, rate))
            for direction in directions:
                direction.start()
            for direction in directions:
                direction.join()


def main() -> None:
    seconds, host, port = float(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    rate = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    if rate:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RATED_BUFFER)
    print(listener.getsockname()[1], flush=True)
    carriers: list[threading.Thread] = []
    threading.Thread(target=serve, args=(listener, (host, port), seconds, rate, carriers), daemon=True).start()
    sys.stdin.buffer.read()
    until = time.monotonic() + LAST_TIME
    for carrier in carriers:
        with contextlib.suppress(RuntimeError):  # it is about to be started
            carrier.join(max(0.0, until - time.monotonic()))


if __name__ == "__main__":
    main()
