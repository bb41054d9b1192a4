"""Targets through ssh, with an ssh that misbehaves: what is told, what is asked, what goes on over the next one, and what is left."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_shell.client.async_ import connect_async
from remote_shell.client.async_streams import AsyncReader
from remote_shell.client.blocking import connect
from remote_shell.client.plan import Trip
from remote_shell.client.retry import State
from remote_shell.client.ssh_command import argv, over_there
from remote_shell.config.targets import parse_target
from remote_shell.errors import (
    AccessDeniedError,
    ConnectError,
    ConnectionLostError,
    RemoteShellError,
    ServerIdentityError,
    UsageError,
)
from remote_shell.limits import DEFAULT_LIMITS
from tests.cli.program import call
from tests.client.test_login import one_line
from tests.fake_ssh import FakeSsh, on_path
from tests.piped import end_server, reap_orphans, server_pid

pytestmark = pytest.mark.screen  # whole programs, or ssh, for nearly each test

WITHIN = 15.0


@pytest.fixture(scope="module")
def server_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The account over there, and its server; what starting that costs is not tested here."""
    home = tmp_path_factory.mktemp("over there")
    call("pipe", home=home)
    yield home
    end_server(home)


@pytest.fixture
def ssh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server_home: Path) -> Iterator[FakeSsh]:
    (tmp_path / "here").mkdir()
    (tmp_path / "ssh").mkdir()
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(tmp_path / "here"))
    yield on_path(monkeypatch, tmp_path / "ssh", server_home)
    reap_orphans()


def failed(target: str = "ssh:box", **options: Any) -> RemoteShellError:
    """The error, which is one and the same on both fronts."""

    async def scene() -> None:
        async with connect_async(target, **options):
            pass

    with pytest.raises(RemoteShellError) as blocking:
        connect(target, **options)
    with pytest.raises(RemoteShellError) as awaited:
        asyncio.run(scene())
    assert type(blocking.value) is type(awaited.value)
    one_line(blocking.value, "box")
    return blocking.value


# --- it works


def test_both_fronts(ssh: FakeSsh) -> None:
    async def scene() -> bytes:
        async with connect_async("ssh:bob@box") as host:
            assert host.target.kind == "ssh"
            return bytes((await host.run(["cat"], input=b"in", capture_output=True)).stdout)

    with connect("ssh:bob@box") as host:  # whom bob is over there ssh alone says
        assert host.run(["cat"], input=b"in", capture_output=True).stdout == b"in"
        assert host.welcome.principal == f"uid:{os.getuid()}"
    assert asyncio.run(scene()) == b"in"
    assert len(ssh.calls) == 2 and all("-l bob -- box" in " ".join(call) for call in ssh.calls)


def test_a_trace(ssh: FakeSsh) -> None:
    events: list[Any] = []

    async def scene() -> None:
        async with connect_async("ssh:box", trace=events.append) as host:
            await host.run(["echo", "awaited"])

    with connect("ssh:box", trace=events.append) as host:
        host.run(["echo", "waited for"])
    asyncio.run(scene())
    assert [event.text for event in events if event.text] == ["ssh:box", "by us"] * 2
    told = b"".join(event.raw for event in events)
    assert b"waited for\n" in told and b"awaited\n" in told


def test_bulk_both_ways(ssh: FakeSsh) -> None:
    data = os.urandom(1024) * 8192
    with connect("ssh:box") as host:
        assert host.run(["cat"], input=data, capture_output=True).stdout == data


def test_the_goodbye_arrives_before_ssh_is_ended(ssh: FakeSsh) -> None:
    """What was started ends at once and not after the grace."""
    with connect("ssh:box") as host:
        process = host.popen(["sleep", "1000"])
        pid = process.pid
        assert pid is not None
        process.abandon = lambda: None  # type: ignore[method-assign]  # the host's end alone is to end it
    deadline = time.monotonic() + WITHIN
    while os.path.exists(f"/proc/{pid}") and _state(pid) not in "ZX":
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.01)


