"""Sessions on real sockets: what a cut leaves running, who may go on with it, and how each end is told."""

from __future__ import annotations

import time
from typing import Any

import pytest

from remote_shell.identity.secrets import load_secret
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.testing import RunningServer
from remote_shell.wire import frames
from remote_shell.wire.events import Writable
from remote_shell.wire.messages import Eof

from ..wire.test_messages import EXAMPLES
from .conftest import KINDS, Place, Starter, children_of
from .raw_client import RawClient, Stranger, by_key, by_secret, living, make_hello, until
from .test_arrival import control, header

SLEEP = ["sleep", "1000"]
TREE = ["sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000"]  # ignores what it can, and has a child


def gone(pid: int | None) -> bool:
    """No such process, or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def start_sleep(client: RawClient, argv: list[str] | None = None, **fields: Any) -> tuple[int, int]:
    """A command that goes on: its channel and its process."""
    ident, command = client.start(argv or SLEEP, **fields)
    assert command.opened is not None and command.opened.pid is not None
    return ident, command.opened.pid


# --- protocol errors after login

ON_CHANNEL_0 = {
    "ack of frames never sent": (control({"type": "ack", "received": 10**6, "sent": 0}), "bad_count"),
    "pong without a ping": (control({"type": "pong", "received": 0, "sent": 1}), "unexpected_message"),
    "an unknown message": (control({"type": "surprise"}), "unknown_message"),
    "hello again": (control({"type": "hello", **EXAMPLES["hello"]}), "unexpected_message"),
    "auth again": (control({"type": "auth", "method": "peer"}), "unexpected_message"),
    "open on channel 0": (control({"type": "open", **EXAMPLES["open"]}), "unexpected_message"),
    "a missing field": (control({"type": "ack"}), "bad_message"),
    "bad UTF-8": (control(b'{"type":"\xff"}'), "bad_json"),
    "deep JSON": (control(b"[" * 5000), "bad_json"),
    "no object": (control(b"3"), "bad_message"),
    "data on channel 0": (header(40, kind=0), "data_on_channel_zero"),
    "two pings": (control({"type": "ping", "received": 0, "sent": 1}) * 2, "ping_flood"),
    "an unknown type": (header(40, kind=9), "unknown_frame_type"),
    "an empty frame": (header(0), "empty_frame"),
    "a frame too large": (header(DEFAULT_LIMITS.frame_max + 1), "frame_too_large"),
    "2^31 bytes": (header(2**31), "frame_too_large"),
    "2^32-1 bytes": (header(2**32 - 1), "frame_too_large"),
}

ON_CHANNELS = {
    "close of no channel": (control({"type": "close"}, 77), "no_such_channel"),
    "data on no channel": (frames.encode(0, 77, b"x"), "no_such_channel"),
    "opened by a client": (control({"type": "opened"}, 1), "unexpected_message"),
    "stdout from a client": (frames.encode(1, 1, b"x"), "wrong_stream"),
    "open on an old channel": (control({"type": "open", **EXAMPLES["open"]}, 1), "unexpected_message"),
    "an unknown field": (control({"type": "eof", "stream": 0, "why": 1}, 1), "bad_message"),
    "eof of stdout": (control({"type": "eof", "stream": 1}, 1), "wrong_stream"),
    "data after eof": (control({"type": "eof", "stream": 0}, 1) + frames.encode(0, 1, b"x"), "unexpected_message"),
    "credit beyond the window": (control({"type": "window", "credit": 2**20, "window": 2**18}, 1), "bad_credit"),
    "an unknown signal": (control({"type": "signal", "signal": "SIGNONE"}, 1), "bad_message"),
    "a type that there is not": (header(40, kind=200, channel=1), "unknown_frame_type"),
    "an empty frame of data": (header(0, kind=0, channel=1), "empty_frame"),
}


def on_one_of(served: RunningServer, name: str) -> Place:
    """The transports take turns: the errors are the session's, whatever carries it."""
    names = [*ON_CHANNEL_0, *ON_CHANNELS]
    return Place(served, KINDS[names.index(name) % 3])


