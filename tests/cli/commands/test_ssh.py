"""`ssh` as its callers see it: streams, statuses, terminals, who is asked, and each refusal before anything runs."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import os
import pty
import pwd
import shlex
import signal
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from remote_shell import __version__, testing
from tests.cli.person import FULL_SCREEN, Person, is_alive, pid_of, wait_dead
from tests.cli.program import ARGV, WITHIN, call, environment, one_line
from tests.proxy import Proxy

pytestmark = pytest.mark.screen  # as a file it takes long

HOME = pwd.getpwuid(os.geteuid()).pw_dir
screen = pytest.mark.screen  # most of them: the quick suite has two minutes


@contextlib.contextmanager
def started(home: Path, *words: str, **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A running `ssh`; killed at the end if need be."""
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*ARGV, "ssh", *words], env=environment(home), **(options | streams)) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def ssh(home: Path, *words: str | bytes, **more: Any) -> subprocess.CompletedProcess[bytes]:
    return call("ssh", *words, home=home, **more)


def over_tls(running: testing.RunningServer, home: Path, more: str = "") -> None:
    """hosts.toml with the name `box`."""
    (home / "hosts.toml").write_text(
        f'[hosts.box]\ntarget = "{running.targets["tls"]}"\nidentity = "{running.identity}"\n'
        f'fingerprint = "{running.fingerprint}"\n{more}'
    )


# --- streams and statuses


def test_streams_are_apart_and_the_status_is_the_commands(target: str, tmp_path: Path) -> None:
    done = ssh(tmp_path, target, "cat; echo err >&2; exit 42", input=bytes(range(256)) * 1000)
    assert (done.returncode, done.stdout, done.stderr) == (42, bytes(range(256)) * 1000, b"err\n")


def test_words_are_joined_by_blanks_and_run_by_the_accounts_shell(target: str, tmp_path: Path) -> None:
    done = ssh(tmp_path, target, "printf", "'[%s]'", "'a", "b'", "$HOME", '"c', '  d"', b"\xff\xfe", "|", "cat")
    assert done.stdout == f"[a b][{HOME}][c   d]".encode() + b"[\xff\xfe]"


@pytest.mark.parametrize(
    ("line", "status"), [("exit 0", 0), ("exit 255", 255), ("kill -9 $$", 255), ("no-such-program-anywhere", 127)]
)
def test_statuses(line: str, status: int, target: str, tmp_path: Path) -> None:
    done = ssh(tmp_path, target, line)
    assert (done.returncode, done.stdout) == (status, b"")
    assert b"remote-shell" not in done.stderr, "ssh says nothing of a signal either"


