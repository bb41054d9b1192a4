"""`AsyncHost.popen` against asyncio's own processes in bytes, and against Popen's files in text."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from remote_shell import DEVNULL, PIPE, STDOUT
from remote_shell.client.async_ import connect_async
from remote_shell.errors import UsageError
from remote_shell.testing import RunningServer

from .compared import assert_same, outcome_async

ALL = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE}
Script = tuple[list[str], dict[str, Any], str]
SCRIPTS: list[Script] = [
    (["true"], {}, "p.wait(); p.returncode; p.communicate(); p.stdin, p.stdout, p.stderr"),
    (["sh", "-c", "exit 7"], {"stdout": DEVNULL, "stderr": STDOUT}, "p.wait(); p.returncode"),
    (["sleep", "60"], {}, "p.terminate(); p.wait()"),
    (["sleep", "60"], {}, "p.kill(); p.wait()"),
    (["sleep", "60"], {}, "p.send_signal(10); p.wait()"),
    (["cat"], ALL, "p.stdin.write(b'one\\ntwo\\nthree'); p.stdin.drain(); p.stdout.readline(); p.stdout.read(2); p.stdout.readexactly(2); "
     "p.stdin.close(); p.stdout.read(); p.stdout.at_eof(); p.stdout.read(); p.stdout.readline(); p.wait()"),
    (["cat"], ALL, "p.stdin.writelines([b'a;', b'b']); p.stdout.readuntil(b';'); p.stdin.can_write_eof(); p.stdin.write_eof(); "
     "p.stdout.readuntil(b';'); p.wait()"),
    (["cat"], ALL, "p.stdin.is_closing(); p.stdin.close(); p.stdin.is_closing(); p.wait(); p.stdout.readexactly(3); p.stdout.read(0)"),
    (["cat"], ALL, "p.communicate(b'x' * 200000); p.returncode"),
    (["true"], ALL, "p.communicate(b'x' * 200000); p.returncode"),
    (["sh", "-c", "echo out; echo err >&2; exit 3"], ALL, "p.communicate(); p.returncode"),
    (["sh", "-c", "echo out; echo err >&2"], {"stdout": PIPE, "stderr": STDOUT}, "p.communicate()"),
    (["printf", "a\\nb\\r\\nc\\rd"], {"stdout": PIPE}, "p.stdout.readline(); p.stdout.readline(); p.stdout.readline(); p.wait()"),
    (["no-such-program"], {}, ""),
    (["true"], {"cwd": "/no/such"}, ""),
    (["true"], {"cwd": "/etc/passwd"}, ""),
    (["/etc/passwd"], {}, ""),
]  # fmt: skip


async def played(start: Callable[..., Any], steps: str) -> list[dict[str, Any]]:
    found: list[Any] = []

    async def begin() -> None:
        found.append(await start())

    results = [await outcome_async(begin)]
    if found:
        for step in steps.split("; "):

            async def one(step: str = step) -> Any:
                value = eval(step, {"p": found[0]})  # noqa: S307
                return await value if inspect.isawaitable(value) else value

            results.append(await outcome_async(one))
    return results


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: f"{script[0]}-{script[2]}"[:50])
async def test_as_asyncios_processes(running: RunningServer, script: Script) -> None:
    args, options, steps = script
    async with connect_async(running.targets["unix"]) as host:
        mine = await played(lambda: host.popen(args, **options), steps)
        local = await played(lambda: asyncio.create_subprocess_exec(*args, **options), steps)
        for step, here, there in zip(["the start", *steps.split("; ")], mine, local, strict=False):
            for found in (here, there):
                if "error" in found and isinstance(found["error"], asyncio.IncompleteReadError):
                    found["fields"].pop("args")  # how many were wanted is not told of a separator in the same way
            try:
                assert_same(here, there)
            except AssertionError as error:
                error.add_note(step)
                raise
        assert len(mine) == len(local)


def texts() -> Iterator[tuple[str, dict[str, Any]]]:
    """What is cut in the middle of characters and of line ends, in every mode."""
    datas = ["a\\r", "\\nb\\rc", "\\303", "\\251\\n", "\\377\\376", "x" * 100, "\\360\\237", "\\230\\200"]
    for first, second in itertools.product(datas, repeat=2):
        for mode in ({"errors": "replace"}, {"encoding": "latin-1"}, {"errors": "surrogateescape"}, {"text": True}):
            yield f"printf '{first}'; read go; printf '{second}'", mode


async def test_text_is_decoded_as_it_comes(running: RunningServer) -> None:
    """Each half comes by itself, and what is read is what Popen's file gives; strict errors are at the same byte."""
    async with connect_async(running.targets["unix"]) as host:

        async def compare(line: str, mode: dict[str, Any], read: str) -> None:
            process = await host.popen(line, shell=True, stdin=PIPE, stdout=PIPE, **mode)
            found = ""

            async def everything() -> str:
                nonlocal found
                assert process.stdout is not None and process.stdin is not None
                if read == "communicate":
                    return str((await process.communicate("\n"))[0])
                process.stdin.write("\n")
                if read == "all":
                    return str(await process.stdout.read())
                if read == "lines":
                    return "".join([part async for part in process.stdout])
                while part := await process.stdout.read(1):
                    assert len(part) == 1
                    found += part
                return found

            try:
                text: Any = await everything()
            except UnicodeDecodeError as error:
                text = type(error)
            process.abandon()
            try:
                local: Any = subprocess.run(line, shell=True, input="\n", stdout=PIPE, **mode).stdout
            except UnicodeDecodeError as error:
                local = type(error)
            assert text == local, (line, mode, read)

        for number, (line, mode) in enumerate(texts()):
            await compare(line, mode, ("all", "lines", "one", "communicate")[number // 3 % 4])


async def test_what_was_read_ahead_is_in_a_timeout_and_comes_after_it(running: RunningServer) -> None:
    async with connect_async(running.targets["unix"]) as host:
        process = await host.popen("printf 'a\\né'; exec sleep 60", shell=True, stdout=PIPE, text=True)
        assert process.stdout is not None and await process.stdout.readline() == "a\n"
        for _ in range(2):
            with pytest.raises(subprocess.TimeoutExpired) as caught:
                await process.communicate(timeout=0.1)
            assert caught.value.output == "é".encode()
        with pytest.raises(ValueError, match="Cannot send input after starting communication"):
            await process.communicate("late")
        process.kill()
        assert await process.communicate() == ("é", None) == await process.communicate()
        assert process.poll() == -9


async def test_a_forked_copy_and_another_loop_refuse(running: RunningServer) -> None:
    async with connect_async(running.targets["unix"]) as host:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                host.run(["true"]).send(None)
            except UsageError as error:
                os.write(writer, str(error).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            assert b"forked copy" in file.read()
        os.waitpid(child, 0)

        def elsewhere() -> None:
            with pytest.raises(UsageError, match="event loop"):
                asyncio.run(host.run(["true"]))

        await asyncio.to_thread(elsewhere)
        assert (await host.run(["true"])).returncode == 0, "the stream is unharmed"
