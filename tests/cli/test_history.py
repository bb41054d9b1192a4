"""The REPL's history file: private, shared, bounded, and never a reason to fail."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from remote_shell.cli import history
from remote_shell.cli.history import FileHistory


def read(path: Path) -> list[str]:
    return list(FileHistory(str(path)).load_history_strings())


def test_lines_come_back_newest_first_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "history"
    kept = FileHistory(str(path))
    lines = ["ls", "cat <<E\nüber \"'\\\nE", "tab\there", "\udcff lone"]
    for line in lines:
        kept.store_string(line)
    assert read(path) == lines[::-1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_was_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_text('"ls"\n')
    path.chmod(0o644)
    assert read(path) == ["ls"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_secrets_repeats_and_giants_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "history"
    kept = FileHistory(str(path))
    for line in [" export TOKEN=x", "ls", "ls", "x" * (history.LINE_MAX + 1), "pwd", "ls"]:
        kept.store_string(line)
    assert read(path) == ["ls", "pwd", "ls"]


def test_two_at_once_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "history"
    first, second = FileHistory(str(path)), FileHistory(str(path))
    for number in range(20):
        first.store_string(f"a {number}")
        second.store_string(f"b {number}")
    assert sorted(read(path)) == sorted(f"{name} {number}" for name in "ab" for number in range(20))


def test_torn_and_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_bytes(b'ut"\n"ls"\n17\n\xff\xfe\n"pwd"\n"to')
    assert read(path) == ["pwd", "ls"]


def test_a_swollen_file_is_cut_at_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "READ_MAX", 100)
    monkeypatch.setattr(history, "FILE_MAX", 400)
    path = tmp_path / "history"
    path.write_text("".join(f'"line {number:03}"\n' for number in range(100)))
    assert read(path)[0] == "line 099"
    assert path.stat().st_size <= 100
    assert read(path)[0] == "line 099"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_cannot_be_used_is_a_problem_and_no_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "history", tmp_path / "link"):
        if path.name == "link":
            os.symlink("/etc/passwd", path)
        kept = FileHistory(str(path))
        kept.store_string("ls")
        assert list(kept.load_history_strings()) == []
        assert kept.problem
