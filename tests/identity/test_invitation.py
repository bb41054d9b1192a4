"""The line of an invitation: it says all that it was given, one wrong letter shows, and no error repeats it."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.config.fingerprints import format_fingerprint
from remote_shell.config.targets import Target
from remote_shell.errors import UsageError
from remote_shell.identity.invitation import (
    CODE_SIZE,
    LINE_MAX,
    Invitation,
    goes_on,
    name_of,
    new_code,
    parse_line,
    proving_key,
)
from remote_shell.limits import DEFAULT_LIMITS

HOSTS = st.sampled_from(["192.0.2.7", "2001:db8::7", "box.example", "bücher.example"])
TARGETS = st.builds(lambda host, port: Target("tls", host=host, port=port), HOSTS, st.integers(1, 65535))
INVITATIONS = st.builds(
    Invitation,
    st.lists(TARGETS, min_size=1, max_size=DEFAULT_LIMITS.invitation_addresses_max).map(tuple),
    st.binary(min_size=32, max_size=32).map(format_fingerprint),
    st.integers(16_000_000, 60_000_000).map(lambda minutes: minutes * 60),
    st.binary(min_size=CODE_SIZE, max_size=CODE_SIZE),
)
SAMPLE = Invitation(
    (Target("tls", host="192.0.2.7", port=8822),), format_fingerprint(bytes(32)), 1_796_306_700, bytes(range(16))
)


def same(one: Invitation, other: Invitation) -> bool:
    return (one.addresses, one.fingerprint, one.until, one.code) == (
        other.addresses,
        other.fingerprint,
        other.until,
        other.code,
    )


@given(INVITATIONS)
def test_what_is_written_is_read(invited: Invitation) -> None:
    line = invited.line()
    assert line.isprintable() and len(line) <= LINE_MAX
    assert same(parse_line(line), invited)
    assert same(parse_line(f"\n  {line[:-9]}\r\n{line[-9:]}\n"), invited), "a chat broke its last word"
    assert same(parse_line(line.replace(" ", "\n\t ")), invited)


@given(st.integers(0, len(SAMPLE.line()) - 1), st.sampled_from(string.printable + "é\x1b\0"))
def test_one_wrong_letter_shows(at: int, sign: str) -> None:
    line = SAMPLE.line()
    changed = line[:at] + sign + line[at + 1 :]
    try:
        read = parse_line(changed)
    except UsageError as error:
        assert SAMPLE.code.hex() not in str(error) and line.split()[-1][:8] not in str(error)
    else:
        assert same(read, SAMPLE) and changed.lower().split()[-1] == line.split()[-1]


@given(st.text(max_size=300) | st.text(alphabet=SAMPLE.line(), max_size=300))
def test_any_text(text: str) -> None:
    for tried in (text, f"invitation1 {text}"):
        with pytest.raises(UsageError) as raised:
            parse_line(tried)
        assert len(text) < 12 or text not in str(raised.value)


def test_a_line_that_goes_on() -> None:
    line = SAMPLE.line()
    assert all(goes_on(line[:at]) for at in range(len("invitation1"), len(line)))
    assert not goes_on(line) and not goes_on(f"{line[:-9]}\n{line[-9:]}")
    assert not any(
        goes_on(text) for text in ("", "hello", "invitation2 x", "x " * 3000, f"invitation1 {'x' * LINE_MAX}")
    )


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("", "no whole invitation"),
        ("hunter2", "no whole invitation"),
        (SAMPLE.line()[:60], "no whole invitation"),
        (SAMPLE.line()[:-1], "damaged"),
        (SAMPLE.line() + "a", "damaged"),
        (SAMPLE.line().replace("invitation1", "invitation2"), "another version"),
        (SAMPLE.line().replace(":8822", ":8823"), "damaged"),
        (SAMPLE.line().replace("192.0.2.7", "me@192.0.2.7"), "damaged"),
        (SAMPLE.line().replace("192.0.2.7:8822", ",".join(["192.0.2.7:8822"] * 9)), "damaged"),
        (SAMPLE.line().replace("T", " "), "damaged"),
        (f"{SAMPLE.line()} " * 40, "no whole invitation"),
    ],
)
def test_what_is_wrong_is_said(line: str, word: str) -> None:
    with pytest.raises(UsageError, match=word) as raised:
        parse_line(line)
    assert "keys invite" in str(raised.value) or word == "another version"
    assert "hunter2" not in str(raised.value)


def test_the_code_is_in_nothing_that_is_kept_or_sent() -> None:
    code = new_code()
    invited = Invitation(SAMPLE.addresses, SAMPLE.fingerprint, SAMPLE.until, code)
    assert len(code) == 16 and code != new_code()
    for text in (name_of(code), proving_key(code).hex(), repr(invited), repr(invited.secret())):
        assert code.hex() not in text and code.hex()[:8] not in text
    assert proving_key(code).hex() not in repr(invited.secret())
    assert name_of(code) != proving_key(code).hex()[:32]


def test_the_page_says_how_it_is_made() -> None:
    """docs/protocol.md, written out a second time."""
    import base64
    import hashlib

    def packed(data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + data

    def derived(purpose: bytes, data: bytes) -> bytes:
        return hashlib.sha256(packed(b"remote-shell-invitation@1") + packed(purpose) + packed(data)).digest()

    first = f"invitation1 192.0.2.7:8822 {format_fingerprint(bytes(32))} 2026-12-03T14:05Z "
    code = bytes(range(16))
    word = base64.b32encode(code + derived(b"check", first.encode() + code)[:4]).decode().lower()
    assert SAMPLE.line() == first + word
    assert SAMPLE.name == derived(b"name", code)[:16].hex() and SAMPLE.secret().key == derived(b"key", code)
