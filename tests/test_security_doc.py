"""docs/SECURITY.md: every file that it names is there, and so is every test; each defence names both."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "SECURITY.md").read_text(encoding="utf-8")


def rows() -> list[list[str]]:
    """The table of attackers, without its head."""
    part = TEXT.partition("## Who attacks")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def missing(text: str) -> list[str]:
    """What `text` names in code marks, as a file or as file::test, that is not there."""
    names = re.findall(r"`((?:remote_shell|tests)/[^`]+)`", text)
    return [name for name in names if not _is_there(name)]


def _is_there(name: str) -> bool:
    path, _, test = name.partition("::")
    if not (ROOT / path).is_file():
        return False
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return not test or test in functions


def test_every_file_and_test_that_is_named_exists() -> None:
    assert missing(TEXT) == []


def test_every_defence_names_an_asset_its_code_and_its_test() -> None:
    assert len(rows()) > 20
    for attacker, assets, _, defence, code, tests in rows():
        assert attacker and defence, attacker
        assert all(re.fullmatch(r"A[1-6]", asset) for asset in assets.split()) and assets, defence
        assert re.fullmatch(r"(`remote_shell/[a-z_/]+\.py`(, )?)+", code), defence
        assert re.fullmatch(r"(`tests/[a-z_/]+\.py::test_[a-z0-9_]+`(, )?)+", tests), defence


def test_what_is_not_there_is_found() -> None:
    text = "`tests/test_security_doc.py::test_gone`, `remote_shell/gone.py`, `tests/test_security_doc.py::rows`"
    assert missing(text) == ["tests/test_security_doc.py::test_gone", "remote_shell/gone.py"]
