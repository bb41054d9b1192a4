"""The units of docs/systemd: systemd takes them, their command line is a server that tells systemd, and its jobs outlive its end."""

from __future__ import annotations

import configparser
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from remote_shell.server.service_manager import Manager
from remote_shell.testing import end_jobs
from tests.cli.program import ARGV, WITHIN, call, environment
from tests.client.test_blocking import wait_until

pytestmark = pytest.mark.screen  # as a file it takes long

FOLDER = Path(__file__).parents[2] / "docs" / "systemd"
UNITS = ("remote-shell.service", "remote-shell@.service")
# All that a unit may say of its service. What is not here would hold for every command of the server's users too.
MAY_SAY = {
    *("Type", "ExecStart", "ExecReload", "KillMode", "TimeoutStopSec", "Restart", "RestartSec", "LimitNOFILE"),
    "User",
}


def service(unit: str) -> dict[str, str]:
    """Its [Service] section."""
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names have capitals
    parser.read_string((FOLDER / unit).read_text(encoding="utf-8"))
    return dict(parser["Service"])


def command(unit: str) -> list[str]:
    """ExecStart with the program that is here in the place of the installed one."""
    program, *words = service(unit)["ExecStart"].split()
    assert os.path.basename(program) == "remote-shell"
    return [*ARGV, *words]


def said(listener: socket.socket) -> str:
    listener.settimeout(WITHIN)
    return listener.recv(4096).decode()


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_limits_nothing_of_what_users_run_and_leaves_jobs_alone(unit: str) -> None:
    told = service(unit)
    assert set(told) <= MAY_SAY
    assert told["KillMode"] == "process" and told["Type"] == "notify" and told["Restart"] == "on-failure"


@pytest.mark.slow  # it needs a program of Debian
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_takes_the_unit(unit: str, tmp_path: Path) -> None:
    text = (FOLDER / unit).read_text(encoding="utf-8")
    program = service(unit)["ExecStart"].split()[0]
    copy = tmp_path / unit.replace("@", "@root")
    copy.write_text(text.replace(program, "/bin/true"))
    mode = "--user" if "%h" in program else "--system"
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    done = subprocess.run(
        ["systemd-analyze", mode, "verify", str(copy)],
        capture_output=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
        timeout=WITHIN,
    )
    told = [line for line in done.stderr.decode().splitlines() if copy.name in line or "Unknown" in line]
    assert told == []
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("unit", UNITS)
def test_its_command_line_starts_a_server_whose_jobs_outlive_it(unit: str, tmp_path: Path) -> None:
    """As KillMode=process ends it: TERM to the main process, and to nothing else."""
    tmp_path.chmod(0o700)
    settings = tmp_path / "listen.toml"
    settings.write_text('listen = ["tls:127.0.0.1:0"]\nstartup_files = false\n')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        process = subprocess.Popen(
            [*command(unit), "--config", str(settings), "--listen", f"unix:{tmp_path}/s"],
            env=environment(tmp_path, {"NOTIFY_SOCKET": str(tmp_path / "notify")}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            assert said(listener) == "READY=1"
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["pid"] == process.pid
            target = f"unix:{tmp_path}/s"
            assert call("run", "-c", "echo ${NOTIFY_SOCKET-none}", target, home=tmp_path).stdout == b"none\n"
            written = tmp_path / "pid"
            line = f"echo $$ > {written}.new; mv {written}.new {written}; exec sleep 1000"
            job = call("run", "--detach", "-c", line, target, home=tmp_path)
            assert job.returncode == 0, job.stderr
            wait_until(written.exists)
            pid = int(written.read_text())
            process.send_signal(signal.SIGTERM)
            assert said(listener) == "STOPPING=1"
            assert process.wait(WITHIN) == 0
            assert _state(pid) not in ("Z", ""), "the job lives"
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
            end_jobs(str(tmp_path))
        wait_until(lambda: _state(pid) in ("Z", ""))


def _state(pid: int) -> str:
    """As in proc(5): "S", "Z", …; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_without_a_manager_and_with_one_that_is_gone_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("", "relative", str(tmp_path / "gone")):
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        Manager().tell("READY=1")
        assert "NOTIFY_SOCKET" not in os.environ


def test_an_abstract_socket_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("")  # unix(7): the kernel chooses an abstract name
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + listener.getsockname()[1:].decode())
        Manager().tell("READY=1")
        assert said(listener) == "READY=1"
