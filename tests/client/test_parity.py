"""`Host.run` against `subprocess.run`: the same call gives the same result, or the same exception."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from remote_shell import DEVNULL, PIPE, STDOUT
from remote_shell.client.async_ import connect_async
from remote_shell.client.blocking import Host
from remote_shell.testing import RunningServer

EVERY_BYTE = bytes(range(256))
EXACT = {"PATH": os.defpath, "A": "1", "U": "é"}

CALLS: list[tuple[Any, dict[str, Any]]] = [
    (["true"], {}),
    (["false"], {}),
    (["true"], {"capture_output": True}),
    ("true", {"capture_output": True}),
    (b"true", {"capture_output": True}),
    (Path("/bin/true"), {"capture_output": True}),
    ([Path("/bin/echo"), b"a", "b"], {"capture_output": True}),
    (("echo", "a  b", "", "*", "é", b"\xff\xfe"), {"capture_output": True}),
    (["sh", "-c", "exit 255"], {"capture_output": True}),
    (["sh", "-c", "echo out; echo err >&2; exit 3"], {"capture_output": True}),
    (["sh", "-c", "echo out; echo err >&2"], {"stdout": PIPE, "stderr": STDOUT}),
    (["sh", "-c", "echo out; echo err >&2"], {"stdout": PIPE, "stderr": DEVNULL}),
    (["sh", "-c", "echo out; echo err >&2"], {"stdout": DEVNULL, "stderr": PIPE}),
    (["sh", "-c", "echo out; echo err >&2"], {"stdout": DEVNULL, "stderr": STDOUT}),
    (["sh", "-c", "kill -9 $$"], {"capture_output": True}),
    (["sh", "-c", "kill -TERM $$"], {"capture_output": True}),
    (["sh", "-c", "kill -PIPE $$"], {"capture_output": True}),
    (["sh", "-c", "echo part; kill -INT $$"], {"capture_output": True, "check": True}),
    ("echo $0-$((1+2)) | tr 1-9 a-i", {"shell": True, "capture_output": True}),
    (["echo $0 $1", "zero", "one"], {"shell": True, "capture_output": True}),
    ("exit 7", {"shell": True, "check": True, "capture_output": True, "text": True}),
    (["cat"], {"input": EVERY_BYTE, "capture_output": True}),
    (["cat"], {"input": b"", "capture_output": True}),
    (["cat"], {"input": "zwei\nZeilen é\n", "capture_output": True, "text": True}),
    (["cat"], {"input": "é", "capture_output": True, "encoding": "latin-1"}),
    (["cat"], {"stdin": DEVNULL, "capture_output": True}),
    (["cat"], {"stdin": PIPE, "capture_output": True}),
    (["cat"], {"input": bytearray(b"array"), "capture_output": True}),
    (["cat"], {"input": memoryview(b"view"), "capture_output": True}),
    (["printf", "a\\r\\nb\\rc\\n"], {"capture_output": True, "text": True}),
    (["printf", "\\303"], {"capture_output": True, "text": True}),
    (["printf", "\\303"], {"capture_output": True, "text": True, "errors": "replace"}),
    (["head", "-c", "3"], {"input": b"x" * 300_000, "capture_output": True}),
    (["env"], {"env": EXACT, "capture_output": True}),
    (["env"], {"env": {b"PATH": os.defpath.encode(), b"B": b"\xff"}, "capture_output": True}),
    (["pwd"], {"cwd": "/usr", "capture_output": True}),
    (["pwd"], {"cwd": Path("/usr"), "capture_output": True}),
    (["./true"], {"cwd": "/usr/bin", "capture_output": True}),
    (["sleep", "60"], {"timeout": 0.05, "capture_output": True}),
    (["sh", "-c", "echo early; sleep 60"], {"timeout": 0.2, "capture_output": True, "text": True}),
    (["no-such-program"], {"capture_output": True}),
    (["/no/such/program"], {}),
    (["/etc/passwd"], {"capture_output": True}),
    (["true"], {"cwd": "/no/such/folder"}),
    (["true"], {"cwd": "/etc/passwd/x"}),
    (["true"], {"stdout": PIPE, "capture_output": True}),
    (["true"], {"input": b"x", "stdin": PIPE}),
    (["a\0b"], {}),
    (["true"], {"env": {"A=B": "1"}}),
    ([1], {}),
    (["cat"], {"input": "text", "capture_output": True}),
    (["cat"], {"input": b"bytes", "capture_output": True, "text": True}),
]


def outcome(call: Any) -> dict[str, Any]:
    """What a call did, in a form that can be compared."""
    try:
        done = call()
    except Exception as error:
        found: dict[str, Any] = {}
        for kind in (
            subprocess.SubprocessError,
            FileNotFoundError,
            NotADirectoryError,
            PermissionError,
            ValueError,
            TypeError,
        ):
            if isinstance(error, kind):
                found[kind.__name__] = True
        for name in ("returncode", "cmd", "output", "stdout", "stderr", "timeout", "filename", "errno"):
            if hasattr(error, name):
                found[name] = getattr(error, name)
        return found
    return {name: getattr(done, name) for name in ("args", "returncode", "stdout", "stderr")}


def expected(args: Any, options: dict[str, Any]) -> dict[str, Any]:
    found = outcome(lambda: subprocess.run(args, **options))
    if "errno" in found and found.get("NotADirectoryError"):  # a cwd that is none is one kind of error with us
        del found["NotADirectoryError"]
        found |= {"FileNotFoundError": True, "errno": 2}
    if found.get("TypeError") or "AttributeError" in found:
        found = {"TypeError": True}
    return found


@pytest.mark.parametrize(("args", "options"), CALLS, ids=[f"{n}-{str(call[0])[:30]}" for n, call in enumerate(CALLS)])
def test_as_subprocess(host: Host, args: Any, options: dict[str, Any]) -> None:
    mine = outcome(lambda: host.run(args, **options))
    as_text = bool(options.get("text") or options.get("encoding"))
    if "input" in options and isinstance(options["input"], str) != as_text and "stdin" not in options:
        assert mine == {"TypeError": True}  # subprocess has an AttributeError for one of the two
        return
    assert mine == expected(args, options)


async def test_the_asyncio_front_is_the_same(running: RunningServer) -> None:
    async with connect_async(running.targets["unix"]) as host:
        for args, options in CALLS:
            if options.get("timeout") or "input" in options:
                continue
            try:
                done: Any = await host.run(args, **options)
            except Exception as error:
                done = error

            def again(done: Any = done) -> Any:
                if isinstance(done, Exception):
                    raise done
                return done

            assert outcome(again) == expected(args, options), args


def test_what_there_is_besides(host: Host) -> None:
    done = host.run(["sh", "-c", "sleep 0.02; kill -USR1 $$"])
    assert (done.signal, done.returncode) == ("SIGUSR1", -10)
    assert 0.02 <= done.duration < 5
    assert host.query(done.job).state == "finished"
    with pytest.raises(subprocess.CalledProcessError, match="SIGUSR1") as caught:
        done.check_returncode()
    assert caught.value.job == done.job  # type: ignore[attr-defined]


def test_real_time_signals_have_their_numbers(host: Host) -> None:
    done = host.run(["bash", "-c", "kill -37 $$"])
    assert (done.signal, done.returncode) == ("SIGRTMIN+3", -37)


@pytest.mark.parametrize("kind", ["tls", "tcp"])
def test_the_other_transports(running: RunningServer, kind: str) -> None:
    from remote_shell.client.blocking import connect

    options = running.options(kind) | ({"insecure_tcp": True} if kind == "tcp" else {})
    with connect(running.targets[kind], **options) as host:
        done = host.run(["tee", "/dev/stderr"], input=EVERY_BYTE * 5000, capture_output=True)
    assert done.stdout == done.stderr == EVERY_BYTE * 5000
