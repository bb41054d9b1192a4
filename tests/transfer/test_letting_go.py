"""What a receiver lets go of: descriptors, locks and partial files that nobody can use."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from remote_shell.transfer.receiving import Receiver
from tests.transfer.hostile import entry
from tests.transfer.joined import SMALL, Joined, tree


def test_a_partial_file_is_free_when_its_hashing_was_stopped(tmp_path: Path) -> None:
    """Who was to hear the hash is gone; the lock went with the descriptor, and a server lives long."""
    (tmp_path / "x").write_bytes(os.urandom(900_000))
    cut = Joined([tmp_path / "x"], tmp_path / "y")
    cut.run(until=lambda: cut.data >= 300_000)
    before = os.listdir("/proc/self/fd")
    receiver = Receiver(os.fsencode(tmp_path / "y"), [b"x"], SMALL, lambda: True)
    receiver.message(entry(1, b"", size=900_000))
    receiver.close()
    assert os.listdir("/proc/self/fd") == before
    assert Joined([tmp_path / "x"], tmp_path / "y").run().faults == []


def test_cut_off_after_the_last_byte(tmp_path: Path) -> None:
    """All was put in its place, and the connection ends before the word of it has left."""
    (tmp_path / "x").write_bytes(b"x")
    receiver = Joined([tmp_path / "x"], tmp_path / "y").run().receiver
    assert receiver.close() == [] and receiver.files == 1


def test_a_large_file_is_not_sent_where_a_folder_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(os.urandom(900_000))
    (tmp_path / "to" / "x").mkdir(parents=True)
    joined = Joined([tmp_path / "x"], tmp_path / "to").run()
    (fault,) = joined.sender_faults
    assert fault.number == errno.EISDIR and fault.kept == 0 and "not replaced" in fault.detail
    assert joined.data == 0 and os.listdir(tmp_path / "to") == ["x"]


def test_a_folder_that_appears_meanwhile(tmp_path: Path) -> None:
    """The partial file can never have its place: to keep it, and to say that the same command goes on, would be no help."""
    (tmp_path / "x").write_bytes(os.urandom(900_000))
    joined = Joined([tmp_path / "x"], tmp_path / "y")
    while joined.data < 300_000:
        for item in joined.sender.produce():
            joined.pass_on(item)
        joined.answer()
    (tmp_path / "y").mkdir()
    (fault,) = joined.run().sender_faults
    assert fault.number == errno.EISDIR and fault.kept == 0
    assert not (tmp_path / ".y.rs-part").exists()


@pytest.mark.parametrize("size", [10, 900_000, -1])
def test_a_device_is_not_replaced(tmp_path: Path, size: int) -> None:
    """`get build-box x /dev/null` by root took /dev/null from the whole machine. A FIFO stands for it here."""
    source = tmp_path / "x"
    if size < 0:
        source.symlink_to("y")
    else:
        source.write_bytes(os.urandom(size))
    os.mkfifo(tmp_path / "null")
    joined = Joined([source], tmp_path / "null").run()
    (fault,) = joined.sender_faults
    assert fault.detail == "a FIFO has this name there, and is not replaced" and fault.number == errno.EEXIST
    assert stat.S_ISFIFO((tmp_path / "null").stat().st_mode) and len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("dot", ["", "/."])
def test_a_cut_folder_of_a_new_name_is_gone_on_with(tmp_path: Path, dot: str) -> None:
    """The same line again copied into it as `new/source`, since by then it was a folder that exists."""
    source, new = tmp_path / "source", tmp_path / "new"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "x").write_bytes(os.urandom(900_000))
    for folder in (source / "sub", source):
        os.utime(folder, ns=(1, 5_000_000_000))
    cut = Joined([f"{source}{dot}"], new)
    cut.run(until=lambda: cut.data >= 300_000)
    assert new.is_dir() and (tmp_path / ".new.rs-part").exists()
    done = Joined([f"{source}{dot}"], new).run()
    assert done.faults == [] and done.data < 900_000
    assert tree(new) == tree(source) and new.stat().st_mtime_ns == 5_000_000_000
    assert sorted(os.listdir(tmp_path)) == ["new", "source"]
    Joined([source], new).run()  # now it is a folder as any other
    assert (new / "source" / "sub" / "x").exists()


def test_a_mark_is_for_its_source_alone(tmp_path: Path) -> None:
    for name in ("source", "other", "new"):
        (tmp_path / name).mkdir()
    (tmp_path / ".new.rs-part").write_bytes(b"source")
    Joined([tmp_path / "other"], tmp_path / "new").run()
    assert (tmp_path / "new" / "other").is_dir()


def test_a_folder_with_a_partial_file_is_gone_on_with(tmp_path: Path) -> None:
    """As after a full disk: the fault says that the same command goes on from there."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "x").write_bytes(os.urandom(900_000))
    cut = Joined([tmp_path / "source"], tmp_path / "new")
    while cut.data < 300_000:
        for item in cut.sender.produce():
            cut.pass_on(item)
        cut.answer()
    os.truncate(tmp_path / "source" / "x", 1000)
    assert cut.run().sender_faults[0].kept > 0
    assert Joined([tmp_path / "source"], tmp_path / "new").run().faults == []
    assert sorted(os.listdir(tmp_path / "new")) == ["x"] and not (tmp_path / ".new.rs-part").exists()
