"""Offers: the full product of states and inputs, and the counts beside the table."""

from __future__ import annotations

from typing import Any

import pytest

from remote_shell.errors import RemoteProtocolError
from remote_shell.wire.fields import Message
from remote_shell.wire.file_messages import Content, Entry, EntryEnd, Seek, Skipped, Wanted
from remote_shell.wire.offers import OFFER_TABLE, Offers, OfferState

S = OfferState
DIGEST = "0" * 64

# Written out a second time by hand, so that a slip in the table shows.
LEGAL = {
    S.BETWEEN: {"plain": S.BETWEEN, "announced": S.BETWEEN, "skipped": S.BETWEEN, "whole": S.WHOLE, "content": S.CONTENT, "end": S.ENDED},
    S.WHOLE: {"data": S.WHOLE, "last_data": S.BETWEEN},
    S.CONTENT: {
        **dict.fromkeys(("data", "last_data", "seek", "plain", "announced", "skipped"), S.CONTENT),
        "entry_end": S.BETWEEN,
    },
    S.ENDED: {},
}  # fmt: skip


def entry(number: int, kind: str = "file", **more: Any) -> Entry:
    """One of source 0."""
    values: dict[str, Any] = {"number": number, "source": 0, "path": "x", "kind": kind, **more}
    return Entry(**values)


def offers(state: OfferState = S.BETWEEN) -> Offers:
    """In a state, reached as a sender would."""
    made = Offers(1, 4)
    if state is S.WHOLE:
        made.message(entry(1, size=5, sha256=DIGEST))
    elif state is S.CONTENT:
        made.message(entry(1, size=5))
        made.wanted(1, 0)
        made.message(Content(number=1))
    elif state is S.ENDED:
        made.end()
    assert made.state is state
    return made


def do(made: Offers, word: str) -> None:
    """One input."""
    number = made._last + 1
    messages: dict[str, Message] = {
        "plain": entry(number, "folder"),
        "announced": entry(number, size=9),
        "skipped": Skipped(source=0, path="x"),
        "whole": entry(number, size=5, sha256=DIGEST),
        "content": Content(number=77),
        "seek": Seek(offset=2),
        "entry_end": EntryEnd(),
    }
    if word == "content":
        made._announced[77], made._offered[77] = 5, 0
    if word == "end":
        made.end()
    elif word in ("data", "last_data"):
        made._left = made._left or 5
        made.data(made._left if word == "last_data" else 1)
    else:
        made.message(messages[word])


@pytest.mark.parametrize("state", OfferState)
@pytest.mark.parametrize("word", sorted({word for _, word in OFFER_TABLE}))
def test_full_product(state: OfferState, word: str) -> None:
    made = offers(state)
    if word in LEGAL[state]:
        do(made, word)
        assert made.state is LEGAL[state][word]
    else:
        with pytest.raises(RemoteProtocolError) as caught:
            do(made, word)
        assert caught.value.code == "unexpected_message" and made.state is state


def test_the_table_is_the_one_above() -> None:
    assert {(state, word): target for state, row in LEGAL.items() for word, target in row.items()} == OFFER_TABLE


@pytest.mark.parametrize(
    "message",
    [
        entry(2),
        entry(0),
        entry(1, source=1),
        entry(1, "symlink"),
        entry(1, "folder", target="x"),
        entry(1, "folder", size=1),
        entry(1, "symlink", target="x", sha256=DIGEST),
        Content(number=1),
        Skipped(source=1, path="x"),
    ],
    ids=str,
)
def test_what_does_not_go_together(message: Message) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        offers().message(message)
    assert caught.value.code == "bad_message"


def test_a_receivers_word_from_the_sender() -> None:
    with pytest.raises(RemoteProtocolError, match="wanted from who sends"):
        offers().message(Wanted(number=1))


def test_bytes_beyond_the_size() -> None:
    for made in (offers(S.WHOLE), offers(S.CONTENT)):
        made.data(3)
        with pytest.raises(RemoteProtocolError, match="1 bytes more than the file has"):
            made.data(3)


@pytest.mark.parametrize("offset", [1, 6])
def test_seek_goes_forward_and_not_beyond(offset: int) -> None:
    made = offers(S.CONTENT)
    made.data(2)
    made.seek(Seek(offset=4), 2)
    with pytest.raises(RemoteProtocolError, match="seek"):
        made.seek(Seek(offset=offset), 4)


def test_content_begins_where_it_was_wanted() -> None:
    for offset, fits in ((0, True), (3, True), (2, False), (4, False)):
        made = offers()
        made.message(entry(1, size=5))
        with pytest.raises(RemoteProtocolError, match="content of 1"):
            made.message(Content(number=1))  # before it was wanted
        made = offers()
        made.message(entry(1, size=5))
        made.wanted(1, 3)
        if fits:
            made.message(Content(number=1, offset=offset))
        else:
            with pytest.raises(RemoteProtocolError, match="content of 1"):
                made.message(Content(number=1, offset=offset))


def test_entries_in_flight_are_bounded() -> None:
    made = offers()
    for number in range(1, 5):
        made.message(entry(number, "folder"))
    with pytest.raises(RemoteProtocolError, match="4 entries wait") as caught:
        made.message(entry(5, "folder"))
    assert caught.value.code == "unexpected_message"
    made.answered(1)
    made.message(entry(5, "folder"))


def test_the_end_before_a_wanted_file() -> None:
    made = offers()
    made.message(entry(1, size=5))
    made.wanted(1, 0)
    with pytest.raises(RemoteProtocolError, match="did not come"):
        made.end()


def test_a_refused_file_does_not_hold_up_the_end() -> None:
    made = offers()
    made.message(entry(1, size=5))
    made.answered(1)
    made.end()
