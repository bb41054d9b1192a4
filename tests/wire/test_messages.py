"""Messages: what one model says, another JSON can't; every fault has its code."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import ValidationError

from remote_shell.errors import RemoteProtocolError, UsageError
from remote_shell.wire.messages import (
    CONNECTION_MESSAGES,
    INTEGER_MAX,
    MODELS,
    SESSION_MESSAGES,
    Ack,
    Boxed,
    Close,
    Exit,
    Hello,
    Message,
    Open,
    Ping,
    Signal,
    decode,
    from_system,
    to_system,
    unbase64,
)

EXAMPLES: dict[str, dict[str, Any]] = {  # the fields without a default, and some others
    "hello": {
        **dict.fromkeys(("frame_max", "window", "unacked_bytes_max", "unacked_frames_max"), 1),
        "software": "x",
        "nonce": "AAAA",
        "prompt": True,
        "features": ["a"],
        "instance": "i",
    },
    "auth": {"method": "key", "keys": [{"key": "AAAA", "proof": "AAAA"}], "session": "s", "grace_ms": 5},
    "welcome": {
        "session": "s",
        "resumed": False,
        "received": 0,
        "principal": "p",
        "account": "a",
        "host": "h",
        "grace_ms": 1,
        "proof": "AAAA",
    },
    "enrolled": {"proof": "AAAA", "account": "a", "host": "h", "again": True},
    "denied": {},
    "ack": {"received": 1, "sent": 2},
    "ping": {"received": 1, "sent": 2},
    "pong": {"received": 1, "sent": 2},
    "disconnect": {"code": "bye", "detail": "d"},
    "open": {
        "request": "exec",
        "id": "c-1.2",
        "window": 9,
        "argv": ["a", {"base64": "/w=="}],
        "cwd": "/",
        "once": True,
        "stdin": "pipe",
        "env": [["A", "b"]],
        "env_add": [["A", {"base64": "/w=="}]],
        "env_offer": [],
        "timeout_ms": 1,
        "terminal": {"term": "xterm-256color", "rows": 24, "columns": 80},
    },
    "opened": {"pid": 1, "cwd": "/", "started_at_ms": 1, "again": True, "term": "vt100"},
    "rejected": {"code": "not_found", "detail": "d"},
    "exit": {"status": 255, "timed_out": True, "duration_us": 1},
    "eof": {"stream": 2},
    "close": {},
    "window": {"credit": 0, "window": INTEGER_MAX},
    "signal": {"signal": "SIGRTMIN+3", "command": 4},
    "resize": {"rows": 24, "columns": 65535},
    "command": {"number": 1, "line": "ls", "stdin": True, "timeout_ms": 1},
    "input_end": {"number": 1},
    "done": {"number": 1, "status": 0, "cwd": "/", "shell": "ended", "statuses": [1, 0]},
    "mode": {"number": 1, "mode": "no_echo"},
    "line": {"mode": 1, "text": "yes", "end": "eof"},
    "unread": {"text": {"base64": "/w=="}},
    "attached": {"pid": 5, "cwd": "/src", "number": 3, "line": "make", "missed": 12, "away_ms": 1000},
    "detached": {"by": "10.0.0.5"},
    "shells": {
        "shells": [{"id": "a.1", "started_at_ms": 1, "cwd": "/", "ended": False, "away_ms": 1000, "holder": "10.0.0.5"}]
    },
    "detach": {},
    "job": {"id": "a.1", "state": "finished", "command": "make -j8", "cwd": "/", "status": 2, "stdout_at": 0},
    "jobs": {"count": 2},
    "gap": {"stream": 1, "dropped": 4096},
    "accepted": {"id": "0123456789abcdef", "peer": "127.0.0.1 port 40000"},
    "report": {"state": "finished", "status": 3},
    "entry": {
        "number": 1,
        "source": 0,
        "path": {"base64": "/w=="},
        "kind": "file",
        "size": 5,
        "mode": 0o644,
        "mtime_s": 1_700_000_000,
        "mtime_ns": 999_999_999,
        "sha256": "0" * 64,
    },
    "wanted": {"number": 1, "offset": 5, "sha256": "a" * 64},
    "content": {"number": 1, "offset": 5},
    "seek": {"offset": INTEGER_MAX},
    "entry_end": {"sha256": "f" * 64},
    "skipped": {"source": 0, "path": "a/fifo", "errno": "EINVAL", "detail": "d"},
    "stored": {"numbers": [1, 2]},
    "entry_failed": {"number": 1, "errno": "ENOSPC", "detail": "d", "kept": 4096},
}


def code(payload: bytes | dict[str, Any], allowed: list[str] | None = None) -> str:
    """The error code that a payload gives."""
    if isinstance(payload, dict):
        payload = json.dumps(payload).encode()
    with pytest.raises(RemoteProtocolError) as caught:
        decode(payload, allowed)
    assert len(caught.value.detail) < 500
    return caught.value.code


def test_every_message_has_an_example() -> None:
    assert EXAMPLES.keys() == MODELS.keys()
    assert len(MODELS) == len(CONNECTION_MESSAGES) + len(SESSION_MESSAGES)


@pytest.mark.parametrize("name", MODELS)
def test_round_trip(name: str) -> None:
    """JSON to model to JSON; the tag is the model's name and goes first; unset fields don't go."""
    message = decode(json.dumps({"type": name, **EXAMPLES[name]}).encode())
    assert type(message) is MODELS[name] and message.name == name
    encoded = message.encode()
    assert decode(encoded) == message
    assert encoded.startswith(b'{"type":"%s"' % name.encode()) and b"null" not in encoded
    assert json.loads(encoded).items() >= EXAMPLES[name].items()
    with pytest.raises(AttributeError):
        message.type = "x"


def test_characters_go_as_utf_8() -> None:
    assert Open(request="exec", id="x", window=1, argv=["ä\n"]).encode().count("ä".encode()) == 1


@pytest.mark.parametrize("name", MODELS)
def test_extra_and_missing_fields(name: str) -> None:
    example = {"type": name, **EXAMPLES[name]}
    assert code({**example, "surplus": 1}) == "bad_message"
    needed = [key for key, field in MODELS[name].fields().items() if field.required]
    for key in needed:
        assert code({other: value for other, value in example.items() if other != key}) == "bad_message"


def integer_fields() -> Iterator[tuple[str, str]]:
    """Every field of every message that is a number."""
    for name, model in MODELS.items():
        for key, field in model.fields().items():
            if "'type': 'int'" in str(field.schema) and "'type': 'list'" not in str(field.schema):
                yield name, key


@pytest.mark.parametrize(("name", "key"), list(integer_fields()))
@pytest.mark.parametrize("value", ["1", 1.0, 1.5, True, False, -1, 2**53, 2**64, 10**400, None, [], {}, "", [1]])
def test_integers_are_integers(name: str, key: str, value: object) -> None:
    """0 to 2^53-1; never a string, a float with an integer's value, or a boolean."""
    example = {"type": name, **EXAMPLES[name], key: value}
    if value is None and MODELS[name].fields()[key].default is None:
        assert decode(json.dumps(example).encode())  # null is the same as absent where a field has no other default
    else:
        assert code(example) == "bad_message"


