"""The audit trail of a running server: every kind of request leaves what it should, and no secret leaves anything."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remote_shell.audit.events import EVENTS, ServerEnd, Who
from remote_shell.config.server import AuditConfig, load
from remote_shell.errors import CommandRefusedError
from remote_shell.identity.invitations import Invitations
from remote_shell.identity.keys import PublicKey
from remote_shell.identity.private_keys import make_key_file
from remote_shell.identity.secrets import load_secret
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.server.audit import LINES, KeyWatch, Trail
from remote_shell.server.sessions import REQUESTS
from remote_shell.testing import RunningServer, server
from remote_shell.wire.file_messages import Content, Entry, EntryEnd, EntryFailed, Stored, Wanted
from remote_shell.wire.frames import STDIN
from remote_shell.wire.messages import CLOSE, Accepted, Boxed, Command, Eof, Terminal
from tests.transfer.hostile import entry

from .conftest import ALL, Place
from .raw_client import LoginDeniedError, RawClient, by_key, by_secret, until
from .test_enrolment import ask as enrol
from .test_enrolment import blob_of, by_invitation
from .test_rights import rewrite

pytestmark = pytest.mark.screen  # as a file it takes long

SECRET = "correct-horse-battery"
Lines = list[dict[str, Any]]


class Audited:
    """A server, and what is in its audit file."""

    def __init__(self, running: RunningServer, file: Path) -> None:
        self.running = running
        self.file = file
        self.place = Place(running, "unix")

    def lines(self, **wanted: Any) -> Lines:
        """Those that have these values."""
        found = [json.loads(line) for line in self.file.read_bytes().splitlines()]
        return [line for line in found if wanted.items() <= line.items()]

    def one(self, **wanted: Any) -> dict[str, Any]:
        """The only one that has these values, as soon as it is there."""
        found: Lines = until(lambda: self.lines(**wanted), f"a line with {wanted}")
        assert len(found) == 1, found
        return found[0]


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    """Everything is written down; what is not about the settings shares it."""
    file = tmp_path_factory.mktemp("audit") / "lines"
    text = f'allow_tcp_forwarding = true\n[audit]\nfile = "{file}"\n[limits]\nrefusal_time = 0.05\n'
    with server(ALL, config=text) as running:
        yield Audited(running, file)
        assert "Traceback" not in running.read_log()


@pytest.fixture
def client(audited: Audited) -> Iterator[RawClient]:
    with RawClient(audited.place.target, features=["files", "forward", "subsystem"]) as connected:
        yield connected


Starter = Callable[..., Audited]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Servers with settings of the test's own."""
    with contextlib.ExitStack() as stack:

        def begin(more: str = "", file: Path | None = None) -> Audited:
            path = file or tmp_path / "lines"
            text = f'[audit]\nfile = "{path}"\n{more}\n'
            return Audited(stack.enter_context(server(("unix:", "tls:127.0.0.1:0"), config=text)), path)

        yield begin


# --- every kind of request


def test_every_kind_of_request_was_decided_and_is_tried_here() -> None:
    """A new kind fails here until somebody says which line tells of it, and until a test below asks for it."""
    assert LINES.keys() == REQUESTS.keys()
    assert {name for name, line in LINES.items() if line != "none"} == set(TRIED)
    assert {name for name, line in LINES.items() if line == "none"} == set(SILENT)


def _exec(audited: Audited, client: RawClient, ident: str, tmp_path: Path) -> None:
    word = {"base64": "YQr/"}
    done = client.run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3", Boxed(**word)], id=ident, cwd=str(tmp_path))
    assert done.exit is not None and done.exit.status == 3
    begun = audited.one(event="command", command=ident)
    assert begun["argv"] == ["/bin/sh", "-c", "echo out; echo err >&2; exit 3", "a\n\udcff"]
    assert (begun["kind"], begun["cwd"], begun["terminal"]) == ("exec", str(tmp_path), False)
    ended = audited.one(event="end", command=ident)
    assert (ended["status"], ended["stdout"], ended["stderr"], ended["timed_out"]) == (3, 4, 4, False)
    assert done.opened is not None and ended["pid"] == done.opened.pid and 0 <= ended["duration_ms"] < 15_000


