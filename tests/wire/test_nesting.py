"""How deep JSON nests: against a reader that counts, at the edge, and never slow."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.errors import RemoteProtocolError
from remote_shell.limits import DEFAULT_LIMITS, MIB
from remote_shell.wire.messages import decode
from remote_shell.wire.nesting import is_deeper

MOST = DEFAULT_LIMITS.json_depth_max
values = st.recursive(
    st.none() | st.text(alphabet='[]{}"\\\n,:aé', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='[{"\\]}', max_size=3), inner, max_size=3)
    ),
    max_leaves=30,
)


def depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@given(values, st.booleans())
def test_it_is_what_a_reader_would_find(value: object, spaced: bool) -> None:
    text = json.dumps(value, indent=1 if spaced else None, ensure_ascii=False).encode()
    for most in range(max(0, depth(value) - 2), depth(value) + 3):
        assert is_deeper(text, most) == (depth(value) > most)


def nested(levels: int) -> bytes:
    """A message of so many levels: an object, and arrays in it."""
    return b'{"type":"ack","x":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_a_message_at_the_edge_is_read_and_one_beyond_it_is_not() -> None:
    """What is read and then found to be no message of ours is `bad_message`."""
    codes = []
    for levels in (MOST, MOST + 1, 199, 100_000):
        with pytest.raises(RemoteProtocolError) as raised:
            decode(nested(levels))
        codes.append(raised.value.code)
    assert codes == ["bad_message", "bad_json", "bad_json", "bad_json"]


def test_the_bound_is_the_sessions_own() -> None:
    with pytest.raises(RemoteProtocolError, match="bad_json: nests deeper than 2"):
        decode(nested(3), None, 2)


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * MIB,
        b"[" * 40 + b'"' + b'\\"' * (MIB // 2),  # a string without its end, full of what could be the beginning of one
        b"[" * 40 + b'""' * (MIB // 2),
        b"[" * 40 + b'"\\' * (MIB // 2),
        (b"[" * 31 + b"]" * 31) * (MIB // 62),
    ],
    ids=["brackets", "escapes", "empty", "unfinished", "flat"],
)
def test_no_mebibyte_is_slow(payload: bytes) -> None:
    began = time.process_time()
    is_deeper(payload, MOST)
    assert time.process_time() - began < 2, "a quadratic one takes hours"
