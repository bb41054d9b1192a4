"""The preamble is found behind any noise, cut anyhow; nothing of the noise passes for what follows it."""

from __future__ import annotations

import pytest

from remote_shell.wire.preamble import NOISE_MAX, PREAMBLE, Preamble

NOISES = [b"", b"hello\n", b"no line end", b"\0remote-shell", PREAMBLE[:-1], PREAMBLE[:5] * 3, b"\0\0\0"]


@pytest.mark.parametrize("noise", NOISES)
def test_what_follows_it_is_given_back_however_the_stream_is_cut(noise: bytes) -> None:
    stream = noise + PREAMBLE + b"the rest" + PREAMBLE
    for cut in range(1, len(noise + PREAMBLE)):
        preamble = Preamble()
        assert preamble.feed(stream[:cut]) == b"" and not preamble.seen
        assert preamble.feed(stream[cut:]) == b"the rest" + PREAMBLE
        assert preamble.seen and preamble.noise == noise


@pytest.mark.parametrize("noise", NOISES)
def test_byte_by_byte(noise: bytes) -> None:
    preamble = Preamble()
    for byte in noise + PREAMBLE:
        assert not preamble.seen
        assert preamble.feed(bytes((byte,))) == b""
    assert preamble.seen and preamble.noise == noise


def test_noise_has_a_bound() -> None:
    preamble = Preamble()
    preamble.feed(b"x" * NOISE_MAX)
    assert not preamble.too_noisy
    preamble.feed(b"x")
    assert preamble.too_noisy


def test_no_text_has_it() -> None:
    assert PREAMBLE.startswith(b"\0")
