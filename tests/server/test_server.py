"""The server as a process: where it listens, whom it admits, and the order in which it ends."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from remote_shell.config.server import ServerConfig
from remote_shell.errors import ConfigError, ConnectError
from remote_shell.identity.keys import PublicKey
from remote_shell.identity.private_keys import make_key_file
from remote_shell.identity.server_identity import ServerIdentity
from remote_shell.server.server import GIVEN_TOLD, TRIMMED, Server, give_back_memory
from remote_shell.server.serving import serve
from remote_shell.testing import RunningServer, server
from remote_shell.wire.messages import Eof

from ..config.account import NOBODY, as_nobody, nobodys_folder
from ..listening import listener
from .conftest import Place, Starter, children_of, descriptors, resident
from .raw_client import LoginDeniedError, RawClient, Stranger, by_key, dial, living, make_hello, until
from .test_arrival import control

pytestmark = pytest.mark.screen  # the quick suite has two minutes for all

# --- listening


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that start in this process leave it as it is."""
    monkeypatch.setattr("remote_shell.server.server.prepare_process", lambda: None)


def start_and_stop(*listen: str) -> list[str]:
    """Start a server here, and end it: the addresses."""

    async def both() -> list[str]:
        made = Server(ServerConfig(listen=listen, insecure_tcp=True), ServerIdentity(bytes(32)))  # type: ignore[arg-type]
        await made.start()
        addresses = made.addresses
        await made.close(0)
        return addresses

    return asyncio.run(both())


