"""The receiver of files: checks what comes, puts it where it belongs, and answers.

It decides every name (`files.names`, `files.place`). A file that can't be put in its place is named, and the rest goes on. Small files
that arrived are synced together, by a few threads: a disk takes ten at once in the time of two. Neighbours: `wire.offers` has the order of
what may come, `files.landing` writes one file.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from remote_shell.files import names
from remote_shell.files.landing import Landing
from remote_shell.files.place import Place
from remote_shell.limits import Limits
from remote_shell.transfer.progress import FileFault, Progress, fault, told_fault
from remote_shell.wire.fields import Message, from_system
from remote_shell.wire.file_messages import (
    NUMBERS_MAX,
    Content,
    Entry,
    EntryEnd,
    EntryFailed,
    Seek,
    Skipped,
    Stored,
    Wanted,
)
from remote_shell.wire.offers import Offers, OfferState

_SYNCED_TOGETHER = 64  # each is open until then
_SYNC_THREADS = 4  # measured: more gain nothing


class _Arriving:
    """A file that was announced or arrives."""

    __slots__ = ("landing", "number", "path", "sha256", "source")

    def __init__(self, entry: Entry, path: bytes, landing: Landing) -> None:
        self.number = entry.number
        self.source = entry.source
        self.path = path
        self.landing = landing
        self.sha256 = entry.sha256


class Receiver:
    """One put or get, from the side that gets the files. All its methods may block."""

    def __init__(
        self,
        path: bytes,
        sources: Sequence[bytes],
        limits: Limits,
        stopped: Callable[[], bool] = lambda: False,
        *,
        asked: Sequence[bytes] | None = None,
        within: bytes = b"",
    ) -> None:
        """Into `path`, as cp; `sources` are the names of what comes (`names.top_name`), `asked` how they were asked for. Raises OSError.

        `within`: the real path of a folder outside of which nothing is written.
        """
        self._limits = limits
        self._stopped = stopped
        self._sources = sources if asked is None else asked
        self._place = Place(path, sources, within)
        self._offers = Offers(len(sources), limits.files_ahead_max)
        self._announced: dict[int, _Arriving] = {}
        self._current: _Arriving | None = None
        self._settling: list[_Arriving] = []  # arrived, and neither synced nor in their places
        self._folders: list[tuple[list[bytes], int, int]] = []  # made here: mode and time come at the end
        self._stored: list[int] = []
        self._answers: list[Message] = []
        self._pool: ThreadPoolExecutor | None = None
        self.faults: list[FileFault] = []  # that nobody has taken yet
        self._left_some = False  # partial files, of which the sender was told that the same command goes on with them
        self.failed = 0
        self.files = self.bytes = self.resumed = 0
        self._name, self._done, self._size, self._got = b"", 0, 0, 0

    def progress(self) -> Progress:
        """How far it is."""
        done = self._current.landing.position if self._current is not None else self._done
        return Progress(os.fsdecode(self._name), done, self._size, self.files, self._got)

    def take_faults(self) -> list[FileFault]:
        """Those since the last call."""
        taken, self.faults = self.faults, []
        return taken

    def take_answers(self) -> list[Message]:
        """What the sender is to be told now."""
        for at in range(0, len(self._stored), NUMBERS_MAX):
            self._answers.append(Stored.of(numbers=self._stored[at : at + NUMBERS_MAX]))
        self._stored = []
        taken, self._answers = self._answers, []
        return taken

    # --- from the sender

    def data(self, data: bytes | memoryview) -> None:
        """Content. Raises RemoteProtocolError."""
        self._offers.data(len(data))
        self._got += len(data)
        arriving = self._current
        if arriving is None:
            return  # of a file that failed: it still comes
        try:
            arriving.landing.write(data)
        except OSError as error:
            self._fail(arriving, error)
            return
        if self._offers.state is OfferState.BETWEEN:
            assert arriving.sha256 is not None, "else `entry_end` ends it"
            self._arrived(arriving, arriving.sha256)

    def message(self, message: Message) -> None:
        """A message. Raises RemoteProtocolError."""
        self._offers.message(message)
        if isinstance(message, Entry):
            self._entry(message)
        elif isinstance(message, Content):
            self._content(message)
        elif isinstance(message, Seek):
            self._seek(message)
        elif isinstance(message, EntryEnd):
            self._entry_end(message)
        elif isinstance(message, Skipped):
            where = self._at_sender(message.source, from_system(message.path))
            self._fault(told_fault(where, message.errno, message.detail))

    def end(self) -> None:
        """Nothing more comes: what made folders have their modes and times now. Raises RemoteProtocolError."""
        self._offers.end()
        self.settle()
        while self._folders:
            parts, mode, mtime = self._folders.pop()
            try:
                self._place.set_folder(parts, mode, mtime)
            except OSError as error:
                self._fault(fault(b"/".join(parts), error))
        if not self._left_some:
            self._place.whole()
        self._close()

    def settle(self) -> None:
        """Sync what arrived and put it in its place."""
        settling, self._settling = self._settling, []
        if len(settling) > 1:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_SYNC_THREADS, "remote-shell-sync")
            results = list(self._pool.map(_synced, settling))
        else:
            results = [_synced(arriving) for arriving in settling]
        for arriving, error in zip(settling, results, strict=True):
            try:
                if error is not None:
                    raise error
                arriving.landing.place()
            except OSError as why:
                self._fail(arriving, why)
                continue
            self._stored_now(arriving.number, arriving.landing.size)

    def close(self) -> list[FileFault]:
        """It was cut off: partial files are kept for the next attempt, if they are worth it. What is kept."""
        kept = []
        self.settle()
        for arriving in [*self._announced.values(), *([self._current] if self._current is not None else [])]:
            size = arriving.landing.leave(self._limits.files_resume_min)
            if size:
                kept.append(FileFault(self._at(arriving.source, arriving.path), errno.EINTR, "interrupted", size))
        self._announced.clear()
        self._current = None
        self._close()
        return kept

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        self._place.close()

    # --- entries

    def _entry(self, entry: Entry) -> None:
        path = from_system(entry.path)
        mtime = entry.mtime_s * 1_000_000_000 + entry.mtime_ns
        try:
            below = names.components(path, self._limits.files_depth_max, self._limits.files_path_max)
            parts = [*self._place.tops[entry.source], *below]
            if entry.kind == "folder":
                if self._place.make_folder(parts, entry.mode):
                    self._folders.append((parts, entry.mode, mtime))
                self._stored_now(entry.number, -1)
                return
            if not parts:
                raise names.refusal(errno.EINVAL, "a file without a name; the folder's content was asked for")
            if entry.kind == "symlink":
                assert entry.target is not None, "offers says so"
                self._place.make_symlink(parts, from_system(entry.target), mtime)
                self._stored_now(entry.number, -1)
                return
            folder = self._place.folder(parts[:-1])
            landing = Landing(folder, parts[-1], entry.size, entry.mode, mtime, self._stopped)
            arriving = _Arriving(entry, path, landing)
            if entry.sha256 is None:
                offset, digest = landing.offer()
                self._announced[entry.number] = arriving
                self._answers.append(Wanted.of(number=entry.number, offset=offset, sha256=digest))
                self._offers.wanted(entry.number, offset)
                return
        except OSError as error:
            self._fail_early(entry, path, error)
            return
        self._open(arriving, 0)
        if not entry.size and self._current is not None:
            self._arrived(arriving, entry.sha256)

    def _open(self, arriving: _Arriving, offset: int) -> None:
        self._current = arriving
        self._name, self._size = self._at_sender(arriving.source, arriving.path), arriving.landing.size
        try:
            arriving.landing.begin(offset)
        except OSError as error:
            self._fail(arriving, error)

    def _content(self, message: Content) -> None:
        arriving = self._announced.pop(message.number)
        self.resumed += message.offset
        self._open(arriving, message.offset)

    def _seek(self, message: Seek) -> None:
        arriving = self._current
        if arriving is None:
            return
        self._offers.seek(message, arriving.landing.position)
        try:
            arriving.landing.skip(message.offset)
        except OSError as error:
            self._fail(arriving, error)

    def _entry_end(self, message: EntryEnd) -> None:
        arriving = self._current
        if arriving is None:
            return
        if message.sha256 is not None:
            self._arrived(arriving, message.sha256)
            self.settle()
            return
        number = names.errno_number(message.errno)
        self._fail(arriving, OSError(number, message.detail or names.text(number)))

    def _arrived(self, arriving: _Arriving, sha256: str) -> None:
        self._current, self._done = None, arriving.landing.size
        try:
            arriving.landing.check(sha256)
            arriving.landing.settle()
        except OSError as error:
            self._fail(arriving, error)
            return
        self._settling.append(arriving)
        if len(self._settling) >= _SYNCED_TOGETHER:
            self.settle()

    # --- answers

    def _stored_now(self, number: int, size: int) -> None:
        self.files += size >= 0
        self.bytes += max(0, size)
        self._stored.append(number)
        self._offers.answered(number)

    def _fail(self, arriving: _Arriving, error: OSError) -> None:
        """What is here is kept if it is worth it: a disk that is full may have room later."""
        if self._current is arriving:
            self._current = None
        least = self._limits.files_resume_min
        kept = arriving.landing.leave(least)
        self._left_some |= kept > 0
        self._answer(arriving.number, self._at(arriving.source, arriving.path), error, kept)

    def _fail_early(self, entry: Entry, path: bytes, error: OSError) -> None:
        self._answer(entry.number, self._at(entry.source, path), error, 0)

    def _answer(self, number: int, where: bytes, error: OSError, kept: int) -> None:
        if isinstance(error, InterruptedError):
            return
        detail = names.reason(error).encode("utf-8", "replace").decode()[:1000]
        self._answers.append(EntryFailed.of(number=number, errno=names.errno_name(error), detail=detail, kept=kept))
        self._fault(FileFault(where, error.errno or errno.EIO, detail, kept))
        self._offers.answered(number)

    def _fault(self, one: FileFault) -> None:
        self.failed += 1
        self.faults.append(one)

    def _at(self, source: int, path: bytes) -> bytes:
        """Where it goes to, for people."""
        below = [path] if path and not path.startswith(b"/") else []
        return os.path.join(self._place.root, *self._place.tops[source], *below)

    def _at_sender(self, source: int, path: bytes) -> bytes:
        top = self._sources[source]
        return os.path.join(top, path) if path and not path.startswith(b"/") else top


def _synced(arriving: _Arriving) -> OSError | None:
    try:
        arriving.landing.sync()
    except OSError as error:
        return error
    return None
