"""Escapes among keys: which bytes are the program's, which are ours, and that chunks may end anywhere."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from remote_shell.cli.keys import Escape, Keys

KEYS = st.lists(st.sampled_from([b"~", b".", b"\x1a", b"?", b"\r", b"\n", b"a", b"\xc3", b"\0"]), max_size=30)


def fed(*chunks: bytes) -> tuple[bytes, list[Escape]]:
    """What all chunks together pass and mean."""
    keys = Keys()
    passed, escapes = b"", list[Escape]()
    for chunk in chunks:
        data, more = keys.feed(chunk)
        passed += data
        escapes += more
    return passed, escapes


@pytest.mark.parametrize(
    ("typed", "passed", "escapes"),
    [
        (b"", b"", []),
        (b"ls -l\r", b"ls -l\r", []),
        (b"~.", b"", ["leave"]),
        (b"~?", b"", ["help"]),
        (b"~\x1a", b"", ["suspend"]),
        (b"~~", b"~", []),
        (b"~~.", b"~.", []),  # the second is the program's, and the line is begun
        (b"~a", b"~a", []),
        (b"~/x\r", b"~/x\r", []),
        (b"~", b"", []),  # held back until the next key tells
        (b"a~.", b"a~.", []),  # not first on a line
        (b"cd ~\r~.", b"cd ~\r", ["leave"]),
        (b"a\r~?b", b"a\rb", ["help"]),
        (b"a\n~.", b"a\n", ["leave"]),
        (b"~?~.", b"", ["help", "leave"]),  # after an escape the line is as fresh as it was
        (b"~\r~.", b"~\r", ["leave"]),
        (b"~\x1a~?x~.", b"x~.", ["suspend", "help"]),
        (b"\x1b[A~.", b"\x1b[A~.", []),  # an arrow is a key too
        (b"\x7f~.", b"\x7f~.", []),
        (b"\xff\0\r~.", b"\xff\0\r", ["leave"]),
    ],
)
def test_what_is_typed(typed: bytes, passed: bytes, escapes: list[Escape]) -> None:
    assert fed(typed) == (passed, escapes)


@given(KEYS, st.data())
@example([b"\r", b"~", b"~", b"~", b"."], None)
def test_chunks_may_end_anywhere(keys: list[bytes], draw: st.DataObject | None) -> None:
    typed = b"".join(keys)
    whole = fed(typed)
    assert fed(*keys) == whole
    if draw is not None:
        at = draw.draw(st.integers(0, len(typed)))
        assert fed(typed[:at], b"", typed[at:]) == whole


@given(st.binary(max_size=200).filter(lambda data: b"~" not in data), st.binary(max_size=200))
def test_what_holds_no_tilde_passes_at_once(plain: bytes, more: bytes) -> None:
    keys = Keys()
    assert keys.feed(plain) == (plain, [])
    assert keys.feed(b"x") == (b"x", [])  # now the line is begun
    begun = more.replace(b"\r", b"").replace(b"\n", b"")
    assert keys.feed(begun) == (begun, [])


@given(KEYS)
def test_no_more_than_one_tilde_is_held_back(keys: list[bytes]) -> None:
    stream = Keys()
    for key in keys:
        passed, escapes = stream.feed(key)
        assert passed in (key, b"~" + key) or (not passed and (escapes or key == b"~"))
