"""The option table against ssh's own: every letter, its arity, and the way getopt reads a line."""

from __future__ import annotations

import re
import subprocess

import pytest

from remote_shell.errors import UsageError
from remote_shell.ssh.keywords import KEYWORDS
from remote_shell.ssh.options import OPTIONS, CommandLine, parse
from remote_shell.ssh.settings import Settings

# ssh.c of OpenSSH 9.9, the string for getopt, without -1 and -2, which are no more than complaints
GETOPT = "46ab:c:e:fgi:kl:m:no:p:qstvxAB:CD:E:F:GI:J:KL:MNO:P:Q:R:S:TVw:W:XYy"


def arity(getopt: str) -> dict[str, bool]:
    """Letter -> whether it takes an argument."""
    return {letter: bool(colon) for letter, colon in re.findall(r"(\w)(:?)", getopt)}


def test_the_table_has_every_option_with_its_arity() -> None:
    assert {letter: bool(option.takes) for letter, option in OPTIONS.items()} == arity(GETOPT)


def test_the_installed_ssh_has_no_other_option() -> None:
    usage = subprocess.run(["ssh"], capture_output=True, text=True, stdin=subprocess.DEVNULL).stderr
    flags = re.search(r"\[-(\w{5,})\]", usage)
    assert flags, usage
    theirs = dict.fromkeys(flags[1], False) | dict.fromkeys(re.findall(r"\[-(\w) ", usage), True)
    ours = {letter: bool(option.takes) for letter, option in OPTIONS.items()}
    assert theirs.items() <= ours.items()
    assert set(ours) - set(theirs) <= {"P"}  # since OpenSSH 9.4


def read(line: str) -> CommandLine:
    return parse(line.split())


@pytest.mark.parametrize(
    ("line", "destination", "words"),
    [
        ("h", "h", []),
        ("h uname -a", "h", ["uname", "-a"]),
        ("-- h uname", "h", ["uname"]),
        ("-- h -p 1", "h", ["-p", "1"]),  # behind "--" nothing is an option any more, behind the host neither
        ("h -- -p 1", "h", ["-p", "1"]),
        ("h -p 1 uname -p", "h", ["uname", "-p"]),
        ("-p 1 h -l me -- ls", "h", ["ls"]),
        ("h -p1", "h", []),
        ("h ls -- -l", "h", ["ls", "--", "-l"]),
        ("h -", "h", ["-"]),
        ("-xp22 h", "h", []),
        ("-xqp 22 h ls", "h", ["ls"]),
        ("-tt -oPort=3 -i k h ls", "h", ["ls"]),
    ],
)
def test_where_options_end(line: str, destination: str, words: list[str]) -> None:
    found = read(line)
    assert (found.destination, found.words) == (destination, words)


@pytest.mark.parametrize(
    ("line", "port"),
    [
        ("-p 22 h", 22),
        ("-p22 h", 22),
        ("-xp22 h", 22),
        ("h -p 22", 22),
        ("-oPort=22 h", 22),
        ("-o Port=22 h", 22),
        ("h", None),
    ],
)
def test_a_port_in_every_way_that_callers_write_it(line: str, port: int | None) -> None:
    assert read(line).settings.port == port


def test_the_first_value_counts() -> None:
    settings = read("-p 1 -p 2 -oPort=3 -l a -l b -oUser=c h -p 4 -l d").settings
    assert (settings.port, settings.text("user")) == (1, "a")


@pytest.mark.parametrize(
    ("line", "wish"),
    [
        ("h", "auto"),
        ("-t h", "yes"),
        ("-tt h", "force"),
        ("-t -t h", "force"),
        ("-ttt h", "force"),
        ("-T h", "no"),
        ("-tT h", "no"),
        ("-Tt h", "yes"),
        ("-oRequestTTY=force h", "force"),
        ("-oRequestTTY=yes -T h", "no"),
        ("-oRequestTTY=no -t h", "yes"),
        ("-oRequestTTY=auto h", "auto"),
    ],
)
def test_a_terminal(line: str, wish: str) -> None:
    assert read(line).settings.terminal == wish


def test_what_each_served_letter_does() -> None:
    found = read("-q -n -f -s -G -E log -F cfg -e none -i one -ione/two -l me h")
    settings = found.settings
    assert settings.is_quiet and not settings.is_verbose
    assert settings.flag("stdinnull") and settings.flag("forkafterauthentication")
    assert settings.text("sessiontype") == "subsystem" and settings.escape is None
    assert (found.log_file, found.config_file, found.prints_settings) == ("log", "cfg", True)
    assert settings.given_identities == ["one", "one/two"] and settings.text("user") == "me"
    assert read("-V").prints_version and read("-vvv h").settings.is_verbose