def refusal(*listen: str) -> str:
    """Why it does not start: one line."""
    with pytest.raises((ConnectError, ConfigError)) as caught:
        start_and_stop(*listen)
    text = str(caught.value)
    assert "\n" not in text and "Traceback" not in text and "Errno" not in text
    return text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a socket."""
    made = tmp_path / "run"
    made.mkdir(mode=0o700)
    return made


def test_addresses_are_told_as_they_became(quiet: None, folder: Path) -> None:
    addresses = start_and_stop(f"unix:{folder}/s", "tls:127.0.0.1:0", "tls:[::1]:0", "tcp:127.0.0.1:0")
    assert addresses[0] == f"unix:{folder}/s"
    for text, begin in zip(addresses[1:], ("tls:127.0.0.1:", "tls:[::1]:", "tcp:127.0.0.1:"), strict=True):
        assert text.startswith(begin) and not text.endswith(":0")
    assert not list(folder.iterdir()), "its socket goes with it"


def test_a_port_in_use(quiet: None, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = refusal(f"unix:{folder}/s", f"tls:127.0.0.1:{port}")
        assert text.startswith(f"tls:127.0.0.1:{port}: address in use")
        assert not list(folder.iterdir()), "what listened already was closed"


def test_addresses_that_are_not_ours(quiet: None) -> None:
    assert "not an address of this machine" in refusal("tls:192.0.2.1:0")
    assert "not an address of this machine" in refusal("tls:no-such-host.invalid:0")


def test_a_port_without_permission(quiet: None) -> None:
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
        if int(file.read()) <= 80:
            pytest.skip("every account may listen on port 80 here")
    text = as_nobody(lambda: start_and_stop("tcp:127.0.0.1:80"))
    assert text.startswith("ConnectError: tcp:127.0.0.1:80: permission denied: ports below 1024")


def test_a_folder_without_permission(quiet: None) -> None:
    with nobodys_folder() as folder:
        os.mkdir(f"{folder}/readonly")
        os.chmod(f"{folder}/readonly", 0o500)
        if os.getuid() == 0:
            os.chown(f"{folder}/readonly", NOBODY, NOBODY)
        text = as_nobody(lambda: start_and_stop(f"unix:{folder}/readonly/s"))
        assert text.startswith(f"ConnectError: unix:{folder}/readonly/s: permission denied")
        os.chmod(f"{folder}/readonly", 0o700)


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o770, 0o755, 0o777])
def test_a_socket_that_others_could_reach(quiet: None, folder: Path, mode: int) -> None:
    folder.chmod(mode)
    assert "its folder must be yours alone: chmod 700" in refusal(f"unix:{folder}/s")


def test_a_folder_of_another_account(quiet: None, folder: Path) -> None:
    with nobodys_folder() as theirs:
        if os.getuid() != 0:
            pytest.skip("only root can make a folder for another account")
        text = refusal(f"unix:{theirs}/s")
        assert "must be yours alone: choose a folder of your own, such as /" in text and "chmod" not in text


@pytest.mark.parametrize("place", ["/", "/tmp", "sticky", "somebody", "homes", "above homes"])
def test_a_folder_that_others_rely_on_is_not_to_be_closed(
    quiet: None, folder: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(folder / "own"))
    home = folder / "shared" / "homes" / "somebody"
    home.mkdir(parents=True)
    (folder / "sticky").mkdir()
    (folder / "sticky").chmod(0o1777)
    account = pwd.struct_passwd(("somebody", "x", os.geteuid() + 1, 1, "", str(home), ""))
    monkeypatch.setattr("pwd.getpwall", lambda: [account])
    home.chmod(0o755)
    places = {"sticky": folder / "sticky", "somebody": home, "homes": home.parent, "above homes": home.parent.parent}
    where = places.get(place, place)
    text = refusal(f"unix:{os.path.join(where, 'x.sock')}")
    assert text.endswith(
        f"choose a folder of your own, such as {folder}/own/run: --listen unix:{folder}/own/run/x.sock"
    )
    assert "chmod" not in text


def test_a_home_may_be_closed(quiet: None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = pwd.struct_passwd(("somebody", "x", os.geteuid(), 1, "", str(folder), ""))
    monkeypatch.setattr("pwd.getpwall", lambda: [account])
    folder.chmod(0o755)
    assert f"chmod 700 {folder}, or" in refusal(f"unix:{folder}/s")


def test_a_missing_folder(quiet: None, folder: Path) -> None:
    assert "no such folder; make it: mkdir -m 700" in refusal(f"unix:{folder}/missing/s")


def test_a_socket_of_a_server_that_was_killed_is_replaced(quiet: None, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{folder}/s")
    assert start_and_stop(f"unix:{folder}/s") == [f"unix:{folder}/s"]


def test_a_socket_that_somebody_listens_on_is_left_alone(quiet: None, local: Place) -> None:
    assert "address in use: another server" in refusal(local.target)
    with local.connect() as client:
        assert client.run(["echo", "up"]).text() == b"up\n"


def test_a_file_is_never_replaced(quiet: None, folder: Path) -> None:
    (folder / "s").write_text("precious")
    assert "a file that is no socket is there" in refusal(f"unix:{folder}/s")
    assert (folder / "s").read_text() == "precious"


def test_ipv6(start: Starter) -> None:
    running = start(listen=("tls:[::1]:0", "tcp:[::1]:0"))
    for kind in ("tls", "tcp"):
        with Place(running, kind).connect() as client:
            assert client.run(["echo", "six"]).text() == b"six\n"


def test_the_socket_is_for_its_owner_alone(served: RunningServer) -> None:
    assert os.stat(served.targets["unix"].partition(":")[2]).st_mode & 0o777 == 0o600


# --- admission


def gave_way(running: RunningServer) -> int:
    """How many strangers did, by the log: a line a second, however many they are."""
    found = re.findall(
        r"(\d+) before login gave their places to newcomers, the last of them tcp 127", running.read_log()
    )
    return sum(map(int, found))


def test_a_flood_does_not_keep_a_known_user_out(start: Starter) -> None:
    """Silent strangers from four sources, ten times as many as there are places; those that lose theirs are closed."""
    running = start(listen=("tcp:127.0.0.1:0",), strangers_max=20)
    target, prove = running.targets["tcp"], by_key(running.identity)
    flood = []
    for number in range(200):
        flood.append(dial(target, f"127.0.0.{2 + number % 4}"))
        if number % 10 == 9:
            RawClient(target, prove, source="127.0.0.1").bye()
    until(lambda: gave_way(running) >= 180, "the oldest had to go")
    closed = 0
    for sock in flood:
        sock.setblocking(False)
        try:
            closed += sock.recv(1) == b""
        except BlockingIOError:
            continue
    assert 180 <= closed <= 200 - 15
    RawClient(target, prove, source="127.0.0.2").bye()
    for sock in flood:
        sock.close()


def test_who_logs_in_often_is_not_taken_for_a_flood(start: Starter) -> None:
    """More logins from one address than silent strangers from any other: each gets in at the first try."""
    running = start(listen=("tcp:127.0.0.1:0",), strangers_max=10)
    target, prove = running.targets["tcp"], by_key(running.identity)
    silent = [dial(target, f"127.0.0.{2 + number % 12}") for number in range(24)]
    until(lambda: gave_way(running) >= 14, "the places are full")
    for _ in range(20):
        RawClient(target, prove, source="127.0.0.1").bye()
        silent.append(dial(target, f"127.0.0.{2 + len(silent) % 12}"))
    for sock in silent:
        sock.close()


def test_evictions_are_told_once_a_second_and_their_memory_given_back_more_often(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`scripts/torture strangers` measures what it is good for."""
    due: list[tuple[float, Callable[[], None]]] = []
    given_back: list[bool] = []
    monkeypatch.setattr("remote_shell.server.server.give_back_memory", lambda: given_back.append(True))
    one = Server(ServerConfig())
    loop = SimpleNamespace(call_later=lambda seconds, what: due.append((seconds, what)))
    one._context = SimpleNamespace(loop=loop)  # type: ignore[assignment]
    for port in range(3):
        one._gave_way(f"tcp 192.0.2.1:{port}")
    assert [seconds for seconds, _ in due] == [GIVEN_TOLD, TRIMMED]
    with caplog.at_level("INFO", "remote_shell.server"):
        for _, what in due:
            what()
    assert caplog.messages == ["3 before login gave their places to newcomers, the last of them tcp 192.0.2.1:2"]
    assert given_back == [True]
    one._gave_way("tcp 192.0.2.1:4")
    assert [seconds for seconds, _ in due[2:]] == [GIVEN_TOLD, TRIMMED]
    monkeypatch.undo()
    give_back_memory()


