"""shell over real sockets: one bash that keeps its state, told command by command."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from remote_shell.wire.messages import Command as CommandMessage
from remote_shell.wire.messages import Done, Eof, InputEnd, Line, Mode, Signal, Terminal, Unread, from_system

from ..conftest import Place
from ..raw_client import Command, RawClient, living, until


class LiveShell:
    """A live shell's channel, driven by hand."""

    def __init__(self, client: RawClient, **fields: Any) -> None:
        self.client = client
        self.ident, self.command = client.start(None, request="shell", **fields)
        self.number = 0

    def send(self, line: str, **fields: Any) -> int:
        """Send a command and do not wait."""
        self.number += 1
        self.client.session.send_message(self.ident, CommandMessage(number=self.number, line=line, **fields))
        self.client.flush()
        return self.number

    def wait(self, number: int) -> Done:
        """Until that command is done."""
        self.client.wait(lambda: self.done(number), f"command {number}")
        done = self.done(number)
        assert done is not None
        return done

    def done(self, number: int) -> Done | None:
        """What was told of a command's end."""
        return next((one for one in self.command.others if isinstance(one, Done) and one.number == number), None)

    def run(self, line: str, **fields: Any) -> tuple[int | None, bytes]:
        """Run it; status and output, both streams as they came."""
        before = len(self.command.chunks)
        done = self.wait(self.send(line, **fields))
        return done.status, b"".join(data for _, data in self.command.chunks[before:])

    def signal(self, name: str, number: int | None = None) -> None:
        """Send a signal."""
        self.client.session.send_message(self.ident, Signal(signal=name, command=number))
        self.client.flush()

    def end(self) -> Command:
        """No more commands: wait for the shell's end."""
        self.client.session.send_message(self.ident, Eof(stream=0))
        return self.client.finish(self.ident)


def test_it_keeps_its_state(place: Place, tmp_path: Path) -> None:
    with place.connect() as client:
        shell = LiveShell(client)
        assert shell.run(f"cd {tmp_path}; x=1; f() {{ echo f$x; }}") == (0, b"")
        assert shell.run("pwd; f; (exit 3)") == (3, bytes(tmp_path) + b"\nf1\n")
        assert shell.wait(shell.send("cd /")).cwd == "/"
        assert shell.run("cat; echo $x >&2") == (0, b"1\n"), "its stdin is empty"
        how = shell.end()
        assert how.exit is not None and how.exit.status == 0 and how.closed


def test_input_of_a_command(local: Place) -> None:
    with local.connect() as client:
        shell = LiveShell(client)
        number = shell.send("cat; read x; echo end", stdin=True)
        client.session.send_data(shell.ident, 0, b"some input\n")
        client.session.send_message(shell.ident, InputEnd(number=number))
        assert shell.wait(number).status == 0
        assert shell.command.text() == b"some input\nend\n"
        client.session.send_data(shell.ident, 0, b"late\n")
        assert shell.run("echo on") == (0, b"on\n")
        queued = shell.send("sleep 0.05"), shell.send("cat", stdin=True)
        client.session.send_data(shell.ident, 0, b"for the second\n")
        client.session.send_message(shell.ident, InputEnd(number=queued[1]))
        shell.wait(queued[1])
        assert shell.command.text().endswith(b"for the second\n")


def test_an_interrupt_ends_the_command_and_not_the_shell(local: Place) -> None:
    with local.connect() as client:
        shell = LiveShell(client)
        shell.run("x=kept")
        nap = f"1000.{time.monotonic_ns()}"
        number = shell.send(f"sleep {nap}; echo never")
        until(lambda: len(living(nap)) == 1, "it runs")
        shell.signal("SIGINT", number)
        assert shell.wait(number).status == 130
        shell.signal("SIGINT", number)
        assert shell.run("echo $x") == (0, b"kept\n"), "a late one is dropped"
        assert b"never" not in shell.command.text()


def test_a_signal_that_overtakes_its_command(local: Place) -> None:
    with local.connect() as client:
        shell = LiveShell(client)
        shell.signal("SIGINT", 1)
        assert shell.wait(shell.send("sleep 1000")).status == 130
        assert shell.run("echo on") == (0, b"on\n")


def test_a_timeout_leaves_the_shell(local: Place) -> None:
    with local.connect() as client:
        shell = LiveShell(client)
        done = shell.wait(shell.send("sleep 1000", timeout_ms=100))
        assert done.timed_out and done.shell == "alive"
        assert shell.run("echo on") == (0, b"on\n")


@pytest.mark.parametrize(
    ("line", "state", "status"),
    [("exit 7", "ended", 7), ("exec sleep 0.1", "replaced", None), ("set -e; false", "ended", 1)],
)
def test_what_ends_the_shell(local: Place, line: str, state: str, status: int | None) -> None:
    """Said with the command, and of each that comes too late."""
    with local.connect() as client:
        shell = LiveShell(client)
        numbers = shell.send(line), shell.send("echo never")
        done = shell.wait(numbers[0])
        assert (done.shell, done.status) == (state, status)
        late = shell.wait(numbers[1])
        assert (late.shell, late.status, late.signal) == (state, None, None)
        client.finish(shell.ident)
        assert b"never" not in shell.command.text()


def test_a_command_after_the_shell_was_replaced(local: Place) -> None:
    with local.connect() as client:
        shell = LiveShell(client)
        shell.wait(shell.send("exec sleep 1000"))
        assert shell.wait(shell.send("echo never")).shell == "replaced"
        client.close_channel(shell.ident)
        client.finish(shell.ident)