def test_an_argument_is_one_word_whatever_is_in_it() -> None:
    """-o's is a line and has quotes; that of a letter is not."""
    found = parse(["-i", 'a "b" #c', "-l", "x y", "h"])
    assert found.settings.given_identities == ['a "b" #c'] and found.settings.text("user") == "x y"
    assert parse(["-o", 'IdentityFile="a b"', "h"]).settings.given_identities == ["a b"]


@pytest.mark.parametrize("letter", [letter for letter, option in OPTIONS.items() if option.fate == "refused"])
def test_what_would_change_the_meaning_is_refused_by_name(letter: str) -> None:
    argument = " x" if OPTIONS[letter].takes else ""
    for line in (f"-{letter}{argument} h", f"h -{letter}{argument} ls", f"-q{letter}{argument} h"):
        with pytest.raises(UsageError) as caught:
            read(line)
        assert str(caught.value) == f"-{letter} is refused: {OPTIONS[letter].why}"


@pytest.mark.parametrize("letter", [letter for letter, option in OPTIONS.items() if option.fate == "ignored"])
def test_what_is_ignored_changes_nothing_but_the_notes(letter: str) -> None:
    argument = " x" if OPTIONS[letter].takes else ""
    found = read(f"-{letter}{argument} h ls")
    assert (found.destination, found.words) == ("h", ["ls"])
    notes, found.settings.notes = found.settings.notes, []
    assert vars(found.settings) == vars(Settings())
    assert notes == [f"-{letter} is ignored: {OPTIONS[letter].why}"]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("", "no host"),
        ("-q", "no host"),
        ("--", "no host"),
        ("-p", "-p needs an argument: -p port"),
        ("h -l", "-l needs an argument: -l login_name"),
        ("-xo", "-o needs an argument: -o option"),
        ("-Z h", "ssh has no option '-Z' (in '-Z')"),
        ("--port=3 h", "ssh has no option '--' (in '--port=3')"),
        ("-p 0 h", "-p takes a number from 1 to 65535, not '0'"),
        ("-p 65536 h", "-p takes a number"),
        ("-p ssh h", "-p takes a number"),
        ("-e ab h", "-e takes one character, ^ and a letter, or none"),
        ("-o Nonsense=1 h", "-o nonsense: ssh_config(5) has no such keyword"),
        ("-o ControlPersist h", "-o controlpersist needs a value"),  # Ansible's question
        ("-o ProxyJump=b h", "-o proxyjump is refused: jump hosts"),
        ("-o Match=all h", "-o match is refused"),
    ],
)
def test_what_makes_no_sense(line: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(line)
    assert str(caught.value).startswith(text)
    assert "Usage:" not in str(caught.value) and "Bad configuration option" not in str(caught.value)


@pytest.mark.parametrize("letter", OPTIONS)
def test_every_option_says_what_becomes_of_it(letter: str) -> None:
    option = OPTIONS[letter]
    assert option.why and not option.why.endswith(".")
    if option.sets:
        assert KEYWORDS[option.sets.partition(" ")[0].lower()].fate == "served"


# What callers write, as recorded: rsync 3.2, git 2.39, OpenSSH's sftp and scp 9.2, Borg 1.2, Ansible 2.14
RECORDED = [
    "-l user host rsync --server -logDtpre.iLsfxCIvu . /d/",
    "-o SendEnv=GIT_PROTOCOL -p 2200 user@host git-upload-pack '/r.git'",
    "-G -p 2200 user@host",
    "-x -oPermitLocalCommand=no -oClearAllForwardings=yes -oRemoteCommand=none -oRequestTTY=no -oPort=22 -s -- host sftp",
    "-C -o ControlMaster=auto -o ControlPersist=60s -o Port=22 -o StrictHostKeyChecking=no "
    "-o KbdInteractiveAuthentication=no -o PreferredAuthentications=gssapi-with-mic,gssapi-keyex,hostbased,publickey "
    '-o PasswordAuthentication=no -o User="root" -o ConnectTimeout=10 -o ControlPath="/root/.ansible/cp/x" -tt host true',
    "-o BatchMode=yes -o ServerAliveInterval=10 -o ServerAliveCountMax=30 host borg serve",
]


@pytest.mark.parametrize("line", RECORDED)
def test_callers_are_understood(line: str) -> None:
    assert read(line).destination.endswith("host")


def test_sftp_s_old_way_of_writing_options() -> None:
    assert parse(["-oForwardX11 no", "-oForwardAgent no", "-oPort 7", "-s", "--", "h", "sftp"]).settings.port == 7
