"""`scripts/torture` once everything is set up: arguments, the experiments one after the other, the table, the exit status.

Exit status: 0; 1 if a figure missed its aim or an experiment could not be made; 2 for a command line that makes no sense; 130 when
interrupted. Neighbours: `torture_parts` has an experiment a module, `bench_main` the same for speed.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from types import FrameType

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # it is started with -P

import _env
from torture_parts.figure import Figure, Settings, TortureError, show, table

Rows = list[tuple[str, Figure]]

# name -> what it does; the module of the same name in torture_parts has `run`
EXPERIMENTS = {
    "types": "everything that can be said before login, on real sockets: nothing comes of it, and one refusal",
    "mutate": "a million spoilt inputs for the decoder and the state machines",
    "simulate": "cores under seeded order, delay, cuts, crashes and clock",
    "relay": "logins passed on by somebody in the middle, and logins said again",
    "guards": "each guard of docs/SECURITY.md removed in turn, and its test run",
    "disasters": "full disk, no descriptors, no processes, clock jumps, a stopped client, killed servers",
    "idle": "as many idle sessions as descriptors allow: memory of each, a command's time",
    "strangers": "1,000 silent strangers and a flood of connections: logins, answers, memory",
    "soak": "ten minutes of mixed load by 50 clients through a faulty proxy",
    "fuzz": "a coverage-guided fuzzer for an hour (--fuzzer PYTHON names one with atheris); only if named",
}
ONLY_IF_NAMED = ("fuzz",)


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line names; returns the exit status."""
    arguments = parse(words)
    if arguments.list:
        print("\n".join(f"{name:<10} {what}" for name, what in EXPERIMENTS.items()))
        return 0
    signal.signal(signal.SIGTERM, leave)  # else servers would stay behind
    os.environ.pop("REMOTE_SHELL_HOME", None)
    settings = Settings(
        quick=arguments.quick,
        seed=arguments.seed,
        seconds=arguments.seconds,
        count=arguments.count,
        fuzzer=arguments.fuzzer,
        only=arguments.only,
    )
    start, load = time.monotonic(), os.getloadavg()[0]
    rows: Rows = []
    failures: dict[str, str] = {}
    interrupted = False
    for name in arguments.names:
        show(f"{name}…")
        try:
            experiment(name, settings, rows)
        except KeyboardInterrupt:
            interrupted = True
            break
        except Exception as error:  # one that can't be made is no reason to lose the others
            failures[name] = describe(error)
    show("")
    facts = machine(load, time.monotonic() - start)
    print(report(facts, rows, failures, quick=arguments.quick), flush=True)
    if arguments.json:
        figures = [{"experiment": name, **dataclasses.asdict(figure)} for name, figure in rows]
        document = {"machine": facts, "quick": arguments.quick, "seed": arguments.seed, "figures": figures}
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(document | {"failures": failures}, file, indent=1, ensure_ascii=False)
            file.write("\n")
    return 130 if interrupted else status(rows, failures)


def experiment(name: str, settings: Settings, rows: Rows) -> None:
    """Make one, and add its figures as they become known."""
    for figure in importlib.import_module(f"torture_parts.{name}").run(settings):
        rows.append((name, figure))


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line; exits with 2 where it makes no sense."""
    shown = "\n".join(f"  {name:<10} {what}" for name, what in EXPERIMENTS.items())
    parser = argparse.ArgumentParser(
        prog="scripts/torture",
        description="What remote_shell stands: each experiment's figures, with what they should be.",
        epilog=f"experiments:\n{shown}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments to make (default: all but fuzz)")
    parser.add_argument("--list", action="store_true", help="name the experiments, and make none")
    parser.add_argument("--quick", action="store_true", help="little of everything: does it run")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="for what is left to chance (1)")
    parser.add_argument("--seconds", type=float, metavar="S", help="how long, where an experiment has a time")
    parser.add_argument("--count", type=int, metavar="N", help="how often, where an experiment has a number")
    parser.add_argument("--only", default="", metavar="TEXT", help="of the guards those with TEXT in file or test")
    parser.add_argument("--fuzzer", default=sys.executable, metavar="PYTHON", help="the interpreter that has atheris")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    arguments = parser.parse_args(words)
    unknown = [name for name in arguments.names if name not in EXPERIMENTS]
    if unknown:
        parser.error(f"no experiment is called {', '.join(unknown)}; there are {', '.join(EXPERIMENTS)}")
    default = [name for name in EXPERIMENTS if name not in ONLY_IF_NAMED]
    arguments.names = list(dict.fromkeys(arguments.names)) or default
    return arguments


def machine(load: float, seconds: float) -> dict[str, str]:
    """What figures of time and memory depend on."""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    cpus = len(os.sched_getaffinity(0))
    return {
        "machine": f"{cpus} CPUs, {models[0] if models else platform.machine()}, load {load:.1f} before",
        "system": f"Linux {platform.release()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}",
        "took": f"{seconds:.0f} s",
    }


def report(facts: Mapping[str, str], rows: Rows, failures: Mapping[str, str], *, quick: bool) -> str:
    """Everything that a person reads."""
    lines = [f"{name:<9} {text}" for name, text in facts.items()]
    lines += ["--quick: too little of everything to judge by"] if quick else []
    lines += ["", table(rows)] if rows else []
    lines += ["", *(f"FAILED  {name}: {why}" for name, why in failures.items())] if failures else []
    missed = list(dict.fromkeys(name for name, figure in rows if figure.met is False))
    lines += ["", f"MISSED  {', '.join(missed)}"] if missed else []
    return "\n".join(lines)


def status(rows: Rows, failures: Mapping[str, str]) -> int:
    return 1 if failures or any(figure.met is False for _, figure in rows) else 0


def describe(error: Exception) -> str:
    """One line: our own words, or what was raised and where."""
    if isinstance(error, TortureError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {os.path.relpath(frames[-1].filename, _env.ROOT)}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}: {error}"


def leave(number: int, frame: FrameType | None) -> None:
    """TERM: end by way of every `with`."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
