"""Packet captures in tests: files of TCP over IPv4 that are written here, what tshark makes of a file, and streams put together from one.

Only what tests of docs/rmsh.lua need. The file format is that of pcap-savefile(5).
"""

from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
DISSECTOR = ROOT / "docs" / "rmsh.lua"
LINKTYPE_ETHERNET, LINKTYPE_RAW = 1, 101
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
FILE_HEADER, PACKET_HEADER = struct.Struct("<IHHiIII"), struct.Struct("<IIII")
IPV4, TCP = struct.Struct("!BBHHHBBH4s4s"), struct.Struct("!HHIIBBHHH")

Way = tuple[int, int]  # port from, port to
Pairs = list[tuple[str, str]]  # names and values of fields, in the order of the tree


class Packet(NamedTuple):
    """One TCP segment of a capture."""

    way: Way
    sequence: int
    flags: int
    data: bytes


class CaptureFile:
    """Writes segments between two addresses; a conversation is told by the client's port. `snap`: bytes that are kept of each packet."""

    def __init__(self, path: Path, snap: int = 65535) -> None:
        self.path = path
        self.snap = snap
        self.ways: list[Way] = []  # of each packet
        self._file = path.open("wb")
        self._file.write(FILE_HEADER.pack(0xA1B2C3D4, 2, 4, 0, 0, snap, LINKTYPE_RAW))

    def __enter__(self) -> CaptureFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def packet(self, way: Way, sequence: int, acknowledged: int, flags: int, data: bytes = b"") -> None:
        """One segment, a millisecond after the one before."""
        low, high = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
        source, target = (low, high) if way[0] > way[1] else (high, low)  # clients have the higher ports
        size = IPV4.size + TCP.size + len(data)
        ip = IPV4.pack(0x45, 0, size, len(self.ways) & 0xFFFF, 0x4000, 64, 6, 0, source, target)
        tcp = TCP.pack(*way, sequence & 0xFFFFFFFF, acknowledged & 0xFFFFFFFF, 0x50, flags, 65535, 0, 0)
        whole = ip + tcp + data
        kept = whole[: self.snap]
        second, milli = divmod(len(self.ways), 1000)
        self._file.write(PACKET_HEADER.pack(1_700_000_000 + second, milli * 1000, len(kept), len(whole)) + kept)
        self.ways.append(way)


class Conversation:
    """One TCP connection in a capture file, its segments in any sizes. `start`: the bytes that came before the capture began."""

    def __init__(self, file: CaptureFile, client: int, server: int, *, greet: bool = True, skip: int = 0) -> None:
        self.file = file
        self.ways: dict[str, Way] = {"C": (client, server), "S": (server, client)}
        first = {"C": client * 77_777 + skip, "S": client * 99_991 + (2**32 - 100_000)}  # some wrap around
        self.next = {side: (number + 1) & 0xFFFFFFFF for side, number in first.items()}
        if greet:
            file.packet(self.ways["C"], first["C"], 0, SYN)
            file.packet(self.ways["S"], first["S"], self.next["C"], SYN | ACK)
            file.packet(self.ways["C"], self.next["C"], self.next["S"], ACK)

    def send(
        self, side: str, pieces: Sequence[bytes], order: Sequence[int] | None = None, lost: Sequence[int] = ()
    ) -> None:
        """Segments of one side. `order` has their numbers; repeated ones are sent again. `lost` ones were not captured."""
        starts = [self.next[side] + sum(map(len, pieces[:number])) for number in range(len(pieces))]
        other = "S" if side == "C" else "C"
        for number in range(len(pieces)) if order is None else order:
            if number not in lost:
                self.file.packet(self.ways[side], starts[number], self.next[other], PSH | ACK, pieces[number])
        self.next[side] = (self.next[side] + sum(map(len, pieces))) & 0xFFFFFFFF
        self.file.packet(self.ways[other], self.next[other], self.next[side], ACK)

    def end(self) -> None:
        """Both sides have said all."""
        self.file.packet(self.ways["C"], self.next["C"], self.next["S"], FIN | ACK)
        self.file.packet(self.ways["S"], self.next["S"], self.next["C"] + 1, FIN | ACK)
        self.file.packet(self.ways["C"], self.next["C"] + 1, self.next["S"] + 1, ACK)