async def test_the_goodbye_arrives_on_asyncio_too(ssh: FakeSsh) -> None:
    async with connect_async("ssh:box") as host:
        process = await host.popen(["sleep", "1000"])
        pid = process.pid
        assert pid is not None
    deadline = time.monotonic() + WITHIN
    while _state(pid) not in "ZX":
        assert time.monotonic() < deadline, "it goes on"
        await asyncio.sleep(0.01)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "X"


@pytest.mark.parametrize("noise", [r"echo Welcome", r"printf 'no line end'", r"printf '\0remote-shell pipe 0\n'"])
def test_a_greeting_before_it_is_passed_over(ssh: FakeSsh, noise: str) -> None:
    ssh.manner(noise)
    with connect("ssh:box") as host:
        assert host.run(["true"]).returncode == 0


def test_with_standard_descriptors_closed(ssh: FakeSsh) -> None:
    code = (
        "import os; from remote_shell import connect; os.closerange(0, 2)\n"
        "with connect('ssh:box') as host:\n"
        "    assert not any(os.path.exists(f'/proc/self/fd/{low}') for low in (0, 1))\n"  # or it would be the command's stdin
        "    os._exit(host.run(['true'], stdin=-3, stdout=-3).returncode + 40)"
    )
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], timeout=WITHIN, capture_output=True
    )
    assert done.returncode == 40, done.stderr


# --- it does not


def test_not_installed_there(ssh: FakeSsh) -> None:
    ssh.uninstall()
    error = failed("ssh:bob@box:2222")
    assert isinstance(error, ConnectError)
    one_line(error, "not installed there", f"looked in {ssh.folder}/there:", "/.local/bin", "remote_command")
    one_line(error, "| ssh -p 2222 bob@box 'mkdir -p remote_shell && ", "pipx install ./remote_shell'")
    assert "install remote-shell" not in str(error), "what PyPI has under that name is somebody else's"


def test_found_where_pip_puts_it(ssh: FakeSsh) -> None:
    ssh.uninstall()
    (ssh.home / ".local" / "bin").mkdir(parents=True)
    ssh.install(ssh.home / ".local" / "bin" / "remote-shell")
    with connect("ssh:box") as host:
        assert host.run(["true"]).returncode == 0


def test_a_command_of_hosts_toml(ssh: FakeSsh, tmp_path: Path) -> None:
    ssh.uninstall()
    ssh.install(ssh.home / "it's mine")
    hosts = tmp_path / "here" / "hosts.toml"
    hosts.write_text('[hosts.named]\ntarget = "ssh:box"\nremote_command = "~/\\"it\'s mine\\""\n')
    with connect("named") as host:
        assert host.run(["true"]).returncode == 0
    hosts.write_text('[hosts.box]\ntarget = "ssh:box"\nremote_command = "~/nowhere/x"\n')
    one_line(failed("box"), "no '~/nowhere/x' there", "hosts.toml")


@pytest.mark.parametrize(
    ("manner", "kind", "words"),
    [
        (
            "echo 'ssh: Could not resolve hostname box: Name or service not known' >&2; exit 255",
            ConnectError,
            ["resolve", "try: ssh box"],
        ),
        (
            "echo 'bob@box: Permission denied (publickey).' >&2; exit 255",
            AccessDeniedError,
            ["publickey", "ssh-copy-id"],
        ),
        (
            "echo 'Host key verification failed.' >&2; exit 255",
            ServerIdentityError,
            ["does not believe", "try: ssh box"],
        ),
        ("exit 255", ConnectError, ["does not say why"]),
        ("echo 'This account is currently not available.'; exit 1", ConnectError, ["status 1", "not available"]),
        ("echo Hello from another program; exit 0", ConnectError, ["something else", "Hello from", "ForceCommand"]),
        ("exit 126", ConnectError, ["can't be run"]),
        ("kill -9 $$", ConnectError, ["SIGKILL"]),
        (r"printf 'a\033[2Jb\377\n' >&2; exit 1", ConnectError, [r"a\x1b[2Jb"]),
        ("yes | head -c 70000; exec sleep 1000", ConnectError, ["64 KiB", "bashrc"]),
        ("exec 1>&2 0</dev/null; exec sleep 0.2", ConnectError, ["something else"]),
    ],
)
def test_what_is_told(ssh: FakeSsh, manner: str, kind: type[RemoteShellError], words: list[str]) -> None:
    ssh.manner(manner)
    error = failed()
    assert isinstance(error, kind)
    one_line(error, *words)
    assert str(error).isprintable()