def test_the_number_fields_were_found() -> None:
    found = set(integer_fields())
    assert {("ack", "sent"), ("hello", "version"), ("exit", "status"), ("eof", "stream"), ("resize", "rows")} <= found


def test_bounds_of_integers() -> None:
    assert decode(b'{"type":"ack","received":0,"sent":%d}' % INTEGER_MAX) == Ack(received=0, sent=2**53 - 1)
    assert decode(b'{"type":"ack","received":-0,"sent":0}') == Ack(received=0, sent=0)
    for text in (b"1e0", b"1.0", b"1E400", b"-1"):
        assert code(b'{"type":"ack","received":0,"sent":%s}' % text) == "bad_message"
    assert code({"type": "exit", "status": 256}) == "bad_message"
    assert code({"type": "eof", "stream": 3}) == "bad_message"
    assert code({"type": "resize", "rows": 0, "columns": 1}) == "bad_message"
    assert code({"type": "resize", "rows": 1, "columns": 65536}) == "bad_message"


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"{", b"[", b'{"type":"close"', b'{"type":"close",}', b"{'type':'close'}", b'{type:"close"}', b"nul"),
        *(b'{"type":"close"} x', b'{"type":"close"}{"type":"close"}', b'{"type":"close"}\0', b"\0", b"\xff"),
        *(
            b'{"type":"clo\xffse"}',
            b'{"type":"\xc0\x80"}',
            b'{"type":"\xed\xa0\x80"}',
        ),  # bad UTF-8, overlong, surrogate
        *(b'{"type":"\\ud800"}', b'{"type":"\\udc00x"}', b'{"type":"\\ud800\\ud800"}'),  # lone surrogates
        *(b'\xef\xbb\xbf{"type":"close"}', '{"type":"close"}'.encode("utf-16")),
        *(b'{"type":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":01}', b'{"a":+1}', b'{"a":1.}', b'{"a":.5}'),
        *(b'{"a":"\n"}', b'{"a":"\\x41"}', b'{"a":1' + b"0" * 5000 + b"}"),
        *(b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000, b"[" * 33 + b"]" * 33),
        b'{"type":"close","x":' + b"[" * 32 + b"]" * 32 + b"}",
    ],
    ids=lambda payload: repr(payload[:20]),
)
def test_bad_json(payload: bytes) -> None:
    assert code(payload) == "bad_json"


