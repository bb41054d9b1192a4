"""`scripts/bench` once everything is set up: arguments, the machine's facts, the table, the exit status.

Exit status: 0; 1 if a figure could not be measured, or missed its bound under --check; 2 for a command line that makes no
sense; 130 when interrupted. Neighbours: `bench_figures` has the figures, `bench_rounds` the table.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from types import FrameType

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # it is started with -P

import _env
from bench_figures import FIGURES, QUICK, Scale, measure
from bench_rounds import Row, table
from bench_servers import BenchError, Place


def main(words: Sequence[str] | None = None) -> int:
    """Measure what the command line names; returns the exit status."""
    arguments = parse(words)
    signal.signal(signal.SIGTERM, leave)  # else servers would stay behind
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)  # a remote command is sent our stdin, a local one only inherits it
    compileall.compile_dir(os.path.join(_env.ROOT, "remote_shell"), quiet=2)
    start = time.monotonic()
    load = os.getloadavg()[0]
    rows: list[Row] = []
    failures: dict[str, str] = {}
    interrupted = False
    with Place() as place:
        try:
            for name in arguments.names:
                show(f"measuring {name}…")
                try:
                    rows += measure(name, place, QUICK if arguments.quick else Scale(), partial(give_up, place, rows))
                except (SystemExit, KeyboardInterrupt):
                    raise
                except Exception as error:  # one figure that can't be had is no reason to lose the others
                    failures[name] = describe(error)
        except KeyboardInterrupt:
            interrupted = True
        cipher = place.cipher
    show("")
    facts = machine(cipher, load, time.monotonic() - start)
    print(report(facts, rows, failures, quick=arguments.quick), flush=True)
    if arguments.json:
        document = {"machine": facts, "quick": arguments.quick, "rows": [row.as_json() for row in rows]}
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(document | {"failures": failures}, file, indent=1, ensure_ascii=False)
            file.write("\n")
    return 130 if interrupted else status(rows, failures, check=arguments.check)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line; exits with 2 where it makes no sense."""
    shown = "\n".join(f"  {name:<8} {figure.title}, against {figure.rival}" for name, figure in FIGURES.items())
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Speed, as ratios to local processes and to OpenSSH in the same run: the median of interleaved rounds.",
        epilog=f"figures:\n{shown}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures to measure (default: all)")
    parser.add_argument("--quick", action="store_true", help="few rounds of little work: does it run, not how fast")
    parser.add_argument("--json", metavar="FILE", help="write every sample and what it amounts to")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bound is missed")
    arguments = parser.parse_args(words)
    unknown = [name for name in arguments.names if name not in FIGURES]
    if unknown:
        parser.error(f"no figure is called {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    arguments.names = list(dict.fromkeys(arguments.names)) or list(FIGURES)
    return arguments


def machine(cipher: str, load: float, seconds: float) -> dict[str, str]:
    """What the absolute figures depend on."""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    cpus = len(os.sched_getaffinity(0))
    return {
        "machine": f"{cpus} CPUs, {models[0] if models else platform.machine()}, load {load:.1f} before",
        "system": f"Linux {platform.release()}, Python {platform.python_version()}",
        "baseline": f"{ssh_version()}, {cipher}",
        "took": f"{seconds:.0f} s",
    }


def ssh_version() -> str:
    """As OpenSSH says it."""
    try:
        done = subprocess.run(["ssh", "-V"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    except OSError:
        return "no OpenSSH"
    return done.stderr.strip().partition(",")[0]


def report(facts: Mapping[str, str], rows: Sequence[Row], failures: Mapping[str, str], *, quick: bool) -> str:
    """Everything that a person reads."""
    lines = [f"{name:<9} {text}" for name, text in facts.items()]
    lines += ["--quick: too few rounds of too little work to judge by"] if quick else []
    lines += ["", table(rows)] if rows else []
    lines += ["", *(f"FAILED  {name}: {why}" for name, why in failures.items())] if failures else []
    missed = [f"{row.figure} ({row.transport})" for row in rows if row.verdict == "MISSED"]
    lines += ["", f"MISSED  {', '.join(missed)}"] if missed else []
    return "\n".join(lines)


def status(rows: Sequence[Row], failures: Mapping[str, str], *, check: bool) -> int:
    missed = any(row.verdict == "MISSED" for row in rows)
    return 1 if failures or (check and missed) else 0


def describe(error: Exception) -> str:
    """One line: our own words, or what was raised and where."""
    if isinstance(error, BenchError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {os.path.relpath(frames[-1].filename, _env.ROOT)}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}: {error}"


def give_up(place: Place, rows: Sequence[Row]) -> None:
    """A client is stuck where no exception gets through, in a destructor say: tell where, and leave nothing behind."""
    show("")
    if rows:
        print(table(rows), flush=True)
    traceback.print_stack()
    print("remote_shell: a client hangs where nothing interrupts it; the figures before it are above", file=sys.stderr)
    sys.stderr.flush()
    place.__exit__()
    os._exit(1)


def show(text: str) -> None:
    """What is going on, for who watches; the last word wipes it away."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def leave(number: int, frame: FrameType | None) -> None:
    """TERM: end by way of every `with`."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
