"""allow=: a pattern matches just the words that its writer meant, however a client spells them."""

from __future__ import annotations

import shlex
import subprocess
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.identity.argv_patterns import ArgvPattern, plain_words


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("git *", ["git", "git status", "git -c x=y log ../.. 'a b' ''", "git /etc/p"], ["gitx", "/usr/bin/git", "./git", "Git", "sh"]),
        ("uptime", ["uptime"], ["uptime -p", "uptime ''", ""]),
        ("git * --", ["git x --", "git '' --"], ["git --", "git a b --"]),
        ("cat /var/log/*", ["cat /var/log/syslog", "cat /var/log/"],
         ["cat", "cat /var/log/a/b", "cat /var/log/../shadow", "cat /var/log/..", "cat /var/log/a /etc/shadow", "cat -- /var/log/a"]),
        ("cat /srv/**", ["cat /srv/a", "cat /srv/a/b", "cat /srv/..a/b..", "cat /srv/"],
         ["cat /srv/../etc/shadow", "cat /srv/a/../../etc", "cat /srv/..", "cat /srv"]),
        ("cat /srv/.*", ["cat /srv/.a", "cat /srv/."], ["cat /srv/..", "cat /srv/../x"]),
        ("cat **/x", ["cat a/b/x", "cat /x"], ["cat x", "cat a/../x"]),
        ("cat **a*b", ["cat a/ab", "cat xaxb", "cat ab"], ["cat a/b", "cat ab/"]),
        ("tail -n ??", ["tail -n 10"], ["tail -n 1", "tail -n 100", "tail -n /1"]),
        ("/usr/bin/*", ["/usr/bin/ls"], ["/usr/bin/../../tmp/x", "/usr/bin/ls x", "/usr/bin/x/y"]),
        ("/opt/tool-? *", ["/opt/tool-1 x y", "/opt/tool-2"], ["/opt/tool- x", "/opt/tool-12"]),
        ("echo 'a b' \"*\" \\*", ["echo 'a b' '*' '*'"], ["echo a b '*' '*'", "echo 'a b' x '*'"]),
        ("echo ''", ["echo ''"], ["echo"]),
        ("echo [a]", ["echo '[a]'"], ["echo a"]),
    ],
)  # fmt: skip
def test_a_pattern(pattern: str, inside: list[str], outside: list[str]) -> None:
    made = ArgvPattern(pattern)
    for text in inside:
        assert made.matches(shlex.split(text)), text
    for text in outside:
        assert not made.matches(shlex.split(text)), text


def test_a_line_end_is_a_character() -> None:
    assert ArgvPattern("echo a*").matches(["echo", "a\nb"])
    assert not ArgvPattern("echo a").matches(["echo", "a\n"])
    assert not ArgvPattern("git *").matches(["git\n"])


def test_bytes_that_are_no_text() -> None:
    assert ArgvPattern("cat *").matches(["cat", "\udcff"])
    assert not ArgvPattern("cat a?b").matches(["cat", "a/b"])
    assert ArgvPattern("cat a?b").matches(["cat", "a\udcffb"])


def test_a_hostile_word_is_compared_soon() -> None:
    pattern = ArgvPattern("x " + "a**" * 200 + "b")
    assert not pattern.matches(["x", "a" * 4096])
    assert not pattern.matches(["x", "a" * 4096 + "b"])  # longer than any path


@given(words=st.lists(st.text(max_size=8), min_size=1, max_size=4))
def test_a_pattern_without_wildcards_is_those_words_alone(words: list[str]) -> None:
    quoted = " ".join("".join(f"\\{sign}" for sign in word) or "''" for word in words)
    if not words[0] or not quoted.isprintable():
        return
    made = ArgvPattern(quoted)
    assert made.matches(words)
    assert not made.matches([*words, ""]) and not made.matches(words[:-1])
    assert not made.matches([*words[:-1], words[-1] + "x"])


def _by_hand(pattern: str, word: str) -> bool:
    """The same, as slowly as it can be said."""
    if not pattern:
        return not word
    if pattern[0] == "*":
        deep = pattern[1:2] == "*"
        rest = pattern[1 + deep :]
        return any(_by_hand(rest, word[at:]) for at in range(len(word) + 1) if deep or "/" not in word[:at])
    return (
        bool(word)
        and (word[0] != "/" if pattern[0] == "?" else word[0] == pattern[0])
        and _by_hand(pattern[1:], word[1:])
    )


def test_all_short_words_against_all_short_patterns() -> None:
    words = ["".join(signs) for size in range(5) for signs in product("a/", repeat=size)]
    for size in range(1, 5):
        for signs in product("a/*?", repeat=size):
            text = "".join(signs)
            if text == "*":
                continue
            made = ArgvPattern(f"x {text} x")
            for word in words:
                assert made.matches(["x", word, "x"]) == _by_hand(text, word), (text, word)


# --- a shell's line


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("git status", ["git", "status"]),
        ("  git\tstatus  ", ["git", "status"]),
        ("git-upload-pack '/srv/a b.git'", ["git-upload-pack", "/srv/a b.git"]),
        ("echo 'it'\\''s' \"a b\" c\\ d", ["echo", "it's", "a b", "c d"]),
        ('echo "\\$x \\\\ \\a"', ["echo", "$x \\ \\a"]),
        ("echo '' \"\"", ["echo", "", ""]),
        ("rsync --server -vlogDtpre.iLsfxCIvu . /srv/", ["rsync", "--server", "-vlogDtpre.iLsfxCIvu", ".", "/srv/"]),
        ("a b=c", ["a", "b=c"]),
    ],
)
def test_the_words_of_a_line(line: str, words: list[str]) -> None:
    assert plain_words(line) == words


@pytest.mark.parametrize(
    "line",
    [
        *("a " * 33_000, "", "  "),
        *("a;b", "a&b", "a|b", "a&&b", "a>b", "a<b", "a $x", "a `b`", 'a "$x"', 'a "`b`"', "a $(b)", "a (b)", "a {b,c}"),
        *("a *", "a ?", "a [b]", "a ~", "~/a", "A=b", "A=b c", "a #b", "! a", "a\nb", "a\rb", "a\0b", "a 'b", 'a "b', "a\\", "a\\\nb"),
        *('a "b\\\nc"', 'a "b\\', "a\x1bb", "'A'=b"),
    ],
)  # fmt: skip
def test_a_line_that_needs_a_shell_has_no_words(line: str) -> None:
    assert plain_words(line) is None


@given(line=st.text(st.sampled_from("ab ='\"\\$`;|&<>*?~#!{}[]()\t^-/.,:%"), max_size=12))
def test_the_words_are_those_of_a_shell(line: str) -> None:
    words = plain_words(line)
    if words is None:
        return
    assert shlex.split(line) == words
    script = f'show() {{ for word; do printf "%s\\0" "$word"; done; }}; show {line}'
    for shell in (["sh"], ["bash", "--norc"]):
        done = subprocess.run(
            [*shell, "-c", script], capture_output=True, check=False, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
        )
        assert done.stdout.decode().split("\0")[:-1] == words, line
