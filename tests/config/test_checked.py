"""Files whose owner and mode matter: what is read, what is refused, what is made."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from remote_shell.config.checked import create_private, folder_fault, read_checked, read_text
from remote_shell.errors import ConfigError, IdentityError
from tests.config.account import as_nobody, give, nobodys_folder


def read(path: Path | str, *, limit: int = 100, private: bool = True) -> bytes | None:
    return read_checked(str(path), what="test file", limit=limit, private=private)


def make(path: Path, data: bytes = b"x", mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_reads_what_is_there(tmp_path: Path) -> None:
    assert read(make(tmp_path / "a", b"abc")) == b"abc"
    assert read(make(tmp_path / "b", b"abc", 0o400)) == b"abc"
    assert read(make(tmp_path / "a", b"abc", 0o644), private=False) == b"abc"
    assert read(tmp_path / "missing") is None
    assert read(tmp_path / "a" / "below a file") is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o601, 0o660])
def test_a_private_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match=f"mode {mode:04o}.*chmod 600 "):
        read(make(tmp_path / "a", mode=mode))


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_list_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match="chmod go-w "):
        read(make(tmp_path / "a", mode=mode), private=False)


def test_somebody_elses_file_is_refused_and_roots_is_not() -> None:
    with nobodys_folder() as folder:
        path = give(str(make(Path(folder) / "a")), 0o600)
        assert as_nobody(lambda: read(path)) == "b'x'"

        def as_another() -> bytes | None:
            os.getuid = lambda: 4711
            return read(path)

        assert "it must be yours or root's" in as_nobody(as_another)
    assert as_nobody(lambda: read("/etc/passwd", limit=10**6, private=False)).startswith("b'")  # root's


def test_a_file_that_we_may_not_read_is_told() -> None:
    with nobodys_folder() as folder:
        path = give(str(make(Path(folder) / "a")), 0o000)
        assert as_nobody(lambda: read(path)) == f"ConfigError: can't read the test file {path}: Permission denied"


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/zero")):
        with pytest.raises(ConfigError, match="not a regular file"):
            read(path)


def test_the_bound_holds(tmp_path: Path) -> None:
    assert read(make(tmp_path / "a", b"x" * 100)) == b"x" * 100
    with pytest.raises(ConfigError, match="101 bytes, more than 100"):
        read(make(tmp_path / "a", b"x" * 101))
    with pytest.raises(ConfigError, match="larger than 100"):  # in /proc sizes are 0
        read_checked("/proc/self/smaps", what="test file", limit=100, private=False)


def test_a_nul_in_the_path_and_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="null byte"):
        read("a\0b")
    with pytest.raises(IdentityError):
        read_checked(str(tmp_path), what="x", limit=1, private=False, error=IdentityError)


def test_text_that_is_not_utf8_names_its_line(tmp_path: Path) -> None:
    path = make(tmp_path / "a", b"one\ntwo \xff\n")
    with pytest.raises(ConfigError, match="line 2: not UTF-8"):
        read_text(str(path), what="test file", limit=100, private=False)


def test_create_makes_a_private_file_once(tmp_path: Path) -> None:
    path = str(tmp_path / "new")
    old = os.umask(0)
    try:
        assert create_private(path, b"one", what="key file")
        assert not create_private(path, b"two", what="key file")
    finally:
        os.umask(old)
    assert Path(path).read_bytes() == b"one"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(tmp_path) == ["new"]


def test_create_does_not_write_through_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert not create_private(str(tmp_path / "link"), b"one", what="key file")
    assert not (tmp_path / "target").exists()


def test_create_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert create_private(str(tmp_path / "new"), b"one", what="key file")
    assert not create_private(str(tmp_path / "new"), b"two", what="key file")
    assert (tmp_path / "new").read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["new"]


def test_create_where_we_may_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't make the key file .*: No such file"):
        create_private(str(tmp_path / "no" / "new"), b"one", what="key file")
    with nobodys_folder() as folder:
        give(folder, 0o500)
        answer = as_nobody(lambda: create_private(f"{folder}/new", b"one", what="key file"))
        assert answer == f"ConfigError: can't make the key file {folder}/new: Permission denied"


def test_folders_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    inner = tmp_path / "open" / "inner"
    inner.mkdir(parents=True)
    path = str(inner / "file")
    assert folder_fault(path) is None  # /tmp above is sticky
    (tmp_path / "open").chmod(0o775)
    assert "chmod go-w" in (folder_fault(path) or "")
    (tmp_path / "open").chmod(0o1777)
    assert folder_fault(path) is None
    (tmp_path / "open").chmod(0o757)
    assert "others may write" in (folder_fault(path) or "")
    monkeypatch.setenv("HOME", str(inner))  # as sshd, what is above home is not asked about
    assert folder_fault(path) is None
    inner.chmod(0o770)
    assert folder_fault(path) is not None


def test_folders_above_are_those_of_the_real_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "open" / "file")
    assert "others may write" in (folder_fault(str(tmp_path / "link")) or "")
    assert "can't look at" in (folder_fault(str(tmp_path / "missing" / "file")) or "")


def test_a_folder_of_somebody_else() -> None:
    with nobodys_folder() as folder:

        def as_another() -> str | None:
            os.getuid = lambda: 4711
            os.environ["HOME"] = "/nonexistent"
            return folder_fault(f"{folder}/file")

        assert "who could replace" in as_nobody(as_another)
