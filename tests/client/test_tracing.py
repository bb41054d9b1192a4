"""A trace shows what crossed the wire, no more and no less: compared with what a proxy between client and server saw."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from remote_shell.client.async_ import connect_async
from remote_shell.client.blocking import connect
from remote_shell.client.opening import Pty
from remote_shell.client.tracing import TraceEvent
from remote_shell.errors import ConnectError
from remote_shell.link import PlainLink
from remote_shell.testing import RunningServer
from remote_shell.wire.frames import HEADER, HEADER_SIZE
from tests.proxy import Proxy

pytestmark = pytest.mark.screen  # as a file it takes long

Events = list[TraceEvent]
ZEROS = ["head", "-c", "100000", "/dev/zero"]


def bytes_of(events: Events, connection: int, way: int) -> tuple[bytes, bytes]:
    """What crossed, by the trace; and the same length of bytes that are 1 where something is hidden."""
    data, hidden = b"", bytearray()
    for event in events:
        if event.connection == connection and event.kind in ("frame", "part", "stray") and event.sent == (way == 0):
            at = len(data)
            data += event.raw
            hidden += bytes(len(event.raw))
            for begin, count in event.hidden:
                hidden[at + begin : at + begin + count] = b"\1" * count
    return data, bytes(hidden)


def check_same(events: Events, proxy: Proxy) -> None:
    """Byte for byte what the proxy passed, but for what is hidden. Where a connection ends one has seen a little more than the other."""
    last = max(event.connection for event in events)
    assert {event.connection for event in events} == {number for number, _ in proxy.recorded}
    for (connection, way), passed in proxy.recorded.items():
        traced, hidden = bytes_of(events, connection, way)
        seen = bytes(passed)
        sent, arrived = (traced, seen) if way == 0 else (seen, traced)
        assert len(sent) >= len(arrived)  # nobody receives what was not sent
        late = sent[len(arrived) :]
        if connection == last:  # which we closed: what the server still answered is the only thing that is lost there
            assert not late or (way == 1 and late.count(b'"type":') == late.count(b'"pong"') == 1)
        size = len(arrived)
        shown = bytes(b"*"[0] if covered else byte for byte, covered in zip(seen[:size], hidden[:size], strict=True))
        assert shown == traced[:size]


def messages(events: Events, name: str) -> list[dict[str, Any]]:
    found = []
    for event in events:
        if event.kind == "frame" and HEADER.unpack_from(event.raw)[1] == 3:
            message = json.loads(event.raw[HEADER_SIZE:])
            if message["type"] == name:
                found.append(message)
    return found


@pytest.mark.parametrize("kind", ["unix", "tcp"])
@pytest.mark.parametrize("front", ["blocking", "asyncio"])
def test_the_trace_is_what_a_proxy_sees(kind: str, front: str, running: RunningServer) -> None:
    events: Events = []
    options = {**running.options(kind), "trace": events.append}
    if kind == "tcp":
        options |= {"insecure_tcp": True}
    given = bytes(range(256)) * 1000

    async def by_asyncio(target: str) -> bytes:
        async with connect_async(target, **options) as host:
            await host.run(["cat"], input=b"warm up")
            done: bytes = (await host.run(["cat"], input=given, capture_output=True)).stdout
            return done

    with Proxy(running.targets[kind], piece=1000, record=True) as proxy:
        if front == "asyncio":
            assert asyncio.run(by_asyncio(proxy.target)) == given
        else:
            with connect(proxy.target, **options) as host:
                host.run(["cat"], input=b"warm up")
                assert host.run(["cat"], input=given, capture_output=True).stdout == given
        while proxy.connections:
            pass
        check_same(events, proxy)
        raw = b"".join(bytes(part) for part in proxy.recorded.values())
        assert events[0].kind == "connected" and events[0].text == proxy.target
    assert events[-1].kind == "closed" and events[-1].text == "by us"
    assert [message["type"] for name in ("hello", "auth", "welcome") for message in messages(events, name)] == [
        *("hello", "hello", "auth", "welcome")
    ]
    session = messages(events, "welcome")[0]["session"]
    assert set(session) == {"*"} and b'"session":"*' not in raw
    assert not any(event.again for event in events)
    assert sorted(event.at for event in events) == [event.at for event in events]


def test_a_login_by_secret_leaves_no_proof_behind(running: RunningServer) -> None:
    events: Events = []
    with Proxy(running.targets["tcp"], record=True) as proxy:
        with connect(proxy.target, secret_file=running.secret_file, insecure_tcp=True, trace=events.append) as host:
            host.run(["true"])
        text = b"".join(bytes(part) for part in proxy.recorded.values()).decode("latin-1")
    proofs = [part.split('"')[0] for part in text.split('"proof":"')[1:]]
    session = text.split('"session":"')[1].split('"')[0]
    assert len(proofs) == 2 and min(map(len, [*proofs, session])) >= 22
    told = b"".join(event.raw for event in events).decode("latin-1")
    assert not [secret for secret in (*proofs, session) if secret in told]


def test_tls_is_traced_inside(running: RunningServer) -> None:
    events: Events = []
    with connect(running.targets["tls"], **running.options("tls"), trace=events.append) as host:
        assert host.run(["echo", "hi"], capture_output=True).stdout == b"hi\n"
    assert events[0].text == running.targets["tls"]
    assert any(event.raw.endswith(b"hi\n") for event in events)
    assert messages(events, "auth")[0]["keys"][0]["proof"].strip("*") == ""


@pytest.mark.parametrize("front", ["blocking", "asyncio"])
def test_frames_that_are_sent_again_are_shown_again(front: str, running: RunningServer) -> None:
    """Cut at byte after byte: what the trace lost or made up would differ from what the proxy saw."""
    events: Events = []
    options: dict[str, Any] = {"trace": events.append, "connect_timeout": 10.0}
    given = bytes(range(256)) * 200

    async def by_asyncio(target: str) -> bytes:
        async with connect_async(target, **options) as host:
            done: bytes = (await host.run(["cat"], input=given, capture_output=True)).stdout
            proxy.cut_in(9999)
            await host.run(ZEROS, capture_output=True)
            return done

    def cut_after(number: int) -> int | None:
        return 3000 + number * 7013 if number <= 4 else None  # the login takes about 900 bytes

    with Proxy(running.targets["unix"], cut_after=cut_after, record=True, piece=500) as proxy:
        if front == "asyncio":
            assert asyncio.run(by_asyncio(proxy.target)) == given
        else:
            with connect(proxy.target, **options) as host:
                assert host.run(["cat"], input=given, capture_output=True).stdout == given
                proxy.cut_in(9999)
                host.run(ZEROS, capture_output=True)
        while proxy.connections:
            pass
        check_same(events, proxy)
        last = proxy.accepted
    assert [event.connection for event in events if event.kind == "connected"] == list(range(1, last + 1))
    assert [event.connection for event in events if event.kind == "closed"] == list(range(1, last + 1))
    assert any(event.again for event in events) and any(event.kind == "part" for event in events)
    assert all(event.sent for event in events if event.again)
    assert len(messages(events, "welcome")) == last
    resumed = [message for message in messages(events, "auth") if "session" in message]
    assert len(resumed) == last - 1 and all(set(message["session"]) == {"*"} for message in resumed)


def test_a_password_for_a_terminal_is_in_no_event(running: RunningServer) -> None:
    events: Events = []
    with connect(running.targets["unix"], trace=events.append) as host:
        with host.popen(
            ["sh", "-c", "stty -echo; echo ask; read x; echo ${#x}"], stdin=-1, stdout=-1, pty=Pty()
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            assert process.stdout.readline() == b"ask\r\n"
            process.stdin.write(b"hunter2\n")
            process.stdin.flush()
            assert process.stdout.readline().strip() == b"7"
    told = b"".join(event.raw for event in events)
    assert b"hunter2" not in told and b"ask" in told
    assert [event.why for event in events if event.raw.endswith(b"*" * 8)] == ["typed into a terminal"]


def test_variables_are_in_no_event(running: RunningServer) -> None:
    events: Events = []
    with connect(running.targets["unix"], trace=events.append) as host:
        host.run(["true"], env_add={"API_TOKEN": "t0ken-t0ken", "TZ": "UTC"})
    told = b"".join(event.raw for event in events)
    assert b"t0ken" not in told and b'["API_TOKEN","***********"]' in told and b'["TZ","UTC"]' in told


def test_a_server_of_another_kind_is_shown_as_it_spoke() -> None:
    events: Events = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)

        def answer() -> None:
            with listener.accept()[0] as stream:
                stream.recv(4096)
                stream.sendall(b"HTTP/1.1 400 Bad Request\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConnectError):
            connect(f"tcp:127.0.0.1:{listener.getsockname()[1]}", insecure_tcp=True, trace=events.append)
        thread.join()
    assert [(event.kind, event.sent) for event in events] == [
        *(("connected", False), ("frame", True), ("stray", False), ("closed", False))
    ]
    assert events[2].raw == b"HTTP/1.1 400 Bad Request\r\n" and not events[2].hidden


def test_the_other_side_that_hangs_up_is_told() -> None:
    events: Events = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)

        def answer() -> None:
            with listener.accept()[0] as stream:
                stream.recv(4096)
                stream.sendall(b"\0\0\1")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConnectError):
            connect(f"tcp:127.0.0.1:{listener.getsockname()[1]}", insecure_tcp=True, trace=events.append)
        thread.join()
    assert [event.kind for event in events] == ["connected", "frame", "part", "closed"]
    assert events[2].raw == b"\0\0\1" and events[3].text == "the server closed the connection"


def test_without_a_trace_nothing_stands_between(running: RunningServer) -> None:
    with connect(running.targets["unix"]) as host:
        assert type(host._driver.link) is PlainLink
    code = (
        "import sys, remote_shell\n"
        f"with remote_shell.connect({running.targets['unix']!r}) as host: host.run(['true'])\n"
        "print([name for name in sys.modules if 'trac' in name and name.startswith('remote_shell') or 'masking' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("front", ["blocking", "asyncio"])
def test_a_connection_that_does_not_come_about_is_told(front: str, tmp_path: Path) -> None:
    events: Events = []

    async def by_asyncio() -> None:
        await connect_async(f"unix:{tmp_path}/nobody", trace=events.append)

    with pytest.raises(ConnectError) as caught:
        if front == "asyncio":
            asyncio.run(by_asyncio())
        else:
            connect(f"unix:{tmp_path}/nobody", trace=events.append)
    assert [(event.kind, event.connection, event.text) for event in events] == [("failed", 1, str(caught.value))]