@pytest.mark.parametrize(
    "payload",
    [
        *(
            b"null",
            b"1",
            b'"close"',
            b"[]",
            b'["type","close"]',
            b"{}",
            b'{"type":null}',
            b'{"type":1}',
            b'{"type":["close"]}',
        ),
        *(b'{"Type":"close"}', b'{"type":{"type":"close"}}', b"[" * 32 + b"]" * 32),
        b'{"type":"close","x":' + b"[" * 31 + b"]" * 31 + b"}",
    ],
    ids=lambda payload: repr(payload[:20]),
)
def test_json_that_is_no_message(payload: bytes) -> None:
    assert code(payload) == "bad_message"


@pytest.mark.parametrize("tag", ["", "Close", "close ", "mood", "x" * 10_000, "\x1b[2J", "Message", "__class__"])
def test_unknown_types(tag: str) -> None:
    assert code({"type": tag}) == "unknown_message"
    with pytest.raises(RemoteProtocolError) as caught:
        decode(json.dumps({"type": tag}).encode())
    assert caught.value.detail.isprintable()


def test_white_space_and_order_are_free() -> None:
    assert decode(b' {\n"sent" : 2 ,\t"received":1, "type":"ack"}\r\n') == Ack(received=1, sent=2)


def test_of_repeated_keys_the_last_counts() -> None:
    """As in most readers of JSON; the page says so, and tells senders not to."""
    assert decode(b'{"type":"ping","type":"ack","received":1,"sent":2,"sent":3}') == Ack(received=1, sent=3)


def test_only_what_is_allowed_is_looked_at() -> None:
    """The wrong type is refused before its fields are validated."""
    assert code({"type": "ping", "nonsense": 1}, ["hello"]) == "unexpected_message"
    assert code({"type": "nonsense"}, ["hello"]) == "unknown_message"
    assert decode(b'{"type":"close"}', ["close"]) == Close()


def values(name: str, key: str, *bad: object) -> list[tuple[str, str, object]]:
    """Cases of one field."""
    return [(name, key, value) for value in bad]


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        *values("open", "id", "", "x" * 65, "a b", "ü", "a/b", "x\n", 1, None),
        *values("disconnect", "code", "", "x" * 65, "a b", "a\n", "\x00"),
        *values("disconnect", "detail", "x" * 1025, 1, None),
        *values("signal", "signal", "INT", "SIG", "sigint", "SIGINT\n", "SIG" + "A" * 20, 2, "9"),
        *values("hello", "nonce", "A" * 1025, "*", "AA=A", "====", "AAAA\n"),
        *values("hello", "features", ["x"] * 33, ["a b"], "x", [1]),
        ("hello", "prompt", 1),
        ("hello", "prompt", "true"),
        *values("auth", "method", "none", "KEY", "", None, 1),
        *values("auth", "keys", [{}], [{"key": "A"}], [{"key": "A", "proof": "A", "x": 1}], ["A"]),
        ("auth", "keys", [{"key": "AAAA", "proof": "AAAA"}] * 9),
        ("auth", "on_lost", "forget"),
        *values("open", "request", "pty", "", None),
        *values("open", "argv", "ls", [1], [None], [["a"]], [{}], [{"base64": "*"}], {"0": "ls"}),
        ("open", "argv", [{"base64": "AAAA", "utf8": ""}]),
        *values("open", "env", {"A": "b"}, [["A"]], [["A", "b", "c"]], ["Ab"], [["A", 1]]),
        ("open", "stdin", "inherit"),
        ("open", "merge_stderr", 1),
        ("open", "cwd", 1),
        ("done", "shell", "dead"),
        *values("entry", "kind", "fifo", "", None),
        *values("entry", "path", "x" * 4097, {"base64": "A" * 5472}, 1),
        *values("entry", "sha256", "0" * 63, "0" * 65, "G" * 64, "A" * 64),
        *values("entry", "mode", 0o1777, 0o4755),
        *values("entry", "mtime_ns", 1_000_000_000),
        *values("stored", "numbers", [], [0], [1] * 1025, [True], 1),
        *values("open", "paths", [], ["x"] * 1025, ["x" * 4097], "x"),
        ("report", "state", "perhaps"),
    ],
)
def test_values_outside_the_model(name: str, key: str, value: object) -> None:
    assert code({"type": name, **EXAMPLES[name], key: value}) == "bad_message"


