"""A server for other people's tests, and for ours.

    with remote_shell.testing.server() as target, remote_shell.connect(target) as host:
        assert host.run(["true"]).returncode == 0

The server is a process of its own with a folder of its own, so nothing of the test's process (signals, children, loops) is
touched. With pytest: `from remote_shell.testing import remote_shell_server` in conftest.py is a fixture.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class RunningServer(str):  # noqa: SLOT000  # one a test; attributes are set as they become known
    """The target of the first listener, as text, with everything else that a test may want to know."""

    home: str  # its REMOTE_SHELL_HOME; the client's options below live there too
    identity: str  # a private key that may log in
    secret_file: str  # a secret that may log in
    log: str  # path of its log
    fingerprint: str | None
    targets: dict[str, str]  # by kind: "unix", "tls", "tcp"
    process: subprocess.Popen[bytes]

    def options(self, kind: str = "tls") -> dict[str, Any]:
        """Keyword arguments with which `connect(self.targets[kind], …)` logs in without asking anything."""
        if kind == "unix":
            return {}
        options: dict[str, Any] = {"identity": self.identity, "known_hosts": os.path.join(self.home, "known_hosts")}
        return options | ({"fingerprint": self.fingerprint} if kind == "tls" else {})

    def read_log(self) -> str:
        """What the server logged so far."""
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()


@contextlib.contextmanager
def server(
    listen: Sequence[str] = ("unix:", "tls:127.0.0.1:0"),
    *,
    config: str = "",
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
) -> Iterator[RunningServer]:
    """A running server in a fresh folder; ends with its folder, and its jobs with it.

    `listen`: addresses as `serve --listen` takes them; "unix:" alone is a socket in the fresh folder. `config`: text
    of its TOML file; live shells do not read the account's profile. `command`: a wrapper before the server's own argv (`setpriv …`).
    """
    home = tempfile.mkdtemp(prefix="remote-shell-test-")
    process: subprocess.Popen[bytes] | None = None
    try:
        files = _make_files(home, config)
        argv = [*command, sys.executable, "-m", "remote_shell", "serve", "--config", files["config"]]
        for address in listen:
            argv += ["--listen", f"unix:{home}/s" if address == "unix:" else address]
        argv += ["--authorized-keys", files["authorized_keys"], "--secret-file", files["secrets"]]
        if any(address.startswith("tcp:") for address in listen):
            argv.append("--insecure-tcp")
        log_path = os.path.join(home, "log")
        with open(log_path, "wb") as log:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "REMOTE_SHELL_HOME": home, **(environment or {})},
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            process.wait()
            with open(log_path, encoding="utf-8", errors="replace") as log_text:
                raise RuntimeError(f"the server did not start: {log_text.read().strip()}")
        ready = json.loads(line)
        yield _describe(ready, home, files, process)
    finally:
        if process is not None:
            _end(process)
        end_jobs(home)
        shutil.rmtree(home, ignore_errors=True)


def end_jobs(home: str) -> None:
    """End the jobs of a server whose REMOTE_SHELL_HOME this is: they outlive it."""
    folder = os.path.join(home, "state", "jobs")
    if os.path.isdir(folder):
        from remote_shell.jobs.ending import end_all

        end_all(folder)


def _describe(
    ready: dict[str, Any], home: str, files: dict[str, str], process: subprocess.Popen[bytes]
) -> RunningServer:
    running = RunningServer(ready["listen"][0])
    running.home, running.process = home, process
    running.identity, running.secret_file = files["identity"], files["client_secret"]
    running.log = os.path.join(home, "log")
    running.fingerprint = ready.get("fingerprint")
    running.targets = {text.split(":", 1)[0]: text for text in ready["listen"]}
    return running


def _make_files(home: str, config: str) -> dict[str, str]:
    from remote_shell.identity import secrets
    from remote_shell.identity.keys import PublicKey
    from remote_shell.identity.private_keys import make_key_file

    names = ("config", "authorized_keys", "secrets", "client_secret", "identity")
    files = {name: os.path.join(home, name) for name in names}
    key = make_key_file(files["identity"], "test")
    secret = secrets.generate("test")
    texts = {
        "config": f"startup_files = false\n{config}",  # no test should depend on the account's profile
        "authorized_keys": PublicKey(key.public.blob, "test").line() + "\n",
        "secrets": secret.line() + "\n",
        "client_secret": secret.line() + "\n",
    }
    for name, text in texts.items():
        with open(os.open(files[name], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    return files


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _one_a_test() -> Iterator[RunningServer]:
    """A running server for each test that asks for it."""
    with server() as running:
        yield running


def __getattr__(name: str) -> Any:
    """`remote_shell_server` is a fixture, and pytest is imported by those who ask for it (PEP 562)."""
    if name != "remote_shell_server":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest

    fixture = pytest.fixture(name=name)(_one_a_test)
    globals()[name] = fixture
    return fixture
