"""Everything that can be said before login, on real sockets of a server with its own settings: what comes of it, and what is answered.

Frames of all 256 types and all messages, on channel 0 and on 1, in each state before login. What a command would leave is looked for in
four places: a file that every command in these messages would make, the server's children, the kernel's account of children that it had
(proc_pid_stat(5), cminflt: page faults of those that were waited for), and its folders.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections import Counter
from collections.abc import Iterator

from remote_shell.server.sessions import REQUESTS
from remote_shell.testing import RunningServer, server
from tests.server.conftest import ALL, children_of
from tests.server.raw_client import RawClient, Stranger, make_hello, until
from tests.server.test_arrival import DENIED, control
from tests.wire.test_messages import EXAMPLES
from torture_parts.figure import Figure, Settings, none, show, told

AT_ONCE = 200  # connections; a refusal takes its second
REFUSED_LOGIN = {"type": "auth", "method": "secret", "secret": "nobody", "proof": "AAAA"}
STATES = ("first", "after hello", "behind a refused login")


def run(settings: Settings) -> Iterator[Figure]:
    """Nothing may come of anything."""
    with server(ALL) as running:
        canary = os.path.join(running.home, "canary")
        with RawClient(running.targets["unix"]) as client:
            client.run(["true"])  # what the first command of all leaves is no stranger's
        until(lambda: not children_of(running.process.pid), "the command is gone")
        before = observed(running)
        every = 7 if settings.quick else 1
        for kind in ("unix", "tcp", "tls"):
            yield from through(running, kind, inputs(canary), every)
        yield from silence(running, every)
        files, faults = observed(running)
        yield none("commands run", int(os.path.exists(canary)))
        yield none(
            "processes started (children, their page faults)",
            len(children_of(running.process.pid)) + faults - before[1],
        )
        yield none("files made or changed", len(files ^ before[0]))
        with RawClient(running.targets["unix"]) as client:
            client.run(["touch", canary])
        files, faults = observed(running)
        seen = os.path.exists(canary) and faults > before[1] and files != before[0]
        yield Figure("the control: a command after a login is seen in all three", "yes", "yes" if seen else "no", seen)


def through(running: RunningServer, kind: str, cases: dict[str, bytes], every: int) -> Iterator[Figure]:
    """All of them over one transport."""
    answers: Counter[bytes] = Counter()
    left = [(state, name, said(state, data)) for state in STATES for name, data in cases.items()][::every]
    left = [
        (state, name, data) for state, name, data in left if (state, name) != ("first", "hello on 0")
    ]  # that one is legal
    count = len(left)
    while left:
        show(f"types: {kind}, {len(left):,} left")
        batch, left = left[:AT_ONCE], left[AT_ONCE:]
        strangers = [(data, Stranger(running.targets[kind])) for _, _, data in batch]
        for data, stranger in strangers:
            stranger.send(data)
        for (state, _, _), (_, stranger) in zip(batch, strangers, strict=True):
            answers[without_hello(stranger.rest()) if state != "first" else stranger.rest()] += 1
    other = count - answers[DENIED]
    yield told(f"{kind}: frames and messages in the {len(STATES)} states", f"{count:,}")
    yield none(f"{kind}: answers that are not the one refusal", other, f": {set(answers) - {DENIED}}" if other else "")


def silence(running: RunningServer, every: int) -> Iterator[Figure]:
    """Without TLS on the port of TLS: at most its own alert, and never one of our frames."""
    firsts = [bytes([first]) + struct.pack("!IBI", 40, 3, 0) + b"x" * 40 for first in range(0, 256, every)]
    answers: Counter[bytes] = Counter()
    strangers = [Stranger(running.targets["tls"], tls=False) for _ in firsts]
    for data, stranger in zip(firsts, strangers, strict=True):
        stranger.send(data)
        with contextlib.suppress(OSError):  # ENOTCONN: it has hung up already
            stranger.sock.shutdown(socket.SHUT_WR)
    for stranger in strangers:
        answers[stranger.rest()] += 1
    yield none(
        "no TLS on the TLS port: answers but an alert of TLS", sum(n for said, n in answers.items() if len(said) > 7)
    )


def inputs(canary: str) -> dict[str, bytes]:
    """Name and bytes of each frame; every message that can name a command names one that makes the file `canary`."""
    cases = {}
    for channel in (0, 1):
        for kind in range(256):
            cases[f"type {kind} on {channel}"] = struct.pack("!IBI", 40, kind, channel) + b"x" * 40
        for name, fields in EXAMPLES.items():
            cases[f"{name} on {channel}"] = control({"type": name, **fields}, channel)
        for request in REQUESTS:
            start = {
                "type": "open",
                "request": request,
                "id": f"{request}{channel}",
                "window": 9,
                "argv": ["touch", canary],
            }
            cases[f"open {request} on {channel}"] = control(start, channel)
        cases[f"a job on {channel}"] = control({**start, "request": "exec", "detach": True}, channel)
        cases[f"a line on {channel}"] = control({"type": "command", "number": 1, "line": f"touch {canary}"}, channel)
    return cases


def said(state: str, data: bytes) -> bytes:
    """What brings the server to that state, and `data` in the same segment."""
    before = {"first": b"", "after hello": control(make_hello())}
    return before.get(state, control(make_hello()) + control(REFUSED_LOGIN)) + data


def without_hello(answer: bytes) -> bytes:
    """The server's hello has a nonce; all behind it has not."""
    length = int.from_bytes(answer[:4], "big")
    return answer[9 + length :] if answer[9:].startswith(b'{"type":"hello"') else answer


def observed(running: RunningServer) -> tuple[set[tuple[str, int, int]], int]:
    """The files of its folders, but for the log, with size and time; page faults of the children that it had."""
    files = set()
    for folder, _, names in os.walk(running.home):
        for name in names:
            facts = os.lstat(os.path.join(folder, name))
            files.add((os.path.join(folder, name), facts.st_size, facts.st_mtime_ns))
    with open(f"/proc/{running.process.pid}/stat", encoding="utf-8", errors="replace") as file:
        faults = int(file.read().rpartition(")")[2].split()[8])
    return {found for found in files if found[0] != running.log}, faults
