"""Lines about frames: what is in them, how they fit, and that nothing in them is an order to the terminal."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.cli.trace_lines import Style, as_json, cells, hex_lines, line
from remote_shell.client.tracing import TraceEvent
from remote_shell.wire.frames import CONTROL, STDOUT, encode

UTF8, ASCII = Style(), Style(unicode=False)


def data(payload: bytes, **more: Any) -> TraceEvent:
    return TraceEvent(0.5, "box", 1, "frame", raw=encode(STDOUT, 3, payload), **more)


def control(payload: bytes, **more: Any) -> TraceEvent:
    return TraceEvent(0.5, "box", 2, "frame", sent=True, raw=encode(CONTROL, 0, payload), **more)


PING = b'{"type":"ping","received":3,"sent":4}'
OPEN = b'{"type":"open","request":"exec","id":"i","window":7,"argv":["ls"],"env":[["T","******"]]}'
HIDDEN = ((9 + OPEN.index(b"*"), 6),)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (TraceEvent(0, "box", 1, "connected", text="unix:/s"), "  0.0000 #1 connected to unix:/s"),
        (TraceEvent(12, "box", 1, "closed", text="by us"), " 12.0000 #1 closed: by us"),
        (TraceEvent(12, "box", 1, "failed", text="refused"), " 12.0000 #1 no connection: refused"),
        (data(b"hi\n"), '  0.5000 #1 ← 3  stdout      3 "hi\\n"'),
        (control(PING), '  0.5000 #2 → 0  control    37 ping {"received":3,"sent":4}'),
        (control(b'{"type":"close"}', again=True), "  0.5000 #2 → 0  control    16 again close"),
        (
            control(OPEN, hidden=HIDDEN, why="variable"),
            '  0.5000 #2 → 0  control    89 open {"request":"exec","argv":["ls"],"env":[["T","<6 masked>"]],"id":"i","window":7}',
        ),
        (
            data(b"****", hidden=((9, 4),), why="typed unseen"),
            "  0.5000 #1 ← 3  stdout      4 masked: 4 bytes typed unseen",
        ),
        (control(b"no json"), '  0.5000 #2 → 0  control     7 "no json"'),
        (control(b"[" * 9999)._replace(raw=encode(9, 0, b"x")), '  0.5000 #2 → 0  9           1 "x"'),
        (
            TraceEvent(0.5, "b", 1, "part", raw=encode(STDOUT, 3, b"hello")[:-2]),
            '  0.5000 #1 ← 3 stdout cut off: 3 of 5 bytes "hel"',
        ),
        (TraceEvent(0.5, "b", 1, "part", raw=b"\0\0\0"), "  0.5000 #1 ← cut off: 3 of the header's 9 bytes"),
        (TraceEvent(0.5, "b", 1, "stray", raw=b"HTTP/1.1 400"), '  0.5000 #1 ← no frame: 12 bytes "HTTP/1.1 400"'),
    ],
)
def test_a_line(event: TraceEvent, expected: str) -> None:
    assert line(event, 0.0, UTF8) == expected


def test_ways_of_writing() -> None:
    assert line(data(b"a"), 0.0, Style(named=True)).split()[1] == "box#1"
    assert line(data(b"a"), 0.0, ASCII).split()[2] == "<-" and line(control(PING), 0.0, ASCII).split()[2] == "->"
    assert line(data("é".encode()), 0.0, ASCII).endswith('"\\xc3\\xa9"') and line(
        data("é".encode()), 0.0, UTF8
    ).endswith('"é"')
    assert line(control('{"type":"x","a":"é"}'.encode()), 0.0, ASCII).isascii()
    assert line(data(b"a"), 0.0, Style(width=40)) == '0.5000 #1 ← 3 stdout 1 "a"'
    coloured = line(data(b"a"), 0.0, Style(colour=True))
    assert "\x1b[" in coloured and re.sub("\x1b\\[[0-9]*m", "", coloured) == line(data(b"a"), 0.0, UTF8)


@pytest.mark.parametrize("text", ["x" * 300, "字" * 300, "e\u0301" * 300, '"' * 300])
@pytest.mark.parametrize("width", [1, 9, 20, 40, 41, 80, 81])
def test_a_line_is_as_wide_as_the_terminal_at_most(text: str, width: int) -> None:
    for event in (data(text.encode()), control(json.dumps({"type": "x", "a": text}).encode())):
        shown = line(event, 0.0, Style(width=width))
        assert width - 2 <= cells(shown) <= width and shown.endswith("…")


def test_without_a_terminal_a_line_has_a_bound() -> None:
    assert len(line(data(b"x" * 10**6), 0.0, UTF8)) <= 513
    assert len(line(control(b'{"type":"x","a":"' + b"x" * 10**6 + b'"}'), 0.0, UTF8)) <= 513


ORDERS = [
    b"\x1b[31m",
    b"\x9b31m",
    "\x9b31m".encode(),
    b"\r\n\x07\x7f",
    "\u202e\u2066\u200f".encode(),
    "\u2028\x85".encode(),
    b"\xff\xfe",
]


def check_harmless(text: str) -> None:
    assert all(sign.isprintable() and sign not in "\u202e\u2066\u200f" for sign in text)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("style", [UTF8, ASCII, Style(width=30, named=True)])
def test_nothing_in_a_line_is_an_order(order: bytes, style: Style) -> None:
    word = order.decode("utf-8", "replace")
    message = json.dumps({"type": word, "a": [word], word: word}, ensure_ascii=False).encode()
    for event in (
        *(data(order), control(message), control(order), control(PING, hidden=((9, 5),), why=word)),
        *(TraceEvent(0, word, 1, "connected", text=word), TraceEvent(0, word, 1, "stray", raw=order)),
    ):
        check_harmless(line(event, 0.0, style))
        check_harmless("".join(hex_lines(event, 0.0, style)))
        assert as_json(event, 0.0).isascii() and as_json(event, 0.0).isprintable()


@given(st.binary(min_size=1, max_size=200), st.integers(0, 100), st.booleans())
def test_any_bytes_make_a_harmless_line(payload: bytes, width: int, unicode: bool) -> None:
    for event in (data(payload), control(payload), TraceEvent(0, "b", 1, "part", raw=payload)):
        text = line(event, 0.0, Style(width=width, unicode=unicode))
        check_harmless(text)
        assert not width or cells(text) <= width
        check_harmless("".join(hex_lines(event, 0.0, Style(width=width, unicode=unicode))))
        json.loads(as_json(event, 0.0))


def test_the_bytes_in_hex() -> None:
    found = list(hex_lines(data(b"0123456789abcdef\n****", hidden=((26, 4),), why="secret"), 0.0, UTF8))
    assert found[1:] == [
        "  header 00000015 01 00000003",
        "  0000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef",
        "  0010  0a ** ** ** **                                   .****",
    ]
    narrow = list(hex_lines(data(b"0123456789"), 0.0, Style(width=40)))
    assert narrow[2:] == ["  0000  30 31 32 33 34 35 36 37  01234567", "  0008  38 39                    89"]
    assert list(hex_lines(TraceEvent(0, "b", 1, "part", raw=b"\0\0"), 0.0, UTF8))[1:] == ["  header 0000"]
    assert list(hex_lines(TraceEvent(0, "b", 1, "stray", raw=b"x"), 0.0, UTF8))[1][:12] == "  0000  78  "
    assert len(list(hex_lines(TraceEvent(0, "b", 1, "closed"), 0.0, UTF8))) == 1


def test_as_json() -> None:
    told = json.loads(as_json(data(b"hi\n"), 1000.0))
    assert told == {
        "time": 1000.5,
        "t": 0.5,
        "host": "box",
        "connection": 1,
        "event": "frame",
        "direction": "received",
        "type": "stdout",
        "channel": 3,
        "length": 3,
        "data": "hi\n",
    }
    assert json.loads(as_json(data(b"\xff"), 0.0))["data_base64"] == "/w=="
    told = json.loads(as_json(control(OPEN, hidden=HIDDEN, why="variable"), 0.0))
    assert told["message"]["env"] == [["T", "<6 masked>"]] and (told["masked"], told["why"]) == (6, "variable")
    assert "data" not in json.loads(as_json(data(b"***", hidden=((9, 3),), why="secret"), 0.0))
    assert json.loads(as_json(TraceEvent(0, "b", 1, "closed", text="gone"), 0.0))["text"] == "gone"
    assert json.loads(as_json(control(PING, again=True), 0.0))["again"] is True
