"""The C library, for the few system calls that the standard library does not have. Neighbours: `reads`, `starter`."""

from __future__ import annotations

import ctypes
import os
from functools import cache


@cache
def libc() -> ctypes.CDLL:
    """All that this process has loaded, the C library among it."""
    return ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> int:
    """What a function returned; OSError by errno if it failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
