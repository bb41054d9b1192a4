"""The lesson "frames": what it shows is what crossed, nothing secret among it, and the decoder by hand agrees with the project's."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import remote_shell
from remote_shell.demo import elements
from remote_shell.demo.catalogue import LESSONS
from remote_shell.demo.lessons import frames_drawn, frames_run
from remote_shell.demo.lessons.frames_run import FROM_SERVER, Recording
from remote_shell.demo.programs import frames_by_hand
from remote_shell.demo.stage import PROGRAMS, Stage
from remote_shell.wire.frames import HEADER_SIZE, FrameDecoder, encode

CLAIMS = [
    *("conversation", "header", "status", "borders", "same", "by_hand", "channels", "whole", "too_large"),
]


def left_over() -> tuple[set[threading.Thread], list[str], str, list[str]]:
    """What a recording may leave: threads, descriptors, children, folders."""
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text(encoding="ascii")
    mine = [path.name for path in Path("/tmp").glob(f"remote-shell-try-{os.getpid()}-*")]
    return set(threading.enumerate()), sorted(os.listdir("/proc/self/fd")), children, mine


@pytest.mark.screen
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_lesson_shows_what_crossed(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Recording] = []
    record = frames_run.record

    def keep(first: list[str], inside: list[str], around: list[str], typed: bytes) -> Recording:
        kept.append(record(first, inside, around, typed))
        return kept[0]

    monkeypatch.setattr(frames_run, "record", keep)
    stage = Stage(LESSONS["frames"].title, language)
    LESSONS["frames"].play(stage)
    found = stage.shown.elements
    assert [each.name for each in found if isinstance(each, elements.Claim)] == CLAIMS
    assert stage.failed == []

    (recording,) = kept
    blocks = next(each for each in found if isinstance(each, elements.Blocks))
    sent, got = ([block.size for block in row.blocks] for row in blocks.rows)
    answer = [each for each in recording.frames(FROM_SERVER) if each.frame.channel == 1]
    assert sent == [HEADER_SIZE + len(each.frame.payload) for each in answer]
    assert sum(sent) == sum(got) and sent != got and max(got) <= frames_run.SIZES[1]
    # the colours of both rows, byte by byte, are the same: what was received is what was sent
    rows = [
        [piece.colour for block in row.blocks for piece in block.pieces for _ in range(piece.size)]
        for row in blocks.rows
    ]
    assert rows[0] == rows[1]

    output, asked, promise = [each for each in found if isinstance(each, elements.Dump)]
    assert output.data == encode(1, 1, b"hi\n")
    assert b'"argv":["echo","hi"]' in asked.data
    for dump in (output, asked):
        assert [(span.start, span.end) for span in dump.spans] == [(0, 4), (4, 5), (5, 9), (9, len(dump.data))]
        assert all(0 < cut < len(dump.data) for cut in dump.cuts)
    assert asked.cuts
    assert promise.data[:4] == b"\xff" * 4

    welcome = next(each for each in recording.both if each.name == "welcome")
    assert welcome.message["session"]
    assert welcome.message["session"] not in repr(stage.shown)  # who knows it could go on with the session


@pytest.mark.screen
def test_a_recording_leaves_nothing() -> None:
    def once() -> Recording:
        return frames_run.record(["echo", "hi"], ["seq", "3"], ["cat"], b"x\n")

    once()
    before = left_over()
    recording = once()
    assert left_over() == before
    assert recording.outputs == {1: b"hi\n", 2: b"x\n", 3: b"1\n2\n3\n"}
    assert recording.statuses == {1: 0, 2: 0, 3: 0}
    assert [each.name for each in recording.both][-1] == "disconnect"


@pytest.mark.screen
def test_ctrl_c_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(target: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(remote_shell, "connect", interrupt)
    before = left_over()
    with pytest.raises(KeyboardInterrupt):
        frames_run.record(["echo", "hi"], ["seq", "3"], ["cat"], b"x\n")
    until = time.monotonic() + 5
    while left_over() != before and time.monotonic() < until:
        time.sleep(0.01)
    assert left_over() == before


parts = st.tuples(st.integers(1, 3), st.integers(1, 2**32 - 1), st.binary(min_size=1, max_size=300))


@settings(deadline=None)
@given(sent=st.lists(parts, max_size=8), seed=st.integers())
def test_the_decoder_by_hand_finds_what_ours_finds(sent: list[tuple[int, int, bytes]], seed: int) -> None:
    stream = b"".join(frames_by_hand.encode(*each) for each in sent)
    assert stream == b"".join(encode(*each) for each in sent)
    drawn = random.Random(seed)
    by_hand, ours = frames_by_hand.Decoder(), FrameDecoder(1 << 20)
    found: list[list[tuple[int, int, bytes]]] = [[], []]
    at = 0
    while at < len(stream):
        chunk = stream[at : at + drawn.randint(1, 50)]
        at += len(chunk)
        found[0] += by_hand.feed(chunk)
        ours.feed(chunk)
        while (frame := ours.next_frame()) is not None:
            found[1].append((frame.type, frame.channel, frame.payload))
    assert found == [sent, sent]


def test_the_decoder_by_hand_believes_no_length_above_its_limit() -> None:
    largest = frames_by_hand.LARGEST
    assert frames_by_hand.Decoder().feed(frames_by_hand.HEADER.pack(largest, 1, 1)) == []
    with pytest.raises(ValueError, match=f"{largest + 1} bytes"):
        frames_by_hand.Decoder().feed(frames_by_hand.HEADER.pack(largest + 1, 1, 1))


def test_what_is_secret_is_not_told() -> None:
    told = frames_drawn.says({"type": "welcome", "session": "abc", "proof": "def", "nonce": "ghi", "host": "box"})
    assert told == '{"session": "…", "proof": "…", "nonce": "…", "host": "box"}'


@pytest.mark.screen
@pytest.mark.parametrize("folder", [PROGRAMS, PROGRAMS / "zh"], ids=["en", "zh"])
def test_the_program_finds_the_same_frames(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(folder / "frames_by_hand.py")], capture_output=True, text=True, timeout=18
    )
    *pieces, last = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert last == "the same frames as were sent: True"
    assert sum(int(line.split()[2]) for line in pieces) == 3 * 9 + len('{"type":"opened"}hello\n{"type":"close"}')
