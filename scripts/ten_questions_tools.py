"""One call of one tool in a process of its own, so that it can be killed, hang or fall over without taking the questions with it.

    PYTHON ten_questions_tools.py TOOL < request.json > answer.json

Each tool is used as its own documentation shows it first, with its defaults, since those are what people get; what is set is only where to
log in and as whom. The standard library, and the one tool that is asked for. Must not correct what a tool says. Neighbour:
`ten_questions_main` asks and judges.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

HEAD = 64  # characters of the output that are passed on as they are

Request = Mapping[str, Any]
Answer = dict[str, Any]
Call = Callable[[str, bytes | None, float | None], Answer]  # (line, input, timeout)


def result(returncode: object, stdout: str | bytes, stderr: str | bytes, **more: object) -> Answer:
    """What the tool told of a command that ended."""
    return {"returncode": returncode, "stdout": digest(stdout), "stderr": digest(stderr), **more}


def digest(data: str | bytes) -> dict[str, object]:
    """Enough of an output to compare it; text as the UTF-8 that it stands for."""
    raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    return {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest(), "head": raw[:HEAD].decode("latin-1")}


def use_remote_shell(where: Request) -> tuple[Call, Callable[[], None]]:
    import remote_shell

    host = remote_shell.connect(where["target"], **where["options"])

    def call(line: str, data: bytes | None, timeout: float | None) -> Answer:
        done = host.run(line, shell=True, capture_output=True, input=data, timeout=timeout)
        return result(done.returncode, done.stdout, done.stderr)

    return call, host.close


def use_ssh(where: Request) -> tuple[Call, Callable[[], None]]:
    def call(line: str, data: bytes | None, timeout: float | None) -> Answer:
        stdin = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
        done = subprocess.run([*where["ssh"], line], capture_output=True, timeout=timeout, **stdin)
        return result(done.returncode, done.stdout, done.stderr)

    return call, lambda: None


def use_paramiko(where: Request) -> tuple[Call, Callable[[], None]]:
    import paramiko

    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    client.connect(
        where["host"], where["port"], where["user"], key_filename=where["key"], look_for_keys=False, allow_agent=False
    )

    def call(line: str, data: bytes | None, timeout: float | None) -> Answer:
        stdin, stdout, stderr = client.exec_command(line, timeout=timeout)
        if data is not None:
            stdin.write(data)
        stdin.close()
        out, err = stdout.read(), stderr.read()
        return result(stdout.channel.recv_exit_status(), out, err)

    return call, client.close


def use_fabric(where: Request) -> tuple[Call, Callable[[], None]]:
    import io

    import fabric

    options = {"key_filename": where["key"], "look_for_keys": False, "allow_agent": False}
    connection = fabric.Connection(where["host"], where["user"], where["port"], connect_kwargs=options)

    def call(line: str, data: bytes | None, timeout: float | None) -> Answer:
        stdin = False if data is None else io.StringIO(data.decode("ascii"))
        done = connection.run(line, hide=True, warn=True, in_stream=stdin, timeout=timeout)
        return result(done.return_code, done.stdout, done.stderr)

    return call, connection.close


def use_asyncssh(where: Request) -> tuple[Call, Callable[[], None]]:
    import asyncio

    import asyncssh

    loop = asyncio.new_event_loop()
    connecting = asyncssh.connect(
        where["host"], where["port"], username=where["user"], client_keys=[where["key"]], known_hosts=None
    )
    connection = loop.run_until_complete(connecting)

    def call(line: str, data: bytes | None, timeout: float | None) -> Answer:
        text = None if data is None else data.decode("ascii")
        stdin = {"stdin": asyncssh.DEVNULL} if text is None else {"input": text}
        done = loop.run_until_complete(connection.run(line, timeout=timeout, **stdin))
        signal = done.exit_signal[0] if done.exit_signal else None
        if done.exit_status is None:
            return {"error": "no status and no exception", "kind": "None"}
        return result(done.exit_status, done.stdout or "", done.stderr or "", signal=signal)

    return call, connection.close


def use_parallel_ssh(where: Request) -> tuple[Call, Callable[[], None]]:
    from pssh.clients import ParallelSSHClient

    client = ParallelSSHClient([where["host"]], where["user"], port=where["port"], pkey=where["key"])

    def call(line: str, data: bytes | None, timeout: float | None) -> Answer:
        more = {} if timeout is None else {"read_timeout": timeout}
        (host,) = client.run_command(line, **more)
        if data is not None:
            host.stdin.write(data.decode("ascii"))
            host.stdin.flush()
            host.client.eagain(host.channel.send_eof)
        out, err = ("\n".join([*stream, ""]) for stream in (host.stdout, host.stderr))
        client.join(timeout=timeout)
        return result(host.exit_code, out, err)

    return call, lambda: None


TOOLS = {
    "remote_shell": use_remote_shell,
    "ssh": use_ssh,
    "paramiko": use_paramiko,
    "fabric": use_fabric,
    "asyncssh": use_asyncssh,
    "parallel-ssh": use_parallel_ssh,
}


def main() -> None:
    request = json.load(sys.stdin)
    answer: Answer = {}
    data = None if request["input"] is None else (request["input"] * request["times"]).encode("ascii")
    try:
        call, close = TOOLS[sys.argv[1]](request["where"])
        seconds = []
        for _ in range(request["calls"]):
            start = time.monotonic()
            answer = call(request["line"], data, request["timeout"])
            seconds.append(time.monotonic() - start)
        answer["seconds"] = statistics.median(seconds)
        close()
    except Exception as error:
        answer |= {"error": f"{type(error).__name__}: {error}"[:300], "kind": type(error).__name__}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
