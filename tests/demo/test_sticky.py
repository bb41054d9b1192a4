"""The lesson about sticky packets: the run really was sticky, nothing is lost in it, and nothing stays behind."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from remote_shell.demo.catalogue import LESSONS
from remote_shell.demo.elements import Block, Blocks, Claim, Output, Row, Table
from remote_shell.demo.ends import Ends, on_the_way, wait_until
from remote_shell.demo.programs import nagle, sticky_server
from remote_shell.demo.stage import PROGRAMS, Stage
from tests.demo.playing import played

pytestmark = pytest.mark.screen  # as a file it takes long

CLAIMS = [
    *("two_in_one", "one_in_many", "rest_in_next", "nothing_lost", "bigger_is_no_cure", "nagle_merges"),
    "nodelay_is_no_cure",
]
LANGUAGES = pytest.mark.parametrize("language", ["en", "zh"])


def shown(stage: Stage, kind: type) -> list:  # type: ignore[type-arg]
    return [element for element in stage.shown.elements if isinstance(element, kind)]


def borders(row: Row) -> set[int]:
    """Where a block ends, in bytes of the stream."""
    return set(itertools.accumulate(block.size for block in row.blocks))


@LANGUAGES
def test_the_run_was_sticky(language: str) -> None:
    stage = played("sticky", language)
    assert stage.failed == []
    assert [claim.name for claim in shown(stage, Claim)] == CLAIMS


@LANGUAGES
def test_the_pictures_hold_every_byte_that_was_sent_between_other_borders(language: str) -> None:
    pictures = shown(played("sticky", language), Blocks)
    assert len(pictures) == 5
    for picture in pictures:
        sent, *others = picture.rows
        for received in others:
            assert max(borders(received)) == max(borders(sent))
            assert borders(received) != borders(sent)
    two, many, rest, bigger, words = (picture.rows for picture in pictures)
    assert [block.size for block in two[0].blocks] == [8, 8]
    assert [piece.text for block in two[1].blocks for piece in block.pieces] == ["echo one", "echo two"]
    assert len(two[1].blocks) == 1
    assert [block.size for block in many[0].blocks] == [len(seq(1000))]
    assert all(block.size <= 1024 for block in many[1].blocks) and len(many[1].blocks) > 1
    assert [block.size for block in rest[0].blocks] == [len(seq(1000)), len(b"hello\n"), len(b"bye\n")]
    assert colours(rest[1].blocks[1]) == colours(rest[0].blocks[0])  # the second answer is of the first one's colour
    assert [block.size for block in bigger[0].blocks] == [len(seq(20000))]
    assert [len(row.blocks) for row in words] == [10, 1, 1]


@LANGUAGES
def test_what_it_tells_is_what_was_recorded(language: str) -> None:
    stage = played("sticky", language)
    server, client = shown(stage, Output)
    assert server.text == "server: recv returned b'echo oneecho two'\n"
    assert client.text == "oneecho two\n"
    questions = shown(stage, Table)[0]
    assert [row[0] for row in questions.rows] == ["seq 1000", "echo hello", "echo bye"]
    assert all("hello" not in row[1] and "bye" not in row[1] for row in questions.rows)
    packets = shown(stage, Table)[-1]
    assert [row[1] for row in packets.rows] == ["10", "10"]
    assert int(packets.rows[0][2]) < 10 == int(packets.rows[1][2])


def test_a_claim_that_the_run_did_not_show_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nagle, "packets", lambda connection: len(nagle.WORDS))  # a kernel without the algorithm
    stage = Stage(LESSONS["sticky"].title, "en")
    LESSONS["sticky"].play(stage)
    assert stage.failed == ["nagle_merges"]


def test_a_packet_that_is_sent_twice_counts_once() -> None:
    """A kernel that hears nothing for some milliseconds sends the last packet again: on a busy machine it did."""
    with Ends() as ends:
        client, server = ends.pair()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        for word in nagle.WORDS:
            client.sendall(word)
        wait_until(lambda: on_the_way(client) == 0)
        assert nagle.packets(client) == len(nagle.WORDS)


def test_nothing_stays_behind(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = (len(os.listdir("/proc/self/fd")), threading.active_count())
    LESSONS["sticky"].play(Stage(LESSONS["sticky"].title, "en"))
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before

    def interrupted(connection: socket.socket, command: bytes) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(sticky_server, "ask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        LESSONS["sticky"].play(Stage(LESSONS["sticky"].title, "en"))
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
    assert capsys.readouterr().out == ""  # what the programs print is shown by the lesson, or not at all
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("folder", [PROGRAMS, PROGRAMS / "zh"], ids=["en", "zh"])
def test_the_server_alone(folder: Path) -> None:
    said = run(folder / "sticky_server.py")
    assert said[:4] == [
        "server: recv returned b'echo oneecho two'",
        "server: recv returned b'seq 1000'",
        "server: recv returned b'echo hello'",
        "client: the answer to both is 12 bytes: b'oneecho two\\n'",
    ]
    assert [line.split()[-1] for line in said[4:6]] == ["b'281\\n282\\n283\\n'", "b'537\\n538\\n539\\n'"]
    sizes = [int(line.partition(" bytes:")[0].split()[-1]) for line in said[4:]]
    assert sum(sizes) == len(seq(1000)) + len(b"hello\n")


@pytest.mark.parametrize("folder", [PROGRAMS, PROGRAMS / "zh"], ids=["en", "zh"])
def test_nagles_algorithm_alone(folder: Path) -> None:
    merged, single = run(folder / "nagle.py")
    assert single.startswith("TCP_NODELAY=1: 10 sends, 10 packets, one recv: b'word0 ")
    assert int(merged.split()[3]) < 10


def run(program: Path) -> list[str]:
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=15)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def seq(last: int) -> bytes:
    """What `seq` prints."""
    return b"".join(b"%d\n" % number for number in range(1, last + 1))


def colours(block: Block) -> set[int]:
    return {piece.colour for piece in block.pieces}
