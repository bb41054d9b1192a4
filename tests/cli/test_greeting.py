"""The lines before the first prompt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from remote_shell.cli.greeting import ALL_OF_IT, greeting, visits
from remote_shell.cli.nameplate import Nameplate


def lines(kind: str = "tls", key: tuple[str, str] | None = ("SHA256:abc", "new"), **more: object) -> list[str]:
    given = {"plate": Nameplate("box"), "trial": False, "visits": 0} | more
    return greeting(account="ann", kind=kind, key=key, grace=60.0, **given)  # type: ignore[arg-type]


def test_the_first_time() -> None:
    text = "\n".join(shown := lines())
    assert len(shown) == 6
    for word in ("box", "ann", "SHA256:abc", "new, and remembered", "TLS 1.3", "60 s", "? for help", "Ctrl-D leaves"):
        assert word in text


@pytest.mark.parametrize(("how", "word"), [("known", "known here"), ("pinned", "asked for"), ("new", "new")])
def test_how_the_key_is_known(how: str, word: str) -> None:
    assert any(word in line for line in lines(key=("SHA256:abc", how)))


def test_what_is_not_encrypted_is_said_loudly() -> None:
    assert any("NOT encrypted" in line for line in lines("tcp", None))
    assert "NOT encrypted" in lines("tcp", None, visits=9)[0]


def test_through_ssh_it_is_ssh_that_encrypts() -> None:
    assert any("Through ssh, which encrypts" in line for line in lines("ssh", None))
    assert "through ssh." in lines("ssh", None, visits=9)[0]


def test_a_server_of_ones_own() -> None:
    shown = lines("unix", None, trial=True)
    assert any("for you alone" in line for line in shown) and not any("60 s" in line for line in shown)


def test_after_three_visits_one_line() -> None:
    assert len(lines(visits=ALL_OF_IT - 1)) > 1
    assert lines(visits=ALL_OF_IT) == ["ann on box, TLS 1.3. ? for help, Ctrl-D leaves."]


def test_a_production_host_says_so_each_time() -> None:
    plate = Nameplate("box", label="EU", production=True)
    for count in (0, ALL_OF_IT):
        shown = lines(plate=plate, visits=count)
        assert "This is a PRODUCTION host: several pasted lines, and :bg, ask first." in shown
        assert any("[EU] box" in line for line in shown) and len(shown) <= 7


def test_nothing_in_a_name_moves_the_cursor() -> None:
    shown = greeting(Nameplate("bo\x1b[2Jx"), "an\rn", "unix", None, 60.0, trial=False, visits=0)
    assert "\x1b" not in "".join(shown) and "\r" not in "".join(shown)


def test_visits_are_counted(tmp_path: Path) -> None:
    path = str(tmp_path / "visits")
    assert [visits(path) for _ in range(7)] == [0, 1, 2, 3, 4, 4, 4]
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_count_that_can_not_be_had_is_none(tmp_path: Path) -> None:
    (tmp_path / "odd").write_text("-1 or so")
    os.symlink("odd", tmp_path / "link")
    os.mkfifo(tmp_path / "fifo")
    for name in ("odd", "link", "fifo", ".", "no/such"):
        assert visits(str(tmp_path / name)) == 0