def test_the_end_of_stdin_is_passed_while_output_goes_on(target: str, tmp_path: Path) -> None:
    with started(
        tmp_path, target, "cat; echo end of input; cat; sleep 0.2; echo more", stdin=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"first\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"first\n"
        process.stdin.close()
        assert process.stdout.read() == b"end of input\nmore\n"
        assert process.wait(WITHIN) == 0


@screen
def test_it_ends_with_the_command_though_stdin_is_open(target: str, tmp_path: Path) -> None:
    with started(tmp_path, target, "echo done", stdin=subprocess.PIPE) as process:
        assert process.wait(WITHIN) == 0


@screen
def test_it_waits_for_whoever_holds_the_commands_output(target: str, tmp_path: Path) -> None:
    done = ssh(tmp_path, target, "(sleep 0.3; echo late) & echo early")
    assert done.stdout == b"early\nlate\n"


@screen
def test_a_daemon_stays_behind(target: str, tmp_path: Path) -> None:
    """Ansible's async."""
    done = ssh(tmp_path, target, f"setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $! > {tmp_path}/pid")
    assert done.returncode == 0
    pid = int((tmp_path / "pid").read_text())
    try:
        assert is_alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


@screen
def test_n_reads_nothing_of_our_stdin(target: str, tmp_path: Path) -> None:
    with open(tmp_path / "in", "w+b") as file:
        file.write(b"kept")
        file.seek(0)
        with started(tmp_path, "-n", target, "cat; echo end", stdin=file) as process:
            assert process.communicate(timeout=WITHIN)[0] == b"end\n"
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 0


@screen
def test_without_a_command_it_is_a_login_shell(target: str, tmp_path: Path) -> None:
    done = ssh(tmp_path, "-T", target, input=b"shopt -q login_shell && echo login; tty; exit 5\n")
    assert (done.returncode, done.stdout) == (5, b"login\nnot a tty\n")


@screen
def test_nobody_reads_its_output_any_more(target: str, tmp_path: Path) -> None:
    with started(tmp_path, target, "yes") as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(WITHIN) == 255
        assert process.stderr.read() == b""


@screen
def test_stdout_and_stderr_may_be_closed(target: str, tmp_path: Path) -> None:
    line = f"{shlex.join(ARGV)} ssh {target} 'echo out; echo err >&2; exit 3' >&- 2>&-"
    assert subprocess.run(["sh", "-c", line], env=environment(tmp_path), timeout=WITHIN).returncode == 3


@screen
def test_a_cut_in_the_middle_loses_nothing(target: str, tmp_path: Path) -> None:
    with Proxy(target, cut_after=lambda number: 300_000 if number < 3 else None) as proxy:
        done = ssh(tmp_path, proxy.target, "head -c 1000000 /dev/zero | tr '\\0' x; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"x" * 1_000_000, b"")


# --- where it goes, and as whom


def test_a_name_of_hosts_toml(running: testing.RunningServer, tmp_path: Path) -> None:
    over_tls(running, tmp_path)
    done = ssh(tmp_path, f"{getpass.getuser()}@box", "echo $LOGNAME")
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"{getpass.getuser()}\n", b"")


@pytest.mark.parametrize("kind", ["unix", "tls"])
@pytest.mark.parametrize("words", [["nobody@{}"], ["-l", "nobody", "{}"], ["-oUser=nobody", "{}"]])
@screen
def test_another_account_is_refused_before_anything_runs(
    words: list[str], kind: str, running: testing.RunningServer, tmp_path: Path
) -> None:
    over_tls(running, tmp_path, f'[hosts.here]\ntarget = "{running.targets["unix"]}"\n')
    name = "box" if kind == "tls" else "here"
    done = ssh(tmp_path, *(word.format(name) for word in words), f"touch {tmp_path}/ran")
    assert done.returncode == 255 and done.stdout == b""
    assert "leave nobody@ away" in one_line(done.stderr)
    assert not (tmp_path / "ran").exists()


@screen
def test_an_account_of_ssh_s_own_file_counts_too(running: testing.RunningServer, tmp_path: Path) -> None:
    host, _, port = running.targets["tls"].removeprefix("tls:").rpartition(":")
    (tmp_path / ".ssh").mkdir(mode=0o700)
    known = f"{host}:{port} {running.fingerprint}\n"
    (tmp_path / "known_hosts").write_text(known)
    text = f"Host short\nHostName {host}\nIdentityFile {running.identity}\nPort 1\n"
    (tmp_path / ".ssh" / "config").write_text(text)
    assert ssh(tmp_path, "-p", port, "short", "echo there").stdout == b"there\n"
    (tmp_path / ".ssh" / "config").write_text(f"{text}User nobody\n")
    refused = ssh(tmp_path, "-p", port, "short", "true")
    assert refused.returncode == 255 and "leave nobody@ away" in one_line(refused.stderr)
    assert ssh(tmp_path, "-p", port, f"{getpass.getuser()}@short", "true").returncode == 0


def test_an_unknown_server_is_refused_with_the_line_that_mends_it(
    running: testing.RunningServer, tmp_path: Path
) -> None:
    address = running.targets["tls"].removeprefix("tls:")
    host, _, port = address.rpartition(":")
    words = ("-i", running.identity, "-p", port, host, "echo in")
    done = ssh(tmp_path, "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", *words)
    assert (done.returncode, done.stdout) == (255, b"")
    line = one_line(done.stderr).rpartition("type: ")[2]
    assert line == f"echo '{address} {running.fingerprint}' >> {tmp_path}/known_hosts"
    subprocess.run(["sh", "-c", line], check=True)
    assert ssh(tmp_path, *words).stdout == b"in\n"


@screen
@pytest.mark.parametrize("option", ["-oBatchMode=yes", "-oStrictHostKeyChecking=yes"])
def test_nobody_is_asked_where_that_was_said(option: str, running: testing.RunningServer, tmp_path: Path) -> None:
    host, _, port = running.targets["tls"].removeprefix("tls:").rpartition(":")
    words = ["ssh", option, "-i", running.identity, "-p", port, host, "true"]
    with Person(tmp_path, *words) as person:
        assert person.left_with() == 255
        assert "nobody can be asked" in person.text and "[yes/no]" not in person.text


@screen
def test_somebody_at_a_terminal_is_asked(running: testing.RunningServer, tmp_path: Path) -> None:
    host, _, port = running.targets["tls"].removeprefix("tls:").rpartition(":")
    with Person(tmp_path, "ssh", "-i", running.identity, "-p", port, host, "echo in; tty") as person:
        person.wait_for("[yes/no]")
        person.type("yes\r")
        person.wait_for("not a tty")
        assert person.left_with() == 1
    assert str(running.fingerprint) in (tmp_path / "known_hosts").read_text()


# --- what is asked of itself


def test_refusals_are_one_line_and_255(target: str, tmp_path: Path) -> None:
    done = ssh(tmp_path, "-J", "bastion", target, f"touch {tmp_path}/ran")
    assert done.returncode == 255 and done.stdout == b""
    assert one_line(done.stderr).startswith("remote-shell: -J is refused: jump hosts are not built")
    assert not (tmp_path / "ran").exists()


@screen
@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "no host"),
        (["-o", "RemoteCommand=ls", "{}", "ls"], "leave one of them away"),
        (["-s", "{}"], "-s needs the name"),
        (["-f", "{}"], "-f needs a command"),
        (["-s", "{}", "no-such"], "no subsystem 'no-such'; it has sftp"),
        (["-F", "/nowhere/config", "some.host.example", "ls"], "which -F names"),
        (["ssh://h/path", "ls"], "bad host"),
        (["no-such-host.invalid", "ls"], "no-such-host.invalid"),
    ],
)
def test_failures_of_ours_are_255_and_one_line(words: list[str], text: str, target: str, tmp_path: Path) -> None:
    done = ssh(tmp_path, *(word.format(target) for word in words))
    assert (done.returncode, done.stdout) == (255, b"") and text in one_line(done.stderr)