def _shell(audited: Audited, client: RawClient, ident: str, tmp_path: Path) -> None:
    channel, _ = client.start(None, request="shell", id=ident, cwd=str(tmp_path))
    for number, line in enumerate(("cd /; true", "exit 4"), 1):
        client.session.send_message(channel, Command(number=number, line=line))
    client.finish(channel)
    assert audited.one(event="command", command=ident, kind="shell")["cwd"] == str(tmp_path)
    assert [line["line"] for line in audited.lines(event="command", command=ident, kind="line")] == [
        "cd /; true",
        "exit 4",
    ]
    ends = audited.lines(event="end", command=ident)
    assert [(end["kind"], end.get("number"), end["status"]) for end in ends] == [
        ("line", 1, 0),
        ("line", 2, 4),
        ("shell", None, 4),
    ]


def _put(audited: Audited, client: RawClient, ident: str, tmp_path: Path) -> None:
    data = b"x" * (2 << 20)
    digest = hashlib.sha256(data).hexdigest()
    channel, command = client.start(None, request="put", id=ident, to=str(tmp_path), paths=["small", "large"])
    small: Any = entry(1, b"", size=2, sha256=hashlib.sha256(b"hi").hexdigest())
    for one in (small, b"hi", Entry(number=2, source=1, path="", kind="file", mode=0o644, size=len(data))):
        _say(client, channel, one)
    client.wait(lambda: [one for one in command.others if isinstance(one, Wanted)], "wanted")
    rest: tuple[Any, ...] = (Content(number=2), data, EntryEnd(sha256=digest), Eof(stream=STDIN))
    for one in rest:
        _say(client, channel, one)
    client.finish(channel)
    begun = audited.one(event="transfer", command=ident)
    assert (begun["direction"], begun["paths"], begun["to"]) == ("put", ["small", "large"], str(tmp_path))
    files = audited.lines(event="file", command=ident)
    assert {(one["path"], one["size"], one["sha256"]) for one in files} == {
        (f"{tmp_path}/small", 2, hashlib.sha256(b"hi").hexdigest()),
        (f"{tmp_path}/large", len(data), digest),
    }
    ended = audited.one(event="transfer_end", command=ident)
    assert (ended["files"], ended["bytes"], ended["failed"]) == (2, 2 + len(data), 0)


def _get(audited: Audited, client: RawClient, ident: str, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"hi")
    channel, command = client.start(None, request="get", id=ident, paths=[f"{tmp_path}/small", f"{tmp_path}/gone"])
    client.wait(lambda: [one for one in command.others if isinstance(one, Entry)], "an entry")
    one = audited.one(event="file", command=ident)  # whether or not the other side says that it has it
    _say(client, channel, Stored(numbers=[1]))
    client.finish(channel)
    assert audited.one(event="transfer", command=ident)["direction"] == "get"
    assert (one["path"], one["size"], one["sha256"]) == (f"{tmp_path}/small", 2, hashlib.sha256(b"hi").hexdigest())
    ended = audited.one(event="transfer_end", command=ident)
    assert (ended["files"], ended["bytes"], ended["failed"]) == (1, 2, 1)


def _say(client: RawClient, channel: int, one: Any) -> None:
    if isinstance(one, bytes):
        client.session.send_data(channel, STDIN, one)
    else:
        client.session.send_message(channel, one)
    client.flush()