def test_one_that_takes_its_time_survives_a_flood(start: Starter) -> None:
    """The newest of a quiet source keeps its place while a noisy one fills and refills all others."""
    running = start(listen=("tcp:127.0.0.1:0",), strangers_max=10)
    target = running.targets["tcp"]
    honest = Stranger(target, source="127.0.0.1")
    flood = [dial(target, "127.0.0.9") for _ in range(100)]
    until(lambda: gave_way(running) >= 91, "the noisy one pays")
    honest.send(control(make_hello()))
    assert b'"hello"' in honest.read(), "it is still there"
    assert "tcp 127.0.0.1" not in running.read_log()
    RawClient(target, by_key(running.identity), source="127.0.0.9").bye()  # the newest is never refused, whoever it is
    honest.sock.close()
    for sock in flood:
        sock.close()


@pytest.mark.slow
def test_descriptors_run_out_and_come_back() -> None:
    """Accepting pauses, commands that can't start say so, and when there are descriptors again everything goes on."""
    with server(("unix:",), command=("prlimit", "--nofile=40:40")) as running:
        place = Place(running, "unix")
        assert "at most 10 connections before login" in running.read_log()
        clients = [place.connect()]
        while descriptors(running.process.pid) < 39:
            clients.append(place.connect())
        rejected = clients[0].run(["true"]).rejected
        assert rejected is not None and rejected.code == "resources"
        extra = [dial(place.target) for _ in range(5)]
        until(lambda: "next try in 0.5 s" in running.read_log(), "accepting pauses")
        for sock in extra:
            sock.close()
        for client in clients[1:]:
            client.bye()
        until(lambda: clients[0].run(["echo", "again"]).text() == b"again\n", "there are descriptors again")
        with place.connect() as client:
            assert client.run(["echo", "up"]).text() == b"up\n"
        clients[0].bye()


@pytest.mark.slow
def test_1000_silent_strangers_are_cheap(start: Starter) -> None:
    running = start(login_time=60)
    for target in running.targets.values():
        Stranger(target, tls=False).sock.close()
    before = resident(running.process.pid)
    kinds = list(running.targets.values())
    strangers = [dial(kinds[number % len(kinds)]) for number in range(1000)]
    until(lambda: descriptors(running.process.pid) > 1000, "all are accepted")
    grown = resident(running.process.pid) - before
    for sock in strangers:
        sock.close()
    assert grown < 5 * 2**20, f"{grown / 1000:.0f} bytes each"


# --- the end


def ended(running: RunningServer, within: float) -> int:
    """Its exit status, if it ends in time."""
    return running.process.wait(within)


