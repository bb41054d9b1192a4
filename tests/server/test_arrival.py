"""Before login: whatever a stranger says, it gets one refusal, at one time, and nothing else happens."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import time
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from remote_shell.identity.secrets import generate, load_secret
from remote_shell.identity.tls import client_context
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.testing import RunningServer
from remote_shell.wire import frames
from remote_shell.wire.frames import CONTROL, FrameDecoder
from remote_shell.wire.messages import HELLO_SIZE, Message

from ..wire.test_messages import EXAMPLES
from .conftest import KINDS, Place, Starter, descriptors, resident
from .raw_client import LoginDeniedError, RawClient, Stranger, by_secret, make_hello, until

pytestmark = pytest.mark.screen  # as a file it takes long

DENIED = b"\0\0\0\x11\3\0\0\0\0" + b'{"type":"denied"}'
MOST = DEFAULT_LIMITS.frame_max_before_login


def control(message: Message | Mapping[str, Any] | bytes, channel: int = 0) -> bytes:
    """A control frame."""
    if isinstance(message, Message):
        payload = message.encode()
    else:
        payload = message if isinstance(message, bytes) else json.dumps(message).encode()
    return frames.encode(CONTROL, channel, payload)


def header(length: int, kind: int = CONTROL, channel: int = 0, body: bytes = b"x" * 40) -> bytes:
    """A header that promises `length` bytes, and `body`."""
    return struct.pack("!IBI", length, kind, channel) + body


def hello() -> bytes:
    """A good hello."""
    return control(make_hello())


def bad_hello(**fields: Any) -> bytes:
    """A hello with something wrong."""
    return control(json.dumps({**json.loads(make_hello().encode()), **fields}).encode().ljust(HELLO_SIZE))


def bad_lengths() -> dict[str, bytes]:
    """Lengths that are none, and the largest that is one."""
    lengths = (0, MOST + 1, DEFAULT_LIMITS.frame_max, DEFAULT_LIMITS.frame_max + 1, 2**31, 2**32 - 1)
    return {f"length {length}": header(length) for length in lengths} | {
        "the largest frame": control(b" " * MOST),
        "a length, and a megabyte": header(2**20, body=b"x" * 2**20),
    }


def bad_payloads() -> dict[str, bytes]:
    """Frames that are whole and make no sense."""
    return {
        "bad UTF-8": control(b'{"type":"\xff\xfe"}'),
        "deep JSON": control(b"[" * 2000 + b"]" * 2000),
        "deep object": control(b'{"type":' * 400 + b"0" + b"}" * 400),
        "no JSON": control(b"GET / HTTP/1.1\r\n\r\n" * 3),
        "no object": control(b"[1,2,3,4,5,6,7,8,9,10]"),
        "no type": control(b'{"kind":"hello"}' + b" " * 20),
        "a number for a type": control(b'{"type":1}' + b" " * 20),
        "an unknown type": control(b'{"type":"' + b"y" * 200 + b'"}'),
        "HTTP": b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
        "ssh": b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n",
        "hello on a channel": control(make_hello(), channel=1),
        "a hello shorter than its answer": control(make_hello().encode().rstrip()),
        "a nonce that is no base64": bad_hello(nonce="AAA=AAA="),
        "an unknown field": bad_hello(colour="red"),
        "a figure as text": bad_hello(window="1"),
        "a figure below zero": bad_hello(window=-1),
        "a figure too large": bad_hello(window=2**53),
        "a name too long": bad_hello(software="s" * 1025),
    }


def bad_first_messages() -> dict[str, bytes]:
    """Every message that is not a hello."""
    examples = {name: fields for name, fields in EXAMPLES.items() if name != "hello"}
    return {f"{name} first": control({"type": name, **fields}) + b" " * 20 for name, fields in examples.items()}


def after_hello() -> dict[str, bytes]:
    """Every message that is not an auth after a hello, bad ones, and hellos that are understood but do not fit: all are greeted."""
    examples = {name: control({"type": name, **fields}) for name, fields in EXAMPLES.items() if name != "auth"}
    examples["hello"] = hello()
    return {f"{name} after hello": hello() + frame for name, frame in examples.items()} | {
        "another version": bad_hello(version=2),
        "version zero": bad_hello(version=0),
        "a short nonce": bad_hello(nonce="AAAA"),
        "limits too small": bad_hello(frame_max=1),
        "a method that there is not": hello() + control({"type": "auth", "method": "password", "proof": "AAAA"}),
        "an auth that says nothing": hello() + control({"type": "auth"}),
        "a key that is none": hello()
        + control({"type": "auth", "method": "key", "keys": [{"key": "AAAA", "proof": "AAAA"}]}),
        "no keys": hello() + control({"type": "auth", "method": "key", "keys": []}),
        "too many keys": hello() + control({"type": "auth", "method": "key", "keys": [{"key": "", "proof": ""}] * 9}),
        "an unknown secret": hello() + control({"type": "auth", "method": "secret", "secret": "who", "proof": "AAAA"}),
        "an unknown invitation": hello()
        + control(
            {
                "type": "auth",
                "method": "invite",
                "invite": "0" * 32,
                "proof": "AAAA",
                "keys": [{"key": "AAAA", "proof": "AAAA"}],
            }
        ),
        "an invitation without a name": hello() + control({"type": "auth", "method": "invite"}),
        "an invitation that is a path": hello()
        + control({"type": "auth", "method": "invite", "invite": "../server_key"}),
        "a secret without a name": hello() + control({"type": "auth", "method": "secret"}),
    }


def frame_types() -> dict[str, bytes]:
    """A frame of each type that there could be."""
    return {f"type {kind} on {kind & 1}": header(40, kind, kind & 1) for kind in range(256)}


def replies(place: Place, cases: Mapping[str, bytes]) -> Iterable[tuple[str, bytes]]:
    """What each case is answered, a hundred at once: a refusal takes its time, and a TLS connection 17 KiB."""
    left = list(cases.items())
    while left:
        batch = [(name, data, Stranger(place.target)) for name, data in left[:100]]
        del left[:100]
        for _, data, stranger in batch:
            stranger.send(data)
        for name, _, stranger in batch:
            yield name, stranger.rest()


@pytest.mark.parametrize("cases", [bad_lengths, bad_payloads, bad_first_messages, after_hello, frame_types])
def test_one_refusal_for_everything(cases: Any, place: Place, unharmed: RunningServer) -> None:
    inputs: dict[str, bytes] = cases()
    if cases is frame_types and place.kind != "unix":
        inputs = {name: inputs[name] for name in list(inputs)[:: 15 if place.kind == "tls" else 5]}
    logged = unharmed.read_log().count("refused: ")
    for name, answer in replies(place, inputs):
        assert (without_hello(answer) if cases is after_hello else answer) == DENIED, name
    assert unharmed.read_log().count("refused: ") - logged == len(inputs), "each reason is in the log"


def without_hello(answer: bytes) -> bytes:
    """The answer, after the hello that it begins with."""
    decoder = FrameDecoder(2**16)
    decoder.feed(answer)
    frame = decoder.next_frame()
    assert frame is not None and frame.payload.startswith(b'{"type":"hello"')
    return answer[9 + len(frame.payload) :]


def test_chunks_do_not_matter(place: Place, unharmed: RunningServer) -> None:
    """One byte at a time: the same refusal, and a good login goes through."""
    stranger = Stranger(place.target)
    for at in range(9):
        stranger.send(header(2**31)[at : at + 1])
    assert stranger.rest() == DENIED
    stranger = Stranger(place.target)
    for byte in hello():
        stranger.send(bytes([byte]))
    assert stranger.read().startswith(frames.HEADER.pack(0, 0, 0)[:2])
    for byte in control({"type": "auth", "method": "peer"}):
        stranger.send(bytes([byte]))
    answer = stranger.rest() if place.kind != "unix" else stranger.read()
    stranger.sock.close()
    assert answer == DENIED if place.kind != "unix" else b'"welcome"' in answer


@pytest.mark.slow
def test_a_refusal_is_told_at_one_time(start: Starter) -> None:
    """Counted from accept, whatever the reason and whenever it was found."""
    running = start(refusal_time=0.2)
    wrong = generate("test"), generate("unknown"), load_secret(running.secret_file)
    took: dict[str, float] = {}
    inputs = after_hello() | bad_lengths()
    few = {name: data for name, data in inputs.items() if name in ("no keys", "an unknown secret", "length 0")}
    for kind, cases in (("unix", few), ("tcp", inputs), ("tls", few)):
        strangers = [(f"{kind}: {name}", Stranger(running.targets[kind]), data) for name, data in cases.items()]
        for _, stranger, data in strangers:
            stranger.send(data)
        for name, stranger, _ in strangers:
            assert stranger.rest().endswith(DENIED), name
            took[name] = time.monotonic() - stranger.dialled_at
    for number, secret in enumerate(wrong):
        began = time.monotonic()
        role = "server" if number == 2 else "client"  # the last one is the right secret, and our proof reflected
        with pytest.raises(LoginDeniedError, match="denied"):
            RawClient(running.targets["tls"], by_secret(secret, role))
        took[f"secret {number}"] = time.monotonic() - began
    assert min(took.values()) >= 0.2, min(took, key=lambda name: took[name])
    assert max(took.values()) < 0.7, max(took, key=lambda name: took[name])


def test_no_word_costs_the_server_more_than_a_hello(place: Place) -> None:
    """A stranger hears no more than it said, but for the refusal's 26 bytes; nothing for less than a frame."""
    greeting = hello()
    silent = (b"", b"\0", greeting[:30])
    for data in (*silent, greeting, greeting + hello(), header(0, body=b""), header(5, 7, 9) * 9):
        stranger = Stranger(place.target)
        stranger.send(data)
        if data in silent:
            stranger.sock.settimeout(0.08)  # longer than refusal_time
            with pytest.raises(TimeoutError):
                stranger.read()
            stranger.sock.close()
            continue
        if place.kind != "tls":  # where it would end the connection both ways
            with contextlib.suppress(OSError):  # ENOTCONN: the server may have hung up by then
                stranger.sock.shutdown(socket.SHUT_WR)
        answer = stranger.read() if data == greeting else stranger.rest()
        stranger.sock.close()
        assert 0 < len(answer) <= (len(data) if data.startswith(greeting) else len(DENIED)), data


