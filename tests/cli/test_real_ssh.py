"""Through OpenSSH itself: a real sshd on a port of its own, its ssh's prompts, its shared connections, its death."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import bench_servers

from remote_shell.client.async_ import connect_async
from remote_shell.client.blocking import connect
from remote_shell.client.retry import State
from remote_shell.errors import AccessDeniedError, ConnectError, ServerIdentityError
from tests.cli.program import ARGV, call, environment, one_line
from tests.cli.test_repl import repl, run
from tests.piped import end_server, server_pid
from tests.terminal import Terminal

pytestmark = pytest.mark.slow


class There:
    """The machine on the other side: an account's home, with our program in ~/.local/bin."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "there"
        self.server_home = self.home / "ours"
        for path in (self.home / ".local" / "bin", self.server_home):
            path.mkdir(parents=True)
        self.server_home.chmod(0o700)
        (self.server_home / "server.toml").write_text("startup_files = false\n")
        program = self.home / ".local" / "bin" / "remote-shell"
        root = Path(__file__).resolve().parents[2]
        program.write_text(
            f'#!/bin/sh\nexport PYTHONPATH={shlex.quote(str(root))}\nexec {shlex.quote(sys.executable)} -m remote_shell "$@"\n'
        )
        program.chmod(0o755)

    def bashrc(self, text: str) -> None:
        """What the account's shell runs first, as bash does under sshd."""
        (self.home / ".bashrc").write_text(text)


class Here:
    """The person's side: ssh's settings, by a wrapper that names them."""

    def __init__(self, folder: Path, sshd: bench_servers.Sshd) -> None:
        self.sshd = sshd
        self.folder = folder
        self.known_hosts = folder / "known_hosts"
        self._settings = folder / "config"
        self.settings("StrictHostKeyChecking yes", f"IdentityFile {folder}/user_key")

    def settings(self, *lines: str) -> None:
        """The settings for `box`, besides where it is."""
        common = (
            f"HostName 127.0.0.1\nPort {self.sshd.port}\nIdentitiesOnly yes\nIdentityAgent none\nHostKeyAlias bench\n"
            f"UserKnownHostsFile {self.known_hosts}\nGlobalKnownHostsFile /dev/null\n"
        )
        self._settings.write_text("Host box far\n" + common + "\n".join(lines) + "\nHost far\nProxyJump box\n")


@pytest.fixture
def there(tmp_path: Path) -> There:
    return There(tmp_path)


