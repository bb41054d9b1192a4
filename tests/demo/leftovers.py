"""What a lesson must not leave behind: threads, open files and sockets, children, files."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def nothing_is_left(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    """Fails if the block leaves a thread, an open descriptor, a child or a temporary file (which go into `folder` meanwhile)."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    threads, descriptors = threading.enumerate(), _descriptors()
    yield
    assert threading.enumerate() == threads
    assert _descriptors() == descriptors
    assert list(folder.iterdir()) == []
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def _descriptors() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the descriptor by which we list them
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
    return {each for each in found if "/proc/" not in each}
