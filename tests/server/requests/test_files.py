"""put and get on the bare wire: what they answer, what a hostile client can't do, what is left when it goes away."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from pathlib import Path
from typing import Any

import pytest

from remote_shell.wire.fields import Message
from remote_shell.wire.file_messages import Content, Entry, EntryEnd, EntryFailed, Seek, Skipped, Stored, Wanted
from remote_shell.wire.messages import Eof
from tests.transfer.hostile import Said, entry, escapes, file

from ..conftest import Place, Starter, descriptors, resident
from ..raw_client import Command, RawClient, until


def connect(place: Place) -> RawClient:
    """A client that names the feature."""
    return place.connect(features=["files"])


def put(client: RawClient, to: Path, *names: str) -> tuple[int, Command]:
    """Begin."""
    return client.start(None, request="put", to=str(to), paths=list(names))


def say(client: RawClient, ident: int, said: Said, *, last: bool = True) -> None:
    """All of it."""
    for one in said:
        if isinstance(one, Message):
            client.session.send_message(ident, one)
        else:
            client.session.send_data(ident, 0, one)
    if last:
        client.session.send_message(ident, Eof(stream=0))
    client.flush()


def of(command: Command, kind: type[Any]) -> list[Any]:
    return [message for message in command.others if isinstance(message, kind)]


def test_put_on_each_transport(place: Place, tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    digest = hashlib.sha256(data).hexdigest()
    with connect(place) as client:
        ident, command = put(client, tmp_path / "x", "x")
        say(client, ident, [entry(1, b"", size=len(data))], last=False)
        client.wait(lambda: of(command, Wanted), "wanted")
        say(client, ident, [Content(number=1), data, EntryEnd(sha256=digest)])
        client.finish(ident)
        assert command.exit is not None and command.exit.status == 0
        assert [one.numbers for one in of(command, Stored)] == [[1]]
    assert (tmp_path / "x").read_bytes() == data


def test_get(local: Place, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_bytes(b"content")
    os.mkfifo(tmp_path / "d" / "fifo")
    with connect(local) as client:
        ident, command = client.start(None, request="get", paths=[str(tmp_path / "d")], recursive=True)
        client.wait(lambda: 1 in command.ended, "the end of all entries")
        assert command.text() == b"content"
        assert [(one.path, one.kind) for one in of(command, Entry)] == [("", "folder"), ("x", "file")]
        assert [(one.path, one.errno) for one in of(command, Skipped)] == [("fifo", "EINVAL")]
        assert command.exit is None, "not before all are answered"
        client.session.send_message(ident, Stored(numbers=[1, 2]))
        client.flush()
        client.finish(ident)
        assert command.exit is not None and command.exit.status == 1


@pytest.mark.parametrize("way", range(len(list(escapes(b"")))))
def test_a_hostile_client_gets_nothing_outside(local: Place, tmp_path: Path, way: int) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    _, said = list(escapes(os.fsencode(outside)))[way]
    with connect(local) as client:
        ident, command = put(client, tmp_path / "to", "source")
        say(client, ident, said)
        client.finish(ident)
        assert command.exit is not None
    assert os.listdir(outside) == []


@pytest.mark.parametrize("name", ["..", "a/b", "/etc", "x" * 256])
def test_a_hostile_name_of_a_source(local: Place, tmp_path: Path, name: str) -> None:
    with connect(local) as client:
        _, command = put(client, tmp_path, name)
        assert command.rejected is not None and command.rejected.code == "bad_path"


def test_destinations_that_are_none(local: Place, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    with connect(local) as client:
        for to, names, number in (
            ("none/x", ["x"], "ENOENT"),
            ("f", ["x", "y"], "ENOTDIR"),
            ("n", ["x", "y"], "ENOENT"),
        ):
            _, command = put(client, tmp_path / to, *names)
            assert command.rejected is not None
            assert (command.rejected.code, command.rejected.errno) == ("bad_path", number)


def test_without_their_fields(local: Place) -> None:
    with connect(local) as client:
        for fields in ({"request": "put", "paths": ["x"]}, {"request": "put", "to": "x"}, {"request": "get"}):
            _, command = client.start(None, **fields)
            assert command.rejected is not None and command.rejected.code == "bad_request"


def test_breaking_the_rules_ends_the_session(local: Place, tmp_path: Path) -> None:
    """A seek without a file; what was under way is over, and nothing is in place."""
    with connect(local) as client:
        ident, _ = put(client, tmp_path / "x", "x")
        say(client, ident, [Seek(offset=2**53 - 1)], last=False)
        assert client.wait_end() == "unexpected_message"
    assert os.listdir(tmp_path) == []


def test_a_hole_of_many_years_can_be_left(local: Place, tmp_path: Path) -> None:
    """Its zeros are hashed; the client that said it goes away, and the thread with it."""
    pid = local.running.process.pid
    with local.connect() as first:
        first.run(["true"])
    before = descriptors(pid), len(os.listdir(f"/proc/{pid}/task"))
    client = connect(local)
    ident, command = put(client, tmp_path / "x", "x")
    say(client, ident, [entry(1, b"", size=2**53 - 1)], last=False)
    client.wait(lambda: of(command, Wanted), "wanted")
    say(client, ident, [Content(number=1), Seek(offset=2**53 - 1)], last=False)
    client.close_channel(ident)
    client.finish(ident)
    client.bye()
    until(
        lambda: (descriptors(pid), len(os.listdir(f"/proc/{pid}/task"))) <= before, "threads and descriptors are gone"
    )


@pytest.mark.parametrize("goes", ["closes", "bye"])
def test_what_came_of_a_large_file_is_kept(local: Place, tmp_path: Path, goes: str) -> None:
    data = os.urandom(4 << 20)
    client = connect(local)
    ident, command = put(client, tmp_path / "x", "x")
    say(client, ident, [entry(1, b"", size=len(data))], last=False)
    client.wait(lambda: of(command, Wanted), "wanted")
    say(client, ident, [Content(number=1), data[: 3 << 20]], last=False)
    part = tmp_path / ".x.rs-part"
    while not part.exists() or part.stat().st_size < 3 << 20:
        client.pump(0.05)
    if goes == "closes":
        client.close_channel(ident)
        client.finish(ident)
    client.bye()
    with connect(local) as again:
        until(lambda: not _locked(part), "the server let go of it")
        ident, command = put(again, tmp_path / "x", "x")
        say(again, ident, [entry(1, b"", size=len(data))], last=False)
        again.wait(lambda: of(command, Wanted), "wanted")
        wanted = of(command, Wanted)[0]
        assert wanted.offset >= 2 << 20
        assert wanted.sha256 == hashlib.sha256(data[: wanted.offset]).hexdigest()


def _locked(path: Path) -> bool:
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True


def test_more_entries_than_may_wait(local: Place, tmp_path: Path) -> None:
    """257 announced files: the 257th ends the session, and none has cost more than its name."""
    with connect(local) as client:
        ident, _ = put(client, tmp_path, "x")
        say(
            client,
            ident,
            [entry(1, b"", "folder"), *(entry(n, b"%d" % n, size=2 << 20) for n in range(2, 260))],
            last=False,
        )
        assert client.wait_end() == "unexpected_message"


def test_messages_ahead_of_a_busy_disk_are_bounded(start: Starter, tmp_path: Path) -> None:
    """No window bounds those that wait to be seen to; here while the zeros of a hole are hashed."""
    place = Place(start(transfers_ahead_max=300_000), "unix")
    skipped = Skipped(source=0, path="x" * 1000, detail="no")
    with connect(place) as other, connect(place) as client:
        ident, command = put(client, tmp_path / "a", "a")
        for number in range(1, 5):  # those that were seen to do not count
            say(
                client,
                ident,
                [*[skipped] * 100, entry(number, b"" if number == 1 else b"%d" % number, "folder")],
                last=False,
            )
            client.wait(lambda: len(of(command, Stored)) == number, "they were seen to")  # noqa: B023
        say(client, ident, [entry(5, b"file", size=2**53 - 1)], last=False)
        client.wait(lambda: of(command, Wanted), "wanted")
        say(client, ident, [Content(number=5), Seek(offset=2**53 - 1), *[skipped] * 150], last=False)
        client.session.measure(time.monotonic())
        client.wait(lambda: not client.session.measuring, "they are there")
        assert not client.ended and other.run(["echo", "here"]).text() == b"here\n"
        say(client, ident, [skipped] * 100, last=False)
        assert client.wait_end() == "unexpected_message"


def test_what_was_skipped_is_not_kept_by_a_server(start: Starter, tmp_path: Path) -> None:
    """Nobody there is told of it."""
    running = start()
    with connect(Place(running, "unix")) as client:
        ident, command = put(client, tmp_path / "a", "a")
        sizes = []
        for number in range(3):
            for _ in range(20):
                say(client, ident, [Skipped(source=0, path="x" * 4000, detail="y" * 1000)] * 100, last=False)
                client.session.measure(time.monotonic())
                client.wait(lambda: not client.session.measuring, "they are there")
            say(client, ident, [entry(number + 1, b"", "folder")], last=False)
            client.wait(lambda: len(of(command, Stored)) > number, "they were seen to")  # noqa: B023
            sizes.append(resident(running.process.pid))
        assert sizes[2] - sizes[0] < 8 * 2**20  # of 20 MB that came meanwhile


@pytest.mark.slow  # 20,000 named pipes take seconds
def test_what_can_not_be_sent_is_told_as_fast_as_it_is_read(start: Starter, tmp_path: Path) -> None:
    """Messages alone, which no window bounds and nobody answers."""
    place, count = Place(start(unsaid_max=1_000_000), "unix"), 20_000
    folder = tmp_path / "a"
    folder.mkdir()
    for number in range(count):
        os.mkfifo(folder / f"{number}")
    with connect(place) as client, connect(place) as other:
        ident, command = client.start(None, request="get", paths=[str(folder)], recursive=True)
        for _ in range(50):
            other.run(["true"])
        client.wait(lambda: of(command, Entry), "the folder")
        client.session.send_message(ident, Stored(numbers=[1]))
        client.finish(ident, deadline=30)
        assert command.exit is not None and command.exit.status == 1
        assert len(of(command, Skipped)) == count


def test_transfers_at_once_are_bounded(start: Starter, tmp_path: Path) -> None:
    running = start(transfers_max=2)
    with connect(Place(running, "unix")) as client:
        first = [put(client, tmp_path / f"{n}", "x") for n in range(2)]
        _, third = put(client, tmp_path / "3", "x")
        assert third.rejected is not None and third.rejected.code == "resources"
        client.close_channel(first[0][0])
        client.finish(first[0][0])
        _, fourth = put(client, tmp_path / "4", "x")
        assert fourth.opened is not None


def test_a_client_that_did_not_name_the_feature(local: Place, tmp_path: Path) -> None:
    """Strict: neither the requests nor the messages."""
    with local.connect() as client:
        client.session._link.has_files = True  # type: ignore[union-attr]  # our own core would not say it
        client.open(None, request="put", to=str(tmp_path), paths=["x"])
        assert client.wait_end() == "unexpected_message"
    with local.connect() as client:
        ident, _ = client.start(["cat"], stdin="pipe")
        client.session.send_message(ident, EntryFailed(number=1))
        client.flush()
        assert client.wait_end() == "unexpected_message"


def test_messages_about_files_mean_nothing_to_a_command(local: Place) -> None:
    with connect(local) as client:
        ident, command = client.start(["cat"], stdin="pipe")
        say(client, ident, [*file(1, b"x")])
        client.finish(ident)
        assert command.text() == b"evil" and command.exit is not None and command.exit.status == 0
