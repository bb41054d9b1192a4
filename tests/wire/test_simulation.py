"""The simulation: 500 seeds hold, and each invariant is missed where it is broken on purpose. `scripts/torture simulate` has 100,000."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest

from remote_shell.wire import session
from remote_shell.wire.channel import Channel
from remote_shell.wire.replay import ReplayBuffer
from remote_shell.wire.session import Session
from remote_shell.wire.windows import SendWindow

from .simulation import BrokenError, simulate
from .simulation.network import Surroundings
from .simulation.server import Server

pytestmark = pytest.mark.screen  # as a file it takes long


@pytest.mark.parametrize("first", range(0, 500, 100))
def test_five_hundred_seeds(first: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(first, first + 100):
        seen += Counter(simulate(seed))
    assert (
        min(seen[kind] for kind in ("cut", "server crash", "client crash", "clock", "intruder", "resumed", "exit")) > 50
    ), seen


def test_the_same_seed_is_the_same_world() -> None:
    assert simulate(7) == simulate(7)
    assert simulate(7) != simulate(8)


def broken(seeds: int = 60) -> str:
    """The invariant that breaks first."""
    for seed in range(seeds):
        try:
            simulate(seed)
        except BrokenError as error:
            assert f"(seed {seed})" in str(error)
            return str(error).partition(":")[0]
    return ""


def test_the_control() -> None:
    assert broken() == ""


def lost_in_replay(self: ReplayBuffer, count: int) -> Iterator[bytes]:
    return islice(iter(tuple(self._frames)), count - self.acknowledged + 1, None)


def doubled_in_replay(self: ReplayBuffer, count: int) -> Iterator[bytes]:
    kept = tuple(self._frames)
    return iter((*kept[:1], *kept))


@pytest.mark.parametrize("after", [lost_in_replay, doubled_in_replay])
def test_a_frame_that_is_lost_or_comes_twice(monkeypatch: pytest.MonkeyPatch, after: Callable[..., Any]) -> None:
    monkeypatch.setattr(ReplayBuffer, "after", after)
    assert broken() in ("rules", "bytes", "exit", "ends")


def test_frames_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Channel.take_ordered

    def take_later(self: Channel, data_max: int) -> Any:
        if len(self._queue) > 1 and self._queue[0][0] > 0 and self._queue[1][0] > 0:
            self._queue.rotate(-1)
        return take(self, data_max)

    monkeypatch.setattr(Channel, "take_ordered", take_later)
    monkeypatch.setattr(Channel, "put_data", lambda self, stream, data, join_below: _put(self, stream, data))
    assert broken() == "bytes"


def _put(channel: Channel, stream: int, data: bytes) -> None:
    channel.outgoing.step("data", stream)
    channel.queued += len(data)
    channel._queue.append((stream, data))


def test_who_sends_beyond_its_credit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "ready", property(lambda self: bool(self._queue)))
    monkeypatch.setattr(SendWindow, "spend", lambda self, count: setattr(self, "credit", self.credit - count - 1))
    assert broken() in ("credit", "rules")


def test_a_proof_that_anybody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Surroundings, "prove", lambda self, name, said: "AAAA")
    assert broken() == "login"


def test_a_start_without_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "_proved", lambda self, handshake, auth: auth.method == "secret")
    assert broken() == "login"


def test_claims_that_are_not_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    crash = Server.crash

    def forget(self: Server) -> None:
        self.world.claims.clear()
        crash(self)

    monkeypatch.setattr(Server, "crash", forget)
    assert broken() == "once"


def test_a_replay_buffer_without_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReplayBuffer, "acknowledge", lambda self, count: None)
    assert broken() in ("bounds", "rules", "ends")


def test_signs_of_life_that_are_never_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that lies dead is never found, and what waits on it never ends."""
    monkeypatch.setattr(Session, "next_timeout", lambda self: None)
    monkeypatch.setattr("tests.wire.simulation.PATIENCE", 3000)
    assert broken() == "ends"


def test_an_exit_before_the_last_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "TRANSFERS", ())
    finish = Server._finish

    def early(self: Server, record: Any, channel: int, *, killed: bool) -> None:
        record.core.channels[channel].drop_unsent()
        finish(self, record, channel, killed=killed)

    monkeypatch.setattr(Server, "_finish", early)
    assert broken() == "bytes"
