"""Targets and listen addresses: what is taken, what is refused, and that nothing else escapes."""

from __future__ import annotations

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from remote_shell.config.targets import Target, is_ipv4, parse_listen, parse_target
from remote_shell.errors import RemoteShellError, UsageError


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("host", "tls:host:8822"),
        ("HOST.Example", "tls:host.example:8822"),
        ("host:22", "tls:host:22"),
        ("under_score", "tls:under_score:8822"),
        ("tls", "tls:tls:8822"),
        ("10.0.0.7:8822", "tls:10.0.0.7:8822"),
        ("[::1]:8822", "tls:[::1]:8822"),
        ("[::1]", "tls:[::1]:8822"),
        ("[0:0::1]:1", "tls:[::1]:1"),
        ("[fe80::1%eth0]:1", "tls:[fe80::1%eth0]:1"),
        ("tls:host:1", "tls:host:1"),
        ("tls:host", "tls:host:8822"),
        ("bob@host", "tls:bob@host:8822"),
        ("tls:bob@[::1]:1", "tls:bob@[::1]:1"),
        ("bücher.example", "tls:bücher.example:8822"),
        ("host.", "tls:host.:8822"),
        ("unix:/run/a b.sock", "unix:/run/a b.sock"),
        ("unix:relative", "unix:relative"),
        ("ssh:Build_Box", "ssh:Build_Box"),  # ssh's own settings tell large letters from small ones
        ("ssh:bob@box:2222", "ssh:bob@box:2222"),
        ("ssh:[::1]", "ssh:[::1]"),
        ("ssh:bob@[::1]:22", "ssh:bob@[::1]:22"),
        ("tcp:127.0.0.1:9", "tcp:127.0.0.1:9"),
        ("tcp:127.9.9.9:9", "tcp:127.9.9.9:9"),
        ("tcp:[::1]:9", "tcp:[::1]:9"),
        ("tcp:localhost:9", "tcp:127.0.0.1:9"),
    ],
)
def test_what_is_taken(text: str, canonical: str) -> None:
    target = parse_target(text)
    assert str(target) == canonical
    assert target.text == text
    assert parse_target(str(target)) == target
    assert hash(parse_target(str(target))) == hash(target)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("host:", "from 1 to 65535, not ''"),
        ("host:0", "from 1 to 65535"),
        ("host:65536", "from 1 to 65535"),
        ("host:+22", "from 1"),
        ("host:٣", "from 1"),
        ("host:99999999999999999999", "from 1"),
        ("host:000022", "from 1"),
        ("host:" + "9" * 5000, "from 1"),
        (":22", "no host name"),
        ("tls:", "no host name"),
        ("[::1", r"a '\[' without"),
        ("[::1]22", "after the ']'"),
        ("[::g]:1", "no IPv6 address"),
        ("[]:1", "no IPv6 address"),
        ("::1", r"write \[::1\]:8822"),
        ("fe80::1:22", "stands in brackets"),
        ("my host", "space"),
        ("host\n", "control"),
        ("a,b", "can't hold ','"),
        ("-oProxy", "begin with '-'"),
        ("a..b", "1 to 63"),
        ("a" * 64, "1 to 63"),
        ((("a" * 60) + ".") * 5, "in all 253"),
        ("10.1", "no IPv4 address"),
        ("2130706433", "no IPv4 address"),
        ("0x7f.1", "no IPv4 address"),
        ("host.0x1", "no IPv4 address"),
        ("010.0.0.1", "no IPv4 address"),
        ("1.2.3.256", "no IPv4 address"),
        ("/run/x.sock", "write unix:/run/x.sock"),
        ("@host", "no account name before"),
        ("-l@host", "no account name"),
        ("a@b@host", "no account name"),
        ("unix:", "no path"),
        ("unix:/" + "x" * 107, "107 bytes, this one has 108"),
        ("unix:a\0b", "NUL"),
        ("tcp:10.0.0.1:1", "write tls:10.0.0.1:PORT"),
        ("tcp:0.0.0.0:1", "unencrypted"),
        ("tcp:[::]:1", "unencrypted"),
        ("tcp:[::ffff:127.0.0.1]:1", "unencrypted"),
        ("tcp:example:1", "unencrypted"),
        ("ssh:", "no host name"),
        ("ssh:bob@", "no host name"),
        ("ssh:-oProxyCommand=x", "begin with '-'"),
        ("ssh:-l@host", "no account name"),
        ("ssh:a@b@host", "no account name"),
        ("ssh:$(x)", "can't hold '\\$'"),
        ("ssh:a/b", "can't hold '/'"),
        ("ssh:host:0", "from 1"),
        ("ssh:::1", "stands in brackets"),
        ("ssh:[::1", r"a '\[' without"),
        ("\udcff", "control"),
        ("xn--\u00e9", "not a host name"),
    ],
)
def test_what_is_refused_and_why(text: str, word: str) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        parse_target(text)
    assert str(caught.value).isprintable()


