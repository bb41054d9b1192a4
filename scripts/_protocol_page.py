"""The parts of docs/protocol.md that are made from the code: state diagrams, worked examples, the list of other limits.

Each part stands between two markers in the page; `fill` writes them anew. The examples are what the real core says, with
fixed nonces, so they cannot drift from it. `make-state-diagrams` is the command, tests/test_protocol_doc.py the guard.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.wire.channel import REPLY_TABLE, REQUEST_TABLE, Role
from remote_shell.wire.frames import CONTROL, Frame, FrameDecoder
from remote_shell.wire.handshake import CLIENT_TABLE, SERVER_TABLE, ClientHandshake, HandshakeState, ServerHandshake
from remote_shell.wire.messages import (
    MODELS,
    Auth,
    Close,
    Eof,
    Exit,
    Hello,
    Open,
    Opened,
    Welcome,
)
from remote_shell.wire.offers import OFFER_TABLE
from remote_shell.wire.session import Session

PAGE = Path(__file__).resolve().parent.parent / "docs" / "protocol.md"
MARKER = re.compile(r"(<!-- made: ([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

# limits that a peer can see: the page's own table has them, in words of its own
VISIBLE = {
    *("frame_max", "frame_max_before_login", "data_frame_max", "unacked_bytes_max", "unacked_frames_max", "ack_frames"),
    *("ack_bytes", "channels_max", "window", "window_max", "windows_max", "grace", "grace_max", "ping_interval"),
    *("silence_max", "login_time", "refusal_time", "kill_grace", "bye_kill_time", "exit_report_time"),
    *("commands_remembered_max", "commands_remembered_time", "ids_per_principal_max", "json_depth_max"),
}


def fill(text: str) -> str:
    """The page with every made part as the code has it now. KeyError: a marker names no part."""
    return MARKER.sub(lambda match: match[1] + PARTS[match[2]]() + match[4], text)


def stale(text: str) -> list[str]:
    """The names of the parts that are not as the code has them, and of those that are missing."""
    found = {match[2]: match[3] for match in MARKER.finditer(text)}
    return sorted(name for name, make in PARTS.items() if found.get(name) != make())


# --- diagrams


def diagram(edges: Iterator[tuple[str, str, str]], last: str) -> str:
    """A mermaid state diagram of (from, to, label); labels of one arrow are joined."""
    joined: dict[tuple[str, str], list[str]] = {}
    for source, target, label in edges:
        joined.setdefault((source, target), []).append(label)
    first = next(iter(joined))[0]
    lines = [f"    {source} --> {target}: {', '.join(labels)}" for (source, target), labels in joined.items()]
    return "\n".join(
        ["```mermaid", "stateDiagram-v2", f"    [*] --> {first}", *lines, f"    {last} --> [*]", "```", ""]
    )


def request_half() -> str:
    """What a client may send on a channel."""
    return diagram(((a.value, b.value, word) for (a, word), b in REQUEST_TABLE.items()), "closed")


def reply_half() -> str:
    """What a server may send on a channel."""
    return diagram(((a.value, b.value, word) for (a, word), b in REPLY_TABLE.items()), "closed")


def offers() -> str:
    """What who sends files may say."""
    return diagram(((a.value, b.value, word) for (a, word), b in OFFER_TABLE.items()), "ended")


def client_login() -> str:
    """The client's handshake: what it receives, by the table, and the one thing that it sends."""
    received = [(a.value, b.value, f"receive {word}") for (a, word), b in CLIENT_TABLE.items()]
    sent = (HandshakeState.WAIT_LOGIN.value, HandshakeState.WAIT_VERDICT.value, "send auth")
    return diagram(iter([*received, sent]), "welcome")


def server_login() -> str:
    """The server's handshake; `denied` is its answer to everything that no arrow has."""
    state = HandshakeState
    received = [(a.value, b.value, f"receive {word}") for (a, word), b in SERVER_TABLE.items()]
    refused = [
        (a.value, state.DENIED.value, "anything else, send denied") for a in (state.WAIT_HELLO, state.WAIT_LOGIN)
    ]
    verdict = [
        (state.WAIT_VERDICT.value, state.WELCOME.value, "send welcome"),
        (state.WAIT_VERDICT.value, state.DENIED.value, "send denied"),
    ]
    return diagram(iter([*received, *refused, *verdict]), "welcome")


# --- a whole connection, byte for byte


def hello(nonce: bytes, instance: str | None = None) -> Hello:
    """A hello with our own limits and a nonce that is anything but random."""
    import base64

    limits = DEFAULT_LIMITS
    return Hello(
        software="example",
        nonce=base64.b64encode(nonce * 32).decode(),
        frame_max=limits.frame_max,
        window=limits.window,
        unacked_bytes_max=limits.unacked_bytes_max,
        unacked_frames_max=limits.unacked_frames_max,
        prompt=True,
        instance=instance,
    )


