"""The package's own names: imported on first use, and typed for those who check their programs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import assert_type

import pytest

import remote_shell
from remote_shell.client.blocking import Host
from remote_shell.client.results import CompletedProcess

STUB = Path(remote_shell.__file__).with_suffix(".pyi")


def stub_names() -> set[str]:
    names = set()
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names - {"*"}


def test_type_checkers_see_what_there_is() -> None:
    there = {*vars(remote_shell)["_WHERE"], "PIPE", "STDOUT", "DEVNULL", "__version__"}
    assert stub_names() == there
    for name in there:
        assert getattr(remote_shell, name) is not None


def test_errors_are_names_of_the_package() -> None:
    assert issubclass(remote_shell.ConnectionLostError, remote_shell.RemoteShellError)
    with pytest.raises(AttributeError, match="no attribute 'NoSuchError'"):
        getattr(remote_shell, "NoSuchError")  # noqa: B009 - a type checker knows that it is not there
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(remote_shell, "nothing")  # noqa: B009


def as_a_user_would(host: Host) -> None:
    """Never called: mypy reads it."""
    assert_type(remote_shell.connect("build-box"), Host)
    assert_type(host.run(["true"]), CompletedProcess)


def test_it_imports_nothing_of_ours_until_asked() -> None:
    code = "import sys, remote_shell; print(sorted(m for m in sys.modules if m.startswith('remote_shell')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=10)
    assert done.stdout == "['remote_shell']\n"