def test_a_fault_names_its_place_and_never_the_value() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(json.dumps({"type": "open", **EXAMPLES["open"], "env_add": [["PASSWORD", 31415]]}).encode())
    assert "env_add.0.1" in caught.value.detail and "31415" not in caught.value.detail


MIB = 1 << 20
BASE = '{"type":"open","request":"exec","id":"x","window":1,'


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (BASE + '"argv":[' + ",".join("1" * (MIB // 2)) + "]}", "argv.0"),
        (BASE + '"env":[' + ",".join(["[]"] * (MIB // 3)) + "]}", "env.0"),
        (BASE + '"env":[' + ",".join(['["a",{"base64":1}]'] * (MIB // 19)) + "]}", "env.0.1"),
        (BASE + '"cwd":{' + ",".join(f'"{n}":1' for n in range(MIB // 10)) + "}}", "faults"),
        ('{"type":"close",' + ",".join(f'"{n}":1' for n in range(MIB // 10)) + "}", "faults"),
        ('{"type":"close","x":[' + ",".join(["[]"] * (MIB // 3)) + "]}", "x"),
    ],
    ids=["argv", "env", "boxed", "boxed fields", "fields", "lists"],
)
@pytest.mark.slow
def test_a_mebibyte_of_faults_is_cheap(payload: str, told: str) -> None:
    """A list stops at its first, very many are only counted. Writing each out cost 3 s and 1.3 GB."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    with pytest.raises(RemoteProtocolError) as caught:
        decode(payload.encode())
    assert caught.value.code == "bad_message" and told in caught.value.detail
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime - before.ru_utime < 1.0
    assert after.ru_maxrss - before.ru_maxrss < 200 * 1024


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_message_or_a_named_error(payload: bytes) -> None:
    try:
        decode(payload)
    except RemoteProtocolError as error:
        assert error.code in {"bad_json", "bad_message", "unknown_message"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(MODELS)), st.data())
@settings(max_examples=300, deadline=None)
@pytest.mark.slow
def test_any_values_are_a_message_or_a_named_error(name: str, data: st.DataObject) -> None:
    fields = {**EXAMPLES[name], **data.draw(st.dictionaries(st.sampled_from(sorted(MODELS[name].fields())), JSON))}
    try:
        message = decode(json.dumps({**fields, "type": name}).encode())
    except RemoteProtocolError as error:
        assert error.code in {"bad_json", "bad_message"}
    else:
        assert decode(message.encode()) == message


@given(st.binary(max_size=50).filter(lambda raw: b"\0" not in raw))
def test_strings_of_the_system(raw: bytes) -> None:
    """Every string that the kernel takes crosses unchanged, and UTF-8 stays readable."""
    value = to_system(raw)
    try:
        assert value == raw.decode()
    except UnicodeDecodeError:
        assert isinstance(value, Boxed)
    message = decode(Open(request="exec", id="x", window=1, argv=[value]).encode())
    assert isinstance(message, Open) and message.argv is not None
    assert from_system(message.argv[0]) == raw


def test_nul_is_refused_on_both_ends() -> None:
    with pytest.raises(UsageError, match="null byte"):
        to_system(b"a\0b")
    for value in ("a\0b", Boxed(base64="AA==")):
        with pytest.raises(RemoteProtocolError, match="NUL"):
            from_system(value)


def boxed(text: str) -> Boxed:
    """One that the model would refuse."""
    made = object.__new__(Boxed)
    made.__dict__["base64"] = text
    return made


@pytest.mark.parametrize("text", ["A", "AA", "AAA", "AAAAA", "AA==A"])
def test_bad_base64(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="base64"):
        unbase64(text)
    with pytest.raises(RemoteProtocolError):
        from_system(boxed(text))


def test_base64() -> None:
    assert unbase64("") == b"" and unbase64("/w==") == b"\xff"


def test_what_we_build_is_checked_as_well() -> None:
    for build in (
        lambda: Exit(status=256),
        lambda: Signal(signal="INT"),
        lambda: Ping(received=-1, sent=0),
        lambda: Hello.from_value({}),
    ):
        with pytest.raises(ValidationError):
            build()


def test_message_is_abstract_only_in_name() -> None:
    """Every model has a distinct tag, equal to its name, as its first field."""
    for name, model in MODELS.items():
        assert issubclass(model, Message)
        assert next(iter(model.fields())) == "type" and model.fields()["type"].default == name
