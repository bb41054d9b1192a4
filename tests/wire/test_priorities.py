"""Transfers let all other channels go first, on both sides, and still go on beside a flood."""

from __future__ import annotations

import pytest

from remote_shell.wire.frames import STDIN, STDOUT
from remote_shell.wire.messages import Open, Opened
from remote_shell.wire.session import YIELDED, Session

from .pair import Pair, exec_message

FRAME = 64 * 1024


def stream_of(session: Session, frames: int) -> list[int]:
    """The channels of the next data frames, one by one as the driver takes them."""
    order: list[int] = []
    while len(order) < frames:
        buffers = session.data_to_send(1)
        data = b"".join(map(bytes, buffers))
        assert data, order
        session.sent(len(data))
        while data:
            size, kind, channel = int.from_bytes(data[:4], "big"), data[4], int.from_bytes(data[5:9], "big")
            if kind in (STDIN, STDOUT):
                order.append(channel)
            data = data[9 + size :]
    return order


@pytest.mark.parametrize("request_", ["put", "get"])
def test_a_key_goes_before_what_a_transfer_has_queued(request_: str) -> None:
    pair = Pair()
    transfers = [
        pair.client.open_channel(Open(request=request_, id=f"t{n}", window=1 << 18, paths=["a"], to="b"))  # type: ignore[arg-type]
        for n in range(3)
    ]
    shell = pair.client.open_channel(exec_message())
    pair.settle()
    session, stream = pair.client, STDIN
    if request_ == "get":
        session, stream = pair.server, STDOUT
        for channel in (*transfers, shell):
            session.send_message(channel, Opened())
        pair.settle()
    for channel in transfers:
        session.send_data(channel, stream, bytes(2 * FRAME))
    session.send_data(shell, stream, b"a key")
    assert stream_of(session, 4) == [shell, *transfers]


def test_a_flood_does_not_starve_a_transfer() -> None:
    pair = Pair()
    transfer = pair.client.open_channel(Open(request="put", id="t", window=1 << 18, paths=["a"], to="b"))
    others = [pair.client.open_channel(exec_message(f"x{n}")) for n in range(2 * YIELDED)]
    pair.settle()
    pair.client.send_data(transfer, STDIN, bytes(3 * FRAME))
    for channel in others:
        pair.client.send_data(channel, STDIN, bytes(FRAME))
    order = stream_of(pair.client, 2 * YIELDED + 2)
    assert order.count(transfer) >= 2
    gaps = "".join("t" if channel == transfer else "." for channel in order).split("t")
    assert max(map(len, gaps)) <= YIELDED
