"""The conversation without a socket: what a replaced session means for each command."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from remote_shell.client.conversation import Conversation
from remote_shell.client.process import Mode, ProcessState
from remote_shell.errors import ConnectionLostError
from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.wire.channel import Role
from remote_shell.wire.events import ChannelClosed, ChannelOpened, Disconnected
from remote_shell.wire.frames import FrameDecoder
from remote_shell.wire.messages import (
    Close,
    Done,
    Exit,
    Hello,
    Job,
    Message,
    Open,
    Opened,
    Report,
    Terminal,
    Unread,
    Welcome,
)
from remote_shell.wire.session import Session
from tests.wire.pair import hello


class FakeHandshake(NamedTuple):
    peer: Hello
    decoder: FrameDecoder


class Scene:
    """A conversation and the server's core that it talks to."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.conversation = Conversation("box", limits)
        self.server = Session(Role.SERVER, DEFAULT_LIMITS)
        self.asked: list[tuple[int, Open]] = []

    def connect(self, *, resumed: bool = False, instance: str = "one") -> str:
        """A login; without `resumed` the server has a new session."""
        if not resumed:
            self.server = Session(Role.SERVER, DEFAULT_LIMITS)
        client = self.conversation.session
        self.server.detach()
        self.server.attach(FrameDecoder(2**20), hello(), client.received if resumed else 0, 0.0)
        peer = hello().changed(instance=instance)
        welcome = Welcome(
            session="s",
            resumed=resumed,
            received=self.server.received,
            principal="p",
            account="a",
            host="h",
            grace_ms=60000,
        )
        login: Any = (FakeHandshake(peer, FrameDecoder(2**20)), welcome)
        return self.conversation.welcomed(login, 0.0).name

    def lose(self, now: float = 0.0) -> None:
        self.conversation.disconnected(now, "cut", 10.0)

    def start(self, once: bool = False, terminal: Terminal | None = None) -> ProcessState:
        ident = self.conversation.new_id()
        assert ident.startswith(("one.", "two.")), "it names the life of the server"
        state = ProcessState(["x"], ident, Mode.KEEP, Mode.HOLD)
        message = Open(request="exec", id=ident, argv=["x"], window=DEFAULT_LIMITS.window, once=once)
        message = message.changed(terminal=terminal)
        self.conversation.start(state, message)
        self.settle()
        return state

    def say(self, channel: int, *messages: Message) -> None:
        for message in messages:
            self.server.send_message(channel, message)
        self.settle()

    def told(self) -> list[str | None]:
        """What is said to each event of what the server wrote, as far as a driver drains it."""
        server, client = self.server, self.conversation.session
        data = b"".join(bytes(part) for part in server.data_to_send(2**20))
        server.sent(len(data))
        client.receive_data(client.generation, data, 0.0)
        said: list[str | None] = []
        while "" not in said and (event := client.next_event()) is not None:
            said.append(self.conversation.on_event(event))
        return said

    def settle(self) -> None:
        """Move bytes until none move; the server notes what is opened."""
        moved = True
        while moved:
            moved = False
            client = self.conversation.session
            for source, sink in ((client, self.server), (self.server, client)):
                data = b"".join(bytes(part) for part in source.data_to_send(2**20))
                source.sent(len(data))
                moved |= bool(data)
                sink.receive_data(sink.generation, data, 0.0)
                while (event := sink.next_event()) is not None:
                    if sink is client:
                        self.conversation.on_event(event)
                    elif isinstance(event, ChannelOpened):
                        self.asked.append((event.channel, event.message))


def lost_state(state: ProcessState) -> str:
    assert isinstance(state.lost, ConnectionLostError) and state.lost.command_id == state.command_id
    return state.lost.command_state


def test_a_resumed_session_goes_on() -> None:
    scene = Scene()
    assert scene.connect() == "connected"
    state = scene.start()
    scene.lose()
    assert scene.conversation.retry is not None and scene.conversation.retry.until == 60.0
    assert scene.connect(resumed=True) == "resumed"
    scene.say(state.channel, Opened(pid=1), Exit(status=4), Close())
    assert state.exit is not None and state.exit.status == 4 and state.finished and state.lost is None


@pytest.mark.parametrize(("lasted", "waits"), [(1.0, True), (60.0, False)])
def test_only_connections_that_end_soon_are_waited_for(lasted: float, waits: bool) -> None:
    """Who sat at a prompt and typed nothing between two cuts has the connection back at once."""
    scene = Scene()
    scene.connect()
    for _ in range(4):
        scene.lose(lasted)
        retry = scene.conversation.retry
        assert retry is not None
        due = retry.due
        scene.connect(resumed=True)
    assert (due > lasted) is waits


