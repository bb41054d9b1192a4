"""Pairing against servers that are not what they should be: what they learn, and what a person reads."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from remote_shell.client.pairing import Paired, pair
from remote_shell.config.targets import Target
from remote_shell.errors import (
    AccessDeniedError,
    ConnectError,
    IdentityError,
    RemoteShellError,
    ServerIdentityError,
    ServerKeyChangedError,
)
from remote_shell.identity.invitation import Invitation, new_code
from remote_shell.identity.keys import PublicKey
from remote_shell.identity.known_hosts import KnownHosts
from remote_shell.identity.secrets import generate, mac
from remote_shell.identity.server_identity import ServerIdentity
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.wire.events import LoginAsked
from remote_shell.wire.fields import Message
from remote_shell.wire.frames import CONTROL, encode
from remote_shell.wire.handshake import ServerHandshake, invitation
from remote_shell.wire.messages import FEATURES, Denied, Enrolled, Hello, Welcome, unbase64

pytestmark = pytest.mark.screen  # as a file it takes long

Answer = Callable[[ServerHandshake], Message | None]
WELCOME = Welcome(session="s", resumed=False, received=0, principal="p", account="a", host="h", grace_ms=1)


def enrolled(proof: bytes) -> Enrolled:
    return Enrolled(proof=base64.b64encode(proof).decode(), account="a\x1b[31m", host="h")


class FalseServer:
    """Takes connections one after the other; says its hello, and then `answer`. `inside` is what it heard within TLS."""

    def __init__(self, answer: Answer = lambda _: None, features: tuple[str, ...] = FEATURES) -> None:
        self.identity = ServerIdentity(os.urandom(32))
        self.inside = b""
        self.calls = 0
        self.over = threading.Semaphore(0)  # one for each call that has ended
        self._answer = answer
        self._features = features
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def target(self) -> Target:
        return Target("tls", host="127.0.0.1", port=self._listener.getsockname()[1])

    def invite(self, *before: Target, fingerprint: str | None = None, until: float | None = None) -> Invitation:
        """An invitation to it, as its owner would have made it."""
        moment = int(time.time() + 600 if until is None else until)
        return Invitation((*before, self.target), fingerprint or self.identity.fingerprint, moment, new_code())

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        context = self.identity.server_context()
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self.calls += 1
            with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as sock:
                self._talk(sock)
            self.over.release()

    def _talk(self, sock: ssl.SSLSocket) -> None:
        limits = DEFAULT_LIMITS
        hello = Hello(
            software="false\x1b[31m", features=list(self._features), nonce=base64.b64encode(bytes(32)).decode(),
            frame_max=limits.frame_max, window=limits.window, unacked_bytes_max=limits.unacked_bytes_max,
            unacked_frames_max=limits.unacked_frames_max, prompt=True,
        )  # fmt: skip
        hand = ServerHandshake(hello, "tls", self.identity.key_hash, limits)
        while data := sock.recv(65536):
            self.inside += data
            hand.receive_data(data)
            event = hand.next_event()
            sock.sendall(hand.data_to_send())
            if isinstance(event, LoginAsked):
                answer = self._answer(hand)
                if answer is not None:
                    sock.sendall(encode(CONTROL, 0, answer.encode()))
                return


@pytest.fixture
def serve() -> Iterator[Callable[..., FalseServer]]:
    made: list[FalseServer] = []

    def begin(answer: Answer = lambda _: None, features: tuple[str, ...] = FEATURES) -> FalseServer:
        made.append(FalseServer(answer, features))
        return made[-1]

    yield begin
    for one in made:
        one.close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An account that has nothing yet."""
    for name in ("HOME", "REMOTE_SHELL_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path


def refused(invited: Invitation, kind: type[RemoteShellError]) -> str:
    """Pairing that must fail; nothing is remembered."""
    with pytest.raises(kind) as raised:
        pair(invited)
    assert not os.path.exists(KnownHosts().path)
    text = str(raised.value)
    assert invited.code.hex() not in text and invited.line().split()[-1] not in text
    return text


def knows(invited: Invitation) -> Answer:
    """The answer of the server that made it."""

    def answer(hand: ServerHandshake) -> Message:
        auth = hand.auth
        assert auth is not None and auth.keys
        credential = invitation(auth, unbase64(auth.keys[0].key))
        return enrolled(mac(invited.secret(), "server", hand.transcript("server", credential)))

    return answer


def test_a_server_that_knows_it(serve: Callable[..., FalseServer], home: Path) -> None:
    server = serve()
    invited = server.invite()
    server._answer = knows(invited)
    paired = pair(invited)
    assert isinstance(paired, Paired) and paired.target == server.target and not paired.again
    assert KnownHosts().check(server.target.address, invited.fingerprint) == "known"
    assert invited.code not in server.inside and invited.code.hex().encode() not in server.inside
    assert invited.line().split()[-1].encode() not in server.inside and invited.secret().key not in server.inside
    assert (home / "id_ed25519").exists() and PublicKey(paired.key.blob).fingerprint == paired.key.fingerprint


def test_another_key_hears_nothing(serve: Callable[..., FalseServer]) -> None:
    server = serve()
    other = ServerIdentity(os.urandom(32)).fingerprint
    text = refused(server.invite(fingerprint=other), ServerIdentityError)
    assert other in text and server.identity.fingerprint in text and "nothing was sent" in text
    assert server.over.acquire(timeout=10)
    assert server.calls == 1 and server.inside == b""


def test_a_server_that_takes_it_without_knowing_it(serve: Callable[..., FalseServer]) -> None:
    def echoed(hand: ServerHandshake) -> Message:
        assert hand.auth is not None and hand.auth.proof is not None
        return enrolled(unbase64(hand.auth.proof))

    answers: list[Answer] = [lambda _: enrolled(bytes(32)), lambda _: enrolled(b""), echoed]
    for answer in answers:
        assert "does not know the invitation" in refused(serve(answer).invite(), ServerIdentityError)
    another = generate("x")
    server = serve(lambda hand: enrolled(mac(another, "server", hand.transcript("server", b""))))
    assert "does not know the invitation" in refused(server.invite(), ServerIdentityError)


def test_a_welcome_is_no_answer(serve: Callable[..., FalseServer]) -> None:
    assert "does not keep to the protocol" in refused(serve(lambda _: WELCOME).invite(), ConnectError)


def test_an_older_server_is_told_by_its_hello(serve: Callable[..., FalseServer]) -> None:
    server = serve(features=("files",))
    text = refused(server.invite(), ConnectError)
    assert "older than invitations" in text and "keys show" in text and "\x1b" not in text
    assert b'"auth"' not in server.inside


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (-300, "it was used, or taken back, or it expired by the clock over there"),
        (300, "it expired 5 minutes ago by the clock here"),
        (3 * 86400, "it expired 72 hours ago"),
    ],
)
def test_a_refusal_says_what_is_likely(serve: Callable[..., FalseServer], age: float, words: str) -> None:
    text = refused(serve(lambda _: Denied()).invite(until=time.time() - age), AccessDeniedError)
    assert words in text and "remote-shell keys invite" in text


