"""The REPL's history: what is kept, what is found, and which comes first."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.cli import history
from remote_shell.cli.history import Entry, History

HOST, HERE = "box", "/srv"


@contextlib.contextmanager
def opened(path: Path | None = None) -> Iterator[History]:
    kept = History(None if path is None else str(path))
    try:
        yield kept
    finally:
        kept.close()


def entry(
    text: str, host: str = HOST, directory: str = HERE, status: int | None = 0, signal: str | None = None
) -> Entry:
    return Entry(text, host, directory, status, signal, 1_700_000_000.25, 0.5)


def add(kept: History, *texts: str, host: str = HOST, directory: str = HERE, status: int | None = 0) -> None:
    for text in texts:
        kept.add(entry(text, host, directory, status))


# --- what is kept


def test_entries_come_back_newest_first_and_whole(tmp_path: Path) -> None:
    entries = [
        entry("ls"),
        entry("cat <<E\nüber \"'\\\nE", "büchse", "/tmp/\udcff"),
        entry("tab\there", status=130, signal="SIGINT"),
        entry("\udcff lone", status=None),
        entry("null \0 %_"),
    ]
    with opened(tmp_path / "h") as kept:
        for one in entries:
            kept.add(one)
    with opened(tmp_path / "h") as kept:
        assert kept.entries() == entries[::-1]
        assert kept.recent() == [one.text for one in reversed(entries)]
        assert kept.problem() == ""


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_any_line_is_found_again(text: str) -> None:
    with opened() as kept:
        add(kept, "other", text)
        if text.startswith(" ") or not text.strip():
            assert kept.recent() == ["other"]
            return
        assert kept.entries(limit=1) == [entry(text)]
        assert kept.suggest(text[:-1], HOST, HERE) in (text, None if len(text) == 1 else text)


def test_private_lines_giants_and_nothing_are_not_kept(tmp_path: Path) -> None:
    with opened(tmp_path / "h") as kept:
        add(
            kept,
            " export TOKEN=x",
            "ls",
            "x" * (history.LINE_MAX + 1),
            "",
            "\n\t",
            "\ud800 no byte",
            "y" * history.LINE_MAX,
        )
        assert [len(one.text) for one in kept.entries()] == [history.LINE_MAX, 2]
        assert [len(text) for text in kept.recent()] == [history.LINE_MAX, 2]


def test_repeats_are_kept_and_shown_once() -> None:
    with opened() as kept:
        add(kept, "ls", "pwd", "ls", "ls")
        assert [one.text for one in kept.entries()] == ["ls", "ls", "pwd", "ls"]
        assert kept.recent() == ["ls", "pwd"]
        assert kept.recent(1) == ["ls"]


def test_going_up_shows_own_lines_first_and_not_what_others_run_meanwhile(tmp_path: Path) -> None:
    with opened(tmp_path / "h") as first, opened(tmp_path / "h") as second:
        add(first, "before")
        assert second.recent() == ["before"]
        add(first, "elsewhere")
        add(second, "mine")
        assert second.recent() == ["mine", "before"]
        assert {one.text for one in second.entries()} == {"before", "elsewhere", "mine"}
        assert second.search("else", HOST, HERE) == ["elsewhere"]


def test_the_lines_for_going_up_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "RECENT_MAX", 5)
    with opened(tmp_path / "h") as kept:
        add(kept, *map(str, range(9)))
        assert len(kept._own) == 5
    with opened(tmp_path / "h") as kept:
        assert kept.recent() == ["8", "7", "6", "5", "4"]


_WRITER = """
import sys
from remote_shell.cli.history import Entry, History
kept = History(sys.argv[1])
print(kept.recent(), flush=True)
sys.stdin.readline()
for number in range(60):
    kept.add(Entry(f"{sys.argv[2]} {number}", "h", "/", 0, None, 0.0, 0.0))
