"""The driver on a socket pair with the server's core at the other end, both moved by the test."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from remote_shell.blocking import spinning
from remote_shell.blocking.driver import Driver, _Waiter
from remote_shell.blocking.spinning import Spin
from remote_shell.errors import UsageError
from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.link import PlainLink
from remote_shell.wire.channel import Role
from remote_shell.wire.events import ChannelClosed, Event, Failed, MessageReceived, Writable
from remote_shell.wire.frames import FrameDecoder
from remote_shell.wire.messages import Close, Exit, Message, Opened
from remote_shell.wire.session import Session
from tests.wire.pair import exec_message, hello


class End:
    """The server's end: moved by hand."""

    def __init__(self, sock: socket.socket) -> None:
        self.link = PlainLink(sock, DEFAULT_LIMITS.unsent_max)
        self.session = Session(Role.SERVER, DEFAULT_LIMITS)
        self.session.attach(FrameDecoder(2**20), hello(), 0, 0.0)

    def move(self) -> list[Event]:
        found: list[Event] = []
        data = self.link.recv()
        if data:
            self.session.receive_data(self.session.generation, data, time.monotonic())
            while (event := self.session.next_event()) is not None:
                found.append(event)
        buffers = self.session.data_to_send(2**20)
        if buffers:
            self.session.sent(self.link.send(buffers))
        return found


