"""The figures: what is measured, against what, and the bound that it must keep.

A figure prepares its rival operations once, proves that they do what they claim, and leaves the timing to `bench_rounds`.
Both sides of a comparison do the same work on the same machine in the same round; a whole operation is timed, from call to
return or from start to exit. Neighbours: `bench_servers` runs what is talked to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bench_rounds import BASELINE, Bound, Operation, Row, deadline, interleave, repeated
from bench_servers import PROGRAM, START_TIME, BenchError, Place, end
from bench_terminal import Terminal, text_of

IN_FLIGHT = 64
DELAY = 0.05  # seconds each way: a round trip of 100 ms
RATE = 1e6  # bytes a second
IMPORTS = "import asyncio, ssl, pydantic, prompt_toolkit"  # what no shell with such an editor, over TLS, can do without
OUR_PROMPT = re.compile(rb"\S+ ~ [#$]\Z")
THEIR_PROMPT = re.compile(rb"ready>\Z")
PREPARE_TIME = 300.0  # seconds to start servers, connect, and prove that the operations work; apt-get may be among it
BOTH = ("unix", "tls")
CLEAN_UP_TIME = 20.0  # seconds to close connections
LOCAL = "local run"  # what the table calls subprocess.run here


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything. Budgets are seconds a figure; together they stay below five minutes."""

    light_rounds: int = 40  # of operations of milliseconds
    start_rounds: int = 25  # of operations that start a client
    heavy_rounds: int = 5  # of operations of seconds
    light_budget: float = 15.0
    heavy_budget: float = 40.0
    batch: int = 10  # calls in one sample of a light operation
    commands: int = 1000  # of the figure with commands in flight
    stdout_bytes: int = 2 << 30
    latency_bytes: int = 200_000_000
    upload_bytes: int = 1 << 30
    hosts: int = 40  # that one command runs on
    file_bytes: int = 1 << 30
    tree_files: int = 10_000
    flood_bytes: int = 1_500_000  # that have come when it is interrupted: whatever can fill up has


QUICK = Scale(
    light_rounds=5,
    start_rounds=3,
    heavy_rounds=2,
    light_budget=2.0,
    heavy_budget=5.0,
    commands=100,
    stdout_bytes=64 << 20,
    latency_bytes=4_000_000,
    upload_bytes=32 << 20,
    hosts=10,
    file_bytes=16 << 20,
    tree_files=200,
    flood_bytes=300_000,
)


class Contest(NamedTuple):
    """Rival operations, by transport and `BASELINE`."""

    operations: Mapping[str, Operation]
    work: float  # what one operation does, in the figure's unit
    rounds: int
    budget: float
    warm_up: int


class Figure(NamedTuple):
    """One line of what is promised, or of what is worth knowing."""

    title: str
    rival: str  # what the baseline is
    unit: str
    bounds: Mapping[str, Bound | None]  # by transport
    prepare: Callable[[Place, contextlib.ExitStack, Scale], Contest]


def measure(name: str, place: Place, scale: Scale, last_resort: Callable[[], None] | None = None) -> list[Row]:
    """The rows of one figure. Raises what stood in the way; `last_resort` ends a client that nothing else does."""
    figure = FIGURES[name]
    stack = contextlib.ExitStack()
    try:
        with deadline(PREPARE_TIME, last_resort):
            contest = figure.prepare(place, stack, scale)
        samples = interleave(contest.operations, contest.rounds, contest.budget, contest.warm_up, last_resort)
    finally:
        with deadline(CLEAN_UP_TIME, last_resort):
            stack.close()
    return [
        Row(
            name,
            figure.title,
            transport,
            figure.rival,
            figure.unit,
            contest.work,
            bound,
            samples[transport],
            samples[BASELINE],
        )
        for transport, bound in figure.bounds.items()
    ]


# --- one connection, many commands


def local_run() -> None:
    """What every figure of single commands is compared with."""
    subprocess.run(["true"], capture_output=True, check=True)


