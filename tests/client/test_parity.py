"""`Host.run` against `subprocess.run`: the same call gives the same result, or the same exception, in both fronts."""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from remote_shell import DEVNULL, PIPE, STDOUT
from remote_shell.client.async_ import connect_async
from remote_shell.client.blocking import Host, connect
from remote_shell.errors import UsageError
from remote_shell.testing import RunningServer

from .compared import assert_same, outcome, outcome_async

pytestmark = pytest.mark.screen  # the quick suite has two minutes for all

EVERY_BYTE = bytes(range(256))
EXACT = {"PATH": os.defpath, "A": "1", "U": "é"}
STATUSES = (0, 1, 2, 126, 127, 128, 137, 254, 255)
LONG = "/" + "x" * 300
NO_FOLDERS = ("/no/such", b"/no/such", Path("/no/such"), "/no/such/\udcff", "/etc/passwd", "/etc/passwd/x", LONG)
NO_PROGRAMS = (
    *("no-such-program", b"no-such-program", Path("no-such-program"), "/no/such/program", "/etc/passwd", "/etc"),
    *("/etc/passwd/x", "./no", LONG, "n\udcffo", "é", "..", "/", "/dev/null"),
)
Call = tuple[Any, dict[str, Any]]

ODD: list[Call] = [
    (["true"], {}),
    (["false"], {}),
    (["false"], {"check": True}),
    (["true"], {"capture_output": True, "check": True}),
    # arguments
    ("true", {"capture_output": True}),
    (b"true", {"capture_output": True}),
    (Path("/bin/true"), {"capture_output": True}),
    ([Path("/bin/echo"), b"a", "b"], {"capture_output": True}),
    (("echo", "a  b", "", "*", "é", b"\xff\xfe"), {"capture_output": True}),
    (["echo", "\udcff\udcfe", "x\udc80y"], {"capture_output": True}),
    (["printf", "%s", "line\nbreak\ttab\x01\x7f"], {"capture_output": True}),
    (["echo", *map(str, range(3000))], {"capture_output": True}),
    (["echo", "x" * 100_000], {"capture_output": True}),
    (dict.fromkeys(["echo", "keys"]), {"capture_output": True}),
    (["true"], {"bufsize": 0}),
    (["true"], {"bufsize": "1"}),
    ([], {}),
    ((), {"capture_output": True}),
    ([1], {}),
    (["echo", 1], {}),
    (["echo", None], {}),
    (7, {}),
    (["a\0b"], {}),
    (["echo", "a\0b"], {}),
    (["echo", b"a\0b"], {}),
    # ends
    *((["sh", "-c", f"exit {status}"], {"capture_output": True, "check": status != 2}) for status in STATUSES),
    *(
        (["sh", "-c", f"kill -{name} $$"], {"capture_output": True, "check": check})
        for name in ("KILL", "TERM", "INT", "HUP", "PIPE", "USR1", "ABRT", "SEGV", "ALRM", "XFSZ")
        for check in (False, True)
    ),
    (["bash", "-c", "kill -37 $$"], {"check": True}),
    (["sh", "-c", "echo part; kill -INT $$"], {"capture_output": True, "check": True}),
    (["sh", "-c", "echo part; echo more >&2; exit 3"], {"capture_output": True, "check": True, "text": True}),
    (["sh", "-c", "sh -c 'kill -9 $$'"], {"capture_output": True}),
    (["sh", "-c", "grep -E 'Sig(Ign|Blk)' /proc/self/status"], {"capture_output": True}),
    (["sh", "-c", "ls /proc/self/fd | wc -l"], {"capture_output": True, "stdin": DEVNULL}),
    # shells
    ("echo $0-$((1+2)) | tr 1-9 a-i", {"shell": True, "capture_output": True}),
    (b"echo bytes \xff", {"shell": True, "capture_output": True}),
    (["echo $0 $1", "zero", "one"], {"shell": True, "capture_output": True}),
    (["echo $0 $1", Path("zero"), b"\xff"], {"shell": 1, "capture_output": True}),
    ("exit 7", {"shell": True, "check": True, "capture_output": True, "text": True}),
    ("no-such-command", {"shell": True, "capture_output": True}),
    ("if", {"shell": True, "capture_output": True}),
    ("", {"shell": True, "capture_output": True}),
    (Path("/bin/true"), {"shell": True}),
    ("echo $0; [ -n \"$BASH\" ] && echo bash", {"shell": True, "executable": "/bin/bash", "capture_output": True}),
    ("true", {"shell": True, "executable": "/no/such/shell"}),
    ("true", {"shell": True, "executable": b"/no/such/shell"}),
    (["true"], {"executable": "true"}),
    # stdin
    (["cat"], {"input": EVERY_BYTE, "capture_output": True}),
    (["cat"], {"input": b"", "capture_output": True}),
    (["cat"], {"input": "", "capture_output": True}),
    (["cat"], {"input": "", "capture_output": True, "text": True}),
    (["cat"], {"input": "zwei\nZeilen é\r\n", "capture_output": True, "text": True}),
    (["cat"], {"input": "é", "capture_output": True, "encoding": "latin-1"}),
    (["cat"], {"input": "a\udcff", "capture_output": True, "errors": "surrogateescape"}),
    (["cat"], {"input": "é", "capture_output": True, "encoding": "ascii"}),
    (["cat"], {"input": "é", "capture_output": True, "encoding": "ascii", "errors": "replace"}),
    (["cat"], {"stdin": DEVNULL, "capture_output": True}),
    (["cat"], {"stdin": PIPE, "capture_output": True}),
    (["cat"], {"stdin": PIPE, "capture_output": True, "text": True}),
    (["cat"], {"input": bytearray(b"array"), "capture_output": True}),
    (["cat"], {"input": memoryview(b"view"), "capture_output": True}),
    (["cat"], {"input": "text", "capture_output": True}),
    (["cat"], {"input": b"bytes", "capture_output": True, "text": True}),
    (["cat"], {"input": 7, "capture_output": True}),
    (["head", "-c", "3"], {"input": b"x" * 300_000, "capture_output": True}),
    (["true"], {"input": b"x" * 300_000, "capture_output": True}),
    (["true"], {"input": b"x", "stdin": PIPE}),
    (["true"], {"stdout": PIPE, "capture_output": True}),
    (["true"], {"stderr": DEVNULL, "capture_output": True}),
    (["true"], {"stdout": "a name"}),
    (["true"], {"stdin": io.StringIO("x")}),
    *((["true"], {name: number}) for name in ("stdin", "stdout", "stderr") for number in (9999, -7)),
    (["true"], {"stdout": 1.5}),
    (["true"], {"cwd": ""}),
    (["true"], {"timeout": float("inf")}),
    (["true"], {"timeout": 1e10}),
    (["true"], {"encoding": 5, "stdout": PIPE}),
    (["true"], {"errors": 5, "stdout": PIPE}),
    (["true"], {"stderr": io.BytesIO()}),
    # text
    *(
        (["printf", data], {"capture_output": True, "text": True} | more)
        for data in (r"a\r\nb\rc\n", r"\303", r"\377\376", r"x\303\251\377", r"\r", r"\r\r\n\n")
        for more in ({}, {"errors": "replace"}, {"errors": "ignore"}, {"errors": "surrogateescape"}, {"errors": "backslashreplace"},
                     {"encoding": "latin-1"}, {"encoding": "ascii"}, {"encoding": "cp1252", "errors": "replace"})
    ),
    (["printf", r"a\303"], {"stdout": PIPE, "text": True}),
    (["printf", r"\377\376h\000i\000\n\000"], {"stdout": PIPE, "encoding": "utf-16"}),
    (["printf", r"\377\376h\000i"], {"capture_output": True, "encoding": "utf-16"}),
    (["echo", "x"], {"stdout": PIPE, "encoding": "no-such-encoding"}),
    (["echo", "x"], {"stdout": PIPE, "encoding": "hex"}),
    (["echo", "x"], {"stdout": PIPE, "encoding": "locale"}),
    (["echo", "x"], {"stdout": DEVNULL, "encoding": "no-such-encoding"}),
    (["printf", r"\377"], {"stdout": PIPE, "encoding": "utf-8", "errors": "no-such-handler"}),
    (["echo", "x"], {"stdout": PIPE, "universal_newlines": True}),
    (["echo", "x"], {"stdout": PIPE, "universal_newlines": True, "text": True}),
    (["echo", "x"], {"stdout": PIPE, "universal_newlines": True, "text": False}),
    (["echo", "x"], {"stdout": PIPE, "text": False, "encoding": "utf-8"}),
    # environment and directory
    (["env"], {"env": EXACT, "capture_output": True}),
    (["env"], {"env": {b"PATH": os.defpath.encode(), b"B": b"\xff"}, "capture_output": True}),
    (["env"], {"env": {"P": Path("/x"), "E": "", "L": "a\nb=c"}, "capture_output": True}),
    (["/usr/bin/env"], {"env": {}, "capture_output": True}),
    (["env"], {"env": {"PATH": "/nowhere"}, "capture_output": True}),
    (["true"], {"env": {"A=B": "1"}}),
    (["true"], {"env": {"A": "1\0"}}),
    (["true"], {"env": {"A\0": "1"}}),
    (["true"], {"env": {"A": 1}}),
    (["true"], {"env": {1: "A"}}),
    *((["pwd"], {"cwd": cwd, "capture_output": True}) for cwd in ("/usr", b"/usr", Path("/usr"), "/usr/../etc", "/proc/self/..")),
    (["./true"], {"cwd": "/usr/bin", "capture_output": True}),
    (["bin/true"], {"cwd": "/usr", "capture_output": True}),
    *((["true"], {"cwd": cwd}) for cwd in NO_FOLDERS),
    (["true"], {"cwd": "a\0b"}),
    (["true"], {"cwd": 7.5}),
    (["no-such-program"], {"cwd": "/no/such"}),
    # what can't start
    *((program, {"capture_output": True}) for program in NO_PROGRAMS),
    (["/no/such/program", "a"], {}),
    ([b"/no/such/program", "a"], {"check": True, "text": True}),
    ([Path("/no/such/program")], {"timeout": 5}),
    (["no-such-program"], {"shell": False, "input": b"x"}),
    (["true", "x" * 200_000], {}),
    (["true", "x" * 3_000_000], {}),
    # timeouts
    (["sleep", "60"], {"timeout": 0.05, "capture_output": True}),
    (["sleep", "60"], {"timeout": 0.05, "stdout": PIPE, "text": True}),
    (["sleep", "60"], {"timeout": 0.05}),
    (["sleep", "60"], {"timeout": 0.05, "stdout": DEVNULL, "check": True}),
    (["sh", "-c", "echo early; exec sleep 60"], {"timeout": 0.3, "capture_output": True, "text": True}),
    (["sh", "-c", "echo early; echo late >&2; exec sleep 60"], {"timeout": 0.3, "stdout": PIPE, "stderr": STDOUT}),
    (["sh", "-c", "cat; exec sleep 60"], {"timeout": 0.3, "input": b"\xff\xfe", "stdout": PIPE}),
    (["echo", "x"], {"timeout": 60, "capture_output": True}),
    (["sh", "-c", "exit 4"], {"timeout": 60, "capture_output": True, "check": True}),
    (["true"], {"timeout": "1"}),
    # what Popen has besides, at its default or coming true
    (["true"], {"close_fds": True, "restore_signals": True, "pass_fds": (), "preexec_fn": None, "user": None}),
    (["true"], {"umask": -1, "process_group": None, "group": None, "extra_groups": None}),
    (["true"], {"start_new_session": True, "pipesize": 65536, "executable": None}),
    (["true"], {"startupinfo": None, "creationflags": 0}),
    (["true"], {"creationflags": 1}),
    (["true"], {"startupinfo": 1}),
]  # fmt: skip


