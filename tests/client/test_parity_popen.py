"""`Host.popen` against `subprocess.Popen`: the same calls, one after the other on a process, give the same results and exceptions."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from remote_shell import DEVNULL, PIPE, STDOUT
from remote_shell.client.blocking import Host, connect
from remote_shell.testing import RunningServer

from .compared import assert_same, outcome

pytestmark = pytest.mark.screen  # as a file it takes long

Script = tuple[Any, dict[str, Any], str]  # arguments, options, steps
CAT = ["cat"]
LINES = ["printf", "a\\nb\\r\\nc\\rd"]
ALL = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE}

# Each step is an expression over `p`, the process; `p.wait()` before a look at the end, since a look alone may come too early.
SCRIPTS: list[Script] = [
    (["true"], {}, "p.args; p.wait(); p.poll(); p.returncode; p.wait(1); p.communicate()"),
    (["sh", "-c", "exit 7"], {}, "p.wait(timeout=10); p.poll(); repr(p)[repr(p).index(':'):]"),
    (["sleep", "60"], {}, "p.poll(); p.wait(0.02); p.wait(0); p.returncode; p.terminate(); p.wait(); p.kill(); p.terminate()"),
    (["sleep", "60"], {}, "p.kill(); p.wait(); p.send_signal(0); p.send_signal(15); p.send_signal(999); p.returncode"),
    (["sleep", "60"], {}, "p.send_signal(0); p.send_signal(999); p.send_signal(-1); p.send_signal('TERM'); p.send_signal(None); "
     "p.kill(); p.wait()"),
    *((["sleep", "60"], {}, f"p.send_signal({number}); p.wait(); p.returncode") for number in (1, 2, 3, 6, 9, 10, 12, 13, 14, 15, 36)),
    (["sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done"], {"stdout": PIPE},
     "p.stdout.readline(); p.terminate(); p.wait()"),
    # what the files are
    (CAT, ALL, "p.stdin.closed; p.stdout.readable(); p.stdout.writable(); p.stdin.writable(); p.stdin.readable(); "
     "p.stdout.seekable(); p.stdout.seek(0); p.stdin.read(); p.stdout.write(b'x'); "
     "p.stdin.isatty(); p.stdin.write('text'); p.communicate(); p.stdin.closed, p.stdout.closed, p.stderr.closed"),
    (["sleep", "60"], {}, "p.stdin, p.stdout, p.stderr; p.kill(); p.wait()"),
    (CAT, {"stdin": PIPE, "stdout": DEVNULL, "stderr": STDOUT}, "p.stdout, p.stderr; p.stdin.close(); p.stdin.close(); p.wait()"),
    *((["true"], ALL | mode, "p.text_mode; p.universal_newlines; p.encoding; p.errors; p.communicate()")
      for mode in ({}, {"text": True}, {"universal_newlines": True}, {"encoding": "utf-8"}, {"errors": "replace"}, {"text": False})),
    (CAT, ALL | {"text": True}, "p.stdin.encoding; p.stdin.errors; p.stdout.encoding; p.stdout.newlines; p.stdin.line_buffering; "
     "p.stdin.write_through; p.stdin.write(b'x'); p.communicate('a\\r\\nb'); p.stdin.closed"),
    # reading and writing
    (CAT, ALL, "p.stdin.write(b'one\\ntwo\\n'); p.stdin.flush(); p.stdout.readline(); p.stdout.read(2); p.stdin.write(b'three'); "
     "p.stdin.close(); p.stdout.read(); p.stdout.read(); p.stdout.readline(); p.stderr.read(); p.wait()"),
    (CAT, ALL, "p.stdin.writelines([b'a', b'b\\n']); p.stdin.flush(); p.stdout.read1(100); p.stdin.close(); p.stdin.write(b'x'); "
     "p.stdin.flush(); p.wait()"),
    (CAT, ALL | {"bufsize": 0}, "p.stdin.write(b'abc'); p.stdout.read(1); p.stdout.read(1); p.communicate()"),
    (CAT, ALL | {"bufsize": 0, "text": True}, "p.stdin.write('at once\\n'); p.stdout.readline(); p.communicate()"),
    (CAT, ALL | {"bufsize": 1, "text": True}, "p.stdin.write('by line\\n'); p.stdout.readline(); p.stdin.write('half'); p.communicate()"),
    (CAT, ALL | {"bufsize": 1}, "p.communicate(b'x')"),
    (CAT, ALL | {"bufsize": None}, "p.communicate(b'x')"),
    (CAT, ALL | {"bufsize": 5}, "p.stdin.write(b'abcdefgh'); p.stdin.flush(); p.stdout.read(8); p.communicate()"),
    (LINES, {"stdout": PIPE}, "list(p.stdout); p.wait()"),
    (LINES, {"stdout": PIPE}, "p.stdout.readlines(); p.stdout.close(); p.stdout.read(); p.wait()"),
    (LINES, {"stdout": PIPE}, "next(p.stdout); p.stdout.peek()[:1]; p.stdout.readinto(bytearray(3)); p.communicate()"),
    (LINES, {"stdout": PIPE, "text": True}, "list(p.stdout); p.stdout.newlines; p.wait()"),
    (LINES, {"stdout": PIPE, "text": True}, "p.stdout.readline(); p.stdout.read(1); p.stdout.readline(1); p.stdout.read(); p.wait()"),
    (["printf", "\\303\\251\\377z"], {"stdout": PIPE, "text": True}, "p.stdout.read(1); p.wait()"),
    (["printf", "\\303\\251\\377z"], {"stdout": PIPE, "errors": "replace"}, "p.stdout.read(1); p.stdout.read(2); p.stdout.read(); "
     "p.wait()"),
    (["printf", "\\303\\251\\377z"], {"stdout": PIPE, "text": True}, "p.communicate(); p.wait()"),
    (["printf", "\\377\\376h\\000\\n\\000i\\000"], {"stdout": PIPE, "encoding": "utf-16"}, "p.stdout.readline(); p.stdout.read(); "
     "p.wait()"),
    (["sh", "-c", "echo out; echo err >&2"], {"stdout": PIPE, "stderr": PIPE}, "p.stderr.read(); p.stdout.read(); p.wait()"),
    # communicate
    (CAT, ALL, "p.communicate(b'x' * 300000)[0] == b'x' * 300000; p.returncode"),
    (CAT, ALL, "p.communicate(b''); p.communicate(); p.communicate(b'late'); p.returncode"),
    (CAT, ALL, "p.stdin.write(b'x'); p.communicate(b'y', 10); p.stdin.closed, p.stdout.closed, p.stderr.closed"),
    (CAT, {"stdin": PIPE, "stdout": PIPE}, "p.communicate(b'y'); p.stdout.closed; p.wait()"),
    (CAT, {"stdin": PIPE, "stdout": DEVNULL}, "p.communicate(b'y'); p.stdin.closed; p.wait()"),
    (LINES, {"stdout": PIPE}, "p.communicate(); p.stdout.closed; p.returncode"),
    (LINES, {"stderr": PIPE, "stdout": DEVNULL}, "p.communicate(); p.stderr.closed; p.returncode"),
    (["true"], ALL, "p.wait(); p.communicate(b'x' * 100000); p.returncode"),
    (["true"], {"stdin": PIPE}, "p.wait(); p.stdin.write(b'x'); p.stdin.flush(); p.stdin.close(); p.stdin.closed"),
    (["true"], {"stdin": PIPE, "bufsize": 0}, "p.wait(); p.stdin.write(b'x'); p.stdin.close()"),
    (["true"], {"stdin": PIPE, "text": True}, "p.wait(); p.stdin.write('x'); p.communicate(); p.stdin.closed"),
    (["sh", "-c", "echo early; exec cat"], ALL, "p.communicate(b'in', timeout=10); p.returncode"),
    (["sh", "-c", "cat; exec sleep 60"], ALL, "p.communicate(b'in', timeout=1); p.communicate(b'more'); p.communicate(b'', 0.05); "
     "p.kill(); p.communicate(); p.returncode"),
    (["sh", "-c", "cat; exec sleep 60"], ALL | {"text": True}, "p.communicate('é', timeout=1); p.kill(); p.communicate(); "
     "p.returncode"),
    (["sleep", "60"], {"stdout": PIPE}, "p.communicate(timeout=0.05); p.communicate(timeout=0); p.terminate(); p.communicate()"),
    (["sleep", "60"], {"stdout": PIPE}, "p.communicate(timeout=-1); p.wait(-1); p.kill(); p.communicate()"),
    # context manager
    (CAT, ALL, "p.__enter__() is p; p.__exit__(None, None, None); p.returncode; p.stdin.closed, p.stdout.closed, p.stderr.closed"),
    (["yes"], {"stdout": PIPE}, "p.stdout.readline(); p.__exit__(None, None, None); p.returncode"),
    (["true"], {"stdin": PIPE}, "p.wait(); p.stdin.write(b'lost'); p.__exit__(None, None, None); p.returncode"),
    (["false"], {}, "p.__exit__(ValueError, ValueError(), None); p.returncode"),
]  # fmt: skip


def dialogues() -> Iterator[Script]:
    """Every mode of text with every size of buffer, over the ways to read what came."""
    modes: list[dict[str, Any]] = [{}, {"text": True}, {"encoding": "latin-1"}, {"errors": "surrogateescape"}]
    reads = [
        "p.stdout.read()",
        "p.stdout.readline()",
        "p.stdout.readlines()",
        "list(p.stdout)",
        "p.communicate()[0]",
    ]
    datas = [
        "printf 'a\\r\\n\\nb\\rc'",
        "printf '\\303\\251\\n\\303'",
        "printf '\\377\\376\\n'",
        "printf ''",
        "head -c 200000 /dev/zero",
        "exec kill -9 $$",
    ]
    for mode, bufsize, first, second, data in itertools.product(modes, (-1, 0, 1, 4096), reads[:2], reads, datas):
        if bufsize == 0 and first != reads[0]:
            continue  # raw streams: what one read gives depends on how the bytes came
        yield data, {"shell": True, "stdout": PIPE, "bufsize": bufsize} | mode, f"{first}; {second}; p.wait()"


DIALOGUES = list(dialogues())


@pytest.fixture(scope="module")
def shared(running: RunningServer) -> Iterator[Host]:
    with connect(running.targets["unix"]) as host:
        yield host


def played(start: Callable[..., Any], args: Any, options: dict[str, Any], steps: str) -> list[dict[str, Any]]:
    """What each step did, the start first."""
    found: list[Any] = []

    def begin() -> None:
        found.append(start(args, **options))

    results = [outcome(begin)]
    if not found:
        return results
    process = found[0]
    try:
        results += [outcome(partial(eval, step, {"p": process})) for step in steps.split("; ")]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for file in (process.stdin, process.stdout, process.stderr):
            try:
                if file is not None:
                    file.close()
            except OSError:
                pass
        if hasattr(process, "release"):
            process.release()
    return results


def differences(host: Host, scripts: list[Script]) -> list[str]:
    faults = []
    for args, options, steps in scripts:
        mine = played(host.popen, args, options, steps)
        local = played(subprocess.Popen, args, options, steps)
        for step, here, there in zip(["the start", *steps.split("; ")], mine, local, strict=True):
            try:
                assert_same(here, there)
            except AssertionError as error:
                faults.append(f"popen({str(args)[:200]}, **{options}), {step} of {steps}:\n{error}")
    return faults


def chunks(scripts: list[Script], size: int) -> list[list[Script]]:
    return [scripts[start : start + size] for start in range(0, len(scripts), size)]


@pytest.mark.parametrize("scripts", chunks(SCRIPTS, 12), ids=lambda scripts: str(scripts[0][0])[:20])
def test_as_popen(shared: Host, scripts: list[Script]) -> None:
    faults = differences(shared, scripts)
    assert not faults, "\n\n".join(faults)


def test_dialogues(shared: Host) -> None:
    faults = differences(shared, DIALOGUES[::7])  # 7 divides none of the dimensions: each kind meets each
    assert not faults, "\n\n".join(faults)


@pytest.mark.slow
def test_every_dialogue(shared: Host) -> None:
    faults = differences(shared, DIALOGUES)
    assert not faults, "\n\n".join(faults)