@pytest.mark.slow
def test_silence_and_slowness_end_after_the_login_time(start: Starter) -> None:
    running = start(login_time=0.4, refusal_time=0.05)
    greeting = client_hello()
    began = time.monotonic()
    waiting = [(f"{kind} silent", Stranger(running.targets[kind], tls=False)) for kind in KINDS]
    for kind in ("unix", "tcp"):
        for data in (hello()[:-1], hello(), header(4096, body=b"{")):
            waiting.append((f"{kind} {len(data)} bytes", Stranger(running.targets[kind])))
            waiting[-1][1].send(data)
    for cut in (1, 5, 60, len(greeting)):
        waiting.append((f"half a TLS handshake, {cut} bytes", Stranger(running.targets["tls"], tls=False)))
        waiting[-1][1].send(greeting[:cut])
    waiting.append(("TLS and silence", Stranger(running.targets["tls"])))
    loris = Stranger(running.targets["tcp"])
    for byte in hello() * 2:
        loris.send(bytes([byte]))
        if time.monotonic() > began + 0.9:
            break
        time.sleep(0.004)
    waiting.append(("a byte now and then", loris))
    for name, stranger in waiting:
        assert DENIED not in stranger.rest(), name
        assert time.monotonic() - began < 2, name
    assert running.read_log().count("no login within") == len(waiting)
    with Place(running, "tls").connect() as client:
        assert client.run(["echo", "up"]).text() == b"up\n"


