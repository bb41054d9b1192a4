"""The ledger on a real disk: what is known after a crash, and what happens where the file can't be used."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from remote_shell.errors import LedgerError
from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.server import ledger as module
from remote_shell.server.ledger import PRUNE_EVERY, Entry, Ledger, Work, is_alive, proof_of
from remote_shell.wire.messages import Exit
from tests.config.account import as_nobody, nobodys_folder

DAY = 86400.0
END = Exit(status=3, timed_out=True, duration_us=5)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Made:
    """A ledger, and ways to ask it one thing."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.clock = Clock()
        self.ledger = Ledger(replace(limits, ids_busy_time=0.05), self.clock)

    def do(self, work: Work) -> Any:
        return self.ledger.carry_out([work])[0]

    def claim(self, ident: str = "one", principal: str = "me", request: bytes = b"h") -> Any:
        return self.do(lambda ledger: ledger.claim(principal, ident, request))

    def end(self, ident: str = "one", how: Exit = END) -> Any:
        return self.do(lambda ledger: ledger.ended("me", ident, how))

    def ask(self, ident: str = "one", burn: bool = False, principal: str = "me") -> Any:
        return self.do(lambda ledger: ledger.ask(principal, ident, burn))

    def refusal(self) -> str:
        answer = self.claim()
        assert isinstance(answer, LedgerError)
        return str(answer)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(tmp_path))
    return tmp_path / "state" / "ids.sqlite"


@pytest.fixture
def made(path: Path) -> Iterator[Made]:
    made = Made()
    yield made
    made.ledger.close()


def test_an_id_from_its_claim_to_its_end(made: Made) -> None:
    assert made.claim() is None
    assert made.claim() == Entry("unknown", b"h", None), "whether it was started is not guessed"
    made.do(lambda ledger: ledger.started("me", "one", proof_of(os.getpid())))
    assert made.ask() == Entry("running", b"h", None)
    made.end()
    assert made.ask() == Entry("finished", b"h", END)
    made.do(lambda ledger: ledger.started("me", "one", proof_of(os.getpid())))
    assert made.claim(request=b"other") == Entry("finished", b"h", END), "a late word on the start changes no end"


def test_what_was_started_and_is_gone_is_unknown(made: Made) -> None:
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    made.claim()
    proof = proof_of(child.pid)
    made.do(lambda ledger: ledger.started("me", "one", proof))
    assert made.ask() == Entry("running", b"h", None)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert made.ask() == Entry("unknown", b"h", None), "a zombie does not run"
    child.communicate()
    assert made.ask() == Entry("unknown", b"h", None)


def test_a_proof_is_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    proof = proof_of(os.getpid())
    assert is_alive(proof) and not is_alive(None)
    boot, pid, start = proof.split()
    assert not is_alive(f"{boot} {pid} {int(start) - 1}"), "its number was used again"
    assert not is_alive(f"another {pid} {start}"), "before the machine was started anew"
    monkeypatch.setattr(module, "_boot", lambda: "-")
    assert not is_alive(proof_of(os.getpid())), "where the boot is hidden nothing is proved"


def test_another_life_knows_it(made: Made, path: Path) -> None:
    made.claim()
    made.end()
    made.ask("burnt", burn=True)
    again = Made()
    assert again.ask() == Entry("finished", b"h", END), "also beside the first, which has not closed"
    assert again.claim("burnt") == Entry("burnt", None, None)
    assert again.ask("other") is None and again.claim("other") is None, "to ask without burning leaves nothing"
    again.ledger.close()
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_it_is_durable_before_the_answer(made: Made, path: Path) -> None:
    made.claim()
    made.ledger._open().execute("PRAGMA wal_checkpoint")
    assert made.ledger._open().execute("PRAGMA synchronous").fetchone() == (3,), "EXTRA: an fsync each transaction"
    assert made.ledger._open().execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_one_of_two_at_once_gets_it(made: Made) -> None:
    other = Made()
    assert sorted(str(one.claim()) for one in (made, other))[1] == "None"
    answers = made.ledger.carry_out([lambda ledger: ledger.claim("me", "two", b"h")] * 2)
    assert answers == [None, Entry("unknown", b"h", None)], "within one transaction too"
    other.ledger.close()


def test_a_release_makes_it_free(made: Made) -> None:
    made.claim()
    made.do(lambda ledger: ledger.release("me", "one"))
    assert made.ask() is None and made.claim(request=b"other") is None


def test_principals_are_apart(made: Made) -> None:
    made.claim()
    assert made.claim(principal="you") is None


# --- bounds


def test_they_are_kept_for_a_week_after_the_end(made: Made) -> None:
    made.claim()
    made.claim("unended")
    made.claim("running")
    made.do(lambda ledger: ledger.started("me", "running", proof_of(os.getpid())))
    made.clock.now += 2 * DAY
    made.end()
    made.clock.now += 6 * DAY
    assert made.ask() == Entry("finished", b"h", END)
    assert made.ask("unended") is None and made.ask("running") == Entry("running", b"h", None)
    made.clock.now += 2 * DAY
    assert made.ask() is None and made.ask("running") == Entry("running", b"h", None)


def test_the_seven_days_to_the_minute(made: Made) -> None:
    made.claim()
    made.end()
    made.clock.now += 7 * DAY - 60
    assert made.ask() == Entry("finished", b"h", END)
    made.clock.now += 60 + PRUNE_EVERY
    assert made.ask() is None


