"""Limits at their edge: the figure itself passes, and one more does not."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest

from remote_shell.config.checked import read_text
from remote_shell.errors import ConfigError
from remote_shell.limits import Limits
from remote_shell.server.strangers import Strangers
from remote_shell.wire.messages import Line, Mode, Terminal

from .conftest import Place, Starter
from .raw_client import until
from .requests.test_shell import LiveShell

pytestmark = pytest.mark.screen  # as a file it takes long


def test_one_stranger_too_many() -> None:
    strangers, evicted = Strangers(Limits(strangers_max=5)), []
    for number in range(5):
        strangers.admit("one", lambda number=number: evicted.append(number), 0)  # type: ignore[misc]
    assert len(strangers) == 5 and evicted == []
    strangers.admit("other", lambda: evicted.append("other"), 0)
    assert len(strangers) == 5 and evicted == [0]


def test_lines_that_wait_are_bounded_in_bytes(start: Starter) -> None:
    """Those that wait, with the one that runs; what has ended does not count."""
    place = Place(start(listen=("unix:",), shell_waiting_bytes_max=1000), "unix")
    with place.connect() as client:
        shell = LiveShell(client)
        for _ in range(3):
            assert shell.run("true".ljust(1000))[0] == 0
        shell.send("sleep 1000")
        shell.send("true".ljust(990))
        assert not client.ended and client.run(["echo", "here"]).text() == b"here\n"
        shell.send("x")
        assert client.wait_end() == "bad_message"


def test_a_file_of_the_size_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"#" * 100)
    path.chmod(0o600)
    assert read_text(str(path), what="list", limit=100, private=False) == "#" * 100
    with pytest.raises(ConfigError, match="has 101 bytes, more than 100"):
        path.write_bytes(b"#" * 101)
        read_text(str(path), what="list", limit=100, private=False)


def test_lines_that_nobody_reads_are_bounded_in_bytes(start: Starter) -> None:
    """Those that were read, or came back, do not count."""
    place = Place(start(listen=("unix:",), shell_waiting_bytes_max=30_000), "unix")
    with place.connect() as client:
        shell = LiveShell(client, terminal=Terminal(term="xterm", rows=24, columns=80))
        client.wait(lambda: _mode_of(shell), "the mode")
        for round in range(3):
            number = shell.send(f"echo on {round}; for i in {{1..20}}; do read -r x; done")
            client.wait(lambda: f"on {round}".encode() in shell.command.text(), "it runs")  # noqa: B023
            _send_lines(shell, 20)
            assert shell.wait(number).status == 0
        shell.send("echo asleep; sleep 1000")
        client.wait(lambda: b"asleep" in shell.command.text(), "it runs")
        _send_lines(shell, 20)
        assert not client.ended and client.run(["echo", "here"]).text() == b"here\n"
        _send_lines(shell, 20)
        assert client.wait_end() == "bad_message"


def test_messages_that_nobody_reads_are_bounded(start: Starter) -> None:
    """What the client causes and does not take: here lines that come back."""
    running = start(listen=("unix:",), unsaid_max=1_000_000)
    place = Place(running, "unix")
    with place.connect() as client, place.connect() as other:
        shell = LiveShell(client, terminal=Terminal(term="xterm", rows=24, columns=80))
        client.wait(lambda: _mode_of(shell), "the mode")
        for _ in range(5):  # read between, so much may go by
            _send_lines(shell, 50, mode=0, size=10_000)
            client.session.measure(time.monotonic())
            client.wait(lambda: client.session.unacknowledged[0] == 0, "they are there")
            assert other.run(["echo", "here"]).text() == b"here\n" and not client.ended
        _send_lines(shell, 300, mode=0, size=10_000)
        assert client.wait_end() in (None, "session_ended")  # the socket may be too full for a word
        assert other.run(["echo", "here"]).text() == b"here\n"
    assert "messages wait" in running.read_log()


def _mode_of(shell: LiveShell) -> Mode | None:
    return next((one for one in reversed(shell.command.others) if isinstance(one, Mode)), None)


def _send_lines(shell: LiveShell, count: int, mode: int | None = None, size: int = 1000) -> None:
    """Send lines without reading what comes."""
    present = _mode_of(shell)
    assert present is not None
    line = Line(mode=present.number if mode is None else mode, text="x" * size)
    for _ in range(count):
        shell.client.session.send_message(shell.ident, line)
    with suppress(OSError):  # the server hung up
        until(shell.client.flush, "they are written")
