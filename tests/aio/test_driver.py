"""The asyncio driver: a real session on a real loop, over links that take little, nothing, or break."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from remote_shell.aio.driver import Driver
from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.link import Buffers, PlainLink
from remote_shell.wire.channel import Role
from remote_shell.wire.events import ChannelOpened, DataReceived, Disconnected, Event, MessageReceived, Writable
from remote_shell.wire.frames import FrameDecoder
from remote_shell.wire.messages import Opened, Signal, Window
from remote_shell.wire.session import UNHEARD_MAX, Session

from ..wire.pair import exec_message, hello


class Narrow(PlainLink):
    """A link that takes `size` bytes at once, and raises what it is told to."""

    __slots__ = ("fault", "size", "writes")

    def __init__(self, sock: socket.socket, size: int = 2**30) -> None:
        super().__init__(sock, DEFAULT_LIMITS.unsent_max)
        self.size = size
        self.writes = 0
        self.fault: BaseException | None = None

    def send(self, buffers: Buffers) -> int:
        """At most `size` bytes; 0 as well, if that is all."""
        self.writes += 1
        if self.fault is not None:
            raise self.fault
        data = b"".join(buffers)[: self.size]
        return super().send([data]) if data else 0


class End:
    """One side: session, link and driver, and what the driver told."""

    def __init__(self, role: Role, sock: socket.socket, limits: Limits = DEFAULT_LIMITS, size: int = 2**30) -> None:
        self.session = Session(role, limits)
        self.events: list[Event] = []
        self.lost: list[Exception | None] = []
        self.on_event: Callable[[Event], None] = lambda event: None
        self.attach(sock, 0, size, prompt=True)

    def attach(self, sock: socket.socket, received: int, size: int = 2**30, *, prompt: bool = True) -> None:
        """Go on over a new connection."""
        loop = asyncio.get_running_loop()
        decoder = FrameDecoder(self.session.limits.frame_max)
        self.session.attach(decoder, hello(self.session.limits, prompt=prompt), received, loop.time())
        self.link = Narrow(sock, size)
        self.driver = Driver(loop, self.link, self.session, on_event=self._tell, on_lost=self._lose)
        self.driver.start()

    def _lose(self, error: Exception | None) -> None:
        self.lost.append(error)
        self.session.detach()

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, DataReceived):
            self.session.consumed(event.channel, len(event.data))
        self.on_event(event)

    def data(self) -> bytes:
        """All data that arrived."""
        return b"".join(event.data for event in self.events if isinstance(event, DataReceived))


class Ends:
    """Both sides, on a socket pair, with one channel open."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS, size: int = 2**30) -> None:
        ours, theirs = socket.socketpair()
        self.server = End(Role.SERVER, ours, limits, size)
        self.client = End(Role.CLIENT, theirs, limits, size)
        self.channel = self.client.session.open_channel(exec_message())
        self.client.driver.wake()

    def resume(self) -> None:
        """Another socket pair."""
        ours, theirs = socket.socketpair()
        counts = self.server.session.received, self.client.session.received
        for end in (self.server, self.client):
            end.driver.stop()
            end.session.detach()
        self.server.attach(ours, counts[1])
        self.client.attach(theirs, counts[0])

    def stop(self) -> None:
        """Let go of both."""
        self.server.driver.stop()
        self.client.driver.stop()


async def until(true: Callable[[], object], what: str = "") -> None:
    """Give the loop turns until `true` holds."""
    end = time.monotonic() + 15
    while not true():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("size", [1, 7, 1000, 2**30])
async def test_whatever_the_socket_takes(size: int) -> None:
    """Everything arrives once, in order, however little goes at once."""
    ends = Ends(size=size)
    data = bytes(range(256)) * (4 if size == 1 else 400)
    await until(lambda: ends.server.events, "open")
    assert isinstance(ends.server.events[0], ChannelOpened)
    ends.client.session.send_data(ends.channel, 0, data)
    ends.client.driver.wake()
    await until(lambda: len(ends.server.data()) == len(data), "the data")
    assert ends.server.data() == data
    ends.stop()
    assert not ends.client.lost and not ends.server.lost


async def test_a_full_socket_is_waited_for_without_turning() -> None:
    """Nothing is lost, `blocked` says so, and the loop rests until the peer reads."""
    ours, theirs = socket.socketpair()
    end = End(Role.CLIENT, ours)
    channel = end.session.open_channel(exec_message())
    end.session.channels[channel].send.credit = 2**20
    end.session.send_data(channel, 0, bytes(2**20))
    end.driver.wake()
    await until(lambda: end.driver.blocked, "the socket is full")
    before = end.link.writes
    for _ in range(50):
        await asyncio.sleep(0)
    assert end.link.writes == before
    end.driver.wake()
    await asyncio.sleep(0.01)
    assert end.link.writes == before, "a wake does not push against a full socket"
    taken = 0
    while taken < 2**20:
        try:
            taken += len(theirs.recv(2**16, socket.MSG_DONTWAIT))
        except BlockingIOError:
            await asyncio.sleep(0.001)
    await until(lambda: not end.driver.blocked)
    end.driver.stop()
    theirs.close()


