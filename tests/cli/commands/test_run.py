"""`run` as scripts see it: streams, exit statuses, signals, --json, and each failure as one line."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_shell import testing
from tests.cli.program import ARGV, WITHIN, call, environment, one_line
from tests.proxy import Proxy
from tests.server.lives import life

pytestmark = pytest.mark.screen


@contextlib.contextmanager
def started(home: Path, *words: str, **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A running `run`; killed at the end if need be."""
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*ARGV, "run", *words], env=environment(home), **(options | streams)) as process:
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


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # it may end between the open and the read
        return False


# --- what a command is given, and what comes back


def test_output_and_status_are_the_commands_own(target: str, tmp_path: Path) -> None:
    done = call("run", target, "sh", "-c", "echo out; echo err >&2; exit 42", home=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (42, b"out\n", b"err\n")


def test_words_reach_the_program_as_they_are(target: str, tmp_path: Path) -> None:
    words: list[str | bytes] = ["", "a b", "$HOME", "*", "'", "--json", "-c", b"\xff\xfe", "ü"]
    done = call("run", target, "--", "printf", "%s\\0", *words, home=tmp_path)
    assert done.stdout.split(b"\0")[:-1] == [word if isinstance(word, bytes) else word.encode() for word in words]


@pytest.mark.parametrize("separator", [[], ["--"]])
def test_options_end_at_the_target(separator: list[str], target: str, tmp_path: Path) -> None:
    done = call("run", target, *separator, "echo", "-n", "--", "--timeout", home=tmp_path)
    assert done.stdout == b"-- --timeout"


def test_a_line_is_for_the_accounts_shell(target: str, tmp_path: Path) -> None:
    done = call("run", "-c", 'x="a b"; echo "$x" | tr a c; cd /; pwd; exit 3', target, home=tmp_path)
    assert (done.returncode, done.stdout) == (3, b"c b\n/\n")


def test_bytes_pass_exactly_both_ways(target: str, tmp_path: Path) -> None:
    data = os.urandom(3_000_000) + bytes(range(256))
    done = call("run", target, "sh", "-c", "tee /dev/stderr", home=tmp_path, input=data)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()
    assert hashlib.sha256(done.stderr).digest() == hashlib.sha256(data).digest()


def test_cwd_and_environment(target: str, tmp_path: Path) -> None:
    words = ["--cwd", "/usr", "--env", "A=1=2", "--env", "LOCAL", "--env", "A=3", "--env", "EMPTY="]
    line = 'pwd; echo "$A $LOCAL ${EMPTY-unset} ${REMOTE_SHELL_HOME-clean}"'
    done = call("run", *words, "-c", line, target, home=tmp_path, env={"LOCAL": "mine"})
    assert done.stdout == b"/usr\n3 mine  clean\n"


def test_n_and_a_closed_stdin_are_empty_input(target: str, tmp_path: Path) -> None:
    assert call("run", "-n", target, "wc", "-c", home=tmp_path, input=b"something").stdout == b"0\n"
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *ARGV, "run", target, "wc", "-c"],
        capture_output=True,
        env=environment(tmp_path),
        timeout=WITHIN,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"0\n", b"")


def test_closed_output_is_the_commands_failure_to_write_and_no_hang(target: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *ARGV, "run", target, "echo", "lost"],
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
        timeout=WITHIN,
    )
    assert done.returncode == 125
    assert "Bad file descriptor" in one_line(done.stderr)


def test_no_socket_takes_the_place_of_a_closed_descriptor(target: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *ARGV, "run", target, "sh", "-c", "echo x >&2; wc -c; exit 3"],
        env=environment(tmp_path),
        timeout=WITHIN,
    )
    assert done.returncode == 125, "stdout can't be written"
    quiet = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *ARGV, "run", target, "sh", "-c", "echo x >&2; exit 3"]
    assert subprocess.run(quiet, env=environment(tmp_path), timeout=WITHIN).returncode == 3


