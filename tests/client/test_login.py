"""Whom the client believes, what it proves, and what it says when either fails."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_shell import testing
from remote_shell.client import dialing
from remote_shell.client.async_ import connect_async
from remote_shell.client.blocking import connect
from remote_shell.client.blocking_many import Hosts
from remote_shell.client.faults import cannot_connect
from remote_shell.client.login import Dialled, Login
from remote_shell.client.many import Plans, kind_of
from remote_shell.client.plan import Plan
from remote_shell.config.selection import select
from remote_shell.config.targets import Target
from remote_shell.errors import (
    AccessDeniedError,
    ConfigError,
    ConnectError,
    IdentityError,
    RemoteShellError,
    ServerIdentityError,
    ServerKeyChangedError,
    UnknownServerError,
    UsageError,
)
from remote_shell.identity import secrets
from remote_shell.identity.private_keys import make_key_file
from remote_shell.identity.server_identity import ServerIdentity
from remote_shell.testing import RunningServer


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nobody's real settings, keys or agent."""
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    yield tmp_path / "home"


def both_fronts(target: str, **options: Any) -> list[RemoteShellError | None]:
    """The error of `connect` and of `connect_async`, which must be alike."""
    found: list[RemoteShellError | None] = []
    try:
        connect(target, **options).close()
        found.append(None)
    except RemoteShellError as error:
        found.append(error)

    async def scene() -> None:
        async with connect_async(target, **options):
            pass

    try:
        asyncio.run(scene())
        found.append(None)
    except RemoteShellError as error:
        found.append(error)
    assert type(found[0]) is type(found[1])
    return found


def one_line(error: BaseException | None, *words: str) -> None:
    text = str(error)
    assert "\n" not in text and all(word in text for word in words), text


# --- the server's identity


def test_an_unknown_server_without_anybody_to_ask(running: RunningServer) -> None:
    assert running.fingerprint
    for error in both_fronts(running.targets["tls"], identity=running.identity):
        assert isinstance(error, UnknownServerError)
        one_line(error, running.fingerprint, "--fingerprint")


def test_an_unknown_server_is_asked_about_once(running: RunningServer, tmp_path: Path) -> None:
    questions: list[str] = []

    def yes(question: str) -> bool:
        questions.append(question)
        return True

    options: dict[str, Any] = {"identity": running.identity, "confirm": yes, "known_hosts": tmp_path / "known"}
    assert both_fronts(running.targets["tls"], **options) == [None, None]
    assert len(questions) == 1 and str(running.fingerprint) in questions[0]
    assert str(running.fingerprint) in (tmp_path / "known").read_text()


def test_an_unknown_server_that_is_not_confirmed(running: RunningServer, own_home: Path) -> None:
    for error in both_fronts(running.targets["tls"], identity=running.identity, confirm=lambda question: False):
        assert isinstance(error, UnknownServerError)
        one_line(error, "not confirmed")
    assert not (own_home / "known_hosts").exists()


def test_a_changed_server_is_refused_whoever_could_be_asked(running: RunningServer, tmp_path: Path) -> None:
    other = "SHA256:" + "A" * 43
    address = running.targets["tls"].removeprefix("tls:")
    (tmp_path / "known").write_text(f"{address} {other}\n")
    options: dict[str, Any] = {"identity": running.identity, "known_hosts": tmp_path / "known"}
    for error in both_fronts(running.targets["tls"], confirm=lambda question: True, **options):
        assert isinstance(error, ServerKeyChangedError)
        one_line(error, "CHANGED", str(running.fingerprint), "sed -i")
    for error in both_fronts(running.targets["tls"], identity=running.identity, fingerprint=other):
        assert isinstance(error, ServerKeyChangedError)


def test_a_refused_server_hears_nothing_of_us(running: RunningServer) -> None:
    """The pin is checked before a byte inside TLS is sent: the server sees a handshake that ends."""
    heard: list[bytes] = []
    context = ServerIdentity(os.urandom(32)).server_context()

    def listen() -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as plain:
            link = context.wrap_socket(plain, server_side=True)
            heard.append(b"tls")
            with link:
                heard.extend(iter(lambda: link.recv(4096), b""))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=listen)
        thread.start()
        with pytest.raises(ServerKeyChangedError):
            connect(
                f"tls:127.0.0.1:{listener.getsockname()[1]}",
                identity=running.identity,
                fingerprint="SHA256:" + "A" * 43,
            )
        thread.join()
    assert heard == [b"tls"]


