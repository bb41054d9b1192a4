"""A server elsewhere: its name, its addresses, its key, the login, and what it can do. Asks nobody, and pins nothing."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

from remote_shell import __version__
from remote_shell.cli.doctor.finding import (
    Case,
    Check,
    Finding,
    Table,
    Told,
    edit,
    examine,
    fault,
    of_error,
    ok,
    warning,
)
from remote_shell.cli.screen import printable
from remote_shell.client.blocking import Host
from remote_shell.client.dialing import addresses, is_name
from remote_shell.client.login import KEYS_MAX, Credentials
from remote_shell.client.plan import Plan
from remote_shell.client.redirect import DEVNULL
from remote_shell.config.fingerprints import format_fingerprint
from remote_shell.config.hosts import load_hosts, resolve_in
from remote_shell.config.paths import quoted, shown
from remote_shell.errors import RemoteShellError, ServerKeyChangedError, UnknownServerError
from remote_shell.identity.known_hosts import KnownHosts, check_pin
from remote_shell.identity.signers import FileSigner
from remote_shell.identity.tls import client_context, peer_key_hash
from remote_shell.wire.messages import FEATURES

_CONNECT = 5.0  # seconds for each address
_FAR = 0.3  # seconds of a round trip above which typing is felt
_SHELL = 2.0  # seconds until a live shell is ready
_CLOCKS = 5.0  # seconds that two clocks may differ


def go(case: Case) -> Iterator[Told]:
    """Check after check; those behind one that failed are left out, since they would say the same once more."""
    group = f"server {case.target}"
    for name, check in BEFORE:
        for told in examine(group, ((name, check),), case):
            yield told
            if told.finding.level == "fault":
                return
    if not case.shared.get("host"):
        return
    host: Host = case.shared["host"]
    try:
        yield from examine(group, AFTER, case)
    finally:
        host.close()


def named(case: Case) -> Iterator[Finding]:
    assert case.target is not None, "asked for"
    found = resolve_in(load_hosts(case.hosts_file), case.target)
    plan = case.shared["plan"] = Plan(
        case.target,
        identity=case.identity,
        secret_file=case.secret_file,
        fingerprint=case.fingerprint,
        known_hosts=None if found[0].kind == "ssh" else case.known_hosts,
        connect_timeout=case.connect_timeout,
        insecure_tcp=case.insecure_tcp,
        trace=case.trace,
        found=found,
    )
    target = plan.target
    if target.kind == "ssh":
        case.shared["addresses"] = []
        yield ok(f"{target}: ssh finds the way, by ~/.ssh/config")
        return
    try:
        case.shared["addresses"] = addresses(target)
    except OSError as error:
        yield fault(f"the name {target.host} has no address: {error.strerror}", f"getent ahosts {quoted(target.host)}")
        return
    count = len(case.shared["addresses"])
    yield ok(f"{target}" + (f", {count} {'address' if count == 1 else 'addresses'}" if is_name(target) else ""))


def reached(case: Case) -> Iterator[Finding]:
    """Each address, and for TLS the key that it shows."""
    plan: Plan = case.shared["plan"]
    shown_keys = case.shared["keys shown"] = []
    places = case.shared["addresses"]
    open_places = 0
    for family, address in places:
        where = shown(address) if isinstance(address, str) else f"{address[0]} port {address[1]}"
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(min(_CONNECT, plan.connect_time))
            began = time.monotonic()
            try:
                sock.connect(address)
                took = time.monotonic() - began
                if plan.target.kind == "tls":
                    with client_context().wrap_socket(sock) as secure:
                        shown_keys.append((where, peer_key_hash(secure.getpeercert(binary_form=True) or b"")))
            except (OSError, RemoteShellError) as error:
                yield _unreached(where, error, address, alone=len(places) == 1)
                continue
        open_places += 1
        yield ok(f"{where} answers within {took * 1000:.1f} ms")
    if len(places) > 1 and not open_places:
        yield fault("no address answers", f"remote-shell doctor {quoted(case.target or '')}")


def _unreached(where: str, error: BaseException, address: Any, *, alone: bool) -> Finding:
    if isinstance(address, str):
        text, fix = (
            f"{where}: {getattr(error, 'strerror', error)}",
            f"remote-shell serve --listen unix:{quoted(address)}",
        )
    elif isinstance(error, ConnectionRefusedError):
        text = f"{where}: nobody listens there; start a server on that machine"
        fix = f"remote-shell serve --listen tls:0.0.0.0:{address[1]}"
    elif isinstance(error, ssl.SSLError | RemoteShellError | ConnectionResetError):
        text, fix = f"{where}: what answers is no remote-shell server", f"curl -sv telnet://{address[0]}:{address[1]}"
    elif isinstance(error, TimeoutError):
        text, fix = f"{where}: no answer; the machine is off, or a firewall drops it", f"ping -c 3 {address[0]}"
    else:
        text, fix = f"{where}: {getattr(error, 'strerror', None) or error}", f"ip route get {address[0]}"
    return fault(text, fix) if alone else warning(text, fix)


def server_key(case: Case) -> Iterator[Finding]:
    plan: Plan = case.shared["plan"]
    if plan.target.kind != "tls":
        return
    known = KnownHosts(case.known_hosts)
    for where, digest in case.shared["keys shown"]:
        key = format_fingerprint(digest)
        try:
            if plan.fingerprint is not None:
                check_pin(plan.target.address, plan.fingerprint, key)
            else:
                known.require(plan.target.address, key)
        except UnknownServerError:
            text = f"{where} shows {key}, and is not known here: this asks whether that is what the server printed"
            yield fault(text, f"remote-shell run {quoted(case.target or '')} -- true")
        except ServerKeyChangedError as error:
            yield of_error(error, edit(case.hosts_file))
        else:
            yield ok(
                f"{where} shows {key}, {'the one asked for' if plan.fingerprint is not None else 'the one known here'}"
            )


def login(case: Case) -> Iterator[Finding]:
    """With keys that are there: the client proper would make one, and ask for passphrases."""
    plan: Plan = case.shared["plan"]
    credentials = Credentials(plan)
    if plan.method == "key":
        files = [FileSigner(file) for file in case.shared["files"]]
        held = case.shared["held"]
        if case.identity is None and plan.identity is None:
            blobs = {signer.public_blob for signer in held}
            ready = [*held, *(one for one in files if not one.encrypted and one.public_blob not in blobs)]
            if not ready:
                locked = files[0].path if files else ""
                yield fault(
                    f"the key {shown(locked)} has a passphrase" if locked else "there is no key to log in with",
                    f"ssh-add {quoted(locked)}" if locked else "remote-shell keys show",
                )
                return
            credentials.ready, credentials.loaded = ready[:KEYS_MAX], True
    began = time.monotonic()
    try:
        host = case.shared["host"] = Host(plan, credentials=credentials)
    except RemoteShellError as error:
        yield of_error(error, "remote-shell keys show")
        return
    took = time.monotonic() - began
    yield ok(f"as {printable(host.welcome.principal)}, within {took * 1000:.0f} ms")


def version(case: Case) -> Iterator[Finding]:
    server = case.shared["host"].server
    text = f"{printable(server.software)}, protocol {server.version}"
    lacks = [name for name in FEATURES if name not in server.features]
    if lacks:
        yield warning(f"{text}: it has no {', '.join(lacks)}; this client is {__version__}", "remote-shell --version")
    else:
        also = "" if server.software.endswith(__version__) else f"; this client is {__version__}"
        yield ok(f"{text}; it has {', '.join(FEATURES)}{also}")


def account(case: Case) -> Iterator[Finding]:
    welcome = case.shared["host"].welcome
    text = f"commands run as {printable(welcome.account)} on {printable(welcome.host)}"
    if welcome.account == "root":
        yield warning(f"{text}: who gets in may do everything there", "adduser --disabled-password remote")
    else:
        yield ok(text)


def round_trip(case: Case) -> Iterator[Finding]:
    host: Host = case.shared["host"]
    began = time.monotonic()
    host.shells()  # one question, one answer, nothing started
    took = time.monotonic() - began
    text = f"{took * 1000:.1f} ms"
    yield (
        ok(text)
        if took < _FAR
        else warning(f"{text}: what you type is late", f"ping -c 5 {host.target.host or 'localhost'}")
    )


def clocks(case: Case) -> Iterator[Finding]:
    """The server's word on a start lies between our asking and its answer."""
    host: Host = case.shared["host"]
    before = time.time()
    with host.popen(["true"], stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL) as process:
        after = time.time()
        opened = process.opened
        process.wait()
    if opened is None or not opened.started_at_ms:
        return
    there = opened.started_at_ms / 1000
    apart = there - after if there > after else min(0.0, there - before)
    if abs(apart) < _CLOCKS:
        yield ok(f"as here, within {max(abs(apart), after - before):.1g} s")
    else:
        way = "ahead of" if apart > 0 else "behind"
        yield warning(
            f"the server's clock is {abs(apart):.0f} s {way} ours; on the one that is wrong", "timedatectl set-ntp true"
        )


def live_shell(case: Case) -> Iterator[Finding]:
    host: Host = case.shared["host"]
    began = time.monotonic()
    with host.shell() as shell:
        done = shell.run("echo ready")
    took = time.monotonic() - began
    if done.stdout.strip() not in (b"ready", "ready"):
        yield fault(
            "it starts, and does not answer", f"remote-shell run -c 'bash -lixc exit' {quoted(case.target or '')}"
        )
    elif took > _SHELL:
        yield warning(
            f"ready after {took:.1f} s", f"remote-shell run -c 'time bash -lixc exit' {quoted(case.target or '')}"
        )
    else:
        yield ok(f"ready within {took:.2f} s")


BEFORE: tuple[tuple[str, Check], ...] = (
    ("name", named),
    ("addresses", reached),
    ("server's key", server_key),
    ("login", login),
)
AFTER: Table = (
    ("version", version),
    ("account", account),
    ("round trip", round_trip),
    ("clocks", clocks),
    ("live shell", live_shell),
)
