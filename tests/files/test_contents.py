"""Contents: the hash is that of sha256sum, holes and all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from remote_shell.files.contents import CHUNK, Digest, is_sparse, next_data

MIB = 1 << 20


def sparse_file(path: Path) -> bytes:
    """A file with holes in front, between and behind; its content as it reads."""
    with open(path, "wb") as file:
        for offset, data in ((2 * MIB, b"a" * 70_000), (5 * MIB, b"b" * 4096)):
            file.seek(offset)
            file.write(data)
        file.truncate(8 * MIB)
    return path.read_bytes()


def test_a_file_with_holes(tmp_path: Path) -> None:
    content = sparse_file(tmp_path / "x")
    fd = os.open(tmp_path / "x", os.O_RDONLY)
    try:
        assert is_sparse(os.fstat(fd))
        assert next_data(fd, 0, 8 * MIB) == 2 * MIB and next_data(fd, 6 * MIB, 8 * MIB) == 8 * MIB
        for until in (8 * MIB, 3 * MIB, 1, 10 * MIB):
            digest = Digest()
            digest.file(fd, until, True)
            assert digest.hex() == hashlib.sha256(content[:until]).hexdigest()
            assert digest.position == min(until, 8 * MIB)
    finally:
        os.close(fd)


@pytest.mark.parametrize("until", [1, CHUNK - 1, CHUNK, 3 * CHUNK + 5])
def test_zeros(until: int) -> None:
    digest = Digest()
    digest.zeros(until)
    assert digest.hex() == hashlib.sha256(bytes(until)).hexdigest()


def test_a_hole_without_end_can_be_left() -> None:
    """Else one `seek` of a client would keep a thread for years."""
    looks = iter(range(1000))
    with pytest.raises(InterruptedError):
        Digest(lambda: next(looks) > 2).zeros(2**53)


def test_a_pipe_has_no_holes() -> None:
    read, write = os.pipe()
    assert next_data(read, 3, 10) == 3
    os.close(read)
    os.close(write)
