"""Reading a pty in tests: the kernel hands over what was written in parts of its own choice, and a little later."""

from __future__ import annotations

import os
import select
import time

DEADLINE = 15.0  # seconds, reached only by a test that fails
_END = b"\x05the end\x05"
_write = os.write  # tests replace os.write


def exactly(fd: int, count: int) -> bytes:
    """The next `count` bytes."""
    data = b""
    until = time.monotonic() + DEADLINE
    while len(data) < count:
        assert select.select([fd], [], [], max(0.0, until - time.monotonic()))[0], f"only {data!r} came"
        data += os.read(fd, count - len(data))
    return data


def written(master: int, slave: int) -> bytes:
    """All that was written to the slave up to now, and not read yet."""
    _write(slave, _END)
    data = b""
    while not data.endswith(_END):
        data += exactly(master, 1)
    return data.removesuffix(_END)
