"""The two data types that ssh's key files, signatures and agent are made of: uint32 and string (RFC 4251 section 5).

Never reads past the end and never allocates for a length that is not there. Neighbours: `keys`, `private_keys`, `agent` and
`sshsig` read and write with it.
"""

from __future__ import annotations


class TruncatedError(ValueError):
    """The bytes end before the value does."""


def pack_u32(value: int) -> bytes:
    """`value`, 0 to 2^32-1, as four bytes, the highest first."""
    return value.to_bytes(4, "big")


def pack_string(data: bytes) -> bytes:
    """`data` behind its length."""
    return pack_u32(len(data)) + data


class Reader:
    """Takes values from the front of `data`. Every method raises TruncatedError if they are not there."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self._position + size
        if end > len(self._data):
            raise TruncatedError(f"{size} bytes wanted, {len(self._data) - self._position} left")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.u32())

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data) - self._position)
