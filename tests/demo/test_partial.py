"""The lesson `partial` in both languages, and its two ways of reading ten bytes."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading

import pytest

from remote_shell.demo import elements, kernel
from remote_shell.demo.catalogue import LESSONS
from remote_shell.demo.lessons import partial, partial_exactly
from remote_shell.demo.programs import recv_exactly, short_send
from remote_shell.demo.stage import PROGRAMS, Stage
from tests.demo.playing import played

CLAIMS = [
    "short",
    "where-they-wait",
    "full",
    "timeout",
    "interrupted",
    "blocking",
    "sendall-unknown",
    "no-receipt",
    "recv-what-is-there",
    "recv-end",
    "wrong-loop",
    "wrong-endless",
    "exactly",
    "told",
]


@pytest.mark.screen
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_lesson_shows_what_it_claims(language: str) -> None:
    on = played("partial", language)
    assert on.failed == []
    assert [each.name for each in on.shown.elements if isinstance(each, elements.Claim)] == CLAIMS
    short, failed, wrong, right = [each for each in on.shown.elements if isinstance(each, elements.Blocks)]
    for picture in short, failed:
        for row in picture.rows:
            assert sum(block.size for block in row.blocks) == len(short_send.DATA)
        assert [block.lost for block in picture.rows[1].blocks] == [False, True]

    def borders(picture: elements.Blocks) -> list[list[int]]:
        return [[block.size for block in row.blocks] for row in picture.rows]

    assert borders(wrong) == [[10, 10], [6, 14], [6, 10], [16]]
    assert borders(right) == [[10, 10], [6, 14], [6, 4, 10], [10, 10]]


@pytest.mark.screen
@pytest.mark.parametrize("cut", [True, False], ids=["broken off", "to the end"])
def test_the_lesson_leaves_nothing_behind(cut: bool) -> None:
    def leave() -> None:
        if cut:
            raise KeyboardInterrupt

    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    try:
        LESSONS["partial"].play(Stage(("", ""), "en", pause=leave))
    except KeyboardInterrupt:
        assert cut
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, files)


def test_a_wait_that_is_broken_off_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> bytes:
        raise KeyboardInterrupt

    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        partial_exactly._read(interrupted, 1)
    monkeypatch.setattr(short_send, "send_once", interrupted)
    sender, reader = short_send.connect_with_small_buffers()
    with sender, reader, pytest.raises(KeyboardInterrupt):
        partial._read_slowly(sender, reader)
    assert threading.active_count() == threads


def test_a_loop_that_does_read_exactly_is_not_called_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recv_exactly, "recv_wrong", recv_exactly.recv_exactly)
    monkeypatch.setattr(partial_exactly, "_circles", lambda: 0)
    on = Stage(("", ""), "en")
    partial_exactly.exactly(on)
    assert on.failed == ["wrong-loop", "wrong-endless"]


def test_send_all_gives_the_whole_of_it_in_many_calls() -> None:
    class Stingy(socket.socket):
        calls = 0

        def send(self, data: object, flags: int = 0) -> int:
            self.calls += 1
            return super().send(bytes(data)[:7], flags)  # type: ignore[call-overload]

    data = random.Random(1).randbytes(1000)
    left, right = socket.socketpair()
    with Stingy(left.family, left.type, 0, fileno=left.detach()) as sender, right:
        short_send.send_all(sender, data)
        assert sender.calls == 143
        assert recv_exactly.recv_exactly(right, 1000) == data


@pytest.mark.parametrize("seed", range(5))
def test_exactly_is_exact_however_the_bytes_arrive(seed: int) -> None:
    chance = random.Random(seed)
    messages = [chance.randbytes(chance.choice([0, 1, 2, 1023, 1024, 5000])) for _ in range(50)]
    stream = b"".join(messages)
    cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(30))
    parts = [stream[low:high] for low, high in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    sender, reader = recv_exactly.connect()
    with sender, reader:
        reader.settimeout(10)

        def pause() -> None:
            kernel.wait_until(lambda: kernel.unread(reader) == 0, 0.01)

        thread = threading.Thread(target=recv_exactly.send_in_parts, args=(sender, parts, pause))
        thread.start()
        assert [recv_exactly.recv_exactly(reader, len(message)) for message in messages] == messages
        thread.join()
        sender.close()
        with pytest.raises(EOFError, match="after 0 of 1 bytes"):
            recv_exactly.recv_exactly(reader, 1)


@pytest.mark.screen
def test_what_the_programs_print() -> None:
    def printed(name: str) -> list[str]:
        path = PROGRAMS / f"{name}.py"
        return subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=15).stdout.splitlines()

    *short, whole = printed("short_send")
    assert [0 < int(line.split()[-3]) < int(line.split()[-1]) for line in short] == [True] * 3
    assert whole.split()[-3] == whole.split()[-1]
    wrong, right, told = printed("recv_exactly")
    assert wrong.startswith("recv_wrong wants 10 bytes and gets b'0123456789")
    assert right == "recv_exactly wants 10 bytes and gets b'0123456789'"
    assert told == "recv_exactly: the other end hung up after 4 of 10 bytes"