def _connect(audited: Audited, client: RawClient, ident: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        channel, _ = client.start(None, request="connect", id=ident, host="127.0.0.1", port=port, stdin="pipe")
        taken, _ = listening.accept()
        with taken:
            _say(client, channel, b"four")
            _say(client, channel, Eof(stream=STDIN))
            assert b"".join(iter(lambda: taken.recv(100), b"")) == b"four"
            taken.sendall(b"seven!!")
        client.finish(channel)
    begun = audited.one(event="tunnel", command=ident)
    assert (begun["request"], begun["host"], begun["port"]) == ("connect", "127.0.0.1", port)
    ended = audited.one(event="tunnel_end", command=ident)
    assert (ended["status"], ended["sent"], ended["received"]) == (0, 4, 7)


def _listen(audited: Audited, client: RawClient, ident: str, tmp_path: Path) -> None:
    channel, command = client.start(None, request="listen", id=ident, host="", port=0)
    assert command.opened is not None
    client.close_channel(channel)
    client.finish(channel)
    begun = audited.one(event="tunnel", command=ident)
    assert (begun["request"], begun["host"], begun["port"]) == ("listen", "127.0.0.1", command.opened.port)
    assert audited.one(event="tunnel_end", command=ident)["request"] == "listen"


def _accept(audited: Audited, client: RawClient, ident: str, tmp_path: Path) -> None:
    listening, command = client.start(None, request="listen", host="", port=0)
    assert command.opened is not None and command.opened.port
    with socket.create_connection(("127.0.0.1", command.opened.port), 10) as sock:
        client.wait(lambda: command.others, "accepted")
        told = command.others[0]
        assert isinstance(told, Accepted)
        channel, _ = client.start(None, request="accept", id=told.id, stdin="pipe")
        own = sock.getsockname()
        client.close_channel(channel)
        client.finish(channel)
    client.close_channel(listening)
    begun = audited.one(event="tunnel", command=told.id)
    assert (begun["request"], begun["host"], begun["port"]) == ("accept", *own)
    assert audited.one(event="tunnel_end", command=told.id)["status"] == 1


def _attach(audited: Audited, client: RawClient, ident: str, tmp_path: Path) -> None:
    terminal = Terminal(term="xterm", rows=24, columns=80)
    client.start(None, request="shell", id=ident, terminal=terminal)
    command = client.commands[client.open(None, request="attach", id=ident, terminal=terminal)]
    client.wait(lambda: command.others, "attached")
    assert audited.one(event="request", request="attach", command=ident)["force"] is False


def _job(audited: Audited, client: RawClient, ident: str, script: str = "exec sleep 60") -> None:
    done = client.run(["/bin/sh", "-c", script], detach=True, id=ident)
    assert done.opened is not None, done.rejected
    begun = audited.one(event="command", command=ident)
    assert (begun["kind"], begun["argv"]) == ("job", ["/bin/sh", "-c", script])


def _job_wait(audited: Audited, client: RawClient, ident: str, tmp_path: Path) -> None:
    _job(audited, client, ident, "echo four; exit 5")
    client.run(None, request="job_wait", id=ident)
    ended = audited.one(event="end", command=ident)
    assert (ended["kind"], ended["status"], ended["stdout"], ended["stderr"]) == ("job", 5, 5, 0)
    assert ended["session"] == audited.one(event="command", command=ident)["session"]
    assert audited.one(event="request", command=ident)["request"] == "job_wait"


def _job_logs(audited: Audited, client: RawClient, ident: str, tmp_path: Path) -> None:
    _job(audited, client, ident, "echo secret-output")
    client.run(None, request="job_logs", id=ident, follow=True)
    assert audited.one(event="request", command=ident)["request"] == "job_logs"


def _job_signal(audited: Audited, client: RawClient, ident: str, tmp_path: Path) -> None:
    _job(audited, client, ident)
    client.run(None, request="job_signal", id=ident, signal="SIGUSR1")
    line = audited.one(event="request", command=ident)
    assert (line["request"], line["signal"]) == ("job_signal", "SIGUSR1")
    assert audited.one(event="end", command=ident)["signal"] == "SIGUSR1"


def _job_remove(audited: Audited, client: RawClient, ident: str, tmp_path: Path) -> None:
    _job(audited, client, ident)
    client.run(None, request="job_remove", id=ident, force=True)
    assert audited.one(event="request", command=ident)["force"] is True
    assert audited.one(event="end", command=ident)["signal"] == "SIGTERM"


TRIED: dict[str, Callable[[Audited, RawClient, str, Path], None]] = {
    "exec": _exec,
    "shell": _shell,
    "put": _put,
    "get": _get,
    "connect": _connect,
    "listen": _listen,
    "accept": _accept,
    "attach": _attach,
    "job_wait": _job_wait,
    "job_logs": _job_logs,
    "job_signal": _job_signal,
    "job_remove": _job_remove,
}
SILENT = ("query", "shells", "jobs")


@pytest.mark.parametrize("request_", TRIED)
def test_each_kind_of_request(request_: str, audited: Audited, client: RawClient, tmp_path: Path) -> None:
    TRIED[request_](audited, client, secrets.token_hex(6), tmp_path)


@pytest.mark.parametrize("request_", SILENT)
def test_what_only_tells_of_ones_own_has_no_line(request_: str, audited: Audited, client: RawClient) -> None:
    ident = secrets.token_hex(6)
    client.run(None, request=request_, id=ident)
    client.run(["true"], id="after" + ident)
    audited.one(event="end", command="after" + ident)
    assert not audited.lines(command=ident)


def test_one_vocabulary(audited: Audited) -> None:
    """What the tests before made: only events that there are, each with fields that it has."""
    known = {one.event: {"time", "event", "session", "principal", "source", *one.__slots__} for one in EVENTS}
    lines = audited.lines()
    assert lines and all(line.keys() <= known[line["event"]] for line in lines)


# --- refusals, with and without a login


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"argv": ["no-such-program-at-all"]}, "not_found"),
        ({"argv": ["/etc"]}, "not_executable"),
        ({"argv": ["true"], "cwd": "/no/such"}, "bad_cwd"),
        ({"argv": ["true"], "line": "true"}, "bad_request"),
        ({"request": "job_signal", "signal": "SIGTERM"}, "no_such_job"),
        ({"request": "attach", "terminal": Terminal(term="x", rows=1, columns=1)}, "no_such_shell"),
        ({"request": "accept"}, "no_such_connection"),
        ({"request": "connect", "host": "127.0.0.1", "port": 1}, "connect_failed"),
        ({"request": "put", "to": "/no/such/x/y", "paths": ["a"]}, "bad_path"),
    ],
)
def test_what_is_refused_after_the_login(
    asked: dict[str, Any], reason: str, audited: Audited, client: RawClient
) -> None:
    ident = secrets.token_hex(6)
    env = [["PATH", f"/{SECRET}"]] if "argv" in asked else None  # errors name it
    command = client.run(asked.pop("argv", None), id=ident, env=env, **asked)
    assert command.rejected is not None and command.rejected.code == reason
    line = audited.one(event="refused", command=ident)
    assert (line["request"], line["reason"]) == (asked.get("request", "exec"), reason)
    assert line["principal"] == f"uid:{os.geteuid()}" and line["source"].startswith("unix process ")
    assert SECRET not in audited.file.read_text()


