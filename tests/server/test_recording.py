"""Recordings: what a terminal showed and no more, in whole lines, for us alone, bounded."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell import connect
from remote_shell.audit.events import Who
from remote_shell.config.server import AuditConfig, RecordingConfig
from remote_shell.errors import CommandRefusedError, ConfigError
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.process.pty import Size
from remote_shell.server.audit import Trail
from remote_shell.server.recording import NOTICE, Recorder, Recordings
from remote_shell.terminal.cast import Moment, read_head, read_moments
from remote_shell.testing import RunningServer, server
from remote_shell.wire.messages import Command, Eof, Line, Resize, Terminal
from remote_shell.wire.messages import Mode as ModeMessage

from .conftest import Place
from .raw_client import RawClient, until
from .test_audit import Loop

pytestmark = pytest.mark.screen  # as a file it takes long

SECRET = "correct-horse-battery"
TERMINAL = Terminal(term="xterm", rows=24, columns=80)


class Clock:
    """Time by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Recorded:
    """A recorder with a clock, and what it said of its end."""

    def __init__(self, folder: Path, most: int = 1 << 20) -> None:
        self.path = folder / "r.cast"
        self.path.unlink(missing_ok=True)
        self.clock = Clock()
        self.cut: list[str] = []
        self.to = Recorder(str(self.path), Size(24, 80), b'{"version":2}\n', most, self.clock, self.cut.append)

    def moments(self) -> list[Moment]:
        """What is in the file; all of it can be read."""
        with open(self.path, "rb") as file:
            read_head(file, "r")
            found = list(read_moments(file))
        assert all(isinstance(one, Moment) for one in found)
        return [one for one in found if isinstance(one, Moment)]

    def text(self) -> str:
        """The output."""
        return "".join(one.text for one in self.moments() if one.kind == "o")


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Recorded]:
    made = Recorded(tmp_path)
    yield made
    made.to.close()


def test_times_and_sizes(recorded: Recorded) -> None:
    recorded.to.output(b"a")
    recorded.clock.now += 1.5
    recorded.to.resize(Size(24, 80))
    recorded.to.resize(Size(30, 100))
    recorded.clock.now += 1
    recorded.to.output(b"b\r\n")
    assert recorded.moments() == [(0.0, "o", "a"), (1.5, "r", "100x30"), (2.5, "o", "b\r\n")]
    assert stat.S_IMODE(recorded.path.stat().st_mode) == 0o600


def test_commands_and_lines_as_the_client_showed_them(recorded: Recorded) -> None:
    recorded.to.command(b"for x in 1\ndo read n; done")
    recorded.to.output(b"Name: ")
    recorded.to.echoed(b"B\xc3\xb6b\x1b[31m\x7f\xff", ended=True)
    recorded.to.output(b"no end")
    recorded.to.command(b"true")
    recorded.to.echoed(b"half", ended=False)
    assert recorded.text() == ("$ for x in 1\r\ndo read n; done\r\nName: Böb^[[31m^?\ufffd\r\nno end\r\n$ true\r\nhalf")


