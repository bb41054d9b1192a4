"""Each guard of docs/SECURITY.md taken out in turn, in a copy of the tree, and its test run there: red for each, or the test is none.

scripts/guards.toml has the guards. Before anything is taken out all of these tests have to pass in the copy.
"""

from __future__ import annotations

import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import _env

from torture_parts.figure import Figure, Settings, TortureError, at_most, none, show, told

LIST = os.path.join(_env.ROOT, "scripts", "guards.toml")
WORKERS = 2
LONGEST = 120.0  # seconds for one test; a guard whose lack makes it hang is one
BOUND = 900.0  # seconds for all
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv*", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "pictures"
)


@dataclass(frozen=True, slots=True)
class Guard:
    """`old` in `file` is the guard; `new` stands there without it, and makes `test` fail."""

    file: str
    old: str
    new: str
    test: str

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.file} ({self.test.partition('::')[2]})"

    def removed(self, text: str) -> str:
        """The file without it. Raises TortureError if the guard is not there exactly once."""
        if text.count(self.old) != 1:
            raise TortureError(
                f"{self.file} has the guard of {self.test} {text.count(self.old)} times; mend scripts/guards.toml"
            )
        return text.replace(self.old, self.new)


def load() -> list[Guard]:
    """Those of the list."""
    with open(LIST, "rb") as file:
        return [Guard(**entry) for entry in tomllib.load(file)["guard"]]


def run(settings: Settings) -> Iterator[Figure]:
    """All of them; --only takes those with its text in file or test, --count the first so many. Raises TortureError if none is left."""
    guards = chosen(load(), settings)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="guards-") as folder:
        os.chmod(folder, 0o755)  # noqa: S103 - some tests become another account
        trees = [Tree(os.path.join(folder, str(number))) for number in range(WORKERS)]
        show("guards: their tests, with all guards in place")
        status, said = trees[0].test(sorted({guard.test for guard in guards}), 600)
        yield Figure("their tests, with every guard in place", "pass", summary(said), status == 0)
        green, took = take_out(guards, trees)
    yield told("guards taken out, one at a time", f"{len(guards)}")
    yield none("guards whose test did not go red", len(green), f": {'; '.join(green)}" if green else "")
    yield told("the longest", f"{max(took.values()):.0f} s, {max(took, key=lambda name: took[name])}")
    yield at_most("seconds in all", BOUND, time.monotonic() - began, digits=0)


def chosen(guards: Sequence[Guard], settings: Settings) -> list[Guard]:
    """Those that the command line asks for. Raises TortureError for none."""
    found = [guard for guard in guards if settings.only in f"{guard.file} {guard.test}"]
    if not found:
        raise TortureError(f"no guard has {settings.only!a} in its file or its test; scripts/guards.toml has them all")
    return found[: settings.many(10_000, 6)]


def take_out(guards: Sequence[Guard], trees: Sequence[Tree]) -> tuple[list[str], dict[str, float]]:
    """One after the other, in as many trees as there are: those whose test passed all the same, and how long each took."""
    left: queue.SimpleQueue[Guard] = queue.SimpleQueue()
    for guard in guards:
        left.put(guard)
    green: list[str] = []
    took: dict[str, float] = {}
    errors: list[Exception] = []

    def work(tree: Tree) -> None:
        while not errors:
            try:
                guard = left.get_nowait()
            except queue.Empty:
                return
            show(f"guards: {len(took) + 1} of {len(guards)}, {guard.name}")
            began = time.monotonic()
            try:
                red, said = tree.without(guard)
            except Exception as error:
                errors.append(error)
                return
            took[guard.name] = time.monotonic() - began
            if not red:
                green.append(f"{guard.name}: {summary(said)}")

    threads = [threading.Thread(target=work, args=(tree,)) for tree in trees]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return green, took


class Tree:
    """A copy of the checkout."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        shutil.copytree(_env.ROOT, folder, symlinks=True, ignore=NOT_COPIED)

    def without(self, guard: Guard) -> tuple[bool, str]:
        """Whether the guard's test fails without it, and what pytest said."""
        path = os.path.join(self._folder, guard.file)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(guard.removed(text))
            status, said = self.test([guard.test], LONGEST)
        finally:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        # an error before the test has begun is no failure of the test: a guard that is taken out leaves a program that runs
        return status is None or (status == 1 and re.search(r"\d+ failed", said) is not None), said

    def test(self, names: Sequence[str], longest: float) -> tuple[int | None, str]:
        """pytest's exit status and words; no status if it came to no end."""
        argv = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "--no-header",
            "--tb=line",
            "-p",
            "no:cacheprovider",
            *names,
        ]
        # before the checkout itself, which .venv's path names
        environment = {**os.environ, "PYTHONPATH": self._folder}
        with subprocess.Popen(
            argv, cwd=self._folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        ) as process:  # fmt: skip
            try:
                said, _ = process.communicate(timeout=longest)
                return process.returncode, said
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                return None, process.communicate()[0] + f"\nno end within {longest:.0f} s"


def summary(said: str) -> str:
    """pytest's last line."""
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing was said"
