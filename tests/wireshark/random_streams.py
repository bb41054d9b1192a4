"""Both directions of a connection at random, written as packets: the login, then anything at all."""

from __future__ import annotations

import json
import random

from remote_shell.wire.frames import CONTROL, HEADER, encode
from remote_shell.wire.preamble import PREAMBLE
from tests.wire import at_random
from tests.wireshark.captures import CaptureFile, Conversation, by_way, cut_up, trees
from tests.wireshark.reading import HEADER_CODES, expected, is_frame, seen

SERVER = 8822
PORT = ("-o", f"rmsh.ports:{SERVER}")
OURS = (*PORT, "-o", "tcp.reassemble_out_of_order:TRUE")
AS_JSON = ("-T", "json", "-J", "rmsh")


class Stream:
    """Both directions of one connection at random: the login, then anything; some end in a frame that is refused."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.preamble = (
            b"" if rng.random() < 0.8 else rng.choice((b"", b"Last login: never\r\n", b"\0\xff", b"x" * 999)) + PREAMBLE
        )
        self.frame_max = {side: rng.choice((65_536, 100_000, 1 << 20)) for side in "CS"}
        self.bytes = {"C": b"", "S": b""}
        self.turns: list[tuple[str, bytes]] = []
        damage_at = rng.choice((-1, -1, -1, rng.randrange(4, 30), rng.randrange(30)))
        for number, (side, name) in enumerate((("C", "hello"), ("S", "hello"), ("C", "auth"), ("S", "welcome"))):
            says = at_random.message(rng, name)
            if name == "hello":
                says["frame_max"] = self.frame_max[side]
            payload = json.dumps(says).encode()
            self._say(
                side,
                CONTROL,
                0,
                payload if len(payload) <= 4096 else b'{"type":"%s"}' % name.encode(),
                number == damage_at,
            )
        for number in range(4, rng.randint(4, 24)):
            self._say(rng.choice("CS"), *self._frame(), damaged=number == damage_at)
        for side in "CS":
            if rng.random() < 0.2:
                self._add(side, encode(1, 1, b"x" * 50)[: rng.randint(1, 58)])  # the link was cut in a frame

    def _frame(self) -> tuple[int, int, bytes]:
        rng = self.rng
        channel = rng.choice((0, 1, 2, rng.randrange(2**32)))
        chance = rng.random()
        if chance < 0.3:
            return rng.randrange(3), channel or 1, rng.randbytes(rng.choice((1, 9, rng.randint(1, 3000), 5000)))
        payload = at_random.written(rng, at_random.message(rng)) if chance < 0.7 else at_random.spoilt(rng)
        # a `hello` on channel 0 begins a connection, and no receiver reads on after a second one
        return CONTROL, channel or int(b"hello" in payload), payload[:65_536]

    def _say(self, side: str, kind: int, channel: int, payload: bytes, damaged: bool) -> None:
        whole = encode(kind, channel, payload)
        if damaged:
            most = 4096 if len(self.turns) < 4 else self.frame_max["S" if side == "C" else "C"]
            size = self.rng.choice((0, 2**32 - 1, most + 1, most + 1, len(payload)))
            kind = self.rng.choice((kind, 4, 7, 255)) if size != len(payload) else self.rng.choice((4, 255))
            kind, channel = self.rng.choice(((kind, channel), (self.rng.randrange(3), 0)))
            whole = HEADER.pack(size, kind, channel) + payload
        self._add(side, whole)

    def _add(self, side: str, data: bytes) -> None:
        self.bytes[side] += data
        begin = self.preamble if side == "S" and not any(other == "S" for other, _ in self.turns) else b""
        self.turns.append((side, begin + data))

    def write(self, conversation: Conversation) -> None:
        """Several frames in a segment, frames over many segments, segments again and in another order."""
        rng, held = self.rng, {"C": b"", "S": b""}
        for number, (side, data) in enumerate(self.turns):
            held[side] += data
            if number >= 4 and rng.random() < 0.4:
                continue  # with the next one
            pieces = cut_up(rng, held[side])
            if number < 4 and self.preamble and side == "S" and len(pieces) > 1:
                pieces = [held[side]]  # noise is told from a damaged frame by the preamble in its segment
            order = list(range(len(pieces)))
            for _ in range(rng.choice((0, 0, 1, 3))):
                order.insert(rng.randint(0, len(order)), rng.randrange(len(pieces)))
            if rng.random() < 0.2:
                at = rng.randrange(len(order))
                order[at : at + 3] = reversed(order[at : at + 3])
            conversation.send(side, pieces, order)
            held[side] = b""
        for side, data in held.items():
            if data:
                conversation.send(side, cut_up(rng, data))
        conversation.end()


def differences(file: CaptureFile, all_streams: dict[int, Stream], text: str) -> list[str]:
    """Where the dissector and the decoder disagree."""
    found = by_way(file, trees(text), is_frame)
    wrong = []
    for port, stream in all_streams.items():
        for side, way in (("C", (port, SERVER)), ("S", (SERVER, port))):
            ours = list(expected(stream.bytes[side], stream.frame_max["S" if side == "C" else "C"]))
            theirs = [seen(tree) for tree in found[way]]
            if ours and ours[-1][3] in HEADER_CODES:
                theirs = theirs[
                    : len(ours)
                ]  # nobody reads on; the dissector does, to be of use where only the capture is damaged
            if ours != theirs:
                at = next(
                    (n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
                    min(len(ours), len(theirs)),
                )
                wrong.append(
                    f"port {port} {side} frame {at}: decoder {ours[at : at + 1]}, dissector {theirs[at : at + 1]}"
                )
    return wrong