def prepare_run(place: Place, stack: contextlib.ExitStack, scale: Scale) -> Contest:
    from remote_shell.client.blocking import connect

    def remote_run(target: str, options: dict[str, Any]) -> Operation:
        host = stack.enter_context(connect(target, **options))
        prove(host.run(["echo", "here"], capture_output=True).stdout == b"here\n", "host.run")
        return lambda: host.run(["true"], capture_output=True)

    server = place.server
    return light({kind: remote_run(server.targets[kind], server.options(kind)) for kind in BOTH}, scale)


def prepare_async(place: Place, stack: contextlib.ExitStack, scale: Scale) -> Contest:
    from remote_shell.client.async_ import connect_async

    runner = stack.enter_context(asyncio.Runner())

    def remote_run(target: str, options: dict[str, Any]) -> Operation:
        context = connect_async(target, **options)
        host = runner.run(context.__aenter__())
        stack.callback(lambda: runner.run(context.__aexit__(None, None, None)))
        done = runner.run(host.run(["echo", "here"], capture_output=True))
        prove(done.stdout == b"here\n", "the awaited host.run")

        async def batch() -> None:
            for _ in range(scale.batch):
                await host.run(["true"], capture_output=True)

        return lambda: runner.run(batch())

    server = place.server
    operations = {kind: remote_run(server.targets[kind], server.options(kind)) for kind in BOTH}
    return light(operations, scale, batched=True)


def prepare_shell(place: Place, stack: contextlib.ExitStack, scale: Scale) -> Contest:
    from remote_shell.client.blocking import connect

    def remote_run(target: str, options: dict[str, Any]) -> Operation:
        host = stack.enter_context(connect(target, **options))
        shell = stack.enter_context(host.shell())
        shell.run("x=here")
        prove(shell.run("echo $x").stdout in (b"here\n", "here\n"), "the live shell")
        return lambda: shell.run(":")

    server = place.server
    return light({kind: remote_run(server.targets[kind], server.options(kind)) for kind in BOTH}, scale)


def light(operations: dict[str, Operation], scale: Scale, *, batched: bool = False) -> Contest:
    """A contest with `local_run`, in batches; `batched` when the operations are batches already."""
    rivals = operations if batched else {name: repeated(each, scale.batch) for name, each in operations.items()}
    every = {**rivals, BASELINE: repeated(local_run, scale.batch)}
    return Contest(every, scale.batch, scale.light_rounds, scale.light_budget, warm_up=2)


def prepare_flight(place: Place, stack: contextlib.ExitStack, scale: Scale) -> Contest:
    from remote_shell.client.async_ import connect_async

    runner = stack.enter_context(asyncio.Runner())

    def remote_runs(target: str, options: dict[str, Any]) -> Operation:
        context = connect_async(target, **options)
        host = runner.run(context.__aenter__())
        stack.callback(lambda: runner.run(context.__aexit__(None, None, None)))

        async def one(slots: asyncio.Semaphore) -> None:
            async with slots:
                done = await host.run(["true"], capture_output=True)
                prove(done.returncode == 0, "a command in flight")

        async def every() -> None:
            slots = asyncio.Semaphore(IN_FLIGHT)
            await asyncio.gather(*(one(slots) for _ in range(scale.commands)))

        return lambda: runner.run(every())

    server = place.server
    operations = {kind: remote_runs(server.targets[kind], server.options(kind)) for kind in BOTH}
    return in_flight(operations, scale)


