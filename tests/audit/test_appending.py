"""The audit file itself: whose it is, one write a line, moved away, torn."""

from __future__ import annotations

import errno
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from remote_shell.audit.appending import Appending, stamp


def test_it_is_made_for_us_alone_and_appended_to(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        file = Appending(str(tmp_path / "a"))
        file.write(b"1\n")
    finally:
        os.umask(before)
    file.close()
    file.write(b"2\n")
    other = Appending(str(tmp_path / "a"))
    other.write(b"3\n")
    file.write(b"4\n")
    assert (tmp_path / "a").read_bytes() == b"1\n2\n3\n4\n"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    file.close()
    other.close()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_one_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "a").chmod(mode)
    with pytest.raises(PermissionError, match="open to others.*chmod 600"):
        Appending(str(tmp_path / "a")).open()


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f", 0o600)
    for path in (tmp_path / "f", Path("/dev/null")):
        with pytest.raises(PermissionError, match="not a regular file"):
            Appending(str(path)).open()
    with pytest.raises(OSError):
        Appending(str(tmp_path)).open()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_somebody_elses_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").touch(mode=0o600)
    os.chown(tmp_path / "a", 65534, 65534)
    with pytest.raises(PermissionError, match="belongs to user id 65534"):
        Appending(str(tmp_path / "a")).open()


def test_a_file_that_was_moved_away_or_removed_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "a"
    file = Appending(str(path))
    file.write(b"1\n")
    path.rename(tmp_path / "a.1")
    file.write(b"2\n")
    assert ((tmp_path / "a.1").read_bytes(), path.read_bytes()) == (b"1\n", b"2\n")
    path.unlink()
    file.write(b"3\n")
    assert path.read_bytes() == b"3\n"
    path.rename(tmp_path / "a.2")
    path.touch(mode=0o644)  # what came in its place is judged too
    path.chmod(0o644)
    with pytest.raises(PermissionError):
        file.write(b"4\n")
    assert path.read_bytes() == b""
    file.close()


def test_a_torn_line_stays_one_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    file = Appending(str(path))
    file.write(b"1\n")
    write = os.write

    def full(fd: int, data: bytes) -> int:
        return write(fd, data[:3])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError) as caught:
        file.write(b"second\n")
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    file.write(b"3\n")
    assert path.read_bytes() == b"1\nsec\n3\n"
    file.close()


def test_a_line_that_an_earlier_life_tore_too(tmp_path: Path) -> None:
    (tmp_path / "a").touch(mode=0o600)
    (tmp_path / "a").write_bytes(b'{"half')
    file = Appending(str(tmp_path / "a"))
    file.open()
    file.look_at_end()
    file.write(b"2\n")
    assert (tmp_path / "a").read_bytes() == b'{"half\n2\n'
    file.close()


def test_a_line_that_another_process_is_just_writing_is_not_torn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").touch(mode=0o600)
    (tmp_path / "a").write_bytes(b"fir")
    file = Appending(str(tmp_path / "a"))
    file.open()
    other = Appending(str(tmp_path / "a"))
    monkeypatch.setattr("time.sleep", lambda seconds: other.write(b"st\n"))
    file.look_at_end()
    file.write(b"2\n")
    assert (tmp_path / "a").read_bytes() == b"first\n2\n"
    file.close()
    other.close()


def _append(path: str, number: int, count: int) -> None:
    file = Appending(path)
    for _ in range(count):
        file.write(b"%d" % number * 5000 + b"\n")
        file.close()  # so that each is opened while others write


def test_several_processes_never_mix_their_lines(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    fork = multiprocessing.get_context("fork")
    makers = [fork.Process(target=_append, args=(path, number, 200)) for number in range(4)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(15)
        assert maker.exitcode == 0
    lines = Path(path).read_bytes().splitlines()
    assert sorted(lines) == sorted(b"%d" % number * 5000 for number in range(4) for _ in range(200))


@pytest.mark.parametrize(
    ("now", "shown"), [(0.0, "1970-01-01T00:00:00.000Z"), (1795938857.0005, "2026-11-29T07:54:17.000Z")]
)
def test_stamps(now: float, shown: str) -> None:
    assert stamp(now) == shown