def test_the_old_go_a_few_at_a_time(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PRUNE_AT_ONCE", 10)
    made.ledger.carry_out([lambda ledger, n=number: ledger.claim("me", f"n{n}", b"h") for number in range(35)])  # type: ignore[misc]
    made.clock.now += 8 * DAY
    counts = [made.do(lambda ledger: ledger._write("SELECT count(*) FROM ids").fetchone()[0]) for _ in range(5)]
    assert counts == [25, 15, 5, 0, 0]
    made.claim()
    made.clock.now += 7 * DAY + PRUNE_EVERY + 1
    assert made.ask() is None


def test_a_key_that_has_very_many_gets_no_more(path: Path) -> None:
    made = Made(replace(DEFAULT_LIMITS, ids_per_principal_max=3))
    assert [made.claim(f"n{number}") for number in range(3)] == [None] * 3
    assert "3 ids of the last days" in str(made.claim("n3")) and "3 ids" in str(made.ask("n4", burn=True))
    assert made.claim("n0") == Entry("unknown", b"h", None), "those that it has are known"
    assert made.claim("n3", principal="you") is None, "others are not concerned"
    made.do(lambda ledger: ledger.release("me", "n0"))
    assert made.claim("n3") is None
    made.ledger.close()


def test_a_full_disk(path: Path) -> None:
    """SQLite's code for the bound is the one for ENOSPC. What is there can still come to its end."""
    made = Made(replace(DEFAULT_LIMITS, ids_file_max=10 * 4096))
    count = 0
    while (answer := made.claim(f"n{count}")) is None:
        count += 1
    assert count > 20 and "no room for" in str(answer) and "ids.sqlite" in str(answer)
    both = made.ledger.carry_out(
        [lambda ledger: ledger.claim("me", "more", b"h" * 9000), lambda ledger: ledger.ended("me", "n0", END)]
    )
    assert isinstance(both[0], LedgerError) and both[1] is None
    assert made.ask("n0") == Entry("finished", b"h", END) and made.ask("more") is None
    assert path.stat().st_size <= 10 * 4096
    made.ledger.close()


def test_another_process_has_locked_it(made: Made, path: Path) -> None:
    made.claim()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answers = made.ledger.carry_out([lambda ledger: ledger.claim("me", "two", b"h")] * 2)
    assert [str(answer) for answer in answers] == [f"{path} is locked by another process"] * 2
    other.execute("ROLLBACK")
    other.close()
    assert made.claim("two") is None, "and goes on when it can"


@pytest.mark.parametrize("how", ["no database", "damaged page", "newer", "folder", "symlink"])
def test_a_file_that_cannot_be_used_is_left_alone(made: Made, path: Path, how: str) -> None:
    """Never replaced: what it knows must not run again."""
    for number in range(200):
        made.claim(f"n{number}")
    made.ledger.close()
    if how == "no database":
        path.write_bytes(b"something else " * 1000)
    elif how == "damaged page":
        with open(path, "r+b") as file:
            file.seek(2 * 4096)
            file.write(os.urandom(3 * 4096))
    elif how == "newer":
        database = sqlite3.connect(path)
        database.execute("PRAGMA user_version = 99")
        database.close()
    else:
        path.unlink()
        if how == "folder":
            path.mkdir()
        else:
            path.symlink_to("/dev/null")
    before = path.read_bytes() if path.is_file() else b""
    text = made.refusal()
    assert str(path) in text or "newer" in text
    if how in ("no database", "damaged page"):
        assert "is damaged" in text and "move it away" in text
    assert ("is damaged" in made.refusal()) == ("is damaged" in text), "still"
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_damage_that_no_question_meets_is_found_in_the_next_life(made: Made, path: Path) -> None:
    made.ledger.carry_out([lambda ledger, n=number: ledger.claim("me", f"n{n}", b"h" * 32) for number in range(2000)])  # type: ignore[misc]
    made.ledger.close()
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size - 4096)
        file.write(os.urandom(4096))
    assert "is damaged" in Made().refusal()


def test_a_file_that_is_moved_away_while_it_is_open(made: Made, path: Path) -> None:
    """What is promised from then on is in the new one."""
    made.claim()
    for ending in ("", "-wal", "-shm"):
        os.rename(f"{path}{ending}", f"{path}.old{ending}")
    assert made.claim() is None
    again = Made()
    assert again.ask() == Entry("unknown", b"h", None)
    again.ledger.close()


def test_a_folder_that_is_not_ours_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    with nobodys_folder() as folder:
        state = os.path.join(folder, "state")
        os.mkdir(state, 0o755)  # root's, or ours and not writable
        os.chmod(state, 0o555)
        monkeypatch.setenv("REMOTE_SHELL_HOME", folder)
        answer = as_nobody(lambda: str(Made().refusal()))
        assert "Permission denied" in answer or "belongs to user id 0" in answer


def test_two_make_it_at_once(path: Path) -> None:
    """The second finds it made, or waits."""
    ledgers = [Made() for _ in range(2)]
    assert [one.claim(ident) for one, ident in zip(ledgers, ("a", "b"), strict=True)] == [None, None]
    for one in ledgers:
        one.ledger.close()