@screen
def test_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    words = ["-i", "none", "-p", str(port), "127.0.0.1", "true"]
    assert ssh(tmp_path, *words).returncode == 255
    quiet = ssh(tmp_path, "-q", *words)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (255, b"", b"")


@screen
def test_messages_go_to_a_file(tmp_path: Path) -> None:
    done = ssh(tmp_path, "-E", f"{tmp_path}/log", "unix:/nowhere/s", "true")
    assert (done.returncode, done.stderr) == (255, b"")
    assert (tmp_path / "log").read_text().startswith("remote-shell: ")
    assert ssh(tmp_path, "-E", "/nowhere/log", "unix:/nowhere/s", "true").returncode == 255


def test_git_s_question(tmp_path: Path) -> None:
    """git takes a program for an ssh, with ports and options, if it answers -G with 0."""
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / ".ssh" / "config").write_text("Host box\nHostName box.example\nUser deploy\nPort 22\n")
    done = ssh(tmp_path, "-G", "-p", "2200", "box")
    assert done.returncode == 0 and done.stderr == b""
    lines = done.stdout.decode().splitlines()
    assert lines[:4] == ["host box", "user deploy", "hostname box.example", "port 2200"]
    assert b"port 8822\n" in ssh(tmp_path, "-G", "box").stdout


