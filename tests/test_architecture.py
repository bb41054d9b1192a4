"""Who may import whom, read from the source with ast: the arrows between packages go one way.

`violations` is a plain function over a mapping of module names to source, so that each rule is shown to bite on planted
modules, and then that the project keeps them all.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = "remote_shell"
LOWEST = {"errors", "limits"}

# part of ours -> the parts that it may import; a part that is not named here has no rule yet, and that fails
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "limits": set(),
    "link": LOWEST,
    "wire": LOWEST,
    "process": LOWEST,
    "files": LOWEST,
    "transfer": LOWEST | {"files", "wire"},
    "terminal": LOWEST,
    "config": LOWEST,
    "identity": LOWEST | {"config"},
    "audit": LOWEST,
    "jobs": LOWEST | {"process", "audit"},
    "aio": LOWEST | {"wire", "link"},
    "blocking": LOWEST | {"wire", "link"},
    "server": LOWEST
    | {"aio", "link", "process", "jobs", "files", "wire", "identity", "config"}
    | {"terminal", "transfer", "audit"},
    "client": LOWEST | {"aio", "blocking", "link", "files", "transfer", "wire", "identity", "config", "terminal"},
    "testing": LOWEST | {"server", "client", "config", "identity", "jobs"},
    "demo.programs": set(),
}
# these may import all of ours but `testing`, and are imported by `cli` and `__main__` alone
ABOVE_ALL = {"ssh", "cli", "demo", "demo.lessons", "__main__"}
IMPORT_THOSE_ABOVE = {"cli", "__main__"}

# part -> packages from elsewhere that it may import; a part that is not named may import any that pyproject.toml names
FROM_ELSEWHERE: dict[str, set[str]] = {
    **{
        part: set()
        for part in ("errors", "limits", "link", "process", "files", "audit", "jobs", "terminal", "demo.programs")
    },
    "wire": {"pydantic", "pydantic_core"},  # one project; the errors are in the second
    "aio": set(),
    "blocking": set(),
}
# module or part -> what it must not import though others may; the wire knows neither time, nor chance, nor the system
FORBIDDEN: dict[str, set[str]] = {
    "wire": {
        *("asyncio", "socket", "ssl", "os", "time", "threading", "subprocess", "random", "secrets", "logging"),
        *("cryptography", "select", "selectors", "signal", "datetime", "pathlib", "tempfile", "uuid"),
        *("multiprocessing", "concurrent"),
    },
    "blocking": {"asyncio"},
    "jobs.keeper": {"asyncio", "ssl", "pydantic"},
}


def violations(modules: dict[str, str]) -> list[str]:
    """The broken rules of a set of modules, as texts. `modules` maps dotted names below ours to source."""
    return [text for name, source in sorted(modules.items()) for text in check(name, ast.parse(source))]


def check(name: str, tree: ast.Module) -> Iterator[str]:
    """The broken rules of one module, named below ours: "wire.frames", "wire.__init__", and "" for our own `__init__`."""
    part = part_of(name)
    if ast.get_docstring(tree) is None:
        yield f"{name}: no docstring"
    if uses_type_checking(tree):
        yield f"{name}: TYPE_CHECKING means that an arrow points the wrong way"
    if part not in {*MAY_IMPORT, *ABOVE_ALL, ""}:
        yield f"{name}: no rule says what {part} may import; add it to the table"
        return
    # our `__init__` is lazy: at its top it may name the lowest parts only, inside functions anything
    for imported in imports(name, tree, inside_functions=name != ""):
        if imported.partition(".")[0] == OURS:
            yield from check_ours(name, part, imported.partition(".")[2])
        else:
            yield from check_elsewhere(name, part, imported)


def check_ours(name: str, part: str, imported: str) -> Iterator[str]:
    target = part_of(imported)
    if target in (part, "") and imported != "testing":
        return
    if target == "testing":
        yield f"{name}: imports testing, which is for tests"
    elif target in ABOVE_ALL:
        if part not in IMPORT_THOSE_ABOVE and not (part == "demo" or part.startswith("demo.l")):
            yield f"{name}: imports {imported}, which only cli may"
    elif part not in ABOVE_ALL and target not in MAY_IMPORT.get(part, LOWEST) and not target.startswith("__"):
        yield f"{name}: imports {imported}, but {part or 'our __init__'} must not import {target}"


def check_elsewhere(name: str, part: str, imported: str) -> Iterator[str]:
    top = imported.partition(".")[0]
    for rule in {part, name}:
        if top in FORBIDDEN.get(rule, ()):
            yield f"{name}: imports {top}, which {rule} must not"
            return
    if top not in sys.stdlib_module_names and part in FROM_ELSEWHERE and top not in FROM_ELSEWHERE[part]:
        yield f"{name}: imports {top}, which is not in the standard library"


def uses_type_checking(tree: ast.AST) -> bool:
    return any(
        "TYPE_CHECKING" in (getattr(node, "id", ""), getattr(node, "attr", ""), getattr(node, "name", ""))
        for node in ast.walk(tree)
    )


def part_of(name: str) -> str:
    """The part that a dotted name belongs to: its first word, or two words below `demo`."""
    words = name.split(".")
    return ".".join(words[:2]) if words[0] == "demo" and words[1:2] in (["programs"], ["lessons"]) else words[0]


def imports(name: str, tree: ast.AST, *, inside_functions: bool = True) -> Iterator[str]:
    """The absolute dotted names that a module imports. `from a import b` gives "a.b": b may be a module."""
    package = [OURS, *name.split(".")] if name else [OURS]
    for node in walk(tree, inside_functions):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [node.module] if node.module else []
            if node.level:
                base = [*package[: len(package) - node.level], *base]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def walk(tree: ast.AST, inside_functions: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if inside_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from walk(node, inside_functions)


def modules_of_ours() -> dict[str, str]:
    """Every module below remote_shell/; a package's `__init__` goes by "package.__init__", so that relative imports resolve."""
    found = {}
    for path in sorted((ROOT / OURS).rglob("*.py")):
        words = path.relative_to(ROOT / OURS).with_suffix("").parts
        found["" if words == ("__init__",) else ".".join(words)] = path.read_text(encoding="utf-8")
    return found


