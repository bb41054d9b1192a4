"""Which lines go on on the next: compared with bash itself, for every beginning of many scripts."""

from __future__ import annotations

import itertools
import random
import subprocess
from pathlib import Path

import pytest

from remote_shell.cli.continuation import is_incomplete

SCRIPTS = Path(__file__).with_name("scripts.sh").read_text(encoding="utf-8").split("\n%%\n")
# where `bash -n` calls the end of its input another fault, an interactive one waits
WAITS = {"[[ a == b &&", "case a in a|"}


def bash_waits(text: str) -> bool:
    """Whether bash misses something at the end of `text`; `-n` runs nothing."""
    done = subprocess.run(["bash", "-n"], input=text + "\n", capture_output=True, text=True)
    missing = ("unexpected end of file", "unexpected EOF while", "delimited by end-of-file")
    # a backslash at the end escapes the newline, and then nothing is missing in a file
    escaped = (len(text) - len(text.rstrip("\\"))) % 2 == 1
    return escaped or text in WAITS or any(sign in done.stderr for sign in missing)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_beginning_of_a_script_is_judged_as_bash_does(script: str) -> None:
    lines = script.rstrip("\n").split("\n")
    for count in range(1, len(lines) + 1):
        text = "\n".join(lines[:count])
        assert is_incomplete(text) is bash_waits(text), text


@pytest.mark.parametrize(
    "text", ["", " ", "\n", "# a comment", "ls", ")", "}", "echo ;;", "done", "echo 'it''s'", "ls;"]
)
def test_what_is_whole_or_beyond_us_is_sent(text: str) -> None:
    assert not is_incomplete(text)


WHOLE = [
    "for ((i=1<<2;i<6;i++)); do echo $i; done",
    "for ((i=0;i<(1<<2);i++)) { echo $i; }",
    "a[1<<2]=3",
    "x=1 a[1 << 2]+=3 b[1<<2]=4",
    ">f 2>&1 a[1<<2]=4",
    "a=([1<<2]=3)",
    "echo $[1<<2]",
    'echo "$[1<<2]"',
    "for x in a; { echo $x; }",
    "for x; { echo $x; }",
    "for x do echo $x; done",
    "function a { case x in x) :;; esac }",
    "{ if :; then :; fi }",
    "while (:) do (:) done",
    "{ ((1<<2)) }",
    "{ [[ a ]] }",
    "if { :; } then { :; } fi",
    """echo "${x#'}'}" """,
    "echo ${x:=(a}",
    "echo $((x=(1<<2)))",
    "[[ a == @(a|b) && ( b < c ) ]]",
    "function f () ( : )",
    "case in in x) :;; esac",
    "f () ((1<<2))",
    "echo in do done >f if",
]


@pytest.mark.parametrize("text", WHOLE)
def test_whole_lines_can_be_run(text: str) -> None:
    assert bash_takes(text)
    assert not is_incomplete(text)


@pytest.mark.parametrize(
    "text",
    ["echo ((", "echo (", "echo a ()", "for", "for ;", "echo <<", "for x in a; done", "echo a=1 ("],
)
def test_what_bash_refuses_at_once_is_sent(text: str) -> None:
    assert not bash_waits(text)
    assert not is_incomplete(text)


@pytest.mark.parametrize(
    "text",
    [
        *("for ((i=1<<2", "for ((;;))", "for ((;;)) {", "for x", "for x in a; {", "for x do", "for x; do", "select x in a; {"),
        *("a[", "a[1<<2", "x=1 a[1", "echo $[1", 'echo "$[1<<2', "a=(", "a=([1<<2]=3", "function f", "f ()", "{ (:)", "( (:) ;"),
        *("if { :; } then", "while (:) do", 'echo "${x:-it', "echo ${x:-'", "for x in a; { if :; then :; fi", "cat <<E >f"),
    ],
)  # fmt: skip
def test_lines_that_go_on(text: str) -> None:
    assert bash_waits(text)
    assert is_incomplete(text)


# What spans words, with % for a command and @ for a word: put into each other at random
COMMANDS = r"""
echo @
a=@ b[1<<2]=@
a+=(@ [1<<2]=@)
((x = 1<<2 ))
[[ @ == @ ]]
[[ a < b && ( @ =~ a|b ) ]]
if %; then %; else %; fi
{ %; }
( % )
for x in @ @; do %; done
for x in @; { %; }
for ((i=1<<2;i<6;i++)); do %; done
for ((;;)) { %; }
while %; do %; done
case @ in @) %;; (a|b) %;; esac
case a in b) % ;& *) esac
function f { %; }
f() { %; }
f () ( % )
! %
time %
% && %
% | %
% & %
select x in @; do %; done
cat <( %) >/dev/null 2>&1
>f >g a[1<<2]=1
{ { %; } }
{ ( % ) }
{ for x do % ; done }
echo @ >f <<<@
""".strip().split("\n")
WORDS = r"""
a|'b c'|"d $x"|$(%)|`echo`|${x:-@}|"${x:-its}"|"${x%'}'}"|$((1<<2))|$[1<<2]|"$[1<<2]"|${a[1<<2]}|\(|x=1|#|$'\''|do|in|{a,b}|[1]
""".strip()
SIGNS = {"%": COMMANDS, "@": WORDS.split("|")}
LAST = {"%": ["echo x"], "@": ["a"]}


