"""The lesson udp: what it claims happened, what its pictures show adds up, and nothing of it is left."""

from __future__ import annotations

import concurrent.futures
import itertools
import socket
import socketserver
from pathlib import Path

import pytest

from remote_shell.demo.catalogue import LESSONS
from remote_shell.demo.elements import Blocks, Exchange, Output, Row, Timeline
from remote_shell.demo.lessons import udp_network, udp_servers
from remote_shell.demo.lessons.background import beside, wait_until
from remote_shell.demo.programs import udp_command_server, udp_overflow, udp_relay, udp_threading_server
from remote_shell.demo.stage import Stage
from tests.demo.facts import claims, of_kind
from tests.demo.leftovers import nothing_is_left
from tests.demo.playing import played

CLAIMS = [
    *("borders", "cut", "cut-is-told", "empty", "limit", "nobody", "loopback-keeps", "overflow", "overflow-counted"),
    *("lost", "doubled", "reordered", "whole", "answer-too-long", "ran-twice", "plain-waits", "threading-does-not"),
]
lesson = pytest.mark.screen  # it waits for answers that don't come


def sizes(row: Row, lost: bool = False) -> list[int]:
    return [block.size for block in row.blocks if block.lost == lost]


@lesson
@pytest.mark.parametrize("language", ["en", "zh"])
def test_all_that_the_lesson_claims_is_shown(language: str) -> None:
    stage = played("udp", language)
    assert stage.failed == []
    assert claims(stage) == CLAIMS


@lesson
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_rows_of_blocks_are_what_crossed(language: str) -> None:
    borders, cut, overflow, relay = of_kind(played("udp", language), Blocks)
    sent, received, stream = borders.rows
    assert sizes(sent) == sizes(received) == [4, 10, 8]
    assert sizes(stream) == [22] and [piece.size for piece in stream.blocks[0].pieces] == [4, 10, 8]

    sent, received = cut.rows
    assert sizes(sent) == [20, 4] and sizes(received) == [16, 4] and sizes(received, lost=True) == [4]

    sent, received = overflow.rows
    assert len(sizes(sent)) == 16 == len(sizes(received)) + len(sizes(received, lost=True))
    assert not received.blocks[0].lost and received.blocks[-1].lost

    sent, received = relay.rows
    texts = [block.pieces[0].text for block in received.blocks]
    assert len(sent.blocks) == 10 and sizes(sent, lost=True)
    assert len(texts) != len(set(texts)) and [int(text) for text in texts] != sorted(int(text) for text in texts)


@lesson
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_lost_answer_makes_the_command_run_twice(language: str) -> None:
    stage = played("udp", language)
    payment = of_kind(stage, Exchange)[-1]
    runs = [arrow for arrow in payment.arrows if arrow.source == arrow.destination == 2]
    assert [arrow.destination for arrow in payment.arrows if arrow.lost] == [0]
    assert len(runs) >= 2
    assert of_kind(stage, Output)[0].text == "10 yuan\n" * len(runs)


@lesson
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_timelines_show_who_waits(language: str) -> None:
    plain, threading_ = of_kind(played("udp", language), Timeline)
    (slow,), (quick,), runs = (lane.bars for lane in plain.lanes)
    assert [bar.colour for bar in runs] == [1, 2] and quick.start < runs[0].end <= runs[1].start
    (slow,), (quick,), (runs_slow,), (runs_quick,) = (lane.bars for lane in threading_.lanes)
    assert quick.end < slow.end and runs_slow.start < runs_quick.start < slow.end


def test_the_claims_fail_when_the_thing_does_not_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(("", ""), "en")
    monkeypatch.setattr(udp_relay, "FATES", ("passed",))
    udp_network.relay(stage)
    assert stage.failed == ["lost", "doubled", "reordered"]

    stage = Stage(("", ""), "en")
    monkeypatch.setattr(udp_overflow, "flood", lambda address, count, size: None)
    monkeypatch.setattr(udp_network, "wait_until", lambda condition: condition())
    udp_network.overflow(stage)
    assert stage.failed == ["overflow", "overflow-counted"]


@lesson
def test_a_server_without_threads_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(socketserver.UDPServer):
        pass

    real = udp_servers._race
    monkeypatch.setattr(udp_threading_server, "CommandServer", Plain)
    monkeypatch.setattr(udp_servers, "_race", lambda address, notes, patience: real(address, notes, 0.1))
    stage = Stage(("", ""), "en")
    udp_servers.slow(stage)
    assert stage.failed == ["threading-does-not"]