def test_an_ssh_that_hangs_is_ended(ssh: FakeSsh) -> None:
    ssh.manner("echo waiting for Godot >&2; exec sleep 1000")
    one_line(failed(connect_timeout=1.5), "1.5 s", "waiting for Godot", "try: ssh box true")


def test_an_ssh_that_does_not_heed_term_is_killed(ssh: FakeSsh) -> None:
    ssh.manner("trap '' TERM; while :; do sleep 0.05; done")
    failed(connect_timeout=0.2)


def test_more_on_stderr_than_a_pipe_holds_stops_nobody(ssh: FakeSsh) -> None:
    ssh.manner("yes noise | head -c 300000 >&2; echo the end >&2; exit 1")
    one_line(failed(connect_timeout=5), "status 1")


def test_what_is_kept_of_its_words_has_a_bound(ssh: FakeSsh) -> None:
    from remote_shell.client.ssh_link import SshLink

    ssh.manner("yes noise | head -c 300000 >&2; exec sleep 1000")
    limits = dataclasses.replace(DEFAULT_LIMITS, ssh_words_max=1000)
    link = SshLink(Trip("x", parse_target("ssh:box"), None, None, asks=False, again=False), 5.0, limits)
    deadline = time.monotonic() + WITHIN
    while len(link._words) < 1000:
        assert not link.handshake() and time.monotonic() < deadline
        time.sleep(0.01)
    link.handshake()
    assert len(link._words) == 1000
    link.close()


def test_no_ssh_here(ssh: FakeSsh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(ssh.home))
    one_line(failed(), "no ssh on this machine's PATH", "openssh-client")


@pytest.mark.parametrize("option", ["secret_file", "fingerprint", "known_hosts"])
def test_what_proves_nothing_through_ssh_is_refused(ssh: FakeSsh, option: str) -> None:
    with pytest.raises(UsageError, match=f"leave --{option.replace('_', '-')}"):
        connect("ssh:box", **{option: "SHA256:" + "A" * 43})  # type: ignore[arg-type]
    assert ssh.calls == []


# --- cuts


class Told:
    """What `on_state` heard."""

    def __init__(self) -> None:
        self.states: list[State] = []

    def __call__(self, state: State) -> None:
        self.states.append(state)

    @property
    def names(self) -> list[str]:
        return [state.name for state in self.states if state.name != "retrying"]


def kill_ssh(ssh: FakeSsh) -> None:
    os.kill(int(ssh.calls[-1][0]), signal.SIGKILL)


LINES = ["sh", "-c", "i=0; while [ $i -lt 60 ]; do echo line $i; i=$((i+1)); sleep 0.01; done"]
ALL = b"".join(b"line %d\n" % number for number in range(60))


def test_an_ssh_that_is_killed_loses_nothing(ssh: FakeSsh, tmp_path: Path) -> None:
    told = Told()
    line = f"i=0; until [ -e {tmp_path}/enough ]; do echo line $i; i=$((i+1)); sleep 0.01; done"
    with connect("ssh:box", on_state=told) as host, host.popen(line, shell=True, stdout=-1) as process:
        got = process.stdout.read(100)
        for number in range(2):
            kill_ssh(ssh)
            while told.names.count("resumed") == number:  # what was here before is read without a word of the loss
                got += process.stdout.readline()
            got += process.stdout.read(100)
        (tmp_path / "enough").touch()
        got += process.stdout.read()
        assert process.wait() == 0
    assert got == b"".join(b"line %d\n" % number for number in range(got.count(b"\n")))
    assert told.names == ["connected", "lost", "resumed", "lost", "resumed"]
    assert "SIGKILL" in told.states[1].reason
    assert len(ssh.calls) == 3


