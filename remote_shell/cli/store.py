"""The SQLite file below the REPL's history: shared by processes, opened at its first use, never a reason to fail or to wait long.

A file that can't be opened is replaced by a database in memory, so that all above works for as long as this REPL lives; a damaged
one is set aside and a new one begun; a lock of another process costs a tenth of a second at most, and then there are no questions
for a while. Never raises for the file's sake, never knows what is stored. sqlite3 is imported at the first use: it takes 5 ms, and
the connection is made before. Neighbour: `history` has the tables and the questions.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from remote_shell.config.database import make_private

BUSY_TIME = 0.1  # seconds that one call waits for another process's lock
QUERY_TIME = 0.2  # seconds after which a question is answered with what was found until then
REST_TIME = 2.0  # seconds without a question after one that met a lock: each key would wait otherwise
DAMAGED = ".damaged"  # after the name of a file that was set aside

_STEPS = 2000  # of SQLite's machine between two looks at the clock, about 0.1 ms
_LOCKED = (5, 6)  # SQLITE_BUSY, SQLITE_LOCKED: https://sqlite.org/rescode.html
_BROKEN = (11, 26)  # SQLITE_CORRUPT, SQLITE_NOTADB
_INTERRUPTED = 9


class Store:
    """The database at `path`, or one in memory if that is None. `schema` is run on a new one, whose version is `version`."""

    def __init__(
        self, path: str | None, schema: str, version: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._schema = schema
        self._version = version
        self._clock = clock
        self._database: Any = None  # a sqlite3.Connection, whose module is not imported before it is needed
        self._until = 0.0  # when the question that runs is to end
        self._rest_until = 0.0
        self._problem = ""
        self._told = False

    def problem(self) -> str:
        """What is wrong, in one line, the first time that it is asked for; empty if nothing is, and after that."""
        if not self._problem or self._told:
            return ""
        self._told = True
        return self._problem

    def rows(self, question: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]] | None:
        """The answer to a SELECT, cut where it took too long; None if there is none now, because of a lock for one."""
        import sqlite3

        if self._clock() < self._rest_until:
            return None
        for _ in range(2):
            found: list[tuple[Any, ...]] = []
            try:
                database = self._open()
                self._until = self._clock() + QUERY_TIME + BUSY_TIME
                for row in database.execute(question, values):
                    found.append(row)  # noqa: PERF402  # what was found before an error counts
                return found
            except sqlite3.Error as error:
                if _code(error) == _INTERRUPTED:
                    return found
                if _code(error) in _LOCKED:
                    self._rest_until = self._clock() + REST_TIME
                if not self._mended(error):
                    return None
        return None

    def write(self, work: Callable[[Any], None]) -> bool:
        """Call `work` with the connection, within one transaction; whether it is stored."""
        import sqlite3

        for _ in range(2):
            self._until = float("inf")  # what is half written would have to be taken back, which takes longer
            try:
                database = self._open()
                database.execute("BEGIN IMMEDIATE")
                try:
                    work(database)
                    database.execute("COMMIT")
                    return True
                except BaseException:
                    if database.in_transaction:
                        database.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                if not self._mended(error):
                    return False
        return False

    def close(self) -> None:
        """Let go of the file. It is opened again if need be."""
        database, self._database = self._database, None
        if database is not None:
            database.close()

    # --- opening

    def _open(self) -> Any:
        """The connection. Raises sqlite3.Error for a file that is locked or damaged; any other is replaced by memory."""
        import sqlite3

        if self._database is not None:
            return self._database
        try:
            if self._path is not None:
                make_private(self._path)
            self._database = self._connect(self._path or ":memory:")
        except OSError as error:
            self._in_memory(error.strerror or str(error))
        except sqlite3.Error as error:
            if _code(error) in (*_LOCKED, *_BROKEN):
                raise
            self._in_memory(str(error))
        return self._database

    def _connect(self, path: str) -> Any:
        import sqlite3

        database = sqlite3.connect(path, timeout=BUSY_TIME, isolation_level=None)
        try:
            database.text_factory = _text
            database.set_progress_handler(lambda: self._clock() > self._until, _STEPS)
            self._until = float("inf")
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version > self._version:
                raise sqlite3.NotSupportedError("a newer remote-shell has made it")
            if version < self._version:
                self._make(database)
            # Readers then never wait for a writer, nor a writer for the disk. Where it can't be had, on NFS for one, or at this
            # moment, because two begin at once, the file works without.
            try:
                database.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:
                pass
            database.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            database.close()
            raise
        return database

    def _make(self, database: Any) -> None:
        database.execute("BEGIN IMMEDIATE")
        # another process may have made them while this one waited
        if database.execute("PRAGMA user_version").fetchone()[0] < self._version:
            for statement in filter(None, map(str.strip, self._schema.split(";"))):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {self._version}")
        database.execute("COMMIT")

    # --- what goes wrong

    def _mended(self, error: Exception) -> bool:
        """What an error leads to; whether another try makes sense."""
        if _code(error) in _LOCKED:
            self._say("another process holds it locked; this is tried again with the next command")
        elif _code(error) in _BROKEN and self._path is not None:
            self.close()
            try:
                _set_aside(self._path)
            except OSError as reason:
                self._in_memory(f"damaged, and can't be renamed: {reason.strerror}")
            else:
                self._say(f"damaged, and now named {os.path.basename(self._path)}{DAMAGED}; a new one was begun")
            return True
        else:
            self._say(f"{error}")
        return False

    def _in_memory(self, reason: str) -> None:
        self._say(f"{reason}; until you leave, lines are kept in memory")
        self._path = None
        self._database = self._connect(":memory:")

    def _say(self, reason: str) -> None:
        if not self._problem:
            self._problem = f"history: {self._path}: {reason}"


def _set_aside(path: str) -> None:
    """Rename a damaged file, over an earlier one. Its log must not be left to the file that comes next."""
    for ending in ("-wal", "-shm", ""):
        try:
            os.rename(path + ending, path + DAMAGED + ending)
        except FileNotFoundError:
            continue


def _code(error: Exception) -> int:
    """SQLite's primary result code; 1, its word for any error, where Python's module itself refused."""
    return int(getattr(error, "sqlite_errorcode", 1)) & 0xFF


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