@pytest.fixture
def here(there: There, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    monkeypatch.setattr(
        bench_servers,
        "SSHD_CONFIG",
        bench_servers.SSHD_CONFIG + f"SetEnv HOME={there.home} REMOTE_SHELL_HOME={there.server_home}\n",
    )
    for name in ("SSH_AUTH_SOCK", "SSH_ASKPASS", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    programs = bench_servers.find_ssh()
    (tmp_path / "own").mkdir(mode=0o700)
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(tmp_path / "own"))
    sshd = bench_servers.Sshd(str(tmp_path), programs)
    sshd.start()
    try:
        (tmp_path / "bin").mkdir()
        wrapper = tmp_path / "bin" / "ssh"
        # ProxyJump starts ssh by the name that it was started by
        wrapper.write_text(f'#!/bin/sh\nexec {programs["ssh"]} -F {tmp_path}/config "$@"\n')
        wrapper.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
        yield Here(tmp_path, sshd)
    finally:
        sshd.stop()
        end_server(there.server_home)


def test_a_command_on_both_fronts(here: Here, there: There) -> None:
    data = os.urandom(4096) * 2500
    with connect("ssh:box") as host:
        assert host.welcome.principal == f"uid:{os.getuid()}"
        assert host.run(["cat"], input=data, capture_output=True).stdout == data
        assert host.run(["sh", "-c", "exit 255"]).returncode == 255
        first = server_pid(there.server_home)

    async def scene() -> bytes:
        async with connect_async("ssh:box") as host:
            return bytes((await host.run(["cat"], input=data, capture_output=True)).stdout)

    import asyncio

    assert asyncio.run(scene()) == data
    assert server_pid(there.server_home) == first != 0  # it outlives the ssh session that it was started in


def test_a_flood_ends_at_once_when_its_host_is_closed(here: Here) -> None:
    """The goodbye goes though ssh is full of what nobody reads any more."""
    with connect("ssh:box") as host:
        process = host.popen(["yes"], stdout=-1)
        assert process.stdout.read(100_000)
        pid = process.pid
        process.stdout.close = lambda: None
        began = time.monotonic()
    assert time.monotonic() - began < 3
    deadline = time.monotonic() + 15
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_ssh_that_is_killed_and_a_session_that_sshd_ends_lose_nothing(here: Here, tmp_path: Path) -> None:
    states: list[State] = []
    line = f"i=0; until [ -e {tmp_path}/enough ]; do echo line $i; i=$((i+1)); sleep 0.01; done"
    with connect("ssh:box", on_state=states.append) as host, host.popen(["sh", "-c", line], stdout=-1) as process:
        got = process.stdout.read(200)
        os.kill(ssh_of_ours(), signal.SIGKILL)
        while [state.name for state in states].count("resumed") < 1:
            got += process.stdout.readline()
        for pid in sessions_of(here.sshd):
            os.kill(pid, signal.SIGKILL)
        while [state.name for state in states].count("resumed") < 2:
            got += process.stdout.readline()
        (tmp_path / "enough").touch()
        got += process.stdout.read()
        assert process.wait() == 0
    assert got == b"".join(b"line %d\n" % number for number in range(got.count(b"\n")))
    assert [state.name for state in states if state.name != "retrying"] == ["connected", *["lost", "resumed"] * 2]
    assert "SIGKILL" in states[1].reason
    assert any("ssh ended: " in state.reason for state in states[2:]), states


def ssh_of_ours() -> int:
    """The ssh that this process started."""
    found = [pid for pid in children_of(os.getpid()) if name_of(pid) == "ssh"]
    assert len(found) == 1, found
    return found[0]


def sessions_of(sshd: bench_servers.Sshd) -> list[int]:
    """The processes of an sshd's connections, which are its children and theirs."""
    assert sshd._process is not None
    first = [pid for pid in children_of(sshd._process.pid) if name_of(pid).startswith("sshd")]
    return [*first, *(pid for one in first for pid in children_of(one) if name_of(pid).startswith("sshd"))]


def children_of(parent: int) -> list[int]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] == str(parent):
                found.append(int(pid))
    return found


def name_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def test_noise_of_startup_files_is_passed_over(here: Here, there: There) -> None:
    there.bashrc("echo Welcome to this machine; printf 'no line end' >&2\n")
    plain = subprocess.run(["ssh", "box", "true"], capture_output=True, timeout=30)
    assert (plain.stdout, plain.stderr) == (b"Welcome to this machine\n", b"no line end")
    with connect("ssh:box") as host:
        assert host.run(["true"]).returncode == 0


def test_a_startup_file_that_reads_gets_nothing_of_ours(here: Here, there: There) -> None:
    there.bashrc('read -t 0.3 x; echo "got <$x>"\n')
    with connect("ssh:box") as host:
        assert host.run(["true"]).returncode == 0


def test_what_is_told(here: Here, there: There) -> None:
    (there.home / ".local" / "bin" / "remote-shell").unlink()
    with pytest.raises(ConnectError, match="not installed there .looked in .*ssh box .*pipx"):
        connect("ssh:box")
    with pytest.raises(ConnectError, match="Could not resolve hostname"):
        connect("ssh:nowhere.invalid")
    here.settings("StrictHostKeyChecking yes")  # no key that is taken
    with pytest.raises(AccessDeniedError, match=r"Permission denied \(publickey"):
        connect("ssh:box")
    here.known_hosts.write_text("")
    with pytest.raises(ServerIdentityError, match="Host key verification failed"):
        connect("ssh:box")
    here.sshd.stop()
    with pytest.raises(ConnectError, match="Connection refused"):
        connect("ssh:box")


def test_settings_that_would_be_in_the_way_are_not(here: Here, there: There) -> None:
    here.settings(
        f"IdentityFile {here.folder}/user_key",
        "RequestTTY force",
        "RemoteCommand echo something else",
        f"LocalForward 127.0.0.1:{here.sshd.port} localhost:1",  # which is taken
        "ExitOnForwardFailure yes",
        "PermitLocalCommand yes",
        f"LocalCommand touch {here.folder}/ran",
    )
    with connect("ssh:box") as host:
        data = bytes(range(256)) * 100
        assert host.run(["cat"], input=data, capture_output=True).stdout == data
    assert not (here.folder / "ran").exists()


def test_a_jump_host(here: Here) -> None:
    with connect("ssh:far") as host:
        assert host.run(["true"]).returncode == 0