@pytest.mark.parametrize("answer", ["never_received", "running", "finished", "unknown"])
def test_a_new_session_asks_what_became_of_each_command(answer: Any) -> None:
    scene = Scene()
    scene.connect()
    state = scene.start()
    scene.lose()
    assert scene.connect() == "new_session"
    assert not state.closed, "the answer is on its way"
    scene.settle()
    channel, question = scene.asked[-1]
    assert question.request == "query" and question.id == state.command_id
    assert [message.request for _, message in scene.asked] == ["exec", "query"], "nothing is run again"
    scene.say(channel, Report(state=answer), Close())
    assert state.closed and lost_state(state) == answer


def test_another_life_of_the_server_is_not_asked() -> None:
    """It would answer never_received, and be wrong."""
    scene = Scene()
    scene.connect()
    state = scene.start()
    scene.lose()
    scene.connect(instance="two")
    scene.settle()
    assert lost_state(state) == "unknown" and len(scene.asked) == 1
    assert isinstance(state.lost, ConnectionLostError) and "an id of your own (--id ID" in str(state.lost)


def test_another_life_is_asked_about_an_id_that_a_person_chose() -> None:
    """It is on disk there."""
    scene = Scene()
    scene.connect()
    state = scene.start(once=True)
    scene.lose()
    scene.connect(instance="two")
    scene.settle()
    channel, question = scene.asked[-1]
    assert question.request == "query" and question.id == state.command_id
    scene.say(channel, Report(state="finished", signal="SIGTERM", timed_out=True), Close())
    assert lost_state(state) == "finished" and state.exit is None
    error = state.lost
    assert isinstance(error, ConnectionLostError)
    assert (error.exit_status, error.signal, error.timed_out) == (None, "SIGTERM", True)
    assert "started anew" in str(error) and "(timed out, SIGTERM ended it)" in str(error)
    assert f"the same command again, with --id {state.command_id}" in str(error)


def test_a_live_shell_is_no_command_that_could_be_asked_about() -> None:
    scene = Scene()
    scene.connect()
    state = ProcessState("shell", "s", Mode.HOLD, Mode.HOLD)
    scene.conversation.start(state, Open(request="shell", id="s", window=DEFAULT_LIMITS.window))
    scene.conversation.end("nobody answers")
    assert lost_state(state) == "unknown" and "--id" not in str(state.lost)


def test_an_id_that_was_used_up_is_told() -> None:
    scene = Scene()
    scene.connect()
    state = scene.start(once=True)
    scene.lose()
    scene.connect()
    scene.settle()
    scene.say(scene.asked[-1][0], Report(state="never_received"), Close())
    assert lost_state(state) == "never_received" and "under another one" in str(state.lost)


def test_a_loss_while_the_answer_is_on_its_way() -> None:
    """It is asked for again."""
    scene = Scene()
    scene.connect()
    state = scene.start()
    scene.lose()
    scene.connect()
    scene.lose()
    scene.connect()
    scene.settle()
    assert [message.request for _, message in scene.asked].count("exec") == 1 and not state.closed
    scene.say(scene.asked[-1][0], Report(state="finished", status=4), Close())
    assert lost_state(state) == "finished"
    assert isinstance(state.lost, ConnectionLostError) and state.lost.exit_status == 4


def test_a_loss_for_good_while_the_answer_is_on_its_way() -> None:
    scene = Scene()
    scene.connect()
    state = scene.start()
    scene.lose()
    scene.connect()
    scene.conversation.end("nobody answers")
    assert lost_state(state) == "unknown"


def test_a_command_whose_end_was_known_loses_its_output_only() -> None:
    scene = Scene()
    scene.connect()
    state = scene.start()
    scene.say(state.channel, Opened(pid=1), Exit(status=0))
    scene.lose()
    scene.connect()
    assert lost_state(state) == "finished" and state.exit is not None


@pytest.mark.parametrize(
    ("code", "word", "known"), [("replaced", "taken over", "running"), ("shutting_down", "shuts down", "unknown")]
)
def test_a_session_that_the_server_ends_is_over(code: str, word: str, known: str) -> None:
    scene = Scene()
    scene.connect()
    state = scene.start()
    reason = scene.conversation.on_event(Disconnected(code, ""))
    assert reason is not None and word in reason
    assert lost_state(state) == known and scene.conversation.over is not None and scene.conversation.retry is None