@given(st.lists(st.one_of(st.binary(max_size=30), st.text(max_size=10).map(str.encode)), max_size=8))
def test_any_output_in_any_pieces_is_the_text_that_it_is(pieces: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        recorded = Recorded(Path(folder))
        for piece in pieces:
            recorded.to.output(piece)
        recorded.to.close()
        assert recorded.text() == b"".join(pieces).decode("utf-8", "replace")


def test_a_flood_is_cut_into_events_that_can_be_read(recorded: Recorded) -> None:
    flood = b"\x1b" * 100_000
    recorded.to.output(flood)
    assert max(map(len, recorded.path.read_bytes().splitlines())) < DEFAULT_LIMITS.recording_line_max / 4
    assert recorded.text() == flood.decode()


def test_its_size_is_bounded_and_its_last_line_says_so(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, most=2000)
    for _ in range(100):
        recorded.to.output(b"x" * 40)
    recorded.to.close()
    assert 1800 < recorded.path.stat().st_size <= 2000
    assert recorded.moments()[-1] == (0.0, "m", "the recording is cut: it has 2000 bytes")
    assert recorded.cut == ["the recording is cut: it has 2000 bytes"]


def test_a_disk_that_fails_ends_it_once(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded.to.output(b"before")
    monkeypatch.setattr(os, "write", lambda fd, data: 3)
    recorded.to.output(b"lost")
    recorded.to.output(b"lost")
    monkeypatch.undo()
    recorded.to.output(b"lost")
    assert recorded.text() == "before"
    assert recorded.cut == ["No space left on device"]


def recordings(folder: Path, **settings: Any) -> Recordings:
    trail = Trail(Loop(), AuditConfig(), DEFAULT_LIMITS)  # type: ignore[arg-type]
    return Recordings(RecordingConfig(folder=str(folder), **settings), DEFAULT_LIMITS, trail, Clock())


def test_a_folder_that_others_reach_is_refused(tmp_path: Path) -> None:
    made = recordings(tmp_path / "new" / "deep")
    made.open()
    assert stat.S_IMODE((tmp_path / "new" / "deep").stat().st_mode) == 0o700
    (tmp_path / "new" / "deep").chmod(0o750)
    with pytest.raises(ConfigError, match="open to others"):
        made.open()
    (tmp_path / "link").symlink_to(tmp_path / "new")
    with pytest.raises(ConfigError, match="symlink"):
        recordings(tmp_path / "link").open()


def test_without_a_place_a_terminal_goes_on_or_is_refused(tmp_path: Path) -> None:
    who = Who("s", "uid:1", "unix")
    assert recordings(tmp_path / "gone").begin("id", who, Size(1, 1), b"xterm", pytest.fail) is None
    with pytest.raises(CommandRefusedError, match="records terminals, and can't now: No such file"):
        recordings(tmp_path / "gone", required=True).begin("id", who, Size(1, 1), b"xterm", pytest.fail)


# --- a server


class Server:
    """One that records."""

    def __init__(self, running: RunningServer, folder: Path) -> None:
        self.running = running
        self.folder = folder
        self.place = Place(running, "unix")

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.cast"))

    def raw(self) -> bytes:
        """All that it kept."""
        return b"".join(path.read_bytes() for path in self.files())

    def shown(self, number: int = -1) -> str:
        """What one of them shows."""
        with open(self.files()[number], "rb") as file:
            read_head(file, "r")
            moments = list(read_moments(file))
        return "".join(one.text for one in moments if isinstance(one, Moment) and one.kind == "o")


Starter = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    with contextlib.ExitStack() as stack:

        def begin(more: str = "") -> Server:
            text = f'[recording]\nfolder = "{tmp_path}/kept"\n{more}\n[audit]\nfile = "{tmp_path}/lines"\n'
            return Server(stack.enter_context(server(("unix:",), config=text)), tmp_path / "kept")

        yield begin


def test_a_command_on_a_terminal(start: Starter, tmp_path: Path) -> None:
    recording = start()
    with recording.place.connect() as client:
        script = "stty -echo; printf 'h\\303\\251 '; read x; stty echo; echo; read y; stty size; printf '\\377'"
        channel, command = client.start(["sh", "-c", script], stdin="pipe", terminal=TERMINAL)
        client.wait(lambda: "hé".encode() in command.text(), "the prompt")
        assert command.text().startswith(NOTICE)
        client.session.send_data(channel, 0, SECRET.encode() + b"\n")
        client.wait(lambda: command.text().endswith(b"\r\n"), "the second prompt")
        client.session.send_message(channel, Resize(rows=30, columns=100))
        client.session.send_data(channel, 0, b"seen\n")
        client.finish(channel)
    assert SECRET.encode() not in recording.raw()
    assert recording.shown() == NOTICE.decode() + "hé \r\nseen\r\n30 100\r\n\ufffd"
    (path,) = recording.files()
    head, *lines = path.read_text().splitlines()
    assert json.loads(head)["version"] == 2 and json.loads(head)["env"] == {"TERM": "xterm"}
    assert (json.loads(head)["width"], json.loads(head)["height"]) == (80, 24)
    assert {json.loads(line)[1] for line in lines} == {"o", "r"}, "never what was typed"
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    told = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    (line,) = [one for one in told if one["event"] == "recording"]
    assert line["file"] == str(path) and line["session"] in path.name


def test_a_live_shell_with_its_commands_and_lines_and_without_what_is_typed_unseen(start: Starter) -> None:
    recording = start()
    with recording.place.connect() as client:
        channel, command = client.start(None, request="shell", stdin="pipe", terminal=TERMINAL)

        def mode(name: str) -> int:
            """The number of the mode that is in force, once it is that."""
            modes = [one for one in command.others if isinstance(one, ModeMessage)]
            return modes[-1].number if modes and modes[-1].mode == name else 0

        line = "read -p 'Name: ' n; read -sp 'Password: ' p; echo; echo $n; exit"
        client.session.send_message(channel, Command(number=1, line=line))
        client.wait(lambda: command.text().endswith(b"Name: ") and mode("cooked"), "a prompt")
        client.session.send_message(channel, Line(text="Bob", mode=mode("cooked"), end="newline"))
        client.wait(lambda: command.text().endswith(b"Password: ") and mode("no_echo"), "the other")
        client.session.send_message(channel, Line(text=SECRET, mode=mode("no_echo"), end="newline"))
        client.finish(channel)
    assert SECRET.encode() not in recording.raw()
    assert recording.shown() == f"{NOTICE.decode()}$ {line}\r\nName: Bob\r\nPassword: \r\nBob\r\n"


def test_what_has_no_terminal_is_not_recorded(start: Starter) -> None:
    recording = start()
    with recording.place.connect() as client:
        client.run(["echo", "x"])
        client.start(None, request="shell")
    assert recording.files() == []


def test_what_did_not_start_leaves_no_file(start: Starter) -> None:
    recording = start()
    with recording.place.connect() as client:
        assert client.run(["no-such-program-at-all"], terminal=TERMINAL).rejected is not None
        shell = client.run(None, request="shell", terminal=TERMINAL, cwd="/no/such")
        assert shell.rejected is not None
    assert recording.files() == []


def test_the_notice_can_be_left_out(start: Starter) -> None:
    recording = start("notice = false")
    with recording.place.connect() as client:
        assert client.run(["echo", "x"], terminal=TERMINAL).text() == b"x\r\n"
    assert recording.shown() == "x\r\n"


def test_a_server_that_is_killed_leaves_whole_lines(start: Starter) -> None:
    recording = start()
    client = RawClient(recording.place.target)
    script = "i=0; while :; do echo line $i; i=$((i+1)); done"
    _, command = client.start(["sh", "-c", script], terminal=TERMINAL)
    client.wait(lambda: command.size > 50_000, "output")
    recording.running.process.kill()
    recording.running.process.wait(10)
    assert recording.raw().endswith(b"]\n")
    assert "line 1000\r\n" in recording.shown()


def test_no_place_for_it_ends_the_recording_and_not_the_session(start: Starter, tmp_path: Path) -> None:
    recording = start("[limits]\nrecording_max = 3000")
    with recording.place.connect() as client:
        done = client.run(["seq", "2000"], terminal=TERMINAL)
        assert done.exit is not None and done.exit.status == 0 and done.text().endswith(b"2000\r\n")
    assert recording.files()[0].stat().st_size <= 3000
    until(lambda: "recording_cut" in (tmp_path / "lines").read_text(), "that is told")
    last = json.loads(recording.raw().splitlines()[-1])
    assert last[1] == "m"


def test_a_refusal_names_its_own_reason_and_no_other(start: Starter, tmp_path: Path) -> None:
    """Who reads that the machine has no memory looks in the wrong place."""
    recording = start("required = true")
    shutil.rmtree(tmp_path / "kept")
    with connect(recording.running.targets["unix"]) as host, pytest.raises(CommandRefusedError) as raised:
        host.run(["true"], pty=True)
    assert str(raised.value).endswith("this server records terminals, and can't now: No such file or directory")


def test_where_it_is_required_nobody_gets_rid_of_it_by_a_flood(start: Starter) -> None:
    recording = start("required = true\n[limits]\nrecording_max = 3000")
    flood = "trap '' TERM HUP; seq 2000; sleep 60"
    with recording.place.connect() as client:
        done = client.run(["sh", "-c", flood], terminal=TERMINAL)
        assert done.exit is not None and done.exit.signal == "SIGKILL"
        assert b"this terminal can't be recorded any longer, and so it ends\r\n" in done.text()
        ident, shell = client.start(None, request="shell", terminal=TERMINAL, stdin="pipe")
        client.session.send_message(ident, Command(number=1, line=flood))
        client.finish(ident)
        assert shell.exit is not None and b"any longer, and so it ends" in shell.text()


@pytest.mark.parametrize("ends", [b"", b"x"])
def test_input_that_is_never_read_is_nowhere(start: Starter, ends: bytes) -> None:
    recording = start()
    with recording.place.connect() as client:
        channel, command = client.start(["sh", "-c", "stty -echo; echo go; sleep 60"], stdin="pipe", terminal=TERMINAL)
        client.wait(lambda: b"go" in command.text(), "its word")
        client.session.send_data(channel, 0, SECRET.encode() + ends)
        client.session.send_message(channel, Eof(stream=0))
        client.close_channel(channel)
        client.finish(channel)
    assert SECRET.encode() not in recording.raw()
