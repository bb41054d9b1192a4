"""`[sandbox]`: commands under bwrap(1), as root and as an account without rights: they see what is listed, all else works as without."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import remote_shell
from remote_shell.errors import CommandNotFoundError, ConfigError
from remote_shell.process.confinement import Confinement, Sandbox
from remote_shell.testing import RunningServer, server

from .raw_client import RawClient, by_key, living, until
from .unprivileged import server_of_nobody

pytestmark = pytest.mark.slow  # Debian's bubblewrap
ACCOUNTS = ("root", "nobody") if os.geteuid() == 0 else ("nobody",)
QUICK = "[limits]\nkill_grace = 0.5\ninterrupt_grace = 0.5\nrefusal_time = 0.05\n"


@contextlib.contextmanager
def sandboxed(account: str, lines: str = "", above: str = "") -> Iterator[RunningServer]:
    """A server of that account; `lines` of its sandbox, `above` of its settings."""
    config = f"{above}\n[sandbox]\n{lines}\n{QUICK}"
    if account == "root":
        with server(("unix:", "tls:127.0.0.1:0"), config=config) as running:
            yield running
    else:
        with server_of_nobody(config) as running:
            yield running


def connect(running: RunningServer) -> remote_shell.Host:
    return remote_shell.connect(running.targets["tls"], **running.options())


@pytest.fixture(scope="module", params=ACCOUNTS)
def account(request: pytest.FixtureRequest) -> str:
    """One that may make namespaces, which a container's host may forbid."""
    text: str = request.param
    try:
        with sandboxed(text):
            return text
    except RuntimeError as error:
        if "lets this account make no namespaces" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def running(account: str) -> Iterator[RunningServer]:
    with sandboxed(account, above="allow_tcp_forwarding = true") as one:  # nothing but the sandbox refuses tunnels
        yield one


@pytest.fixture
def host(running: RunningServer) -> Iterator[remote_shell.Host]:
    with connect(running) as connected:
        yield connected


def run(host: remote_shell.Host, *argv: str, **options: Any) -> tuple[int, str, str]:
    """In /, since HOME is where that account may have none outside."""
    done = host.run(list(argv), **{"capture_output": True, "text": True, "cwd": "/", **options})
    return done.returncode, done.stdout, done.stderr


def nap() -> str:
    """A time to sleep that no other test sleeps, to find the sleepers by, from outside."""
    return f"1000.{time.monotonic_ns()}"


# --- what it sees


