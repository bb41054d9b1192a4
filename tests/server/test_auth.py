"""Logins: who gets in, who does not, and that a proof is good for one handshake with one server alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remote_shell.config.server import ServerConfig
from remote_shell.identity.keys import PublicKey
from remote_shell.identity.secrets import generate, load_secret, verify
from remote_shell.identity.server_identity import ServerIdentity
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.server.server import Server
from remote_shell.testing import RunningServer
from remote_shell.wire import frames, handshake
from remote_shell.wire.handshake import ClientHandshake
from remote_shell.wire.messages import Auth, unbase64

from ..config.account import as_nobody
from .conftest import Starter
from .raw_client import LoginDeniedError, Prove, RawClient, Stranger, by_key, by_secret, make_hello, peer


def refused(running: RunningServer, kind: str, prove: Prove, **lies: Any) -> str:
    """A login that must not succeed; what the server's log says of it."""
    at = len(running.read_log())
    with pytest.raises(LoginDeniedError, match="^denied$"):
        RawClient(running.targets[kind], prove, **lies)
    return running.read_log()[at:]


@pytest.mark.parametrize("kind", ["unix", "tcp", "tls"])
def test_each_login_where_it_holds(served: RunningServer, kind: str) -> None:
    secret = load_secret(served.secret_file)
    with RawClient(served.targets[kind], by_key(served.identity)) as client:
        assert client.welcome.principal.startswith("key:SHA256:")
        assert client.welcome.proof is None
    with RawClient(served.targets[kind], by_secret(secret)) as client:
        assert client.welcome.principal == "secret:test"
        auth = Auth(method="secret", secret="test")
        proof = unbase64(client.welcome.proof or "")
        assert verify(secret, "server", client.handshake.transcript("server", auth, b"test"), proof), "it knows it too"
        assert not verify(secret, "client", client.handshake.transcript("client", auth, b"test"), proof)
    if kind == "unix":
        with RawClient(served.targets[kind], peer) as client:
            assert client.welcome.principal == f"uid:{os.geteuid()}"
    else:
        assert f"method peer on {kind}" in refused(served, kind, peer)


def test_wrong_keys(served: RunningServer) -> None:
    stranger, known = Ed25519PrivateKey.generate(), by_key(served.identity)

    def another_signs(hand: ClientHandshake, auth: Auth) -> Auth:
        offered, signed = known(hand, auth), by_key(stranger)(hand, auth)
        assert offered.keys and signed.keys
        keys = [offered.keys[0].changed(proof=signed.keys[0].proof)]
        return offered.changed(keys=keys)

    def empty_proof(hand: ClientHandshake, auth: Auth) -> Auth:
        offered = known(hand, auth)
        assert offered.keys
        return offered.changed(keys=[offered.keys[0].changed(proof="")])

    for prove in (by_key(stranger), another_signs, empty_proof):
        assert "none of the keys" in refused(served, "tls", prove)


def test_one_good_key_of_several_is_enough(served: RunningServer) -> None:
    def several(hand: ClientHandshake, auth: Auth) -> Auth:
        keys = [by_key(Ed25519PrivateKey.generate())(hand, auth).keys for _ in range(7)]
        good = by_key(served.identity)(hand, auth)
        return good.changed(keys=[one for offer in [*keys, good.keys] for one in offer or ()])

    RawClient(served.targets["tls"], several).bye()


@pytest.mark.parametrize("namespace", ["git", "file", "remote-shell-auth@2", ""])
def test_a_signature_for_something_else(served: RunningServer, namespace: str) -> None:
    assert "none of the keys" in refused(served, "tcp", by_key(served.identity, namespace))


def test_wrong_secrets(served: RunningServer) -> None:
    secret = load_secret(served.secret_file)
    for wrong in (by_secret(generate("test")), by_secret(generate("nobody")), by_secret(secret, role="server")):
        assert "is unknown or wrong" in refused(served, "tls", wrong)


def test_another_account_is_refused(served: RunningServer) -> None:
    def as_somebody(hand: ClientHandshake, auth: Auth) -> Auth:
        return auth.changed(method="peer", user="somebody")

    log = refused(served, "unix", as_somebody)
    assert "account 'somebody' was asked for" in log


def test_what_the_proof_covers(served: RunningServer) -> None:
    """Whoever changes the session, the count or the grace on the way breaks the signature."""
    known = by_key(served.identity)
    changes: list[dict[str, object]] = [{"session": "x"}, {"received": 1}, {"grace_ms": 1}, {"user": "root"}]
    for change in changes:

        def changed(hand: ClientHandshake, auth: Auth, change: dict[str, object] = change) -> Auth:
            return known(hand, auth).changed(**change)

        assert "none of the keys" in refused(served, "tcp", changed)


def test_a_login_heard_before_is_worth_nothing(start: Starter) -> None:
    """1,000 replays of a good login, none accepted."""
    running = start(listen=("tcp:127.0.0.1:0",), refusal_time=0.02)
    with RawClient(running.targets["tcp"], by_key(running.identity)) as client:
        auth = client.prove(client.handshake, Auth(method="key"))
        said = client.handshake._own, auth.encode()
    again = b"".join(frames.encode(frames.CONTROL, 0, payload) for payload in said)
    for _ in range(10):
        strangers = [Stranger(running.targets["tcp"]) for _ in range(100)]
        for stranger in strangers:
            stranger.send(again)
        for stranger in strangers:
            answer = stranger.rest()
            assert b'"denied"' in answer and b'"welcome"' not in answer
    assert running.read_log().count("none of the keys") == 1000


