"""What is completed, and that bash reads what is written as exactly the name that was meant."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from remote_shell.cli.quoting import written
from remote_shell.cli.words import LINE_MAX, Word, word_at


def found(text: str) -> tuple[str, str] | None:
    """Kind, and where to look with what is there already."""
    word = word_at(text)
    return None if word is None else (word.kind, word.tilde + word.directory + "|" + word.prefix)


BEFORE_A_COMMAND = (
    """
·ls; ·ls | ·ls |& ·a && ·a || ·a & ·a &·echo $(·echo "x $(·echo `·(·( a; ·{ ·A=b ·A= B+=c ·if ·then ·a\n·! ·while ·do ·cat <(·
> out ·2>&1 ·&>x ·sudo ·sudo -u root ·sudo -E ·time -p ·exec -a n ·nohup ·env A=b ·env -u X ·timeout 5 ·sudo A=b nice -n 5 ·
xargs -n 1 ·sudo -- ·which ·# no\n·a <<E | ·echo ${x:-$(·$(a) ; ·a=(b) ·f() ·echo "`
""".strip()
    .replace("·\n", "·")
    .split("·")
)


@pytest.mark.parametrize("before", BEFORE_A_COMMAND)
def test_a_command_may_come_here(before: str) -> None:
    assert found(before + "gi") == ("command", "|gi")
    assert found(before + "./ru") == ("program", "./|ru")
    assert found(before) is None, "nothing is begun: everything would fit"


@pytest.mark.parametrize(
    ("text", "kind", "where"),
    [
        ("ls fi", "path", "|fi"),
        ("ls ", "path", "|"),
        ("ls -l /usr/lo", "path", "/usr/|lo"),
        ("a > fi", "path", "|fi"),
        ("a >fi", "path", "|fi"),
        ("a 2>>fi", "path", "|fi"),
        ("a &>fi", "path", "|fi"),
        ("a <<< fi", "path", "|fi"),
        ("> /et", "path", "/|et"),
        ("A=/et", "path", "/|et"),
        ("PATH=/a:/et", "path", "/|et"),
        ("A=~/et", "path", "~/|et"),
        ("export A=/et", "path", "/|et"),
        ("a=(/et", "path", "/|et"),
        ("a=(x /et", "path", "/|et"),
        ("./configure --prefix=/us", "path", "/|us"),
        ("dd if=/de", "path", "/|de"),
        ("for x in fi", "path", "|fi"),
        ("git add fi", "path", "|fi"),
        ("git -C other checkout fi", "path", "|fi"),
        ("git checkout -- fi", "path", "|fi"),
        ("sudo cat /etc/sh", "path", "/etc/|sh"),
        ("timeout fi", "path", "|fi"),
        ("sudo -u ro", "path", "|ro"),
        ("cd sr", "directory", "|sr"),
        ("cd ~/sr", "directory", "~/|sr"),
        ("pushd ~me/a/sr", "directory", "~me/a/|sr"),
        ("sudo rmdir sr", "directory", "|sr"),
        ("cd $(cat fi", "path", "|fi"),
        ("echo $(ls) fi", "path", "|fi"),
        ('echo "$(ls)" fi', "path", "|fi"),
        ("~/bin/ru", "program", "~/bin/|ru"),
        ("ls ~ro", "user", "|ro"),
        ("ls ~", "user", "|"),
        ("echo $NA", "variable", "|NA"),
        ("echo $", "variable", "|"),
        ("$NA", "variable", "|NA"),
        ('echo "x$NA', "variable", "|NA"),
        ("echo ${NA", "variable", "|NA"),
        ("echo ${#NA", "variable", "|NA"),
        ("echo $((1 + $NA", "variable", "|NA"),
        ("echo ${x:-$NA", "variable", "|NA"),
        ("unset NA", "variable", "|NA"),
        ("git checkout ma", "branch", "|ma"),
        ("git -c a=b switch ma", "branch", "|ma"),
        ("git diff main..fe", "branch", "|fe"),
        ("git diff main...fe", "branch", "|fe"),
        ("git log ^ma", "branch", "|ma"),
        ("git push or", "remote", "|or"),
        ("git push -f origin ma", "branch", "|ma"),
        ("git push origin HEAD:ma", "branch", "|ma"),
        ("git push origin +ma", "branch", "|ma"),
        # quotes
        ("ls 'My Do", "path", "|My Do"),
        ('ls "My Do', "path", "|My Do"),
        ("ls My\\ Do", "path", "|My Do"),
        ("ls a\\", "path", "|a"),
        ("ls 'My Documents/fi", "path", "My Documents/|fi"),
        ("ls 'My Documents'/fi", "path", "My Documents/|fi"),
        ("ls a\\/fi", "path", "a/|fi"),
        ("ls 'a=b'/fi", "path", "a=b/|fi"),
        ("ls a=b/fi", "path", "b/|fi"),
        ("ls $'a\\nb/\\303\\274\\x41", "path", "a\nb/|üA"),
        ("ls $'\\u00fc", "path", "|ü"),
        ("ls '~/x", "path", "~/|x"),
        ("ls \\~/x", "path", "~/|x"),
        ("ls '$x'fi", "path", "|$xfi"),
        ("ls \"a\\$b\\c", "path", "|a$b\\c"),
    ],
)  # fmt: skip
def test_the_kind_and_the_place(text: str, kind: str, where: str) -> None:
    assert found(text) == (kind, where)


UNKNOWN = (
    """
 ·ls # com·cat <<E·cat <<-E·ls *.p·ls $x/fi·ls $(a)/fi·ls {a,b·ls ~$x/a·${x:-a·echo $((1 + x·for x·for ·ls ~'me'/a·
git checkout $x/·ls $'a\\0b·host:~/x·ls ~'·ls a~/x*
""".strip("\n")
    .replace("·\n", "·")
    .split("·")
)


@pytest.mark.parametrize("text", [*UNKNOWN, "$(" * 3000, "ls " + "x" * LINE_MAX])
def test_nothing_is_offered_where_it_is_not_known_what_would_fit(text: str) -> None:
    assert found(text) is None


@given(st.text(alphabet="ab /\\'\"$({`})<>&|;=~#\n\t!*-é\udcff", max_size=40))
@example("a=(")
@example("$'\\ud800")
def test_it_never_fails_and_stays_within_the_text(text: str) -> None:
    word = word_at(text)
    assert word is None or 0 <= word.start <= len(text)


def test_a_long_line_takes_no_time_that_is_felt() -> None:
    for piece in ("echo 'x' \"y $z\" | ", "$(", "`", "${x:-", "'", '"', "((", "a=(", "$'\\x41"):
        began = time.process_time()
        word_at((piece * LINE_MAX)[:LINE_MAX])
        assert time.process_time() - began < 0.5, piece


# --- what is written


def read_by_bash(line: str, **variables: str) -> list[bytes]:
    """The words of `line`, a command with its arguments, as bash hands them over."""
    script = b"set +H; words() { printf '%s\\0' \"$@\"; }\n" + line.encode("utf-8", "surrogateescape")
    done = subprocess.run(["bash", "--norc"], input=script, capture_output=True, env={**os.environ, **variables})
    assert done.returncode == 0 and not done.stderr, (line, done.stderr)
    return done.stdout.split(b"\0")[:-1]


def completed(text: str, name: str, end: str | None = " ") -> str:
    word = word_at(text)
    assert word is not None, text
    return text[: word.start] + written(word, name, end)


NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: not {0, 0x2F} & set(name)) | st.text(
    alphabet=st.sampled_from("ab '\"$`\\!~#\n\t\x1b*?[]{}()<>|&;=^%:,-@éß€\u3000\u202e"), min_size=1, max_size=8
).map(str.encode)
HEADS = ["", "'", '"', "$'", "x\\ y/", "'x y'/", "'x y/", '"x y/', "$'x y/", '"x y"/', "'x'\" y/", "x' y'/'", '"x y/"']


@given(NAMES, st.sampled_from(HEADS))
@example(b"a\xff'1", "'x y/")
@example(b"\x01" + b"1", "")
@example("\u202e".encode(), "x\\ y/")
def test_bash_reads_exactly_the_name(name: bytes, head: str) -> None:
    line = completed("words " + head, os.fsdecode(name))
    assert line.isprintable(), "nothing on the screen obeys it"
    folder = b"x y/" if "x" in head else b""
    assert read_by_bash(line + "end") == [folder + name, b"end"]


@given(NAMES, st.integers(1, 11), st.sampled_from(HEADS))
def test_what_is_begun_is_read_again_as_what_it_is(name: bytes, size: int, head: str) -> None:
    """A common beginning is inserted, Tab comes again, and so on to the whole name."""
    part = os.fsdecode(name)[:size]
    text = completed("words " + head, part, None)
    word = word_at(text)
    assert word is not None and (word.directory, word.prefix) == ("x y/" if "x" in head else "", part)
    folder = b"x y/" if "x" in head else b""
    assert read_by_bash(completed(text, os.fsdecode(name))) == [folder + name]
    assert read_by_bash(completed(text, os.fsdecode(name), "/") + "f") == [folder + name + b"/f"]


@pytest.mark.parametrize(
    ("text", "name", "end", "line"),
    [
        ("ls ~/sr", "src", "/", "ls ~/src/"),
        ("ls ~me/sr", "s c", "/", "ls ~me/s\\ c/"),
        ("ls ~ro", "root", "/", "ls ~root/"),
        ("ls ", "~x", " ", "ls \\~x "),
        ("ls 'My D", "My Docs", "/", "ls 'My Docs'/"),
        ("ls 'My D", "My Docs", None, "ls 'My Docs"),
        ('ls "My D', "My Docs", " ", 'ls "My Docs" '),
        ("ls 'a", "a'b", " ", "ls 'a'\\''b' "),
        ("ls b", "büro €", " ", "ls büro\\ € "),
        ("ls a", "a\nb", " ", "ls $'a\\nb' "),
        ("ls 'a", "a\nb", " ", "ls $'a\\nb' "),
        ("echo $HO", "HOME", "", "echo $HOME"),
        ("echo ${HO", "HOME", "", "echo ${HOME}"),
        ("echo ${HO", "HO", None, "echo ${HO"),
        ("x", "x=y", " ", "x\\=y "),
        ("ls x", "x=y", " ", "ls x=y "),
        ("git checkout ma", "main", " ", "git checkout main "),
        ("git diff a..ma", "main", " ", "git diff a..main "),
        ("./configure --prefix=/us", "usr", "/", "./configure --prefix=/usr/"),
    ],
)
def test_how_it_is_written(text: str, name: str, end: str | None, line: str) -> None:
    assert completed(text, name, end) == line


@pytest.mark.parametrize("name", ["a=b", "if", "é x", "-x", "a'b"])
def test_a_command_is_run_by_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("#!/bin/sh\nprintf '%s\\0' \"${0##*/}\"\n")
    (tmp_path / name).chmod(0o700)
    line = written(Word("command", 0, ""), name, " ")
    if name == "if":
        line = "command " + line  # the reserved word is what is meant
    assert read_by_bash(line, PATH=f"{tmp_path}:{os.environ['PATH']}") == [name.encode()]