async def test_an_ssh_that_is_killed_loses_nothing_on_asyncio(ssh: FakeSsh, tmp_path: Path) -> None:
    told = Told()
    line = f"i=0; until [ -e {tmp_path}/enough ]; do echo line $i; i=$((i+1)); sleep 0.01; done"
    async with connect_async("ssh:box", on_state=told) as host:
        process = await host.popen(line, shell=True, stdout=-1)
        assert isinstance(process.stdout, AsyncReader)
        got = await process.stdout.read(50)
        kill_ssh(ssh)
        while "resumed" not in told.names:
            got += await process.stdout.readline()
        (tmp_path / "enough").touch()
        got += await process.stdout.read()
        assert await process.wait() == 0
    assert got == b"".join(b"line %d\n" % number for number in range(got.count(b"\n")))
    assert told.names == ["connected", "lost", "resumed"]
    assert "SIGKILL" in told.states[1].reason


def test_what_ssh_said_at_its_end_is_the_reason(ssh: FakeSsh) -> None:
    ssh.manner(
        f"(while [ ! -e {ssh.folder}/go ]; do sleep 0.02; done; "
        "echo 'client_loop: Broken pipe' >&2; kill -9 $$) >/dev/null <&- &"
    )
    told = Told()
    with connect("ssh:box", on_state=told) as host:
        ssh.manner(":")
        (ssh.folder / "go").touch()
        assert host.run(LINES, capture_output=True).stdout == ALL
    assert "ssh ended: client_loop: Broken pipe" in told.states[1].reason


def test_reconnecting_nobody_is_asked_and_no_shared_connection_is_used(ssh: FakeSsh) -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return "x"

    with connect("ssh:box", ask=ask) as host:
        assert "BatchMode=yes" not in ssh.calls[0] and "ControlPath=none" not in ssh.calls[0]
        assert os.getsid(int(ssh.calls[0][0])) == os.getsid(0)
        kill_ssh(ssh)
        assert host.run(LINES, capture_output=True).stdout == ALL
        assert "BatchMode=yes" in ssh.calls[1] and "ControlPath=none" in ssh.calls[1]
        pid = int(ssh.calls[1][0])
        assert os.getsid(pid) == pid  # it has no terminal to ask on
    assert asked == []


def test_refused_while_reconnecting_it_gives_up_and_says_what_to_do(ssh: FakeSsh) -> None:
    with connect("ssh:box") as host:
        ssh.manner("echo 'box: Permission denied (publickey,password).' >&2; exit 255")
        kill_ssh(ssh)
        began = time.monotonic()
        with pytest.raises((AccessDeniedError, ConnectionLostError)) as caught:
            host.run(["sleep", "5"])
        assert time.monotonic() - began < 4
    one_line(caught.value, "publickey,password", "--attach", "ssh-copy-id")
    assert len(ssh.calls) == 2


def test_a_server_that_ended_is_another_at_the_next_connection(ssh: FakeSsh, tmp_path: Path) -> None:
    told = Told()
    ssh.server_home = tmp_path / "other"
    ssh.server_home.mkdir(mode=0o700)
    ssh.install(ssh.folder / "there" / "remote-shell")
    with connect("ssh:box", on_state=told) as host:
        first = server_pid(ssh.server_home)
        end_server(ssh.server_home)
        assert host.run(["true"]).returncode == 0
        assert server_pid(ssh.server_home) not in (0, first)
    end_server(ssh.server_home)
    assert told.names[0] == "connected" and "new_session" in told.names


def test_an_ssh_that_hangs_while_reconnecting_does_not_keep_the_next_one_away(ssh: FakeSsh) -> None:
    with connect("ssh:box", connect_timeout=2.5) as host:
        ssh.manner(f"[ -e {ssh.folder}/once ] || {{ touch {ssh.folder}/once; exec sleep 1000; }}")
        kill_ssh(ssh)
        assert host.run(LINES, capture_output=True).stdout == ALL


def test_a_client_that_is_killed_leaves_no_ssh(ssh: FakeSsh) -> None:
    import subprocess
    import sys

    code = "from remote_shell import connect\nhost = connect('ssh:box')\nprint(host.run(['true']).returncode, flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"0\n"
        pid = int(ssh.calls[0][0])
        client.kill()
    deadline = time.monotonic() + WITHIN
    while _state(pid) not in "ZX":
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- its words


