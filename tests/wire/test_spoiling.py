"""Spoilt input: nothing but the named errors from each machine that reads the wire. `scripts/torture mutate` does it a million times."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remote_shell.wire import session
from remote_shell.wire.frames import HEADER, FrameDecoder

from . import spoiling
from .spoiling import CODES, MACHINES, EscapedError, attack, attack_many

pytestmark = pytest.mark.screen  # as a file it takes long

HEADERS = st.builds(
    HEADER.pack,
    st.sampled_from((0, 1, 2, 30, 4096, 4097, 2**20, 2**20 + 1, 2**32 - 1)),
    st.integers(0, 5),
    st.integers(0, 3),
)
PAYLOADS = st.binary(max_size=60) | st.sampled_from([b'{"type":"close"}', b'{"type":"eof","stream":1}', b"{}", b"null"])
WHOLE = st.builds(lambda kind, channel, payload: HEADER.pack(len(payload), kind, channel) + payload,
                  st.integers(0, 4), st.integers(0, 3), PAYLOADS)  # fmt: skip


def test_some_of_the_million() -> None:
    found = attack_many(1, range(4000))
    assert found.keys() - {""} <= CODES
    assert len(found) > 10 and found[""] > 200, "many kinds of faults, and some input that is still good"


@pytest.mark.parametrize("name", MACHINES)
@given(parts=st.lists(HEADERS | WHOLE | st.binary(max_size=40), max_size=6), seed=st.integers(0, 9))
@settings(max_examples=100)
def test_any_bytes_in_any_state(name: str, parts: list[bytes], seed: int) -> None:
    assert attack(random.Random(seed), name, b"".join(parts)) in CODES | {""}


@pytest.mark.parametrize("name", MACHINES)
@given(st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_an_honest_peers_words_spoilt(name: str, rng: random.Random) -> None:
    assert attack(rng, name) in CODES | {""}


def test_another_exception_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""

    def decode(*_: object) -> None:
        raise KeyError("type")

    monkeypatch.setattr(session, "decode", decode)
    with pytest.raises(EscapedError, match=r"input \d+ of seed 1, session at the server: KeyError: 'type'"):
        attack_many(1, range(2, 400, 4))


def test_memory_that_grows_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FrameDecoder, "buffered", property(lambda self: 10_000))
    with pytest.raises(EscapedError, match="10000 bytes are held of"):
        attack_many(1, range(400))
    monkeypatch.undo()
    monkeypatch.setattr(spoiling, "ANSWER_MAX", 100)
    with pytest.raises(EscapedError, match="bytes in answer to"):
        attack_many(1, range(400))
