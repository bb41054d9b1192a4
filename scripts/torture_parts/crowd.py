"""Sessions that do nothing but answer the server's signs of life, as a program of its own: `python crowd.py TARGET KEY COUNT`.

A line on stdout says how many there are, after every hundred and at the end; they go when stdin ends.
"""

from __future__ import annotations

import select
import sys

from tests.server import raw_client
from tests.server.raw_client import RawClient, by_key


def answer(watch: select.epoll, clients: dict[int, RawClient], timeout: float) -> bool:
    """Let those answer who were asked. False when our own stdin has ended."""
    for descriptor, _ in watch.poll(timeout):
        if descriptor == 0:
            return False
        client = clients[descriptor]
        client.pump(0.0)
        if client.ended:
            raise ConnectionError(f"a session was ended: {client.disconnect}")
    return True


def main() -> None:
    target, key, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    prove, clients, watch = by_key(key), {}, select.epoll()
    watch.register(0, select.EPOLLHUP)
    for number in range(1, count + 1):
        client = RawClient(target, prove, prompt=True)
        raw_client.made.clear()
        clients[client.link.fileno()] = client
        watch.register(client.link.fileno(), select.EPOLLIN)
        if number % 100 == 0 or number == count:
            print(number, flush=True)
        if not answer(watch, clients, 0.0):
            return
    while answer(watch, clients, -1.0):
        pass


if __name__ == "__main__":
    main()
