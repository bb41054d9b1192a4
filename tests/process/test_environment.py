from __future__ import annotations

import os
import pwd

import pytest

from remote_shell.process.environment import allowed_from_client, base_environment, is_allowed_from_client

ACCOUNT = pwd.struct_passwd(("ada", "x", 1000, 1000, "", "/home/ada", "/bin/zsh"))


def test_it_comes_from_account_and_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "of the server")
    monkeypatch.setenv("HOME", "/of/the/server")
    assert base_environment(ACCOUNT, "/bin:/usr/bin") == {
        b"HOME": b"/home/ada",
        b"USER": b"ada",
        b"LOGNAME": b"ada",
        b"SHELL": b"/bin/zsh",
        b"PATH": b"/bin:/usr/bin",
    }


def test_a_client_adds_what_the_list_allows() -> None:
    sent = {
        b"TERM": b"xterm",
        b"LANG": b"de_DE.UTF-8",
        b"LC_TIME": b"C",
        b"COLORTERM": b"truecolor",
        b"TZ": b"Europe/Berlin",
    }
    assert allowed_from_client(sent) == sent


@pytest.mark.parametrize(
    "name", [b"PATH", b"HOME", b"LD_PRELOAD", b"BASH_ENV", b"LANGUAGE", b"TERMINFO", b"lc_all", b""]
)
def test_everything_else_is_dropped(name: bytes) -> None:
    assert not is_allowed_from_client(name)
    assert not allowed_from_client({name: b"evil"})


def test_no_name_can_smuggle_a_second_variable() -> None:
    assert not allowed_from_client({b"LC_X=1": b""})


def test_an_account_without_a_shell_has_sh() -> None:
    account = pwd.struct_passwd(("ada", "x", 1000, 1000, "", "/home/ada", ""))
    assert base_environment(account, "/bin")[b"SHELL"] == b"/bin/sh"


def test_names_that_are_not_utf_8_pass_unharmed() -> None:
    account = pwd.struct_passwd(("ada", "x", 1000, 1000, "", os.fsdecode(b"/home/\xff"), "/bin/sh"))
    assert base_environment(account, "/bin")[b"HOME"] == b"/home/\xff"
