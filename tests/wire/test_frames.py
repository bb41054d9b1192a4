"""Frames: any chunking of any stream gives the same frames, and a bad header costs nothing."""

from __future__ import annotations

import itertools
import os
import random
import struct
import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remote_shell.errors import RemoteProtocolError
from remote_shell.wire.frames import CHANNEL_MAX, CONTROL, HEADER_SIZE, Frame, FrameDecoder, encode

MAX = 5000
THREE = [Frame(3, 0, b'{"type":"ping"}'), Frame(1, 7, b"x"), Frame(0, CHANNEL_MAX, bytes(range(40)))]


def stream(sequence: Iterable[Frame]) -> bytes:
    """The frames as one stream of bytes."""
    return b"".join(encode(*frame) for frame in sequence)


def decoded(chunks: Iterable[bytes], payload_max: int = MAX) -> list[Frame]:
    """The frames that come of these chunks, drained after each."""
    decoder = FrameDecoder(payload_max)
    out: list[Frame] = []
    for chunk in chunks:
        decoder.feed(chunk)
        out += iter(decoder.next_frame, None)
    assert decoder.buffered == 0
    return out


def test_layout() -> None:
    """Length, type, channel, all in network byte order; the length counts the payload alone."""
    assert encode(2, 0x01020304, b"abc") == b"\0\0\0\3\2\1\2\3\4abc"
    assert encode(1, 1, memoryview(b"abc")[1:]) == b"\0\0\0\2\1\0\0\0\1bc"
    assert HEADER_SIZE == 9


def test_every_pair_of_cuts() -> None:
    data = stream(THREE)
    for first, second in itertools.combinations_with_replacement(range(len(data) + 1), 2):
        assert decoded((data[:first], data[first:second], data[second:])) == THREE


def test_one_byte_at_a_time() -> None:
    data = stream(THREE)
    assert decoded(data[at : at + 1] for at in range(len(data))) == THREE


def test_10_000_random_splits() -> None:
    rng = random.Random(7)
    for _ in range(10_000):
        sequence = [
            Frame(rng.randint(0, 3), rng.randint(1, 3), rng.randbytes(rng.choice((1, 2, 9, 100))))
            for _ in range(rng.randint(1, 6))
        ]
        data = stream(sequence)
        cuts = sorted(rng.randint(0, len(data)) for _ in range(rng.randint(0, 8)))
        assert decoded(data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)])) == sequence


PAYLOADS = st.binary(min_size=1, max_size=300)
FRAMES = st.one_of(
    st.builds(Frame, st.integers(0, 3), st.integers(1, CHANNEL_MAX), PAYLOADS),
    st.builds(Frame, st.just(CONTROL), st.just(0), PAYLOADS),
)