def test_the_line_survives_the_shells_that_accounts_have() -> None:
    """Single quotes mean the same to all of them; a backslash or an exclamation mark would not."""
    line = over_there(None)
    assert line.startswith("exec sh -c '") and line.endswith("'") and line.count("'") == 2
    assert not set("\\!`\n") & set(line)


def test_options_come_before_the_host_and_none_can_be_smuggled_in() -> None:
    trip = Trip("x", parse_target("ssh:bob@box:22"), "a'b", "/k e y", asks=False, again=False)
    words = argv(trip, 2.5)
    end = words.index("--")
    assert words[end + 1] == "box" and len(words) == end + 3
    assert words[words.index("-i") + 1] == "/k e y" and "IdentitiesOnly=yes" in words
    assert "ConnectTimeout=3" in words and words[words.index("-p") + 1] == "22"
    for option in ("RemoteCommand=none", "ClearAllForwardings=yes", "ForwardAgent=no", "BatchMode=yes"):
        assert words[words.index(option) - 1] == "-o"


def test_a_person_has_time(ssh: FakeSsh) -> None:
    """Who may be asked is not given up after `connect_timeout`, and what ssh says meanwhile is shown."""
    ssh.manner("echo 'Permission denied, please try again.' >&2; sleep 1.2")
    read, write = os.pipe()
    kept = os.dup(2)
    os.dup2(write, 2)
    try:
        with connect("ssh:box", connect_timeout=0.5, ask=lambda prompt: "") as host:
            assert host.run(["true"]).returncode == 0
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(write)
    assert os.read(read, 1000) == b"Permission denied, please try again.\n"
    os.close(read)


def test_under_threads(ssh: FakeSsh) -> None:
    with connect("ssh:box") as host:
        found: list[int] = []
        threads = [threading.Thread(target=lambda: found.append(host.run(["true"]).returncode)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [0] * 4


def test_who_holds_a_shell_is_told_with_where_ssh_came_from(ssh: FakeSsh) -> None:
    ssh.manner("coming='SSH_CONNECTION=198.51.100.7 5 192.0.2.1 22'")
    with connect("ssh:box") as host, host.shell(pty=True), connect("ssh:box") as other:
        held = other.shells()
    assert [shell for shell in held if shell.holder.endswith(", through ssh from 198.51.100.7")]


@pytest.mark.parametrize("said", ["", " 5", "\x1b[2J 5", "x" * 65, "\udcff"])
def test_what_is_no_address_is_not_told(said: str) -> None:
    import subprocess

    from remote_shell.server.arrival import _ssh_client

    environment = {**os.environ, "SSH_CONNECTION": said}
    with subprocess.Popen(["sleep", "100"], env=environment) as process:
        assert _ssh_client(process.pid).isprintable() and len(_ssh_client(process.pid)) < 90
        assert "\x1b" not in _ssh_client(process.pid) and "xxx" not in _ssh_client(process.pid)
        process.kill()
    assert _ssh_client(process.pid) == ""


GREEN = """
from gevent import monkey
monkey.patch_all()
import gevent
from remote_shell import connect
with connect("ssh:box") as host:
    ticks = []
    def tick():
        while True:
            ticks.append(1)
            gevent.sleep(0.01)
    other = gevent.spawn(tick)
    done = [gevent.spawn(host.run, ["sh", "-c", "sleep 0.3; exit 3"]) for _ in range(3)]
    gevent.joinall(done)
    assert [one.value.returncode for one in done] == [3, 3, 3]
    assert len(ticks) > 5, ticks
    other.kill()
print("green")
"""


def test_under_gevent(ssh: FakeSsh) -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GREEN], cwd=Path(__file__).parents[2], timeout=15, capture_output=True
    )
    assert done.stdout == b"green\n", done.stderr


def test_no_peer_of_our_own_uid_passes_for_the_server(ssh: FakeSsh) -> None:
    """Through ssh the socket pair's other end is ours by nature: that proves nothing, and is not looked at."""
    from remote_shell.client.login import Dialled, Login
    from remote_shell.client.plan import Plan

    assert Login(Plan("ssh:box"))._judge(Dialled("unix", uid=4711)) == b""
    ours, theirs = socket.socketpair()
    ours.close()
    theirs.close()