class Scene:
    """A driver and what it was told."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        ours, theirs = socket.socketpair()
        self.end = End(theirs)
        self.events: list[Event] = []
        self.lost: list[str] = []
        self.damages = 0
        self.recoveries: list[float | None] = []
        self.session = Session(Role.CLIENT, DEFAULT_LIMITS)
        self.driver = Driver(
            limits,
            on_event=self._event,
            on_lost=self.lost.append,
            on_damage=self._damage,
            recover=self._recover,
        )
        self.session.attach(FrameDecoder(2**20), hello(), 0, time.monotonic())
        with self.driver:
            self.driver.attach(PlainLink(ours, DEFAULT_LIMITS.unsent_max), self.session)

    def _event(self, event: Event) -> str | None:
        self.events.append(event)
        if isinstance(event, MessageReceived) and isinstance(event.message, Exit):
            return ""  # what follows can wait
        return "broken" if isinstance(event, Failed) else None

    def _damage(self) -> None:
        self.damages += 1

    def _recover(self, deadline: float | None) -> None:
        self.recoveries.append(deadline)
        self.driver.nap(time.monotonic() + 0.01)

    def open(self) -> int:
        with self.driver:
            channel = self.session.open_channel(exec_message())
            self.driver.flush()
        return channel

    def answered(self) -> bool:
        return any(isinstance(event, MessageReceived) for event in self.events)


def poll_until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not ready():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.001)


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    with made.driver:
        made.driver.close()
    made.end.link.close()


def test_a_wait_sends_and_receives(scene: Scene) -> None:
    channel = scene.open()
    assert len(scene.end.move()) == 1
    scene.end.session.send_message(channel, Opened(pid=7))
    scene.end.move()
    with scene.driver:
        assert scene.driver.wait(scene.answered, time.monotonic() + 5)


def test_a_deadline_in_the_past_looks_once(scene: Scene) -> None:
    channel = scene.open()
    scene.end.move()
    scene.end.session.send_message(channel, Opened(pid=7))
    scene.end.move()
    with scene.driver:
        assert scene.driver.wait(scene.answered, 0.0)
        assert not scene.driver.wait(lambda: False, 0.0)
        started = time.monotonic()
        assert not scene.driver.wait(lambda: False, started + 0.05)
        assert time.monotonic() - started >= 0.05


def test_what_can_wait_is_seen_to_by_the_next_wait(scene: Scene) -> None:
    """Before it sleeps, by whichever thread, and it still looks at the link."""
    channels = [scene.open(), scene.open()]
    scene.end.move()
    for message in (Opened(), Exit(status=0), Close()):
        scene.end.session.send_message(channels[0], message)
    scene.end.session.send_message(channels[1], Opened())
    scene.end.move()
    with scene.driver:
        assert scene.driver.wait(lambda: len(scene.events) == 2, time.monotonic() + 5)
        assert scene.driver.wait(lambda: len(scene.events) == 2, 0.0), "nobody waited"
        assert scene.driver.wait(lambda: len(scene.events) == 4, 0.0), "they had come before"
    assert [type(event) for event in scene.events[2:]] == [ChannelClosed, MessageReceived]
    scene.end.session.send_message(channels[1], Exit(status=0))
    scene.end.session.send_message(channels[1], Close())
    scene.end.move()
    with scene.driver:
        assert scene.driver.wait(lambda: len(scene.events) == 5, time.monotonic() + 5)
    third = scene.open()
    scene.end.move()
    scene.end.session.send_message(third, Opened())
    scene.end.move()
    with scene.driver:
        assert scene.driver.wait(lambda: len(scene.events) == 7, 0.0), "a deadline in the past looks at the link too"
    assert [type(event) for event in scene.events[5:]] == [ChannelClosed, MessageReceived]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_one_thread_pumps_and_the_others_are_woken(scene: Scene, order: tuple[int, ...]) -> None:
    """The first to wait is the pump; it is the first to be ready, and hands over, or the last."""
    channel = scene.open()
    scene.end.move()
    done: list[int] = []

    def wait(number: int) -> None:
        with scene.driver:
            assert scene.driver.wait(lambda: len(scene.events) > number, time.monotonic() + 10)
            done.append(number)

    threads = [threading.Thread(target=wait, args=(number,)) for number in order]
    for count, thread in enumerate(threads):
        thread.start()
        poll_until(lambda count=count: scene.driver._pumping and len(scene.driver._waiters) == count)  # type: ignore[misc]
    scene.end.session.send_message(channel, Opened())
    for number in range(3):
        scene.end.move()
        poll_until(lambda number=number: done == list(range(number + 1)))  # type: ignore[misc]
        scene.end.session.send_data(channel, 1, b"x")
    for thread in threads:
        thread.join()


def test_an_urgent_action_reaches_a_pump_that_waits(scene: Scene) -> None:
    seen: list[str] = []
    timer = threading.Timer(0.05, lambda: scene.driver.urgent(lambda: seen.append("done")))
    timer.start()
    started = time.monotonic()
    with scene.driver:
        assert scene.driver.wait(lambda: bool(seen), started + 10)
    timer.join()
    assert time.monotonic() - started < 5


def test_an_urgent_action_while_the_lock_is_taken_is_not_lost(scene: Scene) -> None:
    seen: list[int] = []
    with scene.driver:
        scene.driver.urgent(lambda: seen.append(1))
        assert not seen
    assert seen == [1]


def test_an_urgent_action_that_comes_while_the_lock_is_let_go(scene: Scene) -> None:
    """Who brought it could not take the lock, so who had it must look once more."""
    seen: list[int] = []
    real = scene.driver._lock

    class Late:
        """Another thread comes between the last look at the queue and the release."""

        def release(self) -> None:
            if not seen and not scene.driver._urgent:
                scene.driver._urgent.append(lambda: seen.append(1))
            real.release()

        def acquire(self, blocking: bool = True) -> bool:
            return real.acquire(blocking)

    scene.driver._lock = Late()  # type: ignore[assignment]
    with scene.driver:
        pass
    scene.driver._lock = real
    assert seen == [1]


def test_a_second_call_inside_the_lock_is_an_error_and_no_deadlock(scene: Scene) -> None:
    with scene.driver, pytest.raises(UsageError, match="signal handler"):
        with scene.driver:
            pass


def test_an_exception_from_outside_in_a_step_is_damage(scene: Scene) -> None:
    with pytest.raises(ZeroDivisionError), scene.driver:
        raise ZeroDivisionError
    assert scene.damages == 0
    with scene.driver:
        assert scene.damages == 1, "told before anybody goes on"


def test_an_exception_where_we_wait_is_none(scene: Scene) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), scene.driver:
        scene.driver.unlocked(fail)
    with pytest.raises(UsageError), scene.driver:
        raise UsageError("of ours")
    with scene.driver:
        assert scene.damages == 0


def test_the_end_of_the_stream(scene: Scene) -> None:
    scene.end.link.close()
    with scene.driver:
        assert not scene.driver.wait(lambda: False, time.monotonic() + 0.1)
    assert scene.lost == ["the server closed the connection"]
    assert len(scene.recoveries) > 1 and scene.driver.link is None


def test_what_was_said_before_a_cut_is_read(scene: Scene) -> None:
    """We find the cut by writing, and the last word still lies there."""
    channel = scene.open()
    scene.end.move()
    scene.end.session.send_message(channel, Opened(pid=7))
    scene.end.move()
    scene.end.link.close()
    with scene.driver:
        scene.session.send_data(channel, 0, b"x" * 1000)
        scene.driver.flush()
    assert scene.answered() and scene.lost


def test_a_source_is_read_by_the_pump(scene: Scene) -> None:
    reader, writer = os.pipe()
    seen: list[bytes] = []
    with scene.driver:
        scene.driver.add_source(reader, lambda: seen.append(os.read(reader, 100)))
    os.write(writer, b"x")
    with scene.driver:
        assert scene.driver.wait(lambda: bool(seen), time.monotonic() + 5)
        scene.driver.remove_source(reader)
        os.write(writer, b"y")
        assert not scene.driver.wait(lambda: len(seen) > 1, time.monotonic() + 0.05)
    os.close(reader)
    os.close(writer)


def test_room_in_a_queue_is_told_though_the_peer_says_nothing(scene: Scene) -> None:
    """The event comes about by sending: whoever waits for it must not wait for the peer's next byte."""
    channel = fill(scene)
    with scene.driver:
        assert scene.driver.wait(lambda: Writable(channel) in scene.events, time.monotonic() + 5)