WELCOME = Welcome(
    session="c2Vzc2lvbi0wMDAwMDAwMQ",
    resumed=False,
    received=0,
    principal="uid:1000",
    account="ann",
    host="box",
    grace_ms=60000,
)


class Talk:
    """Both ends of one connection on a Unix socket, and the frames in the order in which they went."""

    def __init__(self) -> None:
        limits = DEFAULT_LIMITS
        self.frames: list[tuple[str, bytes]] = []
        self.client = Session(Role.CLIENT, limits)
        self.server = Session(Role.SERVER, limits)
        one = ClientHandshake(hello(b"\x01"), "unix", b"", limits)
        other = ServerHandshake(hello(b"\x02", "i1"), "unix", b"", limits)
        self._pass("C", one.data_to_send(), other)
        self._pass("S", other.data_to_send(), one)
        one.log_in(Auth(method="peer"))
        self._pass("C", one.data_to_send(), other)
        other.welcome(WELCOME)
        self._pass("S", other.data_to_send(), one)
        assert one.peer is not None and other.peer is not None, "both said hello"
        self.client.attach(one.decoder, one.peer, 0, 0.0)
        self.server.attach(other.decoder, other.peer, 0, 0.0)

    def _pass(self, side: str, data: bytes, target: ClientHandshake | ServerHandshake) -> None:
        self.frames.append((side, data))
        target.receive_data(data)
        while target.next_event() is not None:
            pass

    def flush(self, side: str) -> None:
        """One end writes, the other reads."""
        source, target = (self.client, self.server) if side == "C" else (self.server, self.client)
        data = b"".join(source.data_to_send(2**30))
        source.sent(len(data))
        decoder = FrameDecoder(2**30)
        decoder.feed(data)
        for frame in iter(decoder.next_frame, None):
            self.frames.append((side, frame_bytes(frame)))
        target.receive_data(target.generation, data, 0.0)
        while target.next_event() is not None:
            pass


def frame_bytes(frame: Frame) -> bytes:
    """The frame as it crossed the wire."""
    return (
        len(frame.payload).to_bytes(4, "big") + bytes([frame.type]) + frame.channel.to_bytes(4, "big") + frame.payload
    )


def name_of(frame: Frame) -> str:
    """The type of a control message, or the stream's name."""
    if frame.type != CONTROL:
        return ("stdin", "stdout", "stderr")[frame.type]
    found = re.match(rb'{"type":"(\w+)"', frame.payload)
    assert found is not None and found[1].decode() in MODELS, "our own messages begin with their tag"
    return found[1].decode()


def hex_dump() -> str:
    """`echo hi` from hello to goodbye."""
    talk = Talk()
    talk.client.open_channel(Open(request="exec", id="demo.1", window=DEFAULT_LIMITS.window, argv=["echo", "hi"]))
    talk.flush("C")
    talk.server.send_message(1, Opened(pid=4711, cwd="/home/ann", started_at_ms=1700000000000))
    talk.server.send_data(1, 1, b"hi\n")
    talk.server.send_message(1, Exit(status=0, duration_us=850))
    talk.server.send_message(1, Close())
    talk.flush("S")
    talk.flush("C")
    talk.client.disconnect("bye")
    talk.flush("C")
    lines = ["```text"]
    for side, data in talk.frames:
        decoder = FrameDecoder(2**30)
        decoder.feed(data)
        frame = decoder.next_frame()
        assert frame is not None, "one whole frame"
        way = "client -> server" if side == "C" else "server -> client"
        size = f"{len(frame.payload)} byte{'s' * (len(frame.payload) != 1)}"
        lines += [f"{way}: {name_of(frame)}, channel {frame.channel}, {size} of payload", *dumped(data), ""]
    return "\n".join([*lines[:-1], "```", ""])


def dumped(data: bytes) -> Iterator[str]:
    """Offset, sixteen bytes in hex, and as ASCII."""
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{at:04x}  {row.hex(' '):<47}  {text}"


# --- a resume


