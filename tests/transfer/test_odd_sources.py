"""Sources whose size says nothing, and those that would take each other's place."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from remote_shell.limits import DEFAULT_LIMITS
from tests.transfer.joined import SMALL, Joined

KERNELS = Path("/proc/self/smaps")  # of a process of Python, about 100 kB


def test_a_file_that_has_content_and_no_size(tmp_path: Path) -> None:
    """The kernel's: a read gives a page of it at most, and only the last one gives nothing."""
    content = KERNELS.read_bytes()
    assert KERNELS.stat().st_size == 0 and len(content) > 8192, "else it shows nothing"
    limits = replace(DEFAULT_LIMITS, files_resume_min=1 << 24)
    joined = Joined([KERNELS], tmp_path / "y", limits=limits).run()
    assert joined.faults == [] and (tmp_path / "y").stat().st_size > 0.9 * len(content)  # it moves a little


def test_more_of_it_than_is_held_is_a_fault_by_name(tmp_path: Path) -> None:
    joined = Joined([KERNELS], tmp_path / "y", limits=replace(DEFAULT_LIMITS, files_resume_min=3000)).run()
    (fault,) = joined.sender_faults
    assert fault.number == errno.EFBIG and "said to be empty" in fault.detail and "run TARGET cat" in fault.detail
    assert not (tmp_path / "y").exists(), "a part of it is no copy"


def test_a_file_that_is_said_to_have_more_than_it_has(tmp_path: Path) -> None:
    """Below /sys each file is a page long, has no blocks and no holes."""
    source = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not source.exists():
        source = Path("/sys/kernel/uevent_seqnum")
    assert source.stat().st_size > len(source.read_bytes())
    joined = Joined([source], tmp_path / "y", limits=DEFAULT_LIMITS).run()
    assert joined.faults == [] and (tmp_path / "y").read_bytes() == source.read_bytes()


def test_two_sources_of_one_name(tmp_path: Path) -> None:
    """cp: "will not overwrite just-created". Nothing is copied, since one of the two would be lost."""
    for name in ("a/x", "b/x"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "to").mkdir()
    with pytest.raises(OSError, match="two of the sources are called 'x'") as caught:
        Joined([tmp_path / "a" / "x", tmp_path / "b" / "x"], tmp_path / "to", limits=SMALL)
    assert caught.value.errno == errno.EEXIST and os.listdir(tmp_path / "to") == []
    both = Joined([f"{tmp_path}/a/.", f"{tmp_path}/b/."], tmp_path / "to", limits=SMALL)  # no names: contents
    both.sender.close()
    both.receiver.close()