def test_room_in_a_queue_that_another_thread_made_wakes_the_pump(scene: Scene) -> None:
    channel = fill(scene)
    told: list[bool] = []

    def wait() -> None:
        with scene.driver:
            told.append(scene.driver.wait(lambda: Writable(channel) in scene.events, time.monotonic() + 5))

    with scene.driver:
        scene.driver._writing = True  # a link that is full: the pump sends nothing
    pump = threading.Thread(target=wait)
    pump.start()
    poll_until(lambda: scene.driver._pumping)
    with scene.driver:
        scene.driver._writing = False
        scene.driver.flush()
    pump.join()
    assert told == [True]


def fill(scene: Scene) -> int:
    """A channel whose queue is full, with credit for all of it that nobody has used yet."""
    channel = scene.open()
    scene.end.move()
    with scene.driver:
        ours: Any = scene.driver.link
        ours._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**22)
        assert not scene.session.send_data(channel, 0, bytes(DEFAULT_LIMITS.queue_max))
    return channel


def test_much_to_send_does_not_keep_from_reading(scene: Scene) -> None:
    """A link that takes everything at once, and 40 channels with a window of data each."""
    real: Any = scene.driver.link
    row: list[int] = [0]
    rows: list[int] = []

    class Greedy:
        transport = "unix"

        def fileno(self) -> int:
            descriptor: int = real.fileno()
            return descriptor

        def send(self, buffers: Sequence[bytes | memoryview]) -> int:
            row[0] += sum(map(len, buffers))
            return sum(map(len, buffers))

        def flush(self) -> bool:
            return True

        def recv(self) -> bytes | None:
            return None

        def close(self) -> None:
            real.close()

    with scene.driver:
        scene.driver.link = Greedy()  # type: ignore[assignment]
        for _ in range(40):
            scene.session.send_data(scene.session.open_channel(exec_message()), 0, bytes(2**18))
        for _ in range(5):
            scene.driver.wait(lambda: False, 0.0)
            rows.append(row[0])
            row[0] = 0
    assert sum(rows) > 2_000_000 and max(rows) < 2_000_000, rows


