"""What the figures need running: our server, an sshd of its own with its own keys, proxies that delay.

Everything lives in one folder that goes away, listens on 127.0.0.1 on ports of its own, and reads no settings of the
machine's or the user's: no ssh_config, no agent, no known_hosts, no PAM. Neighbours: `bench_figures` asks for what it
needs, `bench_delay` is the proxy.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import _env

from remote_shell import testing

PROGRAM = os.path.join(_env.VENV, "bin", "remote-shell")  # what users type
PACKAGES = {"ssh": "openssh-client", "scp": "openssh-client", "ssh-keygen": "openssh-client", "sshd": "openssh-server"}
START_TIME = 10.0  # seconds for an sshd to answer
STEP_TIME = 30.0  # seconds for ssh-keygen, and for a first login
PORT_TRIES = 5  # sshd can't choose a port itself, and a free one may be taken in between

# for the day on which we are killed: nothing of ours may stay and listen
ENDS_WITH_US = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []

SSHD_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
UsePAM no
UseDNS no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintLastLog no
PrintMotd no
X11Forwarding no
MaxStartups 100
Subsystem sftp internal-sftp
"""
SSH_OPTIONS = (
    *("BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=yes", "LogLevel=ERROR"),
    *("GlobalKnownHostsFile=/dev/null", "HostKeyAlias=bench", "ConnectTimeout=10"),
)


class BenchError(Exception):
    """A figure can't be measured; the text says why and what to do."""


