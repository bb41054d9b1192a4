"""What the replay buffers of many sessions hold together: bounded, and nobody stands still for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from remote_shell.limits import DEFAULT_LIMITS, KIB
from remote_shell.wire.channel import Role
from remote_shell.wire.events import DataReceived
from remote_shell.wire.frames import HEADER_SIZE
from remote_shell.wire.messages import Opened
from remote_shell.wire.replay import ReplayBuffer, ReplayPool
from remote_shell.wire.session import Session

from .pair import Pair, exec_message

SPARED = 50


def is_full(buffer: ReplayBuffer) -> bool:
    return buffer.is_full(1000, 1000, SPARED)


def test_who_waits_in_a_crowd() -> None:
    pool = ReplayPool(100)
    one, other = ReplayBuffer(pool), ReplayBuffer(pool)
    one.append(bytes(51))
    other.append(bytes(48))
    assert not is_full(one) and not is_full(other) and not one.is_crowded, "99 of 100"
    other.append(bytes(1))
    assert is_full(one) and one.is_crowded
    assert not is_full(other), "49 of its 50"
    other.append(bytes(1))
    assert is_full(other)
    one.acknowledge(1)
    assert pool.size == 50 and not is_full(one) and not is_full(other)
    other.drop()
    assert (pool.size, other.size, len(other)) == (0, 0, 0)


def test_alone_there_is_no_pool() -> None:
    buffer = ReplayBuffer()
    buffer.append(bytes(999))
    assert not is_full(buffer)
    buffer.append(bytes(1))
    assert is_full(buffer) and not buffer.is_crowded


@pytest.mark.parametrize("spared", [1, 64 * KIB])
def test_a_crowd_moves_on(spared: int) -> None:
    """All arrives, by asking for acknowledgements, and no buffer is larger than what is spared and one frame."""
    limits = replace(DEFAULT_LIMITS, unacked_spared=spared)
    pair = Pair(limits)
    pool = ReplayPool(1)
    other = ReplayBuffer(pool)
    other.append(b"x")  # of a session whose client is gone
    pair.server = Session(Role.SERVER, limits, pool)
    pair.resume()
    pair.client.open_channel(exec_message())
    pair.settle()
    pair.server.send_message(1, Opened())
    data = bytes(range(256)) * 8192
    got, sent, most = b"", 0, 0
    while len(got) < len(data):
        if sent < len(data) and pair.server.channels[1].queued == 0:
            pair.server.send_data(1, 1, data[sent : sent + 256 * KIB])
            sent += 256 * KIB
        before = len(got), sent
        pair.write(Role.SERVER)
        most = max(most, pair.server.unacknowledged[1])
        pair.write(Role.CLIENT)
        for event in pair.read(Role.CLIENT):
            if isinstance(event, DataReceived):
                got += event.data
                pair.client.consumed(1, len(event.data))
        moved = pair.write(Role.CLIENT)
        pair.read(Role.SERVER)
        assert moved or before != (len(got), sent) or pair.server.unacknowledged[1], "it stands still"
    assert got == data
    assert most <= spared + limits.data_frame_max + HEADER_SIZE
    pair.server.forget()
    assert pool.size == 1