def bash_takes(text: str) -> bool:
    """Whether bash finds nothing missing and nothing wrong."""
    done = subprocess.run(["bash", "-n"], input=f"{text}\n".encode(), capture_output=True)
    return not done.returncode and not done.stderr


def made_up(chosen: random.Random) -> str:
    """A command that bash mostly takes, and mostly not a short one."""
    text = "%"
    for depth in itertools.count():
        if "%" not in text and "@" not in text:
            return text
        choices = SIGNS if depth < 4 and len(text) < 300 else LAST
        text = "".join(chosen.choice(choices[sign]) if sign in choices else sign for sign in text)
    raise AssertionError


def compare(seed: int, count: int) -> None:
    chosen = random.Random(seed)
    whole = 0
    for _ in range(count):
        text = made_up(chosen)
        if bash_takes(text):
            whole += 1
            assert not is_incomplete(text), text
    assert whole > count / 2


def test_what_bash_takes_is_never_waited_with() -> None:
    compare(1, 200)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 10))
def test_what_bash_takes_is_never_waited_with_at_length(seed: int) -> None:
    compare(seed, 2000)


def test_a_long_line_takes_no_long_time() -> None:
    assert not is_incomplete("echo " + "x" * 300_000)
    assert not is_incomplete("\n".join(f"echo '{number}'" for number in range(20_000)))
    assert is_incomplete("echo '" + "x\n" * 100_000)


def test_deep_nesting_is_left_to_bash() -> None:
    assert not is_incomplete("$(" * 100_000)


def test_a_long_here_document_takes_no_long_time() -> None:
    assert is_incomplete("cat <<E\n" + "x\n" * 200_000)
    assert not is_incomplete("cat <<E\n" + "x\n" * 200_000 + "E")


ZSH_WHOLE = [
    "ls *(.",
    "f() { echo hi }",
    "{ echo a }",
    "for x (a b) echo $x",
    "for x (a b); do echo; done",
    "for x (a b) { echo $x }",
    "if (( 1 )) echo y",
    "if [[ -f x ]] { echo y } else { echo n }",
    "while (( i-- )) { echo }",
    "repeat 3 echo x",
    "repeat 3 do echo; done",
    "repeat 3 { echo }",
    "ls *(.)",
    "ls (a|b)*",
    "print -l **/*(.om[1])",
    "print ${(f)x}",
    "print ${x:#*b}",
    "() { echo $1 } a",
    "{ echo } always { echo }",
    "diff =(a) =(b)",
    "case a { a) echo;; }",
    "echo a&!",
    "print (#i)x",
    "if true; then echo (a|b); fi",
    "for f in *(.); do echo $f; done",
    "[[ a == (b|c) ]]",
    "typeset -A h=(a b)",
    "{ for x (a b) echo $x }",
    "for ((i=0;i<3;i++)) echo $i",
    "print $(for x (a) echo $x)",
    "while true; do break; done",
    "select x in a; do break; done",
    "function f g { echo }",
    "echo {a,b}",
    "x={}",
    "find . -exec echo {} \\;",
    "for x in a b; echo $x",
    "if true; then :; elif true; then :; else :; fi",
    "repeat 2; do echo; done",
]
ZSH_OPEN = [
    "f() {",
    "f() { echo",
    "for x in a b; do",
    "for x in *(.); do",
    "if true; then",
    "if [[ a ]] {",
    "while true; do",
    "echo 'a",
    "echo a |",
    "a &&",
    "cat <<E\nx",
    "case a in",
    "echo \\",
    "repeat 3; do",
    "echo $(",
    "{ for x (a b) echo $x",
    "repeat 3 {",
    "{ echo } always {",
    "if true; then :; else",
]


@pytest.mark.parametrize("text", ZSH_WHOLE)
def test_what_is_whole_in_zsh_is_sent(text: str) -> None:
    assert not is_incomplete(text, "zsh")


@pytest.mark.parametrize("text", ZSH_OPEN)
def test_what_goes_on_in_zsh_waits(text: str) -> None:
    assert is_incomplete(text, "zsh")


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_is_whole_in_bash_is_sent_to_zsh_too(script: str) -> None:
    lines = script.rstrip("\n").split("\n")
    for count in range(1, len(lines) + 1):
        text = "\n".join(lines[:count])
        assert is_incomplete(text) or not is_incomplete(text, "zsh"), text


# zsh ends these at the end of its input without a word
ZSH_SILENT = {"a &&", "cat <<E\nx", "echo \\"}


@pytest.mark.slow
@pytest.mark.parametrize("text", [*ZSH_WHOLE, *ZSH_OPEN])
def test_zsh_itself_agrees(text: str) -> None:
    argv = ["zsh", "-f", "-n", "-o", "extended_glob", "-o", "short_loops", "-o", "short_repeat"]
    done = subprocess.run(argv, input=text + "\n", capture_output=True, text=True)
    assert (done.returncode != 0) is (text in ZSH_OPEN and text not in ZSH_SILENT), done.stderr