class Sshd:
    """A running sshd; `argv` reaches it."""

    def __init__(self, folder: str, programs: dict[str, str]) -> None:
        self.folder = folder
        self._programs = programs
        self._log = os.path.join(folder, "sshd.log")
        self.port = 0
        self.cipher = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make keys, start, log in once. Raises BenchError."""
        for name in ("host_key", "user_key"):
            self._call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", f"{self.folder}/{name}")
        with open(f"{self.folder}/host_key.pub", encoding="ascii") as key:
            line = f"bench {key.read()}"
        with open(f"{self.folder}/known_hosts", "w", encoding="ascii") as known:
            known.write(line)
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # sshd as root insists on it; only its service makes it
        if not any(self._listens() for _ in range(PORT_TRIES)):
            raise BenchError(f"sshd does not start: {self._last_words()}")
        self.cipher = self._log_in()

    def stop(self) -> None:
        """End it; safe to repeat."""
        if self._process is not None:
            end(self._process)
            self._process = None

    def argv(self, words: Sequence[str], port: int | None = None) -> list[str]:
        """The ssh command line for a remote command; `port` names a proxy's."""
        options = [word for option in SSH_OPTIONS for word in ("-o", option)]
        files = ["-i", f"{self.folder}/user_key", "-o", f"UserKnownHostsFile={self.folder}/known_hosts"]
        where = ["-p", str(port or self.port), "-l", pwd.getpwuid(os.geteuid()).pw_name, "127.0.0.1"]
        return [self._programs["ssh"], "-F", "/dev/null", *options, *files, *where, *words]

    def scp_argv(self, words: Sequence[str]) -> list[str]:
        """The scp command line; in `words` a path behind ":" is over there."""
        options = [word for option in SSH_OPTIONS for word in ("-o", option)]
        files = ["-i", f"{self.folder}/user_key", "-o", f"UserKnownHostsFile={self.folder}/known_hosts"]
        there = f"{pwd.getpwuid(os.geteuid()).pw_name}@127.0.0.1"
        named = [there + word if word.startswith(":") else word for word in words]
        return [self._programs["scp"], "-q", "-F", "/dev/null", *options, *files, "-P", str(self.port), *named]

    def _listens(self) -> bool:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        with open(f"{self.folder}/sshd_config", "w", encoding="utf-8") as config:
            config.write(SSHD_CONFIG.format(port=self.port, folder=self.folder))
        argv = [*ENDS_WITH_US, self._programs["sshd"], "-D", "-f", f"{self.folder}/sshd_config", "-E", self._log]
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        until = time.monotonic() + START_TIME
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as sock:
                sock.settimeout(START_TIME)
                if sock.recv(4) == b"SSH-":
                    return self._process.poll() is None  # else a stranger took the port and answers
            time.sleep(0.01)
        self.stop()
        return False

    def _log_in(self) -> str:
        """Prove that a login works; returns the cipher that it chose."""
        argv = [*self.argv(["true"])[:1], "-v", *self.argv(["true"])[1:]]
        argv[argv.index("LogLevel=ERROR")] = "LogLevel=DEBUG1"
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=STEP_TIME)
        if done.returncode != 0:
            raise BenchError(
                f"ssh to our own sshd fails ({done.returncode}); sshd says: {self._last_words()}. "
                "Is this account's password locked (see `passwd -S`)?"
            )
        found = re.search(rb"server->client cipher: (\S+)", done.stderr)
        return found[1].decode("ascii", "replace") if found else "unknown cipher"

    def _call(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [self._programs[program], *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=STEP_TIME
        )
        if done.returncode != 0:
            raise BenchError(f"{program} failed ({done.returncode}): {done.stderr.decode(errors='replace').strip()}")

    def _last_words(self) -> str:
        try:
            with open(self._log, encoding="utf-8", errors="replace") as log:
                return " / ".join(log.read().splitlines()[-3:]) or "nothing"
        except OSError:
            return "nothing"


class Place:
    """Starts what is asked for when it is first asked for; a context manager that ends it all."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._server: testing.RunningServer | None = None
        self._sshd: Sshd | None = None
        self._proxies: dict[tuple[int, float, float], int] = {}
        self.folder = ""

    def __enter__(self) -> Place:
        # neither client may be helped or held up by what this user has set up
        for name in ("SSH_AUTH_SOCK", "SSH_ASKPASS", "REMOTE_SHELL_HOME"):
            os.environ.pop(name, None)
        self.folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="rs-"))
        os.environ["REMOTE_SHELL_HOME"] = self.folder
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    @property
    def server(self) -> testing.RunningServer:
        """Our server, on a Unix socket and TLS."""
        if self._server is None:
            self._server = self._stack.enter_context(testing.server(("unix:", "tls:127.0.0.1:0"), command=ENDS_WITH_US))
        return self._server

    @property
    def sshd(self) -> Sshd:
        """The sshd. Raises BenchError when there is none and none can be installed."""
        if self._sshd is None:
            sshd = Sshd(self.folder, find_ssh())
            self._stack.callback(sshd.stop)
            sshd.start()
            self._sshd = sshd
        return self._sshd

    @property
    def cipher(self) -> str:
        """What ssh encrypted with, if it was used."""
        return self._sshd.cipher if self._sshd is not None else "not used"

    def delayed(self, port: int, seconds: float, rate: float = 0.0) -> int:
        """The port of a proxy before 127.0.0.1:`port` that holds every byte back for `seconds`, each way.

        It carries `rate` bytes a second, or as many as come if that is 0.
        """
        key = (port, seconds, rate)
        if key not in self._proxies:
            script = os.path.join(_env.ROOT, "scripts", "bench_delay.py")
            argv = [sys.executable, "-P", script, str(seconds), "127.0.0.1", str(port), str(rate)]
            process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._stack.callback(end, process)
            assert process.stdout is not None
            self._proxies[key] = int(process.stdout.readline())
        return self._proxies[key]

    def argv(self, transport: str, words: Sequence[str], delay: float = 0.0) -> list[str]:
        """The command line that runs `words` through our client. `delay` is for "tls" only, seconds each way."""
        return [PROGRAM, "run", *self._where(transport, delay), "--", *words]

    def copy_argv(self, verb: str, transport: str, words: Sequence[str]) -> list[str]:
        """The command line of our put or get."""
        return [PROGRAM, verb, *self._where(transport, 0.0), *words]

    def shell_argv(self, transport: str, delay: float = 0.0, rate: float = 0.0) -> list[str]:
        """The command line of our interactive shell. `delay` and `rate` are for "tls" only, see `delayed`."""
        return [PROGRAM, "shell", *self._where(transport, delay, rate)]

    def _where(self, transport: str, delay: float, rate: float = 0.0) -> list[str]:
        """Options and target."""
        server = self.server
        options = {f"--{name.replace('_', '-')}": value for name, value in server.options(transport).items()}
        target = server.targets[transport]
        if delay or rate:
            target = f"tls:127.0.0.1:{self.delayed(int(target.rpartition(':')[2]), delay, rate)}"
        return [*(word for pair in options.items() for word in pair), target]

    def ssh_argv(self, words: Sequence[str], delay: float = 0.0, rate: float = 0.0) -> list[str]:
        """The same through ssh."""
        return self.sshd.argv(words, self.delayed(self.sshd.port, delay, rate) if delay or rate else None)


def find_ssh() -> dict[str, str]:
    """Paths of OpenSSH's programs; as root they are installed first. Raises BenchError with the line to type."""
    found = _programs()
    missing = sorted({package for program, package in PACKAGES.items() if program not in found})
    if missing and os.geteuid() == 0:
        print(f"remote_shell: installing {' '.join(missing)}…", file=sys.stderr, flush=True)
        _env.apt_install(missing)
        found = _programs()
        missing = sorted({package for program, package in PACKAGES.items() if program not in found})
    if missing:
        raise BenchError(f"nothing to compare with; type: sudo apt-get install -y {' '.join(missing)}")
    return found


def _programs() -> dict[str, str]:
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"  # users' PATH leaves sbin out
    found = ((program, shutil.which(program, path=path)) for program in PACKAGES)
    return {program: where for program, where in found if where}


def end(process: subprocess.Popen[bytes]) -> None:
    """TERM, then KILL; its pipes are closed."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