def test_it_ends_with_the_command_though_stdin_never_ends(target: str, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    try:
        with started(tmp_path, target, "true", stdin=reader) as process:
            assert process.wait(WITHIN) == 0
    finally:
        os.close(reader)
        os.close(writer)


def test_input_is_read_only_as_fast_as_the_command_takes_it(target: str, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETFL, os.O_NONBLOCK)
    written = 0
    try:
        with started(tmp_path, target, "sh", "-c", "echo up; sleep 100", stdin=reader) as process:
            os.close(reader)
            assert process.stdout is not None and process.stdout.readline() == b"up\n"
            quiet = 0
            while quiet < 30:  # nothing was taken for 0.3 s
                try:
                    written += os.write(writer, bytes(65536))
                    quiet = 0
                except BlockingIOError:
                    quiet += 1
                    time.sleep(0.01)
                assert written < 8_000_000, "it reads what nobody takes"
            process.send_signal(signal.SIGTERM)
            assert process.wait(WITHIN) == 143
    finally:
        os.close(writer)


# --- how it ends


@pytest.mark.parametrize("status", [0, 1, 2, 124, 125, 126, 127, 128, 130, 255])
def test_a_status_is_passed_on_unchanged_and_in_silence(status: int, target: str, tmp_path: Path) -> None:
    done = call("run", target, "sh", "-c", f"exit {status}", home=tmp_path)
    assert (done.returncode, done.stderr) == (status, b"")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGUSR1, signal.SIGRTMIN + 3])
def test_the_commands_own_signal_is_128_and_its_number(number: int, target: str, tmp_path: Path) -> None:
    assert call("run", target, "sh", "-c", f"kill -{int(number)} $$", home=tmp_path).returncode == 128 + number


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        (["no-such-program"], 127, "no-such-program"),
        (["/no/such/program"], 127, "/no/such/program"),
        (["/etc/passwd"], 126, "/etc/passwd"),
        (["/tmp"], 126, "/tmp"),
        (["--cwd", "/no/such/folder"], 125, "/no/such/folder"),
    ],
)
def test_what_can_not_start_is_told_in_one_line(
    words: list[str], status: int, expected: str, target: str, tmp_path: Path
) -> None:
    command = [*words, target, "true"] if words[0].startswith("--") else [target, *words]
    done = call("run", *command, home=tmp_path)
    assert done.returncode == status
    assert expected in one_line(done.stderr)
    assert "Errno" not in one_line(done.stderr)


