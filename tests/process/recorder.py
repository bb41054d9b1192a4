"""What the tests of this package share: a sink that remembers, short starts, and a look at processes from outside."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.process.base import Exit
from remote_shell.process.pipes import PipeProcess
from remote_shell.process.pty import Mode
from remote_shell.process.shell import LiveShell
from remote_shell.process.shell_command import Done

ROOT = Path(__file__).resolve().parents[2]
PATH = b"/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
ENV: Mapping[bytes, bytes] = {b"PATH": PATH, b"HOME": b"/", b"LC_ALL": b"C.UTF-8"}
FAST = replace(DEFAULT_LIMITS, interrupt_grace=0.15, shell_kill_grace=0.15, kill_grace=0.15, orphan_reap_time=0.02)
PATIENCE = 10.0  # seconds after which a test gives up waiting


class Recorder:
    """A Sink and a ShellSink. `until` waits for what it has seen."""

    def __init__(self) -> None:
        self.out = b""
        self.err = b""
        self.ended: list[int] = []
        self.exit: Exit | None = None
        self.dones: list[Done] = []
        self.credit = 0
        self.modes: list[Mode] = []
        self.unread: list[bytes] = []
        self.log: list[str] = []  # the order of all calls
        self.when_output: Callable[[], None] = lambda: None
        self._changed = asyncio.Event()

    def on_output(self, stream: int, data: bytes) -> None:
        assert data
        if stream == 1:
            self.out += data
        else:
            self.err += data
        self._note(f"output {stream}")
        self.when_output()

    def on_output_end(self, stream: int) -> None:
        assert stream not in self.ended
        self.ended.append(stream)
        self._note(f"end {stream}")

    def on_exit(self, exit: Exit) -> None:
        assert self.exit is None
        self.exit = exit
        self._note("exit")

    def on_done(self, done: Done) -> None:
        self.dones.append(done)
        self._note(f"done {done.number}")

    def on_stdin(self, n: int) -> None:
        assert n > 0
        self.credit += n
        self._note("stdin")

    def on_mode(self, mode: Mode) -> None:
        self.modes.append(mode)
        self._note(f"mode {mode}")

    def on_unread(self, data: bytes) -> None:
        self.unread.append(data)
        self._note("unread")

    def _note(self, word: str) -> None:
        self.log.append(word)
        self._changed.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Return when the condition holds after a call; fail after PATIENCE."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def finished(self) -> Exit:
        """Return when the exit and both ends were told."""
        await self.until(lambda: self.exit is not None and len(self.ended) == 2)
        assert self.exit is not None
        return self.exit

    async def exited(self) -> Exit:
        await self.until(lambda: self.exit is not None)
        assert self.exit is not None
        return self.exit

    async def done(self, number: int) -> Done:
        await self.until(lambda: any(done.number == number for done in self.dones))
        return next(done for done in self.dones if done.number == number)


async def eventually(condition: Callable[[], Any]) -> None:
    """For what no call tells: the state of processes."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "gave up waiting"
        await asyncio.sleep(0.002)


def start(argv: Sequence[bytes | str], sink: Recorder | None = None, **options: Any) -> tuple[PipeProcess, Recorder]:
    sink = sink or Recorder()
    options.setdefault("cwd", b"/")
    options.setdefault("env", ENV)
    options.setdefault("stdin", "null")
    options.setdefault("command_id", None)
    options.setdefault("limits", FAST)
    process = PipeProcess.start(
        [os.fsencode(word) for word in argv], sink=sink, loop=asyncio.get_running_loop(), **options
    )
    return process, sink


async def run(argv: Sequence[bytes | str], **options: Any) -> Recorder:
    """Start, and wait for the exit and both ends."""
    _, sink = start(argv, **options)
    await sink.finished()
    return sink


def start_shell(limits: Limits = FAST, **options: Any) -> tuple[LiveShell, Recorder]:
    sink = Recorder()
    options.setdefault("cwd", b"/")
    options.setdefault("env", ENV)
    options.setdefault("command_id", "a-shell")
    return LiveShell.start(sink=sink, loop=asyncio.get_running_loop(), limits=limits, **options), sink


def is_alive(pid: int) -> bool:
    """It runs: neither gone nor a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def python_in_fresh_process(code: str, *, nobody: bool = False, ignore_sigint: bool = False) -> str:
    """Run Python code that may use this package in a process of its own, and return what it printed.

    `nobody`: as an unprivileged account, since root passes permission checks. `ignore_sigint`: as `&` in a script does.
    """
    argv: list[str] = []
    if nobody and os.geteuid() == 0:
        argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    argv += [sys.executable, "-W", "error", "-c", code]
    if ignore_sigint:
        argv = ["sh", "-c", 'trap "" INT QUIT HUP; exec "$@"', "sh", *argv]
    # without coverage, which writes where an unprivileged account may not
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS_")}
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=15, env=env)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout
