"""scripts/guards.toml: a guard for each row of docs/SECURITY.md, where the code has it. `scripts/torture guards` takes each out."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from torture_parts.figure import Settings, TortureError
from torture_parts.guards import Guard, Tree, chosen, load, take_out

from .test_security_doc import ROOT, missing, rows

pytestmark = pytest.mark.screen  # as a file it takes long

GUARDS = load()


def test_each_row_of_the_table_has_a_guard_that_can_be_taken_out() -> None:
    tested = {guard.test for guard in GUARDS}
    without = [row[3] for row in rows() if not tested & set(re.findall(r"`(tests/[^`]+)`", row[5]))]
    assert not without, "add them to scripts/guards.toml, which says how"


@pytest.mark.parametrize("guard", GUARDS, ids=[guard.name for guard in GUARDS])
def test_a_guard_is_there_once_and_what_is_left_without_it_is_python(guard: Guard) -> None:
    text = (ROOT / guard.file).read_text(encoding="utf-8")
    ast.parse(guard.removed(text))
    assert guard.removed(text) != text


def test_each_guard_names_a_test_and_none_is_there_twice() -> None:
    assert missing(" ".join(f"`{guard.test}`" for guard in GUARDS)) == []
    assert len({(guard.file, guard.old) for guard in GUARDS}) == len(GUARDS)


def test_a_guard_that_is_not_there_is_told() -> None:
    with pytest.raises(
        TortureError, match=r"x\.py has the guard of tests/t\.py::test_a 2 times; mend scripts/guards\.toml"
    ):
        Guard("x.py", "a", "b", "tests/t.py::test_a").removed("a a")


def test_those_that_are_asked_for() -> None:
    guards = [Guard("wire/a.py", "x", "y", "t.py::test_key"), Guard("b.py", "x", "y", "t.py::test_wire")]
    assert chosen(guards, Settings()) == guards
    assert chosen(guards, Settings(only="wire/")) == guards[:1]
    assert chosen(guards, Settings(only="wire", count=1)) == guards[:1]
    assert chosen(guards, Settings(only="test_wire")) == guards[1:]
    with pytest.raises(TortureError, match="no guard has 'none' in its file or its test"):
        chosen(guards, Settings(only="none"))


class Copy(Tree):
    """A tree in which a test is red without the guard if its name says so."""

    def __init__(self) -> None:
        self.tested: list[str] = []

    def without(self, guard: Guard) -> tuple[bool, str]:
        self.tested.append(guard.test)
        return guard.test != "green", "1 passed"


def test_a_test_that_stays_green_is_told() -> None:
    copies = [Copy(), Copy()]
    green, took = take_out([Guard("a.py", "x", "y", name) for name in ("red", "green", "other")], copies)
    assert green == ["a.py (): 1 passed"] and len(took) == 1
    assert sorted(copies[0].tested + copies[1].tested) == ["green", "other", "red"]


PROGRAM = "def may(who: str) -> bool:\n    return who == 'me'\n"
TEST = """
from program import may

def test_others() -> None:
    assert not may("you")

def test_me() -> None:
    assert may("me")
"""


@pytest.mark.parametrize(
    ("new", "name", "red"),
    [
        ("who == 'me'  #", "test_others", False),
        ("bool(who)", "test_others", True),
        ("who.no", "test_others", True),
        ("who(", "test_me", False),
    ],
)
def test_red_is_a_test_that_fails_and_no_broken_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: str, name: str, red: bool
) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "program.py").write_text(PROGRAM)
    (checkout / "test_program.py").write_text(TEST)
    monkeypatch.setattr("_env.ROOT", str(checkout))
    tree = Tree(str(tmp_path / "copy"))
    found, said = tree.without(Guard("program.py", "who == 'me'", new, f"test_program.py::{name}"))
    assert found is red, said
    assert (tmp_path / "copy" / "program.py").read_text() == PROGRAM