def test_a_server_of_somebody_else_on_a_unix_socket() -> None:
    login = Login(Plan("unix:/nowhere"))
    assert login._judge(Dialled("unix", uid=0)) == b"" and login._judge(Dialled("unix", uid=os.geteuid())) == b""
    with pytest.raises(ServerIdentityError, match="user id 4711"):
        login._judge(Dialled("unix", uid=4711))


# --- who we are


def test_a_key_that_the_server_does_not_know(running: RunningServer, tmp_path: Path) -> None:
    key = make_key_file(str(tmp_path / "key"), "other")
    options: dict[str, Any] = {"identity": key.path, "fingerprint": running.fingerprint}
    for error in both_fronts(running.targets["tls"], **options):
        assert isinstance(error, AccessDeniedError)
        one_line(error, key.public.fingerprint, "keys show", "log")


def test_our_own_key_is_made_and_told(running: RunningServer, own_home: Path) -> None:
    with pytest.raises(AccessDeniedError, match="SHA256:"):
        connect(running.targets["tls"], fingerprint=running.fingerprint)
    assert (own_home / "id_ed25519").stat().st_mode & 0o777 == 0o600


def test_a_secret(running: RunningServer, tmp_path: Path) -> None:
    assert both_fronts(running.targets["tls"], secret_file=running.secret_file, fingerprint=running.fingerprint) == [
        None,
        None,
    ]
    wrong = tmp_path / "wrong"
    wrong.touch(0o600)
    wrong.write_text(secrets.generate("test").line() + "\n")
    for error in both_fronts(running.targets["tls"], secret_file=wrong, fingerprint=running.fingerprint):
        assert isinstance(error, AccessDeniedError)
        one_line(error, "'test'", "log")
        assert wrong.read_text().split()[1] not in str(error)
    with pytest.raises(ConfigError, match="no secret file"):
        connect(running.targets["tls"], secret_file=tmp_path / "none")


def test_a_server_that_takes_a_secret_without_knowing_it(
    running: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A welcome whose proof is wrong, or missing, is a stranger's."""
    real = secrets.verify
    asked: list[str] = []

    def verify(secret: Any, role: str, transcript: bytes, proof: bytes) -> bool:
        asked.append(role)
        assert real(secret, role, transcript, proof)
        return real(secret, role, transcript, bytes(32))

    monkeypatch.setattr(secrets, "verify", verify)
    options: dict[str, Any] = {"secret_file": running.secret_file, "fingerprint": running.fingerprint}
    for error in both_fronts(running.targets["tls"], **options):
        assert isinstance(error, ServerIdentityError)
        one_line(error, "does not know the secret")
    assert asked == ["server", "server"]


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="needs OpenSSH")
@pytest.mark.slow
def test_a_key_with_a_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "open sesame", "-a", "1", "-f", path], check=True)
    prompts: list[str] = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return "open sesame"

    with testing.server(("tls:127.0.0.1:0",)) as running:
        authorized = Path(running.home) / "authorized_keys"
        authorized.write_text((tmp_path / "locked.pub").read_text())
        options: dict[str, Any] = {"identity": path, "fingerprint": running.fingerprint}
        with pytest.raises(IdentityError, match="ssh-add"):
            connect(running.targets["tls"], **options)
        with connect(running.targets["tls"], ask=ask, **options) as host:
            assert len(prompts) == 1
            host._driver.lose("a test")  # the key stays unlocked for reconnects
            assert host.run(["true"]).returncode == 0
        assert len(prompts) == 1

        # besides an open key that is refused: that is tried first, and only then somebody is asked
        shutil.copy(path, tmp_path / "home" / "id_ed25519") if (tmp_path / "home").exists() else None
        ssh = tmp_path / ".ssh"
        ssh.mkdir(mode=0o700, exist_ok=True)
        make_key_file(str(ssh / "id_ed25519"), "open")
        (tmp_path / "home").mkdir(mode=0o700, exist_ok=True)
        shutil.copy(path, tmp_path / "home" / "id_ed25519")
        with connect(running.targets["tls"], ask=ask, fingerprint=running.fingerprint) as host:
            assert len(prompts) == 2
        with pytest.raises(AccessDeniedError, match="want of a passphrase"):
            connect(running.targets["tls"], fingerprint=running.fingerprint)


def test_another_account_is_refused(running: RunningServer) -> None:
    address = running.targets["tls"].removeprefix("tls:")
    options: dict[str, Any] = {"identity": running.identity, "fingerprint": running.fingerprint}
    with pytest.raises(AccessDeniedError):
        connect(f"nobody-else@{address}", **options)


