"""A server that answers each `get` with what it is told to say, for tests of what a client takes from it. Real sockets, the real core."""

from __future__ import annotations

import base64
import os
import pwd
import select
import socket
import threading
from pathlib import Path

from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.link import PlainLink
from remote_shell.wire.channel import Role
from remote_shell.wire.events import ChannelOpened, Event, LoginAsked
from remote_shell.wire.fields import Message
from remote_shell.wire.frames import STDOUT
from remote_shell.wire.handshake import ServerHandshake
from remote_shell.wire.messages import CLOSE, Eof, Exit, Hello, Opened, Welcome
from remote_shell.wire.session import Session

Said = list[Message | bytes]


class HostileServer:
    """`with HostileServer(folder, said) as target`."""

    def __init__(self, folder: Path, said: Said, features: list[str] | None = None) -> None:
        self._said = said
        self._features = features
        self._path = str(folder / "s")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self._path)
        self._listener.listen()
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> str:
        self._thread.start()
        return f"unix:{self._path}"

    def __exit__(self, *error: object) -> None:
        os.close(self._stopped)
        self._thread.join()
        self._listener.close()
        os.close(self._stop)

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._listener.fileno(), self._stop], [], [])
            if self._stop in ready:
                return
            sock, _ = self._listener.accept()
            with sock:
                self._talk(PlainLink(sock, DEFAULT_LIMITS.unsent_max))

    def _talk(self, link: PlainLink) -> None:
        limits = DEFAULT_LIMITS
        hello = Hello(
            software="hostile",
            features=self._features,
            nonce=base64.b64encode(os.urandom(32)).decode(),
            frame_max=limits.frame_max,
            window=limits.window,
            unacked_bytes_max=limits.unacked_bytes_max,
            unacked_frames_max=limits.unacked_frames_max,
            prompt=False,
        )
        handshake = ServerHandshake(hello, "unix", b"", limits)
        session = Session(Role.SERVER, limits)
        while True:
            ready, _, _ = select.select([link.fileno(), self._stop], [], [])
            data = link.recv() if self._stop not in ready else b""
            if not data:
                return
            if not session.attached:
                self._log_in(handshake, session, data)
                link.send([handshake.data_to_send()])
            else:
                session.receive_data(session.generation, data, 0.0)
            while session.attached and (event := session.next_event()) is not None:
                self._answer(session, event)
            while session.attached and (out := session.data_to_send(1 << 20)):
                session.sent(link.send(out))

    def _log_in(self, handshake: ServerHandshake, session: Session, data: bytes) -> None:
        handshake.receive_data(data)
        while (event := handshake.next_event()) is not None:
            if isinstance(event, LoginAsked):
                handshake.welcome(
                    Welcome(
                        session="s",
                        resumed=False,
                        received=0,
                        principal="p",
                        account=pwd.getpwuid(os.getuid()).pw_name,
                        host="h",
                        grace_ms=0,
                    )
                )
                assert handshake.peer is not None
                session.attach(handshake.decoder, handshake.peer, 0, 0.0)

    def _answer(self, session: Session, event: Event) -> None:
        if isinstance(event, ChannelOpened):
            session.send_message(event.channel, Opened())
            for one in self._said:
                if isinstance(one, Message):
                    session.send_message(event.channel, one)
                else:
                    session.send_data(event.channel, STDOUT, one)
            for message in (Eof(stream=STDOUT), Exit(status=0), CLOSE):
                session.send_message(event.channel, message)
