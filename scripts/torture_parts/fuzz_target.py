"""What libFuzzer runs, by way of atheris, which an interpreter of its own has: `PYTHON fuzz_target.py [libFuzzer's options] CORPUS`.

An input's first byte says which machine of tests/wire/spoiling.py it is for, the second its chances (states, sizes of chunks), the rest is
what the machine hears. Anything but the named errors ends the run and is kept.
"""

from __future__ import annotations

import os
import random
import sys

import atheris

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))

with atheris.instrument_imports(include=["remote_shell.wire"]):
    from tests.wire.spoiling import MACHINES, attack

NAMES = list(MACHINES)


def hear(data: bytes) -> None:
    """One input."""
    if len(data) > 2:
        attack(random.Random(data[1]), NAMES[data[0] % len(NAMES)], data[2:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, hear)
    atheris.Fuzz()