def test_a_timeout_is_124_and_ends_the_whole_tree(target: str, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    line = f"sleep 1000 & setsid sleep 1000 & echo $! > {pids}; sleep 1000"
    done = call("run", "--timeout", "1", target, "sh", "-c", line, home=tmp_path)
    assert (done.returncode, done.stderr) == (124, b"")
    wait_until(lambda: not is_alive(int(pids.read_text())), "the child in a session of its own ended")


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("unix:/nonexistent/socket", "there is no socket"),
        ("tls:127.0.0.1:{closed}", "refuses connections"),
        ("no-such-host.invalid", "unknown host no-such-host.invalid"),
        ("tcp:127.0.0.1:1", "--insecure-tcp"),
        ("not a target", "bad target"),
        ("[::1", "bad target"),
    ],
)
def test_where_nothing_can_be_reached_is_one_line_and_125(where: str, expected: str, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and never listens
        done = call("run", where.format(closed=closed.getsockname()[1]), "true", home=tmp_path)
    assert done.returncode == 125
    assert expected in one_line(done.stderr)


# --- over the network


def test_tls_by_key_and_by_secret_and_plain_tcp(running: testing.RunningServer, tmp_path: Path) -> None:
    pin = ["--fingerprint", str(running.fingerprint)]
    for words in (
        ["--identity", running.identity, *pin, running.targets["tls"]],
        ["--secret-file", running.secret_file, *pin, running.targets["tls"]],
        ["--identity", running.identity, "--insecure-tcp", running.targets["tcp"]],
    ):
        done = call("run", *words, "echo", "in", home=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"in\n", b"")


def test_an_unknown_server_is_refused_where_nobody_can_be_asked(running: testing.RunningServer, tmp_path: Path) -> None:
    done = subprocess.run(
        ["setsid", "-w", *ARGV, "run", "--identity", running.identity, running.targets["tls"], "true"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(tmp_path),
        timeout=WITHIN,
    )
    assert done.returncode == 125
    assert f"--fingerprint {running.fingerprint}" in one_line(done.stderr)
    assert not (tmp_path / "known_hosts").exists()


@pytest.mark.slow
def test_a_changed_server_and_a_wrong_key_are_refused(running: testing.RunningServer, tmp_path: Path) -> None:
    address = running.targets["tls"].partition(":")[2]
    (tmp_path / "known_hosts").write_text(f"{address} SHA256:{'A' * 43}\n")
    done = call("run", "--identity", running.identity, running.targets["tls"], "true", home=tmp_path)
    assert done.returncode == 125 and "CHANGED" in one_line(done.stderr)
    done = call("run", "--fingerprint", str(running.fingerprint), running.targets["tls"], "true", home=tmp_path)
    assert done.returncode == 125 and "keys show" in one_line(done.stderr)


# --- signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_a_signal_reaches_the_command_as_what_it_is(number: int, target: str, tmp_path: Path) -> None:
    name = signal.Signals(number).name.removeprefix("SIG")
    line = f"trap 'echo {name}; exit 5' {name}; echo up; while :; do sleep 0.02; done"
    with started(tmp_path, target, "bash", "-c", line) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(number)
        assert process.stdout.read() == f"{name}\n".encode()
        assert process.wait(WITHIN) == 5


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_without_a_handler_there_the_command_ends_by_it(number: int, status: int, target: str, tmp_path: Path) -> None:
    with started(tmp_path, target, "sh", "-c", "echo up; exec sleep 1000") as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=WITHIN)
        assert (process.returncode, out, err) == (status, b"", b"")


@pytest.mark.usefixtures("unmeasured")  # Ctrl-C in the middle of measuring leaves its lock taken
def test_a_second_ctrl_c_ends_the_tree(target: str, tmp_path: Path) -> None:
    line = "trap '' INT TERM; setsid sh -c 'trap \"\" INT TERM; echo $$; while :; do sleep 1; done' & wait"
    with (
        Proxy(target) as proxy,
        started(tmp_path, proxy.target, "sh", "-c", f"trap 'echo got' INT; {line}; {line}") as process,
    ):
        assert process.stdout is not None
        escaped = int(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        wait_until(lambda: b'"SIGINT"' in proxy.said, "the first is passed on")  # what ignores it gives no sign of it
        assert process.poll() is None and is_alive(escaped)
        process.send_signal(signal.SIGINT)
        assert process.wait(WITHIN) == 137
    wait_until(lambda: not is_alive(escaped), "the child in a session of its own ended")


@pytest.mark.usefixtures("unmeasured")  # Ctrl-C in the middle of measuring leaves its lock taken
@pytest.mark.parametrize("json_too", [False, True])
def test_a_second_ctrl_c_does_not_claim_what_the_server_never_said(json_too: bool, tmp_path: Path) -> None:
    with testing.server(("unix:",)) as running, Proxy(running) as proxy:
        options = ("--json",) if json_too else ()
        with started(tmp_path, *options, proxy.target, "sleep", "47") as process:
            wait_until(lambda: proxy.told(b'"opened"'), "it is known to run")
            running.process.send_signal(signal.SIGSTOP)
            try:
                for number in (signal.SIGINT, signal.SIGTERM):  # two of a kind could become one
                    process.send_signal(number)
                out, err = process.communicate(timeout=WITHIN)
            finally:
                running.process.send_signal(signal.SIGCONT)
            assert process.returncode == 130
            # where the signal meets a step of ours in the middle, the connection is given up too; and it may come between our
            # reading that the command runs and our taking it in
            assert re.search(
                r"left without (an answer from|contact with) .*: the command there ends when"
                r"|whether it was started is not known",
                err.decode(),
            )
            if json_too:
                report = json.loads(out)
                assert report["signal"] is None and report["error"]["code"] == "interrupted"


# Its main thread waits in poll(2), and another one takes the signal: as if it had come right before the call.
TAKEN_ELSEWHERE = """
import signal, sys, threading, time
from remote_shell.cli.main import main
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.usefixtures("unmeasured")  # Ctrl-C in the middle of measuring leaves its lock taken
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_signal_right_before_a_wait_is_not_slept_on(form: list[str], tmp_path: Path) -> None:
    argv = [sys.executable, "-c", TAKEN_ELSEWHERE, "run", *form]
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with testing.server(("unix:",)) as running, Proxy(running) as proxy:
        with subprocess.Popen([*argv, proxy.target, "sleep", "100"], env=environment(tmp_path), **streams) as process:
            wait_until(lambda: proxy.told(b'"opened"'), "it is known to run")
            try:
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=WITHIN)
                assert process.returncode == 130
            finally:
                process.kill()


@pytest.mark.usefixtures("unmeasured")  # Ctrl-C in the middle of measuring leaves its lock taken
def test_ctrl_c_before_the_command_starts_is_130(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        with started(tmp_path, f"tls:127.0.0.1:{silent.getsockname()[1]}", "true") as process:
            connection, _ = silent.accept()
            with connection:
                connection.recv(
                    1
                )  # its first word: what Python makes of a Ctrl-C in the middle of an import is not ours
                process.send_signal(signal.SIGINT)
                _, err = process.communicate(timeout=WITHIN)
    assert process.returncode == 130 and err == b""


def test_an_ignored_signal_stays_ignored(target: str, tmp_path: Path) -> None:
    line = "echo up; read x; echo on"
    with started(tmp_path, target, "sh", "-c", line, stdin=subprocess.PIPE, preexec_fn=_ignore_hup) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGHUP)
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"on\n"
        assert process.wait(WITHIN) == 0


def _ignore_hup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


# --- readers that leave, disks that fill


def test_a_reader_that_leaves_ends_everything_within_a_second(target: str, tmp_path: Path) -> None:
    mark = f"yes-{os.getpid()}"
    with started(tmp_path, target, "sh", "-c", f"trap '' PIPE; exec yes {mark}") as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == f"{mark}\n".encode()
        process.stdout.close()
        begin = time.monotonic()
        assert process.wait(WITHIN) == -signal.SIGPIPE
        assert process.stderr.read() == b""
    assert time.monotonic() - begin < 3, "one second on a machine that has nothing else to do"
    wait_until(lambda: not _runs(mark), "yes, which ignores SIGPIPE, ended")


def _runs(mark: str) -> bool:
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and b"yes\0" + mark.encode() in (entry / "cmdline").read_bytes():
                return True
    return False


def test_a_full_disk_is_named_and_the_command_ended(target: str, tmp_path: Path) -> None:
    mark = f"full-{os.getpid()}"
    with open("/dev/full", "wb") as full, started(tmp_path, target, "yes", mark, stdout=full) as process:
        _, err = process.communicate(timeout=WITHIN)
    assert process.returncode == 125
    assert "No space left on device" in one_line(err)
    wait_until(lambda: not _runs(mark), "yes ended")


# --- --json


def read_report(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    assert done.stdout.count(b"\n") == 1
    report: dict[str, Any] = json.loads(done.stdout)
    keys = ["argv", "exit_status", "signal", "timed_out", "connection_lost", "job", "started_at", "duration_s", "cwd"]
    assert set(report) >= {*keys, "stdout", "stderr"}
    return report


def test_json_tells_the_end_in_one_object(target: str, tmp_path: Path) -> None:
    before = time.time()
    done = call(
        "run", "--json", "--cwd", "/usr", target, "sh", "-c", "cat; echo err >&2; exit 3", home=tmp_path, input=b"x"
    )
    report = read_report(done)
    assert done.returncode == 3 and done.stderr == b""
    assert (report["exit_status"], report["signal"], report["timed_out"], report["connection_lost"]) == (
        3,
        None,
        False,
        False,
    )
    assert (report["stdout"], report["stderr"], report["cwd"]) == ("x", "err\n", "/usr")
    assert report["argv"] == ["sh", "-c", "cat; echo err >&2; exit 3"] and report["job"]
    assert 0 < report["duration_s"] < WITHIN
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", report["started_at"])
    assert report["started_at"][:4] == time.strftime("%Y", time.gmtime(before))
    assert "stdout_base64" not in report and "error" not in report


def test_json_keeps_bytes_that_are_no_text(target: str, tmp_path: Path) -> None:
    report = read_report(call("run", "--json", target, "printf", "a\\377\\0b", home=tmp_path))
    assert base64.b64decode(report["stdout_base64"]) == b"a\xff\0b"
    assert "stderr_base64" not in report
    report = read_report(call("run", "--json", target, "echo", b"\xff", home=tmp_path))
    assert report["argv"] == ["echo", "\udcff"]


def test_json_tells_a_signal_a_timeout_and_a_status_apart(target: str, tmp_path: Path) -> None:
    killed = call("run", "--json", "-c", "kill -9 $$", target, home=tmp_path)
    assert killed.returncode == 137
    assert (read_report(killed)["exit_status"], read_report(killed)["signal"]) == (None, "SIGKILL")
    assert read_report(killed)["line"] == "kill -9 $$" and read_report(killed)["argv"] is None
    late = call("run", "--json", "--timeout", "1", target, "sh", "-c", "echo so far; exec sleep 100", home=tmp_path)
    assert late.returncode == 124
    assert read_report(late)["timed_out"] and read_report(late)["stdout"] == "so far\n"
    plain = call("run", "--json", target, "sh", "-c", "exit 124", home=tmp_path)
    assert plain.returncode == 124 and not read_report(plain)["timed_out"] and read_report(plain)["exit_status"] == 124


@pytest.mark.parametrize(
    ("where", "word", "status", "code"),
    [
        (None, "no-such-program", 127, "not_found"),
        (None, "/etc/passwd", 126, "not_executable"),
        ("unix:/nonexistent", "true", 125, "connect"),
        ("not a target", "true", 125, "usage"),
    ],
)
def test_json_names_a_failure_by_a_word(
    where: str | None, word: str, status: int, code: str, target: str, tmp_path: Path
) -> None:
    done = call("run", "--json", where or target, word, home=tmp_path)
    report = read_report(done)
    assert done.returncode == status
    assert report["error"]["code"] == code and report["error"]["message"] in one_line(done.stderr)
    assert report["exit_status"] is None and not report["connection_lost"]


# --- ids


def test_an_id_runs_at_most_once(target: str, tmp_path: Path) -> None:
    ident, file = f"test-{os.getpid()}-once", tmp_path / "ran"
    words = ["--id", ident, target, "sh", "-c", f"echo x >> {file}; echo output; exit 9"]
    first = call("run", *words, home=tmp_path)
    assert (first.returncode, first.stdout, first.stderr) == (9, b"output\n", b"")
    second = call("run", *words, home=tmp_path)
    assert (second.returncode, second.stdout) == (9, b"")
    assert "ran before" in one_line(second.stderr)
    assert file.read_text() == "x\n"
    assert read_report(call("run", "--json", *words, home=tmp_path))["again"]
    other = call("run", "--id", ident, target, "true", home=tmp_path)
    assert other.returncode == 125 and "id" in one_line(other.stderr)


def test_an_id_that_can_be_none_is_refused_here(target: str, tmp_path: Path) -> None:
    done = call("run", "--id", "a b", target, "true", home=tmp_path)
    assert done.returncode == 2 and "--id" in one_line(done.stderr)


# --- when the connection is lost


def test_a_cut_link_is_mended_without_a_word(target: str, tmp_path: Path) -> None:
    with Proxy(target, cut_after=lambda number: 300_000 if number < 5 else None) as proxy:
        done = call("run", proxy.target, "sh", "-c", "head -c 2000000 /dev/zero; exit 7", home=tmp_path)
        assert proxy.cuts >= 3
    assert (done.returncode, len(done.stdout), done.stderr) == (7, 2_000_000, b"")


@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.slow
def test_a_server_that_is_gone_for_good_is_125_and_says_what_is_known(form: list[str], tmp_path: Path) -> None:
    with testing.server(("unix:",), config="grace = 0.5\n") as server:
        with started(tmp_path, *form, str(server), "sh", "-c", "echo up; exec sleep 1000") as process:
            assert process.stdout is not None
            if not form:
                assert process.stdout.readline() == b"up\n"
            else:
                wait_until(lambda: _sleeps(server.process.pid), "the command runs")
            children = _children(server.process.pid)
            server.process.kill()
            out, err = process.communicate(timeout=WITHIN)
        for child in children:  # a killed server can't end them
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
    assert process.returncode == 125
    assert "lost" in one_line(err) and "not known" in one_line(err)
    if form:
        report = json.loads(out)
        assert report["connection_lost"] and report["error"]["code"] == "connection_lost" and report["job"]


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_server_that_died_and_is_back_says_what_became_of_an_id(form: list[str], tmp_path: Path) -> None:
    """125 and never a status; then the line that the message names brings the status."""
    argv = ["sh", "-c", f"echo x >> {tmp_path}/ran; exit 9"]
    with life(tmp_path, dies="written") as first, Proxy(str(first)) as proxy:
        with started(tmp_path, *form, "--id", "mine", proxy.target, *argv) as process:
            first.process.wait(WITHIN)
            proxy.go_away()
            with life(tmp_path) as second:
                proxy._upstream = second.partition(":")[2]
                proxy.go_away(False)
                out, err = process.communicate(timeout=WITHIN)
                assert process.returncode == 125
                text = one_line(err)
                assert "ran to its end on the server (exit status 9), but its output is lost" in text
                assert "the same command again, with --id mine" in text
                if form:
                    report = json.loads(out)
                    assert report["connection_lost"] and report["exit_status"] is None and report["job"] == "mine"
                    assert report["error"] | {"message": ""} == {
                        "code": "connection_lost",
                        "message": "",
                        "command_state": "finished",
                        "exit_status": 9,
                        "signal": None,
                        "timed_out": False,
                    }
                again = call("run", *form, "--id", "mine", str(second), *argv, home=tmp_path)
                assert again.returncode == 9
                if form:
                    report = read_report(again)
                    assert report["again"] and report["exit_status"] == 9 and not report["connection_lost"]
    assert (tmp_path / "ran").read_text() == "x\n"


@pytest.mark.slow
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_timeout_by_our_own_clock_does_not_claim_an_end(form: list[str], tmp_path: Path) -> None:
    with testing.server(("unix:",)) as running, Proxy(running) as proxy:
        with started(tmp_path, *form, "--timeout", "3", proxy.target, "sleep", "47") as process:
            wait_until(lambda: proxy.told(b'"opened"'), "it is known to run")
            running.process.send_signal(signal.SIGSTOP)
            try:
                out, err = process.communicate(timeout=WITHIN)
            finally:
                running.process.send_signal(signal.SIGCONT)
    assert process.returncode == 124 and "can't be asked" in one_line(err)
    if form:
        report = json.loads(out)
        assert report["timed_out"] and report["exit_status"] is None and report["signal"] is None
        assert report["error"]["code"] == "no_answer"


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_time_that_is_over_without_a_connection_is_a_lost_connection(form: list[str], tmp_path: Path) -> None:
    """The command ended in time; 124 would say that it did not."""
    line = f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo > {tmp_path}/ran"
    with testing.server(("unix:",)) as running, Proxy(running) as proxy:
        with started(tmp_path, *form, "--timeout", "3", proxy.target, "sh", "-c", line) as process:
            # who does not know that it runs waits for a connection first, which is not the command's time
            wait_until(lambda: proxy.told(b'"opened"'), "it is known to run")
            proxy.go_away()
            (tmp_path / "go").touch()
            wait_until((tmp_path / "ran").exists, "it ended")
            out, err = process.communicate(timeout=WITHIN)
    assert process.returncode == 125 and "whether the command ran is not known" in one_line(err)
    if form:
        report = json.loads(out)
        assert report["connection_lost"] and not report["timed_out"] and report["exit_status"] is None
        assert report["error"]["command_state"] == "unknown" and report["job"] in report["error"]["message"]


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_what_a_command_left_holds_its_output_no_longer_than_its_time(
    form: list[str], target: str, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    line = f"touch {begun}; sleep 48 & echo $!"
    done = call("run", *form, "--timeout", "0.5", target, "sh", "-c", line, home=tmp_path)
    took = time.time() - begun.stat().st_mtime
    assert took < 3.5, "the server's clock stopped with the command: nothing to wait for"
    assert done.returncode == 124 and "processes that the command left held its output" in one_line(done.stderr)
    text = done.stdout.decode()
    if form:
        report = json.loads(text)
        text = report["stdout"]
        assert (report["exit_status"], report["timed_out"], report["error"]["code"]) == (0, True, "output_held")
    wait_until(lambda: not is_alive(int(text)), "it was ended")


def test_an_id_that_the_server_cannot_keep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "ids.sqlite").write_bytes(b"no database" * 1000)
    with life(tmp_path) as server:
        done = call("run", "--id", "mine", str(server), "touch", str(tmp_path / "ran"), home=tmp_path)
        assert done.returncode == 125 and "nothing was run" in (text := one_line(done.stderr)) and "damaged" in text
        report = read_report(call("run", "--json", "--id", "mine", str(server), "true", home=tmp_path))
        assert report["error"]["code"] == "id_not_kept" and report["job"] == "mine" and not report["connection_lost"]
        assert call("run", str(server), "true", home=tmp_path).returncode == 0
    assert not (tmp_path / "ran").exists()


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _sleeps(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # one that has just ended
        return any(Path(f"/proc/{child}/comm").read_text() == "sleep\n" for child in _children(pid))
    return False


# --- start


@pytest.mark.usefixtures("unmeasured")
def test_a_start_imports_only_what_it_needs(target: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "remote_shell", "run", target, "true"],
        capture_output=True,
        env=environment(tmp_path),
        text=True,
        timeout=WITHIN,
    )
    assert done.returncode == 0
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert not names & {
        "asyncio",
        "ssl",
        "pydantic",
        "cryptography",
        "logging",
        "json",
        "prompt_toolkit",
        "tempfile",
    }


def test_json_holds_a_bounded_output(target: str, tmp_path: Path) -> None:
    """What never ends is ended, and said so; it once took all memory."""
    done = call("run", "--json", target, "--", "yes", home=tmp_path)
    assert done.returncode == 125
    assert json.loads(done.stdout)["error"]["code"] == "output_too_large"
    assert "more than" in one_line(done.stderr)
