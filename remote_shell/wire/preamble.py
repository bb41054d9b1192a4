"""The preamble: what `remote-shell pipe` writes ahead of the protocol's bytes, and how a client finds it behind noise.

A login shell on the other side may print (`~/.bashrc`, a banner) before it runs what ssh asked for. So nothing is taken for the protocol,
and nothing is sent, before this text was seen. It begins with a NUL, which no text has. Knows no stream. Neighbour: `handshake` comes next.
"""

from __future__ import annotations

PREAMBLE = b"\0remote-shell pipe 1\n"
NOISE_MAX = 64 * 1024  # bytes before it; more is no greeting but something that will never end


class Preamble:
    """Finds the preamble in a stream, however that is cut into reads."""

    __slots__ = ("_kept", "noise", "seen")

    def __init__(self) -> None:
        self.noise = b""  # what came before, as far as it is known to be no part of the preamble
        self.seen = False
        self._kept = b""  # the preamble may begin in here

    def feed(self, data: bytes) -> bytes:
        """Take what was read; returns what follows the preamble. Nothing more is wanted once `seen`, or with `too_noisy`."""
        text = self._kept + data
        before, found, after = text.partition(PREAMBLE)
        if found:
            self.noise += before
            self.seen, self._kept = True, b""
            return after
        kept = _overlap(text)
        self.noise += text[: len(text) - kept]
        self._kept = text[len(text) - kept :]
        return b""

    @property
    def too_noisy(self) -> bool:
        """So much came before that nothing of ours is to be expected."""
        return len(self.noise) > NOISE_MAX


def _overlap(text: bytes) -> int:
    """How many bytes at the end of `text` the preamble may begin with."""
    for size in range(min(len(text), len(PREAMBLE) - 1), 0, -1):
        if text.endswith(PREAMBLE[:size]):
            return size
    return 0