def test_term_lets_a_command_finish(start: Starter) -> None:
    """No one new, nothing new; what runs may end; everything that it wrote arrives; then the goodbye."""
    running = start(drain_time=5)
    place = Place(running, "unix")
    client, idle = place.connect(), Place(running, "tls").connect()
    script = "read x; head -c 1000000 /dev/zero; echo end >&2; exit 4"
    ident, command = client.start(["sh", "-c", script], stdin="pipe")
    ports = [int(running.targets[kind].rpartition(":")[2]) for kind in ("tcp", "tls")]
    listening = {listener(port) for port in ports}
    assert 0 not in listening
    running.process.send_signal(signal.SIGTERM)
    assert idle.wait_end() == "shutting_down"
    assert not os.path.exists(place.target.partition(":")[2])
    assert not {listener(port) for port in ports} & listening
    rejected = client.run(["true"]).rejected
    assert rejected is not None and rejected.code == "shutting_down"
    client.session.send_data(ident, 0, b"go\n")
    client.session.send_message(ident, Eof(stream=0))
    client.finish(ident)
    assert command.exit is not None and command.exit.status == 4
    assert (command.size, command.text(2)) == (1_000_004, b"end\n")
    assert client.wait_end() == "shutting_down"
    assert ended(running, 3) == 0


@pytest.mark.slow
def test_draining_has_an_end(start: Starter) -> None:
    nap = f"1000.{time.monotonic_ns()}"
    running = start(drain_time=0.2, kill_grace=0.2)
    client = Place(running, "tls").connect()
    _, command = client.start(
        ["sh", "-c", f"trap '' TERM; sleep {nap} & setsid sleep {nap} & sleep {nap}; sleep {nap}"]
    )
    lost = Place(running, "unix").connect()
    lost.start(["sleep", nap])
    lost.cut()
    began = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    assert client.wait_end() == "shutting_down"
    assert command.exit is not None and command.exit.signal == "SIGKILL"
    assert ended(running, 3) == 0
    assert 0.2 < time.monotonic() - began < 2.5
    assert not living(nap)


STUBBORN = "trap 'echo heard' TERM; echo up; while :; do sleep {nap}; done"


def stubborn_after_a_goodbye(running: RunningServer, folder: Path) -> str:
    """A command that stays on TERM, and whose client left; its ladder is under way. Returns what its processes are called."""
    nap, said = f"0.05{time.monotonic_ns()}", folder / "said"
    client = Place(running, "unix").connect()
    client.start(["sh", "-c", f"exec >{said}; {STUBBORN.format(nap=nap)}"])
    until(lambda: said.exists() and "up" in said.read_text(), "it runs")
    client.bye()
    until(lambda: "heard" in said.read_text(), "the first signal came")
    assert living(nap)
    return nap


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_being_killed_when_its_client_left_does_not_outlive_the_server(
    start: Starter, tmp_path: Path, count: int
) -> None:
    running = start(bye_kill_time=1 if count == 1 else 100, kill_grace=100)
    nap = stubborn_after_a_goodbye(running, tmp_path)
    running.process.send_signal(signal.SIGTERM)
    until(lambda: "draining" in running.read_log(), "it drains")
    if count == 2:
        running.process.send_signal(signal.SIGTERM)
    assert ended(running, 3) == 0
    assert not living(nap)


def test_what_is_being_killed_is_killed_at_once_when_draining_is_over(start: Starter, tmp_path: Path) -> None:
    running = start(bye_kill_time=100, kill_grace=100, drain_time=0.1)
    nap = stubborn_after_a_goodbye(running, tmp_path)
    running.process.send_signal(signal.SIGTERM)
    assert ended(running, 3) == 0
    assert not living(nap)


def test_a_daemon_that_a_command_left_behind_outlives_the_server(start: Starter) -> None:
    nap = f"1000.{time.monotonic_ns()}"
    running = start()
    with Place(running, "unix").connect() as client:
        client.run(["sh", "-c", f"sleep {nap} >/dev/null 2>&1 &"])
    running.process.send_signal(signal.SIGTERM)
    assert ended(running, 3) == 0
    (daemon,) = living(nap)
    os.kill(daemon, signal.SIGKILL)
    until(lambda: not living(nap), "the daemon is gone")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(start: Starter, number: int) -> None:
    nap = f"1000.{time.monotonic_ns()}"
    running = start(drain_time=60)
    client = Place(running, "unix").connect()
    client.start(["sh", "-c", f"trap '' TERM INT; sleep {nap}; sleep {nap}"])
    running.process.send_signal(number)
    until(lambda: "draining" in running.read_log(), "it drains")
    began = time.monotonic()
    running.process.send_signal(number)
    assert client.wait_end() == "shutting_down"
    assert ended(running, 20) == 0
    assert time.monotonic() - began < 15  # a quarter of the time to drain
    assert not living(nap)