def test_logins_are_told_and_sessions_have_names_that_open_nothing(audited: Audited) -> None:
    client = Place(audited.running, "tls").connect()
    client.run(["true"], id="first-" + client.welcome.session[:4])
    assert client.resume()
    ident, secret = secrets.token_hex(6), client.welcome.session
    client.run(["true"], id=ident)
    client.bye()
    name = audited.one(event="command", command=ident)["session"]
    assert [line["event"] for line in audited.lines(session=name) if line["event"] in ("login", "resume")] == [
        "login",
        "resume",
    ]
    login, out = audited.one(event="login", session=name), audited.one(event="logout", session=name)
    assert login["principal"].startswith("key:SHA256:") and login["source"].startswith("tls 127.0.0.1:")
    assert (login["method"], login["software"], out["reason"]) == ("key", "test", "bye")
    for told in (audited.file.read_text(), audited.running.read_log()):
        assert secret not in told and secret[:8] not in told


def test_a_login_that_is_refused(audited: Audited, tmp_path: Path) -> None:
    stranger = make_key_file(str(tmp_path / "key"), "stranger")
    before = len(audited.lines(event="login_refused"))
    with pytest.raises(LoginDeniedError):
        RawClient(audited.running.targets["tls"], by_key(str(tmp_path / "key")))
    line = until(lambda: audited.lines(event="login_refused")[before:], "the refusal")[-1]
    assert line["source"].startswith("tls 127.0.0.1:") and "is authorized and proved" in line["reason"]
    assert "principal" not in line and stranger.public.fingerprint not in line["reason"]