def prepare_popen(place: Place, stack: contextlib.ExitStack, scale: Scale) -> Contest:
    from remote_shell import PIPE
    from remote_shell.client.blocking import connect

    def remote_runs(target: str, options: dict[str, Any]) -> Operation:
        host = stack.enter_context(connect(target, **options))

        def every() -> None:
            running = deque(host.popen(["true"], stdout=PIPE, stderr=PIPE) for _ in range(IN_FLIGHT))
            for number in range(scale.commands):
                process = running.popleft()
                process.communicate()
                prove(process.returncode == 0, "a command in flight")
                if number < scale.commands - IN_FLIGHT:
                    running.append(host.popen(["true"], stdout=PIPE, stderr=PIPE))

        return every

    server = place.server
    operations = {kind: remote_runs(server.targets[kind], server.options(kind)) for kind in BOTH}
    return in_flight(operations, scale)


def in_flight(operations: dict[str, Operation], scale: Scale) -> Contest:
    every = {**operations, BASELINE: repeated(local_run, scale.commands)}
    return Contest(every, scale.commands, scale.heavy_rounds, scale.heavy_budget / 2, warm_up=0)


# --- a client from start to exit


def prepare_start(place: Place, stack: contextlib.ExitStack, scale: Scale) -> Contest:
    argvs = {kind: place.argv(kind, ["true"]) for kind in BOTH} | {BASELINE: place.ssh_argv(["true"])}
    operations = {name: started(argv) for name, argv in argvs.items()}
    return Contest(operations, 1, scale.start_rounds, scale.light_budget, warm_up=2)


def prepare_many(place: Place, stack: contextlib.ExitStack, scale: Scale) -> Contest:
    """`map` on so many names of one server, and as many ssh, eight at a time: sshd turns away more than ten that have not logged in."""
    server = place.server
    keyed = f"identity = {json.dumps(server.identity)}\nfingerprint = {json.dumps(server.fingerprint)}\n"
    hosts = os.path.join(place.folder, "hosts.toml")
    with open(hosts, "w", encoding="utf-8") as file:
        stack.callback(os.unlink, hosts)  # the other figures' starts need not read it
        for kind, more in (("unix", ""), ("tls", keyed)):
            table = f'groups = ["{kind}"]\ntarget = {json.dumps(server.targets[kind])}\n{more}'
            file.writelines(f"[hosts.{kind}{number}]\n{table}" for number in range(scale.hosts))
    turns = os.path.join(place.folder, "turns")
    with open(turns, "w", encoding="utf-8") as file:
        file.writelines(f"{number}\n" for number in range(scale.hosts))
    argv = ["xargs", "-P", "8", "-I@", *place.ssh_argv(["true"])]
    operations = {kind: started([PROGRAM, "map", f"@{kind}", "true"]) for kind in BOTH}
    operations[BASELINE] = started(argv, turns)
    return Contest(operations, 1, scale.heavy_rounds, scale.heavy_budget, warm_up=1)


def prepare_help(place: Place, stack: contextlib.ExitStack, scale: Scale) -> Contest:
    operations = {"-": started([PROGRAM, "--help"]), BASELINE: started([sys.executable, "-c", "pass"])}
    return Contest(operations, 1, scale.start_rounds, scale.light_budget, warm_up=2)


def prepare_mux(place: Place, stack: contextlib.ExitStack, scale: Scale) -> Contest:
    target = place.server.targets["unix"]
    holder = subprocess.Popen([PROGRAM, "mux", target], stdin=subprocess.DEVNULL)
    stack.callback(end, holder)
    until = time.monotonic() + START_TIME
    while not any(path.suffix != ".lock" for path in Path(place.folder).glob("run/mux-*")):
        if time.monotonic() > until or holder.poll() is not None:
            raise BenchError("remote-shell mux does not listen")
        time.sleep(0.01)
    operations = {"unix": started([PROGRAM, "ssh", target, "true"]), BASELINE: started([sys.executable, "-c", "pass"])}
    return Contest(operations, 1, scale.start_rounds, scale.light_budget, warm_up=2)


# --- a person at a prompt