async def test_reading_goes_on_while_the_socket_is_full() -> None:
    """Both sides write more than the sockets hold: neither waits for the other."""
    ends = Ends()
    await until(lambda: ends.server.events)
    ends.server.session.send_message(ends.channel, Opened())
    data = bytes(200_000)
    for end, stream in ((ends.client, 0), (ends.server, 1)):
        end.session.send_data(ends.channel, stream, data)
        end.driver.wake()
    await until(lambda: len(ends.client.data()) == len(ends.server.data()) == len(data))
    ends.stop()


async def test_many_wakes_are_one_write() -> None:
    ends = Ends()
    await until(lambda: ends.server.events)
    before, pumps, pump = ends.client.link.writes, [0], ends.client.driver.pump

    def counted() -> None:
        pumps[0] += 1
        pump()

    ends.client.driver.pump = counted  # type: ignore[method-assign]
    for _ in range(100):
        ends.client.session.send_data(ends.channel, 0, b"x")
        ends.client.driver.wake()
    await until(lambda: len(ends.server.data()) == 100)
    assert ends.client.link.writes - before <= 2 and pumps[0] <= 3
    ends.stop()


async def test_a_queue_with_room_again_is_told() -> None:
    ends = Ends(replace(DEFAULT_LIMITS, queue_max=1000, window=500))
    await until(lambda: ends.server.events)
    ends.server.session.send_message(ends.channel, Opened())
    ends.server.driver.wake()
    assert not ends.client.session.send_data(ends.channel, 0, bytes(5000))
    ends.client.driver.wake()
    await until(lambda: Writable(ends.channel) in ends.client.events, "room")
    await until(lambda: len(ends.server.data()) == 5000)
    ends.stop()


@pytest.mark.parametrize("fault", [BrokenPipeError("gone"), KeyboardInterrupt(), MemoryError(), ValueError("a bug")])
async def test_an_exception_while_writing_loses_no_frame(fault: BaseException) -> None:
    """Between `data_to_send` and `sent` nobody knows what went: the connection is given up, a resume sends it again."""
    ends = Ends()
    await until(lambda: ends.server.events)
    ends.client.link.fault = fault
    ends.client.session.send_data(ends.channel, 0, b"once")
    if isinstance(fault, OSError):
        ends.client.driver.pump()
    else:
        with pytest.raises(type(fault)):
            ends.client.driver.pump()
    assert len(ends.client.lost) == 1 and isinstance(ends.client.lost[0], OSError)
    await until(lambda: ends.server.lost == [None], "the other side sees the end of the stream")
    ends.resume()
    await until(lambda: ends.server.data() == b"once", "replay")
    assert ends.client.session.sent_frames == ends.server.session.received == 2
    ends.stop()


async def test_a_goodbye_is_heard_though_writing_fails() -> None:
    """Said before the peer went: otherwise its going would pass for a cut."""
    ends = Ends()
    await until(lambda: ends.server.events)
    ends.client.session.disconnect("bye")
    ends.client.driver.pump()
    ends.client.driver.stop()
    ends.server.session.send_message(ends.channel, Opened())
    ends.server.driver.pump()
    assert Disconnected("bye", "") in ends.server.events
    assert len(ends.server.lost) == 1
    ends.stop()


async def test_the_end_of_the_stream_is_told_once() -> None:
    ends = Ends()
    await until(lambda: ends.server.events)
    ends.client.driver.stop()
    ends.client.driver.stop()
    await until(lambda: ends.server.lost)
    assert ends.server.lost == [None] and not ends.client.lost, "who stops is not told"
    assert ends.server.link.fileno() == -1 == ends.client.link.fileno()
    ends.client.driver.wake()
    ends.client.driver.pump()
    await asyncio.sleep(0)
    ends.stop()


async def test_a_reset_is_told_with_its_reason() -> None:
    ours, theirs = socket.socketpair()
    end = End(Role.SERVER, ours)
    theirs.close()
    await until(lambda: end.lost)
    assert end.lost == [None]


async def test_a_protocol_error_ends_the_connection_with_its_code() -> None:
    ours, theirs = socket.socketpair()
    end = End(Role.SERVER, ours)
    theirs.send(b"\0\0\0\1\x09\0\0\0\0x")
    await until(lambda: end.lost)
    assert "unknown_frame_type" in str(end.lost[0])
    answer = theirs.recv(1000)
    assert b'"disconnect"' in answer and b'"unknown_frame_type"' in answer
    assert theirs.recv(1) == b""
    theirs.close()