def test_a_line_with_an_unknown_option_lets_nobody_in(start: Starter) -> None:
    running = start(listen=("tls:127.0.0.1:0",), refusal_time=0.02)
    path = os.path.join(running.home, "authorized_keys")
    with open(path, encoding="utf-8") as file:
        line = file.read()
    RawClient(running.targets["tls"], by_key(running.identity)).bye()
    write(path, f'command="true",no-tty {line}')
    assert "line 1: refused: the option no-tty is unknown" in refused(running, "tls", by_key(running.identity))
    write(path, line)
    RawClient(running.targets["tls"], by_key(running.identity)).bye()


def test_a_key_that_was_taken_off_the_list_does_not_resume(start: Starter) -> None:
    running = start(listen=("tls:127.0.0.1:0",), refusal_time=0.02)
    client = RawClient(running.targets["tls"], by_key(running.identity))
    client.cut()
    write(os.path.join(running.home, "authorized_keys"), "# nobody\n")
    with pytest.raises(LoginDeniedError):
        client.connect(client.welcome.session)


def write(path: str, text: str) -> None:
    """The file anew, as an editor does."""
    with open(os.open(f"{path}.new", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(f"{path}.new", path)


def test_another_account_on_the_socket(start: Starter) -> None:
    """The folder keeps others out; should that fail, the peer's user id does."""
    running = start(listen=("unix:",), refusal_time=0.02)
    if os.getuid() != 0:
        pytest.skip("needs a second account, which only root can become")
    path = running.targets["unix"].partition(":")[2]

    def log_in() -> str:
        try:
            RawClient(running.targets["unix"], peer)
        except (LoginDeniedError, PermissionError) as error:
            return type(error).__name__
        return "in"

    assert as_nobody(log_in) == "'PermissionError'"
    os.chmod(running.home, 0o711)
    assert as_nobody(log_in) == "'PermissionError'", "the socket itself is closed too"
    os.chmod(path, 0o666)
    assert as_nobody(log_in) == "'LoginDeniedError'"
    assert "peer's user id is 65534" in running.read_log()
    RawClient(running.targets["unix"], peer).bye()


# --- relays


class Relay:
    """Somebody in the middle: TLS with an identity of its own on one side, and every byte passed on to the real server."""

    def __init__(self, target: str) -> None:
        self._context = ServerIdentity(os.urandom(32)).server_context()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tls:127.0.0.1:{self._listener.getsockname()[1]}"
        self._target = target
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._listener, self._listener.accept()[0] as plain:
            victim = self._context.wrap_socket(plain, server_side=True)
            onward = Stranger(self._target)
            back = threading.Thread(target=pass_on, args=(onward.sock, victim))
            back.start()
            pass_on(victim, onward.sock)
            back.join()
            onward.sock.close()
            victim.close()

    def close(self) -> None:
        """Wait until both sides are gone."""
        self._thread.join()


def pass_on(source: socket.socket, target: socket.socket) -> None:
    """Everything from one to the other, to its end."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


class Threaded:
    """A server inside this process, so that a test can change what both sides take for true."""

    def __init__(self, home: str) -> None:
        self._config = ServerConfig.model_validate(
            {
                "listen": ["tls:127.0.0.1:0", "tcp:127.0.0.1:0", f"unix:{home}/socket"],
                "insecure_tcp": True,
                "authorized_keys": os.path.join(home, "authorized_keys"),
                "limits": {"refusal_time": 0.02},
            }
        )
        self._ready = threading.Event()
        self._end: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self.targets: dict[str, str] = {}
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(10)

    async def _serve(self) -> None:
        self._end, self._loop = asyncio.Event(), asyncio.get_running_loop()
        server = Server(self._config, ServerIdentity(os.urandom(32)))
        await server.start()
        self.targets = {text.partition(":")[0]: text for text in server.addresses}
        self._ready.set()
        await self._end.wait()
        await server.close(0.0)

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()


@pytest.fixture
def threaded(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Threaded, Prove]]:
    """A server in a thread, and a key that may log in there."""
    key = Ed25519PrivateKey.generate()
    public = by_key(key)(ClientHandshake(make_hello(), "tls", b"", DEFAULT_LIMITS), Auth(method="key")).keys
    assert public
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    write(str(home / "authorized_keys"), PublicKey(unbase64(public[0].key), "test").line() + "\n")
    monkeypatch.setattr("remote_shell.server.server.prepare_process", lambda: None)  # it would change this process
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(home))  # its guestbook is not to be that of who runs the tests
    server = Threaded(str(home))
    yield server, by_key(key)
    server.close()


def take_binding_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides prove something that names neither the transport nor the server's key."""
    bound = handshake.transcript

    def unbound(role: str, transport: str, hellos: Any, auth: Any, credential: bytes, key: bytes) -> bytes:
        return bound(role, "", hellos, auth, credential, b"")

    monkeypatch.setattr(handshake, "transcript", unbound)


@pytest.mark.parametrize("onward", ["tls", "tcp", "unix"])
@pytest.mark.parametrize("bound", [True, False])
def test_a_relayed_login(
    threaded: tuple[Threaded, Prove], monkeypatch: pytest.MonkeyPatch, onward: str, bound: bool
) -> None:
    """To another server, or from TLS to plain: refused. The control: without the binding it gets in."""
    server, prove = threaded
    if not bound:
        take_binding_out(monkeypatch)
    RawClient(server.targets[onward], prove).bye()
    relay = Relay(server.targets[onward])
    if bound:
        with pytest.raises(LoginDeniedError, match="^denied$"):
            RawClient(relay.address, prove)
    else:
        client = RawClient(relay.address, prove)
        assert client.welcome.principal.startswith("key:")
        client.bye()
    relay.close()
