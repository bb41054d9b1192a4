"""The file below the history: private, shared, and never a reason to fail or to wait long."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_shell.cli import store
from remote_shell.cli.store import Store
from tests.config.account import as_nobody, give, nobodys_folder

SCHEMA = "CREATE TABLE t (n INTEGER); CREATE INDEX i ON t (n)"
ALL = "SELECT n FROM t ORDER BY n"


@contextlib.contextmanager
def opened(path: Path | str | None, version: int = 1) -> Iterator[Store]:
    kept = Store(None if path is None else str(path), SCHEMA, version)
    try:
        yield kept
    finally:
        kept.close()


def put(kept: Store, number: int) -> bool:
    return kept.write(lambda database: database.execute("INSERT INTO t VALUES (?)", (number,)))


def test_what_is_written_is_there_for_the_next_and_for_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with opened(path) as kept:
        assert put(kept, 1)
        for name in os.listdir(tmp_path):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    with opened(path) as kept:
        assert kept.rows(ALL) == [(1,)]
        assert kept.problem() == ""


@pytest.mark.usefixtures("unmeasured")  # measuring uses sqlite itself
def test_nothing_is_opened_before_the_first_question(tmp_path: Path) -> None:
    with opened(tmp_path / "file"):
        assert os.listdir(tmp_path) == []
    code = "import sys, remote_shell.cli.history; sys.exit('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_file_that_was_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o644)
    with opened(path) as kept:
        assert put(kept, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_half_a_transaction_is_none(tmp_path: Path) -> None:
    def fails(database: sqlite3.Connection) -> None:
        database.execute("INSERT INTO t VALUES (1)")
        database.execute("INSERT INTO nowhere VALUES (1)")

    with opened(tmp_path / "file") as kept:
        assert not kept.write(fails)
        assert kept.rows(ALL) == []
        assert "nowhere" in kept.problem()
        assert put(kept, 2)


def test_a_lock_is_waited_for_a_moment_and_then_there_are_no_questions_for_a_while(tmp_path: Path) -> None:
    path, now = tmp_path / "file", [100.0]
    kept = Store(str(path), SCHEMA, 1, clock=lambda: now[0])
    put(kept, 1)
    kept.close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        assert kept.rows(ALL) is None
        assert not put(kept, 2)
        assert time.monotonic() - began < 10 * store.BUSY_TIME
        assert "locked" in kept.problem() and kept.problem() == ""
        other.execute("COMMIT")
    assert kept.rows(ALL) is None, "it rests"
    now[0] += store.REST_TIME
    assert kept.rows(ALL) == [(1,)]
    assert put(kept, 2)
    kept.close()


def test_a_writer_does_not_keep_readers_waiting(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with opened(path) as kept, contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        put(kept, 1)
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO t VALUES (2)")
        assert kept.rows(ALL) == [(1,)]
        other.execute("COMMIT")
        assert kept.rows(ALL) == [(1,), (2,)]
        reader = other.execute(ALL)
        reader.fetchone()
        assert put(kept, 3), "nor do readers keep a writer"
        reader.close()


def test_two_that_begin_at_once_make_the_tables_once(tmp_path: Path) -> None:
    with opened(tmp_path / "file") as first, opened(tmp_path / "file") as late:
        put(first, 1)
        late._make(first._open())  # as one that saw version 0 before it waited for the lock
        assert late.rows(ALL) == [(1,)]


def test_a_long_question_is_answered_with_what_was_found_in_time() -> None:
    now = [0.0]
    kept = Store(None, SCHEMA, 1, clock=lambda: now.__setitem__(0, now[0] + 0.01) or now[0])
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"
    rows = kept.rows(endless)
    assert rows and rows[0] == (1,)
    assert kept.rows(ALL) == []
    kept.close()


@pytest.mark.parametrize("log", [b"", b"rubbish"])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(log: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"no database" * 1000)
    if log:
        (tmp_path / "file-wal").write_bytes(log)
    with opened(path) as kept:
        assert kept.rows(ALL) == []
        assert put(kept, 1)
        assert "damaged" in kept.problem()
    assert (tmp_path / "file.damaged").read_bytes().startswith(b"no database")
    with opened(path) as kept:
        assert kept.rows(ALL) == [(1,)]
        assert kept.problem() == ""


def test_the_log_of_a_damaged_file_is_not_left_to_the_next_one(tmp_path: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        (tmp_path / f"file{ending}").touch()
    store._set_aside(str(tmp_path / "file"))
    assert sorted(os.listdir(tmp_path)) == ["file.damaged", "file.damaged-shm", "file.damaged-wal"]


def test_damage_that_shows_while_it_is_used_is_mended_too(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with opened(path) as kept:
        for number in range(2000):
            put(kept, number)
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    with opened(path) as kept:
        assert kept.rows(ALL) == []
        assert put(kept, 1)
        assert "damaged" in kept.problem()
        assert kept.rows(ALL) == [(1,)]


def test_what_is_no_file_or_nowhere_is_replaced_by_memory(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"somebody's")
    (tmp_path / "real").chmod(0o644)
    os.symlink("real", tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "none" / "file", tmp_path / "link", tmp_path / "pipe"):
        with opened(path) as kept:
            assert put(kept, 1)
            assert kept.rows(ALL) == [(1,)]
            assert "kept in memory" in kept.problem()
    assert (tmp_path / "real").read_bytes() == b"somebody's" and (tmp_path / "real").stat().st_mode & 0o777 == 0o644


def test_without_a_path_it_is_in_memory_and_nothing_is_wrong() -> None:
    with opened(None) as kept:
        assert put(kept, 1)
        assert kept.rows(ALL) == [(1,)]
        assert kept.problem() == ""


def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with opened(path, version=2) as kept:
        put(kept, 1)
    before = path.read_bytes()
    with opened(path) as kept:
        assert kept.rows(ALL) == []
        assert "newer" in kept.problem()
    assert path.read_bytes() == before


def test_a_folder_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    with nobodys_folder() as folder:
        give(folder, 0o500)

        def use() -> tuple[bool, object, str]:
            with opened(os.path.join(folder, "file")) as kept:
                return put(kept, 1), kept.rows(ALL), kept.problem()

        told = as_nobody(use)
        assert told.startswith("(True, [(1,)], 'history: ") and "Permission denied" in told, told


def test_a_file_that_can_not_be_written_is_read_and_that_is_told(tmp_path: Path) -> None:
    with nobodys_folder() as folder:
        path = os.path.join(folder, "file")
        with opened(path) as kept:
            put(kept, 1)
        give(path, 0o400)

        def use() -> tuple[object, bool, str]:
            with opened(path) as kept:
                return kept.rows(ALL), put(kept, 2), kept.problem()

        told = as_nobody(use)
        assert told.startswith("([(1,)], False, 'history: ") and "readonly" in told, told


def test_a_full_one_is_told_and_still_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with opened(path) as kept:
        put(kept, 1)
        kept.write(lambda database: database.execute("PRAGMA max_page_count = 3"))
        assert not kept.write(lambda database: database.execute("INSERT INTO t VALUES (?)", (b"x" * 100_000,)) and None)
        assert "full" in kept.problem()
        assert kept.rows(ALL) == [(1,)]