@screen
def test_the_version_and_help(tmp_path: Path) -> None:
    done = ssh(tmp_path, "-V")
    assert (done.returncode, done.stdout) == (0, b"") and __version__ in done.stderr.decode()
    helped = ssh(tmp_path, "--help")
    assert helped.returncode == 0 and all(len(line) <= 80 for line in helped.stdout.decode().splitlines())
    assert call("help", "ssh", home=tmp_path).stdout == helped.stdout


@screen
def test_v_says_what_was_passed_over(target: str, tmp_path: Path) -> None:
    done = ssh(tmp_path, "-v", "-oControlPersist=60s", "-x", target, "true")
    assert done.returncode == 0
    assert b"-o controlpersist is ignored" in done.stderr and b"-x is ignored" in done.stderr


@screen
def test_variables(target: str, tmp_path: Path) -> None:
    words = ["-o", "SendEnv=GIT_PROTOCOL", "-o", "SetEnv=A='b c'", target, 'echo "$GIT_PROTOCOL,$A,$OTHER"']
    done = ssh(tmp_path, *words, env={"GIT_PROTOCOL": "version=2", "OTHER": "x"})
    assert done.stdout == b"version=2,b c,\n"


@screen
def test_a_command_of_the_settings(target: str, tmp_path: Path) -> None:
    done = ssh(tmp_path, "-o", "RemoteCommand=echo 'a  b'", target)
    assert done.stdout == b"a  b\n"
    assert ssh(tmp_path, "-o", "RemoteCommand=none", target, "echo c").stdout == b"c\n"


# --- subsystems


@pytest.mark.slow  # needs Debian's openssh-sftp-server
def test_sftp_is_a_subsystem(target: str, tmp_path: Path) -> None:
    """SSH_FXP_INIT of version 3, and the answer: draft-ietf-secsh-filexfer-02."""
    with started(tmp_path, "-s", "--", target, "sftp", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(bytes.fromhex("000000050100000003"))
        process.stdin.flush()
        assert process.stdout.read(9)[4:] == bytes.fromhex("0200000003")
        process.stdin.close()
        assert process.wait(WITHIN) == 0


# --- terminals


@screen
def test_t_is_a_terminal_if_stdin_is_one(target: str, tmp_path: Path) -> None:
    done = ssh(tmp_path, "-t", target, "tty")
    assert done.stdout == b"not a tty\n" and "-tt gives one" in one_line(done.stderr)
    assert ssh(tmp_path, "-q", "-t", target, "tty").stderr == b""
    assert ssh(tmp_path, "-tt", target, "tty").stdout.startswith(b"/dev/pts/")
    assert ssh(tmp_path, "-tt", "-n", target, "tty").stdout.startswith(b"/dev/pts/")


@screen
def test_at_a_terminal_without_a_command_it_is_a_shell_there(target: str, tmp_path: Path) -> None:
    with Person(tmp_path, "ssh", target, added={"PS1": "$ "}) as person:
        person.wait_raw()
        person.type("shopt -q login_shell && echo is''login; tty; exit 6\r")
        person.wait_for("islogin")
        person.wait_for("/dev/pts/")
        assert person.left_with() == 6


@screen
@pytest.mark.parametrize(("options", "keys"), [([], "~."), (["-e", "%"], "%.")])
def test_escapes(options: list[str], keys: str, target: str, tmp_path: Path) -> None:
    with Person(tmp_path, "ssh", "-t", *options, target, FULL_SCREEN) as person:
        pid = pid_of(person)
        person.type(f"\r{keys}")
        assert person.left_with() == 255
    wait_dead(pid)


@screen
def test_no_escapes(target: str, tmp_path: Path) -> None:
    line = "stty raw -echo; printf ready; head -c 3 | od -An -tx1"
    with Person(tmp_path, "ssh", "-t", "-e", "none", target, line) as person:
        person.wait_for("ready")
        person.type("\r~.")
        person.wait_for("0d 7e 2e")
        assert person.left_with() == 0


@screen
def test_a_signal_s_end_is_255_at_a_terminal_too(target: str, tmp_path: Path) -> None:
    with Person(tmp_path, "ssh", "-t", target, "kill -9 $$") as person:
        assert person.left_with() == 255


@screen
def test_a_terminal_on_stdin_alone_is_ansible_s(target: str, tmp_path: Path) -> None:
    """-tt with a terminal that nobody sits at: keys and ends pass, the output is ours to read."""
    master, slave = pty.openpty()
    try:
        with started(tmp_path, "-tt", target, "stty -echo; echo ready; read x; echo got $x", stdin=slave) as process:
            os.close(slave)
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\r\n"
            os.write(master, b"secret\r")
            assert process.stdout.read() == b"got secret\r\n"
            assert process.wait(WITHIN) == 0
    finally:
        os.close(master)


# --- signals


@screen
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_ends_it_and_the_command(number: int, target: str, tmp_path: Path) -> None:
    """As it ends ssh; but the command ends too, and at once."""
    with started(tmp_path, target, "trap '' HUP; echo $$; sleep 1000 & wait") as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.send_signal(number)
        assert process.wait(WITHIN) == -number
    wait_dead(pid)


@screen
def test_the_command_has_time_to_put_things_away(target: str, tmp_path: Path) -> None:
    """More than the goodbye gives: rsync sleeps 0.4 s at a signal before it renames its part of a file."""
    line = f"trap 'sleep 0.6; touch {tmp_path}/away; exit' TERM; echo ready; while :; do sleep 0.01; done"
    with started(tmp_path, target, line) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(WITHIN) == -signal.SIGTERM
    assert (tmp_path / "away").exists()


@screen
def test_a_signal_ends_it_though_nobody_reads_its_output(target: str, tmp_path: Path) -> None:
    with started(tmp_path, target, "echo $$; exec yes") as process:
        assert process.stdout is not None
        output = process.stdout
        pid = int(output.readline())
        wait_until(lambda: waiting(output) >= 60_000, "full pipe")
        process.terminate()
        assert process.wait(WITHIN) == -signal.SIGTERM
    wait_dead(pid)


def waiting(pipe: IO[bytes]) -> int:
    """Bytes in it that nobody has read yet."""
    count: int = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]
    return count


