"""A watched file: read again when it changes, unusable when it is not safe, one line in the log for each fault."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_shell.config import watched
from remote_shell.config.checked import read_checked
from remote_shell.config.watched import Watched
from remote_shell.errors import ConfigError


class Counted:
    """A parser that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, data: bytes) -> str:
        self.calls += 1
        if data == b"bad":
            raise ConfigError("bad contents")
        return data.decode()


@pytest.fixture
def parse() -> Counted:
    return Counted()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "folder").mkdir(mode=0o700)
    yield tmp_path / "folder" / "file"


@pytest.fixture
def file(path: Path, parse: Counted) -> Watched[str]:
    return Watched(str(path), what="test file", limit=100, private=False, parse=parse, empty="", log="test.watched")


def test_missing_made_changed_removed(file: Watched[str], path: Path) -> None:
    assert file.get() == ""
    path.write_text("one")
    assert file.get() == "one"
    path.write_text("two!")
    assert file.get() == "two!"
    path.unlink()
    assert file.get() == ""
    assert file.problem == ""


def test_an_old_file_is_read_once_and_again_after_a_change(
    file: Watched[str], path: Path, parse: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text("one")
    reads: list[str] = []

    def counted(path: str, *, what: str, limit: int, private: bool) -> bytes | None:
        reads.append(path)
        return read_checked(path, what=what, limit=limit, private=private)

    monkeypatch.setattr(watched, "read_checked", counted)
    monkeypatch.setattr(time, "time", lambda: 1e10)  # the file is old
    assert [file.get() for _ in range(5)] == ["one"] * 5
    assert (len(reads), parse.calls) == (1, 1)
    path.write_text("two")
    assert file.get() == "two"
    new = path.with_name("new")
    new.write_text("xyz")
    new.rename(path)
    assert file.get() == "xyz"


def test_a_change_within_one_tick_of_the_time_stamps_is_seen(
    file: Watched[str], path: Path, parse: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same size, same inode, same times: as two writes within 4 ms look."""
    path.write_text("one")
    stamp = watched._stamp(str(path))
    monkeypatch.setattr(watched, "_stamp", lambda _: stamp)
    assert file.get() == "one"
    path.write_text("two")
    assert file.get() == "two"
    assert (file.get(), parse.calls) == ("two", 2)  # the same bytes are not parsed again


def test_an_unsafe_file_is_empty_and_told_once(
    file: Watched[str], path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text("one")
    assert file.get() == "one"
    path.chmod(0o666)
    assert [file.get() for _ in range(3)] == [""] * 3
    assert "chmod go-w" in file.problem
    path.chmod(0o600)
    assert (file.get(), file.problem) == ("one", "")
    path.chmod(0o666)
    assert file.get() == ""
    assert len(caplog.records) == 2


def test_an_unsafe_folder_makes_it_empty_even_if_the_file_did_not_change(
    file: Watched[str], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text("one")
    monkeypatch.setattr(time, "time", lambda: 1e10)
    assert file.get() == "one"
    path.parent.chmod(0o777)
    assert file.get() == "" and "others may write to the folder" in file.problem
    path.parent.chmod(0o700)
    assert (file.get(), file.problem) == ("one", "")


def test_contents_that_are_refused(file: Watched[str], path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text("good")
    assert file.get() == "good"
    path.write_text("bad")
    assert [file.get(), file.get()] == ["", ""]
    assert file.problem == "bad contents" and len(caplog.records) == 1


def test_a_nul_in_the_path(parse: Counted) -> None:
    file = Watched("a\0b", what="test file", limit=1, private=False, parse=parse, empty="", log="test.watched")
    assert file.get() == "" and "null byte" in file.problem