def test_a_client_that_reads_slowly_gets_everything_before_the_end(start: Starter) -> None:
    running = start(drain_time=10)
    client = Place(running, "tls").connect()
    ident, command = client.start(["head", "-c", "400000", "/dev/zero"])
    command.paused = True
    client.wait(lambda: command.size >= client.limits.window, "the window is full")
    until(lambda: not children_of(running.process.pid), "the command's end, which can't be told yet")
    assert command.exit is None
    running.process.send_signal(signal.SIGTERM)
    until(lambda: "draining" in running.read_log(), "it drains")
    command.paused = False
    client.session.consumed(ident, command.size)
    client.finish(ident)
    assert command.size == 400_000 and command.exit is not None
    assert ended(running, 3) == 0


def test_hup_reads_the_settings_again(tmp_path: Path) -> None:
    """Who may log in, that is; settings that can't be used leave the old ones in force."""
    config, home = tmp_path / "config", tmp_path / "home"
    home.mkdir(mode=0o700)
    keys = []
    for name in ("one", "two"):
        key = make_key_file(str(home / name), name)
        (home / f"{name}.pub").write_text(PublicKey(key.public.blob, name).line() + "\n")
        (home / f"{name}.pub").chmod(0o600)
        keys.append(by_key(str(home / name)))
    config.write_text(f'authorized_keys = "{home}/one.pub"\n[limits]\nrefusal_time = 0.02\n')
    argv = [sys.executable, "-m", "remote_shell", "serve", "--config", str(config), "--listen", "tls:127.0.0.1:0"]
    log = tmp_path / "log"
    with open(log, "wb") as file:
        process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=file, env={**os.environ, "REMOTE_SHELL_HOME": str(home)}
        )
    assert process.stdout is not None
    target = json.loads(process.stdout.readline())["listen"][0]

    def who() -> list[bool]:
        return [_gets_in(target, key) for key in keys]

    try:
        assert who() == [True, False]
        config.write_text("nonsense = 1\n")
        process.send_signal(signal.SIGHUP)
        until(lambda: "settings stay as they were" in log.read_text(), "it says so")
        assert who() == [True, False]
        config.write_text(f'authorized_keys = "{home}/two.pub"\n')
        process.send_signal(signal.SIGHUP)
        until(lambda: "settings read again" in log.read_text(), "it reads them")
        assert who() == [False, True]
    finally:
        process.terminate()
        assert process.wait(5) == 0
        process.stdout.close()


def _gets_in(target: str, key: object) -> bool:
    try:
        RawClient(target, key).bye()  # type: ignore[arg-type]
    except LoginDeniedError:
        return False
    return True


def test_serve_as_another_account() -> None:
    """Without root: commands run as that account, root may log in over its socket, others' keys as listed."""
    if os.getuid() != 0:
        pytest.skip("only root can become another account")
    with nobodys_folder() as folder:
        ready, told = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                assert ctypes, "imported before: the other account may not be able to read our interpreter's modules"
                os.close(ready)
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                asyncio.run(_serve_as_nobody(folder, told))
            finally:
                os._exit(0)
        os.close(told)
        try:
            assert os.read(ready, 1) == b"r"
            with RawClient(f"unix:{folder}/s") as client:
                assert client.welcome.principal == "uid:0"
                assert client.run(["id", "-u"], cwd="/").text() == b"65534\n"
                assert client.run(["cat", "/etc/shadow"], cwd="/").text() == b""
        finally:
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
            os.close(ready)


async def _serve_as_nobody(folder: str, told: int) -> None:
    config = ServerConfig(listen=(f"unix:{folder}/s",), authorized_keys=f"{folder}/none")  # type: ignore[arg-type]

    def ready(facts: object) -> None:
        os.write(told, b"r")

    await serve(config, ready=ready)
