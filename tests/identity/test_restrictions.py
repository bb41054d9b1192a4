"""The options of authorized_keys: read as OpenSSH reads them, and closed to whatever is not understood."""

from __future__ import annotations

import string
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.errors import IdentityError
from remote_shell.identity.restrictions import (
    BEYOND,
    OPTIONS,
    REFUSED_OPTIONS,
    UNRESTRICTED,
    Restrictions,
    parse_options,
    split_options,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "authorized-keys.md"
KEY = "ssh-ed25519 AAAA comment"


# --- quoting


@pytest.mark.parametrize(
    ("line", "options"),
    [
        # of sshd(8), AUTHORIZED_KEYS FILE FORMAT
        ('from="*.sales.example.net,!pc.sales.example.net"', [("from", "*.sales.example.net,!pc.sales.example.net")]),
        ('command="dump /home",no-pty,no-port-forwarding',
         [("command", "dump /home"), ("no-pty", None), ("no-port-forwarding", None)]),
        ('permitopen="192.0.2.1:80",permitopen="192.0.2.2:25"',
         [("permitopen", "192.0.2.1:80"), ("permitopen", "192.0.2.2:25")]),
        ('restrict,command="uptime"', [("restrict", None), ("command", "uptime")]),
        ('restrict,pty,command="nethack"', [("restrict", None), ("pty", None), ("command", "nethack")]),
        ('tunnel="0",command="sh /etc/netstart tun0"', [("tunnel", "0"), ("command", "sh /etc/netstart tun0")]),
        # of its rules: a quote within quotes is \", and a backslash is nothing else
        ('command="echo \\"a b\\", c"', [("command", 'echo "a b", c')]),
        ('command="a\\\\b"', [("command", "a\\\\b")]),
        ('command="printf \'%s\\n\' x"', [("command", "printf '%s\\n' x")]),
        ('command="a\\\\"",pty', [("command", 'a\\"'), ("pty", None)]),
        ('command="x,y=z"', [("command", "x,y=z")]),
        ('command="#"', [("command", "#")]),
        ("RESTRICT,No-Pty", [("restrict", None), ("no-pty", None)]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("blanks", [" ", "\t", " \t "])
def test_quoting_is_openssh_s(line: str, options: list[tuple[str, str | None]], blanks: str) -> None:
    assert split_options(f"{line}{blanks}{KEY}") == (options, KEY)


@pytest.mark.parametrize(
    "line",
    [
        *(" ", ",restrict", "restrict,", "restrict,,pty", "restrict, pty", 'command="x', 'command="x\\"', 'command=x y"'),
        *("command=x", "command='x'", 'command = "x"', 'command="a""b"', 'command="a"b', 'restrict="x"', 'command=""'),
        *("restrict;pty", "restrict\u00a0pty", "réstrict", '"restrict"', f'command="{"x" * 8193}"', "x" * 65),
    ],
)  # fmt: skip
def test_what_is_no_list_of_options_is_refused(line: str) -> None:
    with pytest.raises(IdentityError):
        parse_options(line)


@given(value=st.text(st.characters(exclude_characters='"\\'), min_size=1, max_size=50))
def test_any_value_comes_back(value: str) -> None:
    assert split_options(f'command="{value}",pty {KEY}') == ([("command", value), ("pty", None)], KEY)


@given(parts=st.lists(st.sampled_from(["\\", '"', "a", " ", ",", "\\\\", '\\"']), max_size=12))
def test_a_value_ends_where_openssh_s_does(parts: list[str]) -> None:
    """opt_dequote and the skipping of options in OpenSSH, step by step: a backslash hides a quote behind it and nothing else."""
    text = "".join(parts)
    at, value = 0, ""
    while at < len(text) and text[at] != '"':
        if text[at : at + 2] == '\\"':
            value, at = value + '"', at + 2
        else:
            value, at = value + text[at], at + 1
    line = f'command="{text}'
    if at == len(text) or not value or text[at + 1 : at + 2] not in ("", " "):
        return
    assert split_options(line) == ([("command", value)], text[at + 1 :].lstrip(" "))


@given(text=st.text(st.sampled_from(string.ascii_lowercase + '-=",\\ *!:./0123456789'), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        made = parse_options(text)
    except IdentityError as error:
        assert str(error).isprintable()
    else:
        assert made == UNRESTRICTED or text
        assert all(word.isprintable() for word in made.described())


WORDS = ["restrict", "pty", "no-pty", 'command="x"', 'allow="git *"', 'from="10.0.0.1"', "port-forwarding", 'cwd="/"']


@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=5))
def test_an_unknown_option_anywhere_refuses_all(words: list[str]) -> None:
    for at in range(len(words) + 1):
        with pytest.raises(IdentityError):
            parse_options(",".join([*words[:at], "no-such-option", *words[at:]]))


# --- single options


@pytest.mark.parametrize(
    "line",
    [
        *("cert-authority", 'principals="a"', "verify-required", "no-touch-required", 'tunnel="0"', "no-such-thing"),
        *("command", "from", "timeout", "cwd", "max-commands", "allow", "expiry-time", 'pty="x"', "environment"),
        *('command="a",command="b"', 'from="10.0.0.1",from="10.0.0.2"', 'cwd="/",cwd="/"', 'timeout="1",timeout="2"'),
        *('max-commands="1",max-commands="2"', 'command="a",allow="b"', 'allow="b",command="a"', 'allow=":detach"'),
        *('command="a",allow=":get"', 'allow=":shell"', 'allow=":"', 'allow="*"', 'allow="** x"', 'allow="?"', 'allow=" "'),
        *("allow=\"'x\"", 'allow="x\\"', 'allow="a\nb"', 'command="a\nb"', 'command="a\x1bb"', 'cwd="\x7f"'),
        *('max-commands="0"', 'max-commands="-1"', 'max-commands="1.5"', 'max-commands="x"', 'max-commands="1000001"'),
        *('max-commands="٣"', 'timeout="0"', 'timeout="-1"', 'timeout="x"', 'timeout="nan"', 'timeout="inf"', 'timeout="1e3"'),
        *('timeout="999999999"', 'timeout="0.0001"', 'environment="X"', 'environment="=x"', 'environment="LD_PRELOAD=x"'),
        *('environment="A B=x"', 'accept-env="a b"', 'accept-env="[a]"', 'accept-env="1"', 'expiry-time="2026"'),
        *('from=""', 'from="a.example"', 'from="*.example.net"', 'from="10.0.0.1,"', 'from="!"', 'from="10.0.0.1/8"'),
        *('from="10.0.0.0/33"', 'from="10.0.0.0/255.0.0.0"', 'from="10.0.0.256"', 'from="10.0.0"', 'from="!!10.0.0.1"'),
        *('from="010.0.0.1"', 'from="::g"', 'from="10.0.0.1 10.0.0.2"', f'from="{"1.1.1.1," * 1024}1.1.1.1"'),
    ],
)  # fmt: skip
def test_what_could_not_be_made_to_hold_refuses_the_line(line: str) -> None:
    with pytest.raises(IdentityError) as caught:
        parse_options(line)
    assert str(caught.value).isprintable() and "x1b" not in str(caught.value)


def test_nothing_said_is_no_restriction() -> None:
    assert parse_options("") == UNRESTRICTED == Restrictions()
    assert not UNRESTRICTED.restricted and UNRESTRICTED.pty and not UNRESTRICTED.forwarding.said
    assert UNRESTRICTED.allows(["anything"]) and UNRESTRICTED.described() == []


@pytest.mark.parametrize(
    ("line", "pty"),
    [("restrict", False), ("no-pty", False), ("pty", True), ("restrict,pty", True), ("pty,restrict", False), ("pty,no-pty", False),
     ("no-pty,pty", True), ('command="x"', True), ("no-agent-forwarding,no-X11-forwarding,no-user-rc", True)],
)  # fmt: skip
def test_terminals(line: str, pty: bool) -> None:
    assert parse_options(line).pty is pty


@pytest.mark.parametrize(
    "line",
    ["restrict", "no-pty", 'command="x"', 'allow="x"', 'allow=":get"', 'max-commands="1"', 'cwd="/"', 'timeout="1"', 'accept-env="A"'],
)  # fmt: skip
def test_these_close_the_environment(line: str) -> None:
    assert parse_options(line).restricted


@pytest.mark.parametrize("line", ['from="10.0.0.1"', 'expiry-time="20300101"', "port-forwarding", "no-X11-forwarding"])
def test_these_do_not(line: str) -> None:
    assert not parse_options(line).restricted


@pytest.mark.parametrize(
    ("patterns", "inside", "outside"),
    [
        ("10.0.0.1", ["10.0.0.1", "::ffff:10.0.0.1"], ["10.0.0.10", "unix", "", "x", "::1"]),
        ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255", "::ffff:10.1.1.1"], ["11.0.0.0", "unix", "::a00:1"]),
        ("10.0.*,!10.0.0.5", ["10.0.0.1", "10.0.9.9"], ["10.0.0.5", "10.1.0.0", "unix"]),
        ("!10.0.0.5,*", ["10.0.0.1", "::1", "unix"], ["10.0.0.5"]),
        ("!10.0.0.5", [], ["10.0.0.5", "10.0.0.6", "unix"]),
        ("!10.0.0.0/24,10.0.0.0/8", ["10.1.0.0"], ["10.0.0.1"]),
        ("10.0.0.?", ["10.0.0.1"], ["10.0.0.10"]),
        ("2001:db8::/32,FE80::1", ["2001:DB8::1", "fe80::1", "fe80::1%eth0"], ["2001:db9::1", "10.0.0.1"]),
        ("2001:db8:0:0::1", ["2001:db8::1"], ["2001:db8::2"]),
        ("unix", ["unix"], ["10.0.0.1", "unixx"]),
        ("!unix,*", ["10.0.0.1"], ["unix"]),
        ("*,!::ffff:10.0.0.0/104", ["11.0.0.1", "::1"], ["10.0.0.5", "::ffff:10.0.0.5"]),
        ("*,!::FFFF:10.0.*", ["10.1.0.1", "::1"], ["10.0.0.5"]),
    ],
)
def test_from(patterns: str, inside: list[str], outside: list[str]) -> None:
    made = parse_options(f'from="{patterns}"')
    assert [one for one in (*inside, *outside) if not made.refusal_at(0, one)] == inside
    for one in outside:
        assert made.refusal_at(0, one) == f"this key may not be used from {one}"


@pytest.fixture
def in_tokyo() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("in_tokyo")
@pytest.mark.parametrize(
    ("value", "when"),
    [
        ("20261231Z", datetime(2026, 12, 31, tzinfo=UTC)),
        ("202612312359Z", datetime(2026, 12, 31, 23, 59, tzinfo=UTC)),
        ("20261231235958z", datetime(2026, 12, 31, 23, 59, 58, tzinfo=UTC)),
        ("20261231", datetime(2026, 12, 30, 15, tzinfo=UTC)),
        ("202612310830", datetime(2026, 12, 30, 23, 30, tzinfo=UTC)),
        ("20240229Z", datetime(2024, 2, 29, tzinfo=UTC)),
    ],
)
def test_expiry_time(value: str, when: datetime) -> None:
    made = parse_options(f'expiry-time="{value}"')
    at = when.timestamp()
    assert made.expires == at
    assert not made.refusal_at(at - 0.001, "unix")
    assert made.refusal_at(at, "unix").startswith("this key expired at 202")


@pytest.mark.parametrize(
    "value",
    [
        *("20230229", "20261301", "20260001", "20260132", "2026123124", "202612312400", "202612312360", "20261231235960"),
        *("00000101", "20261231ZZ", " 20261231", "20261231T00", "2026-12-31", "٢٠٢٦١٢٣١", "1767225600", "202612312"),
    ],
)  # fmt: skip
def test_what_is_no_time(value: str) -> None:
    with pytest.raises(IdentityError):
        parse_options(f'expiry-time="{value}"')


def test_the_earliest_of_two_times_counts() -> None:
    for line in ('expiry-time="20260101Z",expiry-time="20270101Z"', 'expiry-time="20270101Z",expiry-time="20260101Z"'):
        assert parse_options(line).expires == datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def test_variables() -> None:
    made = parse_options('environment="STAGE=live",environment="STAGE=late",accept-env="BUILD_*",accept-env="*"')
    assert made.environment == (("STAGE", "live"),)
    assert made.accepts_variable("BUILD_ID") and made.accepts_variable("anything")
    for name in ("LD_PRELOAD", "ld_preload", "BASH_ENV", "BASH_FUNC_x%%", "ENV", "PYTHONPATH", "PERL5OPT", "RUBYOPT", "NODE_OPTIONS",
                 "GIT_SSH_COMMAND", "IFS", "SHELLOPTS", "PS4", "PATH", "npm_config_x", "https_proxy", "", "A B", "A=B", "Ä"):  # fmt: skip
        assert not made.accepts_variable(name), name


def test_what_people_read() -> None:
    line = (
        'restrict,allow="git *",allow=":get",from="10.0.0.0/8",cwd="/srv",timeout="60",max-commands="4",'
        'environment="A=b",accept-env="C",permitopen="db:1",port-forwarding'
    )
    assert parse_options(line).described() == [
        "may run only: git *; get files",
        *("from 10.0.0.0/8", "in /srv", "60 s each", "4 at once", "no terminal", "tunnels to db:1, at any port"),
        *("sets A", "accepts C"),
    ]
    assert str(parse_options('command="uptime",no-pty')) == "runs only: uptime; no terminal; no tunnels"
    assert str(parse_options("restrict,pty")) == "no tunnels"
    assert str(parse_options('expiry-time="20260101Z"')).startswith("until 202")


# --- the page


def test_the_page_and_the_parser_name_the_same_options() -> None:
    text = PAGE.read_text(encoding="utf-8")
    options = text.partition("## The options")[2].partition("## allow")[0]
    named = {
        name.split("=")[0].strip("` ").lower()
        for row in options.splitlines()
        if row.startswith("| `")
        for name in row.split("|")[1].split("`, `")
    }
    assert named == OPTIONS
    refused = text.partition("## What refuses the line")[2]
    assert {name for name in REFUSED_OPTIONS if f"`{name}" in refused} == REFUSED_OPTIONS
    assert {name for name in BEYOND if f"| `{name}` |" in text} == set(BEYOND)