def test_a_shared_connection_is_used_and_survives_us(here: Here) -> None:
    path = here.folder / "master"
    here.settings(
        f"IdentityFile {here.folder}/user_key", "ControlMaster auto", f"ControlPath {path}", "ControlPersist 60"
    )
    try:
        for _ in range(2):
            with connect("ssh:box") as host:
                assert host.run(["true"]).returncode == 0
        assert path.exists()
        with connect("ssh:box") as host:
            os.kill(ssh_of_ours(), signal.SIGKILL)
            assert host.run(["true"]).returncode == 0
    finally:
        subprocess.run(["ssh", "-O", "exit", "box"], capture_output=True)


def test_the_question_about_a_host_key(here: Here, tmp_path: Path) -> None:
    here.settings(f"IdentityFile {here.folder}/user_key", "StrictHostKeyChecking ask")
    here.known_hosts.write_text("")
    done = call("run", "ssh:box", "true", home=tmp_path / "own")
    assert done.returncode == 125 and "Host key verification failed" in one_line(done.stderr)
    with at_terminal(tmp_path, "run", "--connect-timeout", "2", "ssh:box", "echo", "it runs") as terminal:
        terminal.wait_for("Are you sure you want to continue connecting")
        terminal.type("yes\r")
        terminal.wait_for("it runs")
        assert terminal.wait_end() == 0
    assert "bench" in here.known_hosts.read_text()


def at_terminal(tmp_path: Path, *words: str) -> Terminal:
    return Terminal([*ARGV, *words], environment=environment(tmp_path / "own"), columns=150)


def encrypted_key(here: Here) -> None:
    """The person's key has a passphrase."""
    path = f"{here.folder}/user_key"
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "", "-N", "pass phrase", "-f", path], check=True, capture_output=True
    )
    here.settings(f"IdentityFile {path}")


def test_a_passphrase_is_asked_by_ssh_and_not_again_when_it_reconnects(here: Here, tmp_path: Path) -> None:
    encrypted_key(here)
    with at_terminal(tmp_path, "run", "ssh:box", "sh", "-c", "echo begun; sleep 2; echo ended") as terminal:
        terminal.wait_for("Enter passphrase for key")
        terminal.type("pass phrase\r")
        terminal.wait_for("begun")
        assert "pass phrase\n" not in terminal.text
        for pid in children_of(terminal.process.pid):
            if name_of(pid) == "ssh":
                os.kill(pid, signal.SIGKILL)
        assert terminal.wait_end() == 125
        assert terminal.text.count("Enter passphrase") == 1
        assert "ssh-copy-id" in terminal.text.replace("\n", "")


def test_ctrl_c_at_sshs_question_leaves_the_terminal_as_it_was(here: Here, tmp_path: Path) -> None:
    encrypted_key(here)
    for words in (["run", "ssh:box", "true"], ["shell", "ssh:box"]):
        with at_terminal(tmp_path, *words) as terminal:
            before = termios.tcgetattr(terminal.master)
            terminal.wait_for("Enter passphrase for key")
            terminal.wait_until(lambda: not termios.tcgetattr(terminal.master)[3] & termios.ECHO, "hidden input")
            terminal.press("ctrl-c")
            assert terminal.wait_end() == 130
            assert termios.tcgetattr(terminal.master) == before
            assert "Traceback" not in terminal.text


def test_a_person_at_work(here: Here, tmp_path: Path) -> None:
    with repl("ssh:box", tmp_path / "own", PATH=os.environ["PATH"]) as terminal:
        assert "Through ssh" in terminal.text
        run(terminal, "x=kept")
        terminal.type("sleep 1000\r")
        terminal.wait_until(lambda: "sleep 1000" in terminal.text, "the line")
        terminal.press("ctrl-c")
        terminal.wait_until(lambda: re.search(r"130", terminal.text) is not None, "its end")
        assert "kept" in run(terminal, "echo $x")
        assert ", resumed" not in run(terminal, ":info")  # Ctrl-C was the command's, and ssh has not seen it


def test_a_key_for_pipe_alone(here: Here, there: There, monkeypatch: pytest.MonkeyPatch) -> None:
    """What authorized_keys' command= and restrict do: nothing but our server, whatever is asked for."""
    public = (here.folder / "user_key.pub").read_text()
    (here.folder / "user_key.pub").write_text(f'command="{there.home}/.local/bin/remote-shell pipe",restrict {public}')
    with connect("ssh:box") as host:
        assert host.run(["true"]).returncode == 0
