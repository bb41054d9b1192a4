"""The lesson auth: each attack works where it should, and is stopped by its cure; the small programs hold what they say."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hmac
import itertools
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_shell.demo.catalogue import LESSONS
from remote_shell.demo.elements import Dump, Exchange, Output, Table
from remote_shell.demo.lessons import auth, auth_middle
from remote_shell.demo.lessons.background import beside, serving
from remote_shell.demo.programs import auth_mirror, auth_password, auth_relay, auth_server, auth_signed
from remote_shell.demo.stage import Stage
from tests.demo.facts import claims, of_kind
from tests.demo.leftovers import nothing_is_left
from tests.demo.playing import played

pytestmark = pytest.mark.screen  # as a file it takes long

CLAIMS = [
    *("stranger", "password-heard", "password-stolen", "hmac", "friend", "secret-unsaid", "guess"),
    *("replay-works", "replay-fails", "relay-works", "bound-relay-fails", "bound-friend"),
    *("mirror-believed", "mirror-refused", "signed-works", "not-hidden", "passed-on", "meddling-fails"),
]
LANGUAGES = pytest.mark.parametrize("language", ["en", "zh"])


@LANGUAGES
def test_all_that_the_lesson_claims_is_shown(language: str) -> None:
    stage = played("auth", language)
    assert stage.failed == []
    assert claims(stage) == CLAIMS


@LANGUAGES
def test_the_pictures_show_what_crossed(language: str) -> None:
    stage = played("auth", language)
    password, login, stolen, refused = of_kind(stage, Exchange)
    assert [arrow.text for arrow in password.arrows if arrow.source == 1 and arrow.destination == 2] == [
        "correct horse⏎",
        "echo hello⏎",
    ]
    assert not any("known to both" in arrow.text for arrow in login.arrows)
    alarms = [arrow.text for arrow in stolen.arrows if arrow.colour == 7]
    assert alarms == ["echo gotcha", "gotcha⏎"]
    assert [arrow.text for arrow in refused.arrows if arrow.source == 2][-1] == "denied"
    assert not any("gotcha" in arrow.text for arrow in refused.arrows)

    written, used = of_kind(stage, Output)
    assert written.text == "I was here, and nobody asked me who I am\n" and used.text == "welcome\ngotcha\n"


@LANGUAGES
def test_the_dump_is_a_message_with_its_proof(language: str) -> None:
    (dump,) = of_kind(played("auth", language), Dump)
    assert [(span.start, span.end) for span in dump.spans] == [(0, 2), (2, 34), (34, 42)]
    assert dump.data[:2] == b"\0\x08" and dump.data[34:] == b"echo one"


@LANGUAGES
def test_each_trick_is_told_with_what_came_of_it(language: str) -> None:
    tricks = of_kind(played("auth", language), Table)[-2]
    assert [row[1].count("echo") for row in tricks.rows] == [2, 1, 0, 1, 0, 0]
    assert [row[2] == "not the next message of the other end" for row in tricks.rows] == [False, *[True] * 5]


def replayed(stage: Stage) -> list[str]:
    auth._replay(stage)
    return stage.failed


def test_the_claims_fail_when_the_thing_does_not_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:  # a server that repeats itself
        patch.setattr(os, "urandom", bytes)
        assert replayed(Stage(("", ""), "en")) == ["replay-fails"]
    with monkeypatch.context() as patch:  # a place that is the same everywhere
        patch.setattr(auth_server, "place_of", lambda address: b"here")
        stage = Stage(("", ""), "en")
        auth_middle.bound(stage)
        assert stage.failed == ["bound-relay-fails"]
    with monkeypatch.context() as patch:  # a server that takes every proof
        patch.setattr(hmac, "compare_digest", lambda a, b: True)
        stage = Stage(("", ""), "en")
        auth_middle.meddler(stage)
        assert stage.failed == ["meddling-fails"]


def without_numbers(key: bytes, message: bytes, name: str) -> bytes:
    """The proof of a program whose author forgot to count."""
    return hmac.new(key, message[8:] if message[:7] == bytes(7) else message, name).digest()


def test_without_numbers_a_repeated_message_would_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hmac, "digest", without_numbers)
    assert auth_middle._meddle(lambda one, two: [one, one, two])[0] == [b"echo one", b"echo one", b"echo two"]
    assert auth_middle._meddle(lambda one, two: [two, one])[0] == [b"echo two", b"echo one"]


@pytest.mark.slow
def test_nothing_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with nothing_is_left(monkeypatch, tmp_path):
        LESSONS["auth"].play(Stage(("", ""), "zh"))
    assert capsys.readouterr() == ("", "")  # a lesson never prints


@pytest.mark.slow
@pytest.mark.parametrize("nth", range(12))
def test_nothing_is_left_when_it_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], nth: int
) -> None:
    """Ctrl-C while the lesson waits for one of its servers, or for an answer."""
    calls = itertools.count()
    real, real_future = socket.SocketIO.readinto, concurrent.futures.Future.result

    def interrupted() -> None:
        if threading.current_thread() is threading.main_thread() and next(calls) == nth:
            raise KeyboardInterrupt

    def readinto(self: socket.SocketIO, buffer: Any) -> int | None:
        interrupted()
        return real(self, buffer)

    def result(self: Any, timeout: float | None = None) -> Any:
        interrupted()
        return real_future(self, timeout)

    monkeypatch.setattr(socket.SocketIO, "readinto", readinto)
    monkeypatch.setattr(concurrent.futures.Future, "result", result)
    with nothing_is_left(monkeypatch, tmp_path), pytest.raises(KeyboardInterrupt):
        LESSONS["auth"].play(Stage(("", ""), "en"))
    assert capsys.readouterr().err == ""


def logged_in(proof: Any, bound: bool = False) -> bytes:
    with serving(auth_server.serve, None, bound) as (address, _):
        answer: bytes = auth_server.use(address, b"echo in", bound, proof)
    return answer


def test_only_the_right_proof_opens_the_door() -> None:
    def changed(byte: int, bit: int) -> Any:
        def prove(challenge: bytes, place: bytes) -> bytes:
            proof = bytearray(auth_server.prove(challenge, place))
            proof[byte] ^= 1 << bit
            return bytes(proof)

        return prove

    assert logged_in(auth_server.prove) == b"welcome\nin\n"
    assert logged_in(auth_server.prove, bound=True) == b"welcome\nin\n"
    for byte, bit in ((0, 0), (0, 7), (15, 3), (31, 0), (31, 7)):
        assert logged_in(changed(byte, bit)) == b"denied\n"
    assert logged_in(lambda challenge, place: challenge) == b"denied\n"
    assert logged_in(lambda challenge, place: auth_server.prove(challenge), bound=True) == b"denied\n"


def test_challenges_never_come_again() -> None:
    asked = set()

    def prove(challenge: bytes, place: bytes) -> bytes:
        asked.add(challenge)
        return os.urandom(32)

    for _ in range(5):
        logged_in(prove)
    assert len(asked) == 5 and all(len(each) == 32 for each in asked)


def test_a_wrong_password_is_refused() -> None:
    with serving(auth_password.serve) as (address, _):
        assert auth_password.use(address, b"correct hors", b"echo in") == b"wrong password\n"


@pytest.mark.parametrize("roles", [(b"", b""), (b"client", b"server")])
def test_the_real_server_is_believed_with_and_without_roles(roles: tuple[bytes, bytes]) -> None:
    assert auth_mirror.visit(auth_mirror.honest, *roles, *reversed(roles))


def signed_pair() -> Iterator[tuple[Any, Any, socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        left.settimeout(None)
        with beside(auth_signed.Signed, right, b"server", b"client") as server:
            client = auth_signed.Signed(left, b"client", b"server")
            yield client, server.result(10), left, right


pair = pytest.fixture(signed_pair)


def test_signed_messages_of_all_sizes_cross_both_ways(pair: Any) -> None:
    client, server, _, _ = pair
    for size in (0, 1, 2, 255, 256, 1000, 65535):
        with beside(client.send, os.urandom(size)):
            assert len(server.receive()) == size
        with beside(server.send, bytes(size)):
            assert client.receive() == bytes(size)


def test_a_message_can_not_be_sent_back_to_its_sender(pair: Any) -> None:
    client, _, _, right = pair
    client.send(b"echo one")
    right.sendall(right.recv(1000))
    with pytest.raises(ConnectionError, match="not the next message"):
        client.receive()


@pytest.mark.parametrize("at", [0, 1, 2, 17, 33, 34, 41])
def test_a_changed_bit_anywhere_is_noticed(pair: Any, at: int) -> None:
    client, server, left, right = pair
    client.send(b"echo one")
    message = bytearray(right.recv(1000))
    message[at] ^= 1
    left.sendall(message)
    left.shutdown(socket.SHUT_WR)  # a length that was made longer waits for bytes that never come
    with pytest.raises(ConnectionError):
        server.receive()


def test_messages_of_another_connection_are_refused(pair: Any) -> None:
    _, server, left, _ = pair
    (other_client, _, _, other_right) = next(others := signed_pair())
    other_client.send(b"echo one")
    left.sendall(other_right.recv(1000))
    with pytest.raises(ConnectionError, match="not the next message"):
        server.receive()
    others.close()  # type: ignore[attr-defined]


def test_the_relay_ends_when_its_victim_hangs_up() -> None:
    log: list[tuple[str, bytes]] = []
    with (
        serving(auth_server.serve) as (address, server),
        serving(auth_relay.relay, address, b"id", log) as (trap, relay),
    ):
        socket.create_connection(trap).close()
        for each in (relay, server):
            with pytest.raises(ConnectionError):
                each.result(10)
    assert [who for who, _ in log] == ["server"]


def test_the_wiretap_ends_when_its_client_hangs_up_without_a_word() -> None:
    """A reset must reach the server too: otherwise all of them wait for ever."""
    heard: list[tuple[str, bytes]] = []
    with (
        serving(auth_server.serve) as (address, server),
        serving(auth_password.wiretap, address, heard) as (tap, spy),
    ):
        with socket.create_connection(tap) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close sends a reset
            assert len(client.recv(32, socket.MSG_WAITALL)) == 32
        spy.result(10)
        with pytest.raises(ConnectionError):
            server.result(10)


def test_a_server_is_abandoned_with_its_client_still_open() -> None:
    """Ctrl-C inside `create_connection`: the traceback holds the client open, and the server waits for it."""
    with pytest.raises(KeyboardInterrupt), contextlib.ExitStack() as ends:
        with serving(auth_server.serve) as (address, server):
            client = ends.enter_context(socket.create_connection(address))
            assert len(client.recv(32, socket.MSG_WAITALL)) == 32
            raise KeyboardInterrupt
    with pytest.raises(ConnectionError):
        server.result(0)
