"""docs/rmsh.lua on captures that begin or end in the middle, lack something, or are of another port. Needs tshark."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from remote_shell.wire.frames import CONTROL, encode
from remote_shell.wire.preamble import PREAMBLE
from tests.wire import at_random
from tests.wireshark.captures import CaptureFile, Conversation, Pairs, trees, tshark
from tests.wireshark.random_streams import AS_JSON, OURS, PORT, SERVER
from tests.wireshark.reading import read, seen


def shown(path: Path, *options: str) -> list[Pairs]:
    """All trees of a capture."""
    return [tree for packet in trees(tshark(path, *options, *AS_JSON)) for tree in packet]


def messages(found: list[Pairs]) -> list[str]:
    """Their names, or what else they are."""
    return [dict(tree).get("rmsh.message") or tree[0][0] for tree in found]


HELLO = encode(CONTROL, 0, json.dumps({**at_random.message(random.Random(1), "hello"), "frame_max": 1 << 20}).encode())
PING = encode(CONTROL, 0, b'{"type":"ping","received":1,"sent":2}')
EXIT = encode(CONTROL, 1, b'{"type":"exit","status":0}')


@pytest.mark.slow
@pytest.mark.parametrize("passes", [(), ("-2",)], ids=["once", "twice"])
@pytest.mark.parametrize("greet", [True, False], ids=["SYN", "no SYN"])
def test_a_connection_is_found_by_its_hello(tmp_path: Path, greet: bool, passes: tuple[str, ...]) -> None:
    with CaptureFile(tmp_path / "packets.pcap") as file:
        conversation = Conversation(file, 40_000, 39_999, greet=greet)
        conversation.send("C", [HELLO, PING + EXIT[:5], EXIT[5:]])
        conversation.send("S", [HELLO])
        other = Conversation(file, 40_001, 39_999, greet=greet)
        other.send("C", [b"GET / HTTP/1.0\r\n\r\n"])
        again = Conversation(file, 40_000, 39_999, greet=greet, skip=1_000_000)  # the ports were used before
        again.send("C", [HELLO, PING])
    assert messages(shown(file.path, *passes)) == ["hello", "ping", "exit", "hello", "hello", "ping"]


@pytest.mark.slow
def test_a_port_may_be_named(tmp_path: Path) -> None:
    """Where hello was cut into single bytes, and nothing tells that this is ours."""
    with CaptureFile(tmp_path / "packets.pcap") as file:
        conversation = Conversation(file, 40_000, 39_999)
        conversation.send("C", [HELLO[at : at + 1] for at in range(len(HELLO))])
    assert shown(file.path) == []
    for options in (("-d", "tcp.port==39999,rmsh"), ("-o", "rmsh.ports:39990-39999")):
        assert messages(shown(file.path, *options)) == ["hello"]


@pytest.mark.slow
def test_in_mid_stream_it_begins_with_the_next_control_frame_and_says_so(tmp_path: Path) -> None:
    data = encode(1, 1, b"\3" * 5000)
    with CaptureFile(tmp_path / "packets.pcap") as file:
        conversation = Conversation(file, 40_000, SERVER, greet=False)
        conversation.send("S", [data[700:2000], data[2000:] + PING + EXIT[:3], EXIT[3:]])
        Conversation(file, 40_001, 39_999, greet=False).send(
            "S", [PING, EXIT]
        )  # at a border, it is found with no port named
    found = shown(file.path, *OURS)
    assert messages(found) == ["rmsh.undecoded", "rmsh.undecoded", "ping", "exit", "ping", "exit"]
    assert all("rmsh.no_border" in dict(tree) for tree in found[:2]) and "rmsh.no_border" not in str(found[2:])
    assert (
        sum(len(bytes.fromhex(dict(tree)["rmsh.undecoded"].replace(":", ""))) for tree in found[:2]) == len(data) - 700
    )


@pytest.mark.slow
def test_a_segment_that_was_not_captured_costs_no_more_than_its_frames(tmp_path: Path) -> None:
    with CaptureFile(tmp_path / "packets.pcap") as file:
        conversation = Conversation(file, 40_000, SERVER)
        conversation.send("C", [HELLO])
        conversation.send("S", [HELLO, encode(1, 1, b"x" * 900)[:500], b"x" * 409, b"x" * 50 + EXIT, PING], lost=[2])
    assert messages(shown(file.path, *PORT))[-3:] == ["rmsh.undecoded", "exit", "ping"]


@pytest.mark.slow
@pytest.mark.parametrize("noise", [b"", b"Welcome\r\n", b"\0remote-shell\0"])
def test_the_preamble_of_pipe(tmp_path: Path, noise: bytes) -> None:
    """As socat would carry it over TCP: what came before it, and it in pieces."""
    with CaptureFile(tmp_path / "packets.pcap") as file:
        conversation = Conversation(file, 40_000, SERVER)
        conversation.send("S", [noise + PREAMBLE[:7], PREAMBLE[7:] + HELLO[:50], HELLO[50:]])
    first, second = shown(file.path, *OURS)
    assert dict(first)["rmsh.preamble"] == "remote-shell pipe 1"
    assert dict(first).get("rmsh.noise", "").replace(":", "") == noise.hex()
    assert messages([second]) == ["hello"]


@pytest.mark.slow
def test_what_was_captured_in_part_is_said(tmp_path: Path) -> None:
    with CaptureFile(tmp_path / "packets.pcap", snap=200) as file:
        conversation = Conversation(file, 40_000, SERVER)
        conversation.send("C", [PING, encode(0, 1, b"x" * 500), PING])
    found = shown(file.path, *PORT)
    assert messages(found) == ["ping", "rmsh.undecoded", "ping"] and "rmsh.cut" in dict(found[1])


MIB = 1 << 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"open","argv":[' + b",".join([b"1"] * (MIB // 2 - 20)) + b"]}",
        b'{"type":"open","argv":[' + b",".join([b'""'] * (MIB // 3 - 20)) + b"]}",
        b'{"type":"ack",' + b",".join([b'"sent":1'] * (MIB // 9 - 20)) + b"}",
        b'{"type":"ack",' + b",".join(b'"%d":1' % number for number in range(MIB // 12)) + b"}",
        b"[" * (MIB // 2) + b"]" * (MIB // 2),
        b'{"type":"unread","text":"' + b"\\u00e4" * (MIB // 6 - 20) + b'"}',
        b'{"type":"' + b"\\" * (MIB - 20) + b'"}',
    ],
    ids=["faults", "items", "repeated", "surplus", "nested", "escapes", "backslashes"],
)
def test_a_mebibyte_is_no_lua_error_and_takes_no_minute(tmp_path: Path, payload: bytes) -> None:
    """Wireshark gives up on a packet with more than a million items."""
    with CaptureFile(tmp_path / "packets.pcap") as file:
        conversation = Conversation(file, 40_000, SERVER)
        whole = encode(CONTROL, 1, payload) + PING
        begin = HELLO + encode(CONTROL, 0, b'{"type":"auth","method":"peer"}')
        conversation.send("C", [begin, *(whole[at : at + 60_000] for at in range(0, len(whole), 60_000))])
    found = [seen(tree) for tree in shown(file.path, *PORT)]
    assert [frame[:4] for frame in found[2:]] == [(CONTROL, 1, len(payload), read(payload)[0]), (CONTROL, 0, 37, "")]