def test_an_invited_key_is_told_by_its_fingerprint(audited: Audited) -> None:
    folder, key = os.path.join(audited.running.home, "state", "invitations"), Ed25519PrivateKey.generate()
    record, code = Invitations(folder).make(600)
    assert enrol(audited.running.targets["tls"], by_invitation(code, key)) is not None
    line = audited.one(event="enrolled")
    assert line["key"] == PublicKey(blob_of(key)).fingerprint and line["again"] is False
    assert line["source"].startswith("tls 127.0.0.1:") and line["invitation"] == record.name[:8]
    kept = audited.file.read_text()
    assert code.hex() not in kept and record.key.hex() not in kept


# --- secrets


def test_no_secret_is_in_it(audited: Audited, client: RawClient) -> None:
    """Environment, input, output, what is typed, a proof."""
    ident = secrets.token_hex(6)
    client.run(["cat"], id=ident, input=SECRET.encode(), env_add=[["TOKEN", SECRET]])
    client.run(["env"], env=[["TOKEN", SECRET], ["PATH", "/bin:/usr/bin"]])
    client.run(["true"], detach=True, env_add=[["TOKEN", SECRET]])
    terminal = Terminal(term="xterm", rows=24, columns=80)
    channel, typed = client.start(["sh", "-c", "stty -echo; echo go; read x"], stdin="pipe", terminal=terminal)
    client.wait(lambda: b"go" in typed.text(), "the prompt")
    _say(client, channel, SECRET.encode() + b"\n")
    client.finish(channel)
    shell, _ = client.start(None, request="shell")
    client.session.send_message(shell, Command(number=1, line="cat >/dev/null", stdin=True))
    client.session.send_data(shell, STDIN, SECRET.encode())
    client.session.send_message(shell, CLOSE)
    client.finish(shell)
    with open(audited.running.secret_file, encoding="utf-8") as file:
        key = file.read().split()[1]
    with RawClient(audited.running.targets["tls"], by_secret(load_secret(audited.running.secret_file))) as other:
        other.run(["true"])
    audited.one(event="end", command=ident)
    kept = audited.file.read_text()
    assert "secret:test" in kept
    assert SECRET not in kept and key not in kept


def test_words_can_be_left_out(start: Starter) -> None:
    audited = start("argv = false")
    with audited.place.connect() as client:
        client.run(["echo", SECRET], id="one")
        client.run(None, line=f"echo {SECRET}", id="two")
        client.run(["echo", SECRET], id="three", detach=True)
        channel, _ = client.start(None, request="shell", id="four")
        client.session.send_message(channel, Command(number=1, line=f"echo {SECRET}; exit"))
        client.finish(channel)
    assert SECRET not in audited.file.read_text()
    assert [line["command"] for line in audited.lines(event="command")] == ["one", "two", "three", "four", "four"]


# --- keys


def test_what_a_keys_options_made_of_a_request(start: Starter) -> None:
    """The line has what runs and not what was asked for; what may not be is refused, and a key that is taken away says so."""
    audited = start("[limits]\nrevocation_look_time = 0.05")
    keys = Path(audited.running.home) / "authorized_keys"
    plain = keys.read_text()
    keys.write_text(f'restrict,command="echo forced" {plain}')
    client = Place(audited.running, "tls").connect(features=["files"])
    assert client.run(["echo", "asked"], id="one").text() == b"forced\n"
    assert client.run(None, request="put", to="/tmp", paths=["x"], id="two").rejected is not None
    keys.write_text("")
    client.wait_end()
    assert "echo forced" in audited.one(event="command", command="one")["argv"]
    assert not audited.lines(event="transfer")
    assert audited.one(event="refused", command="two")["reason"] == "not_permitted"
    assert audited.one(event="logout")["reason"] == "revoked"


