"""Watches a conversation over sockets: after each call, what the kernel says of both ends, and the packets that crossed."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType

from remote_shell.demo import kernel
from remote_shell.demo.capture import Capture, Packet
from remote_shell.demo.elements import Arrow, Exchange

CLIENT, SERVER = 0, 1
# What each call makes TCP send, by RFC 9293: drawn dashed where we may not look, and waited for where we may
_TO_CROSS: dict[str, tuple[tuple[int, str], ...]] = {
    "client.connect()": ((CLIENT, "SYN"), (SERVER, "SYN+ACK"), (CLIENT, "ACK")),
    "client.sendall()": ((CLIENT, "PSH+ACK"), (SERVER, "ACK")),
    "connection.sendall()": ((SERVER, "PSH+ACK"), (CLIENT, "ACK")),
    "client.close()": ((CLIENT, "FIN+ACK"),),
    "": ((SERVER, "ACK"),),
    "connection.close()": ((SERVER, "FIN+ACK"), (CLIENT, "ACK")),
}
_PATIENCE = 1.0  # seconds for what follows a call by itself, mostly at once; the kernel may put off an ACK by 0.2 s


@dataclass(frozen=True, slots=True)
class Sample:
    """What there was after a call, or ("" as the call) a little later: what it returned, the address and the state of its socket, the
    states of both ends, and the packets since the sample before. A state of "" is none: the kernel knows no such socket."""

    call: str
    returned: bytes | None
    address: str
    own: str
    client: str
    server: str
    packets: tuple[Packet, ...]


class Watcher:
    """Is called after each call of a conversation, by the name of the call: `who.call()`.

    Args:
        patient: give the kernel time for what follows a close; without it the next call comes at once.
    """

    def __init__(self, patient: bool = True) -> None:
        self.samples: list[Sample] = []
        self.captured = False
        self._patient = patient
        self._capture: Capture | None = None
        self._seen: list[Packet] = []
        self._sockets: dict[str, socket.socket] = {}
        self.family: int = socket.AF_UNIX
        self.client: tuple[str, int] | None = None
        self.server: tuple[str, int] | None = None

    def __enter__(self) -> Watcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._capture is not None:
            self._capture.__exit__(kind, error, trace)

    def __call__(self, call: str, sock: socket.socket, returned: bytes | None = None) -> None:
        who = re.match(r"\w+", call)
        if who is not None:
            self._sockets[who[0]] = sock
        if sock.family != socket.AF_UNIX:
            if call == "listener.bind()":
                self.family, self.server = sock.family, sock.getsockname()[:2]
                self._look()
            elif call == "client.connect()":
                self.client = sock.getsockname()[:2]
        first = call == "client.close()"
        if not first:
            self._settle(call)
        self._take(call, sock, returned)
        if first and self._patient and self.server is not None:
            self._settle("")
            self._take("", sock, None)

    def between(self, first: str, last: str) -> list[Sample]:
        """The samples from one call up to another, with it."""
        calls = [sample.call for sample in self.samples]
        return self.samples[calls.index(first) : calls.index(last) + 1]

    def find(self, call: str) -> Sample:
        """The first sample of a call."""
        return next(each for each in self.samples if each.call == call)

    def end(self, packet: Packet) -> int:
        """Which end sent a packet."""
        return CLIENT if self.client is not None and packet.source == self.client[1] else SERVER

    def _look(self) -> None:
        if self.family != socket.AF_INET or self.server is None:
            return
        try:
            self._capture = Capture(self.server[1])
        except OSError:
            return
        self.captured = True

    def _settle(self, call: str) -> None:
        """Waits for what the call sets off. Whatever does not happen in time is simply not there in the sample."""
        if self.server is None:
            return
        if call == "client.connect()":
            kernel.wait_until(lambda: self._end(SERVER) == "ESTABLISHED", _PATIENCE)
        elif call == "":
            kernel.wait_until(lambda: self._end(CLIENT) != "FIN_WAIT1", _PATIENCE)
        elif call == "connection.close()":
            kernel.wait_until(lambda: self._end(CLIENT) == "TIME_WAIT", _PATIENCE)
        expected = _TO_CROSS.get(call, ())
        if self._capture is not None and expected:
            kernel.wait_until(lambda: len(self._crossed()) >= len(expected), _PATIENCE)

    def _crossed(self) -> list[Packet]:
        if self._capture is not None:
            self._seen += self._capture.packets()
        return self._seen

    def _take(self, call: str, sock: socket.socket, returned: bytes | None) -> None:
        own = kernel.state(sock)
        if not own and self.client and sock is not self._sockets.get("listener"):
            own = self._end(CLIENT if sock is self._sockets.get("client") else SERVER)
        client, server = self._end(CLIENT), self._end(SERVER)
        packets, self._seen = tuple(self._crossed()), []
        self.samples.append(Sample(call, returned, _address(sock), own, client, server, packets))

    def _end(self, end: int) -> str:
        if self.client is not None and self.server is not None:
            ends = (self.client, self.server)
            return kernel.tcp_state(self.family, *(ends if end == CLIENT else ends[::-1]))
        sock = self._sockets.get("client" if end == CLIENT else "listener")
        return "" if sock is None else kernel.state(sock)


def exchange(watcher: Watcher, samples: Iterable[Sample], actors: tuple[str, str], caption: str) -> Exchange:
    """The picture of these samples: calls beside the lines, packets between them, the states where they changed."""
    arrows: list[Arrow] = []
    states: list[tuple[int, int, str]] = []
    last = ["", ""]
    for sample in samples:
        if sample.call:
            actor = CLIENT if sample.call.startswith("client") else SERVER
            text = sample.call.rpartition("= ")[2]
            arrows.append(Arrow(actor, actor, text if sample.returned is None else f"{text} → {sample.returned!r}"))
        arrows += _packets(watcher, sample)
        for actor, state in enumerate((sample.client, sample.server)):
            if state and state != last[actor]:
                states.append((actor, len(arrows) - 1, state))
                last[actor] = state
    return Exchange(actors, tuple(arrows), tuple(states), caption)


def _packets(watcher: Watcher, sample: Sample) -> list[Arrow]:
    if not watcher.captured:
        return [Arrow(end, 1 - end, text, inferred=True) for end, text in _TO_CROSS.get(sample.call, ())]
    # numbers begin anywhere; people like to count from the first packet of each end
    first: dict[int, int] = {}
    for each in watcher.samples:
        for packet in each.packets:
            first.setdefault(packet.source, packet.number)
    found: list[Arrow] = []
    for packet in sample.packets:
        end = watcher.end(packet)
        text = f"{'+'.join(packet.flags)} seq={packet.number - first[packet.source] & 0xFFFFFFFF}"
        if "ACK" in packet.flags and packet.destination in first:
            text += f" ack={packet.expects - first[packet.destination] & 0xFFFFFFFF}"
        if packet.data:
            text += f" {packet.data!r}"
        found.append(Arrow(end, 1 - end, text, colour=_colour(packet)))
    return found


def _colour(packet: Packet) -> int:
    """The same colours as everywhere: opening, bytes, closing; a bare ACK is grey."""
    return 1 if "SYN" in packet.flags else 2 if packet.data else 4 if "FIN" in packet.flags else 0


def _address(sock: socket.socket) -> str:
    if sock.fileno() < 0:
        return ""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return str(name).rpartition("/")[2]
    return f"[{name[0]}]:{name[1]}" if sock.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"
