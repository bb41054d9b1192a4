"""The ledger: the ids that people chose, in SQLite, so that a command runs at most once though the server dies at any moment.

A row is there, durably, before its command starts: write-ahead log with an fsync for each transaction. The start and the
end are added; what is not written is not guessed. Nothing is ever forgotten early: above a bound new ids are refused, and a
damaged file is not replaced, for an empty one would run everything again. Synchronous, and for one thread alone: `scribe` has the
thread. Never imported before an id needs it. Neighbour: `claims` decides what is asked.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from remote_shell.config.database import make_private
from remote_shell.config.paths import shown, state_dir
from remote_shell.errors import ConfigError, LedgerError
from remote_shell.limits import Limits
from remote_shell.process.tree import Stat
from remote_shell.wire.messages import Exit

FILE = "ids.sqlite"
PRUNE_EVERY = 60.0  # seconds between two looks for what is too old
PRUNE_AT_ONCE = 500  # rows, so that nobody waits long behind it

_NO_ROOM = 13  # SQLITE_FULL: https://sqlite.org/rescode.html
_FULL = (10, _NO_ROOM)  # SQLITE_IOERR, as a disk may say it too
_LOCKED = (5, 6)  # SQLITE_BUSY, SQLITE_LOCKED
_BROKEN = (11, 26)  # SQLITE_CORRUPT, SQLITE_NOTADB
_NO_BOOT = "-"
_VERSION = 1
_SCHEMA = """
CREATE TABLE ids (
    number INTEGER PRIMARY KEY, principal TEXT NOT NULL, id TEXT NOT NULL,
    state TEXT NOT NULL, hash BLOB, proof TEXT,
    status INTEGER, signal TEXT, timed_out INTEGER, duration_us INTEGER,
    until REAL NOT NULL, UNIQUE (principal, id)
);
CREATE INDEX ids_by_time ON ids (until);
"""
_FIND = "SELECT state, hash, proof, status, signal, timed_out, duration_us FROM ids WHERE principal = ? AND id = ?"
_ADD = "INSERT INTO ids (principal, id, state, hash, until) VALUES (?, ?, ?, ?, ?)"

Work = Callable[["Ledger"], Any]
Known = Literal["burnt", "unknown", "running", "finished"]


class Entry(NamedTuple):
    """What is known of an id. `hash` is that of the request, None for an id that was asked about before it came."""

    state: Known
    hash: bytes | None
    end: Exit | None


class Ledger:
    """The database in the state folder; opened at the first work, and anew after an error."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.time) -> None:
        self._limits = limits
        self._clock = clock
        self._database: sqlite3.Connection | None = None
        self._path = FILE
        self._counts: dict[str, int] = {}  # rows of a principal, so that they need not be counted for each
        self._pruned_at = float("-inf")
        self._sound: tuple[int, int] | None = None  # the file that was looked through, by device and number

    def carry_out(self, works: Sequence[Work]) -> list[Any]:
        """Do all works in one transaction, which is durable when this returns: their results in order, LedgerError for one that failed."""
        try:
            return self._transaction(works)
        except (OSError, ConfigError, LedgerError, sqlite3.Error) as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code != _NO_ROOM and code not in _LOCKED:
                self.close()
            if code in _BROKEN:
                self._sound = None
            if code in _FULL and len(works) > 1:  # what changes a row may go through where a new one does not
                return [result for work in works for result in self.carry_out([work])]
            return [LedgerError(self._describe(error, code))] * len(works)

    def close(self) -> None:
        """Let go of the file. What was carried out is durable already."""
        database, self._database = self._database, None
        self._counts.clear()
        if database is not None:
            try:
                database.close()
            except sqlite3.Error:  # a checkpoint that found no room: the log has everything
                return

    # --- works; each within a transaction

    def claim(self, principal: str, ident: str, request: bytes) -> Entry | None:
        """Claim an id for the request with this hash. None: it is claimed now; else it was known. Raises LedgerError."""
        found = self._find(principal, ident)
        if found is None:
            self._add(principal, ident, "claimed", request)
        return found

    def ask(self, principal: str, ident: str, burn: bool) -> Entry | None:
        """What is known of an id. None: nothing; if `burn`, it will never run. Raises LedgerError."""
        found = self._find(principal, ident)
        if found is None and burn:
            self._add(principal, ident, "burnt", None)
        return found

    def release(self, principal: str, ident: str) -> None:
        """Nothing was started under this id."""
        self._counts.pop(principal, None)
        self._write("DELETE FROM ids WHERE principal = ? AND id = ?", (principal, ident))

    def started(self, principal: str, ident: str, proof: str) -> None:
        """Its process is there: `proof_of` tells it from any other. Not after its end."""
        self._write(
            "UPDATE ids SET state = 'started', proof = ? WHERE principal = ? AND id = ? AND state = 'claimed'",
            (proof, principal, ident),
        )

    def ended(self, principal: str, ident: str, end: Exit) -> None:
        """Its end, which is kept from now on for as long as ids are."""
        self._write(
            "UPDATE ids SET state = 'ended', status = ?, signal = ?, timed_out = ?, duration_us = ?, until = ?"
            " WHERE principal = ? AND id = ?",
            (end.status, end.signal, end.timed_out, end.duration_us, self._until(), principal, ident),
        )

    # --- rows

    def _find(self, principal: str, ident: str) -> Entry | None:
        row = self._write(_FIND, (principal, ident)).fetchone()
        if row is None:
            return None
        state, request, proof, status, signal, timed_out, duration = row
        if state == "ended":
            end = Exit(status=status, signal=signal, timed_out=bool(timed_out), duration_us=duration)
            return Entry("finished", request, end)
        if state == "burnt":
            return Entry("burnt", None, None)
        return Entry("running" if state == "started" and is_alive(proof) else "unknown", request, None)

    def _add(self, principal: str, ident: str, state: str, request: bytes | None) -> None:
        count = self._counts.get(principal)
        if count is None:
            count = self._write("SELECT count(*) FROM ids WHERE principal = ?", (principal,)).fetchone()[0]
        if count >= self._limits.ids_per_principal_max:
            raise LedgerError(f"{count} ids of the last days are kept for this key, and no more fit")
        self._write(_ADD, (principal, ident, state, request, self._until()))
        self._counts[principal] = count + 1

    def _until(self) -> float:
        return self._clock() + self._limits.commands_remembered_time

    def _prune(self) -> None:
        """Forget what is too old, a bounded number at a time; not what runs."""
        now = self._clock()
        if now - self._pruned_at < PRUNE_EVERY:
            return
        self._pruned_at = now
        rows = self._write(
            "SELECT number, state, proof FROM ids WHERE until < ? ORDER BY until LIMIT ?", (now, PRUNE_AT_ONCE)
        ).fetchall()
        if len(rows) == PRUNE_AT_ONCE:
            self._pruned_at = float("-inf")  # there may be more: with the next work
        for number, state, proof in rows:
            if state == "started" and is_alive(proof):
                self._write("UPDATE ids SET until = ? WHERE number = ?", (self._until(), number))
            else:
                self._write("DELETE FROM ids WHERE number = ?", (number,))
        if rows:
            self._counts.clear()

    def _write(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        assert self._database is not None, "within a transaction"
        return self._database.execute(statement, values)

    # --- the file

    def _transaction(self, works: Sequence[Work]) -> list[Any]:
        database = self._open()
        database.execute("BEGIN IMMEDIATE")
        results: list[Any] = []
        try:
            self._prune()
            for work in works:
                try:
                    results.append(work(self))
                except LedgerError as error:
                    results.append(error)
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        return results

    def _open(self) -> sqlite3.Connection:
        if self._database is not None and _file(self._path) != self._sound:
            self.close()  # a person has moved it away: what is written to it from now on, the next life would not know
        if self._database is None:
            self._path = os.path.join(state_dir(), FILE)
            make_private(self._path)
            self._database = self._connect()
        return self._database

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=self._limits.ids_busy_time, isolation_level=None)
        try:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version > _VERSION:
                raise LedgerError("a newer remote-shell has made it")
            # Where it can't be had, on NFS for one, or at this moment, because two begin at once, the older way is as durable under EXTRA.
            try:
                database.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:
                pass
            database.execute("PRAGMA synchronous = EXTRA")
            size = database.execute("PRAGMA page_size").fetchone()[0]
            database.execute(f"PRAGMA max_page_count = {max(1, self._limits.ids_file_max // size)}")
            if version < _VERSION:
                _make(database)
            self._check(database)
        except BaseException:
            database.close()
            raise
        return database

    def _check(self, database: sqlite3.Connection) -> None:
        """A row that a damaged page hides would run once more. 100,000 rows take 0.03 s, once in a life."""
        if self._sound != _file(self._path):
            found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise LedgerError(f"damaged: {found}")
            self._sound = _file(self._path)

    def _describe(self, error: Exception, code: int) -> str:
        path = shown(self._path)
        if isinstance(error, ConfigError):
            return str(error)
        if code in _LOCKED:
            return f"{path} is locked by another process"
        if code == _NO_ROOM:
            return f"no room for {path}: the disk or the bound ids_file_max is full"
        if code in _BROKEN or (isinstance(error, LedgerError) and str(error).startswith("damaged")):
            return f"{path} is damaged ({error}); to move it away makes room for a new one, which does not know what ran before"
        return f"{path}: {getattr(error, 'strerror', None) or error}"


def _file(path: str) -> tuple[int, int] | None:
    """Which file has this name."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _make(database: sqlite3.Connection) -> None:
    database.execute("BEGIN IMMEDIATE")
    # another server may have made it while this one waited
    if database.execute("PRAGMA user_version").fetchone()[0] < _VERSION:
        for statement in filter(None, map(str.strip, _SCHEMA.split(";"))):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {_VERSION}")
    database.execute("COMMIT")


def proof_of(pid: int) -> str:
    """What tells this process from every other: the boot, its number, when it started."""
    stat = Stat.of(pid)
    return f"{_boot()} {pid} {stat.start if stat is not None else 0}"


def is_alive(proof: str | None) -> bool:
    """Whether that very process is there and has not ended."""
    boot, pid, start = (proof or f"{_NO_BOOT} 0 0").split()
    stat = Stat.of(int(pid)) if boot == _boot() != _NO_BOOT else None
    return stat is not None and stat.start == int(start) and stat.alive


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:  # some containers hide it: then nothing is proved
        return _NO_BOOT
