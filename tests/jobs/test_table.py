"""The table: claims, states, retention; no keeper runs here."""

from __future__ import annotations

import fcntl
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from remote_shell.jobs.table import Table, facts_of
from remote_shell.limits import Limits

DAY = 24 * 3600.0


def table(tmp_path: Path, **figures: Any) -> Table:
    return Table(str(tmp_path / "jobs"), Limits(**figures))


def finish(made: Table, ident: str, age: float = 0.0, size: int = 0, principal: str = "p") -> None:
    """A job that ended `age` seconds ago, with a log of `size` bytes."""
    made.claim(principal, ident, {}).close()
    path = Path(made.path_of(principal, ident))
    (path / "log.00000001").write_bytes(b"x" * size)
    (path / "status").write_text(json.dumps({"status": 0, "ended_at_ms": int((time.time() - age) * 1000)}))


def names(made: Table, principal: str = "p") -> list[str]:
    return sorted(job.id for job in made.of(principal))


def test_an_id_is_claimed_once_and_whole(tmp_path: Path) -> None:
    made = table(tmp_path)
    assert made.find("p", "a") is None and made.of("p") == [] and not made.has("p", "a")
    slot = made.claim("p", "a", {"request": "hash"})
    with pytest.raises(FileExistsError):
        made.claim("p", "a", {})
    job = made.find("p", "a")
    assert job is not None and job.claim["request"] == "hash" and job.state == "running" and job.kept
    assert made.has("p", "a") and made.find("q", "a") is None
    slot.close()
    job = made.find("p", "a")
    assert job is not None and job.state == "unknown" and not job.kept, "no status and no lock"
    assert os.listdir(tmp_path / "jobs" / os.listdir(tmp_path / "jobs")[0]) == ["=a"], "no draft is left"


def test_of_many_that_claim_at_once_one_wins(tmp_path: Path) -> None:
    made = table(tmp_path)

    def attempt(_: int) -> bool:
        try:
            made.claim("p", "a", {}).close()
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(40))) == 1


def test_principals_have_their_own(tmp_path: Path) -> None:
    made = table(tmp_path)
    finish(made, "a")
    finish(made, "b", principal="q/../p")
    assert names(made) == ["a"] and names(made, "q/../p") == ["b"]
    for odd in (".", "..", "a" * 64):
        finish(made, odd, principal="odd")
    assert names(made, "odd") == sorted([".", "..", "a" * 64])


def test_folders_are_private(tmp_path: Path) -> None:
    made = table(tmp_path)
    finish(made, "a")
    path = Path(made.path_of("p", "a"))
    assert all(folder.stat().st_mode & 0o077 == 0 for folder in (path, path.parent, path.parent.parent))
    assert all(file.stat().st_mode & 0o077 == 0 for file in (path / "claim", path / "lock"))


def test_a_status_wins_over_the_lock(tmp_path: Path) -> None:
    """Processes that a job left may hold its output, and so its keeper."""
    made = table(tmp_path)
    slot = made.claim("p", "a", {})
    (Path(slot.path) / "status").write_text(json.dumps({"status": 3, "ended_at_ms": 1000}))
    job = made.find("p", "a")
    assert job is not None and job.state == "finished" and job.kept and job.last_change == 1.0
    slot.close()


def test_what_a_crash_left_of_a_file(tmp_path: Path) -> None:
    made = table(tmp_path)
    made.claim("p", "a", {}).close()
    path = Path(made.path_of("p", "a"))
    (path / "claim").write_text('{"id":')
    job = facts_of(str(path))
    assert job is not None and job.state == "unknown" and job.claim == {}
    (path / "lock").unlink()
    (path / "started").write_text("")
    job = facts_of(str(path))
    assert job is not None and job.state == "unknown" and job.started is None


def test_removing(tmp_path: Path) -> None:
    made = table(tmp_path)
    finish(made, "a", size=100)
    job = made.find("p", "a")
    assert job is not None
    made.remove(job)
    made.remove(job)
    assert made.find("p", "a") is None and names(made) == []
    finish(made, "a")
    assert names(made) == ["a"], "the id is free again"


def test_retention_by_age_size_and_number(tmp_path: Path) -> None:
    made = table(tmp_path, jobs_kept_time=7 * DAY, jobs_size_max=1000, jobs_kept_max=3)
    finish(made, "old", age=8 * DAY)
    finish(made, "big", age=3 * DAY, size=900)
    finish(made, "mid", age=2 * DAY, size=100)
    finish(made, "new", age=1 * DAY, size=50)
    assert made.sweep() == 2 and names(made) == ["mid", "new"], "too old, and the oldest of what is too much"
    for number in range(4):
        finish(made, f"n{number}", age=100 - number)
    assert made.sweep() == 3 and names(made) == ["n1", "n2", "n3"]


def test_the_seven_days(tmp_path: Path) -> None:
    made = table(tmp_path)
    finish(made, "before", age=7 * DAY + 60)
    finish(made, "within", age=7 * DAY - 60)
    assert made.sweep() == 1 and names(made) == ["within"]


def test_what_runs_is_never_swept(tmp_path: Path) -> None:
    made = table(tmp_path, jobs_kept_time=0.0, jobs_size_max=1, jobs_kept_max=1)
    slot = made.claim("p", "a", {})
    made.claim("p", "b", {}).close()
    assert made.sweep() == 1 and names(made) == ["a"], "of b nobody knows what became of it, and it is old"
    slot.close()
    assert table(tmp_path / "none").sweep() == 0


def test_drafts_of_a_server_that_was_killed_are_swept(tmp_path: Path) -> None:
    made = table(tmp_path, job_start_time=10.0)
    finish(made, "a")
    folder = Path(made.path_of("p", "a")).parent
    for name, age in ((".new-1", 100), (".gone-2", 100), (".new-3", 1)):
        (folder / name).mkdir()
        os.utime(folder / name, (time.time() - age,) * 2)
    made.sweep()
    assert sorted(os.listdir(folder)) == [".new-3", "=a"]


def test_a_failed_claim_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = table(tmp_path)
    finish(made, "other")

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="space"):
        made.claim("p", "a", {})
    monkeypatch.undo()
    assert names(made) == ["other"]
    assert len(os.listdir(Path(made.path_of("p", "a")).parent)) == 1
