"""A command's stdin by a name: nothing but a pipe of our own is ever written to."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.process.shell_command import ShellCommand

pytestmark = pytest.mark.screen  # as a file it takes long


def ignore(count: int) -> None:
    """Credit is nobody's here."""


async def test_what_is_there_already_is_refused(tmp_path: Path) -> None:
    (tmp_path / "7").write_text("kept")
    with pytest.raises(FileExistsError):
        ShellCommand(7, b"", None).open_named_stdin(str(tmp_path), asyncio.get_running_loop(), ignore, DEFAULT_LIMITS)
    assert (tmp_path / "7").read_text() == "kept"


@pytest.mark.parametrize("other", ["file", "pipe"])
async def test_what_another_put_in_its_place_is_refused(
    other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link to a file of the account, or to a pipe that nobody reads, which must not hold the server up."""
    target = tmp_path / other
    if other == "file":
        target.write_text("kept")
    else:
        os.mkfifo(target)
    open_it = os.open

    def replace(path: str | bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        descriptor = open_it(path, flags, mode, dir_fd=dir_fd)
        if path == os.fsencode(tmp_path / "7") and not flags & os.O_WRONLY:
            os.unlink(path)
            os.symlink(target, path)
        return descriptor

    monkeypatch.setattr(os, "open", replace)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError):
        ShellCommand(7, b"", None).open_named_stdin(str(tmp_path), asyncio.get_running_loop(), ignore, DEFAULT_LIMITS)
    assert len(os.listdir("/proc/self/fd")) == before
    if other == "file":
        assert target.read_text() == "kept"