def prepare_prompt(place: Place, stack: contextlib.ExitStack, scale: Scale) -> Contest:
    argv = place.shell_argv("tls")

    def to_the_prompt() -> float:
        begin = time.perf_counter()
        with Terminal(argv) as terminal:
            terminal.wait_for(OUR_PROMPT)
            took = time.perf_counter() - begin
            terminal.leave(b"\x04")
        return took

    operations: dict[str, Operation] = {"tls": to_the_prompt, BASELINE: started([sys.executable, "-c", IMPORTS])}
    return Contest(operations, 1, scale.start_rounds, scale.light_budget, warm_up=2)


def prepare_interrupt(place: Place, stack: contextlib.ExitStack, scale: Scale) -> Contest:
    ssh, *words = place.ssh_argv(["exec env PS1='ready> ' bash --norc --noprofile -i"], DELAY, RATE)
    prompts = {"tls": OUR_PROMPT, BASELINE: THEIR_PROMPT}
    argvs = {"tls": place.shell_argv("tls", DELAY, RATE), BASELINE: [ssh, "-t", *words]}

    def at_prompt(name: str) -> Operation:
        terminal = stack.enter_context(Terminal(argvs[name]))
        terminal.wait_for(prompts[name])

        def interrupted(flood: bytes) -> float:
            terminal.forget()
            terminal.type(flood + b"\r")
            terminal.wait_bytes(scale.flood_bytes)
            begin = time.perf_counter()
            terminal.type(b"\x03")
            terminal.wait_for(prompts[name])
            return time.perf_counter() - begin

        interrupted(b"seq 1000000000")
        lines = text_of(terminal.output).replace(b"\r", b"").replace(b"^C", b"").split(b"\n")
        numbers = lines[lines.index(b"1") : -3]  # behind them an unended one, a mark, the prompt
        whole = numbers == [b"%d" % number for number in range(1, len(numbers) + 1)]
        prove(whole and len(numbers) > 1000, "a flood without a gap")
        return lambda: interrupted(b"yes")

    operations = {name: at_prompt(name) for name in argvs}
    return Contest(operations, 1, scale.light_rounds, scale.heavy_budget / 2, warm_up=0)


# --- many bytes


def prepare_stdout(place: Place, stack: contextlib.ExitStack, scale: Scale) -> Contest:
    operations = {kind: head(scale.stdout_bytes, partial(place.argv, kind)) for kind in BOTH}
    operations[BASELINE] = head(scale.stdout_bytes, place.ssh_argv)
    return Contest(operations, scale.stdout_bytes, scale.heavy_rounds, scale.heavy_budget, warm_up=0)


def prepare_latency(place: Place, stack: contextlib.ExitStack, scale: Scale) -> Contest:
    operations = {
        "tls": head(scale.latency_bytes, partial(place.argv, "tls", delay=DELAY)),
        BASELINE: head(scale.latency_bytes, partial(place.ssh_argv, delay=DELAY)),
    }
    return Contest(operations, scale.latency_bytes, scale.heavy_rounds, scale.heavy_budget, warm_up=0)


def prepare_upload(place: Place, stack: contextlib.ExitStack, scale: Scale) -> Contest:
    path = os.path.join(place.folder, "zeros")
    with open(path, "wb") as file:
        file.truncate(scale.upload_bytes)  # sparse: reading it costs no disk
    count, drop = ["wc", "-c"], ["cat", ">/dev/null"]
    line = ["sh", "-c", "cat >/dev/null"]
    argvs = {kind: (place.argv(kind, count), place.argv(kind, line)) for kind in BOTH}
    argvs[BASELINE] = (place.ssh_argv(count), place.ssh_argv(drop))  # ssh gives its words to a shell anyway
    for counting, _ in argvs.values():
        prove(output(counting, b"x" * 1_000_000).strip() == b"1000000", "1 MB of stdin")
    operations = {name: started(argv, path) for name, (_, argv) in argvs.items()}
    return Contest(operations, scale.upload_bytes, scale.heavy_rounds, scale.heavy_budget / 2, warm_up=0)


def prepare_put(place: Place, stack: contextlib.ExitStack, scale: Scale) -> Contest:
    return copied(place, stack, scale, "put")