@screen
def test_a_signal_before_the_server_answers(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with started(tmp_path, f"unix:{tmp_path}/s", "true") as process:
            connection, _ = listener.accept()
            with connection:
                process.send_signal(signal.SIGTERM)
                assert process.stderr is not None
                assert (process.wait(WITHIN), process.stderr.read()) == (-signal.SIGTERM, b"")


# --- in the background


@screen
def test_f_goes_on_without_us(target: str, tmp_path: Path) -> None:
    line = f"cat; echo started; until [ -e {tmp_path}/go ]; do sleep 0.01; done; echo ended"
    with started(tmp_path, "-f", target, line, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.wait(WITHIN) == 0
        assert process.stdout.readline() == b"started\n"
        (tmp_path / "go").touch()
        assert process.stdout.read() == b"ended\n"


@screen
def test_f_tells_what_failed_before(target: str, tmp_path: Path) -> None:
    done = ssh(tmp_path, "-f", "unix:/nowhere/s", "true")
    assert done.returncode == 255 and one_line(done.stderr)
    assert ssh(tmp_path, "-f", f"nobody@{target}", "true").returncode == 255


# --- the program of its own


def test_what_is_imported_on_the_way(target: str, tmp_path: Path, unmeasured: None) -> None:
    """A task of Ansible's costs a start: neither the event loop nor argparse is in it."""
    code = (
        "import sys; from remote_shell.cli import main; sys.argv[1:] = sys.argv[1:]; status = main.ssh();"
        "print(*sorted({'asyncio', 'argparse', 'prompt_toolkit', 'rich', 'tomllib', 'pydantic'} & set(sys.modules)));"
        "sys.exit(status)"
    )
    done = subprocess.run(
        [ARGV[0], "-c", code, target, "exit 9"], env=environment(tmp_path), capture_output=True, timeout=WITHIN
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (9, [], b"")
