"""This account as a server: settings, who may log in, the server's key, sockets and ports, descriptors, disk, shells."""

from __future__ import annotations

import hashlib
import logging
import os
import pwd
import resource
import shutil
import socket
import ssl
import stat
import struct
import subprocess
import time
from collections.abc import Iterator

from remote_shell.cli.doctor.finding import Case, Finding, Table, edit, fault, of_error, ok, warning
from remote_shell.config.checked import read_checked
from remote_shell.config.fingerprints import format_fingerprint
from remote_shell.config.paths import quoted, shown
from remote_shell.config.server import ServerConfig, load
from remote_shell.config.targets import Target
from remote_shell.errors import ConfigError, IdentityError
from remote_shell.identity.authorized import LOGGER, AuthorizedKeys
from remote_shell.identity.private_keys import PrivateKeyFile
from remote_shell.identity.tls import client_context, peer_key_hash
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.process.shell_terminal import BASH_PATH

_LOOK = 1.0  # seconds for a connection within this machine; only who is stopped or overrun needs them
_VERSION = 5.0  # seconds for bash to say which it is
_LOGIN_SHELL = 1.0  # seconds for a login shell; its user waits for it at each `shell`
_LEFT_ALONE = "60"  # seconds after which timeout(1) ends one that hangs
_SPKI = bytes.fromhex("302a300506032b6570032100")  # RFC 8410: what stands before an Ed25519 key in SubjectPublicKeyInfo
_DESCRIPTORS = (64, 1024)  # fewer than the first: hardly a session; than the second: hardly many
_DISK = (8 * 2**20, 256 * 2**20)  # bytes: the log of one job; of several
_UCRED = struct.Struct("3i")


def settings(case: Case) -> Iterator[Finding]:
    case.shared["settings"] = ServerConfig()
    if case.config is None:
        yield ok("the defaults; --config FILE looks at a file of settings")
        return
    try:
        case.shared["settings"] = load(case.config)
    except ConfigError as error:
        for line in str(error).splitlines():
            yield fault(line, edit(case.config))
        return
    yield ok(f"{shown(case.config)} can be used")
    secrets = case.shared["settings"].secret_file
    if secrets is not None:
        limit = DEFAULT_LIMITS.list_file_max
        try:
            there = read_checked(secrets, what="secrets file", limit=limit, private=True) is not None
        except ConfigError as error:
            yield of_error(error, edit(secrets))
            return
        if not there:
            yield fault(f"there is no secrets file {shown(secrets)}", edit(case.config))


