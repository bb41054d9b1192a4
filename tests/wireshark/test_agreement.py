"""docs/rmsh.lua on streams at random: the same frames, messages, values and refusals as our own decoder has. Needs tshark."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from remote_shell.wire.frames import CONTROL, encode
from remote_shell.wire.messages import MODELS
from tests.wire import at_random
from tests.wireshark.captures import DISSECTOR, CaptureFile, Conversation, cut_up, trees, tshark
from tests.wireshark.random_streams import AS_JSON, OURS, SERVER, Stream, differences
from tests.wireshark.reading import expected, seen


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> tuple[CaptureFile, dict[int, Stream]]:
    """A capture of 1,000 random streams; the port of the client is 10,000 and the seed."""
    all_streams = {10_000 + seed: Stream(seed) for seed in range(1000)}
    with CaptureFile(tmp_path_factory.mktemp("captures") / "thousand.pcap") as file:
        for port, stream in all_streams.items():
            stream.write(Conversation(file, port, SERVER))
    return file, all_streams


@pytest.mark.slow
def test_it_agrees_with_our_decoder_on_a_thousand_random_streams(
    thousand: tuple[CaptureFile, dict[int, Stream]],
) -> None:
    file, all_streams = thousand
    wrong = differences(file, all_streams, tshark(file.path, *OURS, *AS_JSON))
    print(f"seeds 0 to 999, {len(file.ways)} packets, {len(wrong)} disagreements")
    assert not wrong, "\n".join(wrong[:5])


VALUES = [  # JSON that chance finds too seldom
    *(
        b"0",
        b"-0",
        b"-1",
        b"00",
        b"-01",
        b"01",
        b"1.",
        b"1.0",
        b".5",
        b"1e5",
        b"1E+5",
        b"1e",
        b"-",
        b"+1",
        b"1e999",
        b"NaN",
        b"-Infinity",
    ),
    *(
        b"9007199254740991",
        b"9007199254740992",
        b"9007199254740993",
        b"9" * 4300,
        b"9" * 4301,
        b"-" + b"9" * 4300,
        b"0." + b"1" * 9000,
    ),
    *(
        b"9" * 4301 + b".5",
        b"true",
        b"True",
        b"truex",
        b"null",
        b"nul",
        b"[]",
        b"{}",
        b"[,]",
        b"[1,]",
        b"[1 2]",
        b'{"a"}',
        b'{"a":1,}',
    ),
    *(
        b"{1:1}",
        b'{"a":1 "b":2}',
        b'"',
        b'"\\',
        b'"\\"',
        b'"\\u',
        b'"\\u12"',
        b'"\\u00e9"',
        b'"\\U00e9"',
        b'"\\x41"',
        b'"\\/\\b\\f"',
        b"'a'",
    ),
    *(
        b'"\\ud800"',
        b'"\\udc00"',
        b'"\\ud800\\ud800"',
        b'"\\udc00\\udc00"',
        b'"\\uDBFF\\uDFFF"',
        b'"\\ud83d\\u0041"',
        b'"\\ud83dx"',
        b'"\\uffff"',
    ),
    *(
        b'"\n"',
        b'"\x7f"',
        b'"\x1f"',
        b'"\\u0000"',
        b'"\0"',
        b'"\x80"',
        b'"\xc3"',
        b'"\xc0\x80"',
        b'"\xe0\x9f\xbf"',
        b'"\xed\xa0\x80"',
        b'"\xf0\x8f\xbf\xbf"',
    ),
    *(
        b'"\xf4\x90\x80\x80"',
        b'"\xf4\x8f\xbf\xbf"',
        b'"\xc2\x80"',
        b'"\xef\xbf\xbf"',
        b'"\xee\x80\x80"',
        b"\xef\xbb\xbf1",
        b"1\x0b",
        b"\xc2\xa01",
    ),
    *(b"[" * depth + inner + b"]" * depth for depth in (30, 31, 32, 33, 200) for inner in (b"", b"1")),
    *(b'{"a":' * depth + inner + b"}" * depth for depth in (30, 31, 32, 33, 200) for inner in (b"1", b"{}", b"[]")),
    *(
        b'"' + "ä".encode() * 1024 + b'"',
        b'"' + "ä".encode() * 1025 + b'"',
        b'"' + b"\\u00e4" * 1025 + b'"',
        b'"x y"',
        b'"x\\n"',
    ),
]


@pytest.mark.slow
def test_it_agrees_with_our_decoder_on_the_edges_of_json(tmp_path: Path) -> None:
    """Each value as a whole payload, and where a message has an integer, a text, a word that may be null."""
    around = (
        b"%s", b" %s ", b"%s%s", b'{"type":"jobs","count":%s}', b'{"type":"detached","by":%s}',
        b'{"type":"rejected","code":"x","errno":%s}', b'{"type":"close","surplus":%s}', b'{"type":%s}', b'{%s:"x","type":"close"}',
    )  # fmt: skip
    compare([text.replace(b"%s", value) for text in around for value in VALUES], tmp_path / "packets.pcap")


@pytest.mark.slow
def test_it_agrees_with_our_decoder_on_both_sides_of_each_bound(tmp_path: Path) -> None:
    """Of each field of each message, with all others there; and without it."""
    payloads = []
    for name, model in MODELS.items():
        whole = {"type": name} | {
            key: at_random.value(random.Random(5), field.schema)
            for key, field in model.fields().items()
            if key != "type"
        }
        for key, field in model.fields().items():
            payloads += [{**whole, key: edge} for edge in at_random.edges(field.schema)]
            payloads.append({other: value for other, value in whole.items() if other != key})
    compare([json.dumps(payload).encode() for payload in payloads], tmp_path / "packets.pcap")


def compare(payloads: list[bytes], path: Path) -> None:
    """Control payloads of one connection, after a login."""
    frames = b"".join(encode(CONTROL, 1, payload) for payload in payloads)
    login = encode(CONTROL, 0, b'{"type":"auth","method":"peer"}')
    with CaptureFile(path) as file:
        pieces = [login, *(frames[at : at + 50_000] for at in range(0, len(frames), 50_000))]
        Conversation(file, 40_000, SERVER).send("C", pieces)
    found = [seen(tree) for packet in trees(tshark(path, *OURS, *AS_JSON)) for tree in packet]
    ours = list(expected(login + frames, 1 << 20))
    assert len(ours) == len(payloads) + 1
    assert [(a, b) for a, b in zip(ours, found, strict=True) if a != b] == []


@pytest.mark.slow
def test_it_says_the_same_when_packets_are_come_back_to(tmp_path: Path) -> None:
    """As Wireshark does it, and tshark with -2: the first time through there is no tree, and with it no fields to look at."""
    all_streams = {10_000 + seed: Stream(seed) for seed in range(1000, 1100)}
    with CaptureFile(tmp_path / "packets.pcap") as file:
        for port, stream in all_streams.items():
            stream.write(Conversation(file, port, SERVER))
    assert differences(file, all_streams, tshark(file.path, *OURS, *AS_JSON, "-2")) == []


@pytest.mark.slow
@pytest.mark.parametrize("reassembly", ["TRUE", "FALSE"])
def test_any_bytes_in_any_capture_are_no_lua_error(tmp_path: Path, reassembly: str) -> None:
    """Noise, damaged streams, packets that were captured in part, segments that are lacking, no reassembly."""
    for snap in (65535, 80):
        with CaptureFile(tmp_path / "packets.pcap", snap) as file:
            for seed in range(60):
                rng = random.Random(seed)
                conversation = Conversation(file, 10_000 + seed, SERVER, greet=seed % 2 == 0)
                for side, data in Stream(seed).turns:
                    spoilt = bytearray(data)
                    for _ in range(rng.choice((0, 0, 1, 5))):
                        spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
                    pieces = cut_up(rng, rng.choice((bytes(spoilt), rng.randbytes(50))))
                    lost = [number for number in range(len(pieces)) if rng.random() < 0.1]
                    conversation.send(side, pieces, lost=lost)
        # `tshark` itself fails on a Lua error
        tshark(file.path, "-o", f"rmsh.ports:{SERVER}", "-o", f"tcp.desegment_tcp_streams:{reassembly}", "-V")


@pytest.mark.slow
def test_an_unprivileged_account_reads_the_same(tmp_path: Path, unmeasured: None) -> None:
    """Wireshark may be built or set up to load no scripts for root, so the other way round is what has to work everywhere."""
    folder = Path("/tmp") / f"rmsh-{os.getpid()}"  # whose parents anybody may pass
    folder.mkdir(mode=0o755)
    try:
        with CaptureFile(folder / "packets.pcap") as file:
            Stream(7).write(Conversation(file, 10_007, SERVER))
        script = shutil.copy(DISSECTOR, folder)
        for path in folder.iterdir():
            path.chmod(0o644)
        nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", f"HOME={folder}")
        texts = [tshark(file.path, *OURS, *AS_JSON, wrapper=wrapper, script=Path(script)) for wrapper in (nobody, ())]
        assert texts[0] == texts[1]
        assert sum(map(len, trees(texts[0]))) > 4
    finally:
        shutil.rmtree(folder)
