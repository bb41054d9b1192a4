"""Running a function as an account without rights: root passes every permission check, so as root it proves nothing.

A fork and not a new interpreter under setpriv: the one that runs the tests may lie in root's home, where nobody can start it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

NOBODY = 65534


def as_nobody(function: Callable[[], object]) -> str:
    """What `function` returned, as its repr, or "Error: text" for what it raised. It must not be the first to import a module."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            try:
                answer = repr(function())
            except BaseException as error:
                answer = f"{type(error).__name__}: {error}"
            os.write(writing, answer.encode("utf-8", "replace")[:60_000])
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        answer = file.read().decode("utf-8")
    os.waitpid(child, 0)
    return answer


@contextmanager
def nobodys_folder() -> Iterator[str]:
    """A new folder, mode 0700, of the account that `as_nobody` takes; pytest's own lie below a folder of root."""
    folder = tempfile.mkdtemp(prefix="remote-shell-test-")
    try:
        if os.getuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def give(path: str, mode: int) -> str:
    """Hand a file or folder to that account, with `mode`, and return its path."""
    os.chmod(path, mode)
    if os.getuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    return path
