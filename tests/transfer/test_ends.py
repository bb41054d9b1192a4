"""Both ends joined: what arrives is what was sent, with its names, modes, times, links and holes; and what is there already stays home."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remote_shell.files import names
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.wire.file_messages import Content, Entry, Seek, Wanted
from tests.config.account import as_nobody, nobodys_folder
from tests.files.test_contents import sparse_file
from tests.transfer.joined import SMALL, Joined, tree


def make_tree(root: Path) -> Path:
    """Folders, small and large files, links, names that are no text."""
    (root / "a" / "b").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "none").write_bytes(b"")
    (root / "a" / "small").write_bytes(b"x" * 100)
    (root / "a" / "b" / "large").write_bytes(os.urandom(700_000))
    (root / "a" / "large").write_bytes(os.urandom(5000))
    (root / "run").write_bytes(b"#!/bin/sh\n")
    (root / "run").chmod(0o755)
    (root / "secret").write_bytes(b"s")
    (root / "secret").chmod(0o600)
    (root / "link").symlink_to("nowhere/at all")
    (root / "a" / "out").symlink_to("/etc")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe\n name")).write_bytes(b"bytes")
    os.utime(root / "run", ns=(1, 1_234_567_890_123_456_789))
    os.utime(root / "link", ns=(1, 987_654_321), follow_symlinks=False)
    (root / "a" / "b").chmod(0o500)
    os.utime(root / "a" / "b", ns=(1, 5_000_000_000))
    return root


def test_a_whole_tree(tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source")
    joined = Joined([source], tmp_path / "copy").run()
    assert joined.faults == joined.sender_faults == []
    assert tree(tmp_path / "copy") == tree(source)
    assert joined.receiver.files == joined.sender.files == 7
    assert joined.receiver.bytes == joined.sender.bytes == joined.data


def test_again_only_the_small_ones_cross(tmp_path: Path) -> None:
    """A large file with the same size, time and hash is there."""
    source = make_tree(tmp_path / "source")
    Joined([source], tmp_path / "copy").run()
    joined = Joined([str(source) + "/."], tmp_path / "copy").run()
    assert joined.data == 100 + 10 + 1 + 5 and joined.sender.resumed == 705_000
    assert files_of(tmp_path / "copy") == files_of(source)
    large = tmp_path / "copy" / "a" / "large"
    status = large.stat()
    large.write_bytes(b"y" * 5000)
    os.utime(large, ns=(1, status.st_mtime_ns))
    Joined([str(source) + "/."], tmp_path / "copy").run()
    assert files_of(tmp_path / "copy") == files_of(source), "size and time are believed by nobody"


def files_of(root: Path) -> dict[bytes, tuple[str, int, int, bytes]]:
    """Without folders: those that were there keep their own mode and time."""
    return {name: entry for name, entry in tree(root).items() if entry[0] != "folder"}


NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: not set(name) & {0, 47} and name not in (b".", b"..") and not name.endswith(b".rs-part")
)
TREES = st.recursive(
    st.binary(max_size=80) | st.just(b"z" * 6000),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, TREES, max_size=4))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_tree_with_any_names(tmp_path: Path, made: dict[bytes, object]) -> None:
    for name in ("source", "copy"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)

    def build(path: bytes, value: object) -> None:
        if isinstance(value, bytes):
            with open(path, "wb") as file:
                file.write(value)
        elif isinstance(value, dict):
            os.mkdir(path)
            for name, inner in value.items():
                build(path + b"/" + name, inner)

    build(os.fsencode(tmp_path / "source"), made)
    joined = Joined([tmp_path / "source"], tmp_path / "copy").run()
    assert joined.faults == joined.sender_faults == []
    assert tree(tmp_path / "copy") == tree(tmp_path / "source")


# --- holes


def test_holes_stay_holes(tmp_path: Path) -> None:
    content = sparse_file(tmp_path / "x")
    joined = Joined([tmp_path / "x"], tmp_path / "y").run()
    assert (tmp_path / "y").read_bytes() == content
    assert (tmp_path / "y").stat().st_blocks <= (tmp_path / "x").stat().st_blocks
    assert joined.data < 200_000 and sum(isinstance(one, Seek) for one in joined.said) == 3


def test_a_partial_file_with_holes_is_gone_on_with(tmp_path: Path) -> None:
    content = sparse_file(tmp_path / "x")
    joined = Joined([tmp_path / "x"], tmp_path / "y")
    joined.run(lambda: joined.data >= 70_000)
    assert (tmp_path / ".y.rs-part").exists() and not (tmp_path / "y").exists()
    again = Joined([tmp_path / "x"], tmp_path / "y").run()
    assert (tmp_path / "y").read_bytes() == content and again.data == 4096
    assert not (tmp_path / ".y.rs-part").exists()


# --- what was cut off


def cut(tmp_path: Path, size: int = 900_000, at: int = 300_000) -> Path:
    """A transfer that broke off; the source."""
    (tmp_path / "x").write_bytes(os.urandom(size))
    joined = Joined([tmp_path / "x"], tmp_path / "y")
    joined.run(lambda: joined.data >= at)
    assert (tmp_path / ".y.rs-part").exists() and not (tmp_path / "y").exists()
    return tmp_path / "x"


def test_a_cut_file_is_gone_on_with(tmp_path: Path) -> None:
    source = cut(tmp_path)
    kept = (tmp_path / ".y.rs-part").stat().st_size
    joined = Joined([source], tmp_path / "y").run()
    assert kept > 0 and joined.data == 900_000 - kept and joined.sender.resumed == joined.receiver.resumed == kept
    assert (tmp_path / "y").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("what", ["source", "part", "longer"])
def test_never_blindly(tmp_path: Path, what: str) -> None:
    """A partial file whose bytes are not the source's is begun anew."""
    source = cut(tmp_path)
    part = tmp_path / ".y.rs-part"
    if what == "source":
        source.write_bytes(os.urandom(900_000))
    elif what == "part":
        content = bytearray(part.read_bytes())
        content[1000] ^= 1
        part.write_bytes(content)
    else:
        part.write_bytes(b"x" * 2_000_000)
    joined = Joined([source], tmp_path / "y").run()
    assert joined.data == 900_000 and joined.sender.resumed == 0
    assert (tmp_path / "y").read_bytes() == source.read_bytes()


