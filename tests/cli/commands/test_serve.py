"""`serve` as its callers see it: the ready line, the log, the signals, and each failure as one line."""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_shell.cli.main import main
from tests.cli.program import ARGV, WITHIN, call, environment, one_line
from tests.config.account import as_nobody, nobodys_folder

pytestmark = pytest.mark.screen


@contextlib.contextmanager
def serving(home: Path, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], Any]]:
    """A running `serve` and its ready line."""
    with subprocess.Popen(
        [*ARGV, "serve", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(home),
    ) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            if process.poll() is None:
                process.kill()


def test_the_ready_line_comes_when_every_listener_accepts(tmp_path: Path) -> None:
    with serving(tmp_path, "--listen", f"unix:{tmp_path}/s", "--listen", "tls:127.0.0.1:0") as (process, ready):
        assert ready["event"] == "ready" and ready["pid"] == process.pid
        unix, tls = ready["listen"]
        assert unix == f"unix:{tmp_path}/s"
        assert ready["fingerprint"].startswith("SHA256:")
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(f"{tmp_path}/s")
        with socket.create_connection(("127.0.0.1", int(tls.rpartition(":")[2])), WITHIN):
            pass
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=WITHIN)
        assert process.returncode == 0
        assert out == b"", "stdout has the one line"
        assert err.decode().isascii() and b"Traceback" not in err
        assert (b"running as root" in err) is (os.geteuid() == 0)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(number: int, tmp_path: Path) -> None:
    with serving(tmp_path, "--listen", f"unix:{tmp_path}/s") as (process, _), contextlib.ExitStack() as stack:
        running = stack.enter_context(
            subprocess.Popen(
                [*ARGV, "run", f"unix:{tmp_path}/s", "sh", "-c", "trap '' TERM; echo up; sleep 100"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(tmp_path),
            )
        )
        stack.callback(running.kill)
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        begin = time.monotonic()
        process.send_signal(number)
        while (tmp_path / "s").exists():  # it drains: nobody is taken any more
            assert time.monotonic() < begin + WITHIN
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(WITHIN) == 0
        assert time.monotonic() - begin < 3, "draining would have taken 5 s"
        running.communicate(timeout=WITHIN)
        assert running.returncode in (125, 128 + 9)


def test_hup_reads_the_settings_again(tmp_path: Path) -> None:
    with serving(tmp_path, "--listen", f"unix:{tmp_path}/s") as (process, _):
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        while b"read again" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(WITHIN) == 0


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tls:127.0.0.1:{taken.getsockname()[1]}"
        done = call("serve", "--listen", address, home=tmp_path)
    assert done.returncode == 125 and not done.stdout
    assert address in one_line(done.stderr) and "in use" in one_line(done.stderr)


def test_without_permission_for_the_port() -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 22:
        pytest.fail("this machine lets everybody listen on port 22: the refusal can't be shown")
    # a forked copy without rights must not be the first to import anything
    for name in ("ctypes", "encodings.idna", "remote_shell.server.server"):
        importlib.import_module(name)

    def serve() -> tuple[int, str]:
        os.environ["REMOTE_SHELL_HOME"] = home
        with contextlib.redirect_stderr(io.StringIO()) as said:
            return main(["serve", "--listen", "tls:127.0.0.1:22"]), said.getvalue()

    with nobodys_folder() as home:
        status, said = ast.literal_eval(as_nobody(serve))
    assert status == 125
    assert "permission denied" in one_line(said.encode())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--listen", "nonsense"], "begins with its kind"),
        (["--listen", "tcp:127.0.0.1:0"], "--insecure-tcp"),
        (["--listen", "tcp:0.0.0.0:0", "--insecure-tcp"], "unencrypted"),
        (["--listen", "unix:/nonexistent/folder/s"], "no such folder"),
        (["--config", "/nonexistent.toml"], "no such file"),
    ],
)
def test_what_can_not_be_served_is_one_line_and_125(words: list[str], expected: str, tmp_path: Path) -> None:
    done = call("serve", *words, home=tmp_path)
    assert done.returncode == 125 and not done.stdout
    assert expected in one_line(done.stderr)


def test_a_bad_settings_file_names_key_and_cure(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('listen = ["tls:127.0.0.1:0"]\ngrac = 3\n')
    done = call("serve", "--config", str(tmp_path / "x.toml"), home=tmp_path)
    assert done.returncode == 125
    assert "unknown key 'grac'" in one_line(done.stderr)
