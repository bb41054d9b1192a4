"""The REPL's history: each command that ran, with host, directory, status, time; shared by all REPLs of an account.

Only `add`, called when a command has ended, writes: what is typed where nothing is echoed never gets here. A line that begins with
a space is not kept, as under bash's HISTCONTROL=ignorespace; neither is one that would swell the file. Never raises for the
file's sake, and never takes long: each question looks at a bounded number of rows, or at an index. Neighbours: `store` has the
file, `suggesting` and `searching` show what is found, `repl` adds.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any, NamedTuple

from remote_shell.cli import fuzzy
from remote_shell.cli.store import Store

ENTRIES_MAX = 100_000  # entries above which the oldest go
SIZE_MAX = 64 * 1024 * 1024  # bytes in use, above which the oldest quarter goes
LINE_MAX = 32 * 1024  # characters of a line that is kept
RECENT_MAX = 2000  # lines for going up
WORDS_MAX = 200  # characters of what is searched for
PENDING_MAX = 100  # entries that wait for a file that can't be written now

_PRUNE_EVERY = 100  # entries between two looks at the bounds
_LOOK_AT = 1000  # rows that are ranked one by one, in Python
_BEYOND = 200  # lines beyond the limit that place and success may still bring forward
_INTERRUPTED = 130

# `entries` is what happened. The other two say the same by line, and by line and place, so that no question counts a hundred
# thousand `ls`: `last` is the newest entry's id, `mask` has a bit for each character in the line, `ok` is that of the newest.
_VERSION = 1
_SCHEMA = """
CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE, mask INTEGER NOT NULL, last INTEGER NOT NULL);
CREATE INDEX texts_by_last ON texts (last, mask);
CREATE TABLE entries (
    id INTEGER PRIMARY KEY, text INTEGER NOT NULL, host TEXT NOT NULL, directory TEXT NOT NULL,
    status INTEGER, signal TEXT, started REAL NOT NULL, duration REAL NOT NULL
);
CREATE TABLE places (
    text INTEGER NOT NULL, host TEXT NOT NULL, directory TEXT NOT NULL,
    uses INTEGER NOT NULL, last INTEGER NOT NULL, ok INTEGER NOT NULL, PRIMARY KEY (text, host, directory)
) WITHOUT ROWID;
CREATE INDEX places_by_place ON places (host, directory, last);
CREATE INDEX places_by_host ON places (host, last);
"""


class Entry(NamedTuple):
    """One command that ran. `status` is None if that is not known; `started` in Unix seconds, `duration` in seconds."""

    text: str
    host: str
    directory: str
    status: int | None
    signal: str | None
    started: float
    duration: float


class History:
    """The history in the file at `path`, which is opened at the first question; None: one for this REPL alone."""

    def __init__(self, path: str | None) -> None:
        self._store = Store(path, _SCHEMA, _VERSION)
        self._before: list[str] | None = None  # what others and earlier REPLs ran, newest first
        self._own: dict[str, None] = {}  # what this one ran, newest last
        self._pending: deque[Entry] = deque(maxlen=PENDING_MAX)

    def add(self, entry: Entry) -> None:
        """Keep a command that has ended."""
        text = entry.text
        if text.startswith(" ") or not text.strip() or len(text) > LINE_MAX or not _storable(entry):
            return
        self._keep(text)
        self._pending.append(entry)
        self._flush()

    def note(self, text: str) -> None:
        """A line that is none of the shell's: for going up, and in this REPL alone."""
        if not text.startswith(" ") and text.strip() and len(text) <= LINE_MAX:
            self._keep(text)

    def problem(self) -> str:
        """What is wrong with the file, in one line and once; empty otherwise."""
        return self._store.problem()

    def close(self) -> None:
        """Let go of the file."""
        if self._pending:
            self._flush()
        self._store.close()

    # --- questions

    def recent(self, limit: int = RECENT_MAX) -> list[str]:
        """Lines to go up through, each once, newest first: this REPL's, then those that were there when it began."""
        if self._before is None:
            rows = self._store.rows("SELECT text FROM texts ORDER BY last DESC LIMIT ?", (RECENT_MAX,))
            self._before = None if rows is None else [text for (text,) in rows]
        return list(dict.fromkeys([*reversed(self._own), *(self._before or ())]))[:limit]

    def suggest(self, prefix: str, host: str, directory: str) -> str | None:
        """The best line that goes on after `prefix`: one used here, then on this host; that succeeded; newer; more often."""
        low = _bytes(prefix)
        if not low or prefix.startswith(" "):
            return None
        span = (low, low + b"\xff" * 4)
        rows = self._store.rows(
            f"{_USES} FROM texts t CROSS JOIN places p ON p.text = t.id {_SPAN} LIMIT ?", (*span, _LOOK_AT)
        )
        if rows is not None and len(rows) == _LOOK_AT:
            # Too common to rank them all: the newest here, or else on this host, or else anywhere, or else any.
            place = (_bytes(host), _bytes(directory))
            for source, values in ((_NEWEST_HERE, place), (_NEWEST_ON_HOST, place[:1]), (_NEWEST, ())):
                newer = self._store.rows(
                    f"{_USES} FROM {source} {_SPAN} LIMIT {5 * _LOOK_AT}", (*values, _LOOK_AT, *span)
                )
                if newer:
                    rows = newer
                    break
        if not rows:
            return None
        newest = (self._store.rows("SELECT max(last) FROM texts") or [(0,)])[0][0]
        return str(max(rows, key=lambda row: _rank(row, host, directory, newest))[0])

    def search(self, words: str, host: str, directory: str, limit: int = 100) -> list[str]:
        """Lines in which all `words` are found, fuzzily and in any case, best first; the newest if there are no words."""
        wanted = words[:WORDS_MAX].lower().split()
        if not wanted:
            return self.recent(limit)
        found = self._candidates(wanted)
        if not found:
            return []
        newest = max(last for _, last in found.values())
        scored = []
        for number, (text, last) in found.items():
            points = fuzzy.score(wanted, text)
            if points is not None:
                scored.append((points + _freshness(newest - last) - min(len(text), 400) / 100, number))
        scored.sort(reverse=True)
        best = scored[: limit + _BEYOND]
        bonus = self._bonuses([number for _, number in best], host, directory)
        ranked = sorted(((points + bonus.get(number, 0), number) for points, number in best), reverse=True)
        return [found[number][0] for _, number in ranked[:limit]]

    def entries(
        self, *, failed: bool = False, here: str | None = None, host: str | None = None, limit: int = 100
    ) -> list[Entry]:
        """Entries, newest first: those that `failed`, those in the directory `here`, those on `host`, or all."""
        conditions, values = ["1"], []
        if failed:
            conditions.append("e.status IS NOT NULL AND e.status <> 0")
        for column, value in (("directory", here), ("host", host)):
            if value is not None:
                conditions.append(f"e.{column} = CAST(? AS TEXT)")
                values.append(_bytes(value))
        rows = self._store.rows(
            "SELECT t.text, e.host, e.directory, e.status, e.signal, e.started, e.duration "
            f"FROM entries e CROSS JOIN texts t ON t.id = e.text WHERE {' AND '.join(conditions)} ORDER BY e.id DESC LIMIT ?",
            (*values, limit),
        )
        return [Entry(*row) for row in rows or ()]

    # --- within

    def _candidates(self, wanted: list[str]) -> dict[int, tuple[str, int]]:
        """By id, text and newest use of the newest lines that may answer: those with the letters, and those with the words.

        A % or _ among them lets more through, as LIKE has it; what is too much goes when it is scored.
        """
        mask = _mask("".join(wanted))
        cut = f"SELECT id, text, last FROM texts WHERE mask & ? = ? {{}} ORDER BY last DESC LIMIT {_LOOK_AT}"
        like = " AND text LIKE CAST(? AS TEXT)" * len(wanted)

        def ask(between: str) -> list[tuple[Any, ...]]:
            patterns = [f"%{between.join(word if between else [word])}%" for word in wanted]
            return self._store.rows(cut.format(like), (mask, mask, *map(_bytes, patterns))) or []

        rows = ask("%")
        if len(rows) == _LOOK_AT:
            rows += ask("")
        return {number: (text, last) for number, text, last in rows}

    def _bonuses(self, numbers: list[int], host: str, directory: str) -> dict[int, int]:
        """Points for a line that was used on this host, in this directory, and succeeded when it ran last."""
        rows = self._store.rows(
            # SQLite takes `ok` from the row that has the max (https://sqlite.org/lang_select.html#bareagg)
            "SELECT text, sum(host = CAST(? AS TEXT)), sum(host = CAST(? AS TEXT) AND directory = CAST(? AS TEXT)), max(last), ok "
            f"FROM places WHERE text IN ({','.join('?' * len(numbers))}) GROUP BY text",
            (_bytes(host), _bytes(host), _bytes(directory), *numbers),
        )
        return {text: 6 * bool(on_host) + 8 * bool(here) + 8 * ok for text, on_host, here, _, ok in rows or ()}

    def _keep(self, text: str) -> None:
        self._own.pop(text, None)
        self._own[text] = None
        if len(self._own) > RECENT_MAX:
            del self._own[next(iter(self._own))]

    def _flush(self) -> None:
        if self._store.write(self._insert_pending):
            self._pending.clear()

    def _insert_pending(self, database: Any) -> None:
        number = database.execute("SELECT coalesce(max(id), 0) FROM entries").fetchone()[0]
        for entry in self._pending:
            number += 1
            _insert(database, number, entry)
            if number % _PRUNE_EVERY == 0:
                _prune(database, number)