@pytest.mark.parametrize("name", ON_CHANNEL_0)
def test_an_error_of_the_connection_leaves_the_session(served: RunningServer, name: str) -> None:
    """Told by its code; the command goes on, and so does the session on another connection."""
    data, code = ON_CHANNEL_0[name]
    client = on_one_of(served, name).connect()
    channel, pid = start_sleep(client)
    client.say(data)
    assert client.wait_end() == code
    assert not gone(pid)
    assert client.resume()
    client.close_channel(channel)
    client.finish(channel)
    assert gone(pid)
    client.bye()


@pytest.mark.parametrize("name", ON_CHANNELS)
def test_an_error_on_a_channel_ends_the_session(served: RunningServer, name: str) -> None:
    """Replay would repeat it: commands are killed, and there is nothing to resume."""
    data, code = ON_CHANNELS[name]
    client = on_one_of(served, name).connect()
    _, pid = start_sleep(client, stdin="pipe")
    client.say(data)
    assert client.wait_end() == code
    until(lambda: gone(pid), "the command is killed")
    assert not client.resume()
    client.bye()


def test_data_beyond_the_window(local: Place) -> None:
    """From a core that believes it has more credit than it was given."""
    client = local.connect()
    channel, pid = start_sleep(client, stdin="pipe")
    client.session.channels[channel].send.credit = 2**20
    client.session.send_data(channel, 0, b"x" * 2**19)
    assert client.wait_end() == "window_exceeded"
    until(lambda: gone(pid), "the command is killed")


def test_every_message_that_a_server_says_is_an_error_from_a_client(local: Place) -> None:
    for name in ("welcome", "denied", "opened", "rejected", "exit", "done", "report"):
        client = local.connect()
        client.start(SLEEP)
        channel = 0 if name in ("welcome", "denied") else 1
        client.say(control({"type": name, **EXAMPLES[name]}, channel))
        assert client.wait_end() == "unexpected_message", name
        client.cut()
        if channel == 0:
            client.connect(client.welcome.session)
            client.bye()


# --- cuts


@pytest.mark.parametrize("how", ["close", "rst", "server's silence"])
def test_a_command_outlives_its_connection(place: Place, how: str) -> None:
    """Everything that it wrote meanwhile arrives once, in order."""
    client = place.connect()
    script = 'i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done; read x; echo "got $x"'
    channel, command = client.start(["sh", "-c", script], stdin="pipe")
    client.wait(lambda: command.size > 1000, "some output")
    if how == "server's silence":  # the old connection stays; the new one displaces it
        old = client.sock.dup()
        client.connect(client.welcome.session)
        assert old.recv(2**20) is not None
        old.close()
    else:
        client.cut(rst=how == "rst")
        client.connect(client.welcome.session)
    assert client.welcome.resumed
    client.session.send_data(channel, 0, b"this\n")
    client.finish(channel)
    assert command.exit is not None and command.exit.status == 0
    assert command.text() == b"".join(b"%d\n" % number for number in range(20000)) + b"got this\n"
    client.bye()


def test_many_cuts_lose_nothing(place: Place) -> None:
    """30 cuts at arbitrary bytes while both directions stream; a storm of RST among them."""
    client = place.connect()
    channel, command = client.start(["cat"], stdin="pipe")
    data = b"".join(b"%07d\n" % number for number in range(30_000))
    command.keep, sent = 2**30, 0
    for cut in range(30):
        client.session.send_data(channel, 0, data[sent : sent + 8000])
        sent += 8000
        for _ in range(cut % 4):
            client.pump(0.01)
        client.cut(rst=cut % 2 == 0)
        client.connect(client.welcome.session)
        assert client.welcome.resumed
    client.session.send_message(channel, Eof(stream=0))
    client.finish(channel)
    assert command.text() == data
    client.bye()


