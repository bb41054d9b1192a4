"""How deep JSON nests, seen before it is read: no reader of ours ever recurses further than it should.

Nearly all messages have fewer brackets than the bound, which two counts show. Of the others the strings are taken out, and the brackets
counted up and down, by loops in C: the worst mebibyte takes a tenth of a second. Neighbour: `messages` asks.
"""

from __future__ import annotations

import re
from array import array
from itertools import accumulate

# Strings with what stands between them, as long as that is no bracket. One without its end takes all the rest, once.
_STRINGS = re.compile(rb'(?:"(?:[^"\\]|\\.)*+(?:"[^"\[\]{}]*+|\\?\Z))++', re.DOTALL)
_STEPS = bytes.maketrans(
    b"[{]}", b"\x01\x01\xff\xff"
)  # 1 and -1 as signed bytes; which kind it is, is the reader's to see
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))


def is_deeper(payload: bytes, most: int) -> bool:
    """More than `most` arrays and objects within one another. In what is no JSON anything may count as such."""
    if payload.count(b"[") + payload.count(b"{") <= most:
        return False
    steps = array("b", _STRINGS.sub(b"", payload).translate(_STEPS, _OTHERS))
    return max(accumulate(steps), default=0) > most