HISTORY = "history.sqlite3"


def state_path(name: str = HISTORY) -> str | None:
    """Where the REPL keeps something of that name, or None if our folder for it can't be used."""
    from remote_shell.config.paths import state_dir
    from remote_shell.errors import ConfigError

    try:
        return os.path.join(state_dir(), name)
    except ConfigError:
        return None


def _insert(database: Any, number: int, entry: Entry) -> None:
    text, host, directory = _bytes(entry.text), _bytes(entry.host), _bytes(entry.directory)
    database.execute(
        "INSERT INTO texts (text, mask, last) VALUES (CAST(? AS TEXT), ?, ?) ON CONFLICT (text) DO UPDATE SET last = excluded.last",
        (text, _mask(entry.text), number),
    )
    of_text = database.execute("SELECT id FROM texts WHERE text = CAST(? AS TEXT)", (text,)).fetchone()[0]
    database.execute(
        "INSERT INTO entries VALUES (?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, ?, ?)",
        (number, of_text, host, directory, entry.status, entry.signal, entry.started, entry.duration),
    )
    # Ctrl-C is how `tail -f` ends, and what is not known did not fail.
    ok = entry.status in (0, None, _INTERRUPTED) or entry.signal in ("INT", "SIGINT")
    database.execute(
        "INSERT INTO places VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT), 1, ?, ?) "
        "ON CONFLICT (text, host, directory) DO UPDATE SET uses = uses + 1, last = excluded.last, ok = excluded.ok",
        (of_text, host, directory, number, ok),
    )