def test_the_displaced_connection_is_told(place: Place) -> None:
    client = place.connect()
    _, pid = start_sleep(client)
    old = client.link
    client.connect(client.welcome.session)
    told = bytearray()
    until(lambda: b'"code":"replaced"' in told or _more(told, old.recv()), "it is told")
    old.close()
    assert client.welcome.resumed and not gone(pid)
    client.bye()
    until(lambda: gone(pid), "bye killed it")


def _more(told: bytearray, data: bytes | None) -> bool:
    told += data or b""
    return False


def test_nobody_else_resumes(served: RunningServer) -> None:
    """Neither another principal who learnt the id, nor the same one with an id that there is not: a session of their own."""
    client = RawClient(served.targets["unix"])
    _, pid = start_sleep(client)
    for prove in (by_key(served.identity), by_secret(load_secret(served.secret_file))):
        thief = RawClient(served.targets["tcp"], prove)
        thief.bye()
        thief.connect(client.welcome.session)
        assert not thief.welcome.resumed and thief.welcome.session != client.welcome.session
        thief.bye()
    same = RawClient(served.targets["unix"])
    same.bye()
    same.connect("no-such-session")
    assert not same.welcome.resumed
    same.bye()
    assert client.pump(0.01) is False and not client.ended, "it noticed nothing"
    assert client.query("x").state == "never_received"
    assert not gone(pid)
    client.bye()


def test_an_ended_session_does_not_come_back(local: Place) -> None:
    client = local.connect()
    client.bye()
    until(lambda: not _resumes(client), "it is gone")


def _resumes(client: RawClient) -> bool:
    client.connect(client.welcome.session)
    resumed = client.welcome.resumed
    client.bye()
    return resumed


@pytest.mark.parametrize("offset", [-1000, 10**6])
def test_a_count_that_cannot_be_ends_the_session(local: Place, offset: int) -> None:
    client = local.connect()
    channel, command = client.start(["sh", "-c", "while echo line; do sleep 0.0001; done"])
    client.wait(lambda: client.session.received > 200, "the server knows that much arrived")
    pid = command.opened.pid if command.opened else None
    client.cut()
    client.connect(client.welcome.session, received=max(0, client.session.received + offset))
    assert client.welcome.resumed
    client.session.channels.clear()
    assert client.wait_end() == "bad_count"
    until(lambda: gone(pid), "its command is killed")
    assert not _resumes(client)
    assert channel == 1


# --- the ends


def test_bye_kills_the_trees_at_once(place: Place) -> None:
    """Within 250 ms, also what ignores TERM, what left the session, and the orphan of a command that ended."""
    took = []
    for _ in range(3):
        client = place.connect()
        nap = f"1000.{time.monotonic_ns()}"  # told apart from every other test's
        trees = ("trap '' TERM; sleep NAP & sleep NAP", "setsid sleep NAP & sleep NAP", "(setsid sleep NAP &)")
        commands = [client.start(["sh", "-c", tree.replace("NAP", nap)])[1] for tree in trees]
        client.wait(lambda: commands[2].exit, "the third command's own end")  # noqa: B023
        until(lambda: len(living(nap)) == 7, "two shells and five that sleep")  # noqa: B023
        client.bye()
        began = time.monotonic()
        until(lambda: not living(nap), "the trees are dead")  # noqa: B023
        took.append(time.monotonic() - began)
    assert min(took) < 0.25 + 0.15, (
        "250 ms, and what it takes to look"
    )  # other programs have the processor now and then


@pytest.mark.slow
def test_the_grace_ends_a_session(local: Place) -> None:
    """Its commands run on until then, and are killed with all that they started."""
    client = local.connect(grace_ms=300)
    assert client.welcome.grace_ms == 300
    _, pid = start_sleep(client, TREE)
    client.cut()
    began = time.monotonic()
    until(lambda: gone(pid), "killed after the grace")
    assert 0.25 < time.monotonic() - began < 3
    assert not client.resume()
    client.bye()


def test_no_grace_means_no_wait(local: Place) -> None:
    took = []
    for _ in range(3):
        client = local.connect(grace_ms=0)
        _, pid = start_sleep(client, TREE)
        client.cut()
        began = time.monotonic()
        until(lambda: gone(pid), "killed at once")  # noqa: B023
        took.append(time.monotonic() - began)
        assert not client.resume()
        client.bye()
    assert min(took) < 0.4, "as quickly as after bye, and not after kill_grace"


