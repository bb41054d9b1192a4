"""How much at once: commands and shells of a principal and of all, sessions of all, and how long a session may lie idle."""

from __future__ import annotations

import time

import pytest

import remote_shell
from remote_shell.errors import CommandRefusedError
from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.server.places import Places

from .conftest import Place, Starter
from .raw_client import LoginDeniedError, RawClient, by_key, until

pytestmark = pytest.mark.screen  # as a file it takes long


def code(client: RawClient, ident: int) -> str:
    command = client.finish(ident)
    assert command.rejected is not None, command.exit
    return f"{command.rejected.code}: {command.rejected.detail}"


# --- commands


def test_each_has_its_places_and_all_have_theirs() -> None:
    places = Places(Limits(commands_max=3, commands_per_principal_max=2))
    places.take("a")
    places.take("a")
    with pytest.raises(CommandRefusedError, match="2 commands of a run here already") as refused:
        places.take("a")
    assert refused.value.code == "too_many_commands"
    places.take("b")
    with pytest.raises(CommandRefusedError, match="3 commands run here already"):
        places.take("b")
    places.leave("a")
    places.take("b")
    for principal in "abb":
        places.leave(principal)
    for principal in "aab":
        places.take(principal)


def test_one_command_too_many_over_all_sessions(start: Starter) -> None:
    """Shells count, with a terminal too; each end makes room, whatever it was; and what was never started takes none."""
    place = Place(start(listen=("unix:",), commands_per_principal_max=3), "unix")
    terminal = {"rows": 24, "columns": 80, "term": "xterm"}
    with place.connect() as one, place.connect() as other:
        for _ in range(5):
            assert code(one, one.open(["nosuchprogram"])).startswith("not_found")
        sleeper = one.start(["sleep", "1000"])[0]
        shell = one.start(None, request="shell")[0]
        held = other.start(None, request="shell", terminal=terminal)[0]
        for client in (one, other):
            assert code(client, client.open(["true"])).startswith("too_many_commands: 3 commands of uid:")
            assert code(client, client.open(None, request="shell")).startswith("too_many_commands")
        for client, ident in ((one, sleeper), (one, shell), (other, held)):
            client.close_channel(ident)
            client.finish(ident)
            until(lambda: other.run(["echo", "room"]).text() == b"room\n", "its place to be free")
            one.start(["sleep", "1000"])
            assert code(other, other.open(["true"])).startswith("too_many_commands")


def test_the_commands_of_all(start: Starter) -> None:
    running = start(listen=("unix:", "tls:127.0.0.1:0"), commands_max=2)
    with Place(running, "unix").connect() as one, RawClient(running.targets["tls"], by_key(running.identity)) as other:
        first = one.start(["sleep", "1000"])[0]
        other.start(["sleep", "1000"])
        for client in (one, other):
            assert code(client, client.open(["true"])) == "too_many_commands: 2 commands run here already"
        one.close_channel(first)
        one.finish(first)
        assert other.run(["echo", "room"]).text() == b"room\n"


def test_what_a_client_is_told(start: Starter) -> None:
    running = start(listen=("unix:",), commands_per_principal_max=1)
    with remote_shell.connect(running) as host:
        with host.popen(["sleep", "1000"]) as command:
            with pytest.raises(
                CommandRefusedError, match="wait until some have ended: it counts those of all connections"
            ):
                host.run(["true"])
            command.kill()
        assert host.run(["true"]).returncode == 0


# --- sessions


def test_one_session_too_many_of_all(start: Starter) -> None:
    running = start(listen=("unix:", "tls:127.0.0.1:0"), sessions_max=2, refusal_time=0.05)
    key = by_key(running.identity)
    with Place(running, "unix").connect() as one, RawClient(running.targets["tls"], key):
        with pytest.raises(LoginDeniedError):
            RawClient(running.targets["tls"], key)
        one.bye()
        RawClient(running.targets["tls"], key).bye()


# --- idle ones


def test_sessions_may_be_idle_unless_told_otherwise() -> None:
    assert DEFAULT_LIMITS.session_idle_time == 0


def test_an_idle_session_is_ended_and_signs_of_life_are_nothing(start: Starter) -> None:
    place = Place(start(listen=("unix:",), session_idle_time=0.6, ping_interval=0.1), "unix")
    with place.connect() as client:
        assert client.run(["true"]).exit is not None
        began = time.monotonic()
        assert client.wait_end() == "session_ended"
        assert time.monotonic() - began > 0.4
        assert client.pings > 0
        assert client.disconnect is not None and client.disconnect.detail.startswith("idle for 0.6 s")
    assert "idle for 0.6 s" in place.running.read_log()


def test_a_shell_that_waits_is_idle_and_goes_too(start: Starter) -> None:
    with Place(start(listen=("unix:",), session_idle_time=0.3), "unix").connect() as client:
        _, command = client.start(None, request="shell")
        assert command.opened is not None and command.opened.pid is not None
        pid = command.opened.pid
        assert client.wait_end() == "session_ended"
        until(lambda: not _is_there(pid), "the shell to be gone")


def _is_there(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_command_that_runs_is_not_idle(start: Starter) -> None:
    """Silent for longer than a session may be idle; the time runs from its end."""
    with Place(start(listen=("unix:",), session_idle_time=0.3), "unix").connect() as client:
        command = client.run(["sleep", "1"])
        assert command.exit is not None and command.exit.status == 0
        assert client.wait_end() == "session_ended"


def test_what_is_typed_counts(start: Starter) -> None:
    with Place(start(listen=("unix:",), session_idle_time=1.5), "unix").connect() as client:
        ident, command = client.start(None, request="shell")
        began = last = time.monotonic()
        while time.monotonic() - began < 3:
            client.session.send_data(ident, 0, b"x")
            client.flush()
            client.pump(0.1)
            gap, last = time.monotonic() - last, time.monotonic()
            if client.ended:
                assert gap > 1, "the machine was busy with others"
                return
        assert command.exit is None


def test_a_program_that_comes_back_has_a_new_session(start: Starter) -> None:
    """It lost nothing; a shell that it had is gone, and why is said."""
    running = start(listen=("unix:",), session_idle_time=0.3)
    with remote_shell.connect(running) as host:
        shell = host.shell()
        shell.run("x=5")
        until(lambda: "idle for" in running.read_log(), "it to be ended")
        with pytest.raises(
            remote_shell.RemoteShellError, match=r"idle for 0\.3 s, and this server keeps idle sessions no longer"
        ):
            shell.run("echo $x")
        assert host.run(["true"]).returncode == 0


# --- replay memory


def test_sessions_share_their_replay_memory_and_give_it_back(start: Starter) -> None:
    """The client acknowledges nothing of 200 KB by itself; asked for it is who is one too many, as long as the other is there."""
    place = Place(start(listen=("unix:",), unacked_total_max=300_000), "unix")

    def pings() -> int:
        with place.connect() as client:
            assert len(client.run(["head", "-c", "200000", "/dev/zero"]).text()) == 200_000
            return client.pings

    assert [pings() for _ in range(4)] == [0, 0, 0, 0], "each gave back what it had"
    with place.connect() as holder:
        for _ in range(2):  # of the first a part is acknowledged, by the question that measures the round trip
            assert len(holder.run(["head", "-c", "200000", "/dev/zero"]).text()) == 200_000
        assert pings() > 0
    assert pings() == 0
