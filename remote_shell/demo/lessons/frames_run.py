"""The lesson "frames", what is run: a server of ours, a client of ours, and between them a relay that notes each `recv`.

Neighbour: `frames` tells of it.
"""

from __future__ import annotations

import json
import os
import random
import select
import socket
import tempfile
import threading
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.wire.frames import CONTROL, HEADER_SIZE, Frame, FrameDecoder

SIZES = (1, 40)  # bytes that the relay asks `recv` for, drawn anew each time
GIVE_UP = 10.0  # seconds that the relay holds an answer back, or is waited for
FROM_CLIENT, FROM_SERVER = 0, 1


class Chunk(NamedTuple):
    """What one `recv` of the relay returned, and when (monotonic seconds)."""

    data: bytes
    at: float


class Seen(NamedTuple):
    """A frame that passed: from whom, at which offsets of what they sent, and when its last byte came."""

    source: int
    frame: Frame
    start: int
    end: int
    at: float

    @property
    def message(self) -> dict[str, Any]:
        """What a control frame says; empty for data."""
        return dict(json.loads(self.frame.payload)) if self.frame.type == CONTROL else {}

    @property
    def name(self) -> str:
        """The message's type, or the stream of the data."""
        return (
            str(self.message["type"]) if self.frame.type == CONTROL else ("stdin", "stdout", "stderr")[self.frame.type]
        )


@dataclass(slots=True)
class Recording:
    """All that crossed, and what the client's commands gave: by channel, their output."""

    chunks: tuple[list[Chunk], list[Chunk]] = field(default_factory=lambda: ([], []))
    outputs: dict[int, bytes] = field(default_factory=dict)
    statuses: dict[int, int | None] = field(default_factory=dict)

    def stream(self, source: int) -> bytes:
        """All bytes from one side."""
        return b"".join(chunk.data for chunk in self.chunks[source])

    def frames(self, source: int) -> list[Seen]:
        """The frames from one side, found by the project's own decoder in the pieces that `recv` returned."""
        decoder = FrameDecoder(DEFAULT_LIMITS.frame_max)
        found: list[Seen] = []
        start = 0
        for chunk in self.chunks[source]:
            decoder.feed(chunk.data)
            while (frame := decoder.next_frame()) is not None:
                end = start + HEADER_SIZE + len(frame.payload)
                found.append(Seen(source, frame, start, end, chunk.at))
                start = end
        return found

    @property
    def both(self) -> list[Seen]:
        """The frames of both sides in the order in which they had passed."""
        return sorted(self.frames(FROM_CLIENT) + self.frames(FROM_SERVER), key=lambda seen: seen.at)

    def cuts(self, source: int) -> list[int]:
        """The offsets at which a `recv` ended."""
        found = [0]
        for chunk in self.chunks[source]:
            found.append(found[-1] + len(chunk.data))
        return found[1:]


class Relay:
    """Joins one client to a server, both on Unix sockets, in a thread. Reads in pieces of random sizes.

    Holds the answer to the first command back, until the kernel has all of it: so the pieces do not depend on who was faster.
    """

    def __init__(self, path: str, server: str) -> None:
        """`path`: where the client finds us. `server`: the socket of the server."""
        self.recording = Recording()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(1)
        self._server = server
        self._holding: bool | None = None  # None: the first command has not come yet
        self._requests = FrameDecoder(DEFAULT_LIMITS.frame_max)
        self._thread = threading.Thread(target=self._work, name="relay")

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self.recording.chunks[FROM_CLIENT]:
            self._listener.shutdown(socket.SHUT_RDWR)  # nobody came: wakes accept()
        self._thread.join(GIVE_UP)
        self._listener.close()

    def _work(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # nobody came
        with client, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.connect(self._server)
            ends = (client, server)
            reading = [FROM_CLIENT, FROM_SERVER]
            until = 0.0
            while reading:
                for ready in select.select([ends[source] for source in reading], [], [])[0]:
                    source = ends.index(ready)
                    if source == FROM_SERVER and self._holding:
                        until = until or time.monotonic() + GIVE_UP
                        self._holding = not self._is_whole(ready) and time.monotonic() < until
                        time.sleep(0.001)
                    elif not self._pass_on(source, ends):
                        reading.remove(source)

    def _pass_on(self, source: int, ends: tuple[socket.socket, socket.socket]) -> bool:
        """One `recv`, noted and passed on. False: this side has ended."""
        try:
            data = ends[source].recv(random.randint(*SIZES))
            if data:
                self.recording.chunks[source].append(Chunk(data, time.monotonic()))
                if source == FROM_CLIENT and self._holding is None:
                    self._look_for_command(data)
                ends[1 - source].sendall(data)
            else:
                ends[1 - source].shutdown(socket.SHUT_WR)
        except OSError:  # the other side has left already
            return False
        return bool(data)

    def _look_for_command(self, data: bytes) -> None:
        self._requests.feed(data)
        while (frame := self._requests.next_frame()) is not None:
            if frame.channel:
                self._holding = True

    @staticmethod
    def _is_whole(server: socket.socket) -> bool:
        """Whether a command's last frame is in the kernel already: looks (MSG_PEEK) and takes nothing."""
        seen = server.recv(65536, socket.MSG_PEEK)
        decoder = FrameDecoder(DEFAULT_LIMITS.frame_max)
        decoder.feed(seen)
        while (frame := decoder.next_frame()) is not None:
            if frame.type == CONTROL and json.loads(frame.payload)["type"] == "close":
                return True
        return not seen  # it has hung up: nothing more will come


def record(first: list[str], inside: list[str], around: list[str], typed: bytes) -> Recording:
    """Starts a server, runs three commands by a client, and returns what crossed.

    Args:
        first: a command that runs alone, on channel 1.
        inside: runs on channel 3, while `around` waits for its stdin.
        around: runs on channel 2, and gets `typed` when `inside` has ended.

    Raises RemoteShellError if the server does not start.
    """
    from remote_shell import DEVNULL, PIPE, connect
    from remote_shell.cli.trial import Trial

    with (
        Trial(startup_files=False) as trial,  # forks: before there is a thread
        tempfile.TemporaryDirectory(prefix="remote-shell-demo-", dir="/tmp") as folder,  # noqa: S108  # short enough for a socket
    ):
        path = os.path.join(folder, "s")
        with Relay(path, trial.target().removeprefix("unix:")) as relay:
            found = relay.recording
            with connect(f"unix:{path}") as host:
                done = host.run(first, stdin=DEVNULL, capture_output=True, cwd="/")  # an account may have no home
                found.outputs[1], found.statuses[1] = done.stdout, done.returncode
                waiting = host.popen(around, stdin=PIPE, stdout=PIPE, cwd="/")
                done = host.run(inside, stdin=DEVNULL, capture_output=True, cwd="/")
                found.outputs[3], found.statuses[3] = done.stdout, done.returncode
                found.outputs[2] = waiting.communicate(typed)[0]
                found.statuses[2] = waiting.returncode
        return found