def test_a_long_pause_between_calls_is_no_silence_of_the_peer(scene: Scene) -> None:
    """Nobody looked: that the peer said nothing meanwhile means nothing."""
    link = scene.session._link
    assert link is not None
    link.heard_at -= 1000
    scene.driver._looked_at -= 1000
    with scene.driver:
        scene.driver.wait(lambda: False, time.monotonic() + 0.02)
    assert not scene.lost and not scene.events


def test_a_peer_that_is_silent_while_we_wait_is_given_up(scene: Scene) -> None:
    link = scene.session._link
    assert link is not None
    link.heard_at -= DEFAULT_LIMITS.silence_max + 1
    scene._event = lambda event: "silent"  # type: ignore[method-assign]
    scene.driver._on_event = scene._event
    with scene.driver:
        scene.driver.wait(lambda: bool(scene.lost), time.monotonic() + 5)
    assert scene.lost == ["silent"]


# --- waiting without sleep


class Looks:
    """A driver's poll object that notes the timeouts it is asked with, and lets something happen at the n-th look."""

    def __init__(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        self.timeouts: list[float | None] = []
        self.at: dict[int, Callable[[], object]] = {}
        self._poll = scene.driver._poll
        scene.driver._poll = self  # type: ignore[assignment]
        monkeypatch.setattr(spinning, "cpus", lambda: 2.0)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        self.timeouts.append(timeout)
        self.at.pop(len(self.timeouts), lambda: None)()
        return self._poll.poll(timeout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poll, name)

    def answered_at(self, scene: Scene, look: int) -> None:
        """A command is asked for; its answer comes at a look of the wait that begins now."""
        channel = scene.open()
        scene.end.move()
        scene.end.session.send_message(channel, Opened(pid=7))
        self.timeouts.clear()
        self.at = {look: scene.end.move}
        scene.events.clear()
        with scene.driver:
            assert scene.driver.wait(scene.answered, time.monotonic() + 30)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Scene, Looks]]:
    """A scene whose waits may go without sleep for very long, so that the test's own slowness does not matter."""
    made = Scene(replace(DEFAULT_LIMITS, spin_time=20.0))
    yield made, Looks(made, monkeypatch)
    with made.driver:
        made.driver.close()
    made.end.link.close()


def test_after_a_short_wait_the_next_goes_without_sleep(patient: tuple[Scene, Looks]) -> None:
    scene, looks = patient
    looks.answered_at(scene, 1)
    assert looks.timeouts[0] != 0
    looks.answered_at(scene, 100)
    assert looks.timeouts == [0] * 100


def test_not_with_many_commands_in_flight(patient: tuple[Scene, Looks]) -> None:
    scene, looks = patient
    most = DEFAULT_LIMITS.spin_channels_max
    for _ in range(most):
        looks.answered_at(scene, 1)
    assert looks.timeouts == [0]
    looks.answered_at(scene, 1)
    assert len(looks.timeouts) == 1 and looks.timeouts[0] != 0


