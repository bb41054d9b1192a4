"""A put and a get over two joined cores whose link is cut at random bytes: every file arrives whole, and nothing crosses twice."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.transfer.receiving import Receiver
from remote_shell.transfer.sending import Sender
from remote_shell.wire.channel import Role
from remote_shell.wire.events import ChannelOpened, DataReceived, EndReceived, MessageReceived
from remote_shell.wire.fields import Message
from remote_shell.wire.file_messages import RECEIVER_MESSAGES, SENDER_MESSAGES
from remote_shell.wire.messages import Eof, Open, Opened
from tests.transfer.joined import tree
from tests.wire.pair import Pair

LIMITS = replace(
    DEFAULT_LIMITS,
    window=3000,
    window_max=9000,
    windows_max=20_000,
    data_frame_max=700,
    queue_max=4000,
    files_resume_min=2000,
    files_ahead_max=6,
)


def make(root: Path, rng: random.Random) -> Path:
    """A small tree with files of both kinds."""
    for number in range(12):
        path = root / rng.choice(("a", "b/c", ".")) / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(rng.choice((0, 1, 500, 1999, 2000, 15_000))))
    (root / "l").symlink_to("a")
    return root


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("sends", list(Role), ids=["put", "get"])
def test_random_cuts(tmp_path: Path, seed: int, sends: Role) -> None:
    rng = random.Random(seed)
    source = make(tmp_path / "source", rng)
    pair = Pair(LIMITS)
    takes = Role.SERVER if sends is Role.CLIENT else Role.CLIENT
    sender = Sender([os.fsencode(source)], b"/", True, LIMITS, lambda: False)
    receiver = Receiver(os.fsencode(tmp_path / "copy"), [b"source"], LIMITS)
    request: Literal["put", "get"] = "put" if sends is Role.CLIENT else "get"
    channel = pair.client.open_channel(Open(request=request, id="x", window=LIMITS.window, paths=["source"], to="copy"))
    stream = 0 if sends is Role.CLIENT else 1
    opened = room = said = False
    data, cuts, steps, ended = 0, 0, 0, False
    while not (ended and sender.settled):
        steps += 1
        assert steps < 500_000, "it hangs"
        if cuts < 30 and rng.random() < 0.02:
            pair.resume()
            cuts += 1
        for role, events in pair.jump(rng).items():
            for event in events:
                if isinstance(event, ChannelOpened):
                    pair.server.send_message(channel, Opened())
                    opened = room = True
                elif isinstance(event, DataReceived):
                    assert role is takes
                    data += len(event.data)
                    receiver.data(event.data)
                    pair.end(takes).consumed(channel, len(event.data))
                elif isinstance(event, EndReceived):
                    receiver.end()
                    ended = True
                elif isinstance(event, MessageReceived) and isinstance(event.message, SENDER_MESSAGES):
                    receiver.message(event.message)
                elif isinstance(event, MessageReceived) and isinstance(event.message, RECEIVER_MESSAGES):
                    sender.receive(event.message)
        room = opened and pair.end(sends).channels[channel].queued < LIMITS.queue_max
        if room and not said:
            for item in sender.produce():
                if isinstance(item, Message):
                    pair.end(sends).send_message(channel, item)
                else:
                    pair.end(sends).send_data(channel, stream, item)
            if sender.exhausted:
                said = True
                pair.end(sends).send_message(channel, Eof(stream=stream))
        if not ended:
            receiver.settle()
        for answer in receiver.take_answers():
            pair.end(takes).send_message(channel, answer)
    sender.close()
    assert receiver.failed == sender.failed == 0 and cuts > 0
    assert tree(tmp_path / "copy") == tree(source)
    assert data == receiver.bytes == sum(len(entry[3]) for entry in tree(source).values() if entry[0] == "file")