def test_closing_drops_stdin_that_nobody_reads() -> None:
    """Else `close`, and with it the end of the tree, would wait behind it."""
    scene = Scene()
    scene.connect()
    state = scene.start()
    scene.conversation.write(state, bytes(50_000_000))
    scene.conversation.close(state)
    size = sum(len(part) for part in scene.conversation.session.data_to_send(2**30))
    assert size < 1000 and state.closed


def test_an_end_with_its_close_behind_it_is_all_that_is_waited_for() -> None:
    """The core's next event can wait: it tells nobody anything."""
    scene = Scene()
    scene.connect()
    state = scene.start()
    session, server = scene.conversation.session, scene.server
    for message in (Opened(pid=1), Exit(status=3), Close()):
        server.send_message(state.channel, message)
    data = b"".join(server.data_to_send(2**20))
    server.sent(len(data))
    session.receive_data(session.generation, data, 0.0)
    said = []
    while not state.finished:
        event = session.next_event()
        assert event is not None
        said.append(scene.conversation.on_event(event))
    assert said == [None, ""]
    assert state.closed and state.exit == Exit(status=3) and not scene.conversation.in_flight
    event = session.next_event()
    assert event == ChannelClosed(state.channel)
    assert scene.conversation.on_event(event) is None
    assert not session.channels


@pytest.mark.parametrize("behind", [b"", b"output"])
def test_an_end_without_its_close_behind_it_is_not_all(behind: bytes) -> None:
    """What survivors write comes between the two."""
    scene = Scene()
    scene.connect()
    state = scene.start()
    scene.say(state.channel, Opened(pid=1), Exit(status=3))
    if behind:
        scene.server.send_data(state.channel, 1, behind)
    scene.settle()
    assert state.ended and not state.finished and scene.conversation.in_flight
    scene.say(state.channel, Close())
    assert state.finished and state.outputs[1].collected() == behind


def test_nothing_but_a_close_is_left_for_the_next_wait() -> None:
    """What stands behind it may be the end of another command, which is looked for once, or why the connection ends."""
    scene = Scene()
    scene.connect()
    first, second = scene.start(), scene.start()
    for state in (first, second):
        for message in (Opened(pid=1), Exit(status=0), Close()):
            scene.server.send_message(state.channel, message)
    assert scene.told()[-1] == "" and first.finished and second.finished
    third = scene.start()
    for message in (Opened(pid=1), Exit(status=0), Close()):
        scene.server.send_message(third.channel, message)
    scene.server.disconnect("replaced")
    assert scene.told()[-1] == "its session was taken over from elsewhere" and scene.conversation.over is not None


def test_the_end_of_a_terminal_is_answered_at_once() -> None:
    """Left for the next wait, the answer would stand behind a sign of life that this asks for, and be waited for there."""
    scene = Scene()
    scene.connect()
    state = scene.start(terminal=Terminal(term="xterm", rows=24, columns=80))
    for message in (Opened(pid=1), Exit(status=0), Close()):
        scene.server.send_message(state.channel, message)
    assert scene.told() == [None] * 3 and state.finished
    assert scene.conversation.session.has_unsent


def test_a_forgotten_command_is_not_closed() -> None:
    """Its survivors live on; what they write is credited and dropped."""
    scene = Scene()
    scene.connect()
    state = scene.start()
    scene.say(state.channel, Opened(pid=1), Exit(status=0))
    scene.conversation.forget(state)
    scene.server.send_data(state.channel, 1, bytes(200_000))
    scene.settle()
    assert scene.server.channels[state.channel].incoming.closed is False
    scene.server.send_data(state.channel, 1, bytes(200_000))
    scene.settle()
    assert scene.server.channels[state.channel].drained


@pytest.mark.parametrize(
    "message", [Job(id="j", state="running", cwd="x" * 1000), Unread(text="x" * 1000), Done(number=1, cwd="x" * 1000)]
)
def test_a_server_that_goes_on_and_on_is_left(message: Message) -> None:
    """No window bounds messages: those that wait for their caller are counted, and those that were taken are not."""
    scene = Scene(replace(DEFAULT_LIMITS, untaken_max=50_000))
    scene.connect()
    state = scene.start()
    state.noted = [] if isinstance(message, Job) else None
    scene.say(state.channel, Opened())
    for _ in range(5):
        scene.say(state.channel, *[message] * 20)
        assert len(state.noted or state.done or state.unread) == 20
        for kept in (state.noted, state.done, state.unread):
            if kept is not None:
                kept.clear()
    assert state.lost is None
    scene.say(state.channel, *[message] * 100)
    assert len(state.noted or state.done or state.unread) < 50
    assert scene.conversation.over is not None and "more than anybody asked for" in str(state.lost)
