"""What commands do with their words, as far as completing them takes: which are commands again, folders, branches, variables.

Small tables on purpose: the commands that are typed all day. What is not in them has files as arguments. Never asks anybody.
Neighbour: `words` splits the line.
"""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["command", "path", "program", "directory", "variable", "branch", "remote", "user"]

_RESERVED = frozenset(("if", "then", "else", "elif", "do", "while", "until", "!", "{", "coproc"))  # a command follows
# Commands that run the command which follows: the options that take a word of their own, and how many words come before it.
_RUNNERS: dict[str, tuple[str, int]] = {
    "builtin": ("", 0),
    "command": ("", 0),
    "doas": ("uC", 0),
    "env": ("uCS", 0),
    "exec": ("a", 0),
    "ionice": ("cnp", 0),
    "nice": ("n", 0),
    "nohup": ("", 0),
    "setsid": ("", 0),
    "stdbuf": ("ioe", 0),
    "strace": ("eops", 0),
    "sudo": ("CDghpRrTtUu", 0),
    "time": ("fo", 0),
    "timeout": ("ks", 1),
    "watch": ("n", 0),
    "xargs": ("adEILnPs", 0),
}
_FOLDERS = frozenset(("cd", "pushd", "rmdir"))
_VARIABLES = frozenset(("declare", "export", "local", "printenv", "readonly", "typeset", "unset"))
_COMMANDS = frozenset(("type", "which", "whereis"))
_BRANCHES = frozenset(("bisect", "branch", "checkout", "cherry-pick", "describe", "diff", "log", "merge", "rebase"))
_BRANCHES |= frozenset(("reset", "revert", "show", "switch", "tag"))
_REMOTES = frozenset(("fetch", "pull", "push"))
_GIT_WORDS = frozenset(("-c", "--exec-path", "--namespace"))  # git's own options whose next word belongs to them
_ELSEWHERE = frozenset(("-C", "--git-dir", "--work-tree"))  # and those after which it is another repository
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=", re.ASCII)


def wish(words: list[str], word: str) -> Kind | None:
    """What `word` is, the last one so far of a command whose other words are `words`; None if it is nothing that we know."""
    at = _command(words)
    if at is None:
        return "path"
    if at == len(words):
        return "command"
    name, arguments = words[at].rpartition("/")[2], words[at + 1 :]
    if name in ("for", "select", "case"):
        return "path" if len(arguments) > 1 else None
    if name in _FOLDERS:
        return "directory"
    if name in _VARIABLES and not word.startswith("-"):
        return "variable"
    if name in _COMMANDS and not word.startswith("-"):
        return "command"
    return _git(arguments, word) if name == "git" else "path"


def _command(words: list[str]) -> int | None:
    """Where the command's name stands, len(words) if it comes next; None if the next word belongs to an option."""
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word in _RESERVED or _ASSIGNMENT.match(word):
            continue
        if word not in _RUNNERS:
            return at - 1
        own, skipped = _RUNNERS[word]
        while at < len(words) and words[at].startswith("-") and words[at] != "-":
            option = words[at]
            at += 1
            if option == "--":
                break
            if len(option) == 2 and option[1] in own:
                if at == len(words):
                    return None
                at += 1
        if at + skipped > len(words):
            return None
        at += skipped
        if at == len(words):
            return at
    return at


def _git(arguments: list[str], word: str) -> Kind:
    at = 0
    while at < len(arguments) and arguments[at].startswith("-"):
        if arguments[at].partition("=")[0] in _ELSEWHERE:
            return "path"
        at += 2 if arguments[at] in _GIT_WORDS else 1
    if at >= len(arguments) or word.startswith("-") or "--" in arguments:
        return "path"
    before = [argument for argument in arguments[at + 1 :] if not argument.startswith("-")]
    if arguments[at] in _REMOTES:
        return "branch" if before else "remote"
    return "branch" if arguments[at] in _BRANCHES else "path"