def test_a_small_file_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 4000)
    Joined([tmp_path / "x"], tmp_path / "y").run(lambda: True)
    assert sorted(os.listdir(tmp_path)) == ["x"]


@pytest.mark.parametrize("kind", ["symlink", "fifo", "linked", "writable"])
def test_a_partial_file_of_somebody_else(tmp_path: Path, kind: str) -> None:
    """What was put there in its name is neither written nor believed."""
    (tmp_path / "x").write_bytes(os.urandom(20_000))
    victim, part = tmp_path / "victim", tmp_path / ".y.rs-part"
    victim.write_bytes(b"mine")
    if kind == "symlink":
        part.symlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(part)
    elif kind == "linked":
        os.link(victim, part)
    else:
        part.write_bytes((tmp_path / "x").read_bytes()[:9000])
        part.chmod(0o666)
    joined = Joined([tmp_path / "x"], tmp_path / "y").run()
    assert joined.faults == [] and joined.data == 20_000
    assert (tmp_path / "y").read_bytes() == (tmp_path / "x").read_bytes() and victim.read_bytes() == b"mine"
    assert not part.exists() and not part.is_symlink()


def test_two_at_once_do_not_mix(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(os.urandom(900_000))
    first = Joined([tmp_path / "x"], tmp_path / "y")
    while first.data < 300_000:
        for item in first.sender.produce():
            first.pass_on(item)
        first.answer()
    second = Joined([tmp_path / "x"], tmp_path / "y").run()
    assert [fault.number for fault in second.faults] == [errno.EBUSY]
    assert "another transfer writes this file" in second.faults[0].detail
    first.run()
    assert (tmp_path / "y").read_bytes() == (tmp_path / "x").read_bytes()


# --- what fails, by name


def test_special_files_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    source = tmp_path / "s"
    source.mkdir()
    os.mkfifo(source / "fifo")
    (source / "z").write_bytes(b"z")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(source / "sock"))
        joined = Joined([source, "/dev/null", tmp_path / "none"], tmp_path).run()
    assert [(fault.path.rpartition(b"/")[2], fault.detail) for fault in joined.sender_faults] == [
        (b"fifo", "it is a FIFO, which has no content to copy"),
        (b"sock", "it is a socket, which has no content to copy"),
        (b"null", "it is a character device, which has no content to copy"),
        (b"none", "No such file or directory"),
    ]
    assert [fault.number for fault in joined.faults] == [errno.EINVAL] * 3 + [errno.ENOENT]
    assert (tmp_path / "s" / "z").read_bytes() == b"z"


