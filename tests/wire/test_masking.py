"""What is hidden in a frame that is shown to somebody, and that nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.wire import masking
from remote_shell.wire.frames import CONTROL, STDERR, STDIN, STDOUT, Frame, encode
from remote_shell.wire.masking import Mask, Masked

PASSWORD = "hunter2"


def control(channel: int, **fields: Any) -> Frame:
    return Frame(CONTROL, channel, json.dumps(fields, separators=(",", ":")).encode())


def opened(channel: int, **fields: Any) -> Frame:
    return control(channel, type="open", request="shell", id="x", window=1, **fields)


def welcome(received: int = 0, *, resumed: bool = False) -> Frame:
    return control(
        0, type="welcome", session="S3SS10N", resumed=resumed, received=received, principal="me", proof="PR00F"
    )


TERMINAL = {"term": "xterm", "rows": 24, "columns": 80}


@pytest.fixture
def mask() -> Mask:
    """In a session, with a live shell on a terminal on channel 1, a command on channel 3."""
    mask = Mask()
    mask.connected()
    mask.received(welcome())
    mask.sent(opened(1, terminal=TERMINAL))
    mask.sent(control(3, type="open", request="exec", id="y", window=1, argv=["cat"], stdin="pipe"))
    return mask


def check(masked: Masked, frame: Frame) -> None:
    """The same length, still JSON, and the same but for what is told to be hidden."""
    assert len(masked.payload) == len(frame.payload)
    rest = bytearray(frame.payload)
    for begin, count in masked.hidden:
        rest[begin : begin + count] = b"*" * count
    assert masked.payload == rest
    assert bool(masked.hidden) == bool(masked.why)


@pytest.mark.parametrize(
    ("frame", "secrets", "open_words"),
    [
        (welcome(), ["S3SS10N", "PR00F"], ["me"]),
        (control(0, type="enrolled", proof="PR00F", account="me", host="h"), ["PR00F"], ["me"]),
        (
            control(
                0, type="auth", method="invite", invite="N4ME", proof="PR00F", keys=[{"key": "K", "proof": "S1GN"}]
            ),
            ["PR00F", "S1GN"],
            ["N4ME"],
        ),
        (
            control(
                0,
                type="auth",
                method="key",
                keys=[{"key": "PUBLIC", "proof": "S1GN1"}, {"proof": "S1GN2", "key": "P2"}],
                session="S3SS10N",
                received=7,
            ),
            ["S1GN1", "S1GN2", "S3SS10N"],
            ["PUBLIC", "P2", "key"],
        ),
        (control(0, type="auth", method="secret", secret="name", proof="MAC"), ["MAC"], ["name"]),
    ],
)
def test_what_a_login_proves_with_is_hidden(frame: Frame, secrets: list[str], open_words: list[str]) -> None:
    for masked in (Mask().sent(frame), Mask().received(frame)):
        check(masked, frame)
        text = masked.payload.decode()
        assert json.loads(text) and masked.why == masking.SECRET
        assert not [word for word in secrets if word in text]
        assert all(word in text for word in open_words)


@pytest.mark.parametrize("field", ["env", "env_add", "env_offer"])
def test_values_of_variables_are_hidden_but_for_harmless_names(field: str) -> None:
    pairs: list[Any] = [
        ["API_TOKEN", "t0ken"],
        ["TERM", "xterm"],
        ["LC_TIME", "de_DE"],
        ["PATH", "/bin"],
        ["B", {"base64": "c2VjcmV0"}],
    ]
    pairs += [[{"base64": "UEFUSA=="}, "boxed-name"], ["MY_PATH", "p4th"], ["term", "l0wer"], ["EMPTY", ""]]
    frame = control(5, type="open", request="exec", id="x", window=1, argv=["PATH", "seen"], **{field: pairs})
    masked = Mask().sent(frame)
    check(masked, frame)
    text = masked.payload.decode()
    assert masked.why == masking.VARIABLE
    assert not [word for word in ("t0ken", "c2VjcmV0", "boxed-name", "p4th", "l0wer") if word in text]
    assert all(word in text for word in ("API_TOKEN", "xterm", "de_DE", "/bin", "seen", "EMPTY"))


def test_escapes_in_names_and_values_fool_nobody() -> None:
    payload = rb'{"type":"welcome","\u0073ession":"a\"b\\","x":"\",\"session\":\"shown","proof":"p\u0022q"}'
    masked = Mask().received(Frame(CONTROL, 0, payload))
    assert (
        masked.payload == rb'{"type":"welcome","\u0073ession":"******","x":"\",\"session\":\"shown","proof":"********"}'
    )


def test_keys_for_a_terminal_are_hidden_and_input_of_a_pipe_is_not(mask: Mask) -> None:
    assert mask.sent(Frame(STDIN, 1, b"keys")) == Masked(b"****", ((0, 4),), masking.TERMINAL)
    assert mask.sent(Frame(STDIN, 3, b"data")) == Masked(b"data")
    mask.sent(control(5, type="open", request="attach", id="x", window=1))
    assert mask.sent(Frame(STDIN, 5, b"keys")).hidden
    assert mask.sent(Frame(STDIN, 7, b"nobody saw it open")).hidden
    assert mask.received(Frame(STDOUT, 1, b"out")) == Masked(b"out")
    assert mask.received(Frame(STDERR, 9, b"err")) == Masked(b"err")


def mode(number: int, name: str) -> Frame:
    return control(1, type="mode", number=number, mode=name)


def line(number: int, text: object = PASSWORD, channel: int = 1) -> Frame:
    return control(channel, type="line", mode=number, text=text)


def test_a_line_is_shown_where_its_terminal_showed_it(mask: Mask) -> None:
    assert not mask.sent(line(0)).hidden  # before any mode is known our own terminal shows what is typed
    mask.received(mode(1, "cooked"))
    assert not mask.sent(line(1)).hidden
    mask.received(mode(2, "no_echo"))
    frame = line(2)
    masked = mask.sent(frame)
    check(masked, frame)
    assert PASSWORD.encode() not in masked.payload and masked.why == masking.UNSEEN
    assert mask.sent(line(2, {"base64": "aHVudGVyMg=="})).hidden
    mask.received(mode(3, "raw"))
    assert mask.sent(line(3)).hidden
    assert mask.sent(line(99)).hidden  # nobody told of that mode
    assert mask.sent(line(1, channel=3)).hidden  # that has no terminal


def test_the_first_line_after_a_hidden_one_is_hidden(mask: Mask) -> None:
    """Its first keys may have been typed unseen: sudo gave up waiting for the password, and then came Enter."""
    mask.received(mode(1, "no_echo"))
    mask.received(mode(2, "cooked"))
    assert mask.sent(line(2)).hidden
    assert not mask.sent(line(2)).hidden
    assert mask.sent(line(1)).hidden


def test_modes_are_kept_up_to_a_bound(mask: Mask) -> None:
    for number in range(1, 1000):
        mask.received(mode(number, "cooked"))
    assert not mask.sent(line(999)).hidden
    assert mask.sent(line(1)).hidden


def test_what_comes_back_unread_is_hidden(mask: Mask) -> None:
    frame = control(1, type="unread", text=PASSWORD)
    masked = mask.received(frame)
    check(masked, frame)
    assert PASSWORD.encode() not in masked.payload


def test_a_frame_that_is_sent_again_is_hidden_again(mask: Mask) -> None:
    """Frames 0 and 1 are the opens. The server had heard of three when the link was cut."""
    mask.received(mode(1, "no_echo"))
    mask.received(mode(2, "cooked"))
    first, second = mask.sent(line(2, "d0ubtful")), mask.sent(line(2, "shown"))
    assert first.hidden and not second.hidden and not first.again
    mask.connected()
    mask.received(welcome(2, resumed=True))
    first, second = mask.sent(line(2, "d0ubtful")), mask.sent(line(2, "shown"))
    assert first.hidden and first.again
    assert not second.hidden and second.again
    assert not mask.sent(line(2, "new")).again
    assert mask.sent(Frame(STDIN, 1, b"keys")).hidden


def test_a_repeated_line_that_was_not_seen_is_hidden(mask: Mask) -> None:
    mask.sent(Frame(STDIN, 3, b"data"))  # frame 2
    mask.connected()
    mask.received(welcome(2, resumed=True))
    assert mask.sent(line(0)).hidden


def test_a_new_session_knows_nothing_of_the_one_before(mask: Mask) -> None:
    mask.received(mode(5, "cooked"))
    assert not mask.sent(line(5)).hidden
    mask.connected()
    assert not mask.logged_in
    mask.received(welcome())
    assert mask.logged_in
    assert mask.sent(Frame(STDIN, 3, b"data")).hidden
    assert not mask.sent(opened(1, terminal=TERMINAL)).again
    assert mask.sent(line(5)).hidden
    assert not mask.sent(opened(3)).again
    assert not mask.sent(Frame(STDIN, 3, b"data")).hidden


@pytest.mark.parametrize(
    "payload",
    [b"secret", b'{"type":"welcome","session":"secret"', b'"secret"', b'["secret"]', b"[" * 100_000 + b"secret"],
)
def test_what_is_no_message_is_hidden(payload: bytes) -> None:
    masked = Mask().received(Frame(CONTROL, 0, payload))
    assert b"secret" not in masked.payload and masked.why == masking.UNKNOWN
    assert len(masked.payload) == len(payload)


def test_of_a_message_that_we_do_not_know_only_the_type_is_shown() -> None:
    frame = control(0, type="ticket", value="secret", more=[{"a": "secret"}], number=7)
    masked = Mask().received(frame)
    check(masked, frame)
    assert b"secret" not in masked.payload
    assert json.loads(masked.payload)["type"] == "ticket" and json.loads(masked.payload)["number"] == 7


def test_the_beginning_of_a_frame(mask: Mask) -> None:
    message = encode(CONTROL, 0, b'{"type":"auth","session":"secret"}')[:-3]
    assert mask.part(message, sent=True) == Masked(message[:9] + b"*" * 31, ((9, 31),), masking.UNFINISHED)
    assert b"secret" not in mask.part(message, sent=False).payload
    for channel, hidden in ((1, True), (3, False), (9, True)):
        part = encode(STDIN, channel, b"data")[:-1]
        assert bool(mask.part(part, sent=True).hidden) == hidden
    output = encode(STDOUT, 1, b"data")[:-1]
    assert mask.part(output, sent=False) == Masked(output)
    assert mask.part(message[:5], sent=True) == Masked(message[:5])
    assert mask.part(message[:9], sent=True) == Masked(message[:9])


def test_bytes_that_are_no_frame(mask: Mask) -> None:
    assert Mask().stray(b"HTTP/1.1 400 Bad Request") == Masked(b"HTTP/1.1 400 Bad Request")
    assert b"400" not in mask.stray(b"HTTP/1.1 400 Bad Request").payload


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=5), st.booleans(), st.sampled_from([None, 2]))
def test_every_string_of_any_json_is_found(message: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    message = {**message, "type": "ticket"}
    payload = json.dumps(message, ensure_ascii=ascii_only, indent=indent).encode()
    masked = Mask().received(Frame(CONTROL, 0, payload))
    check(masked, Frame(CONTROL, 0, payload))

    def stars(value: Any) -> Any:
        if isinstance(value, str):
            return "*" * (len(json.dumps(value, ensure_ascii=ascii_only).encode()) - 2)
        if isinstance(value, list):
            return [stars(one) for one in value]
        return {name: stars(one) for name, one in value.items()} if isinstance(value, dict) else value

    assert json.loads(masked.payload) == {**{name: stars(value) for name, value in message.items()}, "type": "ticket"}


def test_channels_are_forgotten_when_nothing_of_them_can_be_sent_again(mask: Mask) -> None:
    for channel in range(5, 20_001, 2):
        mask.sent(opened(channel, terminal=TERMINAL if channel % 4 == 1 else None))
        mask.received(control(channel, type="close"))
        mask.sent(control(channel, type="close"))
    assert len(mask._plain) + len(mask._typed) == 2 + masking._KEPT
    assert not mask._closing and len(mask._closed) == masking._KEPT
    assert not mask.sent(Frame(STDIN, 19_999, b"data")).hidden
    assert not mask.sent(Frame(STDIN, 3, b"data")).hidden
    assert mask.sent(Frame(STDIN, 7, b"data")).hidden


def test_a_close_that_is_sent_again_counts_once(mask: Mask) -> None:
    mask.sent(control(3, type="close"))
    mask.connected()
    mask.received(welcome(2, resumed=True))
    assert mask.sent(control(3, type="close")).again
    assert mask._closing == {3} and not mask._closed
