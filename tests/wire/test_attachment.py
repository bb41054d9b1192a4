"""An attachment: acknowledgement in time, one ping at a time, and what silence means. The clock is a number."""

from __future__ import annotations

from dataclasses import replace

import pytest

from remote_shell.errors import RemoteProtocolError
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.wire.attachment import Attachment
from remote_shell.wire.frames import FrameDecoder

from .pair import hello

LIMITS = DEFAULT_LIMITS


def attachment(*, prompt: bool = True, now: float = 0.0) -> Attachment:
    """One that has just begun."""
    return Attachment(FrameDecoder(LIMITS.frame_max), hello(prompt=prompt), LIMITS, 7, now)


def test_a_fresh_one_owes_nothing() -> None:
    link = attachment()
    assert (link.emitted, link.ack_due, link.ping_due, link.pong_due, link.ended) == (7, False, False, False, False)


@pytest.mark.parametrize(
    ("frames", "size"), [(LIMITS.ack_frames, 1), (4, LIMITS.ack_bytes // 4), (1, LIMITS.ack_bytes)]
)
def test_acknowledgement_is_due_by_frames_or_bytes(frames: int, size: int) -> None:
    link = attachment()
    for _ in range(2):
        for number in range(frames):
            assert not link.ack_due, number
            link.note_frame(size)
        assert link.ack_due
        link.note_acknowledged()


def test_a_sender_that_keeps_little_is_acknowledged_sooner() -> None:
    """At a quarter of what either side lets unacknowledged, or it would wait for us."""
    small = replace(LIMITS, unacked_bytes_max=64 * 1024)
    for ours, theirs in ((small, LIMITS), (LIMITS, small)):
        link = Attachment(FrameDecoder(LIMITS.frame_max), hello(theirs), ours, 0, 0.0)
        link.note_frame(16 * 1024 - 1)
        assert not link.ack_due
        link.note_frame(1)
        assert link.ack_due


def test_a_count_that_left_starts_both_anew() -> None:
    link = attachment()
    for _ in range(LIMITS.ack_frames - 1):
        link.note_frame(LIMITS.ack_bytes // LIMITS.ack_frames)
    link.note_acknowledged()
    link.note_frame(1)
    assert not link.ack_due and (link.unacked_frames, link.unacked_bytes) == (1, 1)


def test_one_unanswered_ping() -> None:
    link = attachment()
    link.note_ping()
    assert link.pong_due
    with pytest.raises(RemoteProtocolError) as caught:
        link.note_ping()
    assert caught.value.code == "ping_flood"
    link.pong_due = False
    link.note_ping()


def test_a_pong_answers_a_ping() -> None:
    link = attachment()
    with pytest.raises(RemoteProtocolError) as caught:
        link.note_pong(1.0)
    assert caught.value.code == "unexpected_message"
    link.ping_sent_at = 1.0
    assert link.note_pong(1.25) == 0.25
    with pytest.raises(RemoteProtocolError):
        link.note_pong(1.5)


def test_a_ping_is_wanted_once() -> None:
    link = attachment()
    link.want_ping()
    assert link.ping_due
    link.ping_due, link.ping_sent_at = False, 1.0
    link.want_ping()
    assert not link.ping_due


def test_silence_of_a_prompt_peer() -> None:
    """Asked after 15 s, given up after 45 s; both count from the last sign of life."""
    link = attachment(now=100.0)
    assert link.next_timeout() == 100.0 + LIMITS.ping_interval
    assert not link.handle_timeout(100.0 + LIMITS.ping_interval - 0.01)
    assert not link.ping_due
    assert not link.handle_timeout(100.0 + LIMITS.ping_interval)
    assert link.ping_due
    assert link.next_timeout() == 100.0 + LIMITS.silence_max
    link.ping_due, link.ping_sent_at = False, 115.0
    assert link.next_timeout() == 100.0 + LIMITS.silence_max
    assert not link.handle_timeout(100.0 + LIMITS.silence_max - 0.01)
    assert link.handle_timeout(100.0 + LIMITS.silence_max)
    link.heard_at = 144.0
    assert not link.handle_timeout(145.0)


def test_silence_of_one_that_is_not_prompt() -> None:
    """A blocking client answers only inside a call: it is asked, and never given up."""
    link = attachment(prompt=False)
    assert link.next_timeout() == LIMITS.ping_interval
    assert not link.handle_timeout(1e9)
    assert link.ping_due
    link.ping_due, link.ping_sent_at = False, 1e9
    assert link.next_timeout() == float("inf")
    assert not link.handle_timeout(2e9)
    assert not link.ping_due