def test_a_change_of_keys_is_seen(start: Starter, tmp_path: Path) -> None:
    audited = start("[limits]\naudit_keys_time = 0.05")
    keys = Path(audited.running.home) / "authorized_keys"
    first = keys.read_text()
    began = audited.one(event="server_start")
    assert len(began["keys"]) == 1 and began["pid"] == audited.running.process.pid
    key = make_key_file(str(tmp_path / "key"), "x").public
    rewrite(str(keys), first + PublicKey(key.blob, "Eve \x1b[31m \u2028 🐈").line() + "\n")
    change = audited.one(event="key_change")
    assert (change["added"], change["removed"], change["file"]) == ([key.fingerprint], [], str(keys))
    assert change["comments"][0].endswith("🐈")
    rewrite(str(keys), PublicKey(key.blob, "other comment").line() + "\n")
    gone = until(lambda: audited.lines(event="key_change")[1:], "the second change")[0]
    assert (gone["added"], gone["removed"]) == ([], began["keys"])
    line = PublicKey(key.blob, "x").line()
    rewrite(str(keys), f"restrict {line}\n{line}\n")
    other = until(lambda: audited.lines(event="key_change")[2:], "the third change")[0]
    assert (other["added"], other["removed"], other["changed"]) == ([], [], [key.fingerprint])
    keys.chmod(0o666)
    shut = until(lambda: audited.lines(event="key_change")[3:], "the fourth change")[0]
    assert shut["removed"] == [key.fingerprint] and "writable by others" in shut["problem"]


class Loop:
    """Time by hand: what is due is run by `turn`."""

    def __init__(self) -> None:
        self.later: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []

    def call_later(self, delay: float, call: Callable[..., None], *words: Any) -> Any:
        self.later.append((delay, call, words))
        return self

    def cancel(self) -> None:
        self.later.clear()

    def turn(self) -> None:
        due, self.later = self.later, []
        for _, call, words in due:
            call(*words)


@pytest.mark.parametrize(
    ("before", "answer"),
    [
        (False, None),
        (False, EntryFailed(number=1, errno="EIO", detail="no")),
        (False, CLOSE),
        (True, Stored(numbers=[1])),
    ],
)
def test_who_takes_a_file_is_seen_whatever_it_says_of_it(
    audited: Audited, client: RawClient, tmp_path: Path, before: bool, answer: Any
) -> None:
    large = bytes(2 << 20)
    (tmp_path / "large").write_bytes(large)
    channel, command = client.start(None, request="get", paths=[f"{tmp_path}/large"])
    client.wait(lambda: [one for one in command.others if isinstance(one, Entry)], "an entry")
    _say(client, channel, Wanted(number=1, offset=0))
    if before:
        _say(client, channel, answer)
    client.wait(lambda: command.size == len(large), "its content")
    if answer is not None and not before:
        _say(client, channel, answer)
    assert audited.one(event="file", path=f"{tmp_path}/large")["sha256"] == hashlib.sha256(large).hexdigest()


def test_it_looks_again_and_again() -> None:
    loop = Loop()
    told: list[Any] = []
    looks: Any = iter(
        [{"a": ("A", 1)}, {"a": ("A", 1)}, {"b": ("B", 1), "a": ("C", 1)}, {"a": ("A", 1)}, {"a": ("A", 2)}, {}]
    )
    watch = KeyWatch(loop, 2.0, lambda: next(looks), lambda *change: told.append(change))  # type: ignore[arg-type]
    for _ in range(5):
        loop.turn()
    assert told == [(("b",), (), ("B",), ()), ((), ("b",), (), ()), ((), (), (), ("a",)), ((), ("a",), (), ())]
    assert watch.known == ()
    watch.stop()
    assert not loop.later


# --- strangers, and a file that can't be written


def trail(file: Path, **settings: Any) -> tuple[Trail, Loop]:
    loop = Loop()
    made = Trail(loop, AuditConfig(file=str(file), **settings), DEFAULT_LIMITS)  # type: ignore[arg-type]
    return made, loop


