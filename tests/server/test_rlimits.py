"""`[rlimits]`: every way to start a command comes out limited, from its first instruction on; server and keepers are not."""

from __future__ import annotations

import os
import re
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import remote_shell
from remote_shell.config.confining import NOFILE_LEAST
from remote_shell.errors import CommandNotExecutableError, CommandNotFoundError, ConfigError, WorkingDirectoryError
from remote_shell.process.confinement import Confinement
from remote_shell.testing import RunningServer, server

from .conftest import children_of
from .raw_client import until
from .unprivileged import server_of_nobody

pytestmark = pytest.mark.screen  # as a file it takes long

FILES, PROCESSES, SIZE = 100, 3000, 64 * 1024
CONFIG = f"""
[subsystems]
limits = ["/bin/bash", "-c", "ulimit -Sn; ulimit -Hn; ulimit -Su; ulimit -Hu; ulimit -Sf; ulimit -Hf; ulimit -Hv; ulimit -Ht; ulimit -Hc"]
[rlimits]
nofile = {FILES}
nproc = {PROCESSES}
fsize = {SIZE}
as = "2G"
cpu = 60
core = 0
"""
SHOW = "ulimit -Sn; ulimit -Hn; ulimit -Su; ulimit -Hu; ulimit -Sf; ulimit -Hf; ulimit -Hv; ulimit -Ht; ulimit -Hc"
# bash counts sizes in KiB
SHOWN = [str(n) for n in (FILES, FILES, PROCESSES, PROCESSES, SIZE // 1024, SIZE // 1024, 2 << 20, 60, 0)]


@pytest.fixture(scope="module")
def limited() -> Iterator[RunningServer]:
    with server(config=CONFIG) as running:
        yield running


@pytest.fixture
def host(limited: RunningServer) -> Iterator[remote_shell.Host]:
    with remote_shell.connect(limited) as connected:
        yield connected


def run(host: remote_shell.Host, *argv: str, **options: Any) -> tuple[int, str, str]:
    done = host.run(list(argv), capture_output=True, text=True, **options)
    return done.returncode, done.stdout, done.stderr


# --- each way to start


def test_a_command(host: remote_shell.Host) -> None:
    assert run(host, "bash", "-c", SHOW)[1].split() == SHOWN


def test_a_line_of_the_accounts_shell(host: remote_shell.Host) -> None:
    assert host.run(f"bash -c '{SHOW}'", shell=True, capture_output=True, text=True).stdout.split() == SHOWN


def test_a_command_on_a_terminal(host: remote_shell.Host) -> None:
    done = host.run(["bash", "-c", SHOW], pty=True, stdout=remote_shell.PIPE, text=True)
    assert done.stdout.split() == SHOWN


def test_a_live_shell(host: remote_shell.Host) -> None:
    with host.shell() as shell:
        assert shell.run(SHOW).stdout.split() == SHOWN


@pytest.mark.parametrize("pty", [False, True])
def test_a_live_shell_with_as_few_descriptors_as_may_be(pty: bool) -> None:
    with server(config=f"[rlimits]\nnofile = {NOFILE_LEAST}\n") as running, remote_shell.connect(running) as host:
        with host.shell(pty=pty) as shell:
            assert shell.run("cd /usr; cat /dev/null; pwd").stdout.strip() == "/usr"
            assert shell.run("(exit 3) | true | (exit 4)").returncode == 4


def test_a_live_shell_on_a_terminal(host: remote_shell.Host) -> None:
    with host.shell(pty=True) as shell:
        assert shell.run(SHOW).stdout.split() == SHOWN


def test_a_job_and_not_its_keeper(host: remote_shell.Host, limited: RunningServer) -> None:
    job = host.detach(["bash", "-c", f"{SHOW}; cat /proc/$PPID/limits"])
    assert job.wait() == 0
    said = b"".join(piece.data for piece in job.logs()).decode()
    assert said.split()[: len(SHOWN)] == SHOWN
    ours = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert re.search(rf"Max open files +{ours} ", said), said


def test_a_subsystem(limited: RunningServer) -> None:
    from .conftest import Place

    with Place(limited, "unix").connect() as client:
        assert client.run(subsystem="limits").text().decode().split() == SHOWN


def test_the_server_itself_is_not_limited(limited: RunningServer) -> None:
    limits = Path(f"/proc/{limited.process.pid}/limits").read_text()
    assert f"Max open files            {resource.getrlimit(resource.RLIMIT_NOFILE)[0]} " in limits


# --- what a limit does, at its edge


def test_one_file_too_many(host: remote_shell.Host) -> None:
    assert run(host, "bash", "-c", f"exec {FILES - 1}</dev/null; echo $?")[1] == "0\n"
    status, said, fault = run(host, "bash", "-c", f"exec {FILES}</dev/null; echo $?")
    assert said != "0\n" and "Bad file descriptor" in fault, (status, said, fault)


def test_one_byte_too_many(host: remote_shell.Host, tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    assert run(host, "sh", "-c", f"head -c {SIZE} /dev/zero > {path}")[0] == 0
    assert run(host, "head", "-c", str(SIZE + 1), "/dev/zero")[0] == 0, "a pipe has no end"
    with host.popen(
        ["dd", "if=/dev/zero", f"of={path}", f"bs={SIZE + 1}", "count=2"], stderr=remote_shell.DEVNULL
    ) as command:
        assert command.wait() == -signal.SIGXFSZ
    assert os.path.getsize(path) == SIZE


def test_too_much_memory(host: remote_shell.Host) -> None:
    status, _, said = run(host, "python3", "-c", "x = bytearray(3 << 30)")
    assert status == 1 and "MemoryError" in said


def test_one_process_too_many() -> None:
    """Of an account without rights: root is not held by this one."""
    code = """
import os, signal, time
children = []
try:
    while len(children) < 200:
        children.append(os.fork())
        if not children[-1]:
            time.sleep(100)
except OSError as error:
    print(type(error).__name__, len(children))
for child in children:
    os.kill(child, signal.SIGKILL)
"""
    with (
        server_of_nobody("[rlimits]\nnproc = 40\n") as running,
        remote_shell.connect(running, **running.options()) as host,
    ):
        said = host.run(["python3", "-c", code], cwd="/", capture_output=True, text=True, timeout=15)
        name, count = said.stdout.split()
        assert name == "BlockingIOError" and int(count) < 40


# --- nothing else is different


def test_what_a_command_sees_is_the_same(limited: RunningServer) -> None:
    """Its name, its environment (also an exact one), its directory and its descriptors."""
    look = ["bash", "-c", 'printf "%s\\n" "$0"; pwd; ls -l /proc/self/fd | wc -l; env -0']
    seen = []
    with server() as plain:
        for target in (plain, limited):
            with remote_shell.connect(target) as host:
                seen.append(
                    [
                        re.sub("REMOTE_SHELL_COMMAND_ID=[^\0]*", "", run(host, *look, **options)[1])
                        for options in (
                            {},
                            {"cwd": "/usr"},
                            {"env": {"PATH": "/usr/bin", "A": "b=c", "LD_LIBRARY_PATH": "/x", "TMPDIR": "/y"}},
                        )
                    ]
                )
    assert seen[0] == seen[1]
    assert "LD_LIBRARY_PATH=/x" in seen[1][2]


def test_no_variable_of_a_client_runs_code_before_the_limits(host: remote_shell.Host) -> None:
    """What LD_PRELOAD names is loaded by the program alone, and not by prlimit(1) before it."""
    status, _, said = run(host, "true", env={"PATH": "/bin", "LD_PRELOAD": "/nowhere.so"})
    assert status == 0 and said.count("/nowhere.so") == 1, said


def test_faults_are_told_as_without(host: remote_shell.Host, tmp_path: Path) -> None:
    with pytest.raises(CommandNotFoundError):
        host.run(["nosuchprogram"])
    with pytest.raises(CommandNotExecutableError):
        host.run(["/etc/passwd"])
    with pytest.raises(WorkingDirectoryError):
        host.run(["true"], cwd="/nowhere")
    program = tmp_path / "a=b"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    with pytest.raises(remote_shell.CommandRefusedError, match="a name with = in it can't be started behind limits"):
        host.run([str(program)])


def test_a_signal_is_told_as_a_signal(host: remote_shell.Host) -> None:
    assert run(host, "sh", "-c", "kill -TERM $$")[0] == -signal.SIGTERM


# --- the start of the server


def refused(config: str, *wrapper: str) -> str:
    with pytest.raises(RuntimeError) as raised, server_of_nobody(config, *wrapper):
        pass
    return str(raised.value)


def test_more_than_the_account_may_have() -> None:
    text = refused("[rlimits]\nnofile = 2001\n", "prlimit", "--nofile=2000:2000")
    assert "[rlimits] nofile: this account may have 2000 at most" in text and "LimitNOFILE=" in text
    with server_of_nobody("[rlimits]\nnofile = 2000\n", "prlimit", "--nofile=2000:2000"):
        pass


def test_less_than_any_program_needs() -> None:
    assert "[rlimits]: no command starts under these limits, some is too low" in refused("[rlimits]\nas = 1000\n")


def test_without_its_program(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs prlimit, which is not installed; type: apt install util-linux"):
        Confinement.of({"core": 0}, None, str(tmp_path))


def test_its_trial_leaves_no_child(limited: RunningServer) -> None:
    until(lambda: not children_of(limited.process.pid), "keepers and commands of other tests to be gone")
