"""Whose keys: what ~/.inputrc says, and what its absence does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.cli import inputrc
from remote_shell.cli.inputrc import editing_mode


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "emacs"),
        ("set editing-mode vi", "vi"),
        ("  SET Editing-Mode VI  ", "vi"),
        ("# set editing-mode vi", "emacs"),
        ("set editing-mode", "emacs"),
        ("set editing-mode vi\nset editing-mode joe", "vi"),
        ("set editing-mode vi\nset editing-mode emacs", "emacs"),
        ("set keymap vi", "emacs"),
        ("$if Bash\nset editing-mode vi\n$endif", "vi"),
        ("$if Python\nset editing-mode vi\n$endif", "emacs"),
        ("$if Python\n$else\nset editing-mode vi\n$endif", "vi"),
        ("$if term=xterm\nset editing-mode vi\n$endif", "vi"),
        ("$if term=linux\nset editing-mode vi\n$endif", "emacs"),
        ("$if mode=emacs\nset editing-mode vi\n$endif", "vi"),
        ("$if Python\n$if Bash\nset editing-mode vi\n$endif\n$endif", "emacs"),
        ("$if Python\n$endif\nset editing-mode vi", "vi"),
        ("$else\n$endif\nset editing-mode vi", "vi"),
        ("$if version >= 8.0\nset editing-mode vi\n$endif", "emacs"),
    ],
)
def test_what_the_file_says(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / ".inputrc").write_text(text)
    assert editing_mode({"HOME": str(tmp_path), "TERM": "xterm-256color"}) == expected


def test_which_file_and_what_goes_before_it(tmp_path: Path) -> None:
    (tmp_path / ".inputrc").write_text("set editing-mode vi")
    (tmp_path / "other").write_text("set editing-mode emacs\n$include ~/more\n")
    home = {"HOME": str(tmp_path)}
    assert editing_mode({**home, "INPUTRC": str(tmp_path / "other")}) == "emacs"
    (tmp_path / "more").write_text("set editing-mode vi")
    assert editing_mode({**home, "INPUTRC": str(tmp_path / "other")}) == "vi"
    assert editing_mode({**home, "EDITING_MODE": "emacs"}) == "emacs"
    assert editing_mode({**home, "EDITING_MODE": "joe"}) == "vi"


def test_without_an_own_file_the_system_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "system").write_text("set editing-mode vi")
    monkeypatch.setattr(inputrc, "_SYSTEM", str(tmp_path / "system"))
    assert editing_mode({"HOME": str(tmp_path)}) == "vi"
    (tmp_path / ".inputrc").touch()
    assert editing_mode({"HOME": str(tmp_path)}) == "emacs"


def test_what_can_not_be_read_says_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").write_text(f"$include {tmp_path}/circle\n")
    (tmp_path / "long").write_bytes(b"#" * inputrc.FILE_MAX + b"\nset editing-mode vi")
    for name in ("pipe", "circle", "long", "none", ".", "nul\0"):
        assert editing_mode({"INPUTRC": str(tmp_path / name), "HOME": "/"}) == "emacs"


@given(
    st.lists(st.sampled_from(["$if x", "$if bash", "$else", "$endif", "set editing-mode", "$include", "$if", "\xff"]))
)
def test_no_file_is_too_odd(lines: list[str]) -> None:
    assert inputrc._Reading({}).read("\n".join(lines), 0) == "emacs"