@given(st.lists(FRAMES, max_size=8), st.lists(st.integers(0, 400), max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_sequence_in_any_chunks(sequence: list[Frame], sizes: list[int]) -> None:
    data = stream(sequence)
    chunks, at = [], 0
    for size in sizes:
        chunks.append(data[at : at + size])
        at += size
    assert decoded([*chunks, data[at:]]) == sequence


@given(st.binary(max_size=400), st.integers(1, 50))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_frames_or_one_named_error(data: bytes, size: int) -> None:
    """Whatever comes, it is a frame, a wait for more, or one of four codes; and the chunks don't matter."""
    outcomes = []
    for step in (size, len(data) + 1):
        decoder, out = FrameDecoder(64), list[Frame | str]()
        try:
            for at in range(0, len(data), step):
                decoder.feed(data[at : at + step])
                out += iter(decoder.next_frame, None)
        except RemoteProtocolError as error:
            out.append(error.code)
            assert error.code in {"frame_too_large", "unknown_frame_type", "empty_frame", "data_on_channel_zero"}
        outcomes.append(out)
    assert outcomes[0] == outcomes[1]


def test_1_gib_in_random_chunks() -> None:
    """Frames of all sizes; each is checked by its length, type, channel and last bytes."""
    total = 1 << 30
    rng = random.Random(2)
    block = os.urandom(1 << 20)
    kinds = [
        encode(kind, 1 + size, block[:size]) for kind in range(3) for size in (1, 9, 4096, 32768, 200_000, 1 << 20)
    ]
    decoder = FrameDecoder(1 << 20)
    pending = bytearray()
    expected: list[tuple[int, int]] = []
    fed = seen = 0
    while fed < total:
        while len(pending) < 400_000:
            frame = rng.choice(kinds)
            expected.append((frame[4], len(frame) - 9))
            pending += frame
        size = rng.choice((1, 8, 9, 10, 700, 65_536, 262_144))
        chunk = bytes(pending[:size])
        del pending[:size]
        fed += len(chunk)
        decoder.feed(chunk)
        while (got := decoder.next_frame()) is not None:
            assert (got.type, len(got.payload)) == expected[seen] and got.channel == 1 + len(got.payload)
            assert got.payload[-64:] == block[max(0, len(got.payload) - 64) : len(got.payload)]
            seen += 1
        assert decoder.buffered <= (1 << 20) + 9
        if seen > 1000:
            del expected[:seen]
            seen = 0


def test_what_it_ends_with() -> None:
    decoder = FrameDecoder(1000)
    first, second = encode(3, 1, b"{}"), encode(3, 2, b"[]")
    assert not decoder.ends_with(first)
    decoder.feed(first + second)
    assert not decoder.ends_with(first) and not decoder.ends_with(second)
    decoder.next_frame()
    assert decoder.ends_with(second) and not decoder.ends_with(first)
    decoder.next_frame()
    assert not decoder.ends_with(second)
    decoder.feed(second + first[:5])
    assert not decoder.ends_with(second), "something else begins behind it"
    decoder.next_frame()
    assert not decoder.ends_with(first), "the rest of it has not come"
    assert decoder.next_frame() is None
    decoder.feed(first[5:])
    assert not decoder.ends_with(first), "what came in pieces is looked at as a frame alone"
    assert decoder.next_frame() == Frame(3, 1, b"{}")


def test_small_chunks_stay_linear() -> None:
    """An 8 MiB frame in chunks of 64 bytes: each chunk costs the same. Joining anew each time would copy 500 GB."""
    data = encode(1, 1, bytes(1 << 23))
    assert len(decoded((data[at : at + 64] for at in range(0, len(data), 64)), 1 << 23)) == 1


@pytest.mark.parametrize("length", [1, MAX - 1, MAX])
def test_lengths_that_are_allowed(length: int) -> None:
    assert decoded([encode(1, 1, bytes(length))]) == [Frame(1, 1, bytes(length))]


@pytest.mark.parametrize("length", [MAX + 1, 2**31 - 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("chunk", [1, 9, 100])
def test_too_long_is_refused_before_anything_is_allocated(length: int, chunk: int) -> None:
    data = struct.pack("!IBI", length, 1, 1) + bytes(91)
    tracemalloc.start()
    try:
        decoder = FrameDecoder(MAX)
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        with pytest.raises(RemoteProtocolError) as caught:
            for at in range(0, len(data), chunk):
                decoder.feed(data[at : at + chunk])
                decoder.next_frame()
        assert tracemalloc.get_traced_memory()[1] - before < 16 * 1024
    finally:
        tracemalloc.stop()
    assert caught.value.code == "frame_too_large"
    assert str(length) in str(caught.value) and str(MAX) in str(caught.value)
    assert decoder.fault_channel == 1


def test_a_length_alone_allocates_nothing() -> None:
    """A length within the bound, and no payload yet: only what came is held."""
    decoder = FrameDecoder(1 << 30)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        decoder.feed(struct.pack("!IBI", 1 << 30, 1, 1) + b"abc")
        assert decoder.next_frame() is None
        assert tracemalloc.get_traced_memory()[1] - before < 16 * 1024
    finally:
        tracemalloc.stop()
    assert decoder.buffered == 12


@pytest.mark.parametrize("chunk", [1, 9])
@pytest.mark.parametrize(
    ("length", "kind", "channel", "code"),
    [
        *((1000, kind, 1, "unknown_frame_type") for kind in range(4, 256)),
        (2**32 - 1, 4, 0, "unknown_frame_type"),
        (MAX + 1, 3, 0, "frame_too_large"),
        (0, 3, 0, "empty_frame"),
        (0, 1, 1, "empty_frame"),
        *((1000, kind, 0, "data_on_channel_zero") for kind in range(3)),
    ],
)
def test_bad_headers(length: int, kind: int, channel: int, code: str, chunk: int) -> None:
    """Refused as soon as the header is there: no payload is waited for."""
    data = struct.pack("!IBI", length, kind, channel)
    decoder = FrameDecoder(MAX)
    with pytest.raises(RemoteProtocolError) as caught:
        for at in range(0, len(data), chunk):
            decoder.feed(data[at : at + chunk])
            decoder.next_frame()
    assert caught.value.code == code and caught.value.detail
    assert decoder.fault_channel == channel


def test_a_bad_header_after_good_frames_spoils_none_of_them() -> None:
    decoder = FrameDecoder(MAX)
    decoder.feed(stream(THREE) + bytes(9))
    assert [decoder.next_frame() for _ in THREE] == THREE
    for _ in range(2):  # and it stays refused
        with pytest.raises(RemoteProtocolError, match="empty_frame"):
            decoder.next_frame()


def test_the_bound_may_rise_within_the_stream() -> None:
    """After login, with the first larger frame in the buffer already."""
    decoder = FrameDecoder(10)
    decoder.feed(stream([Frame(3, 0, b"x" * 10), Frame(3, 0, b"y" * 11)]))
    assert decoder.next_frame() == Frame(3, 0, b"x" * 10)
    decoder.payload_max = 11
    assert decoder.next_frame() == Frame(3, 0, b"y" * 11)


def test_feeding_before_all_was_drained_loses_nothing() -> None:
    data = stream(THREE)
    decoder = FrameDecoder(MAX)
    decoder.feed(data[:30])
    assert decoder.next_frame() == THREE[0]
    assert decoder.buffered == 6
    decoder.feed(data[30:40])
    decoder.feed(data[40:])
    assert list(iter(decoder.next_frame, None)) == THREE[1:]


def test_payloads_are_bytes_of_their_own() -> None:
    """Not views: a view would keep the whole chunk alive and let a later feed change it."""
    decoder = FrameDecoder(MAX)
    data = stream([Frame(1, 1, b"abc"), Frame(1, 1, b"def")])
    for at in range(len(data)):
        decoder.feed(data[at : at + 1])
        if (frame := decoder.next_frame()) is not None:
            assert type(frame.payload) is bytes
