"""The log: records, segments that are dropped and marked, torn tails, readers that follow."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_shell.jobs.log import PAYLOAD_MAX, STDERR, STDOUT, LogReader, LogWriter, segments


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def everything(reader: LogReader) -> list[tuple[int, int, bytes, int]]:
    """All pieces that there are now."""
    found: list[tuple[int, int, bytes, int]] = []
    while pieces := reader.read():
        found += [(*piece,) for piece in pieces]
    return found


def read_all(folder: int, stdout: int = 0, stderr: int = 0) -> list[tuple[int, int, bytes, int]]:
    reader = LogReader(folder, stdout, stderr)
    try:
        return everything(reader)
    finally:
        reader.close()


def test_what_is_written_is_read_in_order(folder: int) -> None:
    log = LogWriter(folder, 1000, 10_000)
    assert read_all(folder) == []
    log.write(STDOUT, b"one")
    log.write(STDERR, b"two")
    log.write(STDOUT, b"three")
    log.sync()
    assert read_all(folder) == [(1, 0, b"one", 0), (2, 0, b"two", 0), (1, 3, b"three", 0)]
    assert read_all(folder, 1, 3) == [(1, 1, b"ne", 0), (1, 3, b"three", 0)]
    assert read_all(folder, 8, 3) == []
    assert log.sizes == [0, 8, 3]
    log.close()


def test_a_reader_follows_across_segments(folder: int) -> None:
    log = LogWriter(folder, 200, 10_000)
    reader = LogReader(folder)
    sent, seen = b"", b""
    for number in range(100):
        line = b"line %d\n" % number
        log.write(STDOUT, line)
        sent += line
        for _, offset, data, dropped in everything(reader):
            assert offset == len(seen) and not dropped
            seen += data
        assert seen == sent
    assert len(segments(folder)) > 5
    reader.close()
    log.close()


def test_what_was_dropped_is_told_to_the_byte(folder: int) -> None:
    log = LogWriter(folder, 1000, 4000)
    total = b""
    for number in range(400):
        log.write(STDERR if number % 7 == 0 else STDOUT, b"%08d" % number)
        total += b"" if number % 7 == 0 else b"%08d" % number
    assert len(segments(folder)) == 4
    got = {STDOUT: b"", STDERR: b""}
    lost = {STDOUT: 0, STDERR: 0}
    for stream, offset, data, dropped in read_all(folder):
        lost[stream] += dropped
        assert offset == lost[stream] + len(got[stream])
        got[stream] += data
    assert lost[STDOUT] and lost[STDERR]
    assert lost[STDOUT] + len(got[STDOUT]) == log.sizes[STDOUT] == len(total)
    assert total.endswith(got[STDOUT])
    log.close()


def test_a_slow_reader_gets_a_gap_and_keeps_what_it_has_open(folder: int) -> None:
    log = LogWriter(folder, 1000, 2000)
    log.write(STDOUT, b"a" * 500)
    reader = LogReader(folder)
    assert reader.read() == [(1, 0, b"a" * 500, 0)]
    for _ in range(20):
        log.write(STDOUT, b"b" * 500)
    pieces = everything(reader)
    assert sum(len(data) + dropped for _, _, data, dropped in pieces) == 20 * 500
    assert any(dropped for _, _, _, dropped in pieces)
    reader.close()
    log.close()


def test_a_torn_tail_is_not_read_wherever_it_was_torn(folder: int, tmp_path: Path) -> None:
    log = LogWriter(folder, 10_000, 20_000)
    log.write(STDOUT, b"whole")
    whole = log.position
    log.write(STDOUT, b"torn by a crash")
    log.close()
    path = tmp_path / "log.00000001"
    raw = path.read_bytes()
    for end in range(whole, len(raw)):
        path.write_bytes(raw[:end])
        assert read_all(folder) == [(1, 0, b"whole", 0)]
    path.write_bytes(raw[:-1] + b"X")  # blocks that were never written read as something else
    assert read_all(folder) == [(1, 0, b"whole", 0)]
    for end in range(22):
        path.write_bytes(raw[:end])
        assert read_all(folder) == []


def test_damage_in_the_middle_costs_a_segment_and_is_told(folder: int, tmp_path: Path) -> None:
    log = LogWriter(folder, 100, 1000)
    for number in range(9):
        log.write(STDOUT, b"%020d" % number)
    log.close()
    assert len(segments(folder)) == 5
    path = tmp_path / "log.00000002"
    raw = bytearray(path.read_bytes())
    raw[40] ^= 1
    path.write_bytes(raw)
    pieces = read_all(folder)
    assert [(offset, dropped) for _, offset, _, dropped in pieces if dropped] == [(80, 40)]
    assert sum(len(data) for _, _, data, _ in pieces) == 140


def test_a_length_that_cannot_be_is_an_end(folder: int, tmp_path: Path) -> None:
    log = LogWriter(folder, 10_000, 20_000)
    log.write(STDOUT, b"x")
    log.close()
    with open(tmp_path / "log.00000001", "ab") as file:
        file.write(struct.pack("!IIB", 0, 2**32 - 1, 1) + b"y" * 100)
    assert read_all(folder) == [(1, 0, b"x", 0)]


def test_a_full_disk_leaves_nothing_half_done(folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    log = LogWriter(folder, 300, 10_000)
    log.write(STDOUT, b"a" * 100)
    real, room = os.pwritev, [40]

    def full(fd: int, buffers: tuple[bytes, ...], position: int) -> int:
        data = b"".join(buffers)[: room[0]]
        if not data:
            raise OSError(28, "No space left on device")
        return real(fd, [data], position)

    monkeypatch.setattr(os, "pwritev", full)
    for room[0] in (40, 0, 108):
        with pytest.raises(OSError, match="space"):
            log.write(STDOUT, b"b" * 100)
    with pytest.raises(OSError, match="space"):
        log.write(STDOUT, b"c" * 250)  # wants a new segment, which has no room either
    assert read_all(folder) == [(1, 0, b"a" * 100, 0)]
    monkeypatch.undo()
    log.write(STDOUT, b"b" * 100)
    log.write(STDOUT, b"c" * 250)
    assert [len(data) for _, _, data, _ in read_all(folder)] == [100, 100, 250]
    log.close()


def test_starting_at_a_place_of_the_writer(folder: int) -> None:
    log = LogWriter(folder, 1000, 2000)
    reader = LogReader(folder)
    reader.start_at(log.number, log.position, *log.sizes[1:])
    log.write(STDOUT, b"before")
    log.write(STDERR, b"e")
    assert len(reader.read()) == 2
    reader.start_at(log.number, log.position, *log.sizes[1:])
    assert reader.read() == []
    log.write(STDOUT, b"after")
    assert reader.read() == [(1, 6, b"after", 0)]
    place = log.number, log.position, *log.sizes[1:]
    for _ in range(30):
        log.write(STDOUT, b"z" * 300)
    reader.start_at(*place)  # that segment is gone
    assert sum(len(data) + dropped for _, _, data, dropped in everything(reader)) == 9000
    reader.close()
    log.close()


def test_any_sizes_in_any_order(folder: int) -> None:
    chance = random.Random(7)
    log = LogWriter(folder, 200_000, 1 << 30)
    reader = LogReader(folder)
    sent, seen = {STDOUT: b"", STDERR: b""}, {STDOUT: b"", STDERR: b""}
    for _ in range(300):
        stream = chance.choice((STDOUT, STDERR))
        data = chance.randbytes(chance.choice((1, 10, 1000, PAYLOAD_MAX)))
        log.write(stream, data)
        sent[stream] += data
        if chance.random() < 0.1:
            for number, offset, piece, _ in everything(reader):
                assert offset == len(seen[number])
                seen[number] += piece
            assert seen == sent
    for start in (0, 1, 99_999, len(sent[STDOUT]) - 1):
        pieces = read_all(folder, start, start)
        for stream in (STDOUT, STDERR):
            assert b"".join(data for number, _, data, _ in pieces if number == stream) == sent[stream][start:]
    reader.close()
    log.close()