def test_commands_that_have_ended_are_not_in_flight(patient: tuple[Scene, Looks]) -> None:
    """Though `close` was not answered, which comes behind the next `open`."""
    scene, looks = patient
    looks.answered_at(scene, 1)
    for _ in range(DEFAULT_LIMITS.spin_channels_max):
        scene.open()
    scene.end.move()
    for channel in list(scene.session.channels):
        if channel > 1:
            scene.end.session.send_message(channel, Opened())
        for message in (Exit(status=0), Close()):
            scene.end.session.send_message(channel, message)
    scene.end.move()

    def ping() -> None:
        scene.end.session.measure(0.0)
        scene.end.move()

    with scene.driver:
        assert scene.driver.wait(lambda: not scene.session.channels, time.monotonic() + 30)
        assert len(scene.session._closing) > DEFAULT_LIMITS.spin_channels_max
        spin = scene.driver._spin = Spin(20.0)  # whatever the waits until now took
        spin.begin(0.0)
        spin.end(0.0001)
        looks.timeouts.clear()
        looks.at = {100: ping}
        assert scene.driver.wait(lambda: len(looks.timeouts) >= 100, time.monotonic() + 30)
    assert looks.timeouts == [0] * 100


def test_not_while_another_thread_waits_too(patient: tuple[Scene, Looks]) -> None:
    scene, looks = patient
    looks.answered_at(scene, 1)
    waiter = _Waiter(lambda: False)
    scene.driver._waiters.append(waiter)
    looks.answered_at(scene, 1)
    scene.driver._waiters.remove(waiter)
    assert looks.timeouts[0] != 0


def test_a_wait_without_sleep_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(replace(DEFAULT_LIMITS, spin_time=0.02))
    looks = Looks(scene, monkeypatch)
    scene.driver._spin.begin(0.0)
    scene.driver._spin.end(0.0)  # a short wait
    with scene.driver:
        started = time.monotonic()
        assert not scene.driver.wait(lambda: False, started + 0.1)
        assert looks.timeouts[0] == 0
        assert looks.timeouts[-1] and looks.timeouts[-1] > 0  # it slept at last
        looks.timeouts.clear()
        assert not scene.driver.wait(lambda: False, time.monotonic() + 0.05)
        assert 0 not in looks.timeouts  # and at once the next time
        scene.driver.close()
    scene.end.link.close()


def test_a_look_without_waiting_says_nothing_about_waits(patient: tuple[Scene, Looks]) -> None:
    scene, looks = patient
    looks.answered_at(scene, 1)
    with scene.driver:
        for _ in range(20):
            assert not scene.driver.wait(lambda: False, 0.0)
    looks.answered_at(scene, 3)
    assert looks.timeouts == [0, 0, 0]


def test_a_wait_sleeps_until_its_answer_is_near(patient: tuple[Scene, Looks]) -> None:
    """A command's start is slept for, its end is looked for without sleep."""
    scene, looks = patient
    looks.answered_at(scene, 1)
    channel = scene.open()
    scene.end.move()

    def say(message: Message) -> Callable[[], None]:
        def now() -> None:
            scene.end.session.send_message(channel, message)
            scene.end.move()

        return now

    def heard(kind: type[Message]) -> bool:
        return any(isinstance(event, MessageReceived) and isinstance(event.message, kind) for event in scene.events)

    scene.events.clear()
    looks.timeouts.clear()
    looks.at = {1: say(Opened(pid=7)), 30: say(Exit(status=0))}
    with scene.driver:
        assert scene.driver.wait(lambda: heard(Exit), time.monotonic() + 30, soon=lambda: heard(Opened))
    assert looks.timeouts[0] != 0
    assert looks.timeouts[1:] == [0] * 29


def test_a_wait_whose_answer_is_never_near_sleeps_and_counts_for_nothing(patient: tuple[Scene, Looks]) -> None:
    scene, looks = patient
    looks.answered_at(scene, 1)
    spin = scene.driver._spin
    known = [*spin._asleep], [*spin._awake]
    looks.timeouts.clear()
    with scene.driver:
        assert not scene.driver.wait(lambda: False, time.monotonic() + 0.03, soon=lambda: False)
    assert looks.timeouts and 0 not in looks.timeouts
    assert ([*spin._asleep], [*spin._awake]) == known