def client_hello() -> bytes:
    """The first flight of a TLS client."""
    outgoing = ssl.MemoryBIO()
    tls = client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x00\x10" + b"\0" * 200,
        b"\x80" * 300,
        b"SSH-2.0-x\r\n",
    ],
)
def test_no_tls_on_the_tls_port(data: bytes, served: RunningServer, unharmed: RunningServer) -> None:
    stranger = Stranger(served.targets["tls"], tls=False)
    stranger.send(data)
    assert len(stranger.rest()) <= 7, "an alert at most"


def test_tls_before_1_3_is_refused(served: RunningServer) -> None:
    context = client_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    host, _, port = served.targets["tls"].partition(":")[2].rpartition(":")
    with socket.create_connection((host, int(port))) as sock, pytest.raises(ssl.SSLError):
        context.wrap_socket(sock)


def test_a_strangers_words_stay_on_one_line_of_the_log(local: Place) -> None:
    for field in ("\n2026-01-01 info server: root logged in", "\x1b[2Jclean", "\u202egnp"):
        stranger = Stranger(local.target)
        stranger.send(bad_hello(**{field: 1}))
        assert stranger.rest() == DENIED
    log = local.running.read_log()
    assert "\n2026-01-01" not in log and "\x1b" not in log and "\u202e" not in log
    assert "\\x1b[2Jclean" in log