def streams() -> Iterator[Call]:
    """Every kind of stream with every other, in bytes and in text, for ends of each sort."""
    outs: list[Any] = [PIPE, DEVNULL, "file", "fd"]
    errs: list[Any] = [PIPE, DEVNULL, STDOUT, "file", "same"]
    ins: list[dict[str, Any]] = [{"input": "x\r\né\n"}, {"stdin": DEVNULL}, {"stdin": "file"}]
    modes: list[dict[str, Any]] = [{}, {"text": True}, {"encoding": "utf-8", "errors": "replace"}]
    ends = ["exit 0", "exit 3", "kill -9 $$"]
    for number, (out, err, source, mode) in enumerate(itertools.product(outs, errs, ins, modes)):
        options = {"stdout": out, "stderr": err} | source | mode
        if "input" in options and not mode:
            options["input"] = options["input"].encode()
        yield (
            ["sh", "-c", f"echo out; cat; printf 'e\\r\\n' >&2; {ends[number % 3]}"],
            options | {"check": number % 2 == 1},
        )


def sizes() -> Iterator[Call]:
    """Around the sizes of pipes, buffers and frames."""
    for size, mode in itertools.product((1, 4095, 4097, 65535, 65536, 65537, 262145, 1_000_000), ({}, {"text": True})):
        data: Any = ("é\n" * size)[:size] if mode else (EVERY_BYTE * (size // 256 + 1))[:size]
        yield ["cat"], {"input": data, "stdout": PIPE} | mode
        yield ["tee", "/dev/stderr"], {"input": data, "capture_output": True} | mode


CALLS: list[Call] = [*ODD, *streams(), *sizes()]
COUNTED = 28  # of them in one test: a test each would take longer than the calls


@pytest.fixture(scope="module")
def shared(running: RunningServer) -> Iterator[Host]:
    with connect(running.targets["unix"]) as host:
        yield host


class Files:
    """What "file", "fd" and "same" mean for one call, and what the files hold after it."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self.options = dict(options)
        self._open: list[Any] = []
        self._paths: list[Path] = []
        for name in ("stdin", "stdout", "stderr"):
            kind = options.get(name)
            if kind == "same":
                self.options[name] = self.options.get("stdout")
            elif kind in ("file", "fd"):
                path = folder / name
                path.write_bytes(b"from the file \xff\n" if name == "stdin" else b"kept ")
                file = open(path, "rb" if name == "stdin" else "ab", buffering=0)  # noqa: SIM115  # `end` closes it
                self._open.append(file)
                self._paths.append(path)
                self.options[name] = file if kind == "file" else file.fileno()

    def end(self) -> list[tuple[bytes, int]]:
        found = [(path.read_bytes(), file.tell()) for path, file in zip(self._paths, self._open, strict=True)]
        for file in self._open:
            file.close()
        return found


def locally(folder: Path, args: Any, options: dict[str, Any]) -> dict[str, Any]:
    files = Files(folder, options)
    found = outcome(lambda: subprocess.run(args, **files.options))
    return found | {"files": files.end()}


def chunks(calls: list[Call]) -> list[Any]:
    return [
        pytest.param(calls[start : start + COUNTED], id=f"{start}-{str(calls[start][0])[:20]}")
        for start in range(0, len(calls), COUNTED)
    ]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("calls", chunks(CALLS))
def test_as_subprocess(shared: Host, running: RunningServer, tmp_path: Path, calls: list[Call]) -> None:
    faults: list[str] = []

    async def by_asyncio() -> None:
        async with connect_async(running.targets["unix"]) as host:
            for (args, options), local in zip(calls, locals_, strict=True):
                files = Files(tmp_path, options)
                mine = await outcome_async(partial(host.run, args, **files.options))
                compare(args, options, mine | {"files": files.end()}, local, "asyncio")

    def compare(args: Any, options: dict[str, Any], mine: dict[str, Any], local: dict[str, Any], front: str) -> None:
        try:
            assert_same(mine, local)
        except AssertionError as error:
            faults.append(f"{front}: run({str(args)[:300]}, **{str(options)[:300]}):\n{error}")

    locals_ = [locally(tmp_path, args, options) for args, options in calls]
    for (args, options), local in zip(calls, locals_, strict=True):
        files = Files(tmp_path, options)
        mine = outcome(partial(shared.run, args, **files.options))
        compare(args, options, mine | {"files": files.end()}, local, "blocking")
    asyncio.run(by_asyncio())
    assert not faults, "\n\n".join(faults)


def test_there_are_hundreds() -> None:
    assert len(CALLS) * 2 > 800


def products() -> Iterator[Call]:
    """Every kind of stream with every size, mode, end and limit of time.

    utf-16 with its order named: without, Popen begins with a mark or not, as the number of its pipes has it.
    """
    sizes = (0, 1, 4096, 65537, 1_500_000)
    modes: list[dict[str, Any]] = [{}, {"text": True}, {"encoding": "utf-16-le"}, {"errors": "surrogateescape"}]
    ends = ("exit 0", "exit 1", "exit 255", "kill -9 $$", "kill -TERM $$", "exec no-such-program")
    outs = ((PIPE, PIPE), (PIPE, STDOUT), ("file", "same"), (DEVNULL, PIPE), ("fd", DEVNULL))
    for size, mode, end, (out, err), timeout in itertools.product(sizes, modes, ends, outs, (None, 30)):
        data: Any = ("é\r\n" * size)[:size] if mode else (EVERY_BYTE * (size // 256 + 1))[:size]
        options = {"stdout": out, "stderr": err, "input": data, "timeout": timeout, "check": size == 1}
        yield f"cat; echo end >&2; {end}", options | mode | {"shell": True}


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_every_product(shared: Host, running: RunningServer, tmp_path: Path, number: int) -> None:
    test_as_subprocess(shared, running, tmp_path, list(products())[number::10])


# --- where the two differ, on purpose


NOT_ELSEWHERE: dict[str, Any] = {
    "preexec_fn": print,
    "close_fds": False,
    "restore_signals": False,
    "process_group": 5,
    "pass_fds": [5],
    "user": "nobody",
    "group": 0,
    "extra_groups": [1],
    "umask": 0o27,
    "executable": "/bin/false",
}


@pytest.mark.parametrize("name", NOT_ELSEWHERE)
def test_what_has_no_meaning_elsewhere_is_refused_with_the_reason(shared: Host, name: str) -> None:
    for verb in (shared.run, shared.popen):
        with pytest.raises(UsageError, match=f"^{name}=.*has no meaning for a remote command: .{{20}}"):
            verb(["true"], **{name: NOT_ELSEWHERE[name]})


def test_an_argument_that_there_is_not(shared: Host) -> None:
    with pytest.raises(TypeError, match=r"^run\(\) got an unexpected keyword argument 'capture'$"):
        shared.run(["true"], capture=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^popen\(\) got an unexpected keyword argument 'capture'$"):
        shared.popen(["true"], capture=True)  # type: ignore[call-arg]


def test_an_empty_name_is_no_program(shared: Host) -> None:
    """Popen says Permission denied, of a folder in PATH that it took for the program."""
    with pytest.raises(FileNotFoundError):
        shared.run("")


def test_errors_tell_the_host_in_a_note(shared: Host) -> None:
    """The text is subprocess's, for scripts that compare it; a traceback shows ours below."""
    with pytest.raises(FileNotFoundError) as caught:
        shared.run(["no-such-program"])
    assert str(caught.value) == "[Errno 2] No such file or directory: 'no-such-program'"
    (note,) = caught.value.__notes__
    assert note.startswith(shared.name) and "command not found in PATH=" in note


def test_what_there_is_besides(shared: Host) -> None:
    done = shared.run(["sh", "-c", "sleep 0.02; kill -USR1 $$"])
    assert (done.signal, done.returncode) == ("SIGUSR1", -10)
    assert 0.02 <= done.duration < 5
    assert shared.query(done.job).state == "finished"
    with pytest.raises(subprocess.CalledProcessError, match="SIGUSR1") as caught:
        done.check_returncode()
    assert caught.value.job == done.job  # type: ignore[attr-defined]


def test_real_time_signals_have_their_numbers(shared: Host) -> None:
    done = shared.run(["bash", "-c", "kill -37 $$"])
    assert (done.signal, done.returncode) == ("SIGRTMIN+3", -37)


@pytest.mark.parametrize("kind", ["tls", "tcp"])
def test_the_other_transports(running: RunningServer, kind: str) -> None:
    options = running.options(kind) | ({"insecure_tcp": True} if kind == "tcp" else {})
    with connect(running.targets[kind], **options) as host:
        done = host.run(["tee", "/dev/stderr"], input=EVERY_BYTE * 5000, capture_output=True)
    assert done.stdout == done.stderr == EVERY_BYTE * 5000