def resume() -> str:
    """A cut while frames are on their way in both directions, and what each side says then."""
    talk = Talk()
    talk.frames.clear()
    out = ["```text", "first connection"]
    client, server = talk.client, talk.server
    client.open_channel(Open(request="exec", id="demo.2", window=DEFAULT_LIMITS.window, argv=["cat"], stdin="pipe"))
    client.send_data(1, 0, b"one")
    out += told(talk, "C", 0)
    server.send_message(1, Opened(pid=4712))
    server.send_data(1, 1, b"one")
    out += told(talk, "S", 0)
    client.send_data(1, 0, b"two")
    client.send_message(1, Eof(stream=0))
    out += told(talk, "C", 2, lost=True)
    server.send_data(1, 1, b"!")
    out += told(talk, "S", 2, lost=True)
    out += [
        "the link breaks; the four frames that are marked never arrived",
        "",
        "second connection, after both hellos",
    ]
    out.append(f"C: auth    session={WELCOME.session[:8]}… received={client.received}")
    out.append(f"S: welcome resumed=true received={server.received}")
    counts = client.received, server.received
    client.attach(FrameDecoder(2**20), hello(b"\x02"), counts[1], 0.0)
    server.attach(FrameDecoder(2**20), hello(b"\x01"), counts[0], 0.0)
    out += told(talk, "C", counts[1])
    out += told(talk, "S", counts[0])
    client.handle_timeout(DEFAULT_LIMITS.ping_interval)
    out += told(talk, "C", 4)
    out += told(talk, "S", 3)
    return "\n".join([*out, "```", ""])


def told(talk: Talk, side: str, number: int, *, lost: bool = False) -> Iterator[str]:
    """What one end writes now, its frames of the session numbered from `number`; `lost` frames are not read."""
    source = talk.client if side == "C" else talk.server
    if lost:
        decoder = FrameDecoder(2**30)
        data = b"".join(source.data_to_send(2**30))
        source.sent(len(data))
        decoder.feed(data)
        new = list(iter(decoder.next_frame, None))
    else:
        before = len(talk.frames)
        talk.flush(side)
        new = [frame for _, data in talk.frames[before:] if (frame := one_frame(data))]
    for frame in new:
        number += frame.channel > 0
        label = f"{side}{number}" if frame.channel else f"{side}: "
        text = repr(frame.payload.decode()) if frame.type != CONTROL else ""
        if frame.channel == 0:
            text = " ".join(
                f"{key}={value}" for key, value in re.findall(r'"(received|sent)":(\d+)', frame.payload.decode())
            )
        where = f"channel {frame.channel}" if frame.channel else ""
        yield " ".join(f"{label:<3} {name_of(frame):<7} {where} {text} {'(lost)' if lost else ''}".split())


def one_frame(data: bytes) -> Frame | None:
    """The frame that these bytes are."""
    decoder = FrameDecoder(2**30)
    decoder.feed(data)
    return decoder.next_frame()


# --- limits


def shown(name: str, value: float) -> str:
    """A limit as the page writes it; its unit follows from its name."""
    if isinstance(value, float):
        if not value:
            return "0"
        if value >= 24 * 3600:
            return f"{value / 24 / 3600:g} days"
        return f"{value * 1000:g} ms" if value < 1 else f"{value:g} s"
    for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= size and value % size == 0 and not name.endswith(("frames_max", "channels_max", "sources_max")):
            return f"{value // size} {unit}"
    return f"{value:,}"


def other_limits() -> str:
    """Every limit that no peer sees, with the comment that it has in limits.py."""
    source = (PAGE.parent.parent / "remote_shell" / "limits.py").read_text(encoding="utf-8")
    field_and_comment = r"^    (\w+): \w+ = (?:(?!^    \w+:|# ---).)*?# (?!---)([^\n]*)"
    comments = dict(re.findall(field_and_comment, source, re.MULTILINE | re.DOTALL))
    rows = [
        f"| `{field.name}` | {shown(field.name, getattr(DEFAULT_LIMITS, field.name))} | {comments.get(field.name, '')} |"
        for field in fields(Limits)
        if field.name not in VISIBLE
    ]
    return "\n".join(["| limit | figure | bounds |", "|---|---|---|", *rows, ""])


PARTS: dict[str, Callable[[], str]] = {
    "client-login": client_login,
    "server-login": server_login,
    "request-half": request_half,
    "reply-half": reply_half,
    "offers": offers,
    "hex-dump": hex_dump,
    "resume": resume,
    "other-limits": other_limits,
}


def main() -> None:
    """Write the parts, or with --check say which are stale."""
    text = PAGE.read_text(encoding="utf-8")
    if sys.argv[1:] == ["--check"]:
        if old := stale(text):
            sys.exit(f"docs/protocol.md is stale: {', '.join(old)}; mend it: scripts/make-state-diagrams")
    elif sys.argv[1:]:
        sys.exit("usage: scripts/make-state-diagrams [--check]")
    else:
        PAGE.write_text(fill(text), encoding="utf-8")


if __name__ == "__main__":
    main()