class _Refusals(logging.Handler):
    """What the reader of authorized_keys has to say: it logs it, for the server's log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple) and len(record.args) == 3:  # "%s, line %d: refused: %s"
            _, number, reason = record.args
            self.lines.append((int(str(number)), str(reason)))


def authorized(case: Case) -> Iterator[Finding]:
    path = case.shared["settings"].authorized_keys
    log, refusals = logging.getLogger(LOGGER), _Refusals()
    before = log.propagate
    log.addHandler(refusals)
    log.propagate = False
    try:
        listed = AuthorizedKeys(path)
        entries, problem = listed.entries(), listed.problem
    finally:
        log.removeHandler(refusals)
        log.propagate = before
    if problem:
        yield of_error(ConfigError(problem), f"ls -ld {quoted(path)} {quoted(os.path.dirname(path))}")
        return
    for number, reason in refusals.lines:
        yield fault(f"{shown(path)}, line {number}: refused: {reason}", edit(path, number))
    if not entries:
        what = f"no key in {shown(path)} may log in" if os.path.exists(path) else f"there is no {shown(path)}"
        yield ok(f"{what}: only this account may, on the Unix socket")
        return
    yield ok(f"{len(entries)} {'key' if len(entries) == 1 else 'keys'} in {shown(path)} may log in")


def server_key(case: Case) -> Iterator[Finding]:
    case.shared["fingerprint"] = ""
    path = os.path.join(case.folders["state"], "server_key")
    try:
        file = PrivateKeyFile.read(path)
    except IdentityError as error:
        yield of_error(error, f"mv {quoted(path)} {quoted(path + '.bad')}")
        return
    if file is None:
        yield ok("made at the first start of a server")
    elif file.encrypted:
        yield fault(f"{shown(path)} has a passphrase that nobody can type", f"ssh-keygen -p -f {quoted(path)}")
    else:
        case.shared["fingerprint"] = format_fingerprint(hashlib.sha256(_SPKI + file.public.raw).digest())
        yield ok(f"{case.shared['fingerprint']}, what clients see")


def sockets(case: Case) -> Iterator[Finding]:
    """Our Unix sockets: the default one, or those that the settings name."""
    listed = [target.path for target in case.shared["settings"].listen if target.kind == "unix"]
    for path in listed or [os.path.join(case.folders["runtime"], "server.sock")]:
        yield _unix_socket(path)


def _unix_socket(path: str) -> Finding:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return ok(f"no server runs on {shown(path)}")
    if not stat.S_ISSOCK(status.st_mode):
        return fault(
            f"{shown(path)} is no socket, so no server can listen there", f"mv {quoted(path)} {quoted(path + '.old')}"
        )
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_LOOK)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return warning(f"{shown(path)} was left by a server that was killed", f"rm {quoted(path)}")
        except TimeoutError:
            return fault(
                f"the server on {shown(path)} does not accept: it is stopped, or overrun", "ps -C remote-shell -fj"
            )
        pid, uid, _ = _UCRED.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if uid not in (0, os.getuid()):
        return fault(f"{shown(path)} belongs to a process of user id {uid}", f"rm {quoted(path)}")
    return ok(f"a server runs on {shown(path)}, process {pid}")


def ports(case: Case) -> Iterator[Finding]:
    """Who has the ports that a server here would take."""
    listed = [target for target in case.shared["settings"].listen if target.kind == "tls"]
    for target in listed or [Target("tls", host="127.0.0.1", port=8822)]:
        if target.port:
            yield _port(target, case.shared["fingerprint"])


def _port(target: Target, ours: str) -> Finding:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(target.host, target.host)  # noqa: S104  # names, not a listener
    beside = f"remote-shell serve --listen tls:{target.host}:{target.port + 1 if target.port < 65535 else 8822}"
    try:
        sock = socket.create_connection((host, target.port), _LOOK)
    except ConnectionRefusedError:
        return ok(f"{target.address} is free")
    except OSError as error:
        return warning(f"{target.address}: {error.strerror or 'no answer'}", "ip addr")
    with sock:
        try:
            with client_context().wrap_socket(sock) as secure:
                found = format_fingerprint(peer_key_hash(secure.getpeercert(binary_form=True) or b""))
        except (OSError, ssl.SSLError):
            return warning(f"{target.address} is taken by another program", beside)
    if found == ours:
        return ok(f"{target.address} is a server's with this account's key")
    return warning(f"{target.address} is taken by another server, with the key {found}", beside)


def descriptors(case: Case) -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _DESCRIPTORS[1]:
        yield ok("no limit" if soft == resource.RLIM_INFINITY else f"{soft} for a process")
        return
    text = f"a process may have {soft} files open; each command takes about five, and strangers get {max(1, soft // 4)}"
    if hard != resource.RLIM_INFINITY and hard < _DESCRIPTORS[1]:
        fix = f"sudo prlimit --pid $$ --nofile={_DESCRIPTORS[1] * 4}"
    else:
        fix = f"ulimit -n {_DESCRIPTORS[1] * 4 if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS[1] * 4)}"
    yield fault(text, fix) if soft < _DESCRIPTORS[0] else warning(text, fix)


def disk(case: Case) -> Iterator[Finding]:
    path = case.folders["state"]
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    status = os.statvfs(path)
    free = status.f_bavail * status.f_frsize
    text = f"{free // 2**20} MiB free in {shown(path)}, where jobs write"
    if free >= _DISK[1]:
        yield ok(text)
        return
    fix = f"du -xah {quoted(path)} | sort -h | tail"
    yield fault(text, fix) if free < _DISK[0] else warning(text, fix)


def bash(case: Case) -> Iterator[Finding]:
    """The live shell's: always the one at this path."""
    program = os.fsdecode(BASH_PATH)
    if not os.access(program, os.X_OK):
        yield fault(f"there is no {shown(program)}: live shells can't start", "sudo apt-get install bash")
        return
    try:
        done = subprocess.run(
            [program, "--norc", "-c", 'echo "$BASH_VERSION"'],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION,
        )
    except subprocess.TimeoutExpired:
        yield fault(f"{shown(program)} does not answer within {_VERSION:g} s", f"{quoted(program)} --version")
        return
    version = done.stdout.decode("utf-8", "replace").strip()
    if version.partition(".")[0] not in ("4", "5", "6"):
        yield fault(f"{shown(program)} is bash {version}; live shells need 4 or later", "sudo apt-get install bash")
        return
    yield ok(f"{shown(program)} {version}")


def login_shell(case: Case) -> Iterator[Finding]:
    """The shell of the settings, or the account's: whether it is there, and how long its startup files take.

    One that is slow is left to end: killed, it might leave a lock behind.
    """
    settings: ServerConfig = case.shared["settings"]
    shell = settings.shell or pwd.getpwuid(os.getuid()).pw_shell
    if not os.access(shell, os.X_OK):
        whose = "settings" if settings.shell else "account"
        yield fault(
            f"there is no {shown(shell)}, the shell of the {whose}: lines of clients can't run", "cat /etc/shells"
        )
        return
    if not settings.startup_files:
        yield ok("not used: startup_files = false")
        return
    program = shell if os.path.basename(shell) == "zsh" else os.fsdecode(BASH_PATH)
    timeout = shutil.which("timeout")
    if timeout is None or not os.access(program, os.X_OK):
        return  # `bash` says so
    began = time.monotonic()
    process = subprocess.Popen(
        [timeout, _LEFT_ALONE, program, "-l", "-i", "-c", "exit 0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # an interactive shell would take our terminal
    )
    try:
        process.wait(_LOGIN_SHELL)
    except subprocess.TimeoutExpired:
        process.returncode = 0  # nobody waits for it: no ResourceWarning, init reaps it
        text = f"its startup files take more than {_LOGIN_SHELL:g} s: every live shell waits for them"
        yield warning(text, f"time {quoted(program)} -lixc exit")
        return
    yield ok(f"{shown(program)} is ready within {time.monotonic() - began:.2f} s")


CHECKS: Table = (
    ("settings", settings),
    ("authorized_keys", authorized),
    ("server key", server_key),
    ("socket", sockets),
    ("port", ports),
    ("descriptors", descriptors),
    ("disk", disk),
    ("bash", bash),
    ("login shell", login_shell),
)