def test_the_project_keeps_the_rules() -> None:
    modules = modules_of_ours()
    assert "errors" in modules and "" in modules
    assert violations(modules) == []


@pytest.mark.parametrize(
    ("module", "line", "word"),
    [
        ("errors", "from remote_shell import limits", "errors must not import limits"),
        ("limits", "import pydantic", "not in the standard library"),
        ("wire.frames", "import asyncio", "which wire must not"),
        ("wire.frames", "from os.path import join", "which wire must not"),
        ("wire.frames", "import cryptography.hazmat", "which wire must not"),
        ("wire.frames", "import rich", "not in the standard library"),
        ("wire.frames", "def f():\n    import time", "which wire must not"),
        ("wire.__init__", "from ..process import base", "wire must not import process"),
        ("wire.frames", "from .. import server", "wire must not import server"),
        ("wire.frames", "from remote_shell.aio.pump import Pump", "wire must not import aio"),
        ("process.pipes", "from remote_shell.wire import frames", "process must not import wire"),
        ("jobs.log", "from remote_shell.server import sessions", "jobs must not import server"),
        ("jobs.keeper", "import ssl", "which jobs.keeper must not"),
        ("config.hosts", "from remote_shell.identity import keys", "config must not import identity"),
        ("identity.keys", "from remote_shell.wire import handshake", "identity must not import wire"),
        ("link", "from remote_shell.wire import frames", "link must not import wire"),
        ("aio.pump", "from ..client import common", "aio must not import client"),
        ("blocking.pump", "import asyncio", "which blocking must not"),
        ("server.auth", "import remote_shell.client.common", "server must not import client"),
        ("client.common", "from remote_shell.process.base import Child", "client must not import process"),
        ("client.common", "from remote_shell.cli import main", "which only cli may"),
        ("terminal.modes", "from remote_shell.client import common", "terminal must not import client"),
        ("ssh.mux", "from remote_shell.cli import main", "which only cli may"),
        ("demo.lessons.sticky", "from remote_shell.testing import server", "which is for tests"),
        ("cli.main", "from remote_shell import testing", "which is for tests"),
        ("demo.programs.echo", "from remote_shell import errors", "demo.programs must not import errors"),
        ("demo.programs.echo", "import rich", "not in the standard library"),
        ("server.auth", "from remote_shell import connect", "server must not import connect"),
        ("", "from remote_shell.client import common", "our __init__ must not import client"),
        ("cli.main", "from typing import TYPE_CHECKING", "arrow points the wrong way"),
        ("cli.main", "import typing\nif typing.TYPE_CHECKING:\n    pass", "arrow points the wrong way"),
        ("stray.thing", "import os", "no rule says"),
    ],
)
def test_a_broken_rule_is_found(module: str, line: str, word: str) -> None:
    found = violations({module: f'"""Planted."""\n{line}\n'})
    assert len(found) == 1 and word in found[0], found


@pytest.mark.parametrize(
    ("module", "line"),
    [
        (
            "wire.session",
            "import enum\nfrom pydantic import BaseModel\nfrom remote_shell.errors import ProtocolError\nfrom .frames import x",
        ),
        ("wire.__init__", "from .frames import Frame"),
        (
            "server.requests.run",
            "from remote_shell.process.pipes import start\nfrom .. import sessions\nimport asyncio",
        ),
        (
            "client.async_",
            "from remote_shell.aio import pump\nfrom remote_shell.link import Link\nfrom remote_shell import errors",
        ),
        ("cli.commands.ssh", "from remote_shell.ssh.options import parse\nfrom remote_shell.client import common"),
        ("cli.commands.demo", "from remote_shell.demo.lessons import sticky\nfrom remote_shell.server import server"),
        ("demo.lessons.sticky", "from remote_shell.demo.programs import echo\nfrom remote_shell.client import common"),
        ("__main__", "from remote_shell.cli.main import main"),
        ("", "def __getattr__(name):\n    from remote_shell.client import common"),
        ("cli.commands.run", "from remote_shell import __version__, connect"),
        ("aio.driver", "from remote_shell import __version__"),
        ("testing", "from remote_shell.server import server"),
    ],
)
def test_what_the_rules_allow(module: str, line: str) -> None:
    assert violations({module: f'"""Planted."""\n{line}\n'}) == []


def test_a_module_without_a_docstring_is_found() -> None:
    assert violations({"errors": "import os\n"}) == ["errors: no docstring"]


def test_the_set_up_scripts_need_the_standard_library_only() -> None:
    for script in ("_env.py", "run.py", "test.py"):
        tree = ast.parse((ROOT / "scripts" / script).read_text(encoding="utf-8"))
        tops = {name.partition(".")[0] for name in imports("", tree)}
        assert tops <= {*sys.stdlib_module_names, "_env"}, script


def test_nothing_is_imported_under_type_checking_in_scripts_and_tests() -> None:
    for path in [*(ROOT / "scripts").glob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        if "TYPE_CHECKING" in text:  # parsing all of them takes a second
            assert not uses_type_checking(ast.parse(text)), path
