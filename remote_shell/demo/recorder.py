"""A socket that notes what its calls did, so that a lesson shows what really happened. It changes nothing of what they do."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Note:
    """One call: by whom, its name, the bytes that it took or gave, how many it was asked for, and when (monotonic seconds)."""

    who: str
    call: str
    data: bytes
    asked: int
    at: float


class RecordedSocket(socket.socket):
    """Takes over a socket (the old object is detached) and appends a `Note` to `notes` for each call that moves bytes.

    Args:
        sock: the socket.
        who: the name of this end.
        notes: where to append; may be shared by both ends and by threads.
    """

    def __init__(self, sock: socket.socket, who: str, notes: list[Note]) -> None:
        timeout = sock.gettimeout()
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self.settimeout(timeout)
        self.who = who
        self.notes = notes

    def accept(self) -> tuple[socket.socket, Any]:
        accepted, address = super().accept()
        return RecordedSocket(accepted, self.who, self.notes), address

    def send(self, data: Any, flags: int = 0) -> int:
        sent = super().send(data, flags)
        self._note("send", bytes(data)[:sent], len(data))
        return sent

    def sendall(self, data: Any, flags: int = 0) -> None:
        super().sendall(data, flags)
        self._note("sendall", bytes(data), len(data))

    def sendto(self, data: Any, *rest: Any) -> int:
        sent = super().sendto(data, *rest)
        self._note("sendto", bytes(data)[:sent], len(data))
        return sent

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = super().recv(size, flags)
        self._note("recv", data, size)
        return data

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Any]:
        data, address = super().recvfrom(size, flags)
        self._note("recvfrom", data, size)
        return data, address

    def _note(self, call: str, data: bytes, asked: int) -> None:
        self.notes.append(Note(self.who, call, data, asked, time.monotonic()))


def of(notes: list[Note], who: str, *calls: str) -> list[Note]:
    """The notes of one end, of these calls (all calls if none is named)."""
    return [note for note in notes if note.who == who and (not calls or note.call in calls)]