def test_a_grace_has_a_limit(local: Place) -> None:
    with local.connect(grace_ms=2**53 - 1) as client:
        assert client.welcome.grace_ms == DEFAULT_LIMITS.grace_max * 1000


@pytest.mark.slow
def test_a_resume_stops_the_clock(local: Place) -> None:
    client = local.connect(grace_ms=1500)
    _, pid = start_sleep(client)
    for _ in range(4):
        client.cut()
        client.connect(client.welcome.session)
        assert client.welcome.resumed
        client.pump(0.5)
    assert not gone(pid)
    client.bye()


def test_a_resume_whose_welcome_is_not_heard(local: Place) -> None:
    """The session stays for the rest of its grace, and ends with it: it neither dies at once nor lives for ever."""
    client = local.connect(grace_ms=1500)
    _, pid = start_sleep(client)
    for _ in range(30):
        stranger = Stranger(local.target)
        ask = {"type": "auth", "method": "peer", "session": client.welcome.session, "received": 1}
        stranger.send(control(make_hello()) + control(ask))
        stranger.sock.close()
    assert client.resume()
    assert not gone(pid)
    stranger = Stranger(local.target)  # displaces the connection that is there
    stranger.send(
        control(make_hello()) + control({"type": "auth", "method": "peer", "session": client.welcome.session})
    )
    stranger.sock.close()
    until(lambda: gone(pid), "the grace ended it", 5)
    client.bye()


@pytest.mark.slow
def test_silence_of_a_prompt_peer_is_a_cut(start: Starter) -> None:
    """It is asked for a sign of life, gives none, and its command goes on without it."""
    running = start(listen=("unix:",), ping_interval=0.3, silence_max=1.0)
    client = Place(running, "unix").connect(prompt=True)
    _, pid = start_sleep(client)
    until(lambda: "link lost (the peer fell silent)" in running.read_log(), "it is given up")
    assert not gone(pid)
    client.cut()
    client.connect(client.welcome.session)
    assert client.welcome.resumed
    client.bye()
    lazy = Place(running, "unix").connect(prompt=False)
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        time.sleep(0.05)
    assert lazy.run(["echo", "still here"]).text() == b"still here\n", "nobody waits for a peer that is not prompt"
    lazy.bye()


def test_pings_go_on_to_a_peer_that_is_not_prompt(start: Starter) -> None:
    """Each answer is followed by another question: with it go the acknowledgements."""
    client = Place(start(listen=("unix:",), ping_interval=0.05), "unix").connect(prompt=False)
    client.wait(lambda: client.pings >= 3, "three pings", 3)
    client.bye()


def test_a_client_that_disconnects_otherwise_may_come_back(local: Place) -> None:
    """A word that is not bye, and a socket that stays open: the server hangs up, and keeps the session for its grace."""
    client = local.connect()
    _, pid = start_sleep(client)
    client.session.disconnect("going_away")
    client.flush()
    assert client.wait_end() is None
    assert client.resume() and not gone(pid)
    client.bye()


def test_one_that_does_not_read_stalls_itself_alone(local: Place) -> None:
    with local.connect() as client:
        flood = client.open(["yes"])
        client.commands[flood].paused = True
        client.wait(lambda: client.commands[flood].size >= client.limits.window, "the window is full")
        assert client.run(["echo", "beside"]).text() == b"beside\n"
        pid = children_of(local.running.process.pid)
        assert client.commands[flood].size == client.limits.window and pid
        assert not any(isinstance(event, Writable) for event in client.events)


def test_rst_storm(place: Place) -> None:
    """25 connections that break off right after login leave nothing but sessions that wait for their grace."""
    for _ in range(25):
        place.connect(grace_ms=0).cut(rst=True)
    with place.connect() as client:
        assert client.run(["echo", "up"]).text() == b"up\n"