def test_what_replaced_the_shell_has_its_input_and_its_signals(local: Place) -> None:
    """To its end: Ctrl-C too."""
    with local.connect() as client:
        shell = LiveShell(client)
        number = shell.send("exec sh -c 'cat; exec sleep 1000'", stdin=True)
        shell.wait(number)
        client.session.send_data(shell.ident, 0, b"late")
        client.session.send_message(shell.ident, InputEnd(number=number))
        client.wait(lambda: shell.command.text() == b"late", "its input")
        shell.signal("SIGINT", number)
        assert client.finish(shell.ident).exit is not None
        assert shell.command.exit is not None and shell.command.exit.signal == "SIGINT"
        terminal = LiveShell(client, terminal=Terminal(term="xterm", rows=24, columns=80))
        number = terminal.send("exec sleep 1000")
        terminal.wait(number)
        terminal.signal("SIGINT", number)
        exit = client.finish(terminal.ident).exit
        assert exit is not None and exit.signal == "SIGINT"


def test_numbers_rise_by_one(local: Place) -> None:
    client = local.connect()
    shell = LiveShell(client)
    shell.number = 5
    shell.send("true")
    assert client.wait_end() == "bad_message"


def test_requests_that_make_no_sense(local: Place) -> None:
    with local.connect() as client:
        for fields in ({"argv": ["true"]}, {"line": "true"}):
            rejected = client.run(request="shell", **fields).rejected
            assert rejected is not None and rejected.code == "bad_request"
        first = LiveShell(client, id=f"shell-{time.monotonic_ns()}")
        again = client.run(None, request="shell", id=f"shell-{time.monotonic_ns()}", cwd="/no/such/folder").rejected
        assert again is not None and again.code == "bad_cwd"
        first.end()


def test_an_id_is_used_once(local: Place) -> None:
    ident = f"shell-{time.monotonic_ns()}"
    with local.connect() as client:
        LiveShell(client, id=ident).end()
        rejected = client.run(None, request="shell", id=ident).rejected
        assert rejected is not None and rejected.code == "id_conflict"
        assert client.query(ident).state == "finished"


@pytest.mark.parametrize("how", ["close", "bye"])
def test_its_end_is_everythings_end(local: Place, how: str) -> None:
    nap = f"1000.{time.monotonic_ns()}"
    with local.connect() as client:
        shell = LiveShell(client)
        shell.run(f"sleep {nap} & (setsid sleep {nap} &)")
        shell.send(f"sleep {nap}")
        until(lambda: len(living(nap)) == 3, "they run")
        if how == "bye":
            client.bye()
        else:
            client.close_channel(shell.ident)
            client.finish(shell.ident)
        until(lambda: not living(nap), "all are dead")


def test_a_flood_that_nobody_wants(local: Place) -> None:
    with local.connect() as client:
        shell = LiveShell(client)
        shell.command.paused = True
        shell.send("yes")
        client.wait(lambda: shell.command.size >= client.limits.window, "the window is full")
        client.close_channel(shell.ident)
        client.finish(shell.ident)
        assert client.run(["echo", "on"]).text() == b"on\n"


def test_it_survives_a_cut(local: Place) -> None:
    client = local.connect()
    shell = LiveShell(client)
    shell.run("x=kept")
    number = shell.send("sleep 0.1; echo $x")
    client.cut()
    client.connect(client.welcome.session)
    assert client.welcome.resumed
    assert shell.wait(number).status == 0
    assert shell.command.text() == b"kept\n"
    client.bye()


def test_waiting_commands_are_bounded(place: Place) -> None:
    """One more than may wait ends the session: the lines are held in memory."""
    with place.connect() as client:
        shell = LiveShell(client)
        first = shell.send("sleep 0.2")
        for _ in range(63):
            shell.send("true")
        shell.wait(first + 63)
        shell.send("sleep 1000")
        for _ in range(64):
            shell.send("true")
        assert client.wait_end() == "bad_message"


def test_more_unread_than_a_frame_takes_is_given_back_in_parts(local: Place, tmp_path: Path) -> None:
    """Whole lines, as far as they are short, in order. The shell goes on."""
    with local.connect() as client:
        shell = LiveShell(client, terminal=Terminal(term="xterm", rows=24, columns=80))
        client.wait(lambda: any(isinstance(one, Mode) for one in shell.command.others), "the mode")
        number = shell.send(f"echo on; until [ -e {tmp_path}/go ]; do sleep 0.01; done")
        client.wait(lambda: b"on" in shell.command.text(), "it runs")
        lines = [f"{line:04}{'x' * 1000}" for line in range(1500)] + ["y" * 20_000, "end"]
        for line in lines:
            client.session.send_message(shell.ident, Line(mode=1, text=line))
        client.session.measure(time.monotonic())
        client.wait(lambda: client.session.unacknowledged[0] == 0, "they are there")
        (tmp_path / "go").touch()
        assert shell.wait(number).status == 0
        parts = [from_system(one.text) for one in shell.command.others if isinstance(one, Unread)]
        assert b"".join(parts).decode() == "".join(f"{line}\n" for line in lines)
        assert len(parts) > 1 and all(part.endswith(b"\n") for part in parts[:100])
        assert shell.run("echo more")[0] == 0
