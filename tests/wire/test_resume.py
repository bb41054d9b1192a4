"""The promise of resume, on two joined cores: whatever the cuts, every byte once, in order, exit after the last byte."""

from __future__ import annotations

import os
import random

import pytest

from remote_shell.wire.channel import Role
from remote_shell.wire.events import (
    Answered,
    ChannelClosed,
    ChannelOpened,
    DataReceived,
    EndReceived,
    MessageReceived,
    Writable,
)
from remote_shell.wire.messages import Close, Eof, Exit, Opened

from .pair import SMALL, Pair, exec_message


class Story:
    """Commands on a pair of cores, both ends' programs, and the check that nothing was lost, doubled or reordered."""

    def __init__(self, seed: int, commands: int) -> None:
        self.rng = random.Random(seed)
        self.pair = Pair(SMALL)
        self.commands = commands
        self.to_send: dict[int, bytes] = {}  # channel -> stdin of the command
        self.fed: dict[int, int] = {}
        self.received: dict[int, bytearray] = {}  # at the server
        self.replies: dict[int, dict[int, bytes]] = {}  # what the server's command writes
        self.written: dict[int, dict[int, int]] = {}
        self.got: dict[int, dict[int, bytearray]] = {}  # at the client
        self.order: dict[int, list[str]] = {}
        self.ran: list[int] = []
        self.unread: list[tuple[Role, int, int]] = []
        self.closed: set[int] = set()

    def run(self, cut_chance: float) -> int:
        """Play until all commands ended; returns how many cuts there were."""
        rng = self.rng
        for _ in range(200_000):
            if len(self.to_send) < self.commands and rng.random() < 0.2:
                self.start()
            self.feed()
            for role, events in self.pair.jump(rng).items():
                for event in events:
                    self.client(event) if role is Role.CLIENT else self.server(event)
            if self.unread and rng.random() < 0.5:
                role, channel, count = self.unread.pop(rng.randrange(len(self.unread)))
                self.pair.end(role).consumed(channel, count)
            if rng.random() < cut_chance:
                self.pair.resume()
            if len(self.closed) == self.commands:
                break
        self.check()
        return self.pair.cuts

    def start(self) -> None:
        """The client opens one more command."""
        if not self.pair.client.attached:
            return
        channel = self.pair.client.open_channel(exec_message(window=SMALL.window))
        rng = self.rng
        self.to_send[channel] = rng.randbytes(rng.choice((0, 3, 700, 4000)))
        self.fed[channel] = 0
        self.replies[channel] = {stream: rng.randbytes(rng.choice((0, 5, 650, 5000))) for stream in (1, 2)}
        self.written[channel] = {1: 0, 2: 0}
        self.got[channel] = {1: bytearray(), 2: bytearray()}
        self.received[channel] = bytearray()
        self.order[channel] = []

    def feed(self) -> None:
        """Each program writes a little more."""
        rng = self.rng
        for channel, data in self.to_send.items():
            at = self.fed[channel]
            if 0 <= at < len(data):
                piece = data[at : at + rng.choice((1, 50, 900))]
                self.pair.client.send_data(channel, 0, piece)
                self.fed[channel] = at + len(piece)
            elif at == len(data):
                self.pair.client.send_message(channel, Eof(stream=0))
                self.fed[channel] = -1
        for channel in self.ran:
            self.work(channel)

    def work(self, channel: int) -> None:
        """The server's command writes; when all is written it ends."""
        written, server = self.written[channel], self.pair.server
        for stream, data in self.replies[channel].items():
            at = written[stream]
            if 0 <= at < len(data):
                piece = data[at : at + self.rng.choice((1, 80, 1200))]
                server.send_data(channel, stream, piece)
                written[stream] = at + len(piece)
            elif at == len(data):
                server.send_message(channel, Eof(stream=stream))
                written[stream] = -1
        if written == {1: -1, 2: -1}:
            written[1] = -2
            server.send_message(channel, Exit(status=channel % 256))
            server.send_message(channel, Close())

    def server(self, event: object) -> None:
        """What the server's application does."""
        match event:
            case ChannelOpened(channel, message):
                assert channel not in self.ran, "a command ran twice"
                assert message.argv == ["cat"]
                self.ran.append(channel)
                self.pair.server.send_message(channel, Opened(pid=1))
            case DataReceived(channel, 0, data):
                self.received[channel] += data
                self.unread.append((Role.SERVER, channel, len(data)))
            case EndReceived() | ChannelClosed() | Writable() | Answered():
                pass
            case _:
                raise AssertionError(event)

    def client(self, event: object) -> None:
        """What the client's application does."""
        match event:
            case DataReceived(channel, stream, data):
                assert "exit" not in self.order[channel], "data after the exit"
                self.got[channel][stream] += data
                self.unread.append((Role.CLIENT, channel, len(data)))
            case MessageReceived(channel, message):
                self.order[channel].append(message.name)
            case EndReceived(channel, stream):
                self.order[channel].append(f"eof{stream}")
            case ChannelClosed(channel):
                self.order[channel].append("close")
                self.closed.add(channel)
            case Writable() | Answered():
                pass
            case _:
                raise AssertionError(event)

    def check(self) -> None:
        """Every byte arrived once, in order; the end came last."""
        assert len(self.closed) == self.commands, "it hangs"
        for channel, replies in self.replies.items():
            assert self.received[channel] == self.to_send[channel][: len(self.received[channel])]
            for stream, data in replies.items():
                assert bytes(self.got[channel][stream]) == data
            order = self.order[channel]
            assert order[0] == "opened" and order[-2:] == ["exit", "close"], order
            assert sorted(order[1:-2]) == ["eof1", "eof2"]
        pair = self.pair
        pair.settle()
        pair.client.measure(
            pair.now
        )  # answers to `close` go behind something else: that, or what had been under way before
        pair.settle()
        pair.client.measure(pair.now)
        pair.settle()
        for session in (pair.client, pair.server):
            assert not session.channels, "a closed channel is remembered"
            assert session.unacknowledged[0] <= SMALL.unacked_frames_max


def play(cuts: int, seed: int) -> None:
    """Stories until the link was cut so many times."""
    while cuts > 0:
        cuts -= max(1, Story(seed, commands=4).run(cut_chance=0.08))
        seed += 1


def test_random_cuts() -> None:
    """10,000 cuts."""
    play(10_000, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_random_cuts() -> None:
    """200,000 cuts from another seed each day would not be reproducible: the seed is fixed, or given."""
    play(200_000, seed=int(os.environ.get("REMOTE_SHELL_TEST_SEED", "1000000")))


def test_no_cut_at_all() -> None:
    """The control: the same stories without a cut."""
    for seed in range(20):
        assert Story(seed, commands=4).run(cut_chance=0.0) == 0