def cut_up(rng: random.Random, data: bytes, most: int = 1400) -> list[bytes]:
    """The bytes in pieces of random sizes, some of a single byte."""
    pieces = []
    while data:
        size = rng.choice((rng.randint(1, 2), rng.randint(1, 40), *[rng.randint(40, most), most] * 3))
        pieces.append(data[:size])
        data = data[size:]
    return pieces


# --- reading


def packets(path: Path) -> Iterator[Packet]:
    """The TCP segments of a file, as far as it is written."""
    with path.open("rb") as file:
        magic, *_, link = FILE_HEADER.unpack(file.read(FILE_HEADER.size))
        assert magic == 0xA1B2C3D4, "pcap, of this machine's byte order"
        skip = {LINKTYPE_ETHERNET: 14, LINKTYPE_RAW: 0}[link]
        while len(header := file.read(PACKET_HEADER.size)) == PACKET_HEADER.size:
            _, _, kept, size = PACKET_HEADER.unpack(header)
            data = file.read(kept)
            if len(data) < size:
                return
            ip = data[skip:]
            at = (ip[0] & 15) * 4
            source, target, sequence, _, offset, flags, *_ = TCP.unpack_from(ip, at)
            whole = int.from_bytes(ip[2:4]) or len(ip)  # 0 where the network card would have cut it up
            yield Packet((source, target), sequence, flags, ip[at + (offset >> 4) * 4 : whole])


def streams(path: Path) -> dict[Way, bytes]:
    """The bytes of each direction, put together by their numbers. Each begins with its SYN."""
    starts: dict[Way, int] = {}
    found: dict[Way, bytearray] = {}
    for packet in packets(path):
        if packet.flags & SYN:
            starts[packet.way], found[packet.way] = packet.sequence + 1, bytearray()
        elif packet.data:
            at = (packet.sequence - starts[packet.way]) & 0xFFFFFFFF
            assert at <= len(found[packet.way]), "nothing on lo is lost or overtaken"
            found[packet.way][at : at + len(packet.data)] = packet.data
    return {way: bytes(data) for way, data in found.items()}


def tshark(path: Path, *options: str, wrapper: Sequence[str] = (), script: Path = DISSECTOR) -> str:
    """What tshark prints of a file with our dissector. Fails if it says anything but that it should not run as root."""
    program = shutil.which("tshark")
    assert program, "the test needs tshark; type: apt-get install -y --no-install-recommends tshark"
    done = subprocess.run(
        [*wrapper, program, "-n", "-X", f"lua_script:{script}", "-r", str(path), *options],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if not line.startswith("Running as user")]
    assert (done.returncode, said) == (0, [])
    assert "Lua Error" not in done.stdout
    return done.stdout


def trees(text: str) -> list[list[Pairs]]:
    """Of `tshark -T json -J rmsh`: for each packet its trees of ours, each as its fields; names may come more than once."""

    def pick(layers: list[tuple[str, Any]]) -> list[Pairs]:
        return [list(leaves(value)) for name, value in layers if name == "rmsh" and isinstance(value, list)]

    shown = json.loads(text, object_pairs_hook=lambda pairs: pairs)
    return [pick(dict(dict(packet)["_source"])["layers"]) for packet in shown]


def leaves(pairs: list[tuple[str, Any]]) -> Iterator[tuple[str, str]]:
    """Our fields, those of subtrees behind the one that they are below."""
    for name, value in pairs:
        if isinstance(value, list):
            if name.startswith("rmsh.") and not name.endswith("_tree"):
                yield name, ""  # a field without a value of its own
            yield from leaves(value)
        elif name.startswith("rmsh."):
            yield name, value


def by_way(file: CaptureFile, shown: list[list[Pairs]], keep: Callable[[Pairs], bool]) -> dict[Way, list[Pairs]]:
    """The trees of each direction in their order."""
    assert len(shown) == len(file.ways)
    found: dict[Way, list[Pairs]] = {way: [] for way in file.ways}
    for way, packet in zip(file.ways, shown, strict=True):
        found[way] += filter(keep, packet)
    return found
