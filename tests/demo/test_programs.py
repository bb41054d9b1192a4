"""The programs that learners read: short, with nothing but the standard library, the same in both languages, and they run alone."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from remote_shell.demo.stage import PROGRAMS

NAMES = sorted(path.stem for path in PROGRAMS.glob("*.py") if path.stem != "__init__")
TWINS = [path for name in NAMES for path in (PROGRAMS / f"{name}.py", PROGRAMS / "zh" / f"{name}.py")]


def code(path: Path) -> str:
    """The program without its docstrings and comments."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def test_there_are_programs_and_a_twin_for_each() -> None:
    assert len(NAMES) >= 8
    assert sorted(path.stem for path in (PROGRAMS / "zh").glob("*.py") if path.stem != "__init__") == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_twins_are_the_same_program(name: str) -> None:
    assert code(PROGRAMS / f"{name}.py") == code(PROGRAMS / "zh" / f"{name}.py")


@pytest.mark.parametrize("path", TWINS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_program_is_for_a_beginner(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 80
    assert path.stem not in sys.stdlib_module_names  # run as a script its folder comes first on sys.path
    assert any("一" <= char <= "鿿" for char in text) == (path.parent.name == "zh")
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert all(name.split(".")[0] in sys.stdlib_module_names | set(NAMES) for name in names)


@pytest.mark.screen
@pytest.mark.parametrize("path", TWINS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_program_runs_alone(path: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=18,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()
    assert not list(tmp_path.iterdir())
