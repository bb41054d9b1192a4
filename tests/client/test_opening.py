"""Arguments as subprocess takes them, as a message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from remote_shell import DEVNULL, PIPE, STDOUT
from remote_shell.client import opening
from remote_shell.client.conversation import Conversation
from remote_shell.client.process import Mode
from remote_shell.client.redirect import check_run, resolve
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.wire.messages import Boxed, Open, Terminal, from_system


def prepare(args: Any, **options: Any) -> Open:
    fields: dict[str, Any] = {
        **dict.fromkeys(("cwd", "env", "env_add", "timeout", "command_id")),
        "shell": False,
        "written": False,
    }
    redirect = resolve(DEVNULL, PIPE, PIPE, Mode.KEEP)
    conversation = Conversation("x", DEFAULT_LIMITS)
    return opening.prepare(args, redirect, conversation, [["TERM", "t"]], **(fields | options))[1]


def test_strings() -> None:
    assert opening.system_string("plain") == "plain" and opening.system_string(Path("/a b")) == "/a b"
    assert opening.system_string("é") == "é"
    for text in (b"\xff", "\udcff"):
        boxed = opening.system_string(text)
        assert isinstance(boxed, Boxed) and from_system(boxed) == b"\xff"
    for bad in ("a\0", b"a\0", "é\0"):
        with pytest.raises(ValueError, match="null byte"):
            opening.system_string(bad)
    with pytest.raises(TypeError):
        opening.system_string(1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("args", "shell", "argv", "line"),
    [
        ("a b", False, ["a b"], None),
        (["a", Path("b")], False, ["a", "b"], None),
        ("a b", True, ["/bin/sh", "-c", "a b"], None),
        (["a $0", "b"], True, ["/bin/sh", "-c", "a $0", "b"], None),
        ("a b", "account", None, "a b"),
    ],
)
def test_argv(args: Any, shell: Any, argv: Any, line: Any) -> None:
    message = prepare(args, shell=shell)
    assert (message.argv, message.line) == (argv, line)


def test_what_is_no_command() -> None:
    with pytest.raises(IndexError, match="empty"):
        prepare([])
    with pytest.raises(ValueError, match="one line"):
        prepare(["a", "b"], shell="account")


def test_environments() -> None:
    assert prepare("x").env_offer == [["TERM", "t"]]
    exact = prepare("x", env={"A": "1"})
    assert exact.env == [["A", "1"]] and exact.env_offer is None, "exactly"
    assert prepare("x", env={}).env == []
    added = prepare("x", env_add={b"B": b"2"})
    assert added.env is None and added.env_add == [["B", "2"]] and added.env_offer
    for bad in ({"A=": "1"}, {"": "1"}):
        with pytest.raises(ValueError, match="illegal"):
            prepare("x", env=bad)


def test_what_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TERM", "LANG", "LC_ALL", "COLORTERM", "TZ", "LC_TIME"):
        monkeypatch.setenv(name, f"{name}-value")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    offered: list[Any] = opening.offered_environment() or []
    pairs = dict(offered)
    assert pairs["LC_TIME"] == "LC_TIME-value" and {"TERM", "LANG", "COLORTERM", "TZ"} <= set(pairs)
    assert not {"SECRET_TOKEN", "PATH", "HOME"} & set(pairs)


def test_timeouts() -> None:
    milliseconds = [opening.milliseconds(value) for value in (None, 0, -1, 0.0001, 1.5, float("inf"), 1e300)]
    assert milliseconds == [None, 1, 1, 1, 1500, None, None]


@pytest.mark.parametrize("size", [24.0, "24", None])
def test_a_size_that_is_no_whole_number_stays_here(size: Any) -> None:
    for pty in (opening.Pty(rows=size), opening.Pty(columns=size)):
        with pytest.raises(TypeError, match="integer"):
            opening.terminal_of(pty)
    assert opening.terminal_of(opening.Pty(True, True)) == Terminal(term="xterm-256color", rows=1, columns=1)


def test_ids_are_never_used_twice() -> None:
    first, second = Conversation("x", DEFAULT_LIMITS), Conversation("x", DEFAULT_LIMITS)
    ids = [conversation.new_id() for conversation in (first, second) for _ in range(1000)]
    assert len(set(ids)) == 2000 and all(len(ident) <= 64 for ident in ids)


def test_redirections() -> None:
    redirect = resolve(PIPE, None, STDOUT, Mode.KEEP)
    assert redirect.stdin_pipe and redirect.stdout == 1 and redirect.merge and redirect.stderr == -1
    assert resolve(DEVNULL, PIPE, DEVNULL, Mode.HOLD)[:4] == (False, -1, Mode.HOLD, -1)
    assert resolve(7, 8, 9, Mode.KEEP)[1::2] == (7, 8, 9)
    for stdin, stdout in ((None, STDOUT), (STDOUT, None)):
        with pytest.raises(ValueError, match="STDOUT"):
            resolve(stdin, stdout, None, Mode.KEEP)
    with pytest.raises(OSError, match="Bad file descriptor"):
        resolve(-7, None, None, Mode.KEEP)
    assert resolve(None, 7, 7, Mode.KEEP)[2:] == (Mode.HOLD, 7, Mode.DROP, -1, True), (
        "one file for both: merged over there"
    )
    with pytest.raises(AttributeError):
        resolve("x", None, None, Mode.KEEP)
    with pytest.raises(ValueError, match="capture_output"):
        check_run(None, None, PIPE, None, True)
    with pytest.raises(ValueError, match="both"):
        check_run(PIPE, b"", None, None, False)
