"""`doctor`: each check is red when its fault is there, says the line that mends it, and changes nothing."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_shell.cli.doctor import client_side, machine, other_side, server_side
from remote_shell.cli.doctor.finding import Case, Finding, Told, fault, of_error, ok
from remote_shell.cli.doctor.showing import Showing, summary
from remote_shell.cli.screen import Screen
from remote_shell.config.targets import Target
from remote_shell.errors import ConfigError
from remote_shell.identity.known_hosts import KnownHosts
from remote_shell.identity.private_keys import make_key_file
from remote_shell.testing import RunningServer, server
from tests.cli.program import ARGV, WITHIN, call, environment
from tests.client.test_blocking import wait_until
from tests.config.account import as_nobody, give, nobodys_folder

pytestmark = pytest.mark.screen  # as a file it takes long

Found = list[dict[str, Any]]


def doctor(home: object, *words: str, env: dict[str, str] | None = None) -> tuple[int, Found]:
    """Exit status and findings."""
    done = call("doctor", "--json", *words, home=home, env=env)
    assert done.stdout, done.stderr.decode()
    told = json.loads(done.stdout)
    findings: Found = told["findings"]
    assert told["ok"] == (done.returncode == 0) == all(one["level"] != "fault" for one in findings)
    for one in findings:
        assert bool(one["fix"]) == (one["level"] != "ok"), one
        assert "\n" not in one["fix"] + one["text"], one
    return done.returncode, findings


def of(findings: Found, check: str, level: str) -> dict[str, Any]:
    """The one finding of that check and level."""
    (found,) = [one for one in findings if (one["check"], one["level"]) == (check, level)]
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with server() as started:
        yield started


def everything(folder: Path) -> dict[str, object]:
    """What is below `folder`, with modes and contents."""
    return {
        str(path): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted([folder, *folder.rglob("*")])
    }


# --- as a whole


def test_a_fresh_account_has_no_fault_and_nothing_is_made(home: Path) -> None:
    before = everything(home)
    status, findings = doctor(home)
    assert status == 0, [one for one in findings if one["level"] == "fault"]
    assert everything(home) == before
    checks = {name for table in (client_side, server_side, machine) for name, _ in table.CHECKS}
    assert {one["check"] for one in findings} == checks, "every check says something"


def test_one_fault_makes_the_exit_status_1_and_shows_mark_and_line(home: Path) -> None:
    (home / "hosts.toml").write_text("[hosts")
    done = call("doctor", home=home, env={"PYTHONUTF8": "1"})
    text = done.stdout.decode()
    assert done.returncode == 1 and "✗ hosts.toml" in text and f"type: ${{EDITOR:-vi}} {home}/hosts.toml" in text
    assert "1 fault" in text.splitlines()[-1] and "\x1b" not in text


def test_secrets_are_not_shown(home: Path) -> None:
    key = home / "id_ed25519"
    make_key_file(str(key), "me")
    secret = key.read_text().splitlines()[2]
    (home / "known_hosts").write_text("no line of it\n")
    done = call("doctor", home=home)
    assert secret.encode() not in done.stdout + done.stderr


# --- as a client


def test_a_folder_that_others_may_write_is_a_fault(home: Path) -> None:
    home.chmod(0o777)
    _, findings = doctor(home)
    assert of(findings, "folders", "fault")["fix"] == f"chmod go-w {home}"


def test_a_folder_that_we_may_not_write_is_a_fault_for_who_is_not_root() -> None:
    with nobodys_folder() as folder:
        give(folder, 0o500)

        def look() -> list[str]:
            os.environ["REMOTE_SHELL_HOME"] = folder
            return [one.fix for one in client_side.folders(Case()) if one.level == "fault"]

        assert as_nobody(look) == repr([f"chmod u+rwx {folder}"])


def test_a_folder_of_somebody_else_is_a_fault() -> None:
    with nobodys_folder() as folder:
        os.chown(folder, 12345, 12345)
        os.chmod(folder, 0o755)

        def look() -> list[str]:
            os.environ["REMOTE_SHELL_HOME"] = folder
            return [one.text for one in client_side.folders(Case()) if one.level == "fault"]

        assert "belongs to user id 12345" in as_nobody(look)


def test_hosts_that_name_a_key_that_is_not_there(home: Path) -> None:
    (home / "hosts.toml").write_text('[hosts.box]\ntarget = "10.0.0.1"\nidentity = "nothing"\n')
    status, findings = doctor(home)
    assert status == 0 and "[hosts.box]" in of(findings, "hosts.toml", "warning")["text"]


def test_a_known_hosts_line_that_can_not_be_read(home: Path) -> None:
    (home / "known_hosts").write_text("# mine\nbox:8822 SHA256:short\n")
    _, findings = doctor(home)
    assert of(findings, "known hosts", "fault")["fix"] == f"sed -i 2d {home}/known_hosts"


def test_a_key_that_others_can_read(home: Path) -> None:
    make_key_file(str(home / "id_ed25519"), "me")
    (home / "id_ed25519").chmod(0o644)
    _, findings = doctor(home)
    assert of(findings, "keys", "fault")["fix"] == f"chmod 600 {home}/id_ed25519"


def test_a_key_of_another_type(home: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", home / "key"], check=True)
    _, findings = doctor(home, "--identity", str(home / "key"))
    told = of(findings, "keys", "fault")
    assert "ecdsa" in told["text"] and told["fix"].startswith("ssh-keygen -t ed25519")


def test_a_key_that_is_not_there(home: Path) -> None:
    _, findings = doctor(home, "--identity", str(home / "key"))
    assert of(findings, "keys", "fault")["fix"] == f"ssh-keygen -t ed25519 -f {home}/key"


def test_a_key_with_a_passphrase(home: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", home / "key"], check=True)
    _, findings = doctor(home, "--identity", str(home / "key"))
    assert of(findings, "keys", "warning")["fix"] == f"ssh-add {home}/key"


def test_no_key_at_all_is_worth_a_word(home: Path) -> None:
    _, findings = doctor(home)
    assert of(findings, "keys", "warning")["fix"] == "remote-shell keys show"
    assert not (home / "id_ed25519").exists()


def test_an_agent_that_is_gone(home: Path) -> None:
    _, findings = doctor(home, env={"SSH_AUTH_SOCK": str(home / "agent")})
    assert of(findings, "ssh-agent", "warning")["fix"] == 'eval "$(ssh-agent -s)"'


# --- as a server


def test_settings_that_can_not_be_used(home: Path) -> None:
    (home / "server.toml").write_text('listen = "tls"\nports = 3\n')
    _, findings = doctor(home, "--config", str(home / "server.toml"))
    told = [one["text"] for one in findings if one["check"] == "settings" and one["level"] == "fault"]
    assert len(told) == 2 and "listen" in told[0] and "ports" in told[1]


def test_a_secrets_file_that_others_can_read_or_that_is_not_there(home: Path) -> None:
    (home / "server.toml").write_text(f'secret_file = "{home}/secrets"\n')
    _, findings = doctor(home, "--config", str(home / "server.toml"))
    assert "no secrets file" in of(findings, "settings", "fault")["text"]
    (home / "secrets").write_text("x")
    (home / "secrets").chmod(0o644)
    _, findings = doctor(home, "--config", str(home / "server.toml"))
    assert of(findings, "settings", "fault")["fix"] == f"chmod 600 {home}/secrets"


def test_refused_lines_of_authorized_keys_are_named_with_their_reason(home: Path) -> None:
    (home / ".ssh").mkdir(mode=0o700)
    listed = home / ".ssh" / "authorized_keys"
    listed.write_text("# mine\nssh-rsa AAAAB3NzaC1yc2E me\n")
    listed.chmod(0o600)
    _, findings = doctor(home)
    told = of(findings, "authorized_keys", "fault")
    assert "line 2: refused: a key of type ssh-rsa" in told["text"] and told["fix"] == f"${{EDITOR:-vi}} +2 {listed}"


@pytest.mark.parametrize("where", ["file", "folder"])
def test_authorized_keys_that_others_could_write(home: Path, where: str) -> None:
    (home / ".ssh").mkdir(mode=0o700)
    listed = home / ".ssh" / "authorized_keys"
    listed.write_text("")
    listed.chmod(0o600)
    wrong = listed if where == "file" else listed.parent
    wrong.chmod(0o777)
    _, findings = doctor(home)
    assert of(findings, "authorized_keys", "fault")["fix"] == f"chmod go-w {wrong}"


def test_a_server_key_that_others_can_read_or_that_has_a_passphrase(home: Path) -> None:
    (home / "state").mkdir(mode=0o700)
    key = home / "state" / "server_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", key], check=True)
    _, findings = doctor(home)
    assert of(findings, "server key", "fault")["fix"] == f"ssh-keygen -p -f {key}"
    key.chmod(0o640)
    _, findings = doctor(home)
    assert of(findings, "server key", "fault")["fix"] == f"chmod 600 {key}"


def test_a_socket_file_that_nobody_listens_on(home: Path) -> None:
    (home / "run").mkdir(mode=0o700)
    path = home / "run" / "server.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    _, findings = doctor(home)
    assert of(findings, "socket", "warning")["fix"] == f"rm {path}" and path.exists()
    path.unlink()
    path.write_text("")
    _, findings = doctor(home)
    assert "is no socket" in of(findings, "socket", "fault")["text"]


def test_a_server_that_runs_is_told_from_a_stranger_on_its_port(running: RunningServer, home: Path) -> None:
    port = running.targets["tls"].rpartition(":")[2]
    settings = home / "server.toml"
    settings.write_text(f'listen = ["unix:{running.home}/s", "tls:127.0.0.1:{port}"]\n')
    _, findings = doctor(running.home, "--config", str(settings))
    assert "this account's key" in of(findings, "port", "ok")["text"]
    assert f"process {running.process.pid}" in of(findings, "socket", "ok")["text"]
    _, findings = doctor(home, "--config", str(settings))
    assert "another server" in of(findings, "port", "warning")["text"]


def test_a_port_that_another_program_has(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        (home / "server.toml").write_text(f'listen = ["tls:127.0.0.1:{port}"]\n')
        _, findings = doctor(home, "--config", str(home / "server.toml"))
    assert "another program" in of(findings, "port", "warning")["text"]


@pytest.mark.parametrize(("most", "level"), [(48, "fault"), (512, "warning")])
def test_few_descriptors(home: Path, most: int, level: str) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    done = subprocess.run(
        [*ARGV, "doctor", "--json"],
        env=environment(home),
        capture_output=True,
        timeout=WITHIN,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard)),
    )
    assert of(json.loads(done.stdout)["findings"], "descriptors", level)["fix"].startswith("ulimit -n")


@pytest.mark.slow  # it mounts, as root
def test_a_full_disk(home: Path) -> None:
    (home / "state").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=0700", "none", home / "state"], check=True)
    try:
        _, findings = doctor(home)
    finally:
        subprocess.run(["umount", "-l", home / "state"], check=True)
    assert of(findings, "disk", "fault")["fix"].startswith("du ")


def test_a_bash_that_is_missing_or_too_old(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(home))
    monkeypatch.setattr(server_side, "BASH_PATH", os.fsencode(home / "bash"))
    (found,) = server_side.bash(Case())
    assert found.level == "fault" and "there is no" in found.text
    (home / "bash").write_text("#!/bin/sh\necho 3.2.57\n")
    (home / "bash").chmod(0o755)
    (found,) = server_side.bash(Case())
    assert found.level == "fault" and "live shells need 4" in found.text


def test_the_shell_of_the_settings_is_the_one_that_is_looked_at(home: Path) -> None:
    (home / "server.toml").write_text('shell = "/opt/gone/zsh"\n')
    _, findings = doctor(home, "--config", str(home / "server.toml"))
    assert "there is no /opt/gone/zsh, the shell of the settings" in of(findings, "login shell", "fault")["text"]
    (home / "zsh").write_text("#!/bin/sh\n")
    (home / "zsh").chmod(0o755)
    (home / "server.toml").write_text(f'shell = "{home}/zsh"\n')
    _, findings = doctor(home, "--config", str(home / "server.toml"))
    assert f"{home}/zsh is ready" in of(findings, "login shell", "ok")["text"]


def test_startup_files_that_take_long(home: Path) -> None:
    (home / ".bash_profile").write_text(f"echo $$ > {home}/pid; exec sleep 20\n")
    _, findings = doctor(home)
    try:
        assert "startup files take more" in of(findings, "login shell", "warning")["text"]
    finally:
        wait_until(lambda: (home / "pid").exists() and (home / "pid").read_text().endswith("\n"))
        os.kill(int((home / "pid").read_text()), 15)


# --- the machine


def test_what_is_needed_is_what_the_package_says() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    told = tomllib.loads(text)["project"]["dependencies"]
    named = {f"{name}>={'.'.join(map(str, least))}" for name, least in machine.NEEDED.items()}
    assert {one.replace("[ssh]", "").partition(",")[0] for one in told} == named


def test_a_package_that_is_too_old(home: Path) -> None:
    folder = home / "rich-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: rich\nVersion: 1.0\n")
    _, findings = doctor(home, env={"PYTHONPATH": f"{home}{os.pathsep}{Path(__file__).parents[2]}"})
    told = of(findings, "versions", "fault")
    assert "rich is 1.0" in told["text"] and told["fix"].endswith("install 'rich>=13'")


def test_a_terminal_a_locale_that_are_not_known(home: Path) -> None:
    _, findings = doctor(home, env={"TERM": "no-such", "LC_ALL": "xx_YY.UTF-8"})
    assert of(findings, "terminal", "warning")["fix"] == "export TERM=xterm-256color"
    assert of(findings, "locale", "warning")["fix"] == "export LC_ALL=C.UTF-8"


def test_a_clock_that_is_behind_its_own_files(home: Path) -> None:
    (home / "hosts.toml").write_text("")
    os.utime(home / "hosts.toml", (5e9, 5e9))
    _, findings = doctor(home)
    assert "clock is slow" in of(findings, "clock", "warning")["text"]


def test_a_clock_that_nobody_keeps(home: Path) -> None:
    (home / "timedatectl").write_text("#!/bin/sh\necho no\n")
    (home / "timedatectl").chmod(0o755)
    _, findings = doctor(home, env={"PATH": f"{home}:{os.environ['PATH']}"})
    assert "not synchronised" in of(findings, "clock", "warning")["text"]


# --- a server elsewhere


def options(running: RunningServer) -> list[str]:
    assert running.fingerprint is not None
    return ["--identity", running.identity, "--fingerprint", running.fingerprint]


def test_a_server_that_is_well(running: RunningServer, home: Path) -> None:
    before = everything(home)
    status, findings = doctor(home, *options(running), running.targets["tls"])
    assert status == 0
    checks = [one["check"] for one in findings if one["group"].startswith("server ")]
    assert checks == [name for name, _ in (*other_side.BEFORE, *other_side.AFTER)]
    assert "key:SHA256:" in of(findings, "login", "ok")["text"]
    assert everything(home) == before, "nothing is pinned and no key is made"
    status, findings = doctor(home, running.targets["unix"])
    assert status == 0 and of(findings, "login", "ok")["text"].startswith(f"as uid:{os.getuid()}")


def test_an_unknown_server_stays_unknown(running: RunningServer, home: Path) -> None:
    status, findings = doctor(home, "--identity", running.identity, running.targets["tls"])
    assert status == 1
    assert of(findings, "server's key", "fault")["fix"] == f"remote-shell run {running.targets['tls']} -- true"
    assert not (home / "known_hosts").exists() and findings[-1]["check"] == "server's key", "nothing is sent"


def test_a_server_whose_key_changed(running: RunningServer, home: Path) -> None:
    known = KnownHosts(str(home / "known_hosts"))
    address = running.targets["tls"].removeprefix("tls:")
    known.add(address, "SHA256:" + "A" * 43)
    before = everything(home)
    _, findings = doctor(home, "--identity", running.identity, running.targets["tls"])
    told = of(findings, "server's key", "fault")
    assert "CHANGED" in told["text"] and told["fix"].startswith("sed -i") and everything(home) == before


def test_a_key_that_the_server_does_not_know(running: RunningServer, home: Path) -> None:
    make_key_file(str(home / "id_ed25519"), "me")
    assert running.fingerprint is not None
    _, findings = doctor(home, "--fingerprint", running.fingerprint, running.targets["tls"])
    assert of(findings, "login", "fault")["fix"] == "remote-shell keys show"


def test_without_a_key_the_login_is_not_tried_and_none_is_made(running: RunningServer, home: Path) -> None:
    assert running.fingerprint is not None
    _, findings = doctor(home, "--fingerprint", running.fingerprint, running.targets["tls"])
    assert "no key" in of(findings, "login", "fault")["text"] and not (home / "id_ed25519").exists()


def test_ones_own_key_logs_in_and_our_folder_is_not_made(running: RunningServer, home: Path) -> None:
    (home / ".ssh").mkdir(mode=0o700)
    key = home / ".ssh" / "id_ed25519"
    key.write_bytes(Path(running.identity).read_bytes())
    key.chmod(0o600)
    before = everything(home)
    assert running.fingerprint is not None
    words = ("--fingerprint", running.fingerprint, running.targets["tls"])
    status, _ = doctor(home, *words, env={"REMOTE_SHELL_HOME": str(home / "none")})
    assert status == 0 and everything(home) == before


def test_a_name_without_an_address_and_a_port_without_a_server(home: Path) -> None:
    _, findings = doctor(home, "nothing.invalid")
    assert of(findings, "name", "fault")["fix"] == "getent ahosts nothing.invalid"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    _, findings = doctor(home, f"127.0.0.1:{port}")
    assert of(findings, "addresses", "fault")["fix"] == f"remote-shell serve --listen tls:0.0.0.0:{port}"


class Off:
    """A server of which only what a check reads is there, and that is wrong."""

    def __init__(self, **facts: Any) -> None:
        self.__dict__.update(facts)


def test_what_a_server_may_have_that_is_not_well(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(home))
    case = Case(target="box")
    case.shared["host"] = Off(
        server=Off(software="remote_shell 0.0.1", version=1, features=["files"]),
        welcome=Off(account="root", host="box"),
        target=Target("tls", host="box", port=8822),
    )
    (found,) = other_side.version(case)
    assert found.level == "warning" and "it has no subsystem, forward" in found.text
    (found,) = other_side.account(case)
    assert found.level == "warning" and "root" in found.text


def test_a_clock_that_differs_over_there(running: RunningServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(home))
    case = Case(target=running.targets["unix"])
    list(other_side.named(case))
    list(other_side.login(case))
    real = time.time
    with case.shared["host"]:
        monkeypatch.setattr("remote_shell.cli.doctor.other_side.time.time", lambda: real() - 3600)
        (found,) = other_side.clocks(case)
    assert found.level == "warning" and "3600 s ahead" in found.text


@pytest.mark.slow  # it mounts, as root
def test_a_live_shell_that_does_not_start(home: Path) -> None:
    without_bash = ["unshare", "-m", "sh", "-c", 'mount --bind /bin/false "$(realpath /bin/bash)" && exec "$@"', "sh"]
    with server(["unix:"], command=without_bash) as running:
        status, findings = doctor(home, str(running))
    assert status == 1 and of(findings, "live shell", "fault")["fix"]


# --- how it is shown


def test_a_narrow_terminal_breaks_texts_and_never_the_line_to_type() -> None:
    told = Told(
        "as a client",
        "known hosts",
        fault("a text that is longer than a narrow terminal is wide", "sed -i " + "x" * 60),
    )
    for width in (40, 80):
        lines = list(Showing(Screen({"TERM": "xterm"}, terminal=True), width).lines(told))
        assert any(line.count("x" * 60) for line in lines)
        assert all(len(line) <= width + 9 for line in lines if "sed" not in line), lines


def test_without_colours_and_without_unicode() -> None:
    told = Told("as a client", "keys\x1b[31m", Finding("fault", "x\x1b]0;y\x07", "rm \x1b"))
    plain = Screen({"NO_COLOR": "1", "TERM": "xterm"}, encoding="ascii")
    lines = list(Showing(plain, 80).lines(told))
    assert lines[1].startswith("X keys") and all(line.isprintable() and line.isascii() for line in lines)


def test_the_summary_counts() -> None:
    told = [Told("g", "c", one) for one in (fault("a", "b"), fault("a", "b"), ok("c"))]
    assert summary(told) == "2 faults" and summary(told[2:]) == "nothing is wrong"


def test_the_line_at_the_end_of_an_error_is_the_fix() -> None:
    assert of_error(ConfigError("x is open; type: chmod 600 x")) == fault("x is open", "chmod 600 x")
    assert of_error(ConfigError("x is a symlink"), "rm x") == fault("x is a symlink", "rm x")


def test_the_key_hash_is_the_one_that_clients_see(running: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMOTE_SHELL_HOME", running.home)
    case = Case()
    list(server_side.server_key(case))
    assert case.shared["fingerprint"] == running.fingerprint
