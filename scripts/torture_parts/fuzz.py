"""A coverage-guided fuzzer on the decoder and the state machines: atheris, if the interpreter that --fuzzer names has it.

python3 -m venv /tmp/fuzzer && /tmp/fuzzer/bin/pip install atheris pydantic
scripts/torture fuzz --fuzzer /tmp/fuzzer/bin/python
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import tempfile
from collections.abc import Iterator

import _env

from tests.wire.spoiling import MACHINES, spoil
from torture_parts.figure import Figure, Settings, TortureError, none, show, told

HOUR = 3600.0
SEEDS = 400  # inputs to begin with: an honest peer's, and some that are spoilt
TARGET = os.path.join(_env.ROOT, "scripts", "torture_parts", "fuzz_target.py")
WORDS = (
    *('"type"', '"hello"', '"auth"', '"open"', '"exec"', '"argv"', '"id"'),
    *('"window"', '"eof"', '"stream"', '"close"', '"exit"', '"base64"'),
)


def run(settings: Settings) -> Iterator[Figure]:
    """One process, as long as told."""
    if subprocess.run([settings.fuzzer, "-c", "import atheris, pydantic"], capture_output=True).returncode != 0:
        how = "python3 -m venv /tmp/fuzzer && /tmp/fuzzer/bin/pip install atheris pydantic"
        raise TortureError(
            f"{settings.fuzzer} has no atheris; type: {how}; then: scripts/torture fuzz --fuzzer /tmp/fuzzer/bin/python"
        )
    seconds = int(settings.long(HOUR, 20))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        corpus, kept = os.path.join(folder, "corpus"), os.path.join(os.getcwd(), "")
        write_seeds(corpus, settings.seed)
        words = os.path.join(folder, "words")
        with open(words, "w", encoding="ascii") as file:
            file.writelines(f"{word}\n" for word in WORDS)
        options = [f"-max_total_time={seconds}", f"-seed={settings.seed}", f"-dict={words}", f"-artifact_prefix={kept}"]
        options += ["-max_len=6000", "-timeout=20", "-rss_limit_mb=600", "-print_final_stats=1"]
        log = os.path.join(folder, "log")
        show(f"fuzz: {seconds} s")
        with open(log, "wb") as file:
            done = subprocess.run(
                [settings.fuzzer, "-P", TARGET, *options, corpus], stdout=file, stderr=subprocess.STDOUT
            )
        with open(log, encoding="utf-8", errors="replace") as file:
            said = file.read()
    yield from figures(said, done.returncode, seconds)


def figures(said: str, status: int, seconds: int) -> Iterator[Figure]:
    """Of libFuzzer's own log."""
    units = re.findall(r"stat::number_of_executed_units: (\d+)", said)
    covered = re.findall(r"cov: (\d+) ft: (\d+)", said)
    peak = re.findall(r"stat::peak_rss_mb: +(\d+)", said)
    found = re.findall(r"Test unit written to (\S+)", said)
    if not units and not found:
        raise TortureError(f"the fuzzer ended with {status}: {said.strip()[-500:]}")
    yield told(f"inputs within {seconds:,} s", f"{int(units[-1]):,}" if units else "unknown")
    if covered:
        yield told("places of the code reached, at first and at last", f"{covered[0][0]}, {covered[-1][0]}")
    if peak:
        yield told("memory of the process, at most", f"{peak[-1]} MiB")
    last = said.strip().splitlines()[-1] if said.strip() else ""
    what = f": {found[0]}" if found else f": it ended with {status}, {last}" if status else ""
    yield none("inputs that bring anything but the named errors", len(found) or int(status != 0), what)


def write_seeds(folder: str, seed: int) -> None:
    """Some inputs for each machine."""
    os.mkdir(folder)
    for number in range(SEEDS):
        at = number % len(MACHINES)
        make, honest = list(MACHINES.values())[at]
        chances = number // len(MACHINES) % 256
        rng = random.Random(chances)
        victim = make(rng)
        rng = random.Random(f"{seed}:{number}")
        stream = honest(rng, victim)
        data = b"".join(stream) if number % 3 else spoil(rng, stream)
        with open(os.path.join(folder, f"{number}"), "wb") as file:
            file.write(bytes((at, chances)) + data)
