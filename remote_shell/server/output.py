"""What a shell with a terminal wrote last, for who takes it over: bounded, with the modes that were on before it.

Must never hold more than its bound, nor show what an ended command left on. Neighbour: `terminals` has one for each shell.
"""

from __future__ import annotations

from collections import deque

from remote_shell.limits import Limits
from remote_shell.terminal.modes import ModeTracker

_CHARACTER = 4  # bytes of the longest in UTF-8
_JOINED = 4096  # bytes of small chunks that are kept as one
_LINE_SEARCHED = 4096  # bytes among which an end of line is looked for


def _goes_on(data: bytes, at: int) -> bool:
    """Within a character of UTF-8."""
    return data[at : at + 1] != b"" and data[at] & 0xC0 == 0x80


class Output:
    """The last of what a shell wrote, and which modes of the terminal were on before that."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.terminal_missed_max
        self._chunks: deque[bytes] = deque()
        self._ends: deque[int] = deque()  # how much had been written when a command ended, as far as that is kept
        self._tracker = ModeTracker(limits)
        self.size = 0
        self.written = 0  # bytes, ever

    def add(self, data: bytes) -> None:
        """The shell wrote."""
        if self._chunks and len(self._chunks[-1]) + len(data) <= _JOINED:
            self._chunks[-1] += data  # single characters must not cost an object each
        else:
            self._chunks.append(data)
        self.size += len(data)
        self.written += len(data)
        while self.size > self._most:
            self._forget(self.size - self._most)

    def command_ended(self) -> None:
        """What it left on in the terminal its holder's client undoes."""
        if not self._ends or self._ends[-1] != self.written:
            self._ends.append(self.written)

    def take(self, unseen: int, context: int, *, whole: bool) -> tuple[bytes, int]:
        """What a new holder is to read: the modes, then the `unseen` bytes, as far as they are kept; and how many of them are gone.

        What a command left on in the terminal is undone behind its output: else it would be on until the one that runs now has ended.

        Before them as many as `context` bytes that were seen, from the beginning of a line unless they are a `whole`.
        """
        self._forget_all_but(unseen + context)
        kept = b"".join(self._chunks)
        dropped = max(0, unseen - len(kept))
        start = max(0, len(kept) - unseen)
        if start and not whole:
            start = min(start, kept.find(b"\n", 0, start) + 1 or start)
            start = next((at for at in range(start, max(0, start - _CHARACTER), -1) if not _goes_on(kept, at)), start)
        elif dropped:  # within a line, perhaps within a sequence: the next begins well, and so does the next character
            start = kept.find(b"\n", 0, _LINE_SEARCHED) + 1 or max(0, kept.find(b"\x1b", 0, _LINE_SEARCHED))
            start = next((at for at in range(start, start + _CHARACTER) if not _goes_on(kept, at)), start)
        self._forget_all_but(len(kept) - start)
        return self._shown(kept[start:]), dropped + (start if dropped else 0)

    def _shown(self, kept: bytes) -> bytes:
        """All that is kept, as the terminal of a new holder is to get it."""
        begin = self._tracker.again()
        parts, at, read = [begin], 0, ModeTracker()
        read.feed(begin)
        for end in self._ends:
            part = kept[at : end - self.written + len(kept)]
            at += len(part)
            read.feed(part)
            parts += [part, read.undo()]
        return b"".join([*parts, kept[at:]])

    def _forget_all_but(self, count: int) -> None:
        while self.size > count:
            self._forget(self.size - count)
        self._pass_ends()

    def _pass_ends(self) -> None:
        """Of the commands whose last output is forgotten."""
        while self._ends and self._ends[0] <= self.written - self.size:
            self._ends.popleft()
            self._tracker.undo()

    def _forget(self, count: int) -> None:
        """The oldest, of one chunk and one command at most."""
        self._pass_ends()
        if self._ends:
            count = min(count, self._ends[0] - (self.written - self.size))
        first = self._chunks.popleft()
        if len(first) > count:
            self._chunks.appendleft(first[count:])
            first = first[:count]
        self.size -= len(first)
        self._tracker.feed(first)