async def test_silence_is_asked_about_and_then_given_up() -> None:
    ours, theirs = socket.socketpair()
    end = End(Role.SERVER, ours, replace(DEFAULT_LIMITS, ping_interval=0.03, silence_max=0.1))
    began = time.monotonic()
    await until(lambda: end.lost)
    assert 0.09 < time.monotonic() - began < 1
    assert isinstance(end.lost[0], TimeoutError)
    assert theirs.recv(1000).count(b'"ping"') == 1
    theirs.close()


async def test_two_that_answer_stay_together() -> None:
    for _ in range(10):
        ends = Ends(replace(DEFAULT_LIMITS, ping_interval=0.02, silence_max=0.5))
        began = now = time.monotonic()
        stood_still = 0.0
        while now < began + 0.7:
            await asyncio.sleep(0.01)
            before, now = now, time.monotonic()
            stood_still = max(stood_still, now - before)
        lost = [*ends.client.lost, *ends.server.lost]
        unacknowledged = ends.client.session.unacknowledged
        ends.stop()
        if stood_still < 0.2:  # else the machine itself was silent, which says nothing
            break
    assert not lost
    assert unacknowledged == (0, 0), "each ping acknowledges"


async def test_pings_go_on_to_a_peer_that_is_not_prompt() -> None:
    """While its answer is outstanding no deadline is set; when it came, the next question has its time."""
    limits = replace(DEFAULT_LIMITS, ping_interval=0.02, silence_max=0.05)
    ours, theirs = socket.socketpair()
    server, client = End(Role.SERVER, ours, limits), End(Role.CLIENT, theirs)
    server.driver.stop()
    client.driver.stop()
    server.session.detach()
    client.session.detach()
    ours, theirs = socket.socketpair()
    server.attach(ours, 0, prompt=False)
    await asyncio.sleep(0.1)
    assert not server.lost, "nobody waits for it"
    seen = 0
    for _ in range(3):
        theirs.settimeout(0)
        await until(lambda: _peek(theirs, b'"ping"'), "a ping")
        theirs.recv(1000)
        theirs.send(b'\0\0\0\x25\3\0\0\0\0{"type":"pong","received":0,"sent":0}')
        seen += 1
    assert seen == 3 and not server.lost
    server.driver.stop()
    theirs.close()


def _peek(sock: socket.socket, what: bytes) -> bool:
    try:
        return what in sock.recv(1000, socket.MSG_PEEK)
    except BlockingIOError:
        return False


async def test_an_exception_in_the_application_does_not_stop_the_pump() -> None:
    """It is the loop's to report; the next bytes are read all the same."""
    ends = Ends()
    await until(lambda: ends.server.events)
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))

    def fail(event: Event) -> None:
        ends.server.on_event = lambda event: None
        raise ZeroDivisionError

    ends.server.on_event = fail
    for _ in range(2):
        ends.client.session.send_data(ends.channel, 0, b"x")
        ends.client.driver.pump()
        await asyncio.sleep(0.01)
    assert ends.server.data() == b"xx" and len(reported) == 1
    ends.stop()


async def test_others_have_their_turns_between_the_events_of_one_read() -> None:
    """Whatever one connection brings at once. All of it is seen, in order, and nothing is read ahead of it."""
    ends = Ends(replace(DEFAULT_LIMITS, turn_time=0.0))
    await until(lambda: ends.server.events, "open")
    loop, seen, reads = asyncio.get_running_loop(), [len(ends.server.events)], [0]
    receive = ends.server.session.receive_data

    def counted(generation: int, data: bytes, now: float) -> None:
        reads[0] += 1
        assert ends.server.session.next_event() is None, "the read before is seen to"
        receive(generation, data, now)

    def other() -> None:
        seen.append(len(ends.server.events))
        loop.call_soon(other)

    ends.server.session.receive_data = counted  # type: ignore[method-assign]
    other()
    signals = [Signal(signal=f"SIGRTMIN+{number}") for number in range(30)]
    for signal in signals:
        ends.client.session.send_message(ends.channel, signal)
    ends.client.driver.wake()
    await until(lambda: len(ends.server.events) == 31, "the signals")
    assert [event.message for event in ends.server.events[1:] if isinstance(event, MessageReceived)] == signals
    assert reads[0] < 5 and max(after - before for before, after in pairwise(seen)) == 1
    before = ends.server.session.received
    frames = [before]
    for _ in range(3000):  # nobody hears of these
        ends.client.session.send_message(ends.channel, Window(credit=0, window=DEFAULT_LIMITS.window))
    ends.client.driver.wake()
    while ends.server.session.received < before + 3000:
        await asyncio.sleep(0)
        frames.append(ends.server.session.received)
    assert max(after - before for before, after in pairwise(frames)) <= UNHEARD_MAX
    ends.stop()