def prepare_get(place: Place, stack: contextlib.ExitStack, scale: Scale) -> Contest:
    return copied(place, stack, scale, "get")


def copied(place: Place, stack: contextlib.ExitStack, scale: Scale, verb: str) -> Contest:
    """One large file, by our command and by scp's."""
    folder = memory_folder(stack)
    source, target = f"{folder}/source", f"{folder}/target"
    with open(source, "wb") as file:
        for _ in range(scale.file_bytes >> 20):
            file.write(os.urandom(1 << 20))
    words = [f":{source}", target] if verb == "get" else [source, f":{target}"]
    argvs = {kind: place.copy_argv(verb, kind, [source, target]) for kind in BOTH}
    argvs[BASELINE] = place.sshd.scp_argv(words)

    def operation(argv: Sequence[str]) -> Operation:
        run = started(argv)

        def anew() -> None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(target)  # nothing is to be gone on with, or there already
            run()

        anew()
        prove(os.path.getsize(target) == scale.file_bytes, f"{verb} of {scale.file_bytes} bytes")
        return anew

    operations = {name: operation(argv) for name, argv in argvs.items()}
    return Contest(operations, scale.file_bytes, scale.heavy_rounds, scale.heavy_budget, warm_up=0)


def prepare_tree(place: Place, stack: contextlib.ExitStack, scale: Scale) -> Contest:
    """Many files of 1 KB, to there."""
    folder = memory_folder(stack)
    source, target = f"{folder}/source", f"{folder}/target"
    os.mkdir(source)
    for number in range(scale.tree_files):
        with open(f"{source}/{number}", "wb") as file:
            file.write(os.urandom(1024))
    argvs = {kind: place.copy_argv("put", kind, ["-r", source, target]) for kind in BOTH}
    argvs[BASELINE] = place.sshd.scp_argv(["-r", source, f":{target}"])

    def operation(argv: Sequence[str]) -> Operation:
        run = started(argv)

        def anew() -> None:
            shutil.rmtree(target, ignore_errors=True)
            run()

        anew()
        prove(len(os.listdir(target)) == scale.tree_files, f"{scale.tree_files} files")
        return anew

    operations = {name: operation(argv) for name, argv in argvs.items()}
    return Contest(operations, scale.tree_files, scale.heavy_rounds, scale.heavy_budget, warm_up=0)