def test_one_that_hangs_up(serve: Callable[..., FalseServer]) -> None:
    assert "closed" in refused(serve().invite(), ConnectError)


def dead() -> Target:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return Target("tls", host="127.0.0.1", port=listener.getsockname()[1])


def test_the_next_address_is_tried(serve: Callable[..., FalseServer]) -> None:
    """Where one is dead, and one is another machine's where we are."""
    other, server = serve(), serve()
    invited = server.invite(dead(), other.target)
    server._answer = knows(invited)
    assert pair(invited).target == server.target
    assert other.inside == b"" and KnownHosts().check(other.target.address, "SHA256:x") == "unknown"


def test_all_addresses_fail(serve: Callable[..., FalseServer]) -> None:
    first, other = dead(), serve()
    text = refused(other.invite(first, fingerprint=serve().identity.fingerprint), ServerIdentityError)
    assert first.address in text and other.target.address in text and text.startswith("the server")
    two = Invitation((first, dead()), other.identity.fingerprint, int(time.time()) + 60, new_code())
    assert refused(two, ConnectError).count("refuse") == 2


def test_a_refusal_is_final(serve: Callable[..., FalseServer]) -> None:
    """The pinned server has spoken: its other addresses are not asked."""
    server = serve(lambda _: Denied())
    refused(server.invite(server.target, server.target), AccessDeniedError)
    assert server.calls == 1


def test_a_server_that_is_known_by_another_key(serve: Callable[..., FalseServer]) -> None:
    server = serve()
    KnownHosts().add(server.target.address, ServerIdentity(os.urandom(32)).fingerprint)
    with pytest.raises(ServerKeyChangedError, match="CHANGED"):
        pair(server.invite())
    assert server.calls == 0


def test_a_key_that_can_not_sign_is_told_first(serve: Callable[..., FalseServer], home: Path) -> None:
    server = serve()
    with pytest.raises(IdentityError, match="no key file"):
        pair(server.invite(), identity=str(home / "none"))
    assert server.calls == 0