@pytest.mark.slow
def test_nothing_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with nothing_is_left(monkeypatch, tmp_path):
        LESSONS["udp"].play(Stage(("", ""), "en"))


@pytest.mark.slow
@pytest.mark.parametrize("nth", range(6))
def test_nothing_is_left_when_it_is_interrupted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nth: int) -> None:
    """Ctrl-C while the lesson waits for one of its servers."""
    calls = itertools.count()
    real = concurrent.futures.Future.result

    def result(self: object, timeout: float | None = None) -> object:
        if next(calls) == nth:
            raise KeyboardInterrupt
        return real(self, timeout)  # type: ignore[arg-type]

    monkeypatch.setattr(concurrent.futures.Future, "result", result)
    with nothing_is_left(monkeypatch, tmp_path), pytest.raises(KeyboardInterrupt):
        udp_servers.slow(Stage(("", ""), "en"))


@pytest.mark.slow
@pytest.mark.parametrize("at", range(0, 75, 6))
def test_nothing_is_left_when_it_is_left_between_steps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at: int
) -> None:
    shown = itertools.count()

    def draw(element: object) -> None:
        if next(shown) == at:
            raise KeyboardInterrupt

    with nothing_is_left(monkeypatch, tmp_path), pytest.raises(KeyboardInterrupt):
        LESSONS["udp"].play(Stage(("", ""), "en", draw))


def through_relay(*fates: str) -> list[bytes]:
    """What the far end gets of the datagrams 1, 2, 3…, one for each fate."""
    told = iter(fates)
    with udp_relay.open_udp() as client, udp_relay.open_udp() as middle, udp_relay.open_udp() as server:
        with beside(
            *(udp_relay.relay, middle, server.getsockname(), lambda to_server: next(told), []),
            stop=lambda: client.sendto(b"exit", middle.getsockname()),
        ):
            for number in range(1, len(fates) + 1):
                client.sendto(b"%d" % number, middle.getsockname())
        return take_all(server)


def take_all(udp: socket.socket) -> list[bytes]:
    udp.setblocking(False)
    found: list[bytes] = []
    while True:
        try:
            found.append(udp.recv(65535))
        except BlockingIOError:
            return found


@pytest.mark.parametrize(
    ("fates", "received"),
    [
        (["passed", "passed"], [b"1", b"2"]),
        (["lost", "passed"], [b"2"]),
        (["twice", "passed"], [b"1", b"1", b"2"]),
        (["late", "passed", "passed"], [b"2", b"1", b"3"]),
        (["late", "late", "lost", "twice"], [b"4", b"4", b"1", b"2"]),
        (["passed", "late"], [b"1", b"2"]),  # held back, but not for ever
    ],
)
def test_the_relay_does_what_the_dice_say(fates: list[str], received: list[bytes]) -> None:
    assert through_relay(*fates) == received


def test_the_relay_passes_answers_back_to_the_client() -> None:
    with udp_relay.open_udp() as client, udp_relay.open_udp() as middle, udp_relay.open_udp() as server:
        for each in (client, server):
            each.settimeout(10)
        to_relay = middle.getsockname()
        with beside(
            *(udp_relay.relay, middle, server.getsockname(), lambda to_server: "passed", []),
            stop=lambda: client.sendto(b"exit", to_relay),
        ):
            client.sendto(b"question", to_relay)
            data, sender = server.recvfrom(100)
            assert (data, sender) == (b"question", to_relay)
            server.sendto(b"answer", sender)
            assert client.recvfrom(100) == (b"answer", to_relay)


def test_the_dice_of_the_lesson_show_every_fate() -> None:
    assert set(udp_network._ten_through_the_relay()[1]) == set(udp_relay.FATES)


def test_a_client_gives_up_after_some_tries() -> None:
    with udp_command_server.open_udp() as silent, udp_command_server.open_udp() as client:
        with pytest.raises(TimeoutError, match="no answer to 'date' after 3 tries"):
            udp_command_server.ask(client, silent.getsockname(), "date", wait=0.01)
        assert take_all(silent) == [b"date"] * 3


def test_socketserver_takes_whole_datagrams() -> None:
    with udp_servers._threading([]) as address, udp_command_server.open_udp() as client:
        command = f"printf %s {'a' * 20_000} | wc -c"
        assert udp_command_server.ask(client, address, command, wait=15, tries=1).strip() == "20000"


def test_waiting_for_what_never_comes_ends() -> None:
    assert wait_until(lambda: True, 0)
    assert not wait_until(lambda: False, 0.01)
