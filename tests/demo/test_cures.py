"""The lesson about cures: whole is whole at every cut, and each failure is a real one."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from remote_shell.demo import rough
from remote_shell.demo.catalogue import LESSONS
from remote_shell.demo.elements import Blocks, Claim, Dump, Exchange, Output, Table
from remote_shell.demo.ends import Ends, Task, wait_until
from remote_shell.demo.lessons import cures, cures_compared
from remote_shell.demo.lessons.cures_measured import (
    ESCAPED,
    HEADER,
    JSON_HEADER,
    LENGTH_FIRST,
    MESSAGES,
    Cure,
    measure,
    messages,
    send_all,
    trial,
)
from remote_shell.demo.programs import cure_delimiter, cure_header, cure_json_header, cure_length_first
from remote_shell.demo.recorder import of
from remote_shell.demo.rough import RoughSocket
from remote_shell.demo.stage import Stage
from tests.demo.playing import played

pytestmark = pytest.mark.screen  # as a file it takes long

CLAIMS = [
    *("sleep_lucky", "sleep_fails", "delimiter_works", "delimiter_fails", "escaping_works", "length_first_works"),
    *("length_first_fails", "header_works", "header_cut", "hostile_length", "length_refused", "json_header_works"),
    *(
        "json_header_refuses",
        "whole_header",
        "whole_json_header",
        "poor_cures_fail",
        "others_whole",
        "round_trips_cost",
    ),
]
LANGUAGES = pytest.mark.parametrize("language", ["en", "zh"])
STREAMING = pytest.mark.parametrize("cure", [HEADER, JSON_HEADER, ESCAPED], ids=lambda cure: cure.en)


def shown(stage: Stage, kind: type) -> list[Any]:
    return [element for element in stage.shown.elements if isinstance(element, kind)]


# --- the lesson


@pytest.mark.screen
@pytest.mark.timeout(60)  # the whole lesson; a busy machine takes its time over 20,000 messages
@LANGUAGES
def test_each_cure_works_and_fails_as_the_lesson_says(language: str) -> None:
    stage = played("cures", language)
    assert stage.failed == []
    assert [claim.name for claim in shown(stage, Claim)] == CLAIMS


@pytest.mark.screen
@pytest.mark.timeout(60)  # the whole lesson; a busy machine takes its time over 20,000 messages
@LANGUAGES
def test_the_tables_have_what_was_measured(language: str) -> None:
    stage = played("cures", language)
    proof, costs = shown(stage, Table)[-2:]
    assert [row[1] for row in proof.rows] == ["10,000 / 10,000"] * 2
    assert all(int(row[3].replace(",", "")) > 10_000 < int(row[4].replace(",", "")) for row in proof.rows)
    assert len(costs.rows) == 6
    sleep, bare, escaped, length, header, json_header = costs.rows
    assert [int(row[1].split()[0]) < MESSAGES for row in costs.rows] == [True, True, False, False, False, False]
    assert [row[2] for row in costs.rows] == ["0", "0", "0", "1", "0", "0"]
    assert (sleep[3], bare[3], header[3]) == ("0.0", "1.0", "4.0")
    assert float(bare[3]) < float(escaped[3]) < float(header[3]) < float(json_header[3])
    assert float(sleep[4]) >= 2 and float(length[4]) >= 0.4


@pytest.mark.screen
@pytest.mark.timeout(60)  # the whole lesson; a busy machine takes its time over 20,000 messages
@LANGUAGES
def test_the_pictures_are_of_the_bytes_that_crossed(language: str) -> None:
    stage = played("cures", language)
    for picture in shown(stage, Blocks):
        assert len({sum(block.size for block in row.blocks) for row in picture.rows}) == 1
    (exchange,) = shown(stage, Exchange)
    assert [(arrow.source, arrow.text.split(" ")[0][:5]) for arrow in exchange.arrows] == [
        (0, "3893"),
        (1, "ready"),
        (0, "1⏎2⏎3"),
    ]
    (dump,) = shown(stage, Dump)
    assert [dump.spans[0].start, dump.spans[-1].end] == [0, len(dump.data)]
    assert json.loads(dump.data[dump.spans[1].start : dump.spans[1].end])["size"] == 12
    texts = [output.text for output in shown(stage, Output)]
    assert texts[0].startswith("struct.error:") and texts[1] == "MemoryError"
    assert texts[2] == "ValueError: 4294967295 bytes were announced; the limit is 1000000"


@pytest.mark.screen
@pytest.mark.timeout(60)  # the whole lesson; a busy machine takes its time over 20,000 messages
def test_nothing_stays_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cures_compared, "MANY", 50)
    before = (len(os.listdir("/proc/self/fd")), threading.active_count())
    LESSONS["cures"].play(Stage(LESSONS["cures"].title, "en"))
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before

    def interrupted(connection: socket.socket) -> bytes:
        raise KeyboardInterrupt

    for cure in (HEADER, LENGTH_FIRST):
        with pytest.raises(KeyboardInterrupt):
            measure(cure._replace(receiver=lambda: interrupted))
        assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# --- whole


@STREAMING
def test_whole_over_random_cuts(cure: Cure) -> None:
    result = trial(cure, 300, seed=1)
    assert result.whole == 300
    assert result.pieces_sent > 400


@pytest.mark.slow
@STREAMING
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_whole_over_ten_thousand_messages(cure: Cure, seed: int) -> None:
    assert trial(cure, 10_000, seed).whole == 10_000


@pytest.mark.slow
@STREAMING
def test_whole_byte_by_byte(cure: Cure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RoughSocket, "_some", lambda self, most: min(1, most))
    assert trial(cure, 500, seed=5).whole == 500


def test_a_cure_that_trusts_one_recv_is_not_whole() -> None:
    """What finds no fault with the good ones finds it with a bad one."""
    trusting = HEADER._replace(receiver=lambda: cure_header.receive_trusting)
    try:
        whole = trial(trusting, 300, seed=1).whole
    except (struct.error, BlockingIOError, MemoryError, OverflowError):
        whole = 0
    assert whole < 300


def test_one_wrong_byte_is_found() -> None:
    spoilt = HEADER._replace(receiver=lambda: lambda connection: cure_header.receive(connection).replace(b"\0", b"\1"))
    assert 0 < trial(spoilt, 300, seed=1).whole < 300


def test_the_rough_socket_cuts_and_loses_nothing() -> None:
    data = random.Random(6).randbytes(50_000)
    with Ends() as ends:
        client, server = ends.pair()
        sender, receiver = ends.keep(RoughSocket(client, 7)), ends.keep(RoughSocket(server, 8))
        chunks = [data[at : at + 1000] for at in range(0, len(data), 1000)]
        task = ends.start(
            send_all,
            Cure("", "", lambda connection, chunk: connection.sendall(chunk), lambda: cure_header.receive),
            sender,
            chunks,
        )
        received = b""
        while len(received) < len(data):
            received += receiver.recv(1000)
        task.result()
        assert received == data
        assert sender.pieces > 60 and receiver.pieces > 50
        assert {RoughSocket._some(sender, 4) for _ in range(200)} == {1, 2, 4}
        assert RoughSocket._some(sender, 0) == 0
    assert rough.PAUSE_CHANCE > 0


@pytest.mark.parametrize("message", [b"", b"\n", b"%", b"%0A", b"%25", b"%\n%", b"\n\n", b"%250A", bytes(range(256))])
def test_escaping_is_undone(message: bytes) -> None:
    escaped = cure_delimiter.escape(message)
    assert cure_delimiter.END not in escaped
    assert cure_delimiter.unescape(escaped) == message
    assert cures.delimited([escaped, escaped]) == [escaped, escaped]


# --- limits, before anything is made room for


def refuses(receive: Callable[[socket.socket], object], data: bytes, error: type[Exception], text: str) -> int:
    """How many bytes were read before it was refused."""
    with Ends() as ends:
        client, server = ends.pair()
        task = ends.start(client.sendall, data)
        with pytest.raises(error, match=text):
            receive(server)
        client.shutdown(socket.SHUT_RDWR)
        task.join(10)
    return sum(len(note.data) for note in of(ends.notes, "server", "recv"))


def delimiter_receiver() -> Callable[[socket.socket], object]:
    buffer = bytearray()
    return lambda connection: cure_delimiter.receive(connection, buffer)


def json_frame(**header: object) -> bytes:
    text = json.dumps({"name": "x", "size": 0, "sha256": ""} | header).encode()
    return struct.pack("!I", len(text)) + text


@pytest.mark.parametrize(
    ("receive", "data", "text", "read"),
    [
        (cure_header.receive, struct.pack("!I", cure_header.LIMIT + 1), "limit is 1000000", 4),
        (cure_header.receive, b"\xff" * 4, "limit is 1000000", 4),
        (cure_length_first.receive, b"1000001", "limit is 1000000", 7),
        (cure_length_first.receive, b"-1", "limit is 1000000", 2),
        (cure_json_header.receive, struct.pack("!I", cure_json_header.HEADER_LIMIT + 1), "limit is 4096", 4),
        (cure_json_header.receive, json_frame(size=-1), "size -1", None),
        (cure_json_header.receive, json_frame(size=True), "size True", None),
        (cure_json_header.receive, json_frame(size="5"), "size '5'", None),
        (cure_json_header.receive, json_frame(size=1e3), "size 1000.0", None),
        (cure_json_header.receive, json_frame(size=cure_json_header.BODY_LIMIT + 1), "limit is 10000000", None),
        (cure_json_header.receive, json_frame(), "its hash differs", None),
    ],
)
def test_a_length_beyond_the_limit_is_refused_at_once(
    receive: Callable[[socket.socket], object], data: bytes, text: str, read: int | None
) -> None:
    assert refuses(receive, data, ValueError, text) == (len(data) if read is None else read)


def test_a_message_that_never_ends_is_refused() -> None:
    read = refuses(delimiter_receiver(), b"x" * (cure_delimiter.LIMIT + 100_000), ValueError, "no end of the message")
    assert read <= cure_delimiter.LIMIT + 1024


@pytest.mark.parametrize("receive", [cure_header.receive, cure_json_header.receive, cure_length_first.receive])
def test_an_end_in_the_middle_is_told(receive: Callable[[socket.socket], object]) -> None:
    with Ends() as ends:
        client, server = ends.pair()
        if receive is cure_length_first.receive:
            client.sendall(b"10")
            task = ends.start(receive, server)
            assert client.recv(5) == b"ready"
            client.sendall(b"half")
        else:
            client.sendall(b"\0\0\0\x0ahalf")
            task = ends.start(receive, server)
        client.shutdown(socket.SHUT_WR)
        with pytest.raises(EOFError, match="after 4 of 10 bytes"):
            task.result()


def test_a_limit_itself_is_taken() -> None:
    message = bytes(cure_header.LIMIT)
    with Ends() as ends:
        client, server = ends.pair()
        task = ends.start(cure_header.send, client, message)
        assert cure_header.receive(server) == message
        task.result()


# --- what measures


def test_what_a_header_costs() -> None:
    cost = measure(HEADER)
    assert (cost.whole, cost.round_trips, cost.extra) == (MESSAGES, 0, 4)
    assert cost.seconds >= 0.01


def test_what_the_length_first_costs() -> None:
    cost = measure(LENGTH_FIRST)
    digits = sum(len(str(len(message))) for message in messages())
    assert (cost.whole, cost.round_trips, cost.extra) == (MESSAGES, 1, len("ready") + digits / MESSAGES)
    assert cost.seconds >= MESSAGES * 0.02


def test_the_delay_delays_and_does_not_slow_down() -> None:
    with Ends() as ends:
        client, server = ends.far_pair(0.05)
        start = time.monotonic()
        for number in range(20):
            client.sendall(b"%02d" % number)
        data = b"".join(iter(lambda: server.recv(2), b"19"))
        assert time.monotonic() - start >= 0.05
        assert data == b"".join(b"%02d" % number for number in range(19))
        server.sendall(b"back")
        assert client.recv(4) == b"back"
        assert time.monotonic() - start >= 0.1
        client.shutdown(socket.SHUT_WR)
        assert server.recv(1) == b""


# --- both ends


@pytest.fixture
def threads() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.usefixtures("threads")
def test_ends_wake_whoever_waits() -> None:
    with Ends() as ends:
        client, server = ends.pair()
        tasks = [ends.start(ends.listener.accept), ends.start(client.recv, 1), ends.start(server.recv, 1)]
    assert not any(task.is_alive() for task in tasks)
    assert client.fileno() == server.fileno() == ends.listener.fileno() == -1


def test_a_task_raises_what_its_function_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        Task(lambda: 1 / 0).result()
    assert Task(lambda: 42).result() == 42
    gate = threading.Event()
    with pytest.raises(TimeoutError, match="did not end within"):
        Task(gate.wait).result(0.01)
    gate.set()
    assert wait_until(lambda: threading.active_count() == 1)
    assert not wait_until(lambda: False, 0.01)