def test_a_folder_without_r(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    joined = Joined([tmp_path / "d"], tmp_path / "e", recursive=False).run()
    assert joined.sender_faults[0].number == errno.EISDIR and "add -r" in joined.sender_faults[0].detail
    assert not (tmp_path / "e").exists()


def test_a_named_link_is_followed_only_without_r(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    (tmp_path / "l").symlink_to("x")
    Joined([tmp_path / "l"], tmp_path / "copy", recursive=False).run()
    Joined([tmp_path / "l"], tmp_path / "link").run()
    assert not (tmp_path / "copy").is_symlink() and (tmp_path / "link").readlink() == Path("x")


def test_a_folder_in_the_way_of_a_file(tmp_path: Path) -> None:
    for name in ("a/f", "b/f/inner"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "a" / "g").write_bytes(b"2")
    joined = Joined([str(tmp_path / "a") + "/."], tmp_path / "b").run()
    assert [fault.number for fault in joined.faults] == [errno.EISDIR]
    assert joined.sender_faults[0].path.endswith(b"/f") and (tmp_path / "b" / "g").read_bytes() == b"2"
    assert sorted(os.listdir(tmp_path / "b")) == ["f", "g"], "no partial file is left"


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(os.urandom(900_000))
    joined = Joined([tmp_path / "x"], tmp_path / "y")
    for item in joined.sender.produce():
        joined.pass_on(item)
    joined.answer()
    os.truncate(tmp_path / "x", 1000)
    joined.run()
    assert "shorter" in joined.faults[0].detail and not (tmp_path / "y").exists()


def test_a_growing_file_is_taken_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"l" * 900_000)
    joined = Joined([tmp_path / "x"], tmp_path / "y")
    for item in joined.sender.produce():
        joined.pass_on(item)
    with open(tmp_path / "x", "ab") as file:
        file.write(b"more")
    joined.answer()
    assert joined.run().faults == [] and (tmp_path / "y").stat().st_size == 900_000


def test_a_full_disk_says_so_and_keeps_what_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(os.urandom(900_000))
    write, written = os.write, 0

    def full(fd: int, data: bytes) -> int:
        nonlocal written
        if written >= 400_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += len(data)
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    joined = Joined([tmp_path / "x"], tmp_path / "y").run()
    monkeypatch.undo()
    fault = joined.sender_faults[0]
    assert fault.number == errno.ENOSPC and fault.kept == (tmp_path / ".y.rs-part").stat().st_size > 300_000
    assert "bytes of it are kept, and the same command goes on from there" in str(fault)
    assert Joined([tmp_path / "x"], tmp_path / "y").run().data == 900_000 - fault.kept


def test_permissions() -> None:
    """As an account without rights: each file that may not be read or written is named."""
    with nobodys_folder() as folder:
        base = Path(folder)
        for name in ("s/open", "s/shut", "s/sub/inner"):
            (base / name).parent.mkdir(parents=True, exist_ok=True)
            (base / name).write_bytes(b"1")
        (base / "s" / "shut").chmod(0)
        (base / "s" / "sub").chmod(0)
        (base / "t" / "s").mkdir(parents=True)
        for path in base.rglob("*"):
            os.chown(path, 65534, 65534)

        def copy() -> object:
            joined = Joined([base / "s"], base / "t").run()
            os.chmod(base / "t" / "s", 0o500)
            again = Joined([base / "s" / "open"], base / "t" / "s").run()
            return [(fault.path.rpartition(b"/")[2], fault.number) for fault in joined.sender_faults + again.faults]

        expected = [(name, errno.EACCES) for name in (b"shut", b"sub", b"open")]
        assert as_nobody(copy) == repr(expected)


# --- where things go


def test_destinations_as_cp(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in ("x", "y"):
        (tmp_path / name).write_bytes(name.encode())
    Joined([tmp_path / "x"], tmp_path / "d").run()
    Joined([tmp_path / "x", tmp_path / "y"], str(tmp_path / "d") + "/").run()
    Joined([tmp_path / "x"], tmp_path / "d" / "new").run()
    Joined([tmp_path / "y"], tmp_path / "d" / "new").run()
    assert {path.name: path.read_text() for path in (tmp_path / "d").iterdir()} == {"x": "x", "y": "y", "new": "y"}
    (tmp_path / "to").symlink_to("d")
    Joined([tmp_path / "d"], tmp_path / "to").run()
    assert (tmp_path / "d" / "d" / "new").exists(), "the destination itself is a person's, and followed"


@pytest.mark.parametrize(
    ("sources", "to", "number"),
    [
        (["x", "y"], "none", errno.ENOENT),
        (["x", "y"], "x", errno.ENOTDIR),
        (["x"], "none/", errno.ENOENT),
        (["x"], "x/", errno.ENOTDIR),
        (["x"], "none/deeper", errno.ENOENT),
    ],
)
def test_destinations_that_are_none(tmp_path: Path, sources: list[str], to: str, number: int) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(OSError) as caught:
        Joined([tmp_path / name for name in sources], f"{tmp_path}/{to}")
    assert caught.value.errno == number


# --- in flight


def test_large_files_are_announced_ahead(tmp_path: Path) -> None:
    """So that their answers are there when their turn comes: no round trip each."""
    (tmp_path / "s").mkdir()
    for number in range(20):
        (tmp_path / "s" / f"{number:02}").write_bytes(os.urandom(400_000))
    joined = Joined([tmp_path / "s"], tmp_path / "t")
    assert sum(isinstance(item, Entry) for item in joined.sender.produce()) == 1 + SMALL.files_ahead_max // 2
    joined.sender.close()
    joined.receiver.close()
    joined = Joined([tmp_path / "s"], tmp_path / "t", limits=DEFAULT_LIMITS).run()
    assert tree(tmp_path / "t") == tree(tmp_path / "s")
    assert not any(isinstance(one, Wanted | Content) for one in joined.said), "below a mebibyte they go whole"


def test_setuid_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    (tmp_path / "x").chmod(0o6755)
    Joined([tmp_path / "x"], tmp_path / "y").run()
    assert (tmp_path / "y").stat().st_mode & 0o7777 == 0o755


def test_deep_trees_and_long_names(tmp_path: Path) -> None:
    """What is too deep is named; what is not arrives, whatever its length."""
    path = os.fsencode(tmp_path / "s")
    os.mkdir(path)
    above = os.open(path, os.O_RDONLY)
    for _ in range(DEFAULT_LIMITS.files_depth_max + 1):
        os.mkdir(b"d", dir_fd=above)
        inner = os.open(b"d", os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = inner
    os.close(above)
    (tmp_path / "s" / ("n" * 255)).write_bytes(os.urandom(6000))
    joined = Joined([tmp_path / "s"], tmp_path / "t").run()
    assert [fault.number for fault in joined.sender_faults] == [errno.ENAMETOOLONG]
    assert (tmp_path / "t" / ("n" * 255)).stat().st_size == 6000
    assert names.part_name(b"n" * 255) not in os.listdir(os.fsencode(tmp_path / "t"))