def test_refusals_beyond_a_hundred_a_minute_are_counted(tmp_path: Path) -> None:
    made, loop = trail(tmp_path / "a")
    for number in range(250):
        made.login_refused(f"tls 192.0.2.1:{number}", "no")
    assert [delay for delay, _, _ in loop.later] == [60.0]
    lines = (tmp_path / "a").read_bytes().splitlines()
    assert len(lines) == 100
    loop.turn()
    last = json.loads((tmp_path / "a").read_bytes().splitlines()[-1])
    assert (last["event"], last["count"]) == ("refusals_counted", 150)
    made.login_refused("tls 192.0.2.1:1", "no")
    assert len((tmp_path / "a").read_bytes().splitlines()) == 102, "a new minute"
    made.close()
    assert len((tmp_path / "a").read_bytes().splitlines()) == 102


def test_lost_lines_are_counted_and_told(tmp_path: Path) -> None:
    made, _ = trail(tmp_path / "a")
    assert made.write(ServerEnd(1))
    (tmp_path / "a").rename(tmp_path / "a.1")
    (tmp_path / "a").mkdir()
    assert not made.write(ServerEnd(2)) and not made.write(ServerEnd(3))
    made.begin(ServerEnd(4), Who("", "", ""))  # goes on without
    (tmp_path / "a").rmdir()
    assert made.write(ServerEnd(5))
    lines = [json.loads(line) for line in (tmp_path / "a").read_bytes().splitlines()]
    assert [line.get("count") or line["pid"] for line in lines] == [3, 5]
    assert lines[0]["event"] == "lines_lost" and "s a directory" in lines[0]["reason"]
    made.close()


def test_where_it_is_required_nothing_begins_without(tmp_path: Path) -> None:
    made, _ = trail(tmp_path / "no" / "a", required=True)
    with pytest.raises(CommandRefusedError, match="audit file can't be written"):
        made.begin(ServerEnd(1), Who("", "", ""))
    assert not made.write(ServerEnd(2)), "an end is no beginning"
    off = Trail(Loop(), AuditConfig(required=True), DEFAULT_LIMITS)  # type: ignore[arg-type]
    off.begin(ServerEnd(1), Who("", "", ""))


@pytest.mark.parametrize("fault", ["mode", "folder", "missing"])
def test_a_server_does_not_start_with_a_file_that_is_not_safe(fault: str, start: Starter, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if fault == "mode":
        (folder / "a").touch()
        (folder / "a").chmod(0o644)
    elif fault == "folder":
        folder.chmod(0o777)
    else:
        folder.rmdir()
    with pytest.raises(RuntimeError, match="the audit file .*(open to others|others may write|No such file)"):
        start(file=folder / "a")


def test_a_line_is_there_before_its_command_and_after_kill_9(start: Starter, tmp_path: Path) -> None:
    """The command itself kills the server: its line is on disk all the same, and the next life says that no end came before."""
    audited = start()
    with contextlib.suppress(AssertionError, OSError), audited.place.connect() as client:
        client.run(["sh", "-c", "kill -9 $PPID"], id="deadly")
    audited.running.process.wait(10)
    assert audited.one(command="deadly")["event"] == "command"
    again = start()
    assert [line["event"] for line in again.lines()] == ["server_start", "login", "command", "server_start"]


def test_rotation_under_a_running_server(start: Starter, tmp_path: Path) -> None:
    audited = start()
    with audited.place.connect() as client:
        client.run(["true"], id="before")
        audited.file.rename(tmp_path / "lines.1")
        client.run(["true"], id="after")
    assert "before" in (tmp_path / "lines.1").read_text() and "after" not in (tmp_path / "lines.1").read_text()
    assert audited.one(event="end", command="after")["status"] == 0
    assert audited.file.stat().st_mode & 0o777 == 0o600


def test_the_option_of_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c").write_text('[audit]\nfile = "/elsewhere"\nargv = false\n')
    monkeypatch.chdir(tmp_path)
    audit = load(str(tmp_path / "c"), audit__file="lines", recording__folder="rec").audit
    assert (audit.file, audit.argv) == (str(tmp_path / "lines"), False)
    assert load(str(tmp_path / "c"), recording__folder="rec").recording.folder == str(tmp_path / "rec")
