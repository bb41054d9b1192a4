"""Invitations at a server: who is enrolled, that guesses change nothing, and that a proof is good for one server, one key, once."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remote_shell.config.fingerprints import format_fingerprint
from remote_shell.config.socket_lock import hold
from remote_shell.identity import key_lines
from remote_shell.identity.invitation import name_of, new_code, proving_key
from remote_shell.identity.invitations import Invitations, Record
from remote_shell.identity.keys import PublicKey, make_blob
from remote_shell.identity.secrets import Secret, mac, verify
from remote_shell.identity.sshsig import NAMESPACE, signed_data
from remote_shell.identity.tls import peer_key_hash
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.testing import RunningServer, server
from remote_shell.wire import frames
from remote_shell.wire.events import ServerGreeted, WasDenied, WasEnrolled
from remote_shell.wire.handshake import ClientHandshake, invitation
from remote_shell.wire.messages import Auth, Enrolled, KeyProof, unbase64

from .conftest import ALL, Starter
from .raw_client import Prove, RawClient, Stranger, by_key, encode, make_hello, until
from .test_arrival import DENIED, without_hello
from .test_auth import Relay, Threaded, take_binding_out

pytestmark = pytest.mark.screen  # as a file it takes long


def blob_of(key: Ed25519PrivateKey) -> bytes:
    return make_blob(key.public_key().public_bytes_raw())


def by_invitation(code: bytes, key: Ed25519PrivateKey, **lies: Any) -> Prove:
    """Proves an invitation and a key. `lies`: "signer", "namespace", "role", "shown" (another key's blob), "label", "secret"."""

    def prove(handshake: ClientHandshake, auth: Auth) -> Auth:
        blob = lies.get("shown", blob_of(key))
        auth = auth.changed(method="invite", invite=name_of(code), label=lies.get("label"))
        transcript = handshake.transcript("client", auth, invitation(auth, blob))
        signature = lies.get("signer", key).sign(signed_data(lies.get("namespace", NAMESPACE), transcript))
        role = lies.get("role", "client")
        secret = Secret("x", lies.get("secret", proving_key(code)))
        proof = mac(secret, role, handshake.transcript(role, auth, invitation(auth, blob)))
        return auth.changed(proof=encode(proof), keys=[KeyProof(key=encode(blob), proof=encode(signature))])

    return prove


class Guest:
    """A connection that says one login, and what it is answered."""

    def __init__(self, target: str, source: str | None = None) -> None:
        self.stranger = Stranger(target, source=source)
        key_hash = b""
        if target.startswith("tls:"):
            key_hash = peer_key_hash(self.stranger.sock.getpeercert(True))  # type: ignore[attr-defined]
        self.handshake = ClientHandshake(make_hello(), target.partition(":")[0], key_hash, DEFAULT_LIMITS)
        self.said = b""  # all that we sent
        self.answer = b""  # what came after the hello
        self.auth: Auth

    def greet(self) -> Guest:
        """Both hellos."""
        self._send()
        while not (event := self.handshake.next_event()):
            self.handshake.receive_data(self.stranger.read())
        assert isinstance(event, ServerGreeted)
        return self

    def ask(self, prove: Prove) -> Enrolled | None:
        """Log in, read to the end. None: denied."""
        self.auth = prove(self.handshake, Auth(method="key"))
        self.handshake.log_in(self.auth)
        self._send()
        self.answer = self.stranger.rest()
        self.handshake.receive_data(self.answer)
        event = self.handshake.next_event()
        if isinstance(event, WasEnrolled):
            return event.enrolled
        assert isinstance(event, WasDenied), event
        assert self.answer == DENIED
        return None

    def _send(self) -> None:
        data = self.handshake.data_to_send()
        self.said += data
        self.stranger.send(data)


def ask(target: str, prove: Prove, source: str | None = None) -> Enrolled | None:
    return Guest(target, source).greet().ask(prove)


class Place:
    """A server and what it keeps."""

    def __init__(self, running: RunningServer) -> None:
        self.running = running
        self.tls = running.targets["tls"]
        self.list = os.path.join(running.home, "authorized_keys")
        self._logged = len(running.read_log())
        self.invitations = Invitations(os.path.join(running.home, "state", "invitations"))

    def invite(self, seconds: float = 600, label: str = "", options: str = "") -> bytes:
        return self.invitations.make(seconds, label, options)[1]

    def log(self) -> str:
        """What the server logged in this test."""
        return self.running.read_log()[self._logged :]

    def comments(self) -> list[str]:
        return [line.comment for line in key_lines.read(self.list)]

    def kept(self) -> dict[str, bytes]:
        """Every byte that an invitation could change."""
        folder = Path(self.invitations.folder)
        files = sorted(folder.iterdir()) if folder.exists() else []
        return {str(path): path.read_bytes() for path in [*files, Path(self.list)]}


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with server(config="[limits]\nrefusal_time = 0.02\nwrong_invitations_max = 1000\n", listen=ALL) as made:
        yield made
        assert "Traceback" not in made.read_log()


@pytest.fixture
def place(running: RunningServer) -> Iterator[Place]:
    """The server, with the list as it was before."""
    made = Place(running)
    listed = Path(made.list).read_bytes()
    yield made
    Path(made.list).write_bytes(listed)


def test_an_invited_key_is_listed_and_logs_in(place: Place) -> None:
    key, code = Ed25519PrivateKey.generate(), place.invite(label="ann")
    guest = Guest(place.tls).greet()
    enrolled = guest.ask(by_invitation(code, key, label="me@there"))
    assert enrolled is not None and not enrolled.again
    transcript = guest.handshake.transcript("server", guest.auth, invitation(guest.auth, blob_of(key)))
    assert verify(Secret("x", proving_key(code)), "server", transcript, unbase64(enrolled.proof)), "it knows it too"
    assert code not in guest.said and code.hex().encode() not in guest.said and proving_key(code) not in guest.said
    with RawClient(place.tls, by_key(key)) as client:
        assert client.welcome.principal == f"key:{PublicKey(blob_of(key)).fingerprint}"
        assert client.run(["echo", "hi"]).text() == b"hi\n"
    comment = place.comments()[-1]
    assert comment.startswith("paired 20") and comment.endswith(" from 127.0.0.1 as ann")
    assert "was enrolled by invitation" in place.log() and code.hex() not in place.log()


def test_the_name_is_the_inviters_else_the_clients(place: Place) -> None:
    assert ask(place.tls, by_invitation(place.invite(), Ed25519PrivateKey.generate(), label="me@there"))
    assert place.comments()[-1].endswith(" as me@there")
    assert ask(place.tls, by_invitation(place.invite(), Ed25519PrivateKey.generate()))
    assert place.comments()[-1].endswith(" from 127.0.0.1")


@pytest.mark.parametrize("label", ["a b", "a\n", "ann\x1b[31m", 'a"', "x" * 65, "ssh-ed25519 AAAA"])
def test_a_name_can_write_nothing_else(place: Place, label: str) -> None:
    def forced(handshake: ClientHandshake, auth: Auth) -> Auth:
        made = by_invitation(code, Ed25519PrivateKey.generate())(handshake, auth)
        made.__dict__["label"] = label  # past our own checks
        return made

    code, before = place.invite(), place.comments()
    assert ask(place.tls, forced) is None and place.comments() == before


def test_its_options_go_with_it(place: Place) -> None:
    key = Ed25519PrivateKey.generate()
    assert ask(place.tls, by_invitation(place.invite(options='command="echo only this",no-pty'), key))
    assert key_lines.read(place.list)[-1].options == 'command="echo only this",no-pty'
    with RawClient(place.tls, by_key(key)) as client:
        assert client.run(["echo", "another"]).text() == b"only this\n"


def test_used_once(place: Place) -> None:
    key, code = Ed25519PrivateKey.generate(), place.invite()
    assert ask(place.tls, by_invitation(code, key))
    assert ask(place.tls, by_invitation(code, Ed25519PrivateKey.generate())) is None
    again = ask(place.tls, by_invitation(code, key))
    assert again is not None and again.again, "an answer that was lost is given again"
    assert len(place.comments()) == 2
    assert key_lines.remove(place.list, key_lines.read(place.list)[-1:])
    assert ask(place.tls, by_invitation(code, key)) is None, "what was revoked does not come back"
    assert len(place.comments()) == 1 and "taken off the list" in place.log()


def test_a_key_that_is_listed_is_not_listed_twice(place: Place) -> None:
    from remote_shell.identity.private_keys import PrivateKeyFile

    file = PrivateKeyFile.read(place.running.identity)
    assert file is not None
    enrolled = ask(place.tls, by_invitation(place.invite(), Ed25519PrivateKey.from_private_bytes(file.unlock())))
    assert enrolled is not None and enrolled.again and place.comments() == ["test"]


def test_a_line_that_lets_the_key_in_no_more_is_named(place: Place) -> None:
    key = Ed25519PrivateKey.generate()
    assert key_lines.add(place.list, PublicKey(blob_of(key)), 'expiry-time="20200101"')
    assert ask(place.tls, by_invitation(place.invite(), key)) is None
    assert "on line 2 of" in place.log() and "expired" in place.log() and "take that line away first" in place.log()


def wrong(code: bytes) -> dict[str, Prove]:
    """Guesses, by what is wrong about them."""
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    good = by_invitation(code, key)

    def changed(**fields: Any) -> Prove:
        return lambda handshake, auth: good(handshake, auth).changed(**fields)

    def two_keys(handshake: ClientHandshake, auth: Auth) -> Auth:
        made = good(handshake, auth)
        assert made.keys
        return made.changed(keys=made.keys * 2)

    return {
        "another code": by_invitation(new_code(), key),
        "its name and another secret": by_invitation(code, key, secret=bytes(32)),
        "a name that is none": changed(invite="../../authorized_keys"),
        "no name": changed(invite=None),
        "the server's role": by_invitation(code, key, role="server"),
        "another key signs": by_invitation(code, key, signer=other),
        "another key is shown": by_invitation(code, key, shown=blob_of(other)),
        "signed for something else": by_invitation(code, key, namespace="git"),
        "a worthless key": by_invitation(code, key, shown=make_blob(bytes(32))),
        "no key": changed(keys=None),
        "two keys": two_keys,
        "no proof": changed(proof=None),
        "bad base64": changed(proof="A="),
        "another label": changed(label="root"),
        "another account": changed(user="somebody"),
        "a session": changed(session="x"),
    }


def test_every_refusal_is_the_same_and_no_guess_changes_anything(place: Place) -> None:
    code = place.invite()
    before = place.kept()
    for what, prove in wrong(code).items():
        guest = Guest(place.tls).greet()
        assert guest.ask(prove) is None, what
        assert place.kept() == before, what
    assert ask(place.tls, by_invitation(code, Ed25519PrivateKey.generate())), "it is as good as it was"
    log = place.log()
    assert log.count("refused: ") == len(wrong(code)) and code.hex() not in log


def test_over_ones_are_refused_alike(place: Place) -> None:
    codes = {"used": place.invite(), "taken back": place.invite(), "expired": place.invite(0.001)}
    assert ask(place.tls, by_invitation(codes["used"], Ed25519PrivateKey.generate()))
    os.unlink(os.path.join(place.invitations.folder, name_of(codes["taken back"])))
    for code in codes.values():
        assert ask(place.tls, by_invitation(code, Ed25519PrivateKey.generate())) is None
    log = place.log()
    assert "it was used by SHA256:" in log and "unknown or wrong" in log and "it has expired" in log


def test_every_refusal_waits_for_its_time(start: Starter) -> None:
    """An expired one is found out later than an unknown one, and told no later and no earlier."""
    place = Place(start(listen=("tls:127.0.0.1:0",), refusal_time=0.4))
    for code in (place.invite(0.001), new_code()):
        began = time.monotonic()
        assert ask(place.tls, by_invitation(code, Ed25519PrivateKey.generate())) is None
        assert time.monotonic() - began >= 0.4


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_not_where_no_server_key_is_pinned(place: Place, kind: str) -> None:
    assert ask(place.running.targets[kind], by_invitation(place.invite(), Ed25519PrivateKey.generate())) is None
    assert f"method invite on {kind}" in place.log() and place.comments() == ["test"]


def test_wrong_ones_are_limited_for_their_source_alone(start: Starter) -> None:
    place = Place(start(listen=("tls:127.0.0.1:0",), refusal_time=0.02, wrong_invitations_max=3))
    code = place.invite()
    for _ in range(5):
        assert ask(place.tls, by_invitation(new_code(), Ed25519PrivateKey.generate()), "127.0.0.9") is None
    assert place.log().count("was not looked at") == 2
    assert ask(place.tls, by_invitation(code, Ed25519PrivateKey.generate()), "127.0.0.9") is None
    assert ask(place.tls, by_invitation(code, Ed25519PrivateKey.generate()), "127.0.0.8"), "nobody else is kept out"


def test_a_pairing_heard_before_is_worth_nothing(place: Place) -> None:
    """Each word of it said again, before and after the true one was answered: a nonce of the server's is in the proof."""
    code = place.invite()
    guest = Guest(place.tls).greet()
    prove = by_invitation(code, Ed25519PrivateKey.generate())
    auth = prove(guest.handshake, Auth(method="key"))

    def replay() -> bytes:
        stranger = Stranger(place.tls)
        stranger.send(guest.said[:] + frames.encode(frames.CONTROL, 0, auth.encode()))
        return without_hello(stranger.rest())

    assert [replay() for _ in range(3)] == [DENIED] * 3
    assert guest.ask(lambda *_: auth)
    assert [replay() for _ in range(3)] == [DENIED] * 3


def test_two_servers_and_many_clients_race_for_one(place: Place) -> None:
    """The second server has the first one's folder."""
    with server(("tls:127.0.0.1:0",), environment={"REMOTE_SHELL_HOME": place.running.home}) as other:
        code, barrier = place.invite(), threading.Barrier(6)
        keys = [Ed25519PrivateKey.generate() for _ in range(6)]
        enrolled: list[bytes] = []

        def race(number: int) -> None:
            guest = Guest((place.tls, other.targets["tls"])[number % 2]).greet()
            barrier.wait()
            if guest.ask(by_invitation(code, keys[number])):
                enrolled.append(blob_of(keys[number]))

        threads = [threading.Thread(target=race, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lists = key_lines.read(place.list) + key_lines.read(os.path.join(other.home, "authorized_keys"))
    assert len(enrolled) == 1 and [line.blob for line in lists if line.comment != "test"] == enrolled


def test_it_is_for_one_list_and_another_server_does_not_even_use_it_up(place: Place) -> None:
    """A server of the same account may let in more, or confine less."""
    with server(("tls:127.0.0.1:0",), environment={"REMOTE_SHELL_HOME": place.running.home}) as other:
        _, code = place.invitations.make(600, authorized_keys=place.list)
        assert ask(other.targets["tls"], by_invitation(code, Ed25519PrivateKey.generate())) is None
        assert f"it is for another list: {place.list}" in other.read_log()
        assert ask(place.tls, by_invitation(code, key := Ed25519PrivateKey.generate()))
        assert ask(other.targets["tls"], by_invitation(code, key)) is None
        assert len(key_lines.read(os.path.join(other.home, "authorized_keys"))) == 1


def test_a_list_that_can_not_be_written(place: Place) -> None:
    """Refused like all else, and the same key may try again."""
    key, code, elsewhere = Ed25519PrivateKey.generate(), place.invite(), f"{place.list}.kept"
    os.rename(place.list, elsewhere)
    os.mkdir(place.list, 0o700)
    assert ask(place.tls, by_invitation(code, key)) is None
    assert "is not a regular file" in place.log()
    os.rmdir(place.list)
    os.rename(elsewhere, place.list)
    assert ask(place.tls, by_invitation(code, Ed25519PrivateKey.generate())) is None
    assert ask(place.tls, by_invitation(code, key))


def test_who_hangs_up_too_early_may_ask_again(place: Place) -> None:
    key, code = Ed25519PrivateKey.generate(), place.invite()
    guest = Guest(place.tls).greet()
    guest.handshake.log_in(by_invitation(code, key)(guest.handshake, Auth(method="key")))
    guest._send()
    guest.stranger.sock.close()
    until(lambda: len(place.comments()) == 2, "it is listed all the same")
    again = ask(place.tls, by_invitation(code, key))
    assert again is not None and again.again


def test_nothing_else_may_be_said_beside_it(place: Place) -> None:
    """An enrolled key is not logged in: what follows `auth` is not read."""
    key, code = Ed25519PrivateKey.generate(), place.invite()
    guest = Guest(place.tls).greet()
    tail = frames.encode(
        frames.CONTROL, 1, b'{"type":"open","request":"exec","id":"x","window":1,"argv":["touch","x"]}'
    )
    guest.handshake.log_in(by_invitation(code, key)(guest.handshake, Auth(method="key")))
    guest.stranger.send(guest.handshake.data_to_send() + tail)
    until(lambda: len(place.comments()) == 2, "it is listed")
    guest.stranger.sock.close()
    assert "logged in" not in place.log()


def test_the_connection_is_not_read_while_a_key_is_listed(place: Place) -> None:
    """What comes then, its end too, waits in the kernel: nothing is held for it, and the answer is still given."""
    code = place.invite()
    lock = hold(place.invitations.folder, 10.0)
    assert lock is not None
    guest = Guest(place.tls).greet()
    guest.handshake.log_in(by_invitation(code, Ed25519PrivateKey.generate())(guest.handshake, Auth(method="key")))
    guest._send()
    socket.socket.shutdown(guest.stranger.sock, socket.SHUT_WR)
    assert ask(place.tls, by_invitation(code, Ed25519PrivateKey.generate())) is None, "one thread for each, and no more"
    assert "at this moment" in place.log()
    os.close(lock)
    guest.handshake.receive_data(guest.stranger.rest())
    assert isinstance(guest.handshake.next_event(), WasEnrolled)


# --- in between


@pytest.fixture
def threaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Threaded, Callable[[], bytes], Path]]:
    """A server in this process, where a test can change what both sides take for true."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(home))
    monkeypatch.setattr("remote_shell.server.server.prepare_process", lambda: None)  # it would change this process
    server = Threaded(str(home))
    yield server, lambda: Invitations().make(600)[1], home / "authorized_keys"
    server.close()


@pytest.mark.parametrize("bound", [True, False])
def test_a_relayed_invitation(
    threaded: tuple[Threaded, Callable[[], bytes], Path], monkeypatch: pytest.MonkeyPatch, bound: bool
) -> None:
    """A client that believes the relay's key (ours never would): refused. The control: without the binding it is listed."""
    server, invite, listed = threaded
    if not bound:
        take_binding_out(monkeypatch)
    code, relay = invite(), Relay(server.targets["tls"])
    enrolled = ask(relay.address, by_invitation(code, Ed25519PrivateKey.generate()))
    relay.close()
    assert (enrolled is not None) is not bound and listed.exists() is not bound


def test_in_between_nobody_can_put_their_own_key(threaded: tuple[Threaded, Callable[[], bytes], Path]) -> None:
    """With the true server's nonce and a friend's proof in hand: the proof names the friend's key."""
    server, invite, listed = threaded
    code, friend, thief = invite(), Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()

    def stolen(handshake: ClientHandshake, auth: Auth) -> Auth:
        heard = by_invitation(code, friend)(handshake, auth)
        own = by_invitation(code, thief, secret=bytes(32))(handshake, auth)  # the name crossed, the secret did not
        return heard.changed(keys=own.keys)

    assert ask(server.targets["tls"], stolen) is None and not listed.exists()
    assert ask(server.targets["tls"], by_invitation(code, friend))


def test_a_record_tells_no_secret() -> None:
    record = Record("n", b"k" * 32, 1.0, Invitations()._clock())
    assert "k" not in repr(record) and format_fingerprint(bytes(32)) not in repr(record)