def test_no_secret_reaches_the_log(served: RunningServer) -> None:
    log = served.read_log()
    with open(served.secret_file, encoding="utf-8") as file:
        assert file.read().split()[1] not in log
    with Place(served, "tls").connect() as client, Place(served, "tcp").connect_by_secret() as other:
        for welcome in (client.welcome, other.welcome):
            assert welcome.session not in served.read_log()


def test_what_follows_the_login_at_once_is_not_lost(place: Place) -> None:
    """`open` in the same segment as `auth`: it is read after the login, by the session."""
    with place.connect() as client:
        assert client.run(["echo", "first"]).text() == b"first\n"
    if place.kind != "unix":
        return
    stranger = Stranger(place.target)
    opening = control(
        {"type": "open", "request": "exec", "id": "early-1", "window": 65536, "argv": ["echo", "early"]}, 1
    )
    stranger.send(hello() + control({"type": "auth", "method": "peer"}) + opening)
    seen = bytearray()
    while b'"close"' not in seen:
        seen += stranger.read()
    assert b"early\n" in seen
    stranger.send(control({"type": "disconnect", "code": "bye"}))
    stranger.rest()


def test_a_welcome_that_nobody_hears_leaves_no_session(start: Starter) -> None:
    running = start(listen=("unix:",), sessions_per_principal_max=3)
    login = hello() + control({"type": "auth", "method": "peer", "grace_ms": 60000})
    for _ in range(20):
        stranger = Stranger(running.targets["unix"])
        stranger.send(login)
        stranger.sock.close()
    place = Place(running, "unix")
    until(
        lambda: running.read_log().count("uid:") >= 20 or running.read_log().count("Broken pipe") >= 1,
        "they were judged",
    )
    with place.connect() as client:
        assert client.run(["echo", "up"]).text() == b"up\n"


def test_too_many_sessions_are_refused(start: Starter) -> None:
    place = Place(start(listen=("unix:",), sessions_per_principal_max=2, refusal_time=0.05), "unix")
    with place.connect(), place.connect():
        with pytest.raises(LoginDeniedError, match="denied"):
            place.connect()
        assert "too many sessions" in place.running.read_log()
    until(lambda: _can_connect(place), "a place is free again")


def _can_connect(place: Place) -> bool:
    try:
        place.connect().bye()
    except LoginDeniedError:
        return False
    return True


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["silent", "the beginning of a hello"])
def test_memory_of_tls_strangers_is_small(start: Starter, said: bytes) -> None:
    """No TLS object before a whole first record: 200 that do not say it cost what their descriptors cost."""
    running = start(listen=("tls:127.0.0.1:0",))
    first = Stranger(running.targets["tls"])  # it pays for what all use, and is answered when that is done
    first.send(b"\xff" * 100)
    first.rest()
    before = resident(running.process.pid)
    strangers = [Stranger(running.targets["tls"], tls=False) for _ in range(200)]
    for stranger in strangers:
        stranger.send(said)
    until(lambda: descriptors(running.process.pid) >= 200, "all are accepted")
    last = Stranger(running.targets["tls"])
    last.send(b"\xff" * 100)
    last.rest()  # what the others said was read before it
    grown = resident(running.process.pid) - before
    for stranger in strangers:
        stranger.sock.close()
    assert grown < 2**20, f"{grown / 200:.0f} bytes each"


def test_a_hello_that_comes_in_pieces_is_answered(served: RunningServer) -> None:
    outgoing, incoming = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    stranger = Stranger(served.targets["tls"], tls=False)
    stranger.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in outgoing.read():
        stranger.send(bytes([byte]))
    incoming.write(stranger.read())
    tls.do_handshake()
    stranger.sock.close()


def test_a_first_record_that_is_too_long_waits_for_nothing(served: RunningServer) -> None:
    """Nobody's words before login are kept beyond a frame's length: TLS judges them, and may have room for 16 KiB."""
    stranger = Stranger(served.targets["tls"], tls=False)
    stranger.send(b"\x16\x03\x01\xff\xff" + b"\x01" * 4096)
    assert stranger.rest()[:1] == b"\x15", "an alert: RFC 8446, 6.2"