def _prune(database: Any, newest: int) -> None:
    """Keep to the bounds. Ids have no gaps, since only the oldest ever go."""
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    oldest = database.execute("SELECT coalesce(min(id), 0) FROM entries").fetchone()[0]
    first = newest - ENTRIES_MAX + 1  # that stays
    if (pages - free) * size > SIZE_MAX:
        first = max(first, oldest + (newest - oldest) // 4 + 1)
    if first > oldest:
        database.execute("DELETE FROM entries WHERE id < ?", (first,))
        database.execute("DELETE FROM places WHERE last < ?", (first,))
        database.execute("DELETE FROM texts WHERE last < ?", (first,))


# --- the parts of `suggest`: t is a line, p one of its places

_USES = "SELECT t.text, p.host, p.directory, p.ok, p.uses, p.last"
_SPAN = "WHERE t.text > CAST(? AS TEXT) AND t.text < CAST(? AS TEXT)"
_OF_PLACES = "(SELECT * FROM places WHERE {} ORDER BY last DESC LIMIT ?) p CROSS JOIN texts t ON t.id = p.text"
_NEWEST_HERE = _OF_PLACES.format("host = CAST(? AS TEXT) AND directory = CAST(? AS TEXT)")
_NEWEST_ON_HOST = _OF_PLACES.format("host = CAST(? AS TEXT)")
_NEWEST = "(SELECT * FROM texts ORDER BY last DESC LIMIT ?) t CROSS JOIN places p ON p.text = t.id"


def _rank(row: tuple[Any, ...], host: str, directory: str, newest: int) -> tuple[int, ...]:
    _, its_host, its_directory, ok, uses, last = row
    on_host = its_host == host
    # As old is what is within twice the age: then what is used more often wins.
    return on_host and its_directory == directory, on_host, ok, -(newest - last).bit_length(), uses, last


def _freshness(age: int) -> int:
    """Points by age in entries: 17 for the newest, one less with each doubling."""
    return max(0, 17 - age.bit_length())


def _mask(text: str) -> int:
    """A bit for each character, in lower case, some in common: what lacks one of a word's can't have the word."""
    mask = 0
    for sign in set(text.lower()):
        mask |= 1 << (ord(sign) - 97 if "a" <= sign <= "z" else 26 + ord(sign) % 37)
    return mask


def _bytes(text: str) -> bytes:
    """As SQL's CAST makes a text of it, one that is not UTF-8 too: sqlite3 itself refuses a lone surrogate."""
    return text.encode("utf-8", "surrogateescape")


def _storable(entry: Entry) -> bool:
    try:
        for text in (entry.text, entry.host, entry.directory):
            _bytes(text)
    except UnicodeEncodeError:  # a surrogate that stands for no byte: no terminal sends that
        return False
    return True