def test_what_is_there(host: remote_shell.Host, account: str) -> None:
    names = set(run(host, "ls", "-A", "/")[1].split())
    home = "root" if account == "root" else "nonexistent"
    assert {"dev", "etc", "proc", "tmp", "usr", home} <= names
    assert names <= {"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "tmp", "usr", home}
    assert run(host, "sh", "-c", "ls -A /tmp ~")[1].split() == sorted(["/tmp:", f"/{home}:"]), "empty, both"


@pytest.mark.parametrize(
    "path", ["/x", "/usr/x", "/etc/x", "/dev/x", "/proc/self/oom_score_adj", "/proc/sys/kernel/core_pattern"]
)
def test_what_can_not_be_written(host: remote_shell.Host, path: str) -> None:
    status, _, said = run(host, "sh", "-c", f"cat {path} 2>&-; echo 0 > {path}")
    assert status != 0 and re.search("Read-only file system|Permission denied", said), said


def test_its_own_places_are_its_own_and_bounded(account: str) -> None:
    with sandboxed(account, above="") as running, connect(running) as host:
        script = "echo x > ~/x && echo x > /tmp/x && echo x > /dev/shm/x && cat ~/x /tmp/x /dev/shm/x"
        assert run(host, "sh", "-c", script)[1] == "x\nx\nx\n"
        assert run(host, "sh", "-c", "ls ~ /tmp /dev/shm | grep -x x")[1] == "", "gone with the command"
        sizes = run(host, "sh", "-c", "df --output=size -B1 /tmp ~ /dev/shm | tail -n +2")[1].split()
        assert sizes == [str(256 << 20)] * 3


def test_the_size_of_its_own_places(account: str) -> None:
    """Full at the figure, by a page's measure."""
    with contextlib.ExitStack() as stack:
        config = "[sandbox]\n[limits]\nsandbox_tmp_max = 65536\n"
        running = stack.enter_context(
            server_of_nobody(config) if account == "nobody" else server(("tls:127.0.0.1:0",), config=config)
        )
        host = stack.enter_context(connect(running))
        assert run(host, "sh", "-c", "head -c 65536 /dev/zero > /tmp/x")[0] == 0
        status, _, said = run(host, "sh", "-c", "head -c 65537 /dev/zero > /tmp/x")
        assert status == 1 and "No space left on device" in said


def test_what_is_listed(account: str) -> None:
    folder = Path(f"/tmp/remote-shell-sandbox-{os.getpid()}-{account}")
    (folder / "open").mkdir(parents=True)
    (folder / "shown").mkdir()
    (folder / "hidden").mkdir()
    try:
        (folder / "open").chmod(0o777)
        (folder / "shown").chmod(0o777)
        (folder / "shown" / "text").write_text("shown\n")
        lines = f'read_only = ["/usr", "{folder}/shown"]\nwritable = ["{folder}/open"]'
        with sandboxed(account, lines) as running, connect(running) as host:
            assert run(host, "ls", str(folder))[1].split() == ["open", "shown"]
            assert run(host, "sh", "-c", "echo x > new; pwd", cwd=f"{folder}/open") == (0, f"{folder}/open\n", "")
            assert (folder / "open" / "new").read_text() == "x\n"
            assert run(host, "cat", f"{folder}/shown/text")[1] == "shown\n"
            assert "Read-only file system" in run(host, "sh", "-c", f"echo x > {folder}/shown/new")[2]
            assert run(host, "ls", "/etc")[0] == 2, "only what is listed"
            status, _, said = run(host, "true", cwd=f"{folder}/hidden")
            assert status == 125 and "cannot change directory" in said
    finally:
        shutil.rmtree(folder)


def test_nobody_elses_processes(host: remote_shell.Host, running: RunningServer) -> None:
    # no `kill -9 -1`: without a sandbox it would end every process of this account
    script = f"kill -0 {running.process.pid} || echo none; ls -d /proc/[0-9]* | wc -l"
    done = host.run(["bash", "-c", script], cwd="/", capture_output=True, text=True)
    assert done.stdout.split()[0] == "none" and int(done.stdout.split()[1]) < 8
    assert running.process.poll() is None


def test_no_rights_and_no_way_to_new_ones(host: remote_shell.Host) -> None:
    said = run(host, "sh", "-c", "grep -E 'Cap|NoNew' /proc/self/status; unshare -U true")
    assert set(re.findall(r"Cap\w+:\s+(\w+)", said[1])) == {"0" * 16}
    assert re.search(r"NoNewPrivs:\s+1", said[1]) and "unshare failed" in said[2]


@pytest.mark.parametrize("network", [False, True])
def test_the_network(account: str, network: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with sandboxed(account, f"network = {str(network).lower()}") as running, connect(running) as host:
            status = run(host, "bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}")[0]
            assert (status == 0) is network


def test_no_variable_of_a_client_runs_code_outside(
    host: remote_shell.Host, running: RunningServer, account: str
) -> None:
    """What LD_PRELOAD names is loaded by what runs within: twice, by env(1) as little as by bwrap(1)."""
    status, _, said = run(host, "true", env={"PATH": "/bin", "LD_PRELOAD": "/nowhere.so"})
    assert status == 0 and said.count("/nowhere.so") == 1, said


def test_ways_around_it_are_refused(host: remote_shell.Host, running: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(remote_shell.RemoteShellError, match="put and get reach beyond the sandbox"):
        host.put(tmp_path / "file", "/tmp/x")
    with pytest.raises(remote_shell.RemoteShellError, match="put and get reach beyond the sandbox"):
        host.get("/etc/passwd", tmp_path / "got")
    with RawClient(running.targets["tls"], by_key(running.identity)) as client:
        requests: list[dict[str, Any]] = [
            {"request": "connect", "host": "127.0.0.1", "port": 1},
            {"request": "listen", "host": "", "port": 0},
        ]
        for request in requests:
            command = client.run(**request)
            assert command.rejected is not None and command.rejected.code == "forwarding_denied"
            assert "tunnels would be a way out of it" in (command.rejected.detail or "")


# --- it works as without


def test_the_end_is_told(host: remote_shell.Host) -> None:
    assert run(host, "sh", "-c", "exit 42")[0] == 42
    assert run(host, "sh", "-c", "kill -TERM $$")[0] == 128 + signal.SIGTERM, "as a shell tells it: bwrap knows no more"
    with pytest.raises(CommandNotFoundError):
        run(host, "nosuchprogram")


def test_bytes_in_and_out(host: remote_shell.Host) -> None:
    data = bytes(range(256)) * 4096
    assert host.run(["cat"], cwd="/", input=data, capture_output=True).stdout == data


def test_environment_directory_and_name(running: RunningServer, account: str) -> None:
    look = ["bash", "-c", 'printf "%s\\n" "$0"; pwd; ls /proc/self/fd | wc -l; env -0']
    options: list[dict[str, Any]] = [
        {},
        {"cwd": "/usr"},
        {"env": {"PATH": "/usr/bin", "A": "b=c", "PWD": "/gone", "TMPDIR": "/y"}},
    ]
    seen = []
    with server_of_nobody("") if account == "nobody" else server(("tls:127.0.0.1:0",)) as plain:
        for one in (plain, running):
            with connect(one) as host:
                texts = [run(host, *argv, **more)[1] for more in options for argv in (look, ["env", "-0"])]
                seen.append([re.sub("REMOTE_SHELL_COMMAND_ID=[^\0]*", "", text) for text in texts])
    assert seen[0] == seen[1]


def test_signals_reach_the_command_and_it_answers(host: remote_shell.Host) -> None:
    script = "trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    with host.popen(["bash", "-c", script], cwd="/", stdout=remote_shell.PIPE, text=True) as command:
        assert command.stdout is not None and command.stdout.readline() == "ready\n"
        command.terminate()
        assert command.stdout.read() == "told\n" and command.wait() == 3
    with host.popen(["sleep", "100"], cwd="/") as command:
        command.kill()
        assert command.wait() == -signal.SIGKILL


def test_a_timeout_ends_the_whole_tree(host: remote_shell.Host) -> None:
    mark = nap()
    began = time.monotonic()
    with pytest.raises(remote_shell.TimeoutExpired):
        run(host, "bash", "-c", f"trap '' TERM; sleep {mark} & setsid sleep {mark} & wait", timeout=0.3)
    assert time.monotonic() - began < 10
    until(lambda: not living(mark), "all to be dead")


def test_a_goodbye_ends_the_whole_tree(running: RunningServer) -> None:
    mark = nap()
    with connect(running) as host:
        command = host.popen(
            ["bash", "-c", f"echo ready; sleep {mark} & wait"], cwd="/", stdout=remote_shell.PIPE, text=True
        )
        assert command.stdout is not None and command.stdout.readline() == "ready\n"
        until(lambda: living(mark), "it to run")
    until(lambda: not living(mark), "all to be dead")


def test_a_terminal(host: remote_shell.Host) -> None:
    script = "tty; stty size; test -t 0 && test -t 2 && echo terminal; echo said > /dev/tty"
    done = host.run(
        ["sh", "-c", script], cwd="/", pty=remote_shell.Pty(rows=30, columns=99), stdout=remote_shell.PIPE, text=True
    )
    assert done.stdout.split("\n")[:-1] == ["/dev/console", "30 99", "terminal", "said"]


def test_keys_at_a_terminal_interrupt_the_job(host: remote_shell.Host) -> None:
    mark = nap()
    argv = ["bash", "--norc", "-i"]
    with host.popen(argv, cwd="/", pty=True, stdin=remote_shell.PIPE, stdout=remote_shell.PIPE) as command:
        assert command.stdin is not None and command.stdout is not None
        command.stdin.write(f"PS1=; sleep {mark}\n".encode())
        command.stdin.flush()
        until(lambda: living(mark), "it to run")
        command.stdin.write(b"\x03")
        command.stdin.flush()
        until(lambda: not living(mark), "it to be interrupted")
        command.stdin.write(b"echo st''atus $?\nexit 7\n")
        command.stdin.flush()
        seen = command.stdout.read()
        assert b"status 130" in seen and b"job control" not in seen, seen
        assert command.wait() == 7


@pytest.mark.parametrize("pty", [False, True])
def test_a_live_shell(host: remote_shell.Host, pty: bool) -> None:
    with host.shell(cwd="/", pty=pty) as shell:
        shell.run("cd /usr; x=5; f() { echo f$x; }")
        assert shell.run("f; pwd").stdout.replace("\r", "") == "f5\n/usr\n"
        assert shell.run("(exit 42)").returncode == 42
        assert shell.run("nosuch; echo $?").stdout.endswith("127\n")
        with pytest.raises(remote_shell.TimeoutExpired):
            shell.run("sleep 100", timeout=0.2)
        assert shell.run("echo $x").stdout.replace("\r", "") == "5\n", "the same shell"
        mark = nap()
        with pytest.raises(remote_shell.TimeoutExpired):
            shell.run(f"bash -c \"trap '' INT; sleep {mark}\"", timeout=0.2)
        until(lambda: not living(mark), "it to be killed")
        assert shell.run("echo $x").stdout.replace("\r", "") == "5\n", "still the same"


def test_the_input_of_a_live_shells_command(host: remote_shell.Host) -> None:
    with host.shell(cwd="/") as shell:
        data = "line\n" * 50_000
        assert shell.run("cat", input=data).stdout == data
        assert shell.run("cat", input="").stdout == ""
        assert shell.run("true", input=data).returncode == 0, "nobody reads it"
        assert shell.run("cat; echo end", input="x\n").stdout == "x\nend\n"
        assert shell.run("cat").stdout == "", "none"


def test_a_live_shells_folder_goes_with_it(host: remote_shell.Host) -> None:
    with host.shell(cwd="/") as shell:
        folder = shell.run("echo /tmp/remote-shell-*").stdout.strip()
        assert os.path.isdir(folder)
        shell.run("cat", input="x")
        assert os.listdir(folder) == []
    until(lambda: not os.path.exists(folder), "it to be gone")


def test_a_live_shell_that_is_replaced_and_one_that_ends(host: remote_shell.Host) -> None:
    with host.shell(cwd="/") as shell:
        assert shell.run("exit 3").shell == "ended"
    with host.shell(cwd="/") as shell:
        assert shell.run("exec sh -c 'echo other; exit 4'").stdout == "other\n"


def test_a_job_outlives_the_server(account: str) -> None:
    if account == "nobody" and not all(path.stat().st_mode & 0o1 for path in Path(sys.executable).resolve().parents):
        pytest.skip("the interpreter lies where that account can't start it anew, as a job's keeper")
    with sandboxed(account) as running:
        with connect(running) as host:
            job = host.detach(
                ["sh", "-c", "test -e /root/.bashrc && echo seen; cat /proc/1/comm; sleep 0.3; exit 5"], cwd="/"
            )
            assert job.wait() == 5
            assert b"".join(piece.data for piece in job.logs()) == b"bwrap\n"
            mark = nap()
            other = host.detach(["sh", "-c", f"trap 'exit 6' TERM; sleep {mark} & wait"], cwd="/")
            until(lambda: living(mark), "it to run")
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
        assert living(mark)
        assert other.id  # ended with the folder of its server
    until(lambda: not living(mark), "it to be ended")


def test_limits_and_sandbox_together(account: str) -> None:
    with sandboxed(account, above="[rlimits]\nnofile = 100\n") as running, connect(running) as host:
        assert run(host, "bash", "-c", "ulimit -Sn; ulimit -Hn; test -e /var || echo hidden")[1] == "100\n100\nhidden\n"


# --- the start of the server


def test_without_bubblewrap(tmp_path: Path) -> None:
    for name in ("env", "prlimit"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    with pytest.raises(ConfigError, match="needs bwrap, which is not installed; type: apt install bubblewrap"):
        Confinement.of({}, Sandbox(("/usr",), (), False, "/root", 1), str(tmp_path))


def refused(*wrapper: str, lines: str = "") -> str:
    with pytest.raises(RuntimeError) as raised, server(("unix:",), config=f"[sandbox]\n{lines}", command=wrapper):
        pass
    return str(raised.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes namespaces away")
def test_where_no_namespaces_may_be_made() -> None:
    text = refused("unshare", "-Ur", "sh", "-c", 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"', "sh")
    assert "[sandbox]: this system lets this account make no namespaces" in text and "max_user_namespaces" in text


def test_where_no_program_could_run() -> None:
    assert "[sandbox]: no command starts in it" in refused(lines='read_only = ["/etc"]')