kept.close()
"""


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "h")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, path, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in "ab"
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "[]\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    with opened(tmp_path / "h") as kept:
        assert sorted(one.text for one in kept.entries(limit=1000)) == sorted(
            f"{n} {k}" for n in "ab" for k in range(60)
        )
        assert len(kept.recent()) == 120


def test_what_could_not_be_written_is_written_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "h"
    with opened(path) as kept, contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        add(kept, "one")
        other.execute("BEGIN IMMEDIATE")
        add(kept, "two")
        assert "locked" in kept.problem()
        assert kept.recent() == ["two", "one"]
        other.execute("COMMIT")
        add(kept, "three")
        assert [one.text for one in kept.entries()] == ["three", "two", "one"]
        other.execute("BEGIN IMMEDIATE")
        add(kept, "four")
        other.execute("COMMIT")
    with opened(path) as kept:
        assert kept.recent(1) == ["four"], "written at the end"


def test_what_waits_for_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PENDING_MAX", 2)
    path = tmp_path / "h"
    with opened(path) as kept, contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        assert kept.recent() == []
        other.execute("BEGIN IMMEDIATE")
        add(kept, "one", "two", "three")
        other.execute("COMMIT")
        add(kept, "four")
        assert [one.text for one in kept.entries()] == ["four", "three"]


def test_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "ENTRIES_MAX", 150)
    with opened(tmp_path / "h") as kept:
        add(kept, "once")
        for number in range(399):
            add(kept, "often" if number % 2 else f"n {number}", directory=f"/{number}")
        assert [one.directory for one in kept.entries(limit=1000)] == [f"/{number}" for number in range(398, 248, -1)]
        assert kept.search("once", HOST, HERE) == []
        assert kept.suggest("onc", HOST, HERE) is None
        assert kept.search("often", HOST, HERE) == ["often"]
        for table, most in (("texts", 76), ("places", 150)):
            rows = kept._store.rows(f"SELECT count(*) FROM {table}")
            assert rows is not None and rows[0][0] <= most


def test_a_file_that_swells_loses_its_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "SIZE_MAX", 1024 * 1024)
    with opened(tmp_path / "h") as kept:
        for number in range(800):
            add(kept, f"{number} {'x' * 4000}")
        assert 50 < len(kept.entries(limit=1000)) < 300
    assert (tmp_path / "h").stat().st_size < 4 * history.SIZE_MAX  # without the bound it is nine


# --- what is suggested


@pytest.mark.parametrize(
    ("uses", "expected"),
    [
        ([("git pull", {}), ("git push", {})], "git push"),
        ([("git pull", {}), ("git push", {"directory": "/other"})], "git pull"),
        ([("git pull", {"directory": "/other"}), ("git push", {"host": "far"})], "git pull"),
        ([("git pull", {"host": "far"}), ("git push", {"host": "other"})], "git push"),
        ([("git pull", {}), ("git push", {"status": 1})], "git pull"),
        ([("git push", {"status": 1}), ("git pull", {}), ("git push", {})], "git push"),
        ([("git pull", {}), ("git push", {"status": 130})], "git push"),
        ([("git pull", {}), ("git push", {"status": None})], "git push"),
        ([("git pull", {}), ("git pull", {}), ("git push", {}), ("ls", {}), ("ls", {})], "git pull"),
        ([("git pull", {}), ("git pull", {}), *[("ls", {})] * 40, ("git push", {})], "git push"),
        ([("git", {}), ("git ", {}), ("Git pull", {})], None),
    ],
)
def test_the_best_continuation(uses: list[tuple[str, dict[str, str]]], expected: str | None) -> None:
    with opened() as kept:
        for text, where in uses:
            kept.add(entry(text)._replace(**where))  # type: ignore[arg-type]
        assert kept.suggest("git ", HOST, HERE) == expected


def test_nothing_is_suggested_for_nothing_or_for_a_private_line() -> None:
    with opened() as kept:
        add(kept, "ls")
        assert kept.suggest("", HOST, HERE) is None
        assert kept.suggest(" ", HOST, HERE) is None
        assert kept.suggest("ls", HOST, HERE) is None


@pytest.mark.parametrize(
    ("host", "directory", "expected"),
    [(HOST, HERE, "g here"), (HOST, "/none", "g on host"), ("none", HERE, "g newest"), ("none", "/none", "g newest")],
)
def test_a_beginning_that_is_too_common_to_rank_all(
    host: str, directory: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_LOOK_AT", 8)
    with opened() as kept:
        add(kept, *(f"g a {number}" for number in range(20)), host="far", directory="/far")
        add(kept, "g here")
        add(kept, "g on host", directory="/other")
        add(kept, "g newest", host="far", directory="/far")
        assert kept.suggest("g ", host, directory) == expected
        add(kept, *(f"other {number}" for number in range(20)))
        assert kept.suggest("g ", "none", "/none") is not None, "some line is better than none"


# --- what is found


def test_searching_ranks_by_text_then_by_place_time_and_success() -> None:
    with opened() as kept:
        add(kept, "make test", "get it made")
        assert kept.search("mate", HOST, HERE) == ["make test"]
        assert kept.search("MAKE", HOST, HERE) == ["make test"]
        assert kept.search("test make", HOST, HERE) == ["make test"]
        assert kept.search("made test", HOST, HERE) == []
        add(kept, "tar x", host="far", directory="/far")
        add(kept, "tar c")
        add(kept, "tar t", host="far", directory="/far")
        add(kept, "tar r", status=2)
        assert kept.search("tar", HOST, HERE) == ["tar c", "tar r", "tar t", "tar x"]
        assert kept.search("tar", "far", "/far")[:2] == ["tar t", "tar x"]
        assert kept.search("", HOST, HERE)[0] == "tar r"
        assert kept.search("tar", HOST, HERE, limit=1) == ["tar c"]


def test_signs_that_mean_something_to_sql_mean_themselves() -> None:
    with opened() as kept:
        add(kept, "echo 100%", "echo a_b", "echo c:\\d", "echo axb", "ls ünder", 'say "it\'s"')
        assert kept.search("%", HOST, HERE) == ["echo 100%"]
        assert kept.search("_", HOST, HERE) == ["echo a_b"]
        assert kept.search("\\", HOST, HERE) == ["echo c:\\d"]
        assert kept.search("ünd", HOST, HERE) == ["ls ünder"]
        assert kept.search("'", HOST, HERE) == ['say "it\'s"']
        assert kept.search("a" * 5000, HOST, HERE) == []
        add(kept, "z" * 2 * history.WORDS_MAX)
        assert kept.search("z" * 5000, HOST, HERE) == ["z" * 2 * history.WORDS_MAX], "the rest is not looked for"


def test_an_old_line_with_the_words_is_found_before_a_thousand_that_have_the_letters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history, "_LOOK_AT", 10)
    with opened() as kept:
        add(kept, "git log")
        add(kept, *(f"l o g {number}" for number in range(30)))
        assert kept.search("log", HOST, HERE)[0] == "git log"


@given(st.lists(st.text("ab c", min_size=1, max_size=6), max_size=8), st.text("ab c", max_size=4))
def test_the_cut_that_sqlite_makes_loses_nothing(texts: list[str], words: str) -> None:
    from remote_shell.cli import fuzzy

    with opened() as kept:
        add(kept, *texts)
        wanted = words.split()
        assert {t for t in kept.recent() if fuzzy.score(wanted, t) is not None} == set(kept.search(words, HOST, HERE))


def test_what_failed_here_and_there() -> None:
    with opened() as kept:
        add(kept, "a")
        add(kept, "b", status=1)
        add(kept, "c", status=2, directory="/other")
        add(kept, "d", status=3, host="far")
        add(kept, "e", status=None)

        def texts(**which: str | bool) -> str:
            return "".join(one.text for one in kept.entries(**which))  # type: ignore[arg-type]

        assert texts() == "edcba"
        assert texts(failed=True) == "dcb"
        assert texts(here=HERE) == "edba"
        assert texts(host="far") == "d"
        assert texts(failed=True, here=HERE, host=HOST) == "b"
        assert [one.text for one in kept.entries(limit=2)] == ["e", "d"]


def test_the_file_of_lines_that_was_there_before_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "history").write_text('"ls"\n')
    with opened(tmp_path / "history.sqlite3") as kept:
        assert kept.recent() == []
        add(kept, "pwd")
    assert (tmp_path / "history").read_text() == '"ls"\n'
    assert sorted(os.listdir(tmp_path)) == ["history", "history.sqlite3"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["all different", "all the same", "many places"])
def test_a_hundred_thousand_entries_are_no_burden(kind: str, tmp_path: Path) -> None:
    texts: Callable[[int], str] = {
        "all different": lambda number: f"git {number} commit --all push docker compose",
        "all the same": lambda number: ("git status", "git push", "make")[number % 3],
        "many places": lambda number: f"git {number % 50}",
    }[kind]

    def fill(database: sqlite3.Connection) -> None:
        for number in range(1, history.ENTRIES_MAX + 1):
            directory = f"/{number}" if kind == "many places" else f"/{number % 100}"
            history._insert(database, number, entry(texts(number), f"host {number % 3}", directory))

    with opened(tmp_path / "h") as kept:
        assert kept._store.write(fill)
        for prefix in ("g", "git ", "git 7", "git 99999 c", "zz"):
            for place in (("host 1", "/7"), ("none", "/none")):
                assert quickest(lambda: kept.suggest(prefix, *place)) < 0.040, prefix  # noqa: B023
        for words in ("g", "gcp", "push", "99999", "dcr zq", "commit 7777"):
            assert quickest(lambda: kept.search(words, "host 1", "/7")) < 0.150, words  # noqa: B023
        assert quickest(lambda: kept.entries(failed=True, here="/none")) < 0.050


def quickest(what: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        began = time.process_time()  # what others do with the processor meanwhile is no burden of ours
        what()
        times.append(time.process_time() - began)
    return min(times)


def test_what_is_noted_is_for_going_up_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "history.sqlite3")
    with contextlib.closing(History(path)) as history:
        history.note(":jobs")
        history.note(" :secret")
        assert history.recent() == [":jobs"] and history.entries() == []
    with contextlib.closing(History(path)) as history:
        assert history.recent() == []
