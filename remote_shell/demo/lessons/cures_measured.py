"""The cures of the lesson `cures`, each in one form, and what they cost: measured, and tried on a socket on a bad day."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from remote_shell.demo.ends import Ends, wait_until
from remote_shell.demo.pictures import total
from remote_shell.demo.programs import (
    cure_delimiter,
    cure_header,
    cure_json_header,
    cure_length_first,
    cure_sleep,
)
from remote_shell.demo.recorder import RecordedSocket, of
from remote_shell.demo.rough import RoughSocket

Send = Callable[[socket.socket, bytes], None]
Receive = Callable[[socket.socket], bytes]

MESSAGES = 20
BUSY_FROM = 15  # messages after which the receiver is busy
ONE_WAY = 0.010  # seconds of delay
SIZE_MAX = 4_000  # bytes of a message in `trial`


class Cure(NamedTuple):
    """How it is called in both languages, how one message is sent, and what makes a receiver (which may keep a buffer)."""

    en: str
    zh: str
    send: Send
    receiver: Callable[[], Receive]


def sleeping() -> Receive:
    def receive(connection: socket.socket) -> bytes:
        if not (data := cure_sleep.receive(connection)):
            raise EOFError
        return bytes(data)

    return receive


def delimited() -> Receive:
    buffer = bytearray()
    return lambda connection: cure_delimiter.receive(connection, buffer)


def escaped() -> Receive:
    receive = delimited()
    return lambda connection: bytes(cure_delimiter.unescape(receive(connection)))


SLEEP = Cure("sleeping", "睡眠", cure_sleep.send, sleeping)
DELIMITER = Cure("delimiter", "分隔符", cure_delimiter.send, delimited)
ESCAPED = Cure(
    "delimiter, escaped",
    "分隔符加转义",
    lambda connection, message: cure_delimiter.send(connection, cure_delimiter.escape(message)),
    escaped,
)
LENGTH_FIRST = Cure("length first", "先问长度", cure_length_first.send, lambda: cure_length_first.receive)
HEADER = Cure("header", "报头", cure_header.send, lambda: cure_header.receive)
JSON_HEADER = Cure(
    "JSON header",
    "JSON 报头",
    lambda connection, message: cure_json_header.send(connection, "message", message),
    lambda: lambda connection: cure_json_header.receive(connection)[1],
)
CURES = (SLEEP, DELIMITER, ESCAPED, LENGTH_FIRST, HEADER, JSON_HEADER)


class Cost(NamedTuple):
    """What a cure did with `MESSAGES` messages: how many came whole, and what it took."""

    whole: int
    round_trips: float  # a message
    extra: float  # bytes a message, both ways together
    seconds: float  # for all


class Asking(RecordedSocket):
    """Knows whether somebody waits in its `recv`."""

    waiting = False

    def recv(self, size: int, flags: int = 0) -> bytes:
        self.waiting = True
        data = super().recv(size, flags)
        self.waiting = False
        return data


def messages() -> list[bytes]:
    """Texts of different lengths, every fifth of them of two lines."""
    return [
        b"message %d" % number + b" and more" * (number % 7) + b"\nsecond line" * (number % 5 == 0)
        for number in range(MESSAGES)
    ]


def measure(cure: Cure) -> Cost:
    """Sends the messages over a connection with a delay of `ONE_WAY` each way.

    The receiver is busy once: after `BUSY_FROM` messages it reads nothing until the sender is done, or cannot go on without an answer.
    """
    sent = messages()
    with Ends() as ends:
        near, connection = ends.far_pair(ONE_WAY)
        sender = ends.keep(Asking(near, "client", ends.notes))
        start = time.monotonic()
        task = ends.start(send_all, cure, sender, sent)
        received: list[bytes] = []
        receive = cure.receiver()
        while True:
            if len(received) == BUSY_FROM:
                wait_until(lambda: not task.is_alive() or sender.waiting)
            try:
                received.append(receive(connection))
            except EOFError:
                break
        seconds = time.monotonic() - start
        task.result()
    crossed = total(of(ends.notes, "client", "sendall")) + total(of(ends.notes, "server", "sendall"))
    return Cost(
        sum(message in received for message in sent),
        len(of(ends.notes, "client", "recv")) / len(sent),
        (crossed - total_size(sent)) / len(sent),
        seconds,
    )


def send_all(cure: Cure, connection: socket.socket, sent: Iterable[bytes]) -> None:
    for message in sent:
        cure.send(connection, message)
    connection.shutdown(socket.SHUT_WR)


class Trial(NamedTuple):
    """How a cure fared on a socket on a bad day."""

    whole: int
    size: int  # bytes of all messages
    pieces_sent: int
    pieces_received: int
    seconds: float


def trial(cure: Cure, count: int, seed: int) -> Trial:
    """Sends random bytes of random sizes (0 to `SIZE_MAX`, small ones more often), cut at random places on both ends.

    Args:
        cure: one that needs no answer; it stops at the first message that is not the one that was sent.
        count: how many messages.
        seed: of all that is random.
    """
    choose = random.Random(seed)
    store = choose.randbytes(4 * SIZE_MAX)
    places = []
    for _ in range(count):
        size = choose.randrange(1 << choose.randrange(SIZE_MAX.bit_length() + 1)) % (SIZE_MAX + 1)
        places.append((choose.randrange(len(store) - size), size))
    with Ends() as ends:
        client, server = ends.pair()
        sender, receiver = ends.keep(RoughSocket(client, seed + 1)), ends.keep(RoughSocket(server, seed + 2))
        start = time.monotonic()
        task = ends.start(send_all, cure, sender, (store[at : at + size] for at, size in places))
        receive = cure.receiver()
        whole = 0
        for at, size in places:
            if receive(receiver) != store[at : at + size]:
                break
            whole += 1
        else:
            task.result()
        seconds = time.monotonic() - start
    return Trial(whole, sum(size for _, size in places), sender.pieces, receiver.pieces, seconds)


def total_size(sent: list[bytes]) -> int:
    return sum(len(message) for message in sent)
