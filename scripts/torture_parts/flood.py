"""A flood of connections from many loopback addresses, as a program of its own: `python flood.py '{"port": …}'`.

Some connections are held and say nothing, and are made again when the server closes them; the others come at a rate, say a few bytes of
one kind or another, and are held until so many newer ones came. Prints what it did as JSON; ends early when its stdin does. Standard
library only.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import sys
import time
from collections import deque

BIND_WITHOUT_PORT = 24  # ip(7): IP_BIND_ADDRESS_NO_PORT; else 100 addresses share the ports of one
HELD = 1500  # hostile connections held at once
SPOKEN = (
    b"",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"SSH-2.0-x\r\n",
    b"\0\0\0\x02\x03\0\0\0\0{}",
)


def client_hello() -> bytes:
    """The first flight of a TLS client: what makes the server calculate most."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


def connect(port: int, source: str) -> socket.socket | None:
    """A connection under way, or None where the kernel has no room."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.IPPROTO_IP, BIND_WITHOUT_PORT, 1)
        sock.bind((source, 0))
        sock.connect_ex(("127.0.0.1", port))
    except OSError:
        sock.close()
        return None
    return sock


def flood(
    port: int, sources: list[str], rate: float, seconds: float, silent: int, hellos: int, watch: select.poll
) -> dict[str, float]:
    """`rate` connections a second, each `hellos`-th of which says a whole ClientHello, if that is above 0."""
    hello = client_hello()
    quiet: dict[int, socket.socket] = {}
    silence = select.epoll()
    held: deque[socket.socket] = deque()
    made = failed = again = 0
    began = time.monotonic()
    until, next_look = began + seconds, began
    while (now := time.monotonic()) < until and not watch.poll(0):
        while len(quiet) < silent:
            sock = connect(port, sources[(again + len(quiet)) % len(sources)])
            if sock is None:
                break
            quiet[sock.fileno()] = sock
            silence.register(sock, select.EPOLLRDHUP | select.EPOLLHUP)
        due = int((now - began) * rate)
        for number in range(made, min(due, made + 200)):
            sock = connect(port, sources[number % len(sources)])
            if sock is None:
                failed += 1
                continue
            said = hello if hellos and number % hellos == 0 else SPOKEN[number % len(SPOKEN)]
            with contextlib.suppress(OSError):  # not there yet, or gone already: then it is one more that says nothing
                sock.send(said)
            held.append(sock)
            if len(held) > HELD:
                held.popleft().close()
        made = min(due, made + 200)
        if now >= next_look:
            next_look = now + 0.05
            for descriptor, _ in silence.poll(0, 4096):
                again += 1
                quiet.pop(descriptor).close()
        if made >= due:
            time.sleep(0.001)
    took = time.monotonic() - began
    for sock in (*quiet.values(), *held):
        sock.close()
    return {"made": made - failed, "failed": failed, "again": again, "seconds": took}


def main() -> None:
    watch = select.poll()
    watch.register(0, select.POLLHUP)
    print(json.dumps(flood(**json.loads(sys.argv[1]), watch=watch)))


if __name__ == "__main__":
    main()