def memory_folder(stack: contextlib.ExitStack) -> str:
    """A folder in memory, if there is one: what a disk does is not what is compared."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return stack.enter_context(tempfile.TemporaryDirectory(prefix="remote-shell-bench-", dir=where))


def head(size: int, argv: Callable[[Sequence[str]], list[str]]) -> Operation:
    """`size` bytes of stdout to /dev/null; a smaller number is counted first."""
    got = len(output(argv(["head", "-c", "1000000", "/dev/zero"])))
    prove(got == 1_000_000, f"1 MB of stdout ({got} bytes came)")
    return started(argv(["head", "-c", str(size), "/dev/zero"]))


# --- processes


def started(argv: Sequence[str], stdin: str = os.devnull) -> Operation:
    """From start to exit, stdin from a file, stdout to nowhere."""

    def run() -> None:
        with open(stdin, "rb") as file:
            done = subprocess.run(argv, stdin=file, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        prove(done.returncode == 0, f"{shown(argv)} (status {done.returncode})", done.stderr)

    return run


def output(argv: Sequence[str], data: bytes = b"") -> bytes:
    """What a client writes, given `data`."""
    done = subprocess.run(argv, input=data, capture_output=True)
    prove(done.returncode == 0, f"{shown(argv)} (status {done.returncode})", done.stderr)
    return done.stdout


def shown(argv: Sequence[str]) -> str:
    """The program and the end of its command line: what lies between are options of ours."""
    return f"{os.path.basename(argv[0])} … {' '.join(argv[-3:])}"


def prove(holds: bool, what: str, stderr: bytes = b"") -> None:
    """Raises BenchError unless it holds: a wrong answer is not worth timing."""
    if not holds:
        said = stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise BenchError(f"{what} does not work" + (f": {said}" if said else ""))


FIGURES = {
    "run": Figure(
        "a command on an open connection",
        LOCAL,
        "ms",
        {"unix": Bound("≤", 1.3), "tls": Bound("≤", 1.5)},
        prepare_run,
    ),
    "shell": Figure(
        "a built-in in the live shell",
        LOCAL,
        "ms",
        {"unix": Bound("≤", 0.3), "tls": Bound("≤", 0.3)},
        prepare_shell,
    ),
    "flight": Figure(
        f"commands, {IN_FLIGHT} in flight, async client",
        f"{LOCAL}s in turn",
        "/s",
        {"unix": Bound("≥", 1.0), "tls": Bound("≥", 1.0)},
        prepare_flight,
    ),
    "popen": Figure(
        f"commands, {IN_FLIGHT} in flight, blocking client",
        f"{LOCAL}s in turn",
        "/s",
        {"unix": Bound("≥", 1.0), "tls": Bound("≥", 1.0)},
        prepare_popen,
    ),
    "stdout": Figure(
        "bytes of stdout",
        "ssh",
        "MB/s",
        {"unix": Bound("≥", 2.0), "tls": Bound("≥", 1.0)},
        prepare_stdout,
    ),
    "latency": Figure(
        f"bytes of stdout, {2 * DELAY * 1e3:.0f} ms round trip",
        "ssh",
        "MB/s",
        {"tls": Bound("≥", 0.8)},
        prepare_latency,
    ),
    "start": Figure(
        "remote-shell run … true, start to exit",
        "ssh",
        "ms",
        {"unix": Bound("≤", 0.6), "tls": Bound("≤", 0.6)},
        prepare_start,
    ),
    "many": Figure(
        "remote-shell map, one command on 40 hosts",
        "xargs -P 8 ssh",
        "ms",
        {"unix": Bound("≤", 0.3), "tls": Bound("≤", 0.3)},
        prepare_many,
    ),
    "prompt": Figure(
        "remote-shell shell, start to prompt",
        f"python3 -c '{IMPORTS[:20]}…'",
        "ms",
        {"tls": Bound("≤", 2.2)},
        prepare_prompt,
    ),
    "interrupt": Figure(
        f"Ctrl-C in yes to prompt, {RATE / 1e6:.0f} MB/s, {2 * DELAY * 1e3:.0f} ms round trip",
        "ssh -t",
        "ms",
        {"tls": Bound("≤", 0.5)},
        prepare_interrupt,
    ),
    "mux": Figure(
        "remote-shell ssh … true, through its mux",
        "python3 -c pass",
        "ms",
        {"unix": Bound("≤", 3.0)},
        prepare_mux,
    ),
    "help": Figure(
        "remote-shell --help",
        "python3 -c pass",
        "ms",
        {"-": Bound("≤", 4.0)},
        prepare_help,
    ),
    "async": Figure(
        "an awaited command on an open connection",
        LOCAL,
        "ms",
        {"unix": None, "tls": None},
        prepare_async,
    ),
    "put": Figure("bytes of one file, to there", "scp", "MB/s", {"unix": None, "tls": Bound("≥", 1.0)}, prepare_put),
    "get": Figure("bytes of one file, to here", "scp", "MB/s", {"unix": None, "tls": Bound("≥", 1.0)}, prepare_get),
    "tree": Figure(
        "files of 1 KB, to there", "scp -r", "/s", {"unix": Bound("≥", 1.0), "tls": Bound("≥", 1.0)}, prepare_tree
    ),
    "upload": Figure(
        "bytes of stdin",
        "ssh",
        "MB/s",
        {"unix": None, "tls": None},
        prepare_upload,
    ),
}
