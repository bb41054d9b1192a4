"""Offers: the order in which the sender of files may speak on a channel of put or get, as a table; and who may be spoken of.

The receiver runs this over all that comes; a missing (state, input) pair is the protocol error. Counts are bounded here, before anything
is kept: entries that were announced and not answered, bytes beyond a file's size. Neighbours: `file_messages`, `transfer.receiving`.
"""

from __future__ import annotations

from enum import Enum

from remote_shell.errors import RemoteProtocolError
from remote_shell.wire.fields import Message
from remote_shell.wire.file_messages import Content, Entry, EntryEnd, Seek, Skipped


class OfferState(Enum):
    """What the sender is about."""

    BETWEEN = "between"  # two contents
    WHOLE = "whole"  # a content whose hash and size were said before it
    CONTENT = "content"  # one that `entry_end` ends
    ENDED = "ended"


_BETWEEN, _WHOLE, _CONTENT, _ENDED = OfferState

OFFER_TABLE: dict[tuple[OfferState, str], OfferState] = {
    (_BETWEEN, "plain"): _BETWEEN,  # an entry without content: a folder, a symlink, an empty file
    (_BETWEEN, "announced"): _BETWEEN,  # a file whose content comes later
    (_BETWEEN, "skipped"): _BETWEEN,
    (_BETWEEN, "whole"): _WHOLE,
    (_BETWEEN, "content"): _CONTENT,
    (_BETWEEN, "end"): _ENDED,
    (_WHOLE, "data"): _WHOLE,
    (_WHOLE, "last_data"): _BETWEEN,
    (_CONTENT, "data"): _CONTENT,
    (_CONTENT, "last_data"): _CONTENT,
    (_CONTENT, "seek"): _CONTENT,
    (_CONTENT, "plain"): _CONTENT,
    (_CONTENT, "announced"): _CONTENT,
    (_CONTENT, "skipped"): _CONTENT,
    (_CONTENT, "entry_end"): _BETWEEN,
}


class Offers:
    """The sender's side of one put or get."""

    def __init__(self, sources: int, ahead_max: int) -> None:
        """`sources`: how many there are; `ahead_max`: entries that may wait for their answer."""
        self.state = OfferState.BETWEEN
        self.current = 0  # the entry whose content comes
        self._sources = sources
        self._ahead_max = ahead_max
        self._last = 0
        self._unanswered = 0
        self._left = 0  # bytes that the current content may still have
        self._announced: dict[int, int] = {}  # number -> size
        self._offered: dict[int, int] = {}  # number -> what `wanted` said of it

    def message(self, message: Message) -> None:
        """One message. Raises RemoteProtocolError (`unexpected_message`, `bad_message`)."""
        if isinstance(message, Entry):
            self._entry(message)
        elif isinstance(message, Content):
            size = self._announced.pop(message.number, None)
            offered = self._offered.pop(message.number, None)
            if size is None or offered is None or message.offset not in (0, offered):
                raise RemoteProtocolError("bad_message", f"content of {message.number} from {message.offset}")
            self._step("content")
            self.current, self._left = message.number, size - message.offset
        elif isinstance(message, Seek):
            self._step("seek")
        elif isinstance(message, EntryEnd):
            self._step("entry_end")
        elif isinstance(message, Skipped):
            if message.source >= self._sources:
                raise RemoteProtocolError("bad_message", f"there is no source {message.source}")
            self._step("skipped")
        else:
            raise RemoteProtocolError("unexpected_message", f"{message.name} from who sends files")

    def seek(self, message: Seek, position: int) -> None:
        """A hole from `position` on. Raises RemoteProtocolError (`bad_message`): backwards, or beyond the size."""
        hole = message.offset - position
        if hole < 0 or hole > self._left:
            raise RemoteProtocolError("bad_message", f"seek to {message.offset} from {position}")
        self._left -= hole

    def data(self, count: int) -> None:
        """Data. Raises RemoteProtocolError (`unexpected_message`, `bad_message`)."""
        if count > self._left:
            raise RemoteProtocolError("bad_message", f"{count - self._left} bytes more than the file has")
        self._left -= count
        self._step("data" if self._left else "last_data")

    def end(self) -> None:
        """Nothing more comes. Raises RemoteProtocolError (`unexpected_message`): in the middle of a file."""
        if any(number in self._offered for number in self._announced):
            raise RemoteProtocolError("unexpected_message", "the end, and files that were announced did not come")
        self._step("end")

    def wanted(self, number: int, offset: int) -> None:
        """We told the sender how much of it we have."""
        self._offered[number] = offset

    def answered(self, number: int) -> None:
        """We told the sender what became of it."""
        self._unanswered -= 1
        if number not in self._offered:
            self._announced.pop(number, None)  # it was refused: its content does not come

    def _entry(self, message: Entry) -> None:
        if message.number != self._last + 1 or message.source >= self._sources:
            raise RemoteProtocolError("bad_message", f"entry {message.number} of source {message.source}")
        if self._unanswered >= self._ahead_max:
            raise RemoteProtocolError("unexpected_message", f"{self._unanswered} entries wait for their answers")
        if (message.target is not None) != (message.kind == "symlink"):
            raise RemoteProtocolError("bad_message", f"{message.kind} and its target")
        if message.kind != "file" and (message.size or message.sha256 is not None):
            raise RemoteProtocolError("bad_message", f"a {message.kind} with content")
        self._last = message.number
        self._unanswered += 1
        if message.kind != "file" or (message.sha256 is not None and not message.size):
            self._step("plain")
        elif message.sha256 is None:
            self._step("announced")
            self._announced[message.number] = message.size
        else:
            self._step("whole")
            self.current, self._left = message.number, message.size

    def _step(self, word: str) -> None:
        state = OFFER_TABLE.get((self.state, word))
        if state is None:
            raise RemoteProtocolError("unexpected_message", f"{word} while {self.state.value}")
        self.state = state