def test_plain_tcp_wants_the_word(running: RunningServer) -> None:
    with pytest.raises(UsageError, match="insecure"):
        connect(running.targets["tcp"], identity=running.identity)
    with connect(running.targets["tcp"], identity=running.identity, insecure_tcp=True) as host:
        assert host.run(["true"]).returncode == 0


def test_a_name_of_hosts_toml(running: RunningServer, own_home: Path) -> None:
    own_home.mkdir(mode=0o700, exist_ok=True)
    (own_home / "hosts.toml").write_text(
        f'[hosts.box]\ntarget = "{running.targets["tls"]}"\nidentity = "{running.identity}"\n'
        f'fingerprint = "{running.fingerprint}"\n'
    )
    assert both_fronts("box") == [None, None]
    with connect("box") as host:
        assert host.name == "box" and host.welcome.principal.startswith("key:") and host.server.instance


def test_all_addresses_of_a_name_are_tried(running: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first ones refuse."""
    port = int(running.targets["tls"].rpartition(":")[2])
    stream = (socket.SOCK_STREAM, 6, "")

    def look_up(host: str, number: int, **options: Any) -> list[Any]:
        assert (host, number) == ("several", port)
        places = [("127.0.0.1", 1), ("127.0.0.2", 1), ("127.0.0.1", port)]
        return [(socket.AF_INET, *stream, place) for place in places]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    options: dict[str, Any] = {"identity": running.identity, "fingerprint": running.fingerprint}
    assert both_fronts(f"several:{port}", **options) == [None, None]


# --- no connection


def silent_listener() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0))
    return listener


def answering(answer: Callable[[socket.socket], None]) -> tuple[socket.socket, threading.Thread]:
    """A listener that does one thing with each newcomer."""
    listener = silent_listener()

    def serve() -> None:
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            with client:
                answer(client)

    thread = threading.Thread(target=serve)
    thread.start()
    return listener, thread


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def test_refused() -> None:
    with silent_listener() as listener:
        port = port_of(listener)
    for error in both_fronts(f"127.0.0.1:{port}"):
        assert isinstance(error, ConnectError)
        one_line(error, f"127.0.0.1:{port} refuses", "remote-shell serve")
        assert not isinstance(error, OSError)


def test_unknown_host() -> None:
    for error in both_fronts("no-such-host.invalid"):
        assert isinstance(error, ConnectError)
        one_line(error, "unknown host no-such-host.invalid")


def test_an_address_that_nobody_has() -> None:
    """RFC 5737; what comes of it is this machine's network's affair."""
    with pytest.raises(ConnectError) as caught:
        connect("192.0.2.1:8822", connect_timeout=0.3)
    one_line(caught.value, "192.0.2.1:8822")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (TimeoutError(), ("h:1", "no answer within 3 s", "firewall")),
        (OSError(errno.EHOSTUNREACH, "No route to host"), ("no route to h:1", "ip route")),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), ("no route to h:1",)),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), ("h:1 refuses", "serve")),
        (socket.gaierror(socket.EAI_AGAIN, "x"), ("unknown host h", "name server")),
        (socket.gaierror(socket.EAI_NONAME, "x"), ("unknown host h", "spelling")),
        (OSError(errno.EMFILE, "Too many open files"), ("h:1", "Too many open files")),
    ],
)
def test_each_fault_has_its_words(fault: OSError, words: tuple[str, ...]) -> None:
    one_line(cannot_connect(Target("tls", host="h", port=1), fault, 3.0), *words)


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (PermissionError(errno.EACCES, "x"), "no permission"),
        (FileNotFoundError(errno.ENOENT, "x"), "no socket"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "nobody listens"),
        (BlockingIOError(errno.EAGAIN, "x"), "does not answer"),
    ],
)
def test_each_fault_of_a_socket_has_its_words(fault: OSError, word: str) -> None:
    one_line(cannot_connect(Target("unix", path="/x y/s"), fault, 3.0), word, "/x y/s")


def test_sockets_that_are_not_there(tmp_path: Path) -> None:
    for error in both_fronts(f"unix:{tmp_path}/none"):
        one_line(error, "no socket", "remote-shell serve")
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "left"))
    left.close()
    for error in both_fronts(f"unix:{tmp_path}/left"):
        one_line(error, "nobody listens", "remote-shell serve")


def test_no_permission_for_a_socket(running: RunningServer) -> None:
    """As an unprivileged account: root may connect anywhere."""
    path = Path(running.targets["unix"].removeprefix("unix:"))
    script = (
        "import sys, remote_shell\n"
        "try:\n    remote_shell.connect(sys.argv[1])\n"
        "except remote_shell.ConnectError as error:\n    print(error)\n"
    )
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    mode = path.stat().st_mode
    if not drop:
        path.chmod(0)
    try:
        done = subprocess.run(
            [*drop, sys.executable, "-B", "-c", script, f"unix:{path}"],
            capture_output=True,
            text=True,
            env={
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "HOME": "/nonexistent",
                "REMOTE_SHELL_HOME": "/nonexistent",
            },
            cwd=Path(__file__).parents[2],
        )
    finally:
        path.chmod(mode)
    if "ModuleNotFoundError" in done.stderr or "Permission denied: '/root" in done.stderr:
        pytest.fail(f"the account can't read the sources: {done.stderr}")
    assert "no permission for the socket" in done.stdout and done.stdout.count("\n") == 1, done


def test_who_does_not_speak_tls() -> None:
    listener, thread = answering(lambda client: client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"))
    try:
        for error in both_fronts(f"127.0.0.1:{port_of(listener)}", fingerprint="SHA256:" + "A" * 43):
            assert isinstance(error, ConnectError)
            one_line(error, "remote-shell server")
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_who_hangs_up() -> None:
    listener, thread = answering(lambda client: None)
    try:
        for error in both_fronts(f"tcp:127.0.0.1:{port_of(listener)}", insecure_tcp=True):
            assert isinstance(error, ConnectError)
            one_line(error, "closed the connection during the login")
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.mark.parametrize("kind", ["tls", "tcp"])
def test_who_says_nothing(kind: str) -> None:
    with silent_listener() as listener:
        for error in both_fronts(f"{kind}:127.0.0.1:{port_of(listener)}", insecure_tcp=True, connect_timeout=0.2):
            assert isinstance(error, ConnectError)
            one_line(error, "within 0.2 s")


def test_who_speaks_another_version() -> None:
    hello = b'{"type":"hello","version":9,"software":"x","nonce":"' + b"A" * 43 + b'=","frame_max":1048576,"window":1,'
    hello += b'"unacked_bytes_max":1048576,"unacked_frames_max":4096,"prompt":true}'

    def answer(client: socket.socket) -> None:
        client.recv(65536)
        client.sendall(len(hello).to_bytes(4, "big") + b"\x03\0\0\0\0" + hello)
        client.recv(65536)

    listener, thread = answering(answer)
    try:
        for error in both_fronts(f"tcp:127.0.0.1:{port_of(listener)}", insecure_tcp=True):
            assert isinstance(error, ConnectError)
            one_line(error, "version 9")
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_usage() -> None:
    for options in ({"connect_timeout": 0}, {"fingerprint": "x"}):
        with pytest.raises(UsageError):
            connect("unix:/x", **options)
    with pytest.raises(UsageError):
        connect("unix:")


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="needs OpenSSH")
def test_a_passphrase_is_asked_once_for_many_hosts(running: RunningServer, tmp_path: Path) -> None:
    """Both when it is given and when it is not: nobody answers the same question a hundred times."""
    key = tmp_path / "key"
    shutil.copy(running.identity, key)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "sesame", "-a", "1", "-f", key], check=True)
    table = f'target = "{running.targets["tls"]}"\nfingerprint = "{running.fingerprint}"\n'
    hosts = tmp_path / "hosts.toml"
    hosts.write_text("".join(f"[hosts.n{number}]\n{table}" for number in range(1, 7)))
    for answer, kind in (("sesame", "ok"), ("wrong", "refused")):
        asked: list[str] = []

        def ask(prompt: str, asked: list[str] = asked, answer: str = answer) -> str:
            asked.append(prompt)
            return answer

        plans = Plans(select(["n[1-6]"], path=str(hosts)), identity=str(key), ask=ask)
        with Hosts(plans, 6) as many:
            results = many.run(["true"])
        assert {kind_of(outcome) for outcome in results.values()} == {kind}
        assert len(asked) == (1 if kind == "ok" else 3)  # three tries, as ssh has them


def test_a_wait_for_the_server_is_many_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a Ctrl-C that comes right before one of them is heard after it."""
    waited: list[float] = []

    class Poll:
        def register(self, descriptor: int, events: int) -> None:
            pass

        def poll(self, milliseconds: float) -> list[tuple[int, int]]:
            waited.append(milliseconds)
            return [(0, 1)] if len(waited) == 3 else []

    monkeypatch.setattr("select.poll", Poll)
    assert dialing._moved((0,), 1, time.monotonic() + 1000)
    assert len(waited) == 3 and all(0 < each <= 200 for each in waited)
    assert not dialing._moved((0,), 1, time.monotonic() - 1)
