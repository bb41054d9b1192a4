"""The sender of files: walks, reads, hashes, and says what comes, in pieces of about half a megabyte.

Small files go whole behind their `entry`, one after the other, without waiting for anything. Of a large one the receiver is asked what
it has; some are announced ahead, so that the answer is there when their turn comes. Neighbours: `files.reading` walks, `receiving` is
the other end.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Sequence

from remote_shell.errors import RemoteProtocolError
from remote_shell.files import names
from remote_shell.files.contents import CHUNK, Digest, data_end, has_hole, is_sparse, next_data, read_whole
from remote_shell.files.reading import Found, Missed, Walk
from remote_shell.limits import Limits
from remote_shell.transfer.progress import FileFault, OnFile, Progress, fault, told_fault
from remote_shell.wire.fields import Message, to_system
from remote_shell.wire.file_messages import Content, Entry, EntryEnd, EntryFailed, Seek, Skipped, Stored, Wanted

Item = Message | bytes | memoryview
_SKIPPED = 1000  # things that can't be sent are told in one piece: nobody answers those
_AHEAD = 16  # things that are looked at ahead of their turn; each file among them is open


class _File:
    """A large file that was announced."""

    __slots__ = ("data_end", "digest", "failed", "found", "number", "sparse", "wanted")

    def __init__(self, found: Found, number: int) -> None:
        self.found = found
        self.number = number
        self.wanted: Wanted | None = None
        self.failed = False  # the receiver does not want it any more
        self.digest = Digest()
        self.sparse = is_sparse(found.status)
        self.data_end = 0 if self.sparse else self.size  # a hole, or nothing, follows

    @property
    def size(self) -> int:
        """As it was when it was announced."""
        return self.found.status.st_size


class Sender:
    """One put or get, from the side that has the files. What may block: `produce`."""

    def __init__(
        self,
        sources: Sequence[bytes],
        base: bytes,
        recursive: bool,
        limits: Limits,
        stopped: Callable[[], bool],
        within: bytes = b"",
        on_file: OnFile | None = None,
    ) -> None:
        """`sources` count from `base`. `stopped`: nobody wants it any more. `within`: nothing outside of that folder is read.

        `on_file` is told of each file of which all is about to be sent: what the receiver says of it later is only its word.
        """
        self._sources = sources
        self._limits = limits
        self._stopped = stopped
        self._base = base
        self._on_file = on_file
        self._walk = Walk(sources, base, recursive, limits, within)
        self._found = iter(self._walk)
        self._upcoming: deque[Found | _File] = deque()
        self._more = True  # the walk has not ended
        self._files: dict[int, _File] = {}  # announced, by number
        self._current: _File | None = None
        self._unanswered: dict[int, tuple[int, bytes, int]] = {}  # number -> source, path, bytes
        self._number = 0
        self.faults: list[FileFault] = []  # that nobody has taken yet
        self.failed = 0  # how many there were in all
        self.files = self.bytes = self.resumed = 0  # that are in their places
        self._name, self._size, self._sent = b"", 0, 0  # what is under way

    @property
    def exhausted(self) -> bool:
        """Everything was said."""
        return not (self._more or self._upcoming or self._current)

    @property
    def settled(self) -> bool:
        """And answered."""
        return self.exhausted and not self._unanswered

    def progress(self) -> Progress:
        """How far it is."""
        done = self._current.digest.position if self._current is not None else self._size
        return Progress(os.fsdecode(self._name), done, self._size, self.files, self._sent)

    def take_faults(self) -> list[FileFault]:
        """Those since the last call."""
        taken, self.faults = self.faults, []
        return taken

    def close(self) -> None:
        """Close what is open."""
        for one in [*self._upcoming, self._current]:
            found = one.found if isinstance(one, _File) else one
            if isinstance(found, Found) and found.descriptor >= 0:
                os.close(found.descriptor)
        self._upcoming.clear()
        self._current = None
        self._more = False
        self._walk.close()

    # --- from the receiver

    def receive(self, message: Message) -> None:
        """Its word. Raises RemoteProtocolError for a number that it can't speak of."""
        if isinstance(message, Stored):
            for number in message.numbers:
                _, _, size = self._answered(number)
                self.files += size >= 0
                self.bytes += max(0, size)
        elif isinstance(message, EntryFailed):
            source, path, _ = self._answered(message.number)
            self._fault(told_fault(self._where(source, path), message.errno, message.detail, message.kept))
            file = self._files.pop(message.number, None)
            if file is not None:
                file.failed = True
        elif isinstance(message, Wanted):
            file = self._files.get(message.number)
            if file is None or file.wanted is not None or message.offset > file.size:
                raise RemoteProtocolError("bad_message", f"wanted {message.number}")
            file.wanted = message
        else:
            raise RemoteProtocolError("unexpected_message", f"{message.name} from who receives files")

    def _answered(self, number: int) -> tuple[int, bytes, int]:
        known = self._unanswered.pop(number, None)
        if known is None:
            raise RemoteProtocolError("bad_message", f"an answer about entry {number}")
        return known

    # --- to the receiver

    def produce(self) -> list[Item]:
        """What goes next, about half a megabyte of it; nothing while the receiver's word is waited for, or all is said."""
        out: list[Item] = []
        size = 0
        while size < CHUNK and not self._stopped():
            self._look_ahead(out)
            if self._current is not None:
                size += self._go_on(out, self._current)
                continue
            if not self._upcoming or len(self._unanswered) >= self._limits.files_ahead_max:
                break
            first = self._upcoming[0]
            if isinstance(first, _File):
                if first.wanted is None and not first.failed:
                    break
                self._upcoming.popleft()
                self._begin(out, first)
                size += 1024
            else:
                self._upcoming.popleft()
                size += 256 + self._small(out, first)
        return out

    def _look_ahead(self, out: list[Item]) -> None:
        most = self._limits.files_ahead_max
        # Large ones take half of what may wait for answers at most: a small one before them, not said yet, would have no room.
        skipped = len(out) + _SKIPPED
        while (
            self._more
            and len(out) < skipped
            and len(self._upcoming) < _AHEAD
            and len(self._unanswered) < most
            and len(self._files) < most // 2
        ):
            found = next(self._found, None)
            if found is None:
                self._more = False
            elif isinstance(found, Found) and found.descriptor >= 0 and self._is_large(found):
                out.append(self._entry(found, "file", size=found.status.st_size))
                file = self._files[self._number] = _File(found, self._number)
                self._upcoming.append(file)
            elif isinstance(found, Found) and found.descriptor >= 0:
                self._upcoming.append(found)
            else:  # at once: what is announced may lie in this folder
                self._tell(out, found)

    def _is_large(self, found: Found) -> bool:
        size = found.status.st_size
        if size >= self._limits.files_resume_min:
            return True
        return size > 0 and is_sparse(found.status) and has_hole(found.descriptor, size)

    def _entry(self, found: Found, kind: str, size: int = 0, **more: object) -> Entry:
        status = found.status
        self._number += 1
        self._unanswered[self._number] = (found.source, found.path, size if kind == "file" else -1)
        seconds, rest = divmod(max(0, status.st_mtime_ns), 1_000_000_000)
        return Entry.of(
            number=self._number,
            source=found.source,
            path=to_system(found.path),
            kind=kind,
            size=size,
            mode=stat.S_IMODE(status.st_mode) & 0o777,
            mtime_s=seconds,
            mtime_ns=rest,
            **more,
        )

    def _tell(self, out: list[Item], found: Found | Missed) -> None:
        """A folder, a symlink, or what can't be sent."""
        if isinstance(found, Missed):
            self._skip(out, found.source, found.path, found.error)
        elif stat.S_ISLNK(found.status.st_mode):
            out.append(self._entry(found, "symlink", target=to_system(found.target)))
        else:
            out.append(self._entry(found, "folder"))

    def _small(self, out: list[Item], found: Found) -> int:
        try:
            most = self._limits.files_resume_min
            data = read_whole(found.descriptor, most)  # a growing file: as much as fits
            if len(data) == most and not found.status.st_size:  # one that the kernel makes as it is read: no copy
                text = f"it is said to be empty, and has {most:,} bytes or more; take those with: run TARGET cat"
                raise names.refusal(errno.EFBIG, text)
        except OSError as error:
            self._skip(out, found.source, found.path, error)
            return 0
        finally:
            os.close(found.descriptor)
        digest = Digest()
        digest.update(data)
        out.append(self._entry(found, "file", size=len(data), sha256=digest.hex()))
        self._tell_file(found, len(data), digest)
        if data:
            out.append(data)
        self._name, self._size = self._where(found.source, found.path), len(data)
        self._sent += len(data)
        return len(data)

    def _begin(self, out: list[Item], file: _File) -> None:
        """A large file's content, from where the receiver has it if that is the same."""
        if file.failed:
            os.close(file.found.descriptor)
            return
        assert file.wanted is not None, "it was waited for"
        offset = file.wanted.offset
        if offset:
            try:
                file.digest.file(file.found.descriptor, offset, file.sparse)
            except OSError:
                pass  # `_go_on` meets it again
            if file.digest.position != offset or file.digest.hex() != file.wanted.sha256:
                offset, file.digest = 0, Digest()
        self.resumed += offset
        out.append(Content.of(number=file.number, offset=offset))
        self._current = file
        self._name, self._size = self._where(file.found.source, file.found.path), file.size

    def _go_on(self, out: list[Item], file: _File) -> int:
        """The next piece of a large file. Bytes of content."""
        digest, descriptor = file.digest, file.found.descriptor
        sent = 0
        try:
            if file.failed:
                raise OSError(errno.ECANCELED, names.text(errno.ECANCELED))
            if digest.position >= file.data_end and digest.position < file.size:
                data_at = next_data(descriptor, digest.position, file.size)
                if data_at > digest.position:
                    self._hole(digest, data_at)
                    if not self._stopped():
                        out.append(Seek.of(offset=data_at))
                    return 0
                file.data_end = data_end(descriptor, digest.position, file.size)
            if digest.position < file.size:
                data = os.pread(descriptor, min(CHUNK, file.data_end - digest.position), digest.position)
                if not data:
                    raise names.refusal(errno.EIO, "it became shorter while it was read")
                digest.update(data)
                out.append(data)
                sent = len(data)
                self._sent += sent
                if digest.position < file.size:
                    return sent
            # with the last piece: who has that, and closes without the end, has taken the file, and the audit tells so
            out.append(EntryEnd.of(sha256=digest.hex()))
            self._tell_file(file.found, file.size, digest)
        except OSError as error:
            detail = names.reason(error).encode("utf-8", "replace").decode()[:1000]
            out.append(EntryEnd.of(errno=names.errno_name(error), detail=detail))
        os.close(descriptor)
        self._files.pop(file.number, None)
        self._current = None
        return sent

    def _tell_file(self, found: Found, size: int, digest: Digest) -> None:
        if self._on_file is not None:
            self._on_file(os.path.join(self._base, self._where(found.source, found.path)), size, digest.hex())

    def _hole(self, digest: Digest, until: int) -> None:
        """Its zeros are hashed a while at a time, so that we may be stopped."""
        while digest.position < until and not self._stopped():
            digest.zeros(min(until, digest.position + 64 * CHUNK))

    def _skip(self, out: list[Item], source: int, path: bytes, error: OSError) -> None:
        self._fault(fault(self._where(source, path), error))
        detail = names.reason(error).encode("utf-8", "replace").decode()[:1000]
        shown = to_system(path if len(path) <= self._limits.files_path_max else path[: self._limits.files_path_max])
        out.append(Skipped.of(source=source, path=shown, errno=names.errno_name(error), detail=detail))

    def _fault(self, one: FileFault) -> None:
        self.failed += 1
        self.faults.append(one)

    def _where(self, source: int, path: bytes) -> bytes:
        return os.path.join(self._sources[source], path) if path else self._sources[source]
