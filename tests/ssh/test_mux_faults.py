"""remote-shell mux where something is amiss: terminals, files that change, cuts, limits, and who ends in the middle."""

from __future__ import annotations

import _socket
import os
import pty
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from remote_shell import testing
from remote_shell.ssh import mux
from tests.cli.program import ARGV, WITHIN
from tests.ssh.test_mux import BARRED, Place, held, place, server, wait_until

pytestmark = pytest.mark.screen  # as a file it takes long

__all__ = ["held", "place", "server"]


class LateSender(_socket.socket):
    """A caller that is held up between its request and the next line."""

    answered: threading.Event

    def sendmsg(self, *arguments: object) -> int:
        sent = super().sendmsg(*arguments)  # type: ignore[arg-type]
        assert self.answered.wait(WITHIN)
        return sent


def test_an_answer_that_is_quicker_than_the_caller(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    answered = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def answer() -> None:
            with listener.accept()[0] as sock:
                size = int.from_bytes(sock.recv(4), "big")
                assert len(sock.recv(size)) == size
                sock.sendall(mux.STATUS + bytes([7]))
            answered.set()

        thread = threading.Thread(target=answer)
        thread.start()
        caller = LateSender(_socket.AF_UNIX, _socket.SOCK_STREAM)
        caller.answered = answered
        caller.connect(path)
        call = mux.split(["host", "true"])
        assert call is not None
        before = [(number, signal.getsignal(number)) for number in mux.LEAVING]
        try:
            assert mux._wait(caller, call, reads=False) == 7
        finally:
            for number, handler in before:
                signal.signal(number, handler)
        caller.close()
        thread.join()


def test_a_signal_while_the_request_leaves_is_not_part_of_it(place: Place) -> None:
    words = [place.target, *(["x" * 100_000] * 10)]
    probe = "import sys; from remote_shell.ssh import mux; print(mux.socket_path(mux.split(sys.argv[1:])))"
    argv = [sys.executable, "-c", probe, place.target, "x"]
    path = subprocess.run(argv, env=place.environment, capture_output=True, text=True, timeout=WITHIN).stdout.strip()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with place.start(*words, stdin=subprocess.DEVNULL) as process, listener.accept()[0] as sock:
            sock.sendall(mux.READY)
            sock.recv(4)  # it is under way, and does not fit
            process.send_signal(signal.SIGTERM)
            assert process.wait(WITHIN) == -signal.SIGTERM
            rest = b"".join(iter(lambda: sock.recv(1 << 20), b""))
            assert mux.LEAVE not in rest.removeprefix(b"2\0").partition(b"x")[2].partition(b"\0")[0]
            assert mux.LEAVE + bytes([signal.SIGTERM]) not in rest


def test_a_terminal_is_read_by_the_caller_alone(held: Place, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    try:
        with held.start(held.target, "echo up; cat", stdin=slave, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.readline() == b"up\n"
            os.write(master, b"one\n")
            assert process.stdout.readline() == b"one\n"
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            os.write(master, b"for the shell\n")
            assert not select.select([process.stdout], [], [], 0.3)[0]
            assert os.read(slave, 100) == b"for the shell\n"
            process.send_signal(signal.SIGCONT)
            os.write(master, b"two\n\x04")
            assert process.stdout.read() == b"two\n"
            assert process.wait(WITHIN) == 0
        assert held.ssh(held.target, "exit 3").returncode == 3
        with held.start(held.target, "exec <&-; exit 4", stdin=slave) as process:
            assert process.wait(WITHIN) == 4
    finally:
        os.close(master)
        os.close(slave)


def test_without_stdin_no_key_is_taken(place: Place) -> None:
    place.hold("-n", place.target)
    master, slave = pty.openpty()
    try:
        os.write(master, b"mine\n")
        with place.start("-n", place.target, "cat; echo end", stdin=slave, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.read() == b"end\n"
            assert process.wait(WITHIN) == 0
        assert os.read(slave, 100) == b"mine\n"
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize("streams", [">&-", "0>/dev/null", "<&-"])
def test_strange_descriptors(held: Place, streams: str) -> None:
    line = shlex.join(["remote-shell", "ssh", held.target, "echo x; exit 6"])
    script = f"PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH; {line} {streams}"
    for added in ({}, {"REMOTE_SHELL_MUX": "0"}):
        done = subprocess.run(
            ["/bin/sh", "-c", script], env=held.environment | added, capture_output=True, timeout=WITHIN
        )
        assert (done.returncode, done.stderr) == (6, b""), added


def test_a_file_that_changed_leads_elsewhere(place: Place, tmp_path: Path) -> None:
    first, second = tmp_path / "ssh.conf", tmp_path / "more.conf"
    first.write_text(f"Include {second}\n")
    second.write_text("Host *\n  SetEnv NAME=one\n")
    for file in (first, second):
        file.chmod(0o600)
    port = place.server.targets["tls"].rpartition(":")[2]
    words = ("-p", port, "-F", str(first), "-i", str(place.server.identity), "localhost")
    (tmp_path / "known_hosts").write_text(f"localhost:{port} {place.server.fingerprint}\n")
    place.hold(*words)
    assert place.ssh(*words, "echo $NAME").stdout == b"one\n"
    second.write_text("Host *\n  SetEnv NAME=another\n")
    assert b"nobody took it" in place.ssh(*words, "echo $NAME").stderr
    assert place.holder is not None and place.holder.wait(WITHIN) == 0


def test_a_call_while_the_link_is_cut_goes_by_itself(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with testing.server(("unix:",)) as running:
        place = Place(running, tmp_path)
        place.hold()
        with place.start(
            place.target, "echo up; cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as first:
            assert first.stdout is not None and first.stdout.readline() == b"up\n"
            running.process.kill()
            running.process.wait()
            wait_until(lambda: b"nobody took it" in place.ssh(place.target, "true").stderr)
            first.kill()
        assert place.holder is not None
        place.holder.kill()
        place.holder.communicate()


def test_a_killed_caller_costs_nothing_while_the_server_is_silent(held: Place) -> None:
    assert held.holder is not None
    os.kill(held.server.process.pid, signal.SIGSTOP)
    try:
        with held.start(held.target, "true", stdin=subprocess.DEVNULL) as process:
            wait_until(lambda: b"unix" in _sleeps_in(process.pid))
            process.kill()
        began = _ticks(held.holder.pid)
        threading.Event().wait(0.5)  # its processor time in this while is what is measured
        assert _ticks(held.holder.pid) - began < 20
    finally:
        os.kill(held.server.process.pid, signal.SIGCONT)
    assert held.ssh(held.target, "echo well").stdout == b"well\n"


def _sleeps_in(pid: int) -> bytes:
    return Path(f"/proc/{pid}/wchan").read_bytes()


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_the_holder_ends_what_runs(held: Place, number: signal.Signals, tmp_path: Path) -> None:
    file = tmp_path / "cleaned"
    line = f"trap 'echo over > {file}; exit' TERM; echo up; while :; do sleep 0.05; done"
    with held.start(
        held.target, line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        assert held.holder is not None
        held.holder.send_signal(number)
        assert process.wait(WITHIN) == 255
        assert held.holder.wait(WITHIN) == 0
    assert file.read_text() == "over\n"
    wait_until(lambda: held.processes() == 0)
    assert not list(held.sockets.glob("mux-*"))


def test_the_killed_leave_nothing_for_ever(held: Place) -> None:
    assert held.holder is not None
    (left,) = held.found
    held.hold("-T", held.target)  # kills the first one
    assert not left.exists() and not Path(f"{left}.lock").exists()
    assert len(list(held.sockets.glob("mux-*"))) == 2
    assert held.ssh("-T", held.target, "echo well").stdout == b"well\n"


@pytest.mark.parametrize(
    "words", [["-f"], ["-N"], ["-v"], ["-tt"], ["-G"], ["-L", "1:localhost:2"], ["-S", "none"], ["-E", "/dev/null"]]
)
def test_what_can_not_be_shared_is_not_held(place: Place, words: list[str]) -> None:
    done = subprocess.run(
        [*ARGV, "mux", *words, place.target], env=place.environment, capture_output=True, timeout=WITHIN
    )
    assert done.returncode != 0 and b"share no connection" in done.stderr
    assert not place.sockets.exists() or not place.found


def test_more_callers_than_descriptors(place: Place) -> None:
    argv = ["/bin/sh", "-c", 'ulimit -n 100; exec "$@"', "sh", *ARGV, "mux", place.target]
    place.holder = subprocess.Popen(argv, env=place.environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_until(lambda: place.found)
    running = [
        place.start(place.target, "read x; exit 5", stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(12)
    ]
    ends = [(process, b"nobody took it" in process.communicate(b"\n", timeout=WITHIN)[1]) for process in running]
    assert all(process.returncode == (1 if alone else 5) for process, alone in ends)
    assert place.ssh(place.target, "exit 9").returncode == 9


def test_a_path_that_is_no_socket_path(tmp_path: Path, place: Place) -> None:
    deep = tmp_path / ("d" * 100)
    environment = place.environment | {"REMOTE_SHELL_HOME": str(deep)}
    done = subprocess.run([*ARGV, "mux", place.target], env=environment, capture_output=True, timeout=WITHIN)
    assert done.returncode != 0 and b"too long for a socket" in done.stderr
    argv = [sys.executable, "-c", BARRED, place.target, "true"]
    bare = {name: value for name, value in environment.items() if not name.startswith("COVERAGE_")}
    assert b"nobody took it" in subprocess.run(argv, env=bare, capture_output=True, timeout=WITHIN).stderr


def test_a_relative_socket_counts_from_here() -> None:
    for host, here in (("unix:s", True), ("unix:/s", False), ("unix:~/s", False), ("s", False)):
        call = mux.split([host, "true"])
        assert call is not None and call.here is here
