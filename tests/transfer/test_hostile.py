"""A receiver against a sender that lies: nothing outside, nothing in place that was not sent whole, each fault by name."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from remote_shell.errors import RemoteProtocolError
from remote_shell.files.reading import Found, Missed, Walk
from remote_shell.transfer.receiving import Receiver
from remote_shell.wire.fields import Message
from remote_shell.wire.file_messages import Content, EntryEnd, EntryFailed, Seek, Stored, Wanted
from tests.transfer.hostile import Said, entry, escapes, file
from tests.transfer.joined import SMALL


def tell(receiver: Receiver, said: Said) -> list[Message]:
    """All of it; the answers."""
    answers = []
    for one in said:
        if isinstance(one, Message):
            receiver.message(one)
        else:
            receiver.data(one)
        receiver.settle()
        answers += receiver.take_answers()
    return answers


@pytest.mark.parametrize("way", range(len(list(escapes(b"")))))
@pytest.mark.parametrize("new", [True, False])
def test_nothing_gets_outside(tmp_path: Path, way: int, new: bool) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    name, said = list(escapes(os.fsencode(outside)))[way]
    if not new:
        (tmp_path / "to").mkdir()
    receiver = Receiver(os.fsencode(tmp_path / "to"), [b"source"], SMALL)
    answers = tell(receiver, said)
    receiver.end()
    assert os.listdir(outside) == [], name
    assert {"outside", "to"} >= set(os.listdir(tmp_path)), name
    harmless = name in ("over a symlink", "a partial file that is one")
    assert any(isinstance(answer, EntryFailed) for answer in answers) is not harmless, name


def test_a_link_that_appears_in_between(tmp_path: Path) -> None:
    """Somebody else swaps a folder that we made for a symlink while files come for it."""
    (tmp_path / "outside").mkdir()
    receiver = Receiver(os.fsencode(tmp_path / "to"), [b"source"], SMALL)
    tell(receiver, [entry(1, b"", "folder"), entry(2, b"a", "folder"), entry(3, b"b", "folder"), *file(4, b"b/x")])
    (tmp_path / "to" / "a").rmdir()
    (tmp_path / "to" / "a").symlink_to(tmp_path / "outside")
    answers = tell(receiver, [*file(5, b"a/evil"), entry(6, b"a/deep", "folder")])
    receiver.end()
    assert [type(answer) for answer in answers] == [EntryFailed, EntryFailed]
    assert os.listdir(tmp_path / "outside") == []


@pytest.mark.parametrize(
    "said",
    [
        [entry(1, b"", size=4, sha256="0" * 64), b"evil"],
        [entry(1, b"", size=9000), Content(number=1), b"x" * 9000, EntryEnd(sha256="0" * 64)],
        [entry(1, b"", size=9000), Content(number=1), b"x" * 8000, EntryEnd(sha256="0" * 64)],
        [entry(1, b"", size=9000), Content(number=1), b"x" * 4000, EntryEnd(errno="EIO", detail="bad disk")],
    ],
    ids=["small", "large", "short", "given up"],
)
def test_what_is_not_whole_is_not_put_in_place(tmp_path: Path, said: Said) -> None:
    (tmp_path / "x").write_bytes(b"before")
    receiver = Receiver(os.fsencode(tmp_path / "x"), [b"x"], SMALL)
    *_, last = tell(receiver, said)
    receiver.end()
    assert isinstance(last, EntryFailed) and last.kept == 0
    assert os.listdir(tmp_path) == ["x"] and (tmp_path / "x").read_bytes() == b"before"


@pytest.mark.parametrize(
    "said",
    [
        [b"data"],
        [entry(2, b"")],
        [entry(1, b"", size=4, sha256="0" * 64), b"evil!"],
        [entry(1, b"", size=9000), Content(number=1), Seek(offset=9001)],
        [entry(1, b"", size=9000), Content(number=1), b"x", Seek(offset=0)],
        [entry(1, b"", size=9000), Content(number=1, offset=10)],
        [entry(1, b"", size=4, sha256="0" * 64), Seek(offset=1)],
        [EntryEnd()],
        [Wanted(number=1)],
        [Stored(numbers=[1])],
        [entry(number, b"", size=9000) for number in range(1, 10)],
    ],
    ids=range(11),
)
def test_what_breaks_the_rules_ends_it(tmp_path: Path, said: Said) -> None:
    receiver = Receiver(os.fsencode(tmp_path), [b"x"], SMALL)
    with pytest.raises(RemoteProtocolError):
        tell(receiver, said)
    receiver.close()
    assert os.listdir(tmp_path) == []


def test_a_file_without_a_name(tmp_path: Path) -> None:
    """`get DIR/.` asks for what is in a folder; a server that answers with a file has no name for it."""
    receiver = Receiver(os.fsencode(tmp_path), [b""], SMALL)
    (failed,) = [one for one in tell(receiver, file(1, b"")) if isinstance(one, EntryFailed)]
    receiver.end()
    assert failed.errno == "EINVAL" and os.listdir(tmp_path) == []


def test_a_folder_that_is_swapped_for_a_link_is_not_left(tmp_path: Path) -> None:
    """Whoever compared the path before has seen a folder; what is opened is what counts."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("x")
    (inside / "there").symlink_to(outside)
    (inside / "file").write_text("y")
    within = os.fsencode(os.path.realpath(inside))
    for to in (b"there", b"there/new", b"../out", b".."):
        with pytest.raises(OSError, match="outside of the folder that the key may use"):
            Receiver(within + b"/" + to, [b"x"], SMALL, within=within)
    Receiver(within + b"/new", [b"x"], SMALL, within=within).close()
    for source, found in ((b"there/secret", Missed), (b"there/", Missed), (b"../out/secret", Missed), (b"file", Found)):
        walk = Walk([source], within, source == b"there/", SMALL, within)
        (one,) = walk
        assert isinstance(one, found)
        if isinstance(one, Found):
            os.close(one.descriptor)
        else:
            assert one.error.errno == errno.EACCES
    assert os.listdir(outside) == ["secret"]