def test_a_tilde_is_expanded_and_a_long_path_counted_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    assert parse_target("unix:~/s").path == "/h/s"
    assert parse_target("unix:/" + "x" * 106).path
    with pytest.raises(UsageError, match="109"):
        parse_target("unix:/" + "é" * 54)


def test_a_path_that_is_not_utf8_survives() -> None:
    raw = b"/tmp/\xff.sock"
    assert os.fsencode(parse_target("unix:" + os.fsdecode(raw)).path) == raw


def test_listen_takes_port_zero_and_wants_a_kind() -> None:
    assert str(parse_listen("tls:0.0.0.0:0")) == "tls:0.0.0.0:0"
    assert parse_listen("tls:[::]").port == 8822
    assert parse_listen("tcp:127.0.0.1:0").port == 0
    assert parse_listen("unix:/x").kind == "unix"
    for text, word in [
        ("host:1", "begins with its kind"),
        ("tls:bob@host:1", "leave bob@ away"),
        ("tcp:0.0.0.0:1", "unencrypted"),
        ("ssh:host", "nothing that listens"),
        ("", "empty"),
    ]:
        with pytest.raises(UsageError, match=word):
            parse_listen(text)


def test_a_target_is_a_value() -> None:
    target = parse_target("bob@[::1]:1")
    assert (target.kind, target.host, target.port, target.path, target.user) == ("tls", "::1", 1, "", "bob")
    assert target.address == "[::1]:1"
    assert parse_target("unix:/x").address == ""
    assert parse_target("ssh:Box_1").address == "Box_1"
    assert parse_target("ssh:[::1]").address == "[::1]"
    assert target != "tls:bob@[::1]:1"
    assert {target: 1}[parse_target("tls:bob@[::1]:1")] == 1
    assert target != parse_target("[::1]:1")
    assert target.with_user("", "x") == parse_target("[::1]:1")
    assert Target("tls", host="h", port=1).text == "tls:h:1"
    assert repr(target) == "Target('tls:bob@[::1]:1')"
    with pytest.raises(AttributeError):
        target.host = "other"
    with pytest.raises(AttributeError):
        del target.host


@given(
    st.text()
    | st.text(alphabet="abU0129:.@[]/-~%\0 é", max_size=30)
    | st.builds("{}:{}".format, st.sampled_from(["tls", "tcp", "unix", "ssh"]), st.text(max_size=30))
)
@example("tls:[::1%]:1")
@example("a.\u3002b")
def test_any_text_is_a_target_or_our_error(text: str) -> None:
    for parse in (parse_target, parse_listen):
        try:
            target = parse(text)
        except RemoteShellError as error:
            assert str(error).isprintable()
            continue
        assert parse(str(target)) == target


@given(st.ip_addresses(v=4))
def test_every_ipv4_address_is_one(address: object) -> None:
    assert is_ipv4(str(address))
    assert parse_target(str(address)).host == str(address)


@given(st.ip_addresses(v=6))
def test_every_ipv6_address_is_one(address: object) -> None:
    assert parse_target(f"[{address}]:1").host == str(address)
